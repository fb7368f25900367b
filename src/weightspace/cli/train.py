"""``weightspace train``: one model on one zoo."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from weightspace.cli.bar import bars
from weightspace.cli.option import ModelWords
from weightspace.experiments.learning import train_on
from weightspace.experiments.run import leads
from weightspace.experiments.spaces import open_all
from weightspace.experiments.task import task_for, told
from weightspace.tasks import Classify
from weightspace.training import Pace, TrainSettings

__all__ = ["train"]

WAITING = 0.02
"""The share of the time from which on it is shown that steps wait for their data."""


def train(
    zoo: Path,
    /,
    *,
    out: Path,
    which: Annotated[ModelWords | None, Parameter(name="*")] = None,
    target: str = "label",
    views: str | None = None,
    watch: tuple[str, ...] = ("tensorboard",),
    settings: Annotated[TrainSettings | None, Parameter(name="*")] = None,
) -> None:
    """Train a model to tell a label, or an accuracy, from a network's weights; go on with the run that is there.

    Args:
        zoo: folder of the zoo; or of several zoos, as `zoo make mixed` and `wild` make them, for models that read
            networks of several weight spaces.
        out: folder of the run: settings, record, checkpoints, and the best model.
        which: the model.
        target: the column of the zoo's table to be told: integers are classes, numbers from 0 to 1 accuracies, whose
            order is scored by Kendall's tau.
        views: a column of integers that are equal for networks of one item, such as image; an epoch then reads one of
            them at random.
        watch: who is told of the curves: tensorboard, csv, or package.module:make for a logger of your own, which is
            imported and runs its code; they go to the folder curves of the run. Give none by --watch "".
        settings: of the training; --steps or --seconds must be given.
    """
    settings = settings or TrainSettings()  # which asks for a number of steps or seconds
    choice = (which or ModelWords()).choice
    opened = open_all(zoo)
    task = task_for(opened, target)
    with bars(quiet=not leads()) as report:

        def advance(pace: Pace) -> None:
            score = "" if pace.score is None else f", validation {told(task, pace.score)}"
            waiting = f", {pace.waiting:.0%} waiting for data" if pace.waiting >= WAITING else ""
            report(f"Training {choice.name}", pace.step, pace.steps, f"loss {pace.loss:.3f}{score}{waiting}")

        known = [name for name in watch if name]
        record = train_on(opened, choice, task, settings, out=out, views=views, watch=known, progress=advance)
    if leads():
        what = "told rightly" if isinstance(task, Classify) else "(Kendall's tau), by accuracy,"
        print(
            f"{choice.name}: {told(task, record.test_score)} of {len(record.targets):,} unseen networks {what} "
            f"after {record.curves['step'][-1]:,} steps in {record.seconds:.0f} s. The record is {out / 'record.json'}."
        )
