"""Inputs of one size let a wrong claim pass: ReLU6 is ReLU as long as nothing exceeds 6."""

import torch
from torch import nn

from weightspace.spec import spec_of
from weightspace.testing import function_error
from weightspace.weights import act, features_of, sample_element


def chain(activation):
    return nn.Sequential(nn.Linear(2, 4), activation, nn.Linear(4, 1)).double()


torch.manual_seed(0)
bounded, claimed = chain(nn.ReLU6()), spec_of(chain(nn.ReLU()))
points = torch.randn(16, 2, dtype=torch.float64)
g = sample_element(claimed, 1, generator=torch.Generator().manual_seed(0), log_scale=0.3)
(twin,) = act(g, features_of(claimed, bounded)).to_modules(bounded)
passed = float((twin(points) - bounded(points)).abs().max().detach())
kit = function_error(bounded, claimed, (points,))
right = function_error(chain(nn.ReLU()), claimed, (points,))
assert passed < 1e-12
assert kit > 0.1
assert right < 1e-9
print(f"inputs near one: change below 1e-12; inputs over six decades: {kit:.1f}; a network with ReLU: below 1e-9")
