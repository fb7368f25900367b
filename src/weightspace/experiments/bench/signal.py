"""Signals that models are compared on: turned digits to be told apart, and smoke plumes to be continued."""

import copy
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from weightspace.disk import write_atomic
from weightspace.errors import DataError, FormatError, TrainingError, unknown
from weightspace.experiments.bench.network import Flow, Pictures, plane
from weightspace.experiments.bench.subject import answered
from weightspace.experiments.bench.table import Measured, Row
from weightspace.groups import Action, cyclic, regular, table_action
from weightspace.tasks import Classify, Forecast
from weightspace.testing import signal_error
from weightspace.training import Split, Splits, generator
from weightspace.zoo import PROTOCOLS, Plumes, Windows, load_or_digits, open_plumes, rotated
from weightspace.zoo.generate import PlumeSettings, make_plumes

__all__ = ["Digits", "PlumeRuns", "RotatedDigits", "SmokePlumes"]

FOLDER = "signals"
"""Within the folder of a comparison."""
LOOKED_AT = 16
"""Items of the test split that the error of symmetry is measured on."""


@dataclass(frozen=True)
class RotatedDigits:
    """Digits that are each turned by an angle of its own, grey and small.

    Images of the source's training part are drawn without repetition for training and validation, test images are the
    first ones of its test part, of its training part where it has no other. All are centred and scaled by the mean and
    the standard deviation of the training images' pixels. What has been made is read from then on.

    Args:
        source: of the images, as for :func:`weightspace.zoo.load_or_digits`, which has scikit-learn's digits in place
            of what cannot be had; the subject then says so. Where these are too few for the numbers that are asked
            for, they are shared out in the same proportions.
        side: pixels per side that images are brought to, by means of squares; those that are smaller stay as they are.
        train: training images.
        val: validation images.
        test: test images.
        budget: parameters that the networks may have.
        reach: of their filters.
        dropout: before their last map.
        seed: of the angles and of the draw.
        offline: do not start a registry client.
    """

    source: str = "mnist"
    side: int = 14
    train: int = 4_000
    val: int = 500
    test: int = 2_000
    budget: int = 4_000
    reach: int = 2
    dropout: float = 0.0
    seed: int = 0
    offline: bool = False

    def make(self, home: Path, progress: Callable[[int], None]) -> None:
        """Draw the digits into a folder, unless they are there.

        Args:
            home: the folder of a comparison, where they lie in `signals`.
            progress: called with the number of images once they are made.

        Raises:
            DataError: too few images, or coloured ones.
            StorageError: the folder cannot be written.
        """
        path = self._path(home)
        if not path.exists():
            tensors, note = _drawn(self)
            _write(path, tensors, {"settings": json.dumps(self._made), "note": note})
            progress(self.train + self.val + self.test)

    @property
    def _made(self) -> dict[str, Any]:
        """What decides which digits these are."""
        return {name: getattr(self, name) for name in ("source", "side", "train", "val", "test", "seed")}

    def _path(self, home: Path) -> Path:
        return home / FOLDER / f"digits-{_digest(json.dumps(self._made))[:12]}.safetensors"

    def subject(self, home: Path) -> "Digits":
        """The digits that were made in a folder.

        Raises:
            FormatError: a file that is missing or damaged.
        """
        made = self._made
        tensors, notes = _read(self._path(home))
        splits = _standardised(tensors, notes["sha256"])
        classes = 1 + max(int(split.target.max()) for split in (splits.train, splits.val, splits.test))
        about = _about(
            f"{self.source}, turned", "rotated-digits", splits, seed=self.seed, note=notes["note"], settings=made
        )
        pictures = Pictures(tensors["train"].shape[-1], classes, self.budget, self.reach, dropout=self.dropout)
        return Digits(Classify(classes), about, pictures, splits)


@dataclass(frozen=True, eq=False)
class Digits:
    """Turned digits and what is measured of models that tell them apart; the law is that of quarter turns.

    Args:
        task: classes.
        about: the data.
        pictures: what networks are made for.
        splits: images `(items, side, side)` with their classes.
        groups: none, since no two digits belong together.
    """

    task: Classify
    about: Mapping[str, Any]
    pictures: Pictures
    splits: Splits
    groups: tuple[int, ...] = ()

    def data(self, row: Row) -> Splits:
        """The three splits, of which a row may learn from a share only.

        Raises:
            TrainingError: a preparation, which signals have none of, or an empty share.
        """
        return _given(self.splits, row)

    def build(self, row: Row, seed: int) -> nn.Module:
        """The row's model, made by its factory for these pictures."""
        return row.model.build_from(self.pictures, seed=seed)

    def measure(self, row: Row, model: nn.Module) -> Measured:
        """Accuracy on test digits turned by quarters, and moved around the border; the error under quarter turns."""
        test, by = self.splits.test, max(1, self.pictures.side // 7)
        turned = [self._accuracy(model, test.features.rot90(turns, (1, 2))) for turns in (1, 2, 3)]
        moved = {
            "quarter turns": sum(turned) / len(turned),
            "shifts": self._accuracy(model, test.features.roll((by, by), (1, 2))),
        }
        exact, side = _exact(model), self.pictures.side

        def told(signals: Tensor) -> Tensor:
            return exact(signals.unflatten(1, (side, side))[..., 0])

        signals = test.features[:LOOKED_AT].double().flatten(1)[:, :, None]
        return Measured(moved, signal_error(told, signals, _quarter_turns(side)))

    def _accuracy(self, model: nn.Module, images: Tensor) -> float:
        return self.task.score(*_judged(model, Split(images, self.splits.test.target)))


@dataclass(frozen=True)
class SmokePlumes:
    """Smoke plumes, whose velocity in the next frames is to be told from that in the last ten.

    Windows are those of the published protocol, but that validation begins where no frame of a training window is seen
    any more, and "future" where none of a validation window is. The test split are runs held out.

    Args:
        kind: of the set of plumes: rotation, translation or scale.
        breaking: how much the forces break the symmetry, see `PlumeSettings`.
        coarsening: cells along each side that become one: 1 is 64 by 64 cells.
        train: training windows of six next frames, spread evenly over all; all of them by default.
        val: validation windows.
        test: windows of twenty next frames, of runs held out and as many of later times.
        channels: of the networks.

    Raises:
        UnknownNameError: a kind of plumes that there is not, or one without runs held out.
    """

    kind: str = "rotation"
    breaking: float = 1.0
    coarsening: int = 1
    train: int | None = None
    val: int | None = None
    test: int | None = None
    channels: int = 16

    def __post_init__(self) -> None:
        kinds = [kind for kind, protocol in PROTOCOLS.items() if protocol.held_out]
        if self.kind not in kinds:
            raise unknown("kind of plumes with runs held out", self.kind, kinds)

    def make(self, home: Path, progress: Callable[[int], None]) -> None:
        """Simulate the plumes that are missing in a folder.

        Args:
            home: the folder of a comparison, where they lie in `signals`.
            progress: called with the number of steps of simulations that have just been done or found.

        Raises:
            FormatError: the folder holds something else.
            StorageError: the folder cannot be written.
        """
        make_plumes(self._path(home), self._settings, progress=progress)

    @property
    def _settings(self) -> PlumeSettings:
        return PlumeSettings(kind=self.kind, breaking=self.breaking, coarsening=self.coarsening)

    def _path(self, home: Path) -> Path:
        return home / FOLDER / f"plumes-{self.kind}-{self.breaking:g}-{self._settings.side}"

    def subject(self, home: Path) -> "PlumeRuns":
        """The plumes that were made in a folder.

        Raises:
            FormatError: a folder that holds none.
        """
        plumes = open_plumes(self._path(home))
        checksum = _digest(plumes.manifest.to_json())
        task = Forecast()
        short, long = task.horizons[0], task.horizons[-1]
        domain = _windows(plumes, "domain", long)
        splits = Splits(
            _split(_windows(plumes, "train", short), self.train),
            _split(_windows(plumes, "valid", short), self.val),
            _split(domain, self.test),
            checksum,
        )
        about = _about(f"smoke plumes, {self.kind}", "smoke", splits, seed=0, settings=asdict(self))
        later = _split(_windows(plumes, "future", long), self.test)
        runs = tuple(row // len(domain.starts) for row in _rows(domain, self.test))
        return PlumeRuns(task, about, Flow(self._settings.side, long, self.channels), splits, later, runs)


@dataclass(frozen=True, eq=False)
class PlumeRuns:
    """Plumes and what is measured of models that continue them; the law is that of moves of the periodic plane.

    Args:
        task: the horizons.
        about: the data.
        flow: what networks are made for.
        splits: frames that are seen `(items, points, past * features)` with those to come.
        later: windows of the runs that are learnt from, of times that are not.
        groups: the run of each test window.
    """

    task: Forecast
    about: Mapping[str, Any]
    flow: Flow
    splits: Splits
    later: Split
    groups: tuple[int, ...] = ()

    def data(self, row: Row) -> Splits:
        """The three splits, of which a row may learn from a share only.

        Raises:
            TrainingError: a preparation, which signals have none of, or an empty share.
        """
        return _given(self.splits, row)

    def build(self, row: Row, seed: int) -> nn.Module:
        """The row's model, made by its factory for these flows."""
        return row.model.build_from(self.flow, seed=seed)

    def measure(self, row: Row, model: nn.Module) -> Measured:
        """The error on runs held out moved by a third of the plane, and at later times; that of equivariance."""
        group, side = plane(self.flow.side), self.flow.side
        # No multiple of the four cells by which the U-Net may be moved.
        third = torch.tensor((side // 3) * side + side // 3)
        order = regular(group).move(group.inverse(third), torch.arange(group.order))
        test = self.splits.test
        moved = {
            "a third of the plane": self._error(model, Split(test.features[:, order], test.target[:, :, order])),
            "later times": self._error(model, self.later),
        }
        exact = _exact(model)
        signals = test.features[:LOOKED_AT].double()
        error = signal_error(lambda x: exact(x, 1)[:, 0], signals, regular(group), regular(group))
        return Measured(moved, error)

    def _error(self, model: nn.Module, split: Split) -> float:
        return -self.task.score(*_judged(model, split))


def _about(name: str, table: str, splits: Splits, **more: Any) -> dict[str, Any]:
    """What a subject says of its data."""
    command = f"weightspace bench {table}"
    return {"name": name, "command": command, "checksum": splits.checksum, "items": splits.sizes, **more}


def _given(splits: Splits, row: Row) -> Splits:
    if row.prepare:
        raise TrainingError(f"{row.name} is prepared by {', '.join(row.prepare)}: that is for networks, not signals.")
    if row.share == 1:
        return splits
    count = round(row.share * len(splits.train))
    if not 0 < count <= len(splits.train):
        raise TrainingError(f"{row.name} learns from {row.share} of {len(splits.train)} items: expected at least one.")
    rows = torch.randperm(len(splits.train), generator=generator(0, "share"))[:count].sort().values
    return replace(splits, train=Split(splits.train.features[rows], splits.train.target[rows]))


def _judged(model: nn.Module, split: Split) -> tuple[Tensor, Tensor]:
    """What a model answers, and the targets; the model is left as it was."""
    before = model.training
    found = answered(model, split, batch=64)
    model.train(before)
    return found


def _exact(model: nn.Module) -> nn.Module:
    """A copy in float64 on the CPU, as it answers."""
    return copy.deepcopy(model).cpu().double().eval()


def _quarter_turns(side: int) -> Action:
    """Turns by quarters on the pixels of a square, row by row."""
    places = torch.arange(side**2).unflatten(0, (side, side))
    # The picture turned by g has at g p what was at p.
    images = [places.rot90(-turns, (0, 1)).flatten() for turns in range(4)]
    return table_action(cyclic(4), torch.stack(images))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# Digits on disk.


def _drawn(settings: RotatedDigits) -> tuple[dict[str, Tensor], str]:
    """Small turned images in three parts, from 0 to 255, with their classes; and where they came from."""
    images = load_or_digits(settings.source, offline=settings.offline)
    if images.train.ndim != 3:
        raise DataError(f"{images.name} has colours. Remedy: take grey images, such as mnist or digits.")
    counts = {"train": settings.train, "val": settings.val, "test": settings.test}
    own_test = images.test is not None
    if images.name == "digits":
        counts = _within(counts, len(images))
    chance = np.random.default_rng(settings.seed)
    wanted = sum(counts[part] for part in (("train", "val") if own_test else ("train", "val", "test")))
    there = 0 if images.test is None else len(images.test)
    if wanted > len(images) or (own_test and counts["test"] > there):
        raise DataError(
            f"{images.name} has {len(images)} training and {there} test images: {counts} are asked for. Ask for fewer."
        )
    turned = rotated(images, seed=settings.seed)
    rows = np.split(chance.permutation(len(images))[:wanted], np.cumsum(list(counts.values()))[: 1 if own_test else 2])
    parts = {part: (turned.train[where], turned.labels[where]) for part, where in zip(counts, rows, strict=False)}
    if turned.test is not None and turned.test_labels is not None:
        parts["test"] = (turned.test[: counts["test"]], turned.test_labels[: counts["test"]])
    tensors = {part: _smaller(pixels, settings.side) for part, (pixels, _) in parts.items()}
    labels = {f"{part}_labels": torch.tensor(classes) for part, (_, classes) in parts.items()}
    return tensors | labels, turned.note


def _within(counts: dict[str, int], there: int) -> dict[str, int]:
    """As many as are asked for, or as there are in the same proportions."""
    total = sum(counts.values())
    return counts if total <= there else {part: count * there // total for part, count in counts.items()}


def _smaller(pixels: np.ndarray, side: int) -> Tensor:
    return avg_pool2d(torch.tensor(pixels)[:, None].float(), max(1, pixels.shape[1] // side))[:, 0]


def _standardised(tensors: Mapping[str, Tensor], checksum: str) -> Splits:
    middle, width = tensors["train"].mean(), tensors["train"].std()
    parts = {
        part: Split((tensors[part] - middle) / width, tensors[f"{part}_labels"]) for part in ("train", "val", "test")
    }
    return Splits(**parts, checksum=checksum)


def _write(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> None:
    owned = {name: value.contiguous() for name, value in tensors.items()}
    write_atomic(path, save(owned, metadata={**notes, "sha256": _content(owned)}))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and notes of a file, each byte of which has been looked at."""
    try:
        with safe_open(path, framework="pt") as file:
            notes = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if notes["sha256"] != _content(tensors):
            raise ValueError("its checksum is another")
    except (OSError, SafetensorError, ValueError, KeyError) as error:
        raise FormatError(f"{path} is damaged ({error}): delete it, and it is made again.") from error
    return tensors, notes


def _content(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(f"{name}{tuple(tensors[name].shape)}{tensors[name].dtype}".encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()


# Plumes in memory.


def _windows(plumes: Plumes, part: str, outputs: int) -> Windows:
    """The published windows of a part without those whose frames stand in a window of the part before it."""
    protocol = plumes.protocol
    seen, told = protocol.past, Forecast().horizons[0]
    parts = dict(protocol.parts)
    for before, name in (("train", "valid"), ("valid", "future")):
        first, last = parts[name]
        # The last window before ends with frame mid + end - 1 + told - 1, this one begins with mid + first - seen.
        parts[name] = (max(first, parts[before][1] - 1 + told + seen), last)
    return plumes.windows(part, outputs=outputs, protocol=replace(protocol, parts=parts))


def _rows(windows: Windows, most: int | None) -> list[int]:
    count = len(windows) if most is None else min(most, len(windows))
    return torch.linspace(0, len(windows) - 1, count).round().long().tolist()


def _split(windows: Windows, most: int | None) -> Split:
    past, following = windows.batch(_rows(windows, most))
    # From (item, time, feature, row, column) to points first, the frames that are seen one after the other.
    return Split(past.flatten(3).permute(0, 3, 1, 2).flatten(2).contiguous(), following.flatten(3).mT.contiguous())
