"""What a run's model is worth on a split of any zoo of its networks; each evaluation is kept, and counted."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from weightspace.errors import DataError, FormatError, unknown
from weightspace.experiments.chunk import chunks
from weightspace.experiments.equivalent import answers
from weightspace.experiments.run import Run, read_json
from weightspace.experiments.spaces import checksum_of, place_of, short, zoos_of
from weightspace.training.record import finite, listed, versions, write_json
from weightspace.zoo import Zoo

__all__ = ["SPLITS", "Evaluated", "evaluate"]

FORMAT, VERSION = "weightspace-evaluation", 1
SPLITS = ("train", "val", "test", "all")


@dataclass(frozen=True)
class Evaluated:
    """What came of an evaluation; plain values, so that it is JSON as it stands."""

    run: str
    """The digest of the run's settings."""
    model: str
    """The model's name."""
    task: dict[str, Any]
    """The task."""
    zoo: dict[str, Any]
    """Path and checksum of the zoo."""
    split: str
    """Which of its networks: train, val, test or all."""
    loss: float | None
    """The mean loss; None where it is not finite."""
    score: float | None
    """The score of the task; None where it is not finite."""
    numbers: list[int]
    """The number of each network in the zoo."""
    predictions: list[Any]
    """The answer for each network."""
    targets: list[Any]
    """The truth for each network."""
    looks: int
    """How often this split was evaluated with this model, this time included."""
    notices: list[str] = field(default_factory=list)
    """What a reader of the score must know."""
    versions: dict[str, str] = field(default_factory=versions)
    """Versions of weightspace, torch and python."""


def evaluate(run: Run, model: nn.Module, zoo: Zoo | Sequence[Zoo], split: str = "test") -> tuple[Evaluated, Path]:
    """Evaluate the model of a run on a split of a zoo, or of several, and keep what came of it in the run's folder.

    Args:
        run: of the model.
        model: `run.model()`.
        zoo: networks of the run's space, with the column of its targets: the run's own zoo or another. Or several, one
            after the other, of which each may lack the split.
        split: train, val, test or all.

    Returns:
        What came of it, and the file that holds it, `evaluations/ZOO-SPLIT.json` by the zoo's checksum.

    Raises:
        UnknownNameError: a split or a column that does not exist.
        SpecError: a zoo of other networks.
        DataError: no networks in the split, or targets that are none of the task's.
        StorageError: the file cannot be written.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    zoos = zoos_of(zoo)
    for one in zoos:
        run.expect(one.spec, f"those of {one.path}")
    rows = [np.arange(len(one)) if split == "all" else one.split(split) for one in zoos]
    if not any(len(own) for own in rows):
        raise DataError(f"{zoos[0]!r} has no networks in the split {split}: choose another with --split.")
    asked = [(one, own) for one, own in zip(zoos, rows, strict=True) if len(own)]
    targets = torch.cat([run.task.targets(one, own) for one, own in asked])
    parts = [(one, part) for one, own in asked for part in chunks(own, one.spec)]
    output = torch.cat([answers(model, one.features(part), run.batch) for one, part in parts])
    checksum = checksum_of(zoos)
    path = run.folder / "evaluations" / f"{short(checksum)}-{split}.json"
    looks = _looks(run, path)
    found = Evaluated(
        run=run.record.digest,
        model=run.choice.name,
        task=dict(run.description["task"]),
        zoo={"path": place_of(zoos), "checksum": checksum},
        split=split,
        loss=finite(run.task.loss(output, targets).item()),
        score=finite(run.task.score(output, targets)),
        numbers=[number for one, own in asked for number in one.column("number")[own].tolist()],
        predictions=listed(run.task.predict(output)),
        targets=targets.tolist(),
        looks=looks + 1,
        notices=[*_notices(run, zoos, split), *_seen(looks)],
    )
    write_json(path, {"format": FORMAT, "version": VERSION, **asdict(found)})
    return found, path


def _notices(run: Run, zoos: Sequence[Zoo], split: str) -> list[str]:
    """What a split is to a run."""
    known = run.record.zoo_checksum.split()
    if len(zoos) < len(known) and all(one.checksum in known for one in zoos):
        return [f"{len(zoos)} of the {len(known)} zoos that the run was trained on", *_notices_of(split)]
    if checksum_of(zoos) != run.record.zoo_checksum:
        moved = tuple(one.path.resolve() for one in zoos) != run.zoo_paths
        where = "" if moved else ": it lies where the run's zoo lay, and is not that zoo now"
        return [f"another zoo than the run was trained on{where}"]
    return _notices_of(split)


def _notices_of(split: str) -> list[str]:
    """What a split of the run's own networks is to it."""
    return {
        "train": ["the training split of this run: the model has learnt from these networks"],
        "val": ["the validation split of this run, which has chosen the checkpoint: the score is a little too good"],
        "test": ["the test split of this run, looked at once already, as its training ended"],
        "all": ["all networks of the run's zoo, those that the model has learnt from among them"],
    }[split]


def _seen(looks: int) -> list[str]:
    if not looks:
        return []
    return [f"evaluated {looks} time{'s' if looks > 1 else ''} before: what is chosen by looking again is no test"]


def _looks(run: Run, path: Path) -> int:
    """How often an evaluation was made before, by the file that the last one left."""
    if not path.exists():
        return 0
    kept = read_json(path)
    if kept.get("format") != FORMAT:
        raise FormatError(f"{path} is no evaluation: move it away.")
    return int(kept.get("looks", 1)) if kept.get("run") == run.record.digest else 0
