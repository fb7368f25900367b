"""Which entries of a matrix are tied, and which vanish, so that it commutes with a group."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import breadth_first_order, connected_components
from torch import Tensor

from weightspace.errors import GroupError, ShapeError
from weightspace.groups.monomial import Monomial

__all__ = ["Pattern", "tied_pattern"]

# Factors of a finite group are signs and ratios of scalars: two that differ by more are not the same.
TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Pattern:
    r"""All matrices that commute with a group: :math:`M_{ij} = f_{ij}\, \theta_{l_{ij}}`, or zero.

    `label` holds :math:`l` and `factor` :math:`f`. The matrices of single parameters have no entry in common, so they
    are orthogonal to each other.

    Args:
        label: the parameter of each entry, numbered by first entries row by row, or -1 where it must vanish.
        factor: by what that parameter is multiplied, 1 at its first entry, 0 where the entry must vanish.
        size: how many parameters there are: the dimension of the space.
    """

    label: Int[Tensor, "rows columns"]
    factor: Float[Tensor, "rows columns"]
    size: int

    def expand(self, parameters: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch rows columns"]:
        """The matrices with these parameters.

        Raises:
            ShapeError: for another number of parameters.
        """
        if parameters.shape[-1] != self.size:
            raise ShapeError(f"{parameters.shape[-1]} parameters given, expected {self.size}")
        if not self.size:
            return parameters.new_zeros(*parameters.shape[:-1], *self.label.shape)
        label = self.label.clamp_min(0).to(parameters.device)
        spread = parameters.index_select(-1, label.flatten()).unflatten(-1, label.shape)
        return spread * self.factor.to(parameters)

    def reduce(self, matrices: Float[Tensor, "*batch rows columns"]) -> Float[Tensor, "*batch size"]:
        """The adjoint of `expand`: sums of entries times their factors.

        Raises:
            ShapeError: for matrices of another size.
        """
        if matrices.shape[-2:] != self.label.shape:
            raise ShapeError(f"matrices of shape {tuple(matrices.shape[-2:])}, expected {tuple(self.label.shape)}")
        weighted = (matrices * self.factor.to(matrices)).flatten(-2)
        # What must vanish has the factor 0, so that it may be added to any sum.
        label = self.label.clamp_min(0).flatten().to(matrices.device)
        sums = matrices.new_zeros(*weighted.shape[:-1], max(self.size, 1))
        return sums.index_add(-1, label, weighted)[..., : self.size]

    @cached_property
    def norms(self) -> Float[Tensor, " size"]:
        """The squared Frobenius norm of each parameter's matrix; for permutations the number of its entries."""
        return self.reduce(self.factor)

    def project(self, matrices: Float[Tensor, "*batch rows columns"]) -> Float[Tensor, "*batch rows columns"]:
        """The nearest matrices that commute with the group: the average over it, if it acts orthogonally."""
        return self.expand(self.reduce(matrices) / self.norms.to(matrices))


def tied_pattern(after: Monomial, before: Monomial) -> Pattern:
    r"""The matrices `M` with :math:`\rho_s M = M \sigma_s` for all generators `s` of a group.

    Every generator ties entry `(i, j)` to the entry that it moves there, up to a factor. Classes of tied entries are
    the parameters, one for each orbit of the group on pairs of units; for transitive permutations these are the double
    cosets of the stabilisers. Where two ways around a class disagree on the factor, all its entries vanish.

    Factors are carried along a spanning forest of the ties, then every tie is checked against them: a union-find with
    signs, on whole arrays.

    Args:
        after: :math:`\rho_s` for each generator, acting on rows, with at most one factor per unit.
        before: :math:`\sigma_s` for the same generators, acting on columns.

    Raises:
        GroupError: if the numbers of generators differ, or units are nested or have several factors.

    Example:
        >>> from weightspace.groups import natural, symmetric
        >>> points = natural(symmetric(3)).representation()
        >>> tied_pattern(points, points).label
        tensor([[0, 1, 1],
                [1, 0, 1],
                [1, 1, 0]])
    """
    _check(after, before)
    rows, columns = after.perm.shape[1], before.perm.shape[1]
    ties, factors = _ties(after, before)
    classes, carried = _forest(ties, factors)
    agrees = np.ones(classes.max(initial=-1) + 1, dtype=bool)
    for tied, factor in zip(ties, factors, strict=True):
        agrees[classes[np.abs(carried / (factor * carried[tied]) - 1) > TOLERANCE]] = False
    alive = agrees[classes]
    label = np.where(alive, (np.cumsum(agrees) - 1)[classes], -1)
    return Pattern(
        torch.from_numpy(label.reshape(rows, columns).astype(np.int64)),
        torch.from_numpy((carried * alive).reshape(rows, columns)),
        int(agrees.sum()),
    )


def _check(after: Monomial, before: Monomial) -> None:
    if len(after) != len(before):
        raise GroupError(f"{len(after)} generators act on rows and {len(before)} on columns: expected the same ones")
    for name, rep in (("rows", after), ("columns", before)):
        if rep.perm.ndim != 2 or rep.scale.shape[1] > 1:
            raise GroupError(
                f"units of {name} are nested or have {rep.scale.shape[1]} factors: expected plain units with one"
            )


def _ties(after: Monomial, before: Monomial) -> tuple[np.ndarray, np.ndarray]:
    """For each generator and entry `e` an entry `t` and a factor `c` with `M[e] = c M[t]`.

    For `(rho v)_i = r_i v[p_i]` and `(sigma v)_j = s_j v[q_j]` the entries of `rho M` and `M sigma` at row `i` and
    column `q_j` are `r_i M[p_i, q_j]` and `M[i, j] s_j`.
    """
    tied = after.perm[:, :, None] * before.perm.shape[1] + before.perm[:, None]
    (rows, columns) = (rep.weight([1] * rep.scale.shape[1]).double() for rep in (after, before))
    factors = rows[:, :, None] / columns[:, None]
    return tied.flatten(1).cpu().numpy(), factors.flatten(1).cpu().numpy()


def _forest(ties: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each entry its class, and the factor by which it follows the first entry of its class."""
    entries = np.arange(ties.shape[1])
    classes, first = _classes(ties)
    # One more node joins the first entries, so that one search walks through every class.
    starts = np.concatenate([np.tile(entries, len(ties)), np.full(len(first), len(entries))])
    ends = np.concatenate([ties.flatten(), first])
    graph = coo_array((np.ones(len(ends)), (starts, ends)), shape=(len(entries) + 1,) * 2).tocsr()
    parent = breadth_first_order(graph, len(entries), directed=False)[1][:-1].astype(np.int64)
    parent[first] = first
    carried = np.ones(len(entries))
    for tied, factor in zip(ties, factors, strict=True):
        carried = np.where(tied == parent, factor, carried)
        carried = np.where(tied[parent] == entries, 1 / factor[parent], carried)
    carried[first] = 1
    while (parent[parent] != parent).any():
        carried, parent = carried * carried[parent], parent[parent]
    return classes, carried


def _classes(ties: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The class of each entry, numbered by first entries, and these."""
    entries = np.arange(ties.shape[1])
    graph = coo_array((np.ones(ties.size), (np.tile(entries, len(ties)), ties.flatten())), shape=(len(entries),) * 2)
    found = connected_components(graph, directed=False)[1]
    _, first, classes = np.unique(found, return_index=True, return_inverse=True)
    order = first.argsort()
    return order.argsort()[classes], first[order]
