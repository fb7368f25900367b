"""The training loop: the same for every task and model, and resumed to the bit wherever it was stopped."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weightspace.errors import TrainingError
from weightspace.training.checkpoint import Checkpoints
from weightspace.training.data import Splits
from weightspace.training.record import RunRecord, claim, describe
from weightspace.training.run import Diverged, Progress, Run
from weightspace.training.seed import Order
from weightspace.training.settings import TrainSettings
from weightspace.training.step import Learner, Task
from weightspace.training.watch import Watched, check_names

__all__ = ["train"]


def train(
    model: nn.Module,
    task: Task,
    data: Splits,
    settings: TrainSettings,
    *,
    out: str | Path,
    about: Mapping[str, Any] | None = None,
    watch: Sequence[str] = (),
    progress: Progress | None = None,
) -> RunRecord:
    """Train a model in a run folder, or go on with the run in it; a run that has finished answers at once.

    AdamW with warm-up and a schedule over the steps; the gradient is clipped. Every few steps the validation split is
    evaluated and a checkpoint written: the best by validation score and the last are kept. At the end, and only then,
    the best one is evaluated on the test split. Afterwards `model` holds the best weights, in evaluation mode.

    A run that was stopped at any moment and is started again by the same call gives the same weights, losses and
    predictions to the bit on one device (on a CPU with an equal number of threads, on a GPU with `deterministic`). A
    budget in seconds is turned into a number of steps once, at the start of the run, so this holds for it as well.

    Started by torchrun, every process takes a share of each batch and of each split, and the first one writes. Where
    all sums are the same but for rounding, so is the run. The package's models normalise over the whole batch, on
    whichever processes it lies; a BatchNorm of your own sees its share. Dropout and augmentation draw other numbers.

    Args:
        model: called with features. Its initial weights are kept with the run, so only the first call's matter.
        task: gives loss and score.
        data: the three splits.
        settings: of the training.
        out: the run folder, made if need be: settings.json, record.json, checkpoints, curves.
        about: what else tells this run from others, as JSON values: the model's options, for instance.
        watch: who is told of losses and scores as well, see `watch.watchers`: tensorboard, csv, or
            `package.module:make`. No part of what tells runs apart.
        progress: told how the run goes.

    Raises:
        TrainingError: when settings and data do not fit, the folder holds another run, the loss is no longer finite,
            memory is short, or another process has died.
        StorageError: when the folder cannot be written.
        FormatError: when every checkpoint in the folder is damaged.

    Example:
        >>> import tempfile, torch
        >>> from weightspace.tasks import Classify
        >>> from weightspace.training import Split, Splits, TrainSettings
        >>> features = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
        >>> split = Split(features, (features[:, 0] > 0).long())
        >>> settings = TrainSettings(steps=40, batch=10, learning_rate=0.1)
        >>> folder = Path(tempfile.mkdtemp())
        >>> record = train(nn.Linear(4, 2), Classify(2), Splits(split, split, split), settings, out=folder)
        >>> record.test_score > 0.9, record.curves["step"][-1]
        (True, 40)
    """
    out = Path(out)
    check_names(watch)
    for split in (data.train, data.val, data.test):
        task.check(split.target)
    Order(len(data.train), settings.batch, settings.seed, data.train.views)
    description = describe(model, task, settings, data.sizes, zoo=data.checksum, about=dict(about or {}))
    files = Checkpoints(out / "checkpoints")
    learner = Learner(model, task, settings)
    _check_share(learner, settings)
    with learner.processes.together():
        record = learner.processes.by_first(lambda: claim(out, description, begun=bool(files.paths())))
        if record is None:
            with learner.chance(), _exactly(settings):
                run = Run(learner, data, settings, files)
                watched = run.watched(watch, out, description)
                record = _carry_out(run, description, out, watched, progress)
        learner.restore_model(learner.processes.by_first(lambda: files.read(record.best_step)).tensors)
    model.eval()
    return record


def _check_share(learner: Learner, settings: TrainSettings) -> None:
    count, parts = learner.processes.count, settings.accumulate
    least = learner.fewest * count * parts
    if settings.batch < least:
        raise TrainingError(
            f"batch is {settings.batch} on {count} processes, in {parts} parts each: expected at least "
            f"{learner.fewest} items for each, {least} in all. Set batch higher or accumulate lower, or use fewer "
            "processes."
        )


@contextmanager
def _exactly(settings: TrainSettings) -> Iterator[None]:
    """Within it PyTorch refuses what differs from run to run, where that was asked for."""
    if not settings.deterministic:
        yield
        return
    before, warned = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    # What cuBLAS asks for; without effect elsewhere.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)


def _carry_out(
    run: Run, description: dict[str, Any], out: Path, watched: Watched, progress: Progress | None
) -> RunRecord:
    status = "interrupted"
    try:
        run.advance(watched, progress)
        record, status = run.record(description, run.test()), "finished"
    except Diverged as error:
        record, status = run.record(description, None, str(error)), "diverged"
        raise TrainingError(str(error)) from None
    finally:
        try:
            if status != "interrupted":
                run.write(record, out)
        finally:
            watched.finalize(status)
    return record
