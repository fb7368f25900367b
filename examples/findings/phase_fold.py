"""ScaleGMN's fold of phases forgets the frequency of the sines, and adds a half turn that it means to take away.

The five steps below compare b with pi, where the phase is omega b. Rows of weights change their signs with their
biases.
"""

import math

import torch
from torch import nn

from weightspace.gauge import fold_phases
from weightspace.spec import Sine, spec_of
from weightspace.testing import orbit_error, random_features
from weightspace.weights import WeightFeatures


def published(x):
    weight, bias = x["0.weight"], x["0.bias"]
    sign, half = torch.where(bias < 0, -1.0, 1.0), math.pi / 2
    weight, bias = sign[:, :, None] * weight, bias.abs()
    bias = torch.where(bias > 4 * half, bias % (4 * half), bias)
    third = (bias > 2 * half) & (bias <= 4 * half)
    bias, sign = torch.where(third, bias + 2 * half, bias), torch.where(third, -sign, sign)
    last = (bias > half) & (bias <= 2 * half)
    bias, sign = torch.where(last, bias - 2 * half, bias), torch.where(last, -sign, sign)
    return WeightFeatures(x.spec, dict(x.items()) | {"0.weight": sign[:, :, None] * weight, "0.bias": sign * bias})


def measured(fold, omega, size):
    """By how much the function changes, and the largest phase that is left, in half turns."""
    network = nn.Sequential(nn.Linear(1, 64), Sine(omega), nn.Linear(64, 1)).double()
    spec, points = spec_of(network), torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None]
    x = random_features(spec, 1, generator=torch.Generator().manual_seed(0))
    x = WeightFeatures(spec, dict(x.items()) | {"0.bias": size * x["0.bias"]})
    change = orbit_error(lambda x: x.to_modules(network)[0](points), fold, lambda y: y, x)
    return change, omega * fold(x)["0.bias"].abs().max().item() / math.pi


_, idle = measured(published, 30, 0.2)
change, _ = measured(published, 30, 2)
kept, slipped = measured(published, 1, 3)
same, folded = measured(fold_phases, 30, 2)
assert idle > 1
assert change > 0.1
assert kept < 1e-12
assert slipped > 1
assert same < 1e-12
assert folded < 0.5 + 1e-12
print(
    f"small biases: {idle:.1f} half turns are left; large ones: the function changes by {change:.1f}; frequency 1: "
    f"{slipped:.1f} half turns are left; fold_phases: half of one at most, and the same function"
)
