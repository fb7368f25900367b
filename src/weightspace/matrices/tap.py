"""One matrix product per tap, forward and backward, with no more memory than the signals take."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["tap_product"]


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
