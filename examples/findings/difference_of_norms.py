"""A difference of norms, as checks of equivariance usually take, is ruled by the entries that the group makes largest.

Here a map sets small entries to zero. Pulled back, the error is what it is.
"""

import torch
from torch import nn

from weightspace.spec import spec_of
from weightspace.testing import equivariance_error, random_features
from weightspace.weights import WeightFeatures, act, sample_element

spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1)))


def broken(x):
    bias = torch.where(x["0.bias"].abs() < 1e-3, 0.0, x["0.bias"])
    return WeightFeatures(x.spec, dict(x.items()) | {"0.bias": bias})


x = random_features(spec, 4, generator=torch.Generator().manual_seed(0))
g = sample_element(spec, 4, generator=torch.Generator().manual_seed(1), log_scale=8.0)
moved, expected = broken(act(g, x)), act(g, broken(x))
pairs = zip(moved.tensors, expected.tensors, strict=True)
norms = max(float((a - b).norm() / b.norm()) for a, b in pairs)
pulled = equivariance_error(broken, spec, log_scale=8.0)
right = equivariance_error(lambda x: x.map(torch.relu), spec, log_scale=8.0)
assert norms < 1e-6
assert pulled > 0.5
assert right < 1e-12
print(f"difference of norms: below 1e-6; pulled back: {pulled:.2f}; of a right layer: below 1e-12")
