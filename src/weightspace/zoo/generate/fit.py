"""Zoos of anyone's networks: many copies of one module trained side by side, each with hyper-parameters of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path
from statistics import fmean
from threading import Event
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from weightspace.errors import DataError, TrainingError
from weightspace.zoo.dataset import Zoo
from weightspace.zoo.format import Manifest
from weightspace.zoo.generate.blueprint import Blueprint, Template
from weightspace.zoo.generate.draw import batches, stream
from weightspace.zoo.generate.engine import Engine
from weightspace.zoo.generate.ensemble import EarlyStop, Ensemble, Loss, Program, Trainee, vectorised_attention
from weightspace.zoo.generate.examples import Examples
from weightspace.zoo.generate.hyperparameters import (
    Given,
    Hyperparameters,
    Value,
    described,
    largest,
    smallest,
    values_of,
)
from weightspace.zoo.generate.plan import (
    Columns,
    Networks,
    Plan,
    Progress,
    Recipe,
    check_seed,
    checkpoint_columns,
    fill,
    stored,
)
from weightspace.zoo.generate.thread import one_thread_per_operation, side_by_side
from weightspace.zoo.generate.trial import try_out
from weightspace.zoo.split import assign

__all__ = ["FitSettings", "Origin", "Task", "fit", "fit_task", "train_shard"]

# Networks whose numbers of steps are averaged.
_ASKED = 256
ENGINE = "torch.func: vmap(grad_and_value(functional_call))"


@dataclass(frozen=True)
class FitSettings:
    """How networks are trained and told about; what :class:`Hyperparameters` does not give to each of them.

    Args:
        batch: examples in a step.
        metrics: functions of one network's outputs and the targets at all examples asked about, by name; each gives one
            number for each part of the data in the zoo's table. They are run under `torch.func.vmap`.
        evaluated: examples of each part that losses and metrics are told on, the first ones; of the training examples
            those that the network was given.
        interval: steps between two points of the loss curves that the zoo's table keeps.
        early: when a network ends early; `None`: never.
        shard: networks in a shard of the zoo: what an interruption loses at most, and what is held in memory.
        chunk: networks trained side by side on one thread; a matter of speed, and of rounding. A shard of several
            chunks has use for as many threads.

    Raises:
        TrainingError: a number below 1, or a metric with the name of a column.

    Example:
        >>> FitSettings(batch=16).interval
        10
    """

    batch: int = 32
    metrics: Mapping[str, Loss] = field(default_factory=dict)
    evaluated: int = 2000
    interval: int = 10
    early: EarlyStop | None = None
    shard: int = 256
    chunk: int = 64

    def __post_init__(self) -> None:
        for name in ("batch", "evaluated", "interval", "shard", "chunk"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is {getattr(self, name)}; expected at least 1.")
        if "loss" in self.metrics:
            raise TrainingError("a metric is named 'loss', as the loss itself is. Remedy: give it another name.")


@dataclass(frozen=True)
class Origin:
    """What a zoo's manifest says beside what :func:`fit` knows: the recipe, further settings, forward pass, columns."""

    recipe: str = "fit"
    settings: Mapping[str, Any] | None = None
    forward: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, Any] = field(default_factory=dict)


def fit(  # noqa: PLR0913 - a run is what is trained, by what, on what, how, how long, what is kept, and where
    template: Template,
    loss: Loss,
    data: Examples,
    hyperparameters: Hyperparameters,
    *,
    steps: Value,
    checkpoints: Sequence[float],
    out: str | Path,
    settings: FitSettings = FitSettings(),
    progress: Progress | None = None,
    engine: str | Engine = "local",
    dtype: str = "float32",
) -> Zoo:
    r"""A zoo of copies of a module, trained side by side as one program; a second call goes on where the first stopped.

    With :math:`\theta_i` the parameters of network :math:`i` as one row of a matrix, a step takes
    :math:`\nabla_{\theta_i} \ell(f_{\theta_i}(x_i), y_i)` of all rows by `torch.func` (``vmap`` over ``grad_and_value``
    of ``functional_call``), each at a batch :math:`(x_i, y_i)` of its own, and moves each row by its own optimiser. All
    draws are keyed by the seed and the network's number. Equal settings make the same zoo to the byte, however often it
    was interrupted and with however many threads; another ``chunk``, or a last shard that was not full, change networks
    by rounding.

    Each network has a row for each of its checkpoints. A network that diverged keeps its last finite weights in the
    rows that it did not reach, marked in ``diverged``; one that ended early keeps those it ended with, marked in
    ``stopped_early``. ``loss_curve`` holds the losses of every ``settings.interval``-th batch up to the row's step,
    each before its step was taken. Splits belong to networks: all rows of one lie in the same.

    Args:
        template: an ``nn.Module``, whose modules begin anew by their ``reset_parameters``, or a function that makes
            one. It is called with one tensor. Its buffers must stay as they are in training: BatchNorm with running
            statistics is refused. Random modules other than ``nn.Dropout`` are refused. Frozen parameters stay those of
            the template.
        loss: of one network: ``loss(outputs, targets)`` of a batch, a single number.
        data: what networks learn from and are asked about.
        hyperparameters: what each network is given.
        steps: of each network; a number, a range or a column.
        checkpoints: when networks are kept. Fractions: shares of a network's steps, the last one 1. Whole numbers:
            steps (at most those that the network takes); the end of training is added where they do not hold it.
        out: the zoo's folder.
        settings: of the training and of what is told.
        progress: called with the number of networks that have just been finished.
        engine: "local"; "ray": shards are tasks of Ray; or an :class:`Engine`, which may say where the cluster is.
            With Ray, modules, losses and metrics of your own must be importable on all machines, or pickled by value.
        dtype: in which weights are stored: float32 (fp32), bfloat16 (bf16) or float16 (fp16); they are trained in
            float32.

    Raises:
        TrainingError: a template, loss or metric that cannot be run for many networks at a time, or wrong settings.
        DataError: fewer examples than a batch, or early stopping without validation examples.
        UnknownNameError: an engine or a type that does not exist.
        StorageError: the folder cannot be written.
        FormatError: a zoo with other settings in the folder, something that is no zoo, or a weight that the type
            cannot hold.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> x = torch.linspace(-1, 1, 40)[:, None]
        >>> net = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
        >>> given = Hyperparameters(learning_rate=[0.01, 0.02, 0.05])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     zoo = fit(net, nn.MSELoss(), Examples((x, x**2)), given, steps=50, checkpoints=(0.0, 1.0), out=folder)
        >>> zoo.column("step").tolist(), bool((zoo.column("train_loss")[1::2] < 0.2).all())
        ([0, 50, 0, 50, 0, 50], True)
    """
    task = Task(Blueprint(template), loss, data, hyperparameters, steps, tuple(checkpoints), settings)
    return fit_task(task, out, progress=progress, engine=engine, dtype=dtype)


@dataclass(frozen=True, eq=False)
class Task:
    """All that :func:`fit` is told, checked, and what follows from it.

    Raises:
        TrainingError: as :func:`fit`.
        DataError: likewise.
    """

    blueprint: Blueprint
    loss: Loss
    data: Examples
    hyperparameters: Hyperparameters
    steps: Value
    checkpoints: tuple[float, ...]
    settings: FitSettings
    origin: Origin = Origin()

    def __post_init__(self) -> None:
        check_seed(self.hyperparameters.seed)
        if self.settings.batch > len(self.data):
            raise DataError(
                f"{len(self.data)} training examples are fewer than a batch of {self.settings.batch}. "
                f"Remedy: lower the batch."
            )
        if self.settings.early is not None and self.data.validation is None:
            raise DataError("early stopping asks validation examples, and the data have none. Remedy: give some.")
        _check_steps(self.steps, self.count)
        _check_checkpoints(self.checkpoints)

    @property
    def count(self) -> int:
        """Networks."""
        assert self.hyperparameters.count is not None
        return self.hyperparameters.count

    @cached_property
    def _template_rate(self) -> float:
        rates = {part.p for part in self.blueprint.module.modules() if isinstance(part, torch.nn.Dropout)}
        return rates.pop() if len(rates) == 1 else float("nan") if rates else 0.0

    def given(self, number: int) -> Given:
        """What one network is given."""
        return values_of(self.hyperparameters, number, steps=self.steps, dropout=self._template_rate)

    def marks(self, steps: int) -> list[int]:
        """The steps after which a network of that many steps is kept."""
        if any(isinstance(mark, float) for mark in self.checkpoints):
            return [round(share * steps) for share in self.checkpoints]
        own = [min(int(mark), steps) for mark in self.checkpoints]
        return own if self.checkpoints[-1] >= largest(self.steps) else [*own, steps]

    def trainee(self, number: int) -> Trainee:
        """One network before its first step."""
        given, seed = self.given(number), self.hyperparameters.seed
        own = self.examples_of(given)
        chance = stream(seed, given.order_seed, "batches")
        return Trainee(
            number=number,
            weights=self.blueprint.initial(seed, given),
            marks=self.marks(given.steps),
            given=given,
            order=batches(chance, own, given.steps, self.settings.batch),
            key=int(stream(seed, given.order_seed, "dropout").integers(2**63)),
            own_rate=self.hyperparameters.dropout is not None,
        )

    def examples_of(self, given: Given) -> np.ndarray:
        """The training examples of one network, at least a batch."""
        size = max(self.settings.batch, round(given.train_fraction * len(self.data)))
        chance = stream(self.hyperparameters.seed, given.order_seed, "examples")
        return chance.permutation(len(self.data))[:size]

    def program(self) -> Program:
        """What takes gradients, for one thread."""
        return Program(self.blueprint, self.loss, self.data.augment)

    @property
    def plan(self) -> Plan:
        """Of the shards."""
        return Plan(self.count, self.settings.shard, rows=len(self.marks(1)))

    def try_out(self) -> None:
        """Finds out whether the networks can be trained side by side.

        Raises:
            TrainingError: they cannot.
        """
        first = torch.stack([self.trainee(min(number, self.count - 1)).weights for number in range(2)])
        metrics = self.settings.metrics
        try_out(self.blueprint, self.program(), self.data, metrics, batch=self.settings.batch, flat=first)

    def recipe(self, asked: range | None = None) -> Recipe:
        """How the zoo is made.

        Args:
            asked: numbers of the networks, whose steps are averaged; those from 0 if left out.
        """
        given = [self.given(number) for number in (asked or range(self.count))[:_ASKED]]
        return Recipe(
            self.manifest,
            partial(train_shard, self),
            self.plan,
            steps=fmean(one.steps for one in given),
            chunk=self.settings.chunk,
            points=fmean(sum(self.marks(one.steps)) for one in given) / self.settings.interval,
        )

    def manifest(self) -> Manifest:
        """What the zoo says of its networks."""
        inputs = self.data.train[0]
        module = self.blueprint.module
        settings = self.origin.settings if self.origin.settings is not None else self._settings()
        return Manifest(
            spec=self.blueprint.spec(inputs[:2]),
            recipe=self.origin.recipe,
            settings=settings,
            forward={
                "module": f"{type(module).__module__}.{type(module).__qualname__}",
                "layers": repr(module),
                "fixed": self.blueprint.fixed,
                "input_shape": list(inputs.shape[1:]),
                "trained_by": ENGINE,
                **self.origin.forward,
            },
            source={"name": self.data.name, "checksum": self.data.checksum},
            count=self.plan.count * self.plan.rows,
        )

    def _settings(self) -> dict[str, Any]:
        own = {name: described(value) for name, value in vars(self.hyperparameters).items() if name != "count"}
        early, augment = self.settings.early, self.data.augment
        return own | {
            "steps": described(self.steps),
            "checkpoints": list(self.checkpoints),
            "loss": _name(self.loss),
            "metrics": {name: _name(metric) for name, metric in self.settings.metrics.items()},
            "augment": None if augment is None else {"function": _name(augment.function), "numbers": augment.numbers},
            "early": None if early is None else asdict(early),
            # How many networks stand in a chunk is a matter of speed: it does not tell zoos apart.
            **{name: getattr(self.settings, name) for name in ("batch", "evaluated", "interval", "shard")},
        }


def fit_task(
    task: Task,
    out: str | Path,
    *,
    progress: Progress | None = None,
    engine: str | Engine = "local",
    dtype: str = "float32",
) -> Zoo:
    """The zoo of a task; a second call goes on where the first stopped.

    Raises:
        TrainingError: as :func:`fit`, like the other errors.
    """
    with vectorised_attention():
        task.try_out()
    return fill(out, stored(task.recipe(), dtype), progress, engine)


def train_shard(task: Task, numbers: Tensor, progress: Progress | None = None) -> tuple[Networks, Columns]:
    """The networks of some numbers, at all of their checkpoints, and their rows."""

    def work(stop: Event, part: list[int]) -> tuple[list[Trainee], dict[str, Tensor]]:
        program = task.program()
        trainees = _trained(task, program, part, stop, progress)
        return trainees, {} if stop.is_set() else _told(task, program, trainees)

    with vectorised_attention(), one_thread_per_operation() as threads:
        parts = [part.tolist() for part in numbers.split(task.settings.chunk)]
        made = list(side_by_side(work, parts, threads=threads))
    trainees = [one for part, _ in made for one in part]
    told = {name: torch.cat([part[name] for _, part in made]).numpy() for name in made[0][1]}
    flat = torch.stack([torch.stack(one.kept) for one in trainees]).flatten(0, 1)
    return task.blueprint.state(flat), _columns(task, numbers, trainees) | told | _further(task, numbers, told)


def _trained(task: Task, program: Program, numbers: list[int], stop: Event, progress: Progress | None) -> list[Trainee]:
    """Trains a chunk; networks that are over make room at once."""
    ensemble = Ensemble(program, task.data, task.settings.interval, task.settings.early, task.settings.evaluated)
    ensemble.fill([partial(task.trainee, number) for number in reversed(numbers)], len(numbers))
    ended: list[Trainee] = []
    while ensemble.members and not stop.is_set():
        over = ensemble.advance()
        ended += over
        ensemble.fill([], len(numbers))
        if progress is not None and over:
            progress(len(over))
    return sorted(ended, key=lambda one: one.number)


def _told(task: Task, program: Program, trainees: list[Trainee]) -> dict[str, Tensor]:
    """Losses and metrics of a chunk's rows at every part of the data."""
    flat = torch.stack([torch.stack(one.kept) for one in trainees])
    views = program.blueprint.views(flat.flatten(0, 1))
    told = {}
    for part, (inputs, targets) in task.data.parts.items():
        rows = None
        if part == "train":
            rows = _shown(task, trainees).repeat_interleave(flat.shape[1], 0)
            targets = targets[rows]
        else:
            inputs, targets = inputs[: task.settings.evaluated], targets[: task.settings.evaluated]
        outputs = program.outputs(views, inputs, rows)
        for name, measure in {"loss": task.loss, **task.settings.metrics}.items():
            told[f"{part}_{name}"] = program.told(measure, outputs, targets, shared=rows is None)
    return told


def _shown(task: Task, trainees: list[Trainee]) -> Tensor:
    """Training examples that each network is asked about: its own, as many of each as any may have."""
    fraction = smallest(task.hyperparameters.train_fraction)
    size = min(task.settings.evaluated, max(task.settings.batch, round(fraction * len(task.data))))
    return torch.stack([torch.from_numpy(task.examples_of(one.given)[:size]) for one in trainees])


def _columns(task: Task, numbers: Tensor, trainees: list[Trainee]) -> dict[str, Any]:
    """What each row is, and what its network was given."""
    steps = torch.tensor([one.steps for one in trainees])
    marks = torch.tensor([one.marks for one in trainees])
    lost = torch.tensor([one.lost for one in trainees])
    columns = checkpoint_columns(numbers, steps, lost, [asdict(one.given) for one in trainees])
    interval = task.settings.interval
    # The loss after the last step of a row is not known yet, so its points are those of the steps before it.
    curves = [one.curve[: -(-taken // interval)] for one in trainees for taken in one.steps]
    return columns | {
        "stopped_early": ((steps < marks) & ~lost).flatten().numpy(),
        "loss_curve": pa.array(curves, pa.list_(pa.float32())),
        "seed": np.full(steps.numel(), task.hyperparameters.seed, np.int64),
        **{name: [value] * steps.numel() for name, value in task.origin.columns.items()},
    }


def _further(task: Task, numbers: Tensor, told: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The gap of the first metric between training and test examples, and the splits."""
    columns: dict[str, Any] = {}
    if task.settings.metrics and task.data.test is not None:
        first = next(iter(task.settings.metrics))
        columns["gap"] = told[f"train_{first}"] - told[f"test_{first}"]
    splits = assign(np.repeat(numbers.numpy(), task.plan.rows), seed=task.hyperparameters.seed)
    return columns | {"split": pa.array(splits.tolist(), pa.string())}


def _check_steps(steps: Value, count: int) -> None:
    column = steps if isinstance(steps, Sequence | np.ndarray) and not isinstance(steps, str) else None
    if column is not None and len(column) != count:
        raise TrainingError(f"steps is a column of {len(column)} values for {count} networks; expected one for each.")
    if isinstance(steps, str) or steps is None or not 1 <= smallest(steps) <= largest(steps) <= 10**9:
        raise TrainingError(f"steps is {steps!r}; expected whole numbers, or ranges of them, from 1 to 10^9.")


def _check_checkpoints(checkpoints: tuple[float, ...]) -> None:
    shares = any(isinstance(mark, float) for mark in checkpoints)
    ascending = all(a < b for a, b in zip(checkpoints, checkpoints[1:], strict=False))
    if not checkpoints or checkpoints[0] < 0 or not ascending or (shares and checkpoints[-1] != 1):
        raise TrainingError(
            f"checkpoints are {checkpoints}; expected shares of the steps from 0 in ascending order, the last one 1.0, "
            f"or whole numbers of steps in ascending order."
        )


def _name(function: Callable[..., Any]) -> str:
    """What a function is called; modules by what they say of themselves."""
    if isinstance(function, nn.Module):
        # What a loss says of itself leaves out settings, such as the smoothing of labels.
        plain = {key: value for key, value in vars(function).items() if isinstance(value, bool | int | float | str)}
        told = ", ".join(f"{key}={value!r}" for key, value in plain.items() if key != "training" and key[0] != "_")
        return f"{type(function).__qualname__}({told})"
    if isinstance(function, partial):
        return f"{_name(function.func)} {function.args} {function.keywords}"
    return f"{function.__module__}.{getattr(function, '__qualname__', type(function).__qualname__)}"
