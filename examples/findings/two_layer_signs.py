"""Monomial-NFN's layer for signs leaves out coefficients where a network has two layers.

The first weights, the first bias and the last weights of a unit then change their signs together, so any of them may
become any other. The layer treats the first as the first layer of a deeper network and the last as its last.
"""

import torch
from torch import nn

from weightspace.layers import EquivariantLinear
from weightspace.spec import Sine, spec_of
from weightspace.testing import equivariance_error
from weightspace.weights import WeightFeatures

inputs, units, outputs = 4, 7, 3
spec = spec_of(nn.Sequential(nn.Linear(inputs, units), Sine(30.0), nn.Linear(units, outputs)))
published = (inputs + 1) ** 2 + (outputs + 1) * outputs + outputs**2  # of W1, b1; of W2 (and b1 into it); of b2
layer = EquivariantLinear(spec, 1, 1)


def left_out(x):
    """Last weights become first weights, which the published layer cannot do."""
    first = x["2.weight"].sum(1)[:, :, None].expand_as(x["0.weight"])
    zeros = x.map(torch.zeros_like)
    return WeightFeatures(x.spec, dict(zeros.items()) | {"0.weight": first})


assert equivariance_error(left_out, spec) < 1e-12
assert equivariance_error(layer, spec) < 1e-12
assert layer.linear_parameters == (inputs + 1 + outputs) ** 2 + outputs**2 > published
print(f"published layer: {published} coefficients; all that the signs allow: {layer.linear_parameters}")
