"""Bounds chosen without a look at the numbers: shipped checks fail where a model is right, and pass where not.

`allclose` with its defaults allows 1e-8 beside zero, where float32 has been rounded by 1e-7; a bound of 1e-2 on
answers of 1e-3 allows everything. The kit's tolerance follows the rounding and the conditioning of the function.
"""

import torch
from torch import nn

from weightspace.spec import spec_of
from weightspace.testing import assert_invariant, invariance_error, random_features
from weightspace.weights import act, sample_element

spec = spec_of(nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 1)))
generator = torch.Generator().manual_seed(0)
x = random_features(spec, 1000, generator=generator).to(torch.float32)
g = sample_element(spec, 1000, generator=generator, log_scale=1.0)


def invariant(x):
    return (x["2.weight"][:, 0] * x["0.bias"]).sum((1, 2))


def wrong(x):
    return 1e-3 * torch.tanh(x["0.bias"].sum((1, 2)))


assert not torch.allclose(invariant(act(g, x)), invariant(x))  # "invariant: False"
assert_invariant(invariant, spec, dtype=torch.float32)
assert torch.allclose(wrong(act(g, x)), wrong(x), atol=1e-2)  # passes
error = invariance_error(wrong, spec)
assert error > 0.1
print(f"default bounds: refuse an invariant; a bound of 1e-2: lets an error of {error:.1f} pass; the kit: the reverse")
