"""How long a run is: a number of steps, given or bought once with seconds."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Plan", "by_seconds", "by_steps"]

EVALUATIONS = 20
"""Validations in a run, unless the settings say otherwise."""
EVALUATION_SHARE = 0.2
"""The largest share of a budget in seconds that validation may take by default."""
REHEARSAL_SHARE = 0.05
"""The share of a budget in seconds spent on timing steps."""


@dataclass(frozen=True)
class Plan:
    """The steps of a run and how many lie between two validations."""

    steps: int
    evaluate_every: int


def by_steps(steps: int, evaluate_every: int | None) -> Plan:
    """The plan for a given number of steps.

    Example:
        >>> by_steps(100, None)
        Plan(steps=100, evaluate_every=5)
    """
    return Plan(steps, evaluate_every or math.ceil(steps / EVALUATIONS))


def by_seconds(
    seconds: float,
    evaluate_every: int | None,
    step: Callable[[int], object],
    evaluate: Callable[[], object],
    clock: Callable[[], float] = time.perf_counter,
) -> Plan:
    """The plan that a budget pays for, from the measured price of steps and of validations.

    The first calls pay for allocations and caches, so they are not counted; of the rest the median is taken, which a
    machine that is busy for a moment does not move.

    Args:
        seconds: the budget; what the rehearsal takes is paid from it.
        evaluate_every: steps between two validations, or None for a twentieth of the run, or less often where
            validations would take more than a fifth of the budget.
        step: does one step; called with 0, 1, 2, ...
        evaluate: does one validation.
        clock: the time in seconds.
    """
    begin = clock()
    for warm in range(3):
        step(warm)
    prices: list[float] = []
    while len(prices) < 5 or clock() - begin < REHEARSAL_SHARE * seconds:
        prices.append(_price(lambda: step(3 + len(prices)), clock))
    evaluate()
    evaluation = _price(evaluate, clock)
    price = max(statistics.median(prices), 1e-9)
    left = max(seconds - (clock() - begin), 0.0)
    if evaluate_every is not None:
        return Plan(max(1, int(left / (price + evaluation / evaluate_every))), evaluate_every)
    count = min(EVALUATIONS, max(1, int(EVALUATION_SHARE * left / max(evaluation, 1e-9))))
    steps = max(1, int((left - count * evaluation) / price))
    return Plan(steps, math.ceil(steps / count))


def _price(action: Callable[[], object], clock: Callable[[], float]) -> float:
    begin = clock()
    action()
    return clock() - begin
