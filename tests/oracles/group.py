"""What commutes with a group, from scratch: null spaces, double cosets and averages in plain loops."""

import torch
from torch import Tensor

from weightspace.groups import Group, Monomial, Subgroup


def matrices_of(rep: Monomial) -> Tensor:
    """The dense matrix of each element of a batch. Shape `(batch, units, units)`."""
    units = rep.perm.shape[-1]
    found = torch.zeros(len(rep), units, units, dtype=torch.float64)
    for g in range(len(rep)):
        for i in range(units):
            found[g, i, rep.perm[g, i]] = rep.scale[g, 0, i]
    return found


def commuting_basis(after: Monomial, before: Monomial) -> Tensor:
    """An orthonormal basis of the matrices with `R M = M S` for every generator. Shape `(dimension, rows, columns)`."""
    r, s = matrices_of(after), matrices_of(before)
    rows, columns = r.shape[-1], s.shape[-1]
    normal = torch.zeros(rows * columns, rows * columns, dtype=torch.float64)
    for a, b in zip(r, s, strict=True):
        commutator = torch.kron(a, torch.eye(columns).double()) - torch.kron(torch.eye(rows).double(), b.T.contiguous())
        normal += commutator.T @ commutator
    values, vectors = torch.linalg.eigh(normal)
    return vectors[:, values <= 1e-9 * max(float(values[-1]), 1.0)].T.reshape(-1, rows, columns)


def double_cosets(group: Group, left: Subgroup, right: Subgroup) -> int:
    """How many sets `K g H` there are."""
    found, times = set(), group.table().tolist()
    for g in range(group.order):
        found.add(min(times[times[k][g]][h] for k in left.inclusion.tolist() for h in right.inclusion.tolist()))
    return len(found)


def translation(group: Group, g: int) -> Tensor:
    """The matrix of `(lambda_g x)(h) = x(g^-1 h)`."""
    found = torch.zeros(group.order, group.order, dtype=torch.float64)
    for h in range(group.order):
        found[h, group.multiply(group.inverse(g), h)] = 1
    return found


def diagonal(group: Group, g: int) -> Tensor:
    """The matrix of `(S_g x)(h) = x(h g^-1)`."""
    found = torch.zeros(group.order, group.order, dtype=torch.float64)
    for h in range(group.order):
        found[h, group.multiply(h, group.inverse(g))] = 1
    return found


def twirl(group: Group, matrix: Tensor) -> Tensor:
    """The average of `lambda_g M lambda_g^-1` over the group."""
    moved = [translation(group, g) @ matrix @ translation(group, g).T for g in range(group.order)]
    return torch.stack(moved).mean(0)
