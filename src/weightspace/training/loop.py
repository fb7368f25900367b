"""The training loop: the same for every task and model, and resumed to the bit wherever it was stopped."""

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import TrainingError
from weightspace.training.checkpoint import Checkpoint, Checkpoints
from weightspace.training.optim import learning_rate
from weightspace.training.plan import Plan, by_seconds, by_steps
from weightspace.training.record import CURVES, RunRecord, claim, describe, digest, finite, peak_memory, versions
from weightspace.training.seed import Order
from weightspace.training.settings import TrainSettings
from weightspace.training.step import Evaluation, Learner, Splits, Task

__all__ = ["Progress", "train"]

Progress = Callable[[int, int, float, float | None], None]
"""Called now and then with the steps done, the steps of the run, the last loss and the last validation score."""

LOOKS = 10
"""Times that losses are looked at and progress is reported between two validations."""


def train(
    model: nn.Module,
    task: Task,
    data: Splits,
    settings: TrainSettings,
    *,
    out: str | Path,
    zoo_checksum: str = "",
    about: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> RunRecord:
    """Train a model in a run folder, or go on with the run in it; a run that has finished answers at once.

    AdamW with warm-up and a schedule over the steps; the gradient is clipped. Every few steps the validation split is
    evaluated and a checkpoint written: the best by validation score and the last are kept. At the end, and only then,
    the best one is evaluated on the test split. Afterwards `model` holds the best weights, in evaluation mode.

    A run that was stopped at any moment and is started again by the same call gives the same weights, losses and
    predictions to the bit on one device (on a CPU with an equal number of threads). A budget in seconds is turned into
    a number of steps once, at the start of the run, so this holds for it as well.

    Args:
        model: called with features. Its initial weights are kept with the run, so only the first call's matter.
        task: gives loss and score.
        data: the three splits.
        settings: of the training.
        out: the run folder, made if need be: settings.json, record.json, checkpoints.
        zoo_checksum: of the data, so that other data is another run.
        about: what else tells this run from others, as JSON values: the model's options, for instance.
        progress: told how the run goes.

    Raises:
        TrainingError: when settings and data do not fit, the folder holds another run, or the loss is no longer
            finite.
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
    for split in (data.train, data.val):
        task.check(split.target)
    Order(len(data.train), settings.batch, settings.seed)
    description = describe(model, task, settings, data.sizes, zoo=zoo_checksum, about=dict(about or {}))
    files = Checkpoints(out / "checkpoints")
    learner = Learner(model, task, settings)
    record = claim(out, description, begun=bool(files.paths()))
    if record is None:
        with learner.chance():
            record = _carry_out(_Run(learner, data, settings, files), description, out, progress)
    else:
        learner.restore_model(files.read(record.best_step).tensors)
    model.eval()
    return record


def _carry_out(run: "_Run", description: dict[str, Any], out: Path, progress: Progress | None) -> RunRecord:
    try:
        run.advance(progress)
    except _Diverged as error:
        run.record(description, None, str(error)).write(out)
        raise TrainingError(str(error)) from None
    record = run.record(description, run.test())
    record.write(out)
    return record


class _Diverged(Exception):
    """The loss is not a finite number."""


@dataclass
class _State:
    """What changes while a run goes on, apart from tensors; JSON values, so that it can be kept."""

    plan: Plan
    step: int = 0
    best: int = 0
    best_score: float | None = None
    seconds: float = 0.0
    curves: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in CURVES})
    notices: list[str] = field(default_factory=list)


class _Run:
    """The steps of a run, between the first checkpoint and the look at the test split."""

    def __init__(self, learner: Learner, data: Splits, settings: TrainSettings, files: Checkpoints) -> None:
        self._learner, self._data, self._settings, self._files = learner, data, settings, files
        self._order = Order(len(data.train), settings.batch, settings.seed)
        self._started = time.perf_counter()
        self._pending: list[Tensor] = []
        self._losses: list[float] = []
        learner.model.train()
        found, notice = files.latest()
        self._state = self._begin() if found is None else self._resume(found, notice)

    def _begin(self) -> _State:
        """The state before the first step, written down, so that a run which stops early can start from it again."""
        fresh = self._learner.tensors()
        plan = self._make_plan()
        self._learner.restore(fresh)
        state = _State(plan)
        self._files.write(Checkpoint(0, 0, fresh, asdict(state)))
        return state

    def _resume(self, found: Checkpoint, notice: str) -> _State:
        self._learner.restore(found.tensors)
        state = _State(**{**found.state, "plan": Plan(**found.state["plan"])})
        # As if this sitting had begun when the first did, less the time between the sittings.
        self._started -= state.seconds
        if notice:
            state.notices.append(notice)
            warnings.warn(notice, RuntimeWarning, stacklevel=4)
        return state

    def _make_plan(self) -> Plan:
        """The length of the run. Steps are tried out on the way, so wrong shapes show before anything is written."""
        settings = self._settings
        if settings.steps is not None:
            self._try_step(0)
            return by_steps(settings.steps, settings.evaluate_every)
        return by_seconds(settings.seconds or 0.0, settings.evaluate_every, self._try_step, self._try_validation)

    def _try_step(self, step: int) -> None:
        # The number is fetched because a step on a GPU is over only when its loss is known.
        self._learner.step(self._data.train, self._order.rows(step), self._settings.learning_rate).item()

    def _try_validation(self) -> None:
        self._learner.evaluate(self._data.val)
        self._files.rehearse(Checkpoint(0, 0, self._learner.tensors(), {}))

    def advance(self, progress: Progress | None) -> None:
        """All steps that are left."""
        settings, state, plan = self._settings, self._state, self._state.plan
        rate = partial(
            learning_rate,
            steps=plan.steps,
            peak=settings.learning_rate,
            warmup=settings.warmup,
            schedule=settings.schedule,
        )
        look_every = max(1, plan.evaluate_every // LOOKS)
        while state.step < plan.steps:
            rows = self._order.rows(state.step)
            self._pending.append(self._learner.step(self._data.train, rows, rate(state.step)))
            state.step += 1
            due = state.step % plan.evaluate_every == 0 or state.step == plan.steps
            if due or state.step % look_every == 0:
                loss = self._look()
                if due:
                    self._validate()
                if progress is not None:
                    progress(state.step, plan.steps, loss, next(iter(state.curves["validation_score"][-1:]), None))

    def _look(self) -> float:
        """Fetch the losses since the last look, which waits for the device, and stop at the first that is no number."""
        losses = torch.stack(self._pending).tolist()
        first = self._state.step - len(losses) + 1
        self._pending.clear()
        for step, loss in enumerate(losses, start=first):
            if not math.isfinite(loss):
                raise self._diverged("training", loss, step)
        self._losses += losses
        return losses[-1]

    def _validate(self) -> None:
        """Evaluate the validation split, note the curves, and write a checkpoint."""
        state = self._state
        found = self._learner.evaluate(self._data.val)
        if not math.isfinite(found.loss):
            # The update after a finite loss can break the weights: such weights must not become a checkpoint.
            raise self._diverged("validation", found.loss, state.step)
        score = finite(found.score)
        if state.best_score is None or (score is not None and score > state.best_score):
            state.best, state.best_score = state.step, score
        state.seconds = time.perf_counter() - self._started
        row = (state.step, state.seconds, math.fsum(self._losses) / len(self._losses), found.loss, score)
        for name, value in zip(CURVES, row, strict=True):
            state.curves[name].append(value)
        self._losses.clear()
        self._files.write(Checkpoint(state.step, state.best, self._learner.tensors(), asdict(state)))

    def _diverged(self, which: str, loss: float, step: int) -> _Diverged:
        kept = (self._state.curves["step"] or [0])[-1]
        clip = "set clip" if self._settings.clip is None else f"lower clip ({self._settings.clip})"
        return _Diverged(
            f"the {which} loss is {loss} at step {step} of {self._state.plan.steps}. Lower learning_rate "
            f"({self._settings.learning_rate}) or {clip}, and train in another folder; if it comes at once, look for "
            f"values in the data that are not finite. The last good checkpoint is {self._files.path(kept)}."
        )

    def test(self) -> Evaluation:
        """The one look at the test split, with the best checkpoint."""
        self._learner.restore(self._files.read(self._state.best).tensors)
        self._learner.task.check(self._data.test.target)
        return self._learner.evaluate(self._data.test)

    def record(self, description: dict[str, Any], tested: Evaluation | None, message: str = "") -> RunRecord:
        """What is known of the run now; without a test it is one that diverged."""
        state = self._state
        return RunRecord(
            status="diverged" if tested is None else "finished",
            message=message,
            settings=description,
            digest=digest(description),
            seed=self._settings.seed,
            steps=state.plan.steps,
            evaluate_every=state.plan.evaluate_every,
            curves=state.curves,
            best_step=state.best,
            validation_score=state.best_score,
            test_loss=None if tested is None else finite(tested.loss),
            test_score=None if tested is None else finite(tested.score),
            predictions=[] if tested is None else tested.predictions.tolist(),
            targets=[] if tested is None else self._data.test.target.tolist(),
            parameters=self._learner.parameters,
            seconds=state.seconds,
            peak_memory=peak_memory(),
            zoo_checksum=description["zoo"],
            versions=versions(),
            device=str(self._learner.device),
            threads=torch.get_num_threads(),
            notices=state.notices,
        )
