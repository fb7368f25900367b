"""Zoos of small classifiers that `fit` trains, with ranges of hyper-parameters for the command line."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from torch import Tensor, nn

from weightspace.errors import DataError
from weightspace.zoo.dataset import Zoo
from weightspace.zoo.generate.architecture import MlpSettings, Transformer, TransformerSettings, mlp
from weightspace.zoo.generate.blueprint import Blueprint
from weightspace.zoo.generate.draw import INITS, check_range
from weightspace.zoo.generate.engine import Engine
from weightspace.zoo.generate.examples import Examples
from weightspace.zoo.generate.fit import FitSettings, Origin, Task, fit_task
from weightspace.zoo.generate.hyperparameters import RULES, Choice, Hyperparameters, LogUniform, Uniform
from weightspace.zoo.tabular import Table

__all__ = ["Architecture", "Regime", "accuracy", "build", "classifier_task", "make_classifier_zoo"]

Architecture = MlpSettings | TransformerSettings
"""What the networks of a zoo are."""


@dataclass(frozen=True)
class Regime:
    """How classifiers are trained. Ranges are those that each network draws from.

    Args:
        steps: optimiser steps, drawn log-uniformly.
        batch: examples in a step.
        learning_rate: drawn log-uniformly.
        weight_decay: as torch.optim has it, drawn log-uniformly.
        dropout: share of the values that are dropped in a step, drawn uniformly.
        init_scale: factor of the first weights, drawn log-uniformly.
        fractions: shares of the training examples, one of which a network is given.
        inits: how first weights are drawn; biases start at zero.
        optimisers: sgd (with a momentum of 0.9), adam, adamw.
        checkpoints: shares of a network's steps after which it is kept; the last one is 1.
        interval: steps between two points of the loss curves that are kept.
        seed: key of all draws, from 0 to 2^63 - 1.
        chunk: networks that are trained side by side on one thread; a matter of speed alone.

    Raises:
        TrainingError: a number out of its range.
        UnknownNameError: an initialisation or an optimiser that does not exist.
    """

    steps: tuple[int, int] = (100, 400)
    batch: int = 32
    learning_rate: tuple[float, float] = (5e-4, 5e-2)
    weight_decay: tuple[float, float] = (1e-6, 1e-1)
    dropout: tuple[float, float] = (0.0, 0.5)
    init_scale: tuple[float, float] = (0.3, 2.0)
    fractions: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    inits: tuple[str, ...] = INITS[:3]
    optimisers: tuple[str, ...] = RULES
    checkpoints: tuple[float, ...] = (0.1, 0.3, 1.0)
    interval: int = 10
    seed: int = 0
    chunk: int = 64

    def __post_init__(self) -> None:
        check_range("steps", self.steps, 1, 1e9)
        for name in ("learning_rate", "weight_decay", "init_scale"):
            check_range(name, getattr(self, name), 0, 1e30, above=True)
        check_range("dropout", self.dropout, 0, 1)
        # The rest is refused there.
        self.fit_settings()
        self.hyperparameters(1)

    def hyperparameters(self, count: int) -> Hyperparameters:
        """What the networks are given."""
        return Hyperparameters(
            count=count,
            learning_rate=LogUniform(*self.learning_rate),
            weight_decay=LogUniform(*self.weight_decay),
            dropout=Uniform(*self.dropout) if any(self.dropout) else None,
            init_scale=LogUniform(*self.init_scale),
            train_fraction=Choice(self.fractions),
            init=Choice(self.inits),
            optimiser=Choice(self.optimisers),
            seed=self.seed,
        )

    def fit_settings(self) -> FitSettings:
        """How they are trained and told about."""
        return FitSettings(batch=self.batch, metrics={"accuracy": accuracy}, interval=self.interval, chunk=self.chunk)


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of the examples whose largest output is that of their class.

    Example:
        >>> import torch
        >>> accuracy(torch.eye(3), torch.tensor([0, 1, 1])).item()
        0.6666666865348816
    """
    return (outputs.argmax(-1) == targets).float().mean()


def build(architecture: Architecture, inputs: tuple[int, ...], classes: int) -> nn.Module:
    """A module of an architecture, freshly initialised by torch.

    Args:
        architecture: which.
        inputs: shape of an example: ``(numbers,)`` for a perceptron, ``(tokens, numbers)`` for a transformer.
        classes: outputs.
    """
    if isinstance(architecture, MlpSettings):
        (numbers,) = inputs
        return mlp(architecture, numbers, classes)
    tokens, numbers = inputs
    return Transformer(architecture, tokens, numbers, classes)


def classifier_task(table: Table, architecture: Architecture, regime: Regime, *, count: int) -> Task:
    """The task of a zoo of classifiers.

    Raises:
        DataError: no networks, a transformer for a table whose examples are no squares, or fewer examples than a batch.
    """
    if count < 1:
        raise DataError(f"count is {count}; expected at least 1 network.")
    train, test = (_shaped(value, architecture, table) for value in (table.train, table.test))
    make = partial(build, architecture, tuple(train.shape[1:]), table.classes)
    columns = {"activation": architecture.activation} if isinstance(architecture, MlpSettings) else {}
    kept = {name: value for name, value in asdict(regime).items() if name != "chunk"}
    return Task(
        Blueprint(make),
        nn.CrossEntropyLoss(),
        Examples((train, table.train_labels), test=(test, table.test_labels), name=table.name),
        regime.hyperparameters(count),
        LogUniform(*regime.steps),
        tuple(float(share) for share in regime.checkpoints),
        regime.fit_settings(),
        Origin(
            recipe="mlp" if isinstance(architecture, MlpSettings) else "transformer",
            settings=asdict(architecture) | kept,
            forward={"classes": table.classes, "output": "logits"},
            columns=columns,
        ),
    )


def make_classifier_zoo(
    path: str | Path,
    table: Table,
    architecture: Architecture,
    regime: Regime,
    *,
    count: int,
    progress: Callable[[int], None] | None = None,
    engine: str | Engine = "local",
    dtype: str = "float32",
) -> Zoo:
    """A zoo of small classifiers on disk; a second call goes on where the first stopped.

    Rows are those of :func:`weightspace.zoo.fit`, with the metric ``accuracy`` and its ``gap`` between training and
    test examples.

    Args:
        path: the zoo's folder.
        table: the data.
        architecture: perceptrons, or transformers that read each example of a square number of values as rows.
        regime: how each network is trained.
        count: networks wanted; a zoo that holds more keeps them.
        progress: called with the number of networks that are newly there, those found on disk included.
        engine: "local"; "ray": shards are tasks of Ray; or an :class:`Engine`, which may say where the cluster is.
        dtype: in which weights are stored: float32 (fp32), bfloat16 (bf16) or float16 (fp16); they are trained in
            float32.

    Raises:
        DataError: as :func:`classifier_task`.
        UnknownNameError: an engine or a type that does not exist.
        StorageError: the folder cannot be written.
        FormatError: a zoo with other settings in the folder, or a weight that the type cannot hold.

    Example:
        >>> import tempfile
        >>> from weightspace.zoo.tabular import load_table
        >>> regime = Regime(steps=(20, 40))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     zoo = make_classifier_zoo(folder, load_table("wine"), MlpSettings((8,)), regime, count=4)
        >>> len(zoo), zoo.column("activation")[0], bool((zoo.column("test_accuracy") <= 1).all())
        (12, np.str_('relu'), True)
    """
    task = classifier_task(table, architecture, regime, count=count)
    return fit_task(task, path, progress=progress, engine=engine, dtype=dtype)


def _shaped(values: Tensor, architecture: Architecture, table: Table) -> Tensor:
    """Examples as an architecture reads them."""
    if isinstance(architecture, MlpSettings):
        return values
    side = round(values.shape[1] ** 0.5)
    if side * side != values.shape[1]:
        raise DataError(
            f"{table.name} has {values.shape[1]} numbers per example, which are no square image; a transformer reads "
            f"its rows. Remedy: use digits, or a perceptron."
        )
    return values.unflatten(1, (side, side))
