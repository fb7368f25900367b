"""Matrices of every network and channel times a few columns, where channels stand last.

`torch.einsum` would lay the matrices out by channel and multiply many small ones. For few columns it is faster to
multiply entry by entry and add up, a share of the batch at a time, so that what lies in between stays in the cache.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["FEW", "carry", "shares", "without_rules"]

# Up to so many columns, entry by entry is faster than laying the matrices out anew.
FEW = 4
# Up to so many channels, and so many of all columns, all channels are multiplied by all.
FEW_CHANNELS, NARROW = 8, 64
# How many numbers may lie in between: what a core's cache holds.
CACHED = 2**18


def carry(matrix: Tensor, columns: Tensor, scale: float) -> Tensor:
    r"""Products within channels, :math:`y_{jec} = s \sum_k M_{jkc} x_{kec}`, for every network.

    Args:
        matrix: `(batch, j, k, channels)`.
        columns: `(batch, k, ends, channels)`.
        scale: a factor `s`.

    Shapes:
        `(batch, j, ends, channels)`.

    Example:
        >>> carry(torch.ones(1, 2, 3, 1), torch.ones(1, 3, 4, 1), 0.5)[0, :, :, 0]
        tensor([[1.5000, 1.5000, 1.5000, 1.5000],
                [1.5000, 1.5000, 1.5000, 1.5000]])
    """
    kind = torch.promote_types(matrix.dtype, columns.dtype)
    matrix, columns = matrix.to(kind), columns.to(kind)
    if without_rules():
        return _plain(matrix, columns, scale)
    return _Carry.apply(matrix, columns, scale)


def without_rules() -> bool:
    """Whether a compiler looks on, which does better with plain operations than with what is written out for them."""
    return torch.compiler.is_compiling()


def shares(networks: int, numbers: int, most: int = CACHED) -> Iterator[slice]:
    """The batch in shares of at most so many numbers, given how many there are for each network."""
    step = max(1, most // max(1, numbers))
    yield from (slice(start, min(start + step, networks)) for start in range(0, networks, step))


def _plain(matrix: Tensor, columns: Tensor, scale: float) -> Tensor:
    if columns.shape[2] <= FEW:
        return scale * (matrix.unsqueeze(3) * columns.unsqueeze(1)).sum(2)
    return scale * torch.einsum("ajkc,akec->ajec", matrix, columns)


class _Carry(torch.autograd.Function):
    """`carry` with gradients that form nothing larger than the matrices, and keep no copy of them."""

    @staticmethod
    def forward(matrix: Tensor, columns: Tensor, scale: float) -> Tensor:
        with torch.autocast(matrix.device.type, enabled=False):
            return _times(matrix, columns, scale)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, float], output: Tensor) -> None:
        matrix, columns, ctx.scale = inputs
        ctx.save_for_backward(matrix, columns)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        matrix, columns = ctx.saved_tensors
        into_matrix = into_columns = None
        if ctx.needs_input_grad[0]:  # in memory as the matrix is, or to add it to others would take long
            if _is_turned(matrix):
                into_matrix = _outer(columns, gradient, ctx.scale).transpose(1, 2)
            else:
                into_matrix = _outer(gradient, columns, ctx.scale)
        if ctx.needs_input_grad[1]:
            into_columns = _times(matrix.transpose(1, 2), gradient, ctx.scale)
        return into_matrix, into_columns, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        return torch.vmap(_plain, in_dims)(*inputs), 0


def _times(matrix: Tensor, columns: Tensor, scale: float) -> Tensor:
    if _is_narrow(columns):
        return _times_narrow(matrix, scale * columns)
    if columns.shape[2] > FEW:
        # The matrix stands on the right, where it is read row by row. What comes out keeps its place in memory.
        few, right = columns.permute(0, 3, 2, 1).flatten(0, 1), _by_channel(matrix.transpose(1, 2))
        out = few.new_empty(*few.shape[:2], matrix.shape[1])
        torch.baddbmm(out, few, right, beta=0, alpha=scale, out=out)
        return out.unflatten(0, (len(matrix), matrix.shape[3])).permute(0, 3, 2, 1)
    out = columns.new_empty(*matrix.shape[:2], *columns.shape[2:])
    ends = (scale * columns).unbind(2)
    for networks, rows in _parts(matrix):
        part = matrix[networks, rows]
        for end, column in enumerate(ends):
            torch.sum(part * column[networks].unsqueeze(1), 2, out=out[networks, rows, end])
    return out


def _outer(left: Tensor, right: Tensor, scale: float) -> Tensor:
    """The matrices' gradient: `(batch, j, k, channels)`."""
    if _is_narrow(left):
        spread = torch.diag_embed(scale * right).permute(0, 2, 3, 1, 4).flatten(3).flatten(1, 2)
        return torch.bmm(left.flatten(2), spread).unflatten(2, right.shape[1::2])
    if left.shape[2] > FEW:
        one, other = left.permute(0, 3, 1, 2).flatten(0, 1), right.permute(0, 3, 2, 1).flatten(0, 1)
        out = one.new_empty(*one.shape[:2], other.shape[2])
        torch.baddbmm(out, one, other, beta=0, alpha=scale, out=out)
        return out.unflatten(0, (len(right), right.shape[3])).permute(0, 2, 3, 1)
    out = left.new_empty(*left.shape[:2], *right.shape[1::2])
    ends = [*zip((scale * left).unbind(2), right.unbind(2), strict=True)]
    for networks, rows in _parts(out):
        part = out[networks, rows]
        for end, (one, other) in enumerate(ends):
            pair = one[networks, rows].unsqueeze(2), other[networks].unsqueeze(1)
            if end == 0:
                torch.mul(*pair, out=part)
            else:
                part.addcmul_(*pair)
    return out


def _is_turned(matrix: Tensor) -> bool:
    """Whether a matrix lies in memory column by column."""
    return matrix.stride(1) < matrix.stride(2)


def _is_narrow(columns: Tensor) -> bool:
    return columns.shape[3] <= FEW_CHANNELS and columns.shape[2] * columns.shape[3] <= NARROW


def _times_narrow(matrix: Tensor, columns: Tensor) -> Tensor:
    """For few channels: products of all channels by all, in which those of a channel with itself are the answer.

    That computes too much, but the matrices are read as they stand.
    """
    if _is_turned(matrix):
        both = torch.bmm(columns.flatten(2).transpose(1, 2), matrix.transpose(1, 2).flatten(2))
        both = both.unflatten(2, matrix.shape[1::2]).unflatten(1, columns.shape[2:])
        return both.diagonal(dim1=2, dim2=4).transpose(1, 2).contiguous()
    spread = torch.diag_embed(columns).transpose(2, 3).flatten(3).flatten(1, 2)
    return torch.bmm(matrix.flatten(2), spread).unflatten(2, columns.shape[2:])


def _parts(matrix: Tensor) -> Iterator[tuple[slice, slice]]:
    """Matrices in parts that a cache holds: several networks, or some rows of one."""
    row = matrix.shape[2] * matrix.shape[3]
    for networks in shares(len(matrix), matrix.shape[1] * row):
        several = networks.stop - networks.start > 1
        yield from ((networks, rows) for rows in shares(matrix.shape[1], 1 if several else row))


def _by_channel(matrix: Tensor) -> Tensor:
    """Laid out by channel, `(batch * channels, j, k)`, with the legs in memory as they come."""
    if _is_turned(matrix):
        return _by_channel(matrix.transpose(1, 2)).transpose(1, 2)
    return matrix.permute(0, 3, 1, 2).contiguous().flatten(0, 1)
