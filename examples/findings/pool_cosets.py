"""GM-CNN's pooling takes one of its four cosets twice and one never: a quarter of the pixels is not read.

The neighbours of the identity are its two next elements in the list of all pairs, and the last; for pairs of cyclic
groups these are (0, 1), (0, 2) and (-1, -1). But (0, 2) lies in the subgroup of even pairs.
"""

import torch

from weightspace.groups import cyclic, dihedral, direct_product, subgroup
from weightspace.matrices import GroupPool
from weightspace.testing import orbit_error


def unread(axis):
    """Which elements of the square of an axis group the published windows leave out."""
    whole, last = direct_product(axis, axis), axis.order**2 - 1
    corners = getattr(axis, "corners", axis.order)
    even = torch.tensor([i for i in range(axis.order) if i % corners % 2 == 0])
    pairs = (even[:, None] * axis.order + even).flatten()
    reached = whole.multiply(pairs[:, None], torch.tensor([0, 1, last, 2]))
    return [i for i in range(whole.order) if i not in reached]


def seen(pool, pixels):
    def change(x):
        y = x.clone()
        y[:, pixels] += 10
        return y

    return orbit_error(pool, change, lambda y: y, torch.rand(1, 64, 1, dtype=torch.float64))


assert len(unread(dihedral(4))) == len(unread(cyclic(8))) == 16
torch.manual_seed(0)
torus = direct_product(cyclic(8), cyclic(8))
missed = seen(lambda x: x[:, [i for i in range(64) if i not in unread(cyclic(8))]], unread(cyclic(8)))
right = GroupPool(subgroup(torus, [2, 16]))
assert missed == 0
assert sorted(right.index.flatten().tolist()) == list(range(64))
assert seen(right, unread(cyclic(8))) > 1
print(f"published windows leave out {len(unread(cyclic(8)))} of 64 elements; those of GroupPool none")
