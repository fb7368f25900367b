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
from weightspace.tasks import Classify, PredictAccuracy
from weightspace.training import Pace, Splits, TrainSettings
from weightspace.training import train as run
from weightspace.zoo import Zoo, open_zoo

__all__ = ["train"]

Task = Classify | PredictAccuracy


def train(
    zoo: Path,
    /,
    *,
    out: Path,
    model: str = "MonomialNFN",
    target: str = "label",
    settings: Annotated[TrainSettings | None, Parameter(name="*")] = None,
) -> None:
    """Train a model to tell a label, or an accuracy, from a network's weights; go on with the run that is there.

    Args:
        zoo: folder of the zoo.
        out: folder of the run: checkpoints and record.json.
        model: FlatMLP, StatNN, NP, MonomialNFN, MAGEPNFN or ScaleGMN, in the size that the demo uses.
        target: the column of the zoo's table to be told: integers are classes, numbers from 0 to 1 accuracies, whose
            order is scored by Kendall's tau.
        settings: of the training; --steps or --seconds must be given.
    """
    settings = settings or TrainSettings()  # which asks for a number of steps or seconds
    opened = open_zoo(zoo)
    task = _task(opened, target)
    data = Splits.of(opened, task)
    torch.manual_seed(settings.seed)
    built = build(model, opened, Invariant(task.classes if isinstance(task, Classify) else 1))
    built.norm.fit(data.train.features)
    with bars() as report:

        def advance(pace: Pace) -> None:
            known = "" if pace.score is None else f", validation {_told(task, pace.score)}"
            report(f"Training {model}", pace.step, pace.steps, f"loss {pace.loss:.3f}{known}")

        record = run(built, task, data, settings, out=out, progress=advance)
    what = "told rightly" if isinstance(task, Classify) else "(Kendall's tau), by accuracy,"
    print(
        f"{model}: {_told(task, record.test_score)} of {len(data.test):,} unseen networks {what} "
        f"after {record.steps:,} steps in {record.seconds:.0f} s. The record is {out / 'record.json'}."
    )


def _told(task: Task, score: float | None) -> str:
    if score is None:
        return "no score"
    return f"{score:.1%}" if isinstance(task, Classify) else f"rank correlation {score:.3f}"


def _task(zoo: Zoo, target: str) -> Task:
    """What a column asks for: one class more than its largest integer, or accuracies."""
    entries = zoo.column(target)
    if len(entries) and np.issubdtype(entries.dtype, np.integer):
        return Classify(classes=int(entries.max()) + 1, target=target)
    if len(entries) and np.issubdtype(entries.dtype, np.floating):
        return PredictAccuracy(target=target)
    raise DataError(
        f"column {target!r} of {zoo!r} holds {len(entries)} entries of type {entries.dtype}: expected classes, as "
        "integers from 0, or accuracies, as numbers from 0 to 1. Choose another column with --target."
    )
