"""GM-CNN learns turning plumes with a group of translations, and turned digits with D14 x D14, which turns no picture.

D_n x D_n acts on rows and columns as on lists of rotations and reflections. On a picture it is neither a turn nor a
shift.
"""

import torch
from torch import nn

from weightspace.groups import box, cyclic, dihedral, direct_product, p4, point_group
from weightspace.matrices import CosetLift, CosetPool, GroupConv, Pooling
from weightspace.testing import orbit_error

torch.manual_seed(0)
pixels = torch.randn(1, 64, 1, dtype=torch.float64)


def turn(x):
    return x.unflatten(1, (8, 8)).rot90(1, (1, 2)).flatten(1, 2)


def back(x):
    return x.unflatten(1, (8, 8)).rot90(-1, (1, 2)).flatten(1, 2)


def shift(x, by=1):
    return x.unflatten(1, (8, 8)).roll(by, 1).flatten(1, 2)


def on(axis):
    group = direct_product(axis, axis)
    return GroupConv(group, 1, 2, box(group, 1)).double()


turns = p4(8)
p4_layer = nn.Sequential(
    CosetLift(point_group(turns)),
    GroupConv(turns, 1, 2, box(turns, 1)).double(),
    CosetPool(point_group(turns), Pooling.MEAN),
)
translations, mirrors = on(cyclic(8)), on(dihedral(4))
of_turns = [orbit_error(layer, turn, back, pixels) for layer in (translations, mirrors, p4_layer)]
of_shifts = [orbit_error(f, shift, lambda y: shift(y, -1), pixels) for f in (translations, mirrors, p4_layer)]
assert min(of_turns[:2]) > 0.1
assert of_shifts[1] > 0.1
assert max(of_turns[2], of_shifts[0], of_shifts[2]) < 1e-12
mirrored = f"{of_turns[1]:.1f} and {of_shifts[1]:.1f} on D4 x D4"
print(f"quarter turns: error {of_turns[0]:.1f} on Z8 x Z8; turns and shifts: {mirrored}; on p4: both below 1e-12")
