"""An editing network of MAGEP-NFN puts ReLU between layers for SIRENs, whose units may change their signs.

A function between such layers has to be odd.
"""

import torch
from torch import nn

from weightspace.layers import suited_nonlinearity
from weightspace.spec import Sine, spec_of
from weightspace.testing import equivariance_error

spec = spec_of(nn.Sequential(nn.Linear(2, 4), Sine(30.0), nn.Linear(4, 4), Sine(30.0), nn.Linear(4, 1)))
published = equivariance_error(lambda x: x.map(torch.relu), spec)
right = equivariance_error(suited_nonlinearity(spec, 1), spec)
assert published > 0.5
assert right < 1e-12
print(f"ReLU: error {published:.1f}; what suited_nonlinearity gives, tanh: below 1e-12")
