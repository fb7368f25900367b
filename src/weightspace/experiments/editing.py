"""The demo of editing: from images to networks that hold them, to a model that edits those networks in weight space."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from weightspace import models
from weightspace.errors import DataError, unknown
from weightspace.gauge.phase import fold_phases
from weightspace.tasks import CHANGES, EditImages
from weightspace.training import Pace, RunRecord, Splits, TrainSettings, train
from weightspace.training.record import finite, versions, write_json
from weightspace.weights import WeightFeatures
from weightspace.zoo import Images, Zoo, load_or_digits, load_pictures
from weightspace.zoo.generate import SirenSettings, make_siren_zoo
from weightspace.zoo.sources import images_of

__all__ = ["EDITORS", "Edited", "EditingRecord", "EditingSettings", "run_editing", "tiled", "untiled"]

EDITORS: Mapping[str, type[models.ScaleGMN | models.MonomialNFN]] = {
    "ScaleGMN": models.ScaleGMN,
    "MonomialNFN": models.MonomialNFN,
}
"""Models that answer with networks, and may be chosen here."""
_SIZES: Mapping[str, dict[str, Any]] = {
    "ScaleGMN": {"channels": 32, "rounds": 4, "bidirectional": True, "messages": "linear", "form": "product"},
    "MonomialNFN": {"stem": (32, 32, 32)},
}
# With these, half the steps reach the same images.
_MOMENTS = (0.7, 0.9)
RECORD, FORMAT, VERSION = "editing.json", "weightspace-editing", 1
SHOWN = 10

Progress = Callable[[str, int, int, str], None]
"""Called with the stage, what is done, out of how much, and a word on how it goes."""


@dataclass(frozen=True)
class EditingSettings:
    """What the demo of editing does. Everything that changes a number is here, so that the record can repeat it."""

    photo: Path | None = None
    """A picture of your own, to be edited tile by tile: one network for each tile of the size of the images."""
    change: str | None = None
    """What edits do to the images: contrast or dilate; by default contrast in colour, and dilate in grey."""
    out: Path = Path("weightspace-editing")
    """Folder of the run; each data set, size and change gets a folder of its own in it."""
    data: str = "cifar10"
    """Whose images the model learns from: cifar10, cifar10-gs, mnist, fashion-mnist or digits."""
    count: int = 3000
    """Networks to fit, one per image; a tenth each is kept for validation and for the test."""
    side: int = 128
    """Pixels along a side of the photo, which is cut to a square; rounded down to whole tiles."""
    model: str = "ScaleGMN"
    """What edits: ScaleGMN, with messages both ways, or MonomialNFN."""
    steps: int = 500
    """Optimisation steps of the model that edits."""
    batch: int = 32
    """Networks in a batch."""
    learning_rate: float = 3e-3
    """The largest learning rate."""
    omega: float = 15.0
    """Frequency of the fitted networks' sines."""
    fit_steps: int = 100
    """Optimisation steps per fitted network."""
    fit_rate: float = 1e-2
    """Step size of these steps."""
    fold: bool = True
    """Bring the phases of all sines into one range before the model reads the networks (the guide on phases)."""
    seed: int = 0
    """Seed of the model, of the order of its data, and of the networks' starts."""
    folder: Path | None = None
    """Where the original files of the data set lie, if you have them already."""
    offline: bool = False
    """Use no package registry; the images come from the folder, the cache, or scikit-learn's digits."""

    def __post_init__(self) -> None:
        if self.change is not None and self.change not in CHANGES:
            raise unknown("change", self.change, CHANGES)
        if self.model not in EDITORS:
            raise unknown("model that edits", self.model, EDITORS)
        if self.count < 1 or self.side < 1:
            raise DataError(f"count is {self.count} and side {self.side}; expected at least one network and one pixel.")
        # These check themselves: now, and not when the networks are fitted.
        self.siren, self.training  # noqa: B018

    @property
    def siren(self) -> SirenSettings:
        """How the networks are fitted."""
        return SirenSettings(
            omega=self.omega, steps=self.fit_steps, learning_rate=self.fit_rate, moments=_MOMENTS, seed=self.seed
        )

    @property
    def training(self) -> TrainSettings:
        """How the model is trained."""
        return TrainSettings(
            steps=self.steps, seed=self.seed, learning_rate=self.learning_rate, batch=self.batch, weight_decay=0.0
        )

    @property
    def plain(self) -> dict[str, Any]:
        """The settings that change a result of the training, as JSON values."""
        return {name: value for name, value in asdict(self).items() if name not in _APART}


# Where things lie, and what is edited by a model that has learnt.
_APART = ("photo", "side", "out", "folder", "offline")


@dataclass(frozen=True, eq=False)
class Edited:
    """Networks with what became of them: their images as they are, edited in weight space, and changed.

    Shapes:
        before, after, target: `(n, height, width)` or `(n, height, width, 3)`, from 0 to 1.
    """

    before: np.ndarray
    after: np.ndarray
    target: np.ndarray

    @property
    def errors(self) -> tuple[float, float]:
        """Mean squared errors to the target, of the networks as they are and of the edited ones."""
        before, after = (float(np.square(images - self.target).mean()) for images in (self.before, self.after))
        return before, after


@dataclass(frozen=True, eq=False)
class EditingRecord:
    """Everything that the demo of editing measured, and the images of its picture."""

    settings: dict[str, Any]
    """The settings that change a result."""
    change: str
    """What was done to the images."""
    note: str
    """Where the images came from."""
    zoo: dict[str, Any]
    """The networks: how many in each split, parameters, mean PSNR in dB, checksum."""
    run: dict[str, Any]
    """The training: model, parameters, steps, seconds."""
    test: dict[str, Any]
    """On unseen networks: `mse` of edited and of unedited ones, `psnr`, the share that was improved."""
    photo: dict[str, Any] | None
    """The same on the tiles of a photo, clamped as it is shown; None without one."""
    versions: dict[str, str]
    """Of weightspace, torch and python."""
    shown: Edited
    """Some networks of the test split."""
    picture: Edited | None
    """The photo, put together: one image."""

    def write(self, folder: Path) -> None:
        """Put all but the images into a folder, as JSON.

        Raises:
            StorageError: it cannot be written.
        """
        names = ("settings", "change", "note", "zoo", "run", "test", "photo", "versions")
        plain = {name: getattr(self, name) for name in names}
        write_json(folder / RECORD, {"format": FORMAT, "version": VERSION, **plain})


def tiled(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture in tiles, row by row from the top left; what is left over at the right and at the bottom is cut off.

    Shapes:
        picture: `(rows, columns)` or `(rows, columns, 3)`; result: `(tiles, height, width)` or with `3` behind.

    Example:
        >>> tiled(np.arange(16).reshape(4, 4), 2, 2)[1].tolist()
        [[2, 3], [6, 7]]
    """
    rows, columns = picture.shape[0] // height, picture.shape[1] // width
    whole = picture[: rows * height, : columns * width]
    parts = whole.reshape(rows, height, columns, width, *picture.shape[2:]).swapaxes(1, 2)
    return parts.reshape(rows * columns, height, width, *picture.shape[2:])


def untiled(tiles: np.ndarray, columns: int) -> np.ndarray:
    """The picture that `tiled` cut, with so many tiles in a row.

    Example:
        >>> picture = np.arange(24).reshape(4, 6)
        >>> np.array_equal(untiled(tiled(picture, 2, 2), 3), picture)
        True
    """
    count, height, width, *colours = tiles.shape
    grid = tiles.reshape(count // columns, columns, height, width, *colours).swapaxes(1, 2)
    return grid.reshape(count // columns * height, columns * width, *colours)


def run_editing(settings: EditingSettings, progress: Progress | None = None) -> tuple[EditingRecord, Path]:
    """Do everything that the demo of editing does, or go on with it; what is finished is not done again.

    Fits one SIREN per image into a zoo, trains a model that edits them, compares what the edited networks of the test
    split draw with the changed originals, and does the same to the tiles of a photo, if one is given.

    Args:
        settings: what to do and where.
        progress: told how each stage goes.

    Returns:
        The record, and the folder that it was written to.

    Raises:
        WeightspaceError: whatever a stage cannot do, with the remedy; what was finished before is kept.
    """
    if settings.photo is not None:
        load_pictures(settings.photo, side=1)  # before the minutes that come
    images = load_or_digits(settings.data, folder=settings.folder, offline=settings.offline)
    return _Editing(settings, images, progress or (lambda *_: None)).run()


@dataclass
class _Editing:
    """One sitting."""

    settings: EditingSettings
    images: Images
    progress: Progress

    def __post_init__(self) -> None:
        colour = self.images.train.ndim == 4
        self.change = self.settings.change or ("contrast" if colour else "dilate")
        self.home = self.settings.out / f"{self.images.name}-{self.change}-{self.settings.count}"

    def run(self) -> tuple[EditingRecord, Path]:
        """Every stage, each of which goes on from what is there."""
        count = min(self.settings.count, len(self.images))
        zoo = self.fit(self.home / "zoo", self.images, self.settings.siren, count, "Fitting networks")
        task = EditImages.of(zoo, self.images, self.change)
        data = Splits.of(zoo, task).map(self.prepared)
        model, run = self.train(zoo, task, data)
        edited = self.edit(model, data.test.features)
        images = _columns(task, data.test.features, edited, data.test.target)
        photo = None if self.settings.photo is None else self.edit_photo(model, task)
        record = EditingRecord(
            settings=self.settings.plain,
            change=self.change,
            note=self.images.note,
            zoo={"images": self.images.name, **_about(zoo)},
            run={
                "model": self.settings.model,
                **{name: getattr(run, name) for name in ("parameters", "steps", "seconds")},
            },
            test=_measured(task, data.test.features, edited, data.test.target),
            photo=None if photo is None else photo[0],
            versions=versions(),
            shown=Edited(*(part[:SHOWN] for part in images)),
            picture=None if photo is None else photo[1],
        )
        record.write(self.home)
        return record, self.home

    def fit(self, folder: Path, images: Images, siren: SirenSettings, count: int, stage: str) -> Zoo:
        """One network per image."""
        done = 0

        def advance(networks: int) -> None:
            nonlocal done
            done += networks
            self.progress(stage, done, count, "")

        return make_siren_zoo(folder, images, siren, count=count, seed=siren.seed, progress=advance)

    def train(self, zoo: Zoo, task: EditImages, data: Splits) -> tuple[nn.Module, RunRecord]:
        """The model that edits, trained."""
        torch.manual_seed(self.settings.seed)
        model = _editor(self.settings.model, zoo)
        model.norm.fit(data.train.features)

        def advance(pace: Pace) -> None:
            known = "" if pace.score is None else f", validation {-pace.score:.4f}"
            self.progress("Training", pace.step, pace.steps, f"squared error {pace.loss:.4f}{known}")

        key = hashlib.sha256(json.dumps(self.settings.plain, sort_keys=True).encode()).hexdigest()[:8]
        about = {"model": self.settings.model, "fold": self.settings.fold}
        folder = self.home / "runs" / f"{self.settings.model}-{key}"
        run = train(model, task, data, self.settings.training, out=folder, about=about, progress=advance)
        return model.cpu(), run

    def prepared(self, x: WeightFeatures) -> WeightFeatures:
        """Networks as the model reads them."""
        return fold_phases(x) if self.settings.fold else x

    @torch.no_grad()
    def edit(self, model: nn.Module, x: WeightFeatures) -> WeightFeatures:
        """Networks, edited."""
        batch = self.settings.batch
        return WeightFeatures.cat([model(x[at : at + batch]) for at in range(0, len(x), batch)])

    def edit_photo(self, model: nn.Module, task: EditImages) -> tuple[dict[str, Any], Edited]:
        """The photo, tile by tile: what was measured, and the pictures."""
        photo, tiles, columns = self.photo_tiles(task.canvas.height, task.canvas.width)
        # The seed of the starts is another one: these networks are as new as their images.
        siren = replace(self.settings.siren, seed=self.settings.seed + 1)
        folder = self.home / "photos" / f"{photo.name}-{tiles.checksum[:8]}"
        zoo = self.fit(folder, tiles, siren, len(tiles), "Fitting the photo")
        own = EditImages.of(zoo, tiles, self.change)
        # Back into the order of the tiles.
        rows = np.argsort(zoo.column("image"))
        networks, target = self.prepared(zoo.features(rows)), own.targets(zoo, rows)
        edited = self.edit(model, networks)
        parts = _columns(own, networks, edited, target)
        whole = Edited(*(untiled(part, columns) for part in parts))
        about = {"name": str(self.settings.photo), "checksum": photo.checksum, "networks": len(tiles)}
        before, after = whole.errors
        return about | {"unedited mse": before, "mse": after, "psnr of the fit": _psnr(zoo)}, whole

    def photo_tiles(self, height: int, width: int) -> tuple[Images, Images, int]:
        """The photo, its tiles as a data set, and how many are in a row."""
        assert self.settings.photo is not None
        photo = load_pictures(self.settings.photo, grey=self.images.train.ndim == 3, side=self.settings.side)
        if len(photo) != 1:
            raise DataError(f"{self.settings.photo} holds {len(photo)} pictures; expected the file of one.")
        if self.settings.side < max(height, width):
            raise DataError(f"side is {self.settings.side}; expected at least one tile of {height} x {width} pixels.")
        picture = photo.train[0]
        if picture.ndim < self.images.train.ndim - 1:
            picture = np.repeat(picture[..., None], 3, -1)
        tiles = tiled(picture, height, width)
        labels = np.zeros(len(tiles), np.int64)
        return photo, images_of(photo.name, (tiles, labels, None, None), photo.note), self.settings.side // width


def _editor(name: str, zoo: Zoo) -> models.ScaleGMN | models.MonomialNFN:
    return EDITORS[name](zoo.spec, models.Edit(), **_SIZES[name])


@torch.no_grad()
def _columns(task: EditImages, x: WeightFeatures, edited: WeightFeatures, target: Tensor) -> tuple[np.ndarray, ...]:
    """Before, after and target as they are seen."""
    return tuple(images.clamp(0, 1).numpy() for images in (task.outcome(x), task.outcome(edited), target))


def _about(zoo: Zoo) -> dict[str, Any]:
    sizes = {name: len(zoo.split(name)) for name in ("train", "val", "test")}
    return {"checksum": zoo.checksum, "networks": sizes, "parameters": zoo.spec.numel, "psnr": _psnr(zoo)}


def _psnr(zoo: Zoo) -> float | None:
    return finite(float(zoo.column("psnr").mean()))


def _measured(task: EditImages, x: WeightFeatures, edited: WeightFeatures, target: Tensor) -> dict[str, Any]:
    """What edits are worth, beside doing nothing."""
    with torch.no_grad():
        before, after = task.unedited(x, target).double(), task.errors(edited, target).double()
    gain = before - after
    return {
        "networks": len(target),
        "unedited mse": before.mean().item(),
        **{name: finite(value) for name, value in task.measures(edited, target).items()},
        "standard error of the gain": finite(gain.std().item() / len(gain) ** 0.5),
        "improved": (gain > 0).double().mean().item(),
    }
