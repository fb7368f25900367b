"""What a run's validation networks say about its answers: how wrong they are, and how far is far. Kept in one file."""

import json
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
from weightspace.weights import WeightFeatures
from weightspace.zoo import Zoo

__all__ = ["Calibration", "calibrate", "calibration_of"]

FILE = "calibration.safetensors"
FORMAT, VERSION = "weightspace-calibration", 1
USUAL = 0.99
"""The share of a zoo's own networks that count as near."""
MOST = 10_000
"""The most training networks whose statistics are taken."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scores and distances of the validation networks, and where the training networks lie.

    Shapes:
        scores, distances: `(validation networks,)`, sorted.

    Args:
        scores: how wrong the model's answers were, see `conformal.scores`.
        distances: from the training networks.
        around: where these lie.
    """

    scores: Tensor
    distances: Tensor
    around: Neighbourhood

    @property
    def far(self) -> float:
        """The distance beyond which a network is far: one in a hundred networks of the zoo would be.

        Of fewer than 99 validation networks it is the largest distance among them.
        """
        found = bound(self.distances, USUAL)
        return found if found < float("inf") else self.distances[-1].item()

    def distance(self, x: WeightFeatures) -> Tensor:
        """How far networks are from the training zoo. Shape `(networks,)`."""
        return self.around.distance(statistics(x))

    def write(self, run: Run) -> None:
        """Keep it in the folder of its run."""
        tensors = {
            "scores": self.scores,
            "distances": self.distances,
            "mean": self.around.mean,
            "spread": self.around.spread,
            "precision": self.around.precision,
        }
        head = {"format": FORMAT, "version": VERSION, **_belongs(run)}
        content = files.save({k: v.contiguous() for k, v in tensors.items()}, {"calibration": json.dumps(head)})
        write_atomic(run.folder / FILE, content)


def calibrate(run: Run, model: nn.Module, zoo: Zoo) -> Calibration:
    """Measure a calibration on the validation split, with the training split as the neighbourhood.

    The test split is never read: what it would say of coverage could then not be checked by it.

    Args:
        run: of the model.
        model: the best one.
        zoo: that the run was trained on.

    Raises:
        FormatError: another zoo than that.
    """
    if zoo.checksum != run.record.zoo_checksum:
        raise FormatError(
            f"{zoo.path} is not the zoo that {run.folder} was trained on: its checksum is {zoo.checksum[:12]}, that of "
            f"the run's {run.record.zoo_checksum[:12]}. It is needed once, to calibrate: restore it."
        )
    learnt, kept = zoo.split("train"), zoo.split("val")
    if len(learnt) > MOST:
        learnt = np.sort(np.random.default_rng(0).choice(learnt, MOST, replace=False))
    around = Neighbourhood.of(_statistics(zoo, learnt))
    output = torch.cat([answers(model, zoo.features(rows), run.batch) for rows in chunks(kept, zoo.spec)])
    wrong = scores(run.task, output, run.task.targets(zoo, kept))
    return Calibration(wrong.sort().values, around.distance(_statistics(zoo, kept)).sort().values, around)


def calibration_of(run: Run, model: nn.Module, zoo: Zoo | Path | None = None) -> Calibration:
    """The calibration in the folder of a run; where there is none it is measured on the run's zoo, and kept.

    Args:
        run: of the model.
        model: the best one.
        zoo: the zoo, or where it lies now, in case it is needed; by default where it lay.

    Raises:
        FormatError: a damaged file, or none and no zoo.
    """
    found = _read(run)
    if found is None:
        found = calibrate(run, model, zoo if isinstance(zoo, Zoo) else run.zoo(zoo))
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
        return Calibration(t["scores"], t["distances"], Neighbourhood(t["mean"], t["spread"], t["precision"]))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise FormatError(
            f"{path} cannot be read as a calibration ({error!r}). Delete it: it is made again from the run's zoo."
        ) from error


def _belongs(run: Run) -> dict[str, object]:
    """What a calibration is of: this run, its best checkpoint, its zoo."""
    return {"run": run.record.digest, "step": run.record.best_step, "zoo": run.record.zoo_checksum}


def _statistics(zoo: Zoo, rows: np.ndarray) -> Tensor:
    return torch.cat([statistics(zoo.features(part)) for part in chunks(rows, zoo.spec)])
