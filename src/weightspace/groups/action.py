"""Groups that act on finite sets, and the representations that belong to them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from weightspace.errors import GroupError
from weightspace.groups.group import Group
from weightspace.groups.monomial import Monomial
from weightspace.groups.permutation import PermutationGroup
from weightspace.groups.subgroup import Subgroup, left_cosets, subgroup

__all__ = ["Action", "direct_sum", "natural", "quotient", "regular", "table_action", "tensor_product"]


@dataclass(frozen=True, eq=False)
class Action:
    r"""A group that moves the points `0..points-1`.

    It represents the group on functions of the points by :math:`(\rho_g v)(x) = v(g^{-1} x)`.

    Args:
        group: the group.
        points: how many points there are.
        move: where elements move points; both are integer tensors and broadcast.

    Symmetry:
        `move(g h, x) = move(g, move(h, x))`, and the identity moves nothing.

    Example:
        >>> from weightspace.groups import cyclic
        >>> turn = table_action(cyclic(2), torch.tensor([[0, 1, 2], [1, 0, 2]]))
        >>> turn.orbits(), turn.stabiliser(2).inclusion
        (tensor([0, 0, 1]), tensor([0, 1]))
        >>> turn.representation().perm  # one permutation per generator
        tensor([[1, 0, 2]])
    """

    group: Group
    points: int
    move: Callable[[Tensor, Tensor], Tensor]

    def representation(self, elements: Tensor | None = None) -> Monomial:
        """The permutations by which elements act on functions, those of the group's generators if left out."""
        if elements is None:
            elements = torch.tensor(self.group.generators, dtype=torch.int64)
        perm = self.move(self.group.inverse(elements)[:, None], torch.arange(self.points)[None])
        return Monomial(perm, torch.ones(len(perm), 1, self.points, dtype=torch.float64))

    def orbits(self) -> Int[Tensor, " points"]:
        """For every point the number of its orbit; orbits are numbered by their first points."""
        rows = self.representation().perm
        ends = (torch.arange(self.points).repeat(len(rows)).numpy(), rows.flatten().numpy())
        graph = coo_array((torch.ones(rows.numel()).numpy(), ends), shape=(self.points, self.points))
        return torch.from_numpy(connected_components(graph, directed=False)[1]).to(torch.int64)

    def stabiliser(self, point: int) -> Subgroup:
        """The elements that leave a point in its place."""
        if not 0 <= point < self.points:
            raise GroupError(f"point {point}: points are 0 to {self.points - 1}")
        moved = self.move(self.group.elements, torch.tensor(point))
        return subgroup(self.group, (moved == point).nonzero().flatten().tolist())


def regular(group: Group) -> Action:
    """The group on itself by products from the left."""
    return Action(group, group.order, group._multiply)


def quotient(subgroup: Subgroup) -> Action:
    """The group above a subgroup `H` on the left cosets `g H`, numbered as in :func:`left_cosets`.

    Example:
        >>> from weightspace.groups import dihedral, subgroup
        >>> corners = quotient(subgroup(dihedral(4), [4]))  # what leaves one corner of a square in place
        >>> corners.points, corners.stabiliser(0).order
        (4, 2)
    """
    group, cosets = subgroup.parent, left_cosets(subgroup)
    return Action(group, len(cosets), lambda g, x: cosets.label[group._multiply(g, cosets.transversal[x])])


def natural(group: PermutationGroup) -> Action:
    """A group of permutations on the points that it permutes."""
    return Action(group, group.points, lambda g, x: group.permutations[g, x])


def table_action(group: Group, images: Int[Tensor, "order points"]) -> Action:
    """The action of a table: `images[g, x]` is where `g` moves `x`.

    Raises:
        GroupError: if the table is no action, with what fails.
    """
    if images.ndim != 2 or len(images) != group.order:
        raise GroupError(f"a table of images has a row for each of the {group.order} elements of {group!r}")
    images = images.to("cpu", torch.int64)
    points = torch.arange(images.shape[1])
    if not torch.equal(images[group.identity], points):
        raise GroupError(f"no action: the identity {group.identity} moves points")
    if len(points) and not 0 <= int(images.min()) <= int(images.max()) < len(points):
        raise GroupError(f"no action: images are points, 0 to {len(points) - 1}")
    for s in group.generators:
        wrong = (images[group.multiply(group.elements, s)] != images[:, images[s]]).nonzero()
        if len(wrong):
            g, x = wrong[0].tolist()
            raise GroupError(f"no action: ({g} {s}) moves point {x} not as {s} and then {g} do")
    return Action(group, images.shape[1], lambda g, x: images[g, x])


def tensor_product(first: Monomial, second: Monomial) -> Monomial:
    """Two representations on pairs of units: `(i, j)` has the number `i * units of the second + j`."""
    units = second.perm.shape[-1]
    perm = (first.perm[:, :, None] * units + second.perm[:, None]).flatten(1)
    return Monomial(perm, (first.scale[..., None] * second.scale[:, :, None]).flatten(2))


def direct_sum(first: Monomial, second: Monomial) -> Monomial:
    """Two representations side by side, the units of the second behind those of the first."""
    perm = torch.cat([first.perm, second.perm + first.perm.shape[-1]], 1)
    return Monomial(perm, torch.cat([first.scale, second.scale], 2))
