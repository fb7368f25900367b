"""The even elements of an odd group are no subgroup, but GM-CNN pools to them: 6 + 2 = 1 of seven.

So what is left is no signal on a group, and no layer behind it has a symmetry to keep.
"""

import torch

from weightspace.groups import cyclic, dihedral, direct_product, subgroup

ring, even = cyclic(7), torch.arange(0, 7, 2)
products = ring.multiply(even[:, None], even[None])
outside = int((~torch.isin(products, even)).sum())

corners, whole = dihedral(7), direct_product(dihedral(7), dihedral(7))
chosen = torch.tensor([i for i in range(14) if i % 7 % 2 == 0])
pairs = (chosen[:, None] * 14 + chosen).flatten()
reached = len(whole.multiply(pairs[:, None], torch.tensor([0, 1, 195, 2])).unique())

closed = subgroup(ring, [2])  # made of products: all of the group
assert outside > 0
assert reached < 196
assert closed.order == 7
print(
    f"{outside} of 16 products of even elements are odd; windows reach {reached} of 196; as a subgroup: all 7 elements"
)
