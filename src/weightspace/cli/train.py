"""``weightspace train``: one model on one zoo."""

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from cyclopts import Parameter

from weightspace.cli.bar import bars
from weightspace.errors import DataError
from weightspace.experiments.demo import build
from weightspace.models import Invariant
from weightspace.tasks import Classify
from weightspace.training import Splits, TrainSettings
from weightspace.training import train as run
from weightspace.zoo import Zoo, open_zoo

__all__ = ["train"]


def train(
    zoo: Path,
    /,
    *,
    out: Path,
    model: str = "MonomialNFN",
    target: str = "label",
    settings: Annotated[TrainSettings | None, Parameter(name="*")] = None,
) -> None:
    """Train a model to tell a label from a network's weights; go on with the run that is there.

    Args:
        zoo: folder of the zoo.
        out: folder of the run: checkpoints and record.json.
        model: FlatMLP, StatNN, NP, MonomialNFN, MAGEPNFN or ScaleGMN, in the size that the demo uses.
        target: the column of the zoo's table to be told.
        settings: of the training; --steps or --seconds must be given.
    """
    settings = settings or TrainSettings()  # which asks for a number of steps or seconds
    opened = open_zoo(zoo)
    task = Classify(classes=_classes(opened, target), target=target)
    data = Splits.of(opened, task)
    torch.manual_seed(settings.seed)
    built = build(model, opened, Invariant(task.classes))
    built.norm.fit(data.train.features)
    with bars() as report:

        def advance(step: int, steps: int, loss: float, score: float | None) -> None:
            known = "" if score is None else f", validation {score:.1%}"
            report(f"Training {model}", step, steps, f"loss {loss:.3f}{known}")

        record = run(built, task, data, settings, out=out, zoo_checksum=opened.checksum, progress=advance)
    print(
        f"{model}: {record.test_score:.1%} of {len(data.test):,} unseen networks told rightly "
        f"after {record.steps:,} steps in {record.seconds:.0f} s. The record is {out / 'record.json'}."
    )


def _classes(zoo: Zoo, target: str) -> int:
    """How many classes a column tells apart: one more than its largest entry."""
    labels = zoo.column(target)
    if not np.issubdtype(labels.dtype, np.integer) or not len(labels):
        raise DataError(
            f"column {target!r} of {zoo!r} holds {len(labels)} entries of type {labels.dtype}: expected classes, "
            "as integers from 0. Choose another column with --target."
        )
    return int(labels.max()) + 1
