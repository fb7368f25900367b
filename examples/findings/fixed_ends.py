"""ScaleGMN's update of edges normalises the features of inputs and outputs too, on which nothing acts.

What is normalised is forgotten: an edge to an output cannot tell that output's bias from three times that bias.
"""

import torch
from torch import nn

from weightspace.layers import canonical
from weightspace.spec import Factor, spec_of
from weightspace.testing import equivariance_error, orbit_error, random_features
from weightspace.weights import WeightFeatures

spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)))
x = random_features(spec, 4, channels=2, generator=torch.Generator().manual_seed(0))


def updated(factors_of_outputs):
    def update(x):
        unit, output = canonical(x["0.bias"], {Factor.POSITIVE}), canonical(x["2.bias"], factors_of_outputs)
        gate = torch.tanh(unit[:, None] + output[:, :, None])
        return WeightFeatures(x.spec, dict(x.items()) | {"2.weight": x["2.weight"] * gate})

    return update


def other(x):  # three times the output's bias, which is no symmetry
    return WeightFeatures(spec, dict(x.items()) | {"2.bias": 3 * x["2.bias"]})


def seen(f):
    return orbit_error(lambda x: f(x)["2.weight"], other, lambda y: y, x)


published, right = updated({Factor.POSITIVE}), updated(set())
assert equivariance_error(published, spec) < 1e-9
assert equivariance_error(right, spec) < 1e-9
assert seen(published) < 1e-12
assert seen(right) > 0.1
print(f"three times an output's bias: edges change by less than 1e-12; without normalising: by {seen(right):.2g}")
