"""Training a chosen model on a zoo, with a folder that says all that is needed to use what was learnt."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from weightspace.errors import DataError
from weightspace.experiments.calibration import calibration_of
from weightspace.experiments.choice import ModelChoice, fit_scale
from weightspace.experiments.run import keep, leads, open_run
from weightspace.experiments.spaces import space_of, zoos_of
from weightspace.experiments.task import ZooTask, readout_of
from weightspace.spec import NetworkSpec
from weightspace.training import Progress, RunRecord, Splits, TrainSettings, train
from weightspace.training.data import Several, Split
from weightspace.weights import WeightFeatures
from weightspace.zoo import Zoo

__all__ = ["train_on"]


def train_on(
    zoo: Zoo | Sequence[Zoo],
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
        zoo: the networks, in their splits. Or several zoos, of which a model that reads several weight spaces learns
            together.
        choice: the model.
        task: what is asked of it.
        settings: of the training.
        out: the run folder; made if need be.
        views: a column that is equal for views of one item, of which an epoch reads one each.
        watch: who is told of the curves, see `training.train`.
        progress: told how the training goes.

    Raises:
        DataError: one of several zoos without networks to learn from; as for `training.train`.
        WeightspaceError: as for `training.train` and `ModelChoice.build`.
    """
    zoos = zoos_of(zoo)
    _check_learnt(zoos)
    space = space_of(zoos)
    choice = choice.told(zoos[0].manifest) if len(zoos) == 1 else choice
    data = Splits.of(zoos, task, stored=True, views=views)
    model = choice.build(space, readout_of(task), seed=settings.seed)
    fit_scale(model, _apart(data.train))
    digests = space.digest if isinstance(space, NetworkSpec) else [spec.digest for spec in space]
    about = {"model": choice.plain, "target": task.target, "spec": digests, "views": views}
    record = train(model, task, data, settings, out=out, about=about, watch=watch, progress=progress)
    if leads():
        keep(model, choice, zoos, out)
        calibration_of(open_run(out), model, zoos)
    return record


def _check_learnt(zoos: Sequence[Zoo]) -> None:
    """Of every one of several zoos something must be learnt, or nothing could be told of networks like its own."""
    for zoo in zoos if len(zoos) > 1 else ():
        if not len(zoo.split("train")):
            raise DataError(f"{zoo.path} has no networks in its training split: make more of them, or leave it out.")


def _apart(split: Split) -> Iterator[WeightFeatures]:
    """The networks of a split part by part, those of several weight spaces one space after the other."""
    for part in split.chunks():
        yield from part if isinstance(part, Several) else [part]
