"""The editing networks of Monomial-NFN and MAGEP-NFN end in layers that respect permutations only.

Equivariant layers stand in front, Fourier features and a permutation-equivariant network behind: how a SIREN is
changed depends on the signs of its units.
"""

import math

import torch
from torch import nn

from weightspace.models import Edit, MonomialNFN
from weightspace.spec import Sine, spec_of
from weightspace.testing import equivariance_error

spec = spec_of(nn.Sequential(nn.Linear(2, 4), Sine(30.0), nn.Linear(4, 4), Sine(30.0), nn.Linear(4, 1)))
generator = torch.Generator().manual_seed(0)
frequencies = 3 * torch.randn(8, 1, generator=generator, dtype=torch.float64)
mix = torch.randn(16, 1, generator=generator, dtype=torch.float64)


def change(x):
    angles = x.map(lambda t: 2 * math.pi * t @ frequencies.T)
    return angles.map(lambda t: torch.cat([t.sin(), t.cos()], -1) @ mix)


torch.manual_seed(0)
model = MonomialNFN(spec, Edit(), stem=(8, 8)).double()
published = equivariance_error(change, spec)
right = equivariance_error(lambda x: model(x) + x.map(torch.neg), spec)
assert published > 0.5
assert right < 1e-9
print(f"head of permutations only: error {published:.1f}; MonomialNFN with Edit(): below 1e-9")
