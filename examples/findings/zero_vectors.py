"""Monomial-NFN normalises channel vectors behind a ReLU: where all channels are negative, the answer jumps.

Every function that is blind to scale jumps at zero. Behind a linear layer zeros are rare accidents; behind a ReLU of
five channels they are a 32nd of all vectors, and ordinary networks stand at their border.
"""

import torch
from torch import nn

from weightspace.layers import Gate, canonical
from weightspace.spec import Factor, spec_of
from weightspace.weights import WeightFeatures

spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)))
torch.manual_seed(0)
gate = Gate(spec, 2).double()


def jump(nonlinearity):
    """How far normalised channel vectors are apart that were 2e-9 apart: (1e-9, -1) and (-1e-9, -1)."""
    ends = []
    for t in (1e-9, -1e-9):
        tensors = [torch.tensor([t, -1.0], dtype=torch.float64).expand(1, *spec.shape(p.name), 2) for p in spec.params]
        ends.append(canonical(nonlinearity(WeightFeatures(spec, tensors))["0.bias"], {Factor.POSITIVE}))
    return (ends[0] - ends[1]).norm(dim=-1).max().item()


zeros = float((torch.randn(100_000, 5) < 0).all(1).double().mean())
published, right = jump(lambda x: x.map(torch.relu)), jump(gate)
assert published > 0.9
assert right < 1e-8
print(f"behind a ReLU: a jump of {published:.2f}, zeros {zeros:.1%}; behind a gate: below 1e-8")
