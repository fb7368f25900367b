"""Convolution layers on any finite group."""

from enum import StrEnum

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from weightspace.errors import GroupError
from weightspace.groups import Group, Subgroup
from weightspace.matrices.convolution import Convolution
from weightspace.matrices.operator import GroupMatrix

__all__ = ["GroupConv", "Mixing"]


class Mixing(StrEnum):
    """How channels mix.

    * `FULL`: a matrix of channels for every tap, as in `torch.nn.Conv2d`.
    * `SEPARABLE`: one matrix of channels, then a filter for each channel: `out * (in + taps)` weights.
    * `SUMMED`: the sum of all channels, then a filter for each channel that comes out: `out * taps` weights. The layer
      of the published GM-CNN.
    """

    FULL = "full"
    SEPARABLE = "separable"
    SUMMED = "summed"


class GroupConv(nn.Module):
    r"""Convolution on a group: :math:`y_o(h) = b_o + \sum_{g,i} w_{g,o,i}\, x_i(h g^{-1})`.

    Every layer of this form commutes with the group acting from the left, and with weights on the whole group every
    linear map that does is of this form.

    Shapes:
        `(batch, order, channels_in)` to `(batch, order, channels_out)`, or to `(batch, stride.order, channels_out)`.

    Symmetry:
        :math:`f(\lambda_k x) = \lambda_k f(x)` for every element `k`, with :math:`(\lambda_k x)(h) = x(k^{-1}h)`; with
        a stride for the elements of that subgroup.

    Args:
        group: the group.
        channels_in: channels that go in.
        channels_out: channels that come out.
        support: the elements that have weights, as :func:`weightspace.groups.box` and
            :func:`weightspace.groups.ball` give them; all if left out.
        mixing: how channels mix.
        stride: the subgroup on which the answer is asked for; the whole group if left out.
        bias: whether a constant is added to each channel.

    Raises:
        GroupError: for a support with repetitions, fewer than one channel, or a stride in another group.

    Example:
        >>> from weightspace.groups import box, cyclic, direct_product, subgroup
        >>> torus = direct_product(cyclic(8), cyclic(8))
        >>> conv = GroupConv(torus, 3, 16, box(torus, 1), stride=subgroup(torus, [2, 16]))
        >>> conv(torch.randn(5, 64, 3)).shape, sum(p.numel() for p in conv.parameters())
        (torch.Size([5, 16, 16]), 448)

    References:
        T. Cohen, M. Welling: "Group Equivariant Convolutional Networks", ICML 2016. A. Samudre, M. Petrache, B. Nord,
        S. Trivedi: "Symmetry-Based Structured Matrices for Efficient Approximately Equivariant Networks", AISTATS 2025
        (mixing "summed").
    """

    def __init__(
        self,
        group: Group,
        channels_in: int,
        channels_out: int,
        support: Int[Tensor, " taps"] | None = None,
        *,
        mixing: Mixing = Mixing.FULL,
        stride: Subgroup | None = None,
        bias: bool = True,
    ):
        super().__init__()
        if channels_in < 1 or channels_out < 1:
            raise GroupError(f"{channels_in} channels in and {channels_out} out: expected at least one of each")
        if stride is not None and stride.parent != group:
            raise GroupError(f"the stride is {stride!r}: expected a subgroup of {group!r}")
        self.channels_in, self.channels_out = channels_in, channels_out
        self.mixing, self.stride = Mixing(mixing), stride
        self.convolution = Convolution(group, support, None if stride is None else stride.inclusion)
        taps, each = self.convolution.taps, channels_in if self.mixing == Mixing.FULL else 1
        self.weight = nn.Parameter(torch.empty(taps, channels_out, each))
        separable = self.mixing == Mixing.SEPARABLE
        self.mixer = nn.Parameter(torch.empty(channels_out, channels_in)) if separable else None
        self.bias = nn.Parameter(torch.empty(channels_out)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw all parameters uniformly, within one over the root of what they sum over, as torch's layers do."""
        separable = self.mixer is not None
        reach = (self.convolution.taps * (1 if separable else self.channels_in)) ** -0.5
        nn.init.uniform_(self.weight, -reach, reach)
        if self.mixer is not None:
            nn.init.uniform_(self.mixer, -(self.channels_in**-0.5), self.channels_in**-0.5)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -reach, reach)

    @property
    def group(self) -> Group:
        """The group on which signals come in."""
        return self.convolution.group

    def extra_repr(self) -> str:
        """Channels and mixing."""
        return f"{self.channels_in}, {self.channels_out}, mixing={self.mixing.value!r}"

    def forward(self, x: Float[Tensor, "batch order channels_in"]) -> Float[Tensor, "batch rows channels_out"]:
        """Signals on the group, or on the stride's subgroup."""
        y = self._convolved(x)
        return y if self.bias is None else y + self.bias

    def _convolved(self, x: Tensor) -> Tensor:
        if self.mixing == Mixing.FULL:
            return self.convolution(x, self.weight)
        if self.mixer is None:
            return self.convolution(x.sum(2, keepdim=True), self.weight)
        return self.convolution(x @ self.mixer.T, self.weight, groups=self.channels_out)

    def kernel(self) -> Float[Tensor, "taps channels_out channels_in"]:
        """The weights of a layer that mixes channels in full and computes the same."""
        if self.mixer is not None:
            return self.weight * self.mixer
        return self.weight.expand(-1, -1, self.channels_in)

    def matrix(self) -> GroupMatrix:
        """The layer without bias and stride as a group matrix, on `(order * channels_in, batch)`."""
        return GroupMatrix(self.group, self.kernel(), self.convolution.support.cpu())
