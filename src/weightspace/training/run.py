"""The steps of a run, between its first checkpoint and the look at the test split."""

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightspace.errors import TrainingError
from weightspace.layers.batch_norm import alone
from weightspace.training.checkpoint import Checkpoint, Checkpoints
from weightspace.training.data import Splits
from weightspace.training.failure import broken, fits, out_of_memory
from weightspace.training.feed import Feed, feeding
from weightspace.training.optim import learning_rate
from weightspace.training.plan import Plan, by_seconds, by_steps
from weightspace.training.record import CURVES, RunRecord, digest, finite, listed, peak_memory, versions
from weightspace.training.seed import Order
from weightspace.training.settings import TrainSettings
from weightspace.training.step import Batch, Drawing, Evaluation, Learner
from weightspace.training.watch import Watched, Watcher, watchers

__all__ = ["Diverged", "Pace", "Progress", "Run"]

LOOKS = 10
"""Times that losses are looked at and progress is reported between two validations."""


@dataclass(frozen=True)
class Pace:
    """How a run goes."""

    step: int
    """Steps done."""
    steps: int
    """Steps of the run."""
    loss: float
    """The last loss."""
    score: float | None
    """The last validation score."""
    rate: float
    """Steps a second since the run was started or resumed, validations included."""
    waiting: float
    """The share of that time in which a step waited for its data."""


Progress = Callable[[Pace], None]
"""Called now and then."""


class Diverged(Exception):
    """The loss is not a finite number."""


@dataclass
class State:
    """What changes while a run goes on, apart from tensors; JSON values, so that it can be kept."""

    plan: Plan
    step: int = 0
    best: int = 0
    best_score: float | None = None
    seconds: float = 0.0
    curves: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in CURVES})
    notices: list[str] = field(default_factory=list)


class Run:
    """The steps of a run, between the first checkpoint and the look at the test split."""

    def __init__(self, learner: Learner, data: Splits, settings: TrainSettings, files: Checkpoints) -> None:
        self._learner, self._data, self._settings, self._files = learner, data, settings, files
        self._processes = learner.processes
        self._order = self._new_order()
        self._started = self._sat_down = time.perf_counter()
        self._pending: list[Tensor] = []
        self._losses: list[float] = []
        learner.model.train()
        settings.augment.check(data.train.features[:1])
        found, notice = self._processes.by_first(files.latest)
        self._state = self._begin() if found is None else self._resume(found, notice)
        self._begun_at = self._state.step
        self._rate = partial(
            learning_rate,
            steps=self._state.plan.steps,
            peak=settings.learning_rate,
            warmup=settings.warmup,
            schedule=settings.schedule,
        )

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self._processes.first

    def watched(self, names: Sequence[str], out: Path, description: dict[str, Any]) -> Watched:
        """Those who watch this run, told of its settings."""
        made: list[Watcher] = []
        self._processes.by_first(lambda: made.extend(watchers(names, out, step=self._state.step)))
        watched = Watched(made, self._notify)
        if self._state.step == 0:
            watched.log_hyperparams(description)
        return watched

    def _begin(self) -> State:
        """The state before the first step, written down, so that a run which stops early can start from it again."""
        mine = {name: value.cpu() for name, value in self._learner.tensors().items()}
        # Whatever each process began with: from here on all have what the first has.
        fresh = self._processes.by_first(lambda: mine)
        self._learner.restore(fresh)
        plan = self._make_plan()
        self._learner.restore(fresh)
        state = State(plan)
        self._write(Checkpoint(0, 0, fresh, asdict(state)))
        return state

    def _resume(self, found: Checkpoint, notice: str) -> State:
        self._learner.restore(found.tensors)
        state = State(**{**found.state, "plan": Plan(**found.state["plan"])})
        if state.step < state.plan.steps:
            # Here memory may be shorter than where the run began.
            self._try_step(state.step)
            self._learner.restore(found.tensors)
        # As if this sitting had begun when the first did, less the time between the sittings.
        self._started -= state.seconds
        if notice:
            state.notices.append(notice)
            warnings.warn(notice, RuntimeWarning, stacklevel=4)
        return state

    def _notify(self, notice: str) -> None:
        self._state.notices.append(notice)
        warnings.warn(notice, RuntimeWarning, stacklevel=4)

    def _write(self, checkpoint: Checkpoint) -> None:
        """Kept in the run folder, by the first process."""
        self._processes.by_first(lambda: self._files.write(checkpoint))

    def _read_back(self, step: int) -> Mapping[str, Tensor]:
        return self._processes.by_first(lambda: self._files.read(step)).tensors

    def write(self, record: RunRecord, out: Path) -> None:
        """The record in the run folder, by the first process."""
        self._processes.by_first(lambda: record.write(out))

    def _make_plan(self) -> Plan:
        """The length of the run. Steps are tried out on the way, so wrong shapes show before there is a checkpoint."""
        settings = self._settings
        if settings.steps is not None:
            self._try_step(0)
            return by_steps(settings.steps, settings.evaluate_every)
        return by_seconds(
            settings.seconds or 0.0, settings.evaluate_every, self._try_step, self._try_validation, self._clock
        )

    def _clock(self) -> float:
        """The first process's time, so that all of them buy the same number of steps."""
        return float(self._processes.by_first(time.perf_counter))

    def _try_step(self, step: int) -> None:
        try:
            # The number is fetched because a step on a GPU is over only when its loss is known.
            self._learner.step(self._read(step), step, self._settings.learning_rate).item()
        except Exception as error:
            if not out_of_memory(error):
                raise
            told = str(error).splitlines()[0]
        else:
            return
        raise TrainingError(self._room(told))

    def _room(self, told: str) -> str:
        """What to do where a step found no memory."""
        settings, fewer = self._settings, 0
        share = math.ceil(settings.batch / self._processes.count / settings.accumulate)
        if self._processes.count == 1:
            fewer = fits(self._try_part, share, self._learner.fewest)
        remedy = "Set accumulate higher, use a smaller model, or save memory by the model's own options."
        if fewer:
            parts = math.ceil(settings.batch / fewer)
            split = f"set accumulate to {parts}, or " if settings.batch // parts >= self._learner.fewest else "set "
            remedy = f"{fewer} were tried and fit: {split}batch to {fewer}."
        return f"no memory for a step with {share} networks at a time ({told}). {remedy}"

    def _try_part(self, items: int) -> None:
        rows = self._order.rows(0)[:items]
        self._learner.losses([self._data.train.batch(rows, self._learner.device)], 0)

    def _try_validation(self) -> None:
        self._learner.evaluate(self._data.val)
        checkpoint = Checkpoint(0, 0, self._learner.tensors(), {})
        self._processes.by_first(lambda: self._files.rehearse(checkpoint))

    def _new_order(self) -> Order:
        train = self._data.train
        return Order(len(train), self._settings.batch, self._settings.seed, train.views)

    def _read(self, step: int) -> Batch:
        return self._learner.read(self._data.train, self._order.rows(step))

    def advance(self, watched: Watched, progress: Progress | None) -> None:
        """All steps that are left, unless patience ends before."""
        state, plan = self._state, self._state.plan
        look_every = max(1, plan.evaluate_every // LOOKS)
        with feeding(self._read, range(state.step, plan.steps), ahead=not self._data.train.kept) as feed:
            while state.step < plan.steps and not self._exhausted():
                self._pending.append(self._learner.step(next(feed), state.step, self._rate(state.step)))
                state.step += 1
                due = state.step % plan.evaluate_every == 0 or state.step == plan.steps
                if due or state.step % look_every == 0:
                    loss = self._look()
                    if due:
                        self._validate(watched)
                    if progress is not None and self.first:
                        progress(self._pace(loss, feed))

    def _exhausted(self) -> bool:
        """Whether so many validations as patience allows have brought nothing better."""
        patience, steps = self._settings.patience, self._state.curves["step"]
        return patience is not None and sum(step > self._state.best for step in steps) >= patience

    def _pace(self, loss: float, feed: Feed[Batch]) -> Pace:
        state, elapsed = self._state, time.perf_counter() - self._sat_down
        score = next(iter(state.curves["validation_score"][-1:]), None)
        return Pace(
            state.step, state.plan.steps, loss, score, (state.step - self._begun_at) / elapsed, feed.waited / elapsed
        )

    def _look(self) -> float:
        """Fetch the losses since the last look, which waits for the device, and stop at the first that is no number."""
        pending = torch.stack(self._pending)
        self._processes.add([pending])
        losses = pending.tolist()
        first = self._state.step - len(losses) + 1
        self._pending.clear()
        for step, loss in enumerate(losses, start=first):
            if not math.isfinite(loss):
                raise self._diverged("training", loss, step)
        self._losses += losses
        return losses[-1]

    def _validate(self, watched: Watched) -> None:
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
        self._write(Checkpoint(state.step, state.best, self._learner.tensors(), asdict(state)))
        named = dict(zip(CURVES, row, strict=True)) | {"learning_rate": self._rate(state.step - 1)}
        watched.log_metrics({name: value for name, value in named.items() if name != "step"}, state.step)

    def _diverged(self, which: str, loss: float, step: int) -> Diverged:
        kept = (self._state.curves["step"] or [0])[-1]
        clip = "set clip" if self._settings.clip is None else f"lower clip ({self._settings.clip})"
        return Diverged(
            f"the {which} loss is {loss} at step {step} of {self._state.plan.steps}: {self._cause(kept, step)}. Lower "
            f"learning_rate ({self._settings.learning_rate}) or {clip}, and train in another folder; if it comes at "
            "once, look for values in the data that are not finite. The last good checkpoint is "
            f"{self._files.path(kept)}."
        )

    def _cause(self, kept: int, step: int) -> str:
        """The batch and the layer behind a loss that is not finite, found by going through the steps again."""
        learner, order = self._learner, self._new_order()  # batches may still be read ahead in the other's order
        learner.restore(self._read_back(kept))
        for number in range(kept, step):
            batch = learner.read(self._data.train, order.rows(number))
            before = learner.tensors()
            loss = learner.step(batch, number, self._rate(number))
            self._processes.add([loss])
            if loss.isfinite() and all(p.isfinite().all() for p in learner.model.parameters()):
                continue
            learner.restore(before)
            learner.model.zero_grad()
            with alone(learner.model):
                found = [
                    broken(learner.model, part[0], partial(learner.losses, [part], number, place, eager=True))
                    for place, part in enumerate(batch)
                ]
            said = [text for texts in self._processes.gather(found) for text in texts]
            cause = next((text for text in said if not text.startswith("every number")), said[0])
            return f"in the batch of step {number + 1}, {cause}"
        return "the validation split alone gives such a loss"

    def test(self) -> Evaluation:
        """The one look at the test split, with the best checkpoint."""
        self._learner.restore(self._read_back(self._state.best))
        self._learner.task.check(self._data.test.target)
        return self._learner.evaluate(self._data.test, measured=True)

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
            predictions=[] if tested is None else listed(tested.predictions),
            targets=[] if tested is None else self._targets(),
            parameters=self._learner.parameters,
            seconds=state.seconds,
            peak_memory=peak_memory(),
            zoo_checksum=description["zoo"],
            versions=versions(),
            device=str(self._learner.device),
            threads=torch.get_num_threads(),
            processes=self._processes.count,
            notices=state.notices,
            errors=[] if tested is None or tested.errors is None else listed(tested.errors),
            measures={name: finite(value) for name, value in (tested and tested.measures or {}).items()},
        )

    def _targets(self) -> list[Any]:
        """The targets of the test split, as a record holds them."""
        task, target = self._learner.task, self._data.test.target
        return (task.brief(target) if isinstance(task, Drawing) else target).tolist()
