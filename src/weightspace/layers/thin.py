"""Products of thin factors, mixed over channels without being formed."""

from collections.abc import Iterator
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from weightspace.layers.carry import shares, without_rules

__all__ = ["add_mixed"]

# How many numbers may lie in between: two copies fit into a cache that cores share.
CACHED = 2**18


def add_mixed(base: Tensor, left: Tensor, right: Tensor, mix: Tensor) -> Tensor:
    r"""Large matrices plus a mix of products of thin ones.

    With :math:`B` for `base`, :math:`l` for `left`, :math:`r` for `right` and :math:`m` for `mix`

    .. math:: y_{pqf} = B_{pqf} + \sum_{ec} l_{pec} \sum_n r_{qnec} m_{necf}.

    The inner sum comes first, so several products that share their left factor take no longer than one. Backward does
    it once more instead of keeping it.

    Args:
        base: `(batch, p, q, channels out)`, which is written to where no gradient is asked for.
        left: `(batch, p, thin, channels)`.
        right: `(batch, q, products, thin, channels)`.
        mix: `(products, thin, channels, channels out)`.

    Shapes:
        As `base`.

    Example:
        >>> base, left, right, mix = torch.zeros(1, 2, 3, 1), torch.ones(1, 2, 1, 4), torch.ones(1, 3, 1, 1, 4), 1
        >>> add_mixed(base, left, right, torch.ones(1, 1, 4, 1))[0, :, :, 0]
        tensor([[4., 4., 4.],
                [4., 4., 4.]])
    """
    # Under autocast the linear part, which is the base, has come in the type that is asked for.
    left, right, mix = (tensor.to(base.dtype) for tensor in (left, right, mix))
    if without_rules():
        return _plain(base, left, right, mix)
    return _AddMixed.apply(base, left, right, mix)


def _plain(base: Tensor, left: Tensor, right: Tensor, mix: Tensor) -> Tensor:
    mixed = (right.unsqueeze(5) * mix).sum(2)
    return base + torch.einsum("apec,aqecf->apqf", left, mixed)


class _AddMixed(torch.autograd.Function):
    """`add_mixed`, a share of the batch at a time."""

    @staticmethod
    def forward(base: Tensor, left: Tensor, right: Tensor, mix: Tensor) -> Tensor:
        with torch.autocast(base.device.type, enabled=False):
            needed = any(tensor.requires_grad for tensor in (base, left, right, mix))
            out = torch.empty_like(base) if needed else base
            for share, mixed, sums in _rooms(base, right, mix):
                _mix(right[share], mix, mixed)
                factors = left[share].flatten(2), _rows(mixed)
                if base.is_contiguous():
                    torch.baddbmm(base[share].flatten(2), *factors, out=out[share].flatten(2))
                else:
                    torch.bmm(*factors, out=sums.flatten(2))
                    torch.add(base[share], sums, out=out[share])
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        left, right, mix = ctx.saved_tensors
        into_left, into_right = left.new_empty(left.shape), right.new_empty(right.shape)
        into_mix = mix.new_zeros(mix.shape)
        weights = mix.flatten(1, 2).transpose(0, 1)
        for share, mixed, given in _rooms(gradient, right, mix):
            given = (gradient[share] if gradient.is_contiguous() else given.copy_(gradient[share])).flatten(2)
            _mix(right[share], mix, mixed)
            torch.bmm(given, _rows(mixed).transpose(1, 2), out=into_left[share].flatten(2))
            # What was mixed is no longer needed, and its gradient takes its place.
            torch.bmm(left[share].flatten(2).transpose(1, 2), given, out=_rows(mixed))
            gradients = mixed.flatten(1, 2)
            thin = torch.bmm(weights, gradients.transpose(1, 2)).unflatten(2, mixed.shape[1:3])
            into_right[share] = thin.permute(2, 3, 1, 0).unflatten(3, mix.shape[1:3])
            factors = right[share].permute(3, 4, 2, 0, 1).contiguous()
            into_mix += torch.bmm(factors.flatten(0, 1).flatten(2), gradients).transpose(0, 1).view_as(mix)
        return gradient, into_left, into_right, into_mix

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        return torch.vmap(_plain, in_dims)(*inputs), 0


def _rooms(large: Tensor, right: Tensor, mix: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Shares of the batch, each with room for what is mixed and for its part of the large matrices.

    All shares use the same memory, which therefore stays in the cache.
    """
    thin, columns = mix[0, :, :, 0].numel(), (right.shape[1], mix.shape[3])
    parts = list(shares(len(right), thin * columns[0] * columns[1], CACHED))
    longest = max((part.stop - part.start for part in parts), default=0)
    mixed, sums = (large.new_empty(rows * longest * columns[0] * columns[1]) for rows in (thin, large.shape[1]))
    for part in parts:
        count = part.stop - part.start
        shapes = (thin, count, *columns), (count, large.shape[1], *columns)
        first, second = (room[: prod(shape)].view(shape) for room, shape in zip((mixed, sums), shapes, strict=True))
        yield part, first, second


def _rows(mixed: Tensor) -> Tensor:
    """`(thin * channels, batch, q, channels out)` as `(batch, thin * channels, q * channels out)`."""
    return mixed.flatten(2).transpose(0, 1)


def _mix(right: Tensor, mix: Tensor, out: Tensor) -> None:
    """The inner sum, `(thin * channels, batch, q, channels out)`: as it comes for products within channels."""
    factors = right.permute(2, 3, 4, 0, 1).flatten(1, 2).unsqueeze(4)
    weights = mix.flatten(1, 2).unsqueeze(2).unsqueeze(3)
    torch.mul(factors[0], weights[0], out=out)
    for factor, weight in zip(factors[1:], weights[1:], strict=True):
        out.addcmul_(factor, weight)
