"""What a run's validation networks say about its answers: how wrong they are, and how far is far. Kept in one file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors import torch as files
from torch import Tensor, nn

from weightspace.disk import write_atomic
from weightspace.errors import FormatError
from weightspace.experiments.chunk import chunks
from weightspace.experiments.conformal import bound, scores
from weightspace.experiments.distance import Neighbourhood, statistics
from weightspace.experiments.equivalent import answers
from weightspace.experiments.run import Run
from weightspace.experiments.spaces import checksum_of, place_of, short, zoos_of
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures
from weightspace.zoo import Zoo

__all__ = ["Calibration", "calibrate", "calibration_of"]

FILE = "calibration.safetensors"
FORMAT, VERSION = "weightspace-calibration", 1
USUAL = 0.99
"""The share of a zoo's own networks that count as near."""
MOST = 10_000
"""The most training networks whose statistics are taken."""
_AROUND = ("mean", "spread", "precision")


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scores and distances of the validation networks, and where the training networks lie.

    Shapes:
        scores, distances: `(validation networks,)`, sorted.

    Args:
        scores: how wrong the model's answers were, see `conformal.scores`.
        distances: from the training networks of the same weight space.
        around: where these lie, by the digest of their space. In units of what is usual within its own space, distances
            of several spaces are counted together.
    """

    scores: Tensor
    distances: Tensor
    around: Mapping[str, Neighbourhood]

    @property
    def far(self) -> float:
        """The distance beyond which a network is far: one in a hundred networks of the zoo would be.

        Of fewer than 99 validation networks it is the largest distance among them.
        """
        found = bound(self.distances, USUAL)
        return found if found < float("inf") else self.distances[-1].item()

    def distance(self, x: WeightFeatures) -> Tensor:
        """How far networks are from the training zoo. Shape `(networks,)`."""
        return self.around[x.spec.digest].distance(statistics(x))

    def write(self, run: Run) -> None:
        """Keep it in the folder of its run."""
        tensors = {"scores": self.scores, "distances": self.distances}
        for spec, end in _endings(run):
            around = self.around[spec.digest]
            tensors |= {f"{name}{end}": getattr(around, name) for name in _AROUND}
        head = {"format": FORMAT, "version": VERSION, **_belongs(run)}
        content = files.save({k: v.contiguous() for k, v in tensors.items()}, {"calibration": json.dumps(head)})
        write_atomic(run.folder / FILE, content)


def calibrate(run: Run, model: nn.Module, zoo: Zoo | Sequence[Zoo]) -> Calibration:
    """Measure a calibration on the validation split, with the training split as the neighbourhood.

    The test split is never read: what it would say of coverage could then not be checked by it.

    Args:
        run: of the model.
        model: the best one.
        zoo: that the run was trained on, or the zoos.

    Raises:
        FormatError: another zoo than that.
    """
    zoos = zoos_of(zoo)
    if checksum_of(zoos) != run.record.zoo_checksum:
        raise FormatError(
            f"{place_of(zoos)} is not the zoo that {run.folder} was trained on: its checksum is "
            f"{short(checksum_of(zoos))}, that of the run's {short(run.record.zoo_checksum)}. It is needed once, to "
            f"calibrate: restore it."
        )
    around = {spec.digest: _around([one for one in zoos if one.spec == spec]) for spec in run.specs}
    wrong, distances = [], []
    for one in zoos:
        kept = one.split("val")
        if len(kept):
            output = torch.cat([answers(model, one.features(rows), run.batch) for rows in chunks(kept, one.spec)])
            wrong.append(scores(run.task, output, run.task.targets(one, kept)))
            distances.append(around[one.spec.digest].distance(_statistics(one, kept)))
    return Calibration(torch.cat(wrong).sort().values, torch.cat(distances).sort().values, around)


def _around(zoos: Sequence[Zoo]) -> Neighbourhood:
    """Where the training networks of zoos of one weight space lie."""
    parts = []
    for zoo in zoos:
        learnt = zoo.split("train")
        if len(learnt) > MOST:
            learnt = np.sort(np.random.default_rng(0).choice(learnt, MOST, replace=False))
        parts.append(_statistics(zoo, learnt))
    return Neighbourhood.of(torch.cat(parts))


def calibration_of(run: Run, model: nn.Module, zoo: Zoo | Sequence[Zoo] | Path | None = None) -> Calibration:
    """The calibration in the folder of a run; where there is none it is measured on the run's zoo, and kept.

    Args:
        run: of the model.
        model: the best one.
        zoo: the zoo, the zoos, or where they lie now, in case they are needed; by default where they lay.

    Raises:
        FormatError: a damaged file, or none and no zoo.
    """
    found = _read(run)
    if found is None:
        found = calibrate(run, model, run.zoos(zoo) if zoo is None or isinstance(zoo, Path) else zoo)
        found.write(run)
    return found


def _read(run: Run) -> Calibration | None:
    """The calibration that is kept, or None where there is none of this model."""
    path = run.folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            head = json.loads((file.metadata() or {})["calibration"])
            t = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dict
        if (head["format"], head["version"]) != (FORMAT, VERSION):
            raise ValueError(f"it is {head['format']} {head['version']}")
        if any(head[name] != value for name, value in _belongs(run).items()):
            return None
        around = {s.digest: Neighbourhood(*(t[f"{name}{end}"] for name in _AROUND)) for s, end in _endings(run)}
        return Calibration(t["scores"], t["distances"], around)
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise FormatError(
            f"{path} cannot be read as a calibration ({error!r}). Delete it: it is made again from the run's zoo."
        ) from error


def _endings(run: Run) -> Iterator[tuple[NetworkSpec, str]]:
    """The spaces of a run, with what the names of their tensors end in: nothing where there is one space."""
    return ((spec, "" if len(run.specs) == 1 else f".{place}") for place, spec in enumerate(run.specs))


def _belongs(run: Run) -> dict[str, object]:
    """What a calibration is of: this run, its best checkpoint, its zoo."""
    return {"run": run.record.digest, "step": run.record.best_step, "zoo": run.record.zoo_checksum}


def _statistics(zoo: Zoo, rows: np.ndarray) -> Tensor:
    return torch.cat([statistics(zoo.features(part)) for part in chunks(rows, zoo.spec)])
