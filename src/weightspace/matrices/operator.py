"""Group matrices: linear maps that commute with a finite group acting on itself."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import overload

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from weightspace.errors import GroupError, ShapeError, SingularError
from weightspace.groups import Group, direct_product
from weightspace.matrices.convolution import Convolution, Plan

__all__ = ["GroupMatrix", "kron", "multiply"]


@dataclass(frozen=True, eq=False)
class GroupMatrix:
    r"""The matrix :math:`M = \sum_g S_g \otimes w_g` with the group diagonals :math:`(S_g x)(h) = x(h g^{-1})`.

    For the integers modulo `n` it is a circulant. It is multiplied by in the cheapest of several ways and never formed;
    gradients pass through everything.

    Shapes:
        coefficients: `(taps,)`, or `(taps, out, in)` for a block of channels. With channels row `h * out + o` and
            column `k * in + i` belong to elements `h`, `k` and channels `o`, `i`.
        `M @ x` takes `(order, batch)`, or `(order * in, batch)`.

    Symmetry:
        Commutes with :math:`(\lambda_k x)(h) = x(k^{-1} h)` for every `k`. Products, transposes and inverses of group
        matrices are group matrices: :math:`S_a S_b = S_{ba}`.

    Args:
        group: the group.
        coefficients: the weight, or block of weights, of each element of the support.
        support: the elements that have weights, each once, on the CPU; all if left out.

    Raises:
        ShapeError: if coefficients do not fit the support.
        GroupError: for a support with repetitions or with what is no element.

    Example:
        >>> from weightspace.groups import cyclic
        >>> circulant = GroupMatrix(cyclic(3), torch.tensor([1.0, 2.0, 0.0]))
        >>> circulant.to_dense()
        tensor([[1., 0., 2.],
                [2., 1., 0.],
                [0., 2., 1.]])
        >>> (circulant.T @ circulant).coefficients
        tensor([5., 2., 2.])
    """

    group: Group
    coefficients: Float[Tensor, "taps ..."]
    support: Int[Tensor, " taps"] | None = None

    def __post_init__(self) -> None:
        block = self.coefficients.shape[1:]
        if len(block) not in (0, 2):
            raise ShapeError(
                f"coefficients of shape {tuple(self.coefficients.shape)}: expected (taps,) or (taps, out, in)"
            )
        if len(self.coefficients) != len(self.elements):
            raise ShapeError(
                f"{len(self.coefficients)} coefficients for {len(self.elements)} elements of {self.group!r}"
            )
        assert self.convolution.taps == len(self.elements)

    @property
    def elements(self) -> Int[Tensor, " taps"]:
        """The elements that have weights."""
        return self.group.elements if self.support is None else self.support

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        out, into = self.coefficients.shape[1:] or (1, 1)
        return self.group.order * out, self.group.order * into

    @cached_property
    def convolution(self) -> Convolution:
        """The indices that the support needs, shared by all matrices that have it."""
        taps = None if self.support is None else tuple(self.support.tolist())
        return _convolution(self.group, taps, self.coefficients.device)

    @property
    def weight(self) -> Float[Tensor, "taps out each"]:
        """The coefficients as blocks."""
        return self.coefficients if self.coefficients.ndim == 3 else self.coefficients[:, None, None]

    @overload
    def __matmul__(self, other: Tensor) -> Tensor: ...
    @overload
    def __matmul__(self, other: "GroupMatrix") -> "GroupMatrix": ...

    def __matmul__(self, other: "Tensor | GroupMatrix") -> "Tensor | GroupMatrix":
        return multiply(self, other)

    @property
    def T(self) -> "GroupMatrix":
        """The transpose: the weight of `g` goes to its inverse, and blocks are transposed."""
        turned = self.coefficients.transpose(1, 2) if self.coefficients.ndim == 3 else self.coefficients
        if self.support is not None:
            return GroupMatrix(self.group, turned, self.group.inverse(self.support))
        back = self.group.inverse(self.group.elements).to(turned.device)
        return GroupMatrix(self.group, turned.index_select(0, back))

    def to_dense(self) -> Float[Tensor, "rows columns"]:
        """The whole matrix."""
        return self.convolution.dense(self.weight).transpose(1, 2).flatten(2).flatten(0, 1)

    def solve(self, y: Float[Tensor, "rows batch"]) -> Float[Tensor, "rows batch"]:
        """The `x` with `M @ x = y`, frequency by frequency along the cyclic axes of the group.

        Raises:
            ShapeError: if the matrix is not square, or `y` does not fit.
            SingularError: if the matrix is singular, up to rounding.
        """
        blocks = _invertible(self)
        cosets, out = self.convolution.cosets, self.weight.shape[1]
        waves = self.convolution.waves(_signals(self, y, out)).flatten(2).mT
        found = torch.linalg.solve(blocks, waves).mT.unflatten(2, (cosets, out))
        return _columns(self.convolution.from_waves(found))

    def inverse(self) -> "GroupMatrix":
        """The inverse, a group matrix with weights on all elements.

        Raises:
            ShapeError: if the matrix is not square.
            SingularError: if the matrix is singular, up to rounding.
        """
        order, size = self.group.order, self.weight.shape[1]
        one = self.coefficients.new_zeros(order, size, size)
        one[self.group.identity] = torch.eye(size, dtype=one.dtype, device=one.device)
        # The column of the identity holds the weights.
        found = self.solve(one.flatten(0, 1)).unflatten(0, (order, size))
        return GroupMatrix(self.group, found if self.coefficients.ndim == 3 else found[:, 0, 0])


@overload
def multiply(matrix: GroupMatrix, other: Tensor, plan: Plan | None = None) -> Tensor: ...
@overload
def multiply(matrix: GroupMatrix, other: GroupMatrix, plan: Plan | None = None) -> GroupMatrix: ...


def multiply(matrix: GroupMatrix, other: Tensor | GroupMatrix, plan: Plan | None = None) -> Tensor | GroupMatrix:
    """The product with columns, or with another group matrix.

    Args:
        matrix: the left factor.
        other: columns of shape `(order * in, batch)`, or a group matrix of the same group.
        plan: how; the cheapest way if left out.

    Raises:
        ShapeError: if columns or channels do not fit.
        GroupError: if the groups differ.

    Example:
        >>> from weightspace.groups import dihedral
        >>> m = GroupMatrix(dihedral(4), torch.arange(3.0), torch.tensor([0, 1, 4]))
        >>> torch.equal(multiply(m, torch.eye(8), Plan.TAPS), m.to_dense())
        True
    """
    if isinstance(other, GroupMatrix):
        return _product(matrix, other, plan)
    x = _signals(matrix, other, matrix.weight.shape[2])
    return _columns(matrix.convolution(x, matrix.weight, plan))


def kron(first: GroupMatrix, second: GroupMatrix) -> GroupMatrix:
    """The Kronecker product, a group matrix of the direct product of the groups.

    Raises:
        ShapeError: for matrices with channels, whose rows would be in another order.

    Example:
        >>> from weightspace.groups import cyclic, dihedral
        >>> a, b = GroupMatrix(cyclic(2), torch.randn(2)), GroupMatrix(dihedral(3), torch.randn(6))
        >>> torch.allclose(kron(a, b).to_dense(), torch.kron(a.to_dense(), b.to_dense()))
        True
    """
    if first.coefficients.ndim > 1 or second.coefficients.ndim > 1:
        raise ShapeError("the Kronecker product is for matrices without channels")
    coefficients = torch.outer(first.coefficients, second.coefficients).flatten()
    if first.support is None and second.support is None:
        return GroupMatrix(direct_product(first.group, second.group), coefficients)
    pairs = first.elements[:, None] * second.group.order + second.elements
    return GroupMatrix(direct_product(first.group, second.group), coefficients, pairs.flatten())


def _product(left: GroupMatrix, right: GroupMatrix, plan: Plan | None) -> GroupMatrix:
    if left.group != right.group:
        raise GroupError(f"a matrix of {left.group!r} and one of {right.group!r} have no product that is one")
    if left.weight.shape[2] != right.weight.shape[1]:
        raise ShapeError(f"{right.weight.shape[1]} channels come in, expected {left.weight.shape[2]}")
    group, (middle, columns) = left.group, right.weight.shape[1:]
    # The weights of the product are its column of the identity: the left factor times that column of the right one.
    column = right.coefficients.new_zeros(group.order, middle, columns)
    column = column.index_copy(0, right.elements.to(column.device), right.weight)
    found = left.convolution(column.permute(2, 0, 1), left.weight, plan).permute(1, 2, 0)
    if left.coefficients.ndim == 1 and right.coefficients.ndim == 1:
        found = found[:, 0, 0]
    if left.support is None or right.support is None:
        return GroupMatrix(group, found)
    reached = group.multiply(right.support[:, None], left.support[None]).unique()
    return GroupMatrix(group, found.index_select(0, reached.to(found.device)), reached)


def _signals(matrix: GroupMatrix, columns: Tensor, channels: int) -> Tensor:
    rows = matrix.group.order * channels
    if columns.ndim != 2 or len(columns) != rows:
        raise ShapeError(f"columns of shape {tuple(columns.shape)}: expected ({rows}, batch)")
    return columns.T.unflatten(1, (matrix.group.order, channels))


def _columns(signals: Tensor) -> Tensor:
    return signals.flatten(1).T


def _invertible(matrix: GroupMatrix) -> Complex[Tensor, "frequencies rows columns"]:
    """The blocks of a matrix in Fourier space, none of which is singular."""
    out, into = matrix.weight.shape[1:]
    if out != into:
        raise ShapeError(f"a matrix of shape {matrix.shape} has no inverse: it is not square")
    blocks = matrix.convolution.spectrum(matrix.weight).transpose(2, 3).flatten(3).flatten(1, 2)
    with torch.no_grad():
        values = torch.linalg.svdvals(blocks)
        least, most = float(values.min()), float(values.max())
    if least <= torch.finfo(values.dtype).eps * matrix.shape[0] * most:
        raise SingularError(
            f"the group matrix on {matrix.group!r} is singular: its singular values go from {least:.3g} to {most:.3g}."
            " Add a multiple of the identity, or solve by least squares on to_dense()"
        )
    return blocks


@lru_cache(maxsize=8)
def _convolution(group: Group, support: tuple[int, ...] | None, device: torch.device) -> Convolution:
    taps = None if support is None else torch.tensor(support, dtype=torch.int64)
    return Convolution(group, taps).to(device)
