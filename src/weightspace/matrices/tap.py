"""Reading signals tap by tap, with ways back that read as well in place of adding where indices say."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["gathered", "tap_product"]


class Gathered(torch.autograd.Function):
    """See `gathered`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        return x.index_select(1, index.flatten()).unflatten(1, index.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None]:
        index, inverse = ctx.saved_tensors
        return Collected.apply(gradients[0], index, inverse), None, None


class Collected(torch.autograd.Function):
    """The adjoint of `gathered`: what the taps of an element were given stands, tap by tap, at its inverse taps."""

    generate_vmap_rule = True

    @staticmethod
    def forward(near: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        taps = index.shape[1]
        place = inverse * taps + torch.arange(taps, device=inverse.device)
        return near.flatten(1, 2).index_select(1, place.flatten()).unflatten(1, place.shape).sum(2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, None, None]:
        index, inverse = ctx.saved_tensors
        return Gathered.apply(gradients[0], index, inverse), None, None


def gathered(
    x: Float[Tensor, "batch order channels"], index: Int[Tensor, "order taps"], inverse: Int[Tensor, "order taps"]
) -> Float[Tensor, "batch order taps channels"]:
    """What each tap reads at each element, `x[b, index[h, j]]`, for columns of `index` that are permutations.

    Args:
        x: signals.
        index: where each tap reads.
        inverse: the inverse permutations, column by column.

    Example:
        >>> turn = torch.tensor([[1], [2], [0]])
        >>> gathered(torch.arange(3.0)[None, :, None], turn, turn.argsort(0)).flatten()
        tensor([1., 2., 0.])
    """
    return Gathered.apply(x, index, inverse)


class TapProduct(torch.autograd.Function):
    """See `tap_product`. The gradient of a signal is the same sum with inverse taps and transposed weights.

    Left to autograd, the loop would keep a moved copy of the signal for every tap.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, weight: Tensor, index: Tensor, inverse: Tensor) -> Tensor:
        out = x.new_zeros(*x.shape[:3], weight.shape[2])
        for near, mixing in zip(index.T, weight, strict=True):
            out = out + torch.einsum("bhgi,goi->bhgo", x.index_select(1, near), mixing)
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight, index, inverse = ctx.saved_tensors
        (out,) = gradients
        to_x = to_weight = None
        if ctx.needs_input_grad[0]:
            to_x = tap_product(out, weight.transpose(2, 3), inverse, index)
        if ctx.needs_input_grad[1]:
            found = [torch.einsum("bhgo,bhgi->goi", out, x.index_select(1, near)) for near in index.T]
            to_weight = torch.stack(found)
        return to_x, to_weight, None, None


def tap_product(
    x: Float[Tensor, "batch order groups each"],
    weight: Float[Tensor, "taps groups out each"],
    index: Int[Tensor, "order taps"],
    inverse: Int[Tensor, "order taps"],
) -> Float[Tensor, "batch order groups out"]:
    """The sum over taps `j` of `weight[j] @ x[b, index[h, j]]`, for columns of `index` that are permutations.

    Args:
        x: signals, their channels in groups that do not mix.
        weight: one matrix per tap and group.
        index: where each tap reads.
        inverse: the inverse permutations, column by column.

    Example:
        >>> turn = torch.tensor([[1], [2], [0]])
        >>> x, weight = torch.arange(3.0)[None, :, None, None], torch.full((1, 1, 1, 1), 2.0)
        >>> tap_product(x, weight, turn, turn.argsort(0)).flatten()
        tensor([2., 4., 0.])
    """
    return TapProduct.apply(x, weight, index, inverse)
