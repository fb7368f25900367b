"""The shipped test of Monomial-NFN multiplies by P D from the left and by P^T D^-1 from the right.

The inverse of P D is D^-1 P^T. The test passes, because the layer under test works entry by entry there; the function
of a network that is moved so changes.
"""

import torch
from torch import nn

from weightspace.spec import spec_of
from weightspace.testing import orbit_error
from weightspace.weights import WeightFeatures, features_of

torch.manual_seed(0)
network = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)).double()
spec = spec_of(network)
points = torch.randn(16, 2, dtype=torch.float64)
permute = torch.eye(4, dtype=torch.float64)[[1, 2, 3, 0]]
scale = torch.diag(torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64))


def move(right):
    def moved(x):
        w1, b1, w2, b2 = (t[..., 0] for t in x.tensors)
        left = permute @ scale
        return WeightFeatures(
            spec, [(left @ w1)[..., None], (b1 @ left.T)[..., None], (w2 @ right)[..., None], b2[..., None]]
        )

    return moved


def function(x):
    (twin,) = x.to_modules(network)
    return twin(points)


x = features_of(spec, network)
published = orbit_error(function, move(permute.T @ scale.inverse()), lambda y: y, x)
right = orbit_error(function, move(scale.inverse() @ permute.T), lambda y: y, x)
assert published > 0.1
assert right < 1e-12
print(f"P^T D^-1: the function changes by {published:.2g}; D^-1 P^T: by less than 1e-12")
