"""SIRENs one unit at a time, as their definition says."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def siren(layers: Sequence[tuple[np.ndarray, np.ndarray]], point: Sequence[float], omega: float) -> list[float]:
    """Outputs at one point, of layers `(weight, bias)` with the units of a layer as rows; the last layer is linear."""
    values = list(point)
    for number, (weight, bias) in enumerate(layers):
        sums = [
            sum(float(weight[unit, below]) * values[below] for below in range(len(values))) + float(bias[unit])
            for unit in range(len(bias))
        ]
        values = sums if number == len(layers) - 1 else [math.sin(omega * value) for value in sums]
    return values
