"""``weightspace train``: one model on one zoo."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from weightspace.cli.bar import bars
from weightspace.cli.option import read_options
from weightspace.experiments.choice import ModelChoice
from weightspace.experiments.learning import train_on
from weightspace.experiments.run import leads
from weightspace.experiments.task import task_for, told
from weightspace.tasks import Classify
from weightspace.training import TrainSettings
from weightspace.zoo import open_zoo

__all__ = ["train"]


def train(
    zoo: Path,
    /,
    *,
    out: Path,
    model: str = "MonomialNFN",
    preset: str | None = None,
    option: tuple[str, ...] = (),
    target: str = "label",
    settings: Annotated[TrainSettings | None, Parameter(name="*")] = None,
) -> None:
    """Train a model to tell a label, or an accuracy, from a network's weights; go on with the run that is there.

    Args:
        zoo: folder of the zoo.
        out: folder of the run: settings, record, checkpoints, and the best model.
        model: a model of the package by name, such as MonomialNFN, ScaleGMN or StatNN, or package.module:Model, which
            is imported, called with (spec, readout) and runs its code.
        preset: a size that the model has a name for; by default demo.
        option: arguments of the model's constructor in place of those of the preset, as name=value with values in
            JSON, such as channels=32 stem=[16,16].
        target: the column of the zoo's table to be told: integers are classes, numbers from 0 to 1 accuracies, whose
            order is scored by Kendall's tau.
        settings: of the training; --steps or --seconds must be given.
    """
    settings = settings or TrainSettings()  # which asks for a number of steps or seconds
    choice = ModelChoice(model, preset, read_options(option))
    opened = open_zoo(zoo)
    task = task_for(opened, target)
    with bars(quiet=not leads()) as report:

        def advance(step: int, steps: int, loss: float, score: float | None) -> None:
            known = "" if score is None else f", validation {told(task, score)}"
            report(f"Training {model}", step, steps, f"loss {loss:.3f}{known}")

        record = train_on(opened, choice, task, settings, out=out, progress=advance).record
    if leads():
        what = "told rightly" if isinstance(task, Classify) else "(Kendall's tau), by accuracy,"
        print(
            f"{model}: {told(task, record.test_score)} of {len(record.targets):,} unseen networks {what} "
            f"after {record.steps:,} steps in {record.seconds:.0f} s. The record is {out / 'record.json'}."
        )
