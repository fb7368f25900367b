"""Subgroups, and the cosets into which they divide a group."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from weightspace.errors import GroupError
from weightspace.groups.group import Group, digest

__all__ = ["Cosets", "Subgroup", "left_cosets", "right_cosets", "subgroup"]


class Subgroup(Group):
    """A group within a group, see :func:`subgroup`.

    Its own elements are `0..order-1`; `inclusion` says which elements of `parent` they are, in ascending order.
    """

    def __init__(self, parent: Group, generators: Sequence[int]):
        self.parent = parent
        self.inclusion = _closed(parent, generators)
        self.order, self._key = len(self.inclusion), digest(self.inclusion)
        self.identity = self.number(parent.identity)
        self.generators = tuple(self.number(g) for g in dict.fromkeys(generators) if g != parent.identity)

    def __repr__(self) -> str:
        return f"subgroup({self.parent!r}, {self.inclusion[list(self.generators)].tolist()})"

    def __contains__(self, element: int) -> bool:
        place = int(torch.searchsorted(self.inclusion, element))
        return place < self.order and int(self.inclusion[place]) == element

    @property
    def key(self) -> Hashable:
        """The parent and which of its elements are in here."""
        return self.parent, self._key

    def number(self, element: int) -> int:
        """What an element of the parent is called in here.

        Raises:
            GroupError: for an element that is not in the subgroup.
        """
        if element not in self:
            raise GroupError(
                f"{element} is not in the subgroup of {self.parent!r} with elements {self.inclusion.tolist()}"
            )
        return int(torch.searchsorted(self.inclusion, element))

    def _multiply(self, a: Tensor, b: Tensor) -> Tensor:
        product = self.parent._multiply(self.inclusion[a], self.inclusion[b])
        return torch.searchsorted(self.inclusion, product)

    def _inverse(self, a: Tensor) -> Tensor:
        return torch.searchsorted(self.inclusion, self.parent._inverse(self.inclusion[a]))


@dataclass(frozen=True, eq=False)
class Cosets:
    """The cosets of a subgroup.

    Args:
        members: the elements of each coset. Column `i` belongs to element `i` of the subgroup, and the column of its
            identity is the transversal: one element per coset, the smallest that cosets ahead leave over.
        label: for each element of the group, the coset that it is in.
        transversal: one element of each coset.
    """

    members: Int[Tensor, "cosets subgroup"]
    label: Int[Tensor, " order"]
    transversal: Int[Tensor, " cosets"]

    def __len__(self) -> int:
        return len(self.transversal)


def subgroup(group: Group, generators: Sequence[int]) -> Subgroup:
    """The smallest subgroup that has the given elements.

    Raises:
        GroupError: for a number that is no element.

    Example:
        >>> from weightspace.groups import cyclic
        >>> even = subgroup(cyclic(6), [2])
        >>> even.inclusion, even.multiply(1, 2)
        (tensor([0, 2, 4]), 0)
    """
    return Subgroup(group, [int(g) for g in generators])


def _closed(group: Group, generators: Sequence[int]) -> Tensor:
    # In a finite group inverses are products, so that products with generators reach everything.
    made = group._checked(torch.tensor(list(generators), dtype=torch.int64))
    known = torch.zeros(group.order, dtype=torch.bool)
    frontier = torch.tensor([group.identity])
    while len(frontier):
        known[frontier] = True
        products = group._multiply(frontier[:, None], made[None]).unique()
        frontier = products[~known[products]]
    return known.nonzero().flatten()


def left_cosets(subgroup: Subgroup) -> Cosets:
    """The sets `g H` of the group above the subgroup `H`; `members[j, i] = transversal[j] H[i]`.

    Example:
        >>> from weightspace.groups import symmetric
        >>> g = symmetric(3)
        >>> cosets = left_cosets(subgroup(g, [1]))
        >>> len(cosets), cosets.members.shape
        (3, torch.Size([3, 2]))
    """
    return _cosets(subgroup, left=True)


def right_cosets(subgroup: Subgroup) -> Cosets:
    """The sets `H g` of the group above the subgroup `H`; `members[j, i] = H[i] transversal[j]`.

    Example:
        >>> from weightspace.groups import cyclic
        >>> right_cosets(subgroup(cyclic(6), [3])).members
        tensor([[0, 3],
                [1, 4],
                [2, 5]])
    """
    return _cosets(subgroup, left=False)


def _cosets(subgroup: Subgroup, *, left: bool) -> Cosets:
    group, held = subgroup.parent, subgroup.inclusion
    # Every element is named by the smallest of its coset. One element of the subgroup at a time: a table of
    # all would take the order of the group times that of the subgroup.
    smallest = group.elements
    for h in held:
        smallest = torch.minimum(smallest, group._multiply(*((group.elements, h) if left else (h, group.elements))))
    transversal, label = smallest.unique(return_inverse=True)
    first, then = (transversal[:, None], held[None]) if left else (held[None], transversal[:, None])
    return Cosets(group._multiply(first, then), label, transversal)
