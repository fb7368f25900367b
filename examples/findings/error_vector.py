"""GM-CNN's layer for dynamics begins as far from equivariance as it can be, and a great deal smaller than meant.

What comes in is multiplied by a vector of one number per pixel, of random signs and length one.
"""

import torch

from weightspace.groups import box, cyclic, direct_product, regular
from weightspace.matrices import GroupConv, ModulatedGroupConv
from weightspace.testing import signal_error

torus = direct_product(cyclic(16), cyclic(16))
torch.manual_seed(0)
x = torch.randn(2, 256, 1, dtype=torch.float64)
conv = GroupConv(torus, 1, 4, box(torus, 1), bias=False).double()
vector = 2 * torch.rand(256, 1, dtype=torch.float64) - 1
vector = vector / vector.norm()
right = ModulatedGroupConv(torus, 1, 4, box(torus, 1)).double()


def error(layer):
    return signal_error(layer, x, regular(torus), regular(torus))


published = error(lambda x: vector * conv(x))
damped = ((vector * conv(x)).norm() / conv(x).norm()).item()
assert published > 1
assert damped < 0.1
assert error(lambda x: conv(x) / 16) < 1e-12  # a constant vector of length one
assert error(right) < 1e-12
print(f"at the start: error {published:.1f}, and {damped:.3f} of the size; ModulatedGroupConv: error below 1e-12")
