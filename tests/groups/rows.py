"""The groups that every law is checked on."""

from itertools import product

import torch

from weightspace.groups import (
    FiniteGroup,
    Group,
    cyclic,
    dihedral,
    direct_product,
    from_permutations,
    p4,
    p4m,
    semidirect_product,
    subgroup,
    symmetric,
)


def quaternion() -> FiniteGroup:
    """Signs times 1, i, j, k: number `4 sign + letter`."""
    rows = [[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]]
    minus = [[0, 0, 0, 0], [0, 1, 0, 1], [0, 1, 1, 0], [0, 0, 1, 1]]
    table = torch.zeros(8, 8, dtype=torch.int64)
    for (p, a), (q, b) in product(product(range(2), range(4)), repeat=2):
        table[4 * p + a, 4 * q + b] = 4 * ((p + q + minus[a][b]) % 2) + rows[a][b]
    return FiniteGroup(table)


def frobenius() -> Group:
    """The non-abelian group of order 21."""
    return semidirect_product(cyclic(7), cyclic(3), torch.tensor([[1], [2], [4]]) * torch.arange(7) % 7)


def shuffled(group: Group) -> FiniteGroup:
    """The same group by its table, with other numbers: the identity is not 0."""
    order = torch.randperm(group.order, generator=torch.Generator().manual_seed(3))
    back = order.argsort()
    return FiniteGroup(back[group.table()[order[:, None], order]])


GROUPS: dict[str, Group] = {
    "trivial": cyclic(1),
    "none": direct_product(),
    "cyclic": cyclic(6),
    "dihedral": dihedral(4),
    "dihedral odd": dihedral(5),
    "digon": dihedral(2),
    "segment": dihedral(1),
    "symmetric 3": symmetric(3),
    "symmetric 4": symmetric(4),
    "quaternion": quaternion(),
    "torus": direct_product(cyclic(3), cyclic(4)),
    "solid torus": direct_product(cyclic(2), cyclic(3), cyclic(2), cyclic(2)),
    "dihedral times cyclic": direct_product(dihedral(3), cyclic(2)),
    "order 21": frobenius(),
    "lattice": p4(3),
    "lattice with mirrors": p4m(2),
    "permutations": from_permutations([[1, 2, 0, 3, 4], [0, 1, 2, 4, 3]]),
    "subgroup": subgroup(direct_product(cyclic(4), cyclic(4)), [2, 8]),
    "alternating": subgroup(symmetric(4), symmetric(4).number(torch.tensor([[1, 2, 0, 3], [0, 2, 3, 1]])).tolist()),
    "shuffled": shuffled(dihedral(4)),
    "shuffled abelian": shuffled(direct_product(cyclic(4), cyclic(2), cyclic(3))),
}
