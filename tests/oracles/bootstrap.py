"""Measures of test items that are drawn again, one draw after the other and item by item."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from scipy.stats import kendalltau


def drawn(
    measure: str, predictions: Sequence[Any], targets: Sequence[Any], counts: Sequence[Sequence[float]]
) -> list[float]:
    """The measure of each draw, from the items written out as often as they were taken."""
    found = []
    for line in counts:
        items = [item for item, count in enumerate(line) for _ in range(int(count))]
        given = [predictions[item] for item in items]
        true = [targets[item] for item in items] if len(targets) else []
        found.append(_MEASURES[measure](given, true))
    return found


def _accuracy(given: list[Any], true: list[Any]) -> float:
    return sum(answer == truth for answer, truth in zip(given, true, strict=True)) / len(given)


def _mse(given: list[Any], true: list[Any]) -> float:
    if not true:
        return sum(given) / len(given)
    return sum((answer - truth) ** 2 for answer, truth in zip(given, true, strict=True)) / len(given)


def _rmse(given: list[Any], true: list[Any]) -> float:
    return math.sqrt(_mse(given, true) if true else sum(error**2 for error in given) / len(given))


def _tau(given: list[Any], true: list[Any]) -> float:
    found = float(kendalltau(given, true).statistic)
    return found if math.isfinite(found) else 0.0


_MEASURES = {"accuracy": _accuracy, "mse": _mse, "rmse": _rmse, "tau": _tau}
