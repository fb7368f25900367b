"""What is beyond noise: intervals for the difference of two rows, from their answers to the same test items."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from weightspace.experiments.bench.record import BenchRecord

__all__ = ["DRAWS", "MEASURES", "Difference", "Noise", "resampled", "resamples"]

DRAWS = 2000
"""How often the test items are drawn again."""
_SEED = 0
_BLOCK = 512
_ROUNDS = 2**24
"""Whole numbers up to here are exact in float32."""

Counts = Float[np.ndarray, "draw item"]
Drawn = Float[np.ndarray, " draw"]


@dataclass(frozen=True)
class Difference:
    """A number with its 95 % interval.

    Args:
        value: as measured.
        low: the 2.5 % quantile of what is found when items (and runs) are drawn again.
        high: the 97.5 % quantile.

    Example:
        >>> Difference(0.02, 0.01, 0.03).sign, Difference(0.02, -0.01, 0.03).sign
        (1, 0)
    """

    value: float
    low: float
    high: float

    @property
    def beyond(self) -> bool:
        """Whether the interval excludes 0."""
        return self.sign != 0

    @property
    def sign(self) -> int:
        """1 where the whole interval is above 0, -1 where it is below, else 0."""
        return int(self.low > 0) - int(self.high < 0)


class Noise:
    r"""Intervals by a paired bootstrap over test items.

    Let :math:`m(r, b)` be the measure of run :math:`r` on the :math:`b`-th draw, with replacement, of as many test
    items as there are. Both rows are measured on the same draw, so what makes an item hard for both cancels:

    .. math:: \Delta_b = \frac1{|A|} \sum_{r \in A_b} m(r, b) - \frac1{|B|} \sum_{r \in B_b} m(r, b) .

    :math:`A_b` are as many runs of the first row as there are, drawn with replacement as well, so that the luck of
    initial weights counts as noise; with one run per row only the items are drawn. The interval runs from the 2.5 % to
    the 97.5 % quantile of :math:`\Delta_b`. Items that belong together, such as checkpoints of one network, are drawn
    together (`BenchRecord.groups`), since one of them tells much of what the others tell.

    Args:
        measure: one of `MEASURES`, with what it is of behind it or not (`rmse_6`); for others there are no intervals.
        draws: how many.
        over_runs: whether runs are drawn again too; without it the mean over all runs is taken as it is.

    Example:
        >>> Noise("accuracy").interval([]) is None
        True

    References:
        Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 1979; Koehn, "Statistical
        Significance Tests for Machine Translation Evaluation", 2004 (pairs).
    """

    def __init__(self, measure: str, draws: int = DRAWS, *, over_runs: bool = True) -> None:
        self.measure, self.draws, self.over_runs = measure, draws, over_runs
        self._known: dict[tuple[str, int], Drawn | None] = {}

    def difference(self, first: Sequence[BenchRecord], second: Sequence[BenchRecord]) -> Difference | None:
        """The measure of the first row less that of the second, each a mean over its runs.

        Args:
            first: finished runs of one row.
            second: finished runs of another.

        Returns:
            None where there is nothing to pair: no run, other test items, answers that are no numbers, or a measure
            without a rule.
        """
        if not first or not second or not _paired([*first, *second]):
            return None
        one, other = self._row(first), self._row(second)
        if one is None or other is None:
            return None
        low, high = np.quantile(one[1:] - other[1:], [0.025, 0.975])
        return Difference(float(one[0] - other[0]), float(low), float(high))

    def interval(self, runs: Sequence[BenchRecord]) -> Difference | None:
        """The measure of one row, a mean over its runs, with its interval; None as for `difference`."""
        if not runs or not _paired(runs):
            return None
        drawn = self._row(runs)
        if drawn is None:
            return None
        low, high = np.quantile(drawn[1:], [0.025, 0.975])
        return Difference(float(drawn[0]), float(low), float(high))

    def _row(self, runs: Sequence[BenchRecord]) -> Drawn | None:
        """The mean over runs: first as measured, then on each draw."""
        found = [self._run(run) for run in runs]
        known = [drawn for drawn in found if drawn is not None]
        if len(known) < len(found):
            return None
        stacked = np.stack(known)
        measured, drawn = stacked[:, 0].mean(), stacked[:, 1:]
        if self.over_runs:
            # By the row's name: a row drawn against another is drawn alike against a third.
            picked = _numbers(self.draws * len(known), len(known), zlib.crc32(runs[0].row.encode()))
            drawn = np.take_along_axis(drawn, picked.reshape(len(known), self.draws), axis=0)
        return np.concatenate([[measured], drawn.mean(0)])

    def _run(self, run: BenchRecord) -> Drawn | None:
        key = (run.row, run.seed)
        if key not in self._known:
            counts = resamples(len(run.predictions), self.draws)
            if run.groups:
                names, belongs = np.unique(run.groups, return_inverse=True)
                counts = resamples(len(names), self.draws)[:, belongs]
            self._known[key] = resampled(self.measure, run.predictions, run.targets, counts)
        return self._known[key]


def resampled(measure: str, predictions: Sequence[Any], targets: Sequence[Any], counts: Counts) -> Drawn | None:
    """A measure of one run on test items that are drawn again.

    Shapes:
        predictions, targets: `(item,)`; predictions may be lists of numbers. Targets may be empty: then the predictions
        of `mse` and `accuracy` are what is averaged, and those of `rmse` are errors.

    Args:
        measure: one of `MEASURES`.
        predictions: the answers. None is a wrong class; where numbers are expected it leaves nothing to measure.
        targets: the truth.
        counts: how often each item is taken in each draw, as `resamples` gives them.

    Returns:
        One number per draw; None where there is nothing to measure.

    Example:
        >>> resampled("accuracy", [1, 0, 2], [1, 1, 2], np.array([[1.0, 1, 1], [3, 0, 0]])).round(3).tolist()
        [0.667, 1.0]
    """
    rule = MEASURES.get(measure.partition("_")[0])
    if rule is None or len(predictions) == 0 or len(targets) not in (0, len(predictions)):
        return None
    return rule(predictions, targets, counts)


@lru_cache(maxsize=2)
def resamples(items: int, draws: int = DRAWS, seed: int = _SEED) -> Counts:
    """How often each item is taken, in each of several draws of as many items with replacement.

    The first line holds ones: the items as they are.

    Shapes:
        returns `(draws + 1, items)`, float32.

    Example:
        >>> resamples(5, draws=2).sum(1).tolist()
        [5.0, 5.0, 5.0]
    """
    if not items:
        return np.ones((draws + 1, 0), dtype=np.float32)
    taken = _numbers(draws * items, items, seed).reshape(draws, items)
    taken += items * np.arange(draws)[:, None]
    counts = np.bincount(taken.ravel(), minlength=draws * items).reshape(draws, items)
    found = np.concatenate([np.ones((1, items)), counts]).astype(np.float32)
    found.setflags(write=False)
    return found


def _numbers(count: int, below: int, seed: int) -> np.ndarray:
    """Whole numbers from 0 to below a bound; raw bits, since only these stay the same with every version of NumPy."""
    bits = np.random.PCG64(seed).random_raw(count)
    return ((bits >> np.uint64(32)) * np.uint64(below) >> np.uint64(32)).astype(np.int64)


def _paired(runs: Sequence[BenchRecord]) -> bool:
    """Whether all runs answered the same test items."""
    first = runs[0]
    return all(
        len(run.predictions) == len(first.predictions)
        and run.targets == first.targets
        and run.groups == first.groups
        and run.zoo.get("checksum") == first.zoo.get("checksum")
        for run in runs[1:]
    )


def _accuracy(predictions: Sequence[Any], targets: Sequence[Any], counts: Counts) -> Drawn | None:
    if len(targets) == 0:
        return _mean(_floats(predictions), counts)
    right = [answer is not None and answer == truth for answer, truth in zip(predictions, targets, strict=True)]
    return _mean(np.array(right, dtype=np.float64), counts)


def _mse(predictions: Sequence[Any], targets: Sequence[Any], counts: Counts) -> Drawn | None:
    found = _floats(predictions)
    if found is None or len(targets) == 0:
        return _mean(found, counts)
    return _mean(_squares(found, targets), counts)


def _rmse(predictions: Sequence[Any], targets: Sequence[Any], counts: Counts) -> Drawn | None:
    found = _floats(predictions)
    squares = None if found is None else np.square(found) if len(targets) == 0 else _squares(found, targets)
    drawn = _mean(squares, counts)
    return None if drawn is None else np.sqrt(drawn)


def _tau(predictions: Sequence[Any], targets: Sequence[Any], counts: Counts) -> Drawn | None:
    r"""Kendall's tau-b of each draw, exactly.

    With :math:`S_{ij} = \operatorname{sign}(x_i - x_j) \operatorname{sign}(y_i - y_j)` and item :math:`i` taken
    :math:`w_i` times, concordant less discordant pairs are :math:`\frac12 w^\top S w`; copies of one item are ties and
    count nothing. All draws are one matrix product, in blocks of rows of :math:`S`.
    """
    x, y = _floats(predictions), _floats(targets)
    if x is None or y is None or x.ndim != 1 or len(x) != len(y):
        return None
    # Sums of whole numbers up to the square of the items: exact in float32 as long as these are.
    kind = np.float32 if len(x) ** 2 < _ROUNDS else np.float64
    taken = counts.astype(kind, copy=False)
    ordered = np.zeros(len(counts))
    for start in range(0, len(x), _BLOCK):
        rows = slice(start, start + _BLOCK)
        signs = np.sign(x[rows, None] - x).astype(kind) * np.sign(y[rows, None] - y).astype(kind)
        ordered += ((taken[:, rows] @ signs) * taken).sum(1, dtype=np.float64)
    untied = np.sqrt(_untied(x, counts) * _untied(y, counts))
    return np.divide(ordered, untied, out=np.zeros_like(ordered), where=untied > 0)


def _untied(values: np.ndarray, counts: Counts) -> Drawn:
    """Twice the number of pairs whose values differ."""
    order = np.argsort(values, kind="stable")
    first = np.flatnonzero(np.diff(values[order], prepend=np.nan) != 0)
    tied = len(first) < len(values)
    groups = np.add.reduceat(counts[:, order], first, axis=1) if tied else counts
    return np.square(counts.sum(1, dtype=np.float64)) - np.square(groups).sum(1, dtype=np.float64)


def _mean(items: np.ndarray | None, counts: Counts) -> Drawn | None:
    if items is None:
        return None
    return counts.astype(np.float64) @ items.reshape(len(items), -1).mean(1) / counts.sum(1, dtype=np.float64)


def _squares(found: np.ndarray, targets: Sequence[Any]) -> np.ndarray | None:
    truth = _floats(targets)
    return None if truth is None or truth.shape != found.shape else np.square(found - truth)


def _floats(values: Sequence[Any]) -> np.ndarray | None:
    """Values as floats; None where one is missing."""
    try:
        found = np.array(values, dtype=np.float64)  # None becomes nan
    except ValueError:  # some items hold lists and others None
        return None
    return found if np.isfinite(found).all() else None


MEASURES: Mapping[str, Callable[[Sequence[Any], Sequence[Any], Counts], Drawn | None]] = {
    "accuracy": _accuracy,
    "mse": _mse,
    "rmse": _rmse,
    "tau": _tau,
}
"""How a measure is taken on items that are drawn again, by name."""
