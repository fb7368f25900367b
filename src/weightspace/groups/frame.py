"""Coordinates along cyclic axes: how any group looks as a few copies of a torus."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce, singledispatch
from math import prod

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from weightspace.errors import GroupError
from weightspace.groups.finite import Cyclic, Dihedral
from weightspace.groups.group import Group
from weightspace.groups.product import DirectProduct, SemidirectProduct
from weightspace.groups.subgroup import right_cosets, subgroup

__all__ = ["Frame", "ball", "box", "frame"]


@dataclass(frozen=True, eq=False)
class Frame:
    """A group as the right cosets `A t` of a subgroup `A` that is a product of cyclic groups.

    Every element is `a t` for one `a` in `A` and one `t` of a transversal, and `a` has coordinates along the cyclic
    axes. Since `A` is a torus, what commutes with the group is a block of circular convolutions, one block per pair of
    cosets. Abelian groups have one coset, but for the dihedral groups of one and two corners.

    Args:
        sizes: orders of the cyclic axes, at least one.
        elements: `elements[t, a]`, with the coordinates of `a` in row-major order; `a = 0` is the transversal, and
            `t = 0` is `A` itself.
    """

    sizes: tuple[int, ...]
    elements: Int[Tensor, "cosets torus"]

    def coordinates(self) -> Int[Tensor, "order coordinates"]:
        """For every element of the group its coset, then its coordinates along the axes."""
        place = self.elements.flatten().argsort()
        return torch.stack(torch.unravel_index(place, (len(self.elements), *self.sizes)), -1)

    def folded(self, axes: int) -> "Frame":
        """The same with the longest `axes` axes alone: what stands along the others becomes cosets.

        Axes of size 1 are left out where others remain.
        """
        kept = sorted(sorted(range(len(self.sizes)), key=lambda i: -self.sizes[i])[:axes])
        kept = [i for i in kept if self.sizes[i] > 1] or kept[:1]
        rest = [i for i in range(len(self.sizes)) if i not in kept]
        shaped = self.elements.reshape(-1, *self.sizes).permute(0, *(i + 1 for i in (*rest, *kept)))
        sizes = tuple(self.sizes[i] for i in kept)
        return Frame(sizes, shaped.reshape(-1, prod(sizes)))


@singledispatch
def frame(group: Group) -> Frame:
    """Coordinates of a group along cyclic axes.

    Cyclic groups are one axis; a dihedral group is its rotations, and a coset with the reflections; a direct product
    has the axes of its factors, a semidirect product those of its normal part. In any other group the axes are found:
    an element of the greatest order, then, again and again, one of the greatest order that commutes with all before
    and meets what they make in the identity alone. In an abelian group these make everything.

    Example:
        >>> from weightspace.groups import cyclic, dihedral, direct_product, symmetric
        >>> frame(direct_product(cyclic(4), dihedral(3))).sizes
        (4, 3)
        >>> found = frame(symmetric(4))
        >>> found.sizes, len(found.elements)
        ((4,), 6)
    """
    powers = _powers(group)
    orders = (powers == group.identity).int().argmax(1) + 1
    axes: list[int] = []
    made = torch.tensor([group.identity])
    while len(made) < group.order:
        g = int(torch.where(_independent(group, powers, axes, made), orders, 0).argmax())
        if not _independent(group, powers, axes, made)[g]:
            break
        axes.append(g)
        steps = powers[g, : orders[g]].roll(1)  # from the identity on
        made = group._multiply(made[:, None], steps[None]).flatten()
    cosets = right_cosets(subgroup(group, axes))
    transversal = cosets.transversal.clone()
    transversal[cosets.label[group.identity]] = group.identity
    first = (transversal != group.identity).int().argsort(stable=True)
    sizes = tuple(int(orders[g]) for g in axes) or (1,)
    return Frame(sizes, group._multiply(made[None], transversal[first, None]))


def _powers(group: Group) -> Tensor:
    """For each element its powers, from the first to where all are the identity. Shape `(order, exponents)`."""
    columns = [group.elements]
    reached = columns[0] == group.identity
    while not reached.all():
        columns.append(group._multiply(columns[-1], group.elements))
        reached = reached | (columns[-1] == group.identity)
    return torch.stack(columns, 1)


def _independent(group: Group, powers: Tensor, axes: Sequence[int], made: Tensor) -> Bool[Tensor, " order"]:
    """Which elements other than the identity commute with the axes and meet what they make in the identity alone."""
    taken = torch.zeros(group.order, dtype=torch.bool)
    taken[made] = True
    free = (~taken[powers] | (powers == group.identity)).all(1) & (group.elements != group.identity)
    for g in axes:
        axis = torch.tensor(g)
        free &= group._multiply(group.elements, axis) == group._multiply(axis, group.elements)
    return free


@frame.register(Cyclic)
def _cyclic(group: Cyclic) -> Frame:
    return Frame((group.order,), group.elements[None])


@frame.register(Dihedral)
def _dihedral(group: Dihedral) -> Frame:
    # r^c s = s r^-c: along the coset of the reflections the numbers run backwards.
    turns = torch.arange(group.corners)
    return Frame((group.corners,), torch.stack([turns, group.corners + -turns % group.corners]))


@frame.register(DirectProduct)
def _direct(group: DirectProduct) -> Frame:
    frames = [frame(factor) for factor in group.factors]
    orders = [factor.order for factor in group.factors][1:]

    def pair(above: Tensor, below: tuple[int, Frame]) -> Tensor:
        order, part = below
        both = above[:, None, :, None] * order + part.elements[None, :, None, :]
        return both.reshape(above.shape[0] * part.elements.shape[0], -1)

    elements = reduce(pair, zip(orders, frames[1:], strict=True), frames[0].elements)
    return Frame(tuple(size for part in frames for size in part.sizes), elements)


@frame.register(SemidirectProduct)
def _semidirect(group: SemidirectProduct) -> Frame:
    # (a, 1)(t, h) = (a t, h): the cosets of the normal part's axes, once for every h. The identity's stand first.
    part = frame(group.normal)
    acting = group.acting.elements
    acting = acting[(acting != group.acting.identity).int().argsort(stable=True)]
    elements = part.elements[None] + group.normal.order * acting[:, None, None]
    return Frame(part.sizes, elements.reshape(-1, part.elements.shape[1]))


def box(group: Group, radius: int | Sequence[int]) -> Int[Tensor, " taps"]:
    """The elements near the identity along every axis of the group's :func:`frame`, in all its cosets.

    For a product of cyclic groups this is a box of translations, for dihedral groups :math:`r^i` and :math:`s r^i`
    with :math:`|i|` at most the radius. No element stands twice, however large the radius.

    Args:
        group: the group.
        radius: how far, for all axes or for each.

    Raises:
        GroupError: for a negative radius, or a wrong number of them.

    Example:
        >>> from weightspace.groups import cyclic, dihedral, direct_product
        >>> box(direct_product(cyclic(5), cyclic(5)), 1)
        tensor([ 0,  1,  4,  5,  6,  9, 20, 21, 24])
        >>> box(dihedral(7), 1)
        tensor([ 0,  1,  6,  7,  8, 13])
    """
    made = frame(group)
    radii = [radius] * len(made.sizes) if isinstance(radius, int) else list(radius)
    if len(radii) != len(made.sizes) or min(radii) < 0:
        raise GroupError(
            f"radius {radius} of a box in {group!r}: expected one of 0 or more, or {len(made.sizes)} of them"
        )
    steps = made.coordinates()[:, 1:]
    away = torch.minimum(steps, torch.tensor(made.sizes) - steps)
    return (away <= torch.tensor(radii)).all(1).nonzero().flatten()


def ball(group: Group, radius: int, generators: Sequence[int] | None = None) -> Int[Tensor, " taps"]:
    """The products of at most `radius` generators and inverses of such, in ascending order.

    Args:
        group: the group.
        radius: the longest word.
        generators: the letters; those of the group if left out.

    Raises:
        GroupError: for a negative radius, or a generator that is no element.

    Example:
        >>> from weightspace.groups import cyclic, symmetric
        >>> ball(cyclic(9), 2)
        tensor([0, 1, 2, 7, 8])
        >>> [len(ball(symmetric(4), r)) for r in range(5)]
        [1, 4, 9, 15, 20]
    """
    if radius < 0:
        raise GroupError(f"a ball has a radius of 0 or more, not {radius}")
    letters = group._checked(
        torch.tensor(group.generators if generators is None else list(generators), dtype=torch.int64)
    )
    letters = torch.cat([letters, group._inverse(letters)]).unique()
    reached = torch.tensor([group.identity])
    for _ in range(radius):
        reached = torch.cat([reached, group._multiply(reached[:, None], letters[None]).flatten()]).unique()
    return reached
