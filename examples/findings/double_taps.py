"""GM-CNN counts elements of a small dihedral group more than once, each time with a weight of its own."""

import torch

from weightspace.errors import GroupError
from weightspace.groups import box, dihedral, direct_product
from weightspace.matrices import GroupConv

axis, radius = dihedral(3), 2
near = [part * 3 + i % 3 for part in (0, 1) for i in range(-radius, radius + 1)]
taps = [i * axis.order + j for i in near for j in near]
group = direct_product(axis, axis)
right = box(group, radius)
assert len(taps) > len(set(taps)) == len(right) == 36
try:
    GroupConv(group, 1, 1, torch.tensor(taps))
except GroupError:
    found = f"{len(taps)} weights for {len(set(taps))} elements"
    print(f"D3 x D3 within 2: {found}; box gives {len(right)}, and GroupConv refuses doubles")
