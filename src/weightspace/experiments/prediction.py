"""What a run's model makes of new networks: an answer with an interval or a set, and whether to trust it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path

import torch
from torch import Tensor, nn

from weightspace.errors import DataError, FormatError, ShapeError, SpecError
from weightspace.experiments.calibration import Calibration
from weightspace.experiments.conformal import bound, class_sets, interval
from weightspace.experiments.equivalent import answers
from weightspace.experiments.run import Run
from weightspace.experiments.spaces import is_collection
from weightspace.spec import NetworkSpec
from weightspace.tasks import Classify
from weightspace.weights import Reading, WeightFeatures, features_of
from weightspace.weights.source import read_sources
from weightspace.weights.source.factory import is_factory
from weightspace.weights.source.file import PROGRAMS, STATES, read_state
from weightspace.weights.source.state import unwrapped
from weightspace.zoo.collection import collection_names
from weightspace.zoo.format import MANIFEST_FILE

__all__ = ["Prediction", "predict", "read_networks"]

_AS_THEY_ARE = Reading()


@dataclass(frozen=True)
class Prediction:
    """The answer for one network.

    Args:
        network: its name.
        answer: the class, or the accuracy.
        probability: of the class; None for accuracies.
        low: the lower end of the interval; None for classes.
        high: the upper end; None for classes.
        classes: the set of classes; None for accuracies.
        distance: from the training zoo, about one within it.
        far: whether it is farther than 99 in a hundred networks of the zoo.
    """

    network: str
    answer: int | float
    probability: float | None
    low: float | None
    high: float | None
    classes: list[int] | None
    distance: float
    far: bool


def read_networks(
    run: Run, sources: Sequence[str | Path], reading: Reading = _AS_THEY_ARE, rows: Sequence[int] | None = None
) -> tuple[list[str], WeightFeatures | list[WeightFeatures]]:
    """Networks for the model of a run, by name; features, or a list of them where the run has several weight spaces.

    A file with a state dict does not say how it computes. Without a module or an activation its tensors must be those
    of the run's networks, by name and shape, and it is taken for one of them. With one, and for programs and factories,
    which bring their own, its symmetries are read and must be those of the run's networks.

    Args:
        run: whose networks they must be like.
        sources: files and factories as for `weights.read_source`, folders of files, zoos, and folders of zoos.
        reading: how files become networks.
        rows: of zoos, which networks; by default all.

    Raises:
        SpecError: a network of another space, or a zoo of others.
        ShapeError: a state dict with other tensors.
        DataError: weights that are not finite, or a row that a zoo does not have.
        FormatError: files that cannot be read, and rows where there is no zoo.
    """
    names, parts = [], []
    files = [file for source in sources for file in _files(Path(source), str(source))]
    if rows is not None and not any(_is_zoo(Path(file)) for file in files):
        raise FormatError(f"rows {list(rows)} are given, and none of {', '.join(files)} is a zoo: leave them out.")
    plain = reading == _AS_THEY_ARE
    others = [file for file in files if not _is_zoo(Path(file)) and not (plain and Path(file).suffix in STATES)]
    read = iter(read_sources(others, reading) if others else [])
    for file in files:
        if _is_zoo(Path(file)):
            told, x = _from_zoo(run, Path(file), rows)
        elif plain and Path(file).suffix in STATES:
            told, x = [file], _from_state(run, Path(file))
        else:
            source = next(read)
            spec = source.spec()
            run.expect(spec, file)
            told, x = [file], source.features(spec)
        names += told
        parts.append(x.to(torch.float32))
    if not plain and not others:
        raise SpecError(f"{reading} is given, and only zoos, which say themselves how they are read: leave it out.")
    together = [WeightFeatures.cat(list(alike)) for _, alike in groupby(parts, lambda part: part.spec)]
    for part, first in zip(together, accumulate(map(len, together), initial=0), strict=False):
        _check_finite(names[first : first + len(part)], part)
    return names, together[0] if len(run.specs) == 1 else together


def predict(
    run: Run,
    model: nn.Module,
    calibration: Calibration,
    names: Sequence[str],
    x: WeightFeatures | Sequence[WeightFeatures],
    coverage: float = 0.9,
) -> list[Prediction]:
    """Answers for networks, each with what is known of how good it is; the formulas are those of `conformal`.

    Args:
        run: of the model.
        model: `run.model()`.
        calibration: `calibration_of(run, model)`.
        names: of the networks.
        x: the networks; of several weight spaces one after the other.
        coverage: the share of networks, drawn like those of the zoo, whose truth is to be in the interval or the set.

    Raises:
        DataError: a coverage that is no share.
    """
    largest = bound(calibration.scores, coverage)
    parts = [x] if isinstance(x, WeightFeatures) else x
    output = torch.cat([answers(model, part, run.batch) for part in parts])
    distances = torch.cat([calibration.distance(part) for part in parts])
    found = run.task.predict(output)
    if isinstance(run.task, Classify):
        shares = output.double().softmax(-1)
        sets = class_sets(shares, largest)
        rest = [
            {"answer": int(k), "probability": float(p[k]), "low": None, "high": None, "classes": _members(s)}
            for k, p, s in zip(found, shares, sets, strict=True)
        ]
    else:
        low, high = interval(found.double(), largest)
        rest = [
            {"answer": float(y), "probability": None, "low": float(a), "high": float(b), "classes": None}
            for y, a, b in zip(found, low, high, strict=True)
        ]
    far = calibration.far
    return [
        Prediction(network=name, distance=float(d), far=float(d) > far, **each)  # type: ignore[arg-type]  # a table
        for name, d, each in zip(names, distances, rest, strict=True)
    ]


def _members(row: Tensor) -> list[int]:
    return [int(k) for k in row.nonzero()[:, 0]]


def _is_zoo(path: Path) -> bool:
    return (path / MANIFEST_FILE).exists()


def _files(path: Path, name: str) -> Iterator[str]:
    """A file, factory or zoo as it is; of a folder all zoos or network files."""
    if is_collection(path):
        yield from (str(path / zoo) for zoo in collection_names(path))
        return
    if is_factory(name) or _is_zoo(path) or not path.is_dir():
        yield name
        return
    files = sorted(file for file in path.iterdir() if file.suffix in (*STATES, *PROGRAMS) and file.is_file())
    if not files:
        raise FormatError(f"{path} holds no networks; expected files ending in {', '.join((*STATES, *PROGRAMS))}.")
    yield from map(str, files)


def _from_zoo(run: Run, path: Path, rows: Sequence[int] | None) -> tuple[list[str], WeightFeatures]:
    zoo = run.zoo(path)
    chosen = list(range(len(zoo))) if rows is None else list(rows)
    if not chosen:
        raise DataError(f"{zoo!r} holds no networks.")
    x = zoo.features(chosen)
    return [f"{path} network {number}" for number in zoo.column("number")[chosen]], x


def _from_state(run: Run, path: Path) -> WeightFeatures:
    """A state dict that holds the tensors of the run's networks, and no others."""
    state, _ = unwrapped(read_state(path))
    remedy = "Where it is such a network under other names, give what computes it with --module package.module:factory."
    spec = _spec_of_state(run, path, state)
    keys = {param.view.key for param in spec.params}
    for what, odd in (("lacks", keys - state.keys()), ("holds", _tensors(state) - keys)):
        if odd:
            raise ShapeError(
                f"{path} {what} {sorted(odd)[0]!r}: its tensors are not those of the networks that {run.folder} was "
                f"trained on, which are {', '.join(sorted(keys))}. {remedy}"
            )
    try:
        return features_of(spec, {key: state[key][None] for key in keys})
    except ShapeError as error:
        raise ShapeError(f"{path}: {error}") from error


def _spec_of_state(run: Run, path: Path, state: dict[str, Tensor]) -> NetworkSpec:
    """The one space of the run whose tensors these may be; the first, with which they differ, where there is none."""
    sizes = {key: tuple(state[key].shape) for key in _tensors(state)}
    fits = [spec for spec in run.specs if sizes == {p.view.key: spec.stored_shape(p.name) for p in spec.params}]
    if len(fits) > 1:
        raise SpecError(
            f"{path} may be of {len(fits)} of the weight spaces that {run.folder} was trained on, which compute in "
            f"different ways with the same tensors. Remedy: say what computes with it by --module "
            f"package.module:factory, or by --activation for a plain chain of layers."
        )
    return fits[0] if fits else run.specs[0]


def _tensors(state: dict[str, Tensor]) -> set[str]:
    return {key for key in state if key.rpartition(".")[2] != "num_batches_tracked"}


def _check_finite(names: Sequence[str], x: WeightFeatures) -> None:
    for key, tensor in x.items():
        wrong = (~tensor.isfinite().flatten(1).all(1)).nonzero()
        if len(wrong):
            raise DataError(
                f"{names[int(wrong[0])]}: {key!r} holds numbers that are not finite; expected finite weights. "
                "Remedy: take them from before the training diverged."
            )
