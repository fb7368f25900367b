"""How far a matrix is from commuting with a group, and matrices that are a given rank away from it."""

from dataclasses import dataclass
from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.errors import ShapeError
from weightspace.groups import Group
from weightspace.matrices.operator import GroupMatrix

__all__ = [
    "Displacement",
    "LowRankGroupMatrix",
    "ModulatedGroupMatrix",
    "Norm",
    "approximate",
    "approximate_low_rank",
    "commutator_norm",
    "coordinates",
    "displacement_rank",
    "distance",
    "from_coordinates",
    "project",
]


class Norm(StrEnum):
    """A norm of matrices: `FROBENIUS`, the root of the sum of squares, or `OPERATOR`, the largest singular value."""

    FROBENIUS = "fro"
    OPERATOR = "2"


class Displacement(StrEnum):
    """What of a matrix has to be of low rank.

    * `MODULATED`: the deviations of group diagonals from their means. Low for group matrices whose weights change with
      the position.
    * `SYLVESTER`: the commutators with the generators. Low for the sum of a group matrix and one of low rank.
    """

    MODULATED = "modulated"
    SYLVESTER = "sylvester"


@dataclass(frozen=True, eq=False)
class ModulatedGroupMatrix:
    r"""A group matrix whose weights change with the position: :math:`M = B + \sum_i \mathrm{diag}(v_i)\, U_i`.

    With `rank` terms it is any matrix of modulated displacement rank at most `rank`, and what is known as a relaxed
    group convolution. It commutes with the group where `positions` are constant.

    Args:
        base: the group matrix :math:`B`.
        banks: the coefficients of each :math:`U_i`, on the support of the base.
        positions: :math:`v_i`.

    Raises:
        ShapeError: if shapes do not fit the base.

    Example:
        >>> from weightspace.groups import cyclic
        >>> m = ModulatedGroupMatrix(GroupMatrix(cyclic(5), torch.randn(5)), torch.randn(2, 5), torch.randn(2, 5))
        >>> displacement_rank(m.to_dense(), cyclic(5))
        2
    """

    base: GroupMatrix
    banks: Float[Tensor, "rank ..."]
    positions: Float[Tensor, "rank order"]

    def __post_init__(self) -> None:
        rank, order = len(self.banks), self.base.group.order
        if self.banks.shape[1:] != self.base.coefficients.shape or self.positions.shape != (rank, order):
            raise ShapeError(
                f"banks of shape {tuple(self.banks.shape)} and positions of shape {tuple(self.positions.shape)}:"
                f" expected (rank, {', '.join(map(str, self.base.coefficients.shape))}) and (rank, {order})"
            )

    def projection(self) -> GroupMatrix:
        """The nearest group matrix: every bank times the mean of its positions."""
        means = torch.tensordot(self.positions.mean(1), self.banks, 1)
        return GroupMatrix(self.base.group, self.base.coefficients + means, self.base.support)

    def square_distance(self) -> Float[Tensor, ""]:
        """The square of :func:`distance`, from the banks and positions alone."""
        away = self.positions - self.positions.mean(1, keepdim=True)
        banks = self.banks.flatten(1)
        return ((banks @ banks.T) * (away @ away.T)).sum().clamp_min(0)

    def __matmul__(self, columns: Float[Tensor, "rows batch"]) -> Float[Tensor, "rows_out batch"]:
        # One convolution with the channels of all banks.
        group, weight = self.base.group, self.base.weight
        banks = self.banks.reshape(-1, *weight.shape).unbind(0)
        whole = GroupMatrix(group, torch.cat([weight, *banks], 1), self.base.support)
        found = (whole @ columns).unflatten(0, (group.order, 1 + len(self.banks), -1))
        varied = torch.einsum("rh,hrob->hob", self.positions, found[:, 1:])
        return (found[:, 0] + varied).flatten(0, 1)

    def to_dense(self) -> Float[Tensor, "rows columns"]:
        """The whole matrix."""
        out = self.base.weight.shape[1]
        dense = self.base.to_dense()
        for bank, position in zip(self.banks, self.positions, strict=True):
            rows = position.repeat_interleave(out)[:, None]
            dense = dense + rows * GroupMatrix(self.base.group, bank, self.base.support).to_dense()
        return dense


@dataclass(frozen=True, eq=False)
class LowRankGroupMatrix:
    r"""A group matrix and a matrix of low rank: :math:`M = B + L R^\top`, of Sylvester rank at most twice that of `L`.

    Args:
        base: the group matrix :math:`B`.
        left: :math:`L`.
        right: :math:`R`.

    Example:
        >>> from weightspace.groups import cyclic
        >>> m = LowRankGroupMatrix(GroupMatrix(cyclic(8), torch.randn(8)), torch.randn(8, 1), torch.randn(8, 1))
        >>> displacement_rank(m.to_dense(), cyclic(8), Displacement.SYLVESTER)
        2
    """

    base: GroupMatrix
    left: Float[Tensor, "rows rank"]
    right: Float[Tensor, "columns rank"]

    def __post_init__(self) -> None:
        if (len(self.left), len(self.right)) != self.base.shape:
            raise ShapeError(f"factors of lengths {len(self.left)} and {len(self.right)}, expected {self.base.shape}")

    def projection(self) -> GroupMatrix:
        """The nearest group matrix, with weights on all elements."""
        group, found = self.base.group, self._mean()
        block = found if self.base.coefficients.ndim == 3 else found[:, 0, 0]
        whole = block.index_add(0, self.base.elements.to(block.device), self.base.coefficients)
        return GroupMatrix(group, whole)

    def square_distance(self) -> Float[Tensor, ""]:
        """The square of :func:`distance`, without the matrix: that of the low rank less that of its projection."""
        gram = (self.left.T @ self.left) * (self.right.T @ self.right)
        return (gram.sum() - self.base.group.order * self._mean().square().sum()).clamp_min(0)

    def _mean(self) -> Tensor:
        r"""The weights of the projection of :math:`L R^\top`.

        They are :math:`w(g) = \frac1n \sum_h L(h) R(h g^{-1})^\top = \frac1n \sum_k L(k g) R(k)^\top`: with
        :math:`L'(h) = L(h^{-1})` the convolution of :math:`L'` by :math:`R`, read at :math:`g^{-1}`.
        """
        group, (_, out, into) = self.base.group, self.base.weight.shape
        back = group.inverse(group.elements).to(self.left.device)
        left = self.left.unflatten(0, (group.order, out)).index_select(0, back)
        right = self.right.unflatten(0, (group.order, into))
        found = GroupMatrix(group, right).convolution(left.transpose(0, 1), right)
        return found.index_select(1, back).transpose(0, 1) / group.order

    def __matmul__(self, columns: Float[Tensor, "columns batch"]) -> Float[Tensor, "rows batch"]:
        return self.base @ columns + self.left @ (self.right.T @ columns)

    def to_dense(self) -> Float[Tensor, "rows columns"]:
        """The whole matrix."""
        return self.base.to_dense() + self.left @ self.right.T


def coordinates(matrix: Float[Tensor, "rows columns"], group: Group) -> Float[Tensor, "element position block"]:
    r"""What any matrix has on the group diagonals: :math:`M = \sum_g \mathrm{diag}(F_g)\, S_g`.

    `F[g, h]` is the entry in row `h` and column :math:`h g^{-1}`, with the channels of that entry as `block`. The
    matrix is a group matrix if and only if `F` does not depend on `h`.

    Raises:
        ShapeError: if rows or columns are no multiple of the group's order.

    Example:
        >>> from weightspace.groups import cyclic
        >>> coordinates(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), cyclic(2))[:, :, 0]
        tensor([[1., 4.],
                [2., 3.]])
    """
    blocks = _blocks(matrix, group)
    position = torch.arange(group.order, device=matrix.device)[:, None]
    return blocks[position, _diagonals(group).to(matrix.device)].transpose(0, 1).flatten(2)


def from_coordinates(
    found: Float[Tensor, "element position block"], group: Group, channels: tuple[int, int] = (1, 1)
) -> Float[Tensor, "rows columns"]:
    """Undoes `coordinates`.

    Args:
        found: the coordinates.
        group: the group.
        channels: channels out and in.
    """
    position = torch.arange(group.order, device=found.device)[:, None]
    index = position, _diagonals(group).to(found.device)
    blocks = torch.empty_like(found).index_put(index, found.transpose(0, 1)).unflatten(2, channels)
    return blocks.transpose(1, 2).flatten(2).flatten(0, 1)


def project(matrix: Float[Tensor, "rows columns"], group: Group) -> GroupMatrix:
    r"""The nearest group matrix: the average of :math:`\lambda_g M \lambda_g^{-1}` over the group.

    It is the nearest in the Frobenius norm, and at most twice as far as the nearest in the operator norm.

    Raises:
        ShapeError: if rows or columns are no multiple of the group's order.

    Example:
        >>> from weightspace.groups import cyclic
        >>> project(torch.tensor([[1.0, 2.0], [4.0, 3.0]]), cyclic(2)).coefficients
        tensor([2., 3.])
    """
    means = coordinates(matrix, group).mean(1)
    channels = _channels(matrix, group)
    return GroupMatrix(group, means[:, 0] if channels == (1, 1) else means.unflatten(1, channels))


def distance(matrix: Float[Tensor, "rows columns"], group: Group, norm: Norm = Norm.FROBENIUS) -> Float[Tensor, ""]:
    r"""How far a matrix is from its projection, :math:`d(M) = \|M - \Pi(M)\|`.

    It bounds the error of equivariance from both sides: with :math:`E(M) = \max_g \|M\lambda_g - \lambda_g M\|`
    (:func:`commutator_norm`), :math:`d(M) \le E(M) \le 2\,d(M)`. The left holds as `d` is the norm of an average of
    :math:`M - \lambda_g M \lambda_g^{-1}`, the right as :math:`\Pi(M)` commutes. It has gradients; at 0 they are
    zero for the Frobenius norm.

    Raises:
        ShapeError: if rows or columns are no multiple of the group's order.

    Example:
        >>> from weightspace.groups import dihedral
        >>> m = torch.randn(8, 8)
        >>> d, e = distance(m, dihedral(4)), commutator_norm(m, dihedral(4))
        >>> bool(d <= e <= 2 * d)
        True
    """
    found = coordinates(matrix, group)
    away = found - found.mean(1, keepdim=True)
    if norm == Norm.FROBENIUS:
        return torch.linalg.vector_norm(away)
    return torch.linalg.matrix_norm(from_coordinates(away, group, _channels(matrix, group)), 2)


def commutator_norm(
    matrix: Float[Tensor, "rows columns"], group: Group, norm: Norm = Norm.FROBENIUS
) -> Float[Tensor, ""]:
    r"""The largest error of equivariance, :math:`E(M) = \max_g \|M\lambda_g - \lambda_g M\|`, element by element.

    Raises:
        ShapeError: if rows or columns are no multiple of the group's order.
    """
    blocks = _blocks(matrix, group)
    found = []
    # One element at a time: all conjugates together would take the order of the group times the matrix.
    for g in group.elements:
        moved = group.multiply(g, group.elements).to(matrix.device)
        change = (blocks[moved][:, moved] - blocks).transpose(1, 2).flatten(2).flatten(0, 1)
        frobenius = norm == Norm.FROBENIUS
        found.append(torch.linalg.vector_norm(change) if frobenius else torch.linalg.matrix_norm(change, 2))
    return torch.stack(found).max()


def displacement_rank(
    matrix: Float[Tensor, "rows columns"],
    group: Group,
    sense: Displacement = Displacement.MODULATED,
    tolerance: float | None = None,
) -> int:
    r"""How many terms a matrix is away from a group matrix; 0 if and only if it is one.

    * `MODULATED`: the rank of :math:`F(M)(I - C)` for a cyclic shift `C`, which is that of `F` less its means.
    * `SYLVESTER`: the largest rank of :math:`\lambda_s M - M \lambda_s` among the generators `s`.

    The two differ: a Toeplitz matrix of 16 rows has 15 and 2 for translations, a diagonal one 1 and up to 16.

    Args:
        matrix: any matrix.
        group: the group.
        sense: which displacement.
        tolerance: singular values below this share of the matrix's largest one count as zero; rounding if left out.

    Raises:
        ShapeError: if rows or columns are no multiple of the group's order.

    References:
        A. Samudre, M. Petrache, B. D. Nord, S. Trivedi: "Symmetry-Based Structured Matrices for Efficient Approximately
        Equivariant Networks", AISTATS 2025 (displacement of group matrices).
    """
    share = torch.finfo(matrix.dtype).eps * max(matrix.shape) if tolerance is None else tolerance
    if sense == Displacement.MODULATED:
        found = coordinates(matrix, group)
        parts = [(found - found.mean(1, keepdim=True)).transpose(1, 2).flatten(0, 1)]
        scale = torch.linalg.matrix_norm(found.transpose(1, 2).flatten(0, 1), 2)
    else:
        blocks = _blocks(matrix, group)
        moves = [group.multiply(s, group.elements).to(matrix.device) for s in group.generators]
        # Conjugates less the matrix: the commutators times a permutation.
        parts = [(blocks[move][:, move] - blocks).transpose(1, 2).flatten(2).flatten(0, 1) for move in moves]
        scale = torch.linalg.matrix_norm(matrix, 2)
    return max((int((torch.linalg.svdvals(part) > share * scale).sum()) for part in parts), default=0)


def approximate(matrix: Float[Tensor, "order order"], group: Group, rank: int) -> ModulatedGroupMatrix:
    r"""The nearest matrix of modulated displacement rank at most `rank`, in the Frobenius norm.

    The map from a matrix to its coordinates keeps lengths, and what is centred along positions is orthogonal to what is
    constant, so that the means and the largest singular vectors of the rest are best (Eckart and Young).

    Raises:
        ShapeError: if the matrix is not square of the group's order, or the rank is negative.

    Example:
        >>> from weightspace.groups import dihedral
        >>> m = torch.randn(8, 8)
        >>> near = [(approximate(m, dihedral(4), rank).to_dense() - m).norm() for rank in (0, 2, 7)]
        >>> bool(near[0] > near[1] > near[2]), bool(near[2] < 1e-4)
        (True, True)
    """
    _check_square(matrix, group, rank)
    found = coordinates(matrix, group)[:, :, 0]
    means = found.mean(1)
    left, values, right = torch.linalg.svd(found - means[:, None], full_matrices=False)
    banks = (left * values)[:, :rank].T
    return ModulatedGroupMatrix(GroupMatrix(group, means), banks, right[:rank])


def approximate_low_rank(
    matrix: Float[Tensor, "order order"], group: Group, rank: int, steps: int = 50
) -> LowRankGroupMatrix:
    """A near sum of a group matrix and one of low rank, found in turns: neither can be improved while the other stays.

    Every step is the best for one part, so the error never grows from one to the next. It need not be the best of all.

    Args:
        matrix: any square matrix of the group's order.
        group: the group.
        rank: the rank of the second part.
        steps: how often each part is renewed.

    Raises:
        ShapeError: if the matrix is not square of the group's order, or the rank is negative.
    """
    _check_square(matrix, group, rank)
    base = project(matrix, group)
    left = right = matrix.new_zeros(len(matrix), rank)
    for _ in range(steps):
        outer, values, inner = torch.linalg.svd(matrix - base.to_dense(), full_matrices=False)
        left, right = (outer * values)[:, :rank], inner[:rank].T
        base = project(matrix - left @ right.T, group)
    return LowRankGroupMatrix(base, left, right)


def _check_square(matrix: Tensor, group: Group, rank: int) -> None:
    if tuple(matrix.shape) != (group.order, group.order) or rank < 0:
        raise ShapeError(
            f"a matrix of shape {tuple(matrix.shape)} and rank {rank}:"
            f" expected ({group.order}, {group.order}) and 0 or more"
        )


def _channels(matrix: Tensor, group: Group) -> tuple[int, int]:
    rows, columns = matrix.shape
    if not rows or not columns or rows % group.order or columns % group.order:
        raise ShapeError(f"a matrix of shape {(rows, columns)} for {group!r}: expected multiples of {group.order}")
    return rows // group.order, columns // group.order


def _blocks(matrix: Tensor, group: Group) -> Tensor:
    out, into = _channels(matrix, group)
    return matrix.reshape(group.order, out, group.order, into).transpose(1, 2)


def _diagonals(group: Group) -> Tensor:
    """Row `h` has the elements `h g^-1`, one for each `g`."""
    return group.multiply(group.elements[:, None], group.inverse(group.elements)[None])
