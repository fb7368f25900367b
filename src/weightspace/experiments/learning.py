"""Training a chosen model on a zoo, with a folder that says all that is needed to use what was learnt."""

from collections.abc import Sequence
from pathlib import Path

from weightspace.experiments.calibration import calibration_of
from weightspace.experiments.choice import ModelChoice, fit_scale
from weightspace.experiments.run import keep, leads, open_run
from weightspace.experiments.task import ZooTask, readout_of
from weightspace.training import Progress, RunRecord, Splits, TrainSettings, train
from weightspace.zoo import Zoo

__all__ = ["train_on"]


def train_on(
    zoo: Zoo,
    choice: ModelChoice,
    task: ZooTask,
    settings: TrainSettings,
    *,
    out: Path,
    views: str | None = None,
    watch: Sequence[str] = ("tensorboard",),
    progress: Progress | None = None,
) -> RunRecord:
    """Train a model on a zoo in a run folder, or go on with the run in it, and keep the best model and its calibration.

    Args:
        zoo: the networks, in their splits.
        choice: the model.
        task: what is asked of it.
        settings: of the training.
        out: the run folder; made if need be.
        views: a column that is equal for views of one item, of which an epoch reads one each.
        watch: who is told of the curves, see `training.train`.
        progress: told how the training goes.

    Raises:
        WeightspaceError: as for `training.train` and `ModelChoice.build`.
    """
    choice, data = choice.told(zoo.manifest), Splits.of(zoo, task, stored=True, views=views)
    model = choice.build(zoo.spec, readout_of(task), seed=settings.seed)
    fit_scale(model, data.train.chunks())
    about = {"model": choice.plain, "target": task.target, "spec": zoo.spec.digest, "views": views}
    record = train(model, task, data, settings, out=out, about=about, watch=watch, progress=progress)
    if leads():
        keep(model, choice, zoo, out)
        calibration_of(open_run(out), model, zoo)
    return record
