"""Absolute values of channels remove one sign too many: ScaleGMN's canonical form for signs, in several configurations.

A unit's sign belongs to all its channels together. (a, b) and (-a, -b) are one unit; (a, -b) is another.
"""

import torch
from torch import nn

from weightspace.layers import Invariants
from weightspace.spec import Factor, Sine, spec_of
from weightspace.testing import invariance_error, orbit_error, random_features
from weightspace.weights import WeightFeatures

torch.manual_seed(0)
network = nn.Sequential(nn.Linear(1, 4), Sine(30.0), nn.Linear(4, 1)).double()
spec = spec_of(network)
x, points = random_features(spec, 1, generator=torch.Generator().manual_seed(0)), torch.rand(16, 1, dtype=torch.float64)


def read(form):
    torch.manual_seed(0)
    invariants = Invariants([2], 3, {Factor.SIGN}, form).double()
    return lambda x: invariants(torch.cat([x["0.weight"][:, :, 0], x["0.bias"]], -1)).sum(1)


def other(x):  # the biases alone change their signs, which is no symmetry
    return WeightFeatures(spec, dict(x.items()) | {"0.bias": -x["0.bias"]})


def seen(f):
    return orbit_error(f, other, lambda y: y, x)


function, published, right = (
    seen(lambda x: x.to_modules(network)[0](points)),
    seen(read("absolute")),
    seen(read("product")),
)
assert function > 0.1
assert published == 0
assert right > 0.01
assert invariance_error(read("product"), spec) < 1e-12
print(
    f"the function changes by {function:.2g}, absolute values by {published:.0f}, products of channels by {right:.2g}"
)
