"""Training a chosen model on a zoo, with a folder that says all that is needed to use what was learnt."""

from pathlib import Path

from weightspace.experiments.calibration import calibration_of
from weightspace.experiments.choice import ModelChoice, fit_scale
from weightspace.experiments.run import Run, keep, leads, open_run
from weightspace.experiments.task import ZooTask, readout_of
from weightspace.training import Progress, Splits, TrainSettings, train
from weightspace.zoo import Zoo

__all__ = ["train_on"]


def train_on(
    zoo: Zoo,
    choice: ModelChoice,
    task: ZooTask,
    settings: TrainSettings,
    *,
    out: Path,
    progress: Progress | None = None,
) -> Run:
    """Train a model on a zoo in a run folder, or go on with the run in it, and keep the best model and its calibration.

    Args:
        zoo: the networks, in their splits.
        choice: the model.
        task: what is asked of it.
        settings: of the training.
        out: the run folder; made if need be.
        progress: told how the training goes.

    Raises:
        WeightspaceError: as for `training.train` and `ModelChoice.build`.
    """
    data = Splits.of(zoo, task)
    model = choice.build(zoo.spec, readout_of(task), seed=settings.seed)
    fit_scale(model, data.train.features)
    about = {"model": choice.plain, "target": task.target, "spec": zoo.spec.digest}
    train(model, task, data, settings, out=out, zoo_checksum=zoo.checksum, about=about, progress=progress)
    if leads():
        keep(model, choice, zoo, out)
        calibration_of(open_run(out), model, zoo)
    return open_run(out)
