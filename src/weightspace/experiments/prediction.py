"""What a run's model makes of new networks: an answer with an interval or a set, and whether to trust it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from weightspace.errors import DataError, FormatError, ShapeError, SpecError
from weightspace.experiments.calibration import Calibration
from weightspace.experiments.conformal import bound, class_sets, interval
from weightspace.experiments.equivalent import answers
from weightspace.experiments.run import Run
from weightspace.tasks import Classify
from weightspace.weights import Reading, WeightFeatures, features_of
from weightspace.weights.source import read_sources
from weightspace.weights.source.factory import is_factory
from weightspace.weights.source.file import PROGRAMS, STATES, read_state
from weightspace.weights.source.state import unwrapped
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
) -> tuple[list[str], WeightFeatures]:
    """Networks for the model of a run, by name.

    A file with a state dict does not say how it computes. Without a module or an activation its tensors must be those
    of the run's networks, by name and shape, and it is taken for one of them. With one, and for programs and factories,
    which bring their own, its symmetries are read and must be those of the run's networks.

    Args:
        run: whose networks they must be like.
        sources: files and factories as for `weights.read_source`, folders of files, and zoos.
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
    together = WeightFeatures.cat(parts)
    _check_finite(names, together)
    return names, together


def predict(
    run: Run,
    model: nn.Module,
    calibration: Calibration,
    names: Sequence[str],
    x: WeightFeatures,
    coverage: float = 0.9,
) -> list[Prediction]:
    """Answers for networks, each with what is known of how good it is; the formulas are those of `conformal`.

    Args:
        run: of the model.
        model: `run.model()`.
        calibration: `calibration_of(run, model)`.
        names: of the networks.
        x: the networks.
        coverage: the share of networks, drawn like those of the zoo, whose truth is to be in the interval or the set.

    Raises:
        DataError: a coverage that is no share.
    """
    largest = bound(calibration.scores, coverage)
    output = answers(model, x, run.batch)
    distances = calibration.distance(x)
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
    """A file, factory or zoo as it is; of a folder all network files."""
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
    keys = {param.view.key for param in run.spec.params}
    for what, odd in (("lacks", keys - state.keys()), ("holds", _tensors(state) - keys)):
        if odd:
            raise ShapeError(
                f"{path} {what} {sorted(odd)[0]!r}: its tensors are not those of the networks that {run.folder} was "
                f"trained on, which are {', '.join(sorted(keys))}. {remedy}"
            )
    try:
        return features_of(run.spec, {key: state[key][None] for key in keys})
    except ShapeError as error:
        raise ShapeError(f"{path}: {error}") from error


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
