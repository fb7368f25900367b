"""GM-CNN's convolution adds up all channels before it filters them: what the channels are makes no difference.

Its weights have no index for channels that come in. On smoke plumes the first layer so reads one number per pixel, the
sum of both components of the velocity over ten frames.
"""

import torch

from weightspace.groups import box, cyclic, direct_product
from weightspace.matrices import GroupConv, Mixing
from weightspace.testing import orbit_error

torus = direct_product(cyclic(6), cyclic(6))
torch.manual_seed(0)
x = torch.randn(2, 36, 3, dtype=torch.float64)
moved = torch.randn(2, 36, 1, dtype=torch.float64)


def other(x):
    """Something is taken from the first channel and put into the second."""
    return torch.cat([x[..., :1] - moved, x[..., 1:2] + moved, x[..., 2:]], -1)


def seen(mixing):
    conv = GroupConv(torus, 3, 8, box(torus, 1), mixing=mixing).double()
    return orbit_error(conv, other, lambda y: y, x)


published, right = seen(Mixing.SUMMED), seen(Mixing.FULL)
assert published < 1e-12
assert right > 0.1
print(f"channels that trade places: seen by less than 1e-12; by GroupConv with full mixing {right:.2f}")
