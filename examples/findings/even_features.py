"""MAGEP-NFN's configurations for SIRENs of MNIST and CIFAR-10 put Fourier features ahead of the equivariant part.

A cosine is even: it forgets a sign that the layers behind it count on.
"""

import math

import torch
from torch import nn

from weightspace.errors import SymmetryError
from weightspace.layers import FourierFeatures
from weightspace.spec import Sine, spec_of
from weightspace.testing import invariance_error

spec = spec_of(nn.Sequential(nn.Linear(2, 4), Sine(30.0), nn.Linear(4, 4), Sine(30.0), nn.Linear(4, 1)))
frequencies = torch.randn(8, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def fourier(t):
    angles = 2 * math.pi * t @ frequencies.T
    return angles.sin() + angles.cos()  # the next layer mixes the channels


def paired(x):
    """Products along a unit, whose first weights and bias change their signs together."""
    return (x["0.weight"].sum(2) * x["0.bias"]).sum((1, 2))


right = invariance_error(paired, spec)
published = invariance_error(lambda x: paired(x.map(fourier)), spec)
assert right < 1e-12
assert published > 0.1
try:
    FourierFeatures(spec, 1, 8)
except SymmetryError:
    print(f"Fourier features first: error {published:.1f}; without: below 1e-12; the package's layer refuses the space")
