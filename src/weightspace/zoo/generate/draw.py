"""What chance decides about one network: its hyper-parameters, first weights, batches and dropped values.

Each is drawn from a stream of its own, keyed by the seed and the network's number, so that it depends on nothing else.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from weightspace.errors import TrainingError

__all__ = ["INITS", "OPTIMISERS", "check_range", "log_uniform", "normal_matrix", "stream"]

INITS = ("glorot_normal", "he_normal", "orthogonal", "normal", "truncated_normal")
"""Ways to draw first weights."""

OPTIMISERS = ("adam", "sgd", "rmsprop")
"""Ways to follow the gradient."""

_PURPOSES = ("hyper-parameters", "weights", "batches", "dropout", "examples")
# The standard deviation of a standard normal that is cut off at two: what is lost is given back.
_CUT = 0.87962566103423978


def stream(seed: int, number: int, purpose: str) -> np.random.Generator:
    """The random stream of one network for one purpose.

    Example:
        >>> stream(0, 7, "weights").random() == stream(0, 7, "weights").random()
        True
    """
    key = np.random.SeedSequence([seed, number, _PURPOSES.index(purpose)])
    return np.random.Generator(np.random.SFC64(key))


def log_uniform(chance: np.random.Generator, ends: tuple[float, float]) -> float:
    """A number whose logarithm is uniform between those of two ends."""
    low, high = map(math.log, ends)
    return float(math.exp(chance.uniform(low, high)))


def check_range(name: str, ends: tuple[float, float], low: float, high: float, *, above: bool = False) -> None:
    """Refuse a range that is not in order or leaves its bounds.

    Raises:
        TrainingError: with the name, the range and the bounds.
    """
    first, last = ends
    # A comparison with nan is false.
    if not (low <= first <= last <= high) or (above and first == low):
        word = "above" if above else "from"
        raise TrainingError(f"{name} is {ends}; expected two numbers in order, {word} {low:g} up to {high:g}.")


def normal_matrix(chance: np.random.Generator, kind: str, shape: tuple[int, ...], deviation: float) -> np.ndarray:
    r"""First weights of a layer, as ``(out, in, ...)``.

    With :math:`n_{in}` and :math:`n_{out}` the inputs and outputs of one unit, taps counted, the variance is
    :math:`2 / n_{in}` (``he_normal``) or :math:`2 / (n_{in} + n_{out})` (``glorot_normal``); the normal is cut off at
    two deviations and widened to keep its variance. ``truncated_normal`` is one of standard deviation ``deviation``
    that is cut off and not widened, ``normal`` is not cut off. ``orthogonal`` gives a matrix with orthonormal rows or
    columns.

    Example:
        >>> matrix = normal_matrix(stream(0, 0, "weights"), "orthogonal", (16, 4, 3, 3), 0.0).reshape(16, 36)
        >>> bool(np.allclose(matrix @ matrix.T, np.eye(16)))
        True
    """
    taps = math.prod(shape[2:])
    fan_in, fan_out = shape[1] * taps, shape[0] * taps
    ways: Mapping[str, Callable[[], np.ndarray]] = {
        "normal": lambda: chance.normal(0, deviation, shape),
        "truncated_normal": lambda: deviation * _cut_off(chance, shape),
        "he_normal": lambda: math.sqrt(2 / fan_in) / _CUT * _cut_off(chance, shape),
        "glorot_normal": lambda: math.sqrt(2 / (fan_in + fan_out)) / _CUT * _cut_off(chance, shape),
        "orthogonal": lambda: _orthogonal(chance, shape[0], fan_in).reshape(shape),
    }
    return ways[kind]()


def _cut_off(chance: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normals within two of zero: what lies outside is drawn again."""
    values = chance.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = chance.standard_normal(int(outside.sum()))
    return values


def _orthogonal(chance: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    tall = chance.standard_normal((max(rows, columns), min(rows, columns)))
    basis, triangle = np.linalg.qr(tall)
    # Without the signs of the diagonal the matrix would not be uniformly distributed.
    basis = basis * np.sign(np.diagonal(triangle))
    return basis if rows >= columns else basis.T


def batches(chance: np.random.Generator, images: np.ndarray, steps: int, batch: int) -> Tensor:
    """The images of each step: the network's own are shuffled anew each time that they run out.

    Shapes:
        images: ``(n,)``, at least one batch; result: ``(steps, batch)``, int64.
    """
    whole = len(images) // batch
    rounds = [chance.permutation(images)[: whole * batch] for _ in range(math.ceil(steps / whole))]
    return torch.from_numpy(np.concatenate(rounds)[: steps * batch].reshape(steps, batch))
