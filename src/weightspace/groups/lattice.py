"""The motions of a periodic square of pixels: translations with quarter turns, and with reflections too."""

import torch
from jaxtyping import Int
from torch import Tensor

from weightspace.errors import GroupError
from weightspace.groups.finite import cyclic, dihedral
from weightspace.groups.group import Group
from weightspace.groups.product import SemidirectProduct, direct_product, semidirect_product
from weightspace.groups.subgroup import Subgroup, subgroup

__all__ = ["p4", "p4m", "point_group", "turn_matrices"]


def turn_matrices(group: Group) -> Int[Tensor, "order 2 2"]:
    """What quarter turns and reflections do to a row and a column, for `cyclic(4)` and `dihedral(4)`.

    A quarter turn takes `(i, j)` to `(-j, i)`, the reflection takes it to `(i, -j)`.

    Raises:
        GroupError: for any other group.

    Example:
        >>> from weightspace.groups import cyclic
        >>> turn_matrices(cyclic(4))[1]
        tensor([[ 0, -1],
                [ 1,  0]])
    """
    if group not in (cyclic(4), dihedral(4)):
        raise GroupError(f"{group!r} does not turn a square: expected cyclic(4) or dihedral(4)")
    turns = [torch.eye(2, dtype=torch.int64)]
    for _ in range(3):
        turns.append(torch.tensor([[0, -1], [1, 0]]) @ turns[-1])
    flip = torch.diag(torch.tensor([1, -1]))
    return torch.stack(turns if group.order == 4 else [*turns, *(flip @ turn for turn in turns)])


def p4(size: int) -> SemidirectProduct:
    """Translations and quarter turns of a periodic square of `size` by `size` pixels.

    The element that turns by `h` about pixel 0 and then moves to pixel `i * size + j` has the number
    `i * size + j + size**2 * h`. Turns about the middle of the picture are in it too.

    Example:
        >>> p4(5).order, p4(5).is_abelian
        (100, False)
    """
    return _lattice(size, cyclic(4))


def p4m(size: int) -> SemidirectProduct:
    """The same as :func:`p4` with reflections: `dihedral(4)` stands for `cyclic(4)`.

    Example:
        >>> p4m(5).order
        200
    """
    return _lattice(size, dihedral(4))


def _lattice(size: int, turns: Group) -> SemidirectProduct:
    if size < 1:
        raise GroupError(f"a square of {size} by {size} pixels: expected at least one")
    pixels = torch.cartesian_prod(torch.arange(size), torch.arange(size))
    moved = torch.einsum("hij,pj->hpi", turn_matrices(turns), pixels) % size
    return semidirect_product(direct_product(cyclic(size), cyclic(size)), turns, moved[..., 0] * size + moved[..., 1])


def point_group(lattice: SemidirectProduct) -> Subgroup:
    """What leaves pixel 0 in its place: the turns and reflections about it. Pixels are its left cosets.

    Example:
        >>> from weightspace.groups import left_cosets
        >>> point_group(p4(5)).order, len(left_cosets(point_group(p4(5))))
        (4, 25)
    """
    return subgroup(lattice, [lattice.normal.order * h for h in lattice.acting.generators])
