"""What each network of a zoo is given: ranges to draw from, or columns that say it outright."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import numpy as np

from weightspace.errors import TrainingError, unknown
from weightspace.zoo.generate.draw import INITS, stream

__all__ = [
    "OWN_INITS",
    "RULES",
    "Choice",
    "Given",
    "Hyperparameters",
    "LogUniform",
    "Uniform",
    "Value",
    "described",
    "largest",
    "pick",
    "smallest",
    "values_of",
]

RULES = ("sgd", "adam", "adamw")
"""Ways to follow the gradient, as `torch.optim` has them."""

OWN_INITS = ("own", *INITS)
"""Ways to draw first weights: as the modules themselves do, or one of those of the CNNs."""


@dataclass(frozen=True)
class Uniform:
    """A number drawn uniformly between two ends.

    Raises:
        TrainingError: ends that are not finite or not in order.

    Example:
        >>> Uniform(2.0, 4.0).at(0.25)
        2.5
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (-math.inf < self.low <= self.high < math.inf):
            raise TrainingError(f"{self} has ends that are not finite or not in order; expected low <= high.")

    def at(self, share: float) -> float:
        """The number below which this share of the draws lies."""
        return self.low + share * (self.high - self.low)


@dataclass(frozen=True)
class LogUniform:
    """A positive number whose logarithm is drawn uniformly between those of two ends.

    Raises:
        TrainingError: ends that are not positive, not finite or not in order.

    Example:
        >>> round(LogUniform(1e-4, 1e-2).at(0.5), 9)
        0.001
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not (0 < self.low <= self.high < math.inf):
            raise TrainingError(f"{self} has ends that are not positive or not in order; expected 0 < low <= high.")

    def at(self, share: float) -> float:
        """The number below which this share of the draws lies."""
        return min(self.high, max(self.low, self.low * (self.high / self.low) ** share))


@dataclass(frozen=True)
class Choice:
    """One of several values, each as likely.

    Raises:
        TrainingError: nothing to choose from.

    Example:
        >>> Choice(("sgd", "adam")).at(0.7)
        'adam'
    """

    options: Sequence[Any]

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        if not self.options:
            raise TrainingError("a Choice has no options; expected at least one.")

    def at(self, share: float) -> Any:
        """The option at this share of the list."""
        return self.options[min(len(self.options) - 1, int(share * len(self.options)))]


Value: TypeAlias = float | str | Uniform | LogUniform | Choice | Sequence[Any] | np.ndarray | None
"""One value for all networks, a range to draw from, or a column with a value for each network."""


@dataclass(frozen=True)
class Given:
    """What one network is given, named as in :class:`Hyperparameters`."""

    learning_rate: float
    weight_decay: float
    momentum: float
    optimiser: str
    init: str
    init_scale: float
    dropout: float
    train_fraction: float
    init_seed: int
    order_seed: int
    steps: int


@dataclass(frozen=True, eq=False)
class Hyperparameters:
    """What the networks of a zoo are given, each its own.

    Every entry is one value for all, a range (:class:`Uniform`, :class:`LogUniform`, :class:`Choice`) or a column: a
    sequence with a value for each network. What is drawn depends on the seed, the network's number and the entry alone:
    making one entry a constant, or asking for more networks, leaves the other draws as they were.

    Args:
        count: networks. `None`: as many as the columns have values.
        learning_rate: step size.
        weight_decay: of all parameters, as `torch.optim` has it for the optimiser: added to the gradient for sgd and
            adam, apart from it for adamw.
        momentum: of sgd; the others take no notice.
        optimiser: sgd, adam or adamw; the latter two with torch's betas and epsilon.
        init: how first weights are drawn. ``own``: as the modules themselves do. glorot_normal, he_normal, orthogonal,
            normal, truncated_normal: parameters with two or more dimensions so (normal with a standard deviation of
            one), those named ``bias`` zero, all others as the modules themselves do.
        init_scale: factor of the first weights with two or more dimensions.
        dropout: rate of every ``nn.Dropout`` in the template; `None`: the rates that the template has.
        train_fraction: share of the training examples that a network is given, at least one batch.
        init_seed: networks with the same number start alike; `None`: each by its own.
        order_seed: networks with the same number (and the same fraction) are given the same examples in the same order,
            with the same augmentation and dropout; `None`: each by its own.
        seed: key of all draws, from 0 to 2^63 - 1.

    Raises:
        TrainingError: a value out of its range, columns of different lengths, or neither a count nor a column.
        UnknownNameError: an initialisation or an optimiser that does not exist.

    Example:
        >>> given = Hyperparameters(count=4, learning_rate=LogUniform(1e-3, 1e-1), optimiser=["sgd", "adam"] * 2)
        >>> values_of(given, 3, steps=100).optimiser
        'adam'
        >>> 1e-3 <= values_of(given, 3, steps=100).learning_rate <= 1e-1
        True
    """

    count: int | None = None
    learning_rate: Value = 1e-3
    weight_decay: Value = 0.0
    momentum: Value = 0.9
    optimiser: Value = "adam"
    init: Value = "own"
    init_scale: Value = 1.0
    dropout: Value = None
    train_fraction: Value = 1.0
    init_seed: Value = None
    order_seed: Value = None
    seed: int = 0

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in _DRAWN if name != "steps"}
        columns = {name: len(value) for name, value in values.items() if _is_column(value)}
        count = self.count
        for name, length in columns.items():
            count = length if count is None else count
            if length != count:
                raise TrainingError(
                    f"{name} is a column of {length} values for {count} networks; expected one value for each. "
                    f"Remedy: for values to draw from give a Choice."
                )
        if count is None or count < 1:
            raise TrainingError(
                f"count is {count} and no entry is a column; expected at least one network. Remedy: give a count."
            )
        object.__setattr__(self, "count", count)
        if not 0 <= self.seed < 2**63:
            raise TrainingError(f"seed is {self.seed}; expected 0 to 2^63 - 1.")
        for name, (low, high, above) in _BOUNDS.items():
            _check(name, getattr(self, name), low, high, above)
        for name, valid in (("optimiser", RULES), ("init", OWN_INITS)):
            for value in _extremes(getattr(self, name)):
                if value not in valid:
                    raise unknown("initialisation" if name == "init" else name, value, valid)


# The order is the key of the draws: a new entry stands at the end.
_DRAWN = tuple(field.name for field in fields(Given))
_SEEDS = ("init_seed", "order_seed")
# Ends, and whether the lower one is left out.
_BOUNDS = {
    "learning_rate": (0.0, 1e30, True),
    "weight_decay": (0.0, 1e30, False),
    "momentum": (0.0, 1.0, False),
    "init_scale": (0.0, 1e30, False),
    "dropout": (0.0, 1.0, False),
    "train_fraction": (0.0, 1.0, True),
    "init_seed": (0, 2**63 - 1, False),
    "order_seed": (0, 2**63 - 1, False),
}
_BELOW = ("momentum", "dropout")


def _is_column(value: Value) -> bool:
    return isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)


def _extremes(value: Value) -> list[Any]:
    """Every value that a network may be given, or for a range its ends."""
    if value is None:
        return []
    if isinstance(value, Uniform | LogUniform):
        return [value.low, value.high]
    if isinstance(value, Choice):
        return list(value.options)
    return list(value) if _is_column(value) else [value]  # type: ignore[arg-type]


def largest(value: Value) -> int:
    """The largest whole number that a network may be given."""
    return max(round(end) for end in _extremes(value))


def smallest(value: Value) -> float:
    """The smallest number that a network may be given."""
    return min(_extremes(value))


def _check(name: str, value: Value, low: float, high: float, above: bool) -> None:
    for end in _extremes(value):
        number = isinstance(end, int | float | np.integer | np.floating) and not isinstance(end, bool)
        whole = name not in _SEEDS or (number and float(end).is_integer())
        inside = number and low <= end <= high and not (above and end == low) and not (name in _BELOW and end == high)
        if not (whole and inside):
            kind = "a whole number" if name in _SEEDS else "a number"
            ends = f"{'above' if above else 'from'} {low:g} {'to below' if name in _BELOW else 'to'} {high:g}"
            raise TrainingError(f"{name} is {end!r}; expected {kind} {ends}.")


def pick(value: Value, number: int, share: float) -> Any:
    """The value of one network: drawn at `share` of a range, or read off a column."""
    if isinstance(value, Uniform | LogUniform | Choice):
        value = value.at(share)
    elif _is_column(value):
        value = value[number]  # type: ignore[index]
    return value.item() if isinstance(value, np.generic) else value


def values_of(hyperparameters: Hyperparameters, number: int, *, steps: Value, dropout: float = 0.0) -> Given:
    """What one network is given.

    Args:
        hyperparameters: of the zoo.
        number: the network's, from 0.
        steps: number of steps, or a range or column of them.
        dropout: recorded where the template's own rates count.
    """
    shares = stream(hyperparameters.seed, number, "hyper-parameters").random(len(_DRAWN))
    drawn = {}
    for name, share in zip(_DRAWN, shares.tolist(), strict=True):
        value = steps if name == "steps" else getattr(hyperparameters, name)
        drawn[name] = pick(value, number, share)
    drawn |= {name: number if drawn[name] is None else int(drawn[name]) for name in _SEEDS}
    numbers = {field.name for field in fields(Given) if field.type is float}
    drawn["dropout"] = dropout if drawn["dropout"] is None else drawn["dropout"]
    drawn = {name: float(value) if name in numbers else value for name, value in drawn.items()}
    return Given(**(drawn | {"steps": round(drawn["steps"])}))


def described(value: Value) -> Any:
    """A value, range or column as JSON knows it."""
    if isinstance(value, Uniform | LogUniform):
        return {type(value).__name__: [value.low, value.high]}
    if isinstance(value, Choice):
        return {"Choice": list(value.options)}
    if _is_column(value):
        return {"column": np.asarray(value).tolist()}
    return value.item() if isinstance(value, np.generic) else value
