"""GM-CNN: networks of group convolutions, for what a signal is and for what it becomes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from weightspace.errors import GroupError, unknown
from weightspace.groups import Group, box, cyclic, dihedral, direct_product
from weightspace.matrices.conv import GroupConv, Mixing
from weightspace.matrices.pool import Pooling

__all__ = ["GMCNN", "GMCNNDynamics", "GainConv", "GroupBlock", "RollOut", "roll_out"]

Conv = Callable[[Group, int, int, Tensor | None], nn.Module]


@dataclass(frozen=True)
class Published:
    """A published classifier: pixels per side, reach of the filters, what comes out and goes in, groups of the axes."""

    size: int
    reach: int
    classes: int
    channels: int = 1
    mirror: bool = False
    dropout: float = 0.3

    def group(self) -> Group:
        """One cyclic or dihedral group for rows and one for columns."""
        axis = dihedral(self.size // 2) if self.mirror else cyclic(self.size)
        return direct_product(axis, axis)


PUBLISHED = {
    "cifar10": Published(32, 3, 10, channels=3, dropout=0.2),
    "mnist-bg-rot": Published(28, 2, 10, mirror=True),
    "mnist-noise": Published(28, 3, 10),
    "rectangles": Published(28, 3, 2),
    "rot-mnist": Published(28, 3, 10, mirror=True),
    "smallnorb": Published(24, 3, 4),
    "norb": Published(32, 3, 6),
}


class GroupBlock(nn.Module):
    """A convolution, optionally normalised, an activation, and what came in added to it.

    Shapes:
        `(batch, order, channels_in)` to `(batch, order, channels_out)`.

    Symmetry:
        That of the convolution: what follows works on all elements alike.

    Args:
        conv: the convolution.
        channels_in: channels that go in.
        channels_out: channels that come out.
        activation: applied entry by entry.
        norm: of the convolution's answer; none if left out.
    """

    def __init__(
        self, conv: nn.Module, channels_in: int, channels_out: int, activation: nn.Module, norm: nn.Module | None = None
    ):
        super().__init__()
        self.conv, self.norm, self.activation = conv, norm, activation
        self.skip = nn.Linear(channels_in, channels_out) if channels_in != channels_out else None

    def forward(self, x: Float[Tensor, "batch order channels_in"]) -> Float[Tensor, "batch order channels_out"]:
        """Signals on the group."""
        y = self.conv(x)
        y = self.activation(y if self.norm is None else self.norm(y))
        return torch.add(y, x if self.skip is None else self.skip(x))


class GMCNN(nn.Module):
    r"""Says what a signal on a group is.

    Residual blocks of group convolutions, the largest value of each channel over the group, and a linear map.
    Every block normalises over elements and channels together and has the same slope below zero, one number for the
    whole network.

    Shapes:
        `(batch, order, channels_in)` to `(batch, outputs)`.

    Symmetry:
        Invariant under the group, if convolutions commute with it.

    Args:
        group: the group.
        channels_in: channels of the signal.
        outputs: numbers that come out.
        support: the elements that filters have weights for; all if left out.
        channels: channels of the blocks.
        blocks: how many blocks.
        conv: makes each convolution from the group, channels in and out and the support: :class:`GroupConv`,
            `partial(ModulatedGroupConv, rank=1)`, ...
        dropout: share of the last channels that is left out while training.

    Raises:
        GroupError: for fewer than one block, or what the convolutions refuse.

    Example:
        >>> from functools import partial
        >>> from weightspace.groups import box, cyclic, direct_product
        >>> from weightspace.matrices import ModulatedGroupConv
        >>> torus = direct_product(cyclic(8), cyclic(8))
        >>> model = GMCNN(torus, 1, 10, box(torus, 1), channels=16, conv=partial(ModulatedGroupConv, rank=1))
        >>> model(torch.randn(5, 64, 1)).shape
        torch.Size([5, 10])

    References:
        A. Samudre, M. Petrache, B. D. Nord, S. Trivedi: "Symmetry-Based Structured Matrices for Efficient Approximately
        Equivariant Networks", AISTATS 2025.
    """

    def __init__(
        self,
        group: Group,
        channels_in: int,
        outputs: int,
        support: Int[Tensor, " taps"] | None = None,
        *,
        channels: int = 64,
        blocks: int = 2,
        conv: Conv = GroupConv,
        dropout: float = 0.0,
    ):
        super().__init__()
        _check_blocks(blocks)
        slope = nn.PReLU()
        made, before = [], channels_in
        for _ in range(blocks):
            norm = nn.LayerNorm((group.order, channels), elementwise_affine=False)
            made.append(GroupBlock(conv(group, before, channels, support), before, channels, slope, norm))
            before = channels
        self.blocks = nn.Sequential(*made)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(channels, outputs)

    def forward(self, x: Float[Tensor, "batch order channels_in"]) -> Float[Tensor, "batch outputs"]:
        """One vector for each signal."""
        return self.head(self.dropout(Pooling.MAX(self.blocks(x), 1)))

    @classmethod
    def published(cls, name: str, mixing: Mixing = Mixing.SUMMED) -> "GMCNN":
        """A published classifier: two blocks of 120 channels, on images as signals on pairs of rows and columns.

        Args:
            name: the data set that it was made for.
            mixing: how channels mix. The published layers add all channels up before they filter them, which makes for
                most of the small number of parameters; with "full" the same network mixes them.

        Raises:
            WeightspaceError: for an unknown name.

        Example:
            >>> sum(p.numel() for p in GMCNN.published("cifar10").parameters())
            13691
        """
        if name not in PUBLISHED:
            raise unknown("published GM-CNN", name, list(PUBLISHED))
        chosen = PUBLISHED[name]
        group = chosen.group()

        def conv(group: Group, channels_in: int, channels_out: int, support: Tensor | None) -> nn.Module:
            return GroupConv(group, channels_in, channels_out, support, mixing=mixing)

        support = box(group, chosen.reach)
        options: dict[str, Any] = {"channels": 120, "conv": conv, "dropout": chosen.dropout}
        return cls(group, chosen.channels, chosen.classes, support, **options)


class GMCNNDynamics(nn.Module):
    r"""Says how a field on a group goes on: from its last frames the next one, and from that the one after.

    Residual blocks of group convolutions, each with its own slope below zero, between two linear maps of channels.

    Shapes:
        `(batch, order, past * features)`, oldest frame first, to `(batch, order, features)`.

    Symmetry:
        Equivariant under the group, if convolutions commute with it.

    Args:
        group: the group.
        features: numbers per element and frame.
        past: frames that are seen.
        support: the elements that filters have weights for; all if left out.
        channels: channels of the blocks.
        blocks: how many blocks.
        conv: makes each convolution, as for :class:`GMCNN`.

    Raises:
        GroupError: for fewer than one block or frame, or what the convolutions refuse.

    Example:
        >>> from weightspace.groups import box, cyclic, direct_product
        >>> torus = direct_product(cyclic(8), cyclic(8))
        >>> model = GMCNNDynamics(torus, 2, 10, box(torus, 1), channels=16)
        >>> model(torch.randn(3, 64, 20)).shape, model.roll_out(torch.randn(3, 64, 20), 6).shape
        (torch.Size([3, 64, 2]), torch.Size([3, 6, 64, 2]))

    References:
        A. Samudre, M. Petrache, B. D. Nord, S. Trivedi: "Symmetry-Based Structured Matrices for Efficient Approximately
        Equivariant Networks", AISTATS 2025 (smoke plumes, with `GainConv` and "summed" mixing).
    """

    def __init__(
        self,
        group: Group,
        features: int,
        past: int,
        support: Int[Tensor, " taps"] | None = None,
        *,
        channels: int = 64,
        blocks: int = 4,
        conv: Conv = GroupConv,
    ):
        super().__init__()
        _check_blocks(blocks)
        if past < 1 or features < 1:
            raise GroupError(f"{past} past frames of {features} features: expected at least one of each")
        made, before = [], past * features
        for _ in range(blocks):
            made.append(GroupBlock(conv(group, before, channels, support), before, channels, nn.PReLU()))
            before = channels
        self.blocks = nn.Sequential(*made)
        self.head = nn.Linear(channels, features)

    def forward(self, x: Float[Tensor, "batch order seen"]) -> Float[Tensor, "batch order features"]:
        """The next frame."""
        return self.head(self.blocks(x))

    def roll_out(self, x: Float[Tensor, "batch order seen"], steps: int) -> Float[Tensor, "batch steps order features"]:
        """The next frames, each from those before, predicted ones included.

        Args:
            x: the frames that are known.
            steps: how many frames.
        """
        return roll_out(self, x, steps)


def roll_out(
    model: Callable[[Tensor], Tensor], x: Float[Tensor, "batch order seen"], steps: int
) -> Float[Tensor, "batch steps order features"]:
    """The next frames by any model that gives one, each from those before, predicted ones included.

    Args:
        model: from `(batch, order, past * features)`, oldest frame first, to `(batch, order, features)`.
        x: the frames that are known.
        steps: how many frames, at least one.

    Example:
        >>> known = torch.tensor([[[1.0, 2.0, 3.0]]])
        >>> roll_out(lambda x: x[:, :, -1:] + x[:, :, -2:-1], known, 4).flatten()
        tensor([ 5.,  8., 13., 21.])
    """
    frames: list[Tensor] = []
    for _ in range(steps):
        frames.append(model(x))
        x = torch.cat([x[:, :, frames[-1].shape[2] :], frames[-1]], 2)
    return torch.stack(frames, 1)


class RollOut(nn.Module):
    """Any model that gives one frame, as one that gives many: :func:`roll_out` as a module.

    Shapes:
        `(batch, order, past * features)`, oldest frame first, to `(batch, steps, order, features)`.

    Symmetry:
        Equivariant under a group, if the model is.

    Args:
        model: from `(batch, order, past * features)` to `(batch, order, features)`.
        steps: how many frames it gives where none are asked for, at least one.

    Raises:
        GroupError: for fewer than one frame.

    Example:
        >>> model = RollOut(nn.Linear(3, 1, bias=False), steps=20)
        >>> model(torch.randn(2, 5, 3)).shape, model(torch.randn(2, 5, 3), 6).shape
        (torch.Size([2, 20, 5, 1]), torch.Size([2, 6, 5, 1]))
    """

    def __init__(self, model: nn.Module, steps: int):
        super().__init__()
        if steps < 1:
            raise GroupError(f"{steps} frames: expected at least one")
        self.model, self.steps = model, steps

    def forward(
        self, x: Float[Tensor, "batch order seen"], steps: int | None = None
    ) -> Float[Tensor, "batch steps order features"]:
        """The next frames, `steps` of them where that is given."""
        return roll_out(self.model, x, self.steps if steps is None else steps)


class GainConv(nn.Module):
    r"""Convolution with a gain for each element: :math:`y(h) = e(h) \sum_g \hat w_g\, s(h g^{-1})`, plus a bias.

    The published layer for dynamics, of displacement rank 1: `s` is the sum of all channels, each filter is divided by
    its length, and so is the gain `e`, one number per element for all channels. It starts with random signs, far from
    equivariant; for new work take `ModulatedGroupConv`.

    Shapes:
        `(batch, order, channels_in)` to `(batch, order, channels_out)`.

    Symmetry:
        Commutes with the group if and only if the gain is constant.

    Args:
        group: the group.
        channels_in: channels that go in.
        channels_out: channels that come out.
        support: the elements that filters have weights for; all if left out.

    Example:
        >>> from weightspace.groups import dihedral
        >>> GainConv(dihedral(4), 2, 3)(torch.randn(5, 8, 2)).shape
        torch.Size([5, 8, 3])
    """

    def __init__(self, group: Group, channels_in: int, channels_out: int, support: Int[Tensor, " taps"] | None = None):
        super().__init__()
        self.conv = GroupConv(group, channels_in, channels_out, support, mixing=Mixing.SUMMED)
        self.gain = nn.Parameter(torch.empty(group.order).uniform_(-1, 1).mul((6 / group.order) ** 0.5))

    def forward(self, x: Float[Tensor, "batch order channels_in"]) -> Float[Tensor, "batch order channels_out"]:
        """Signals on the group."""
        weight = nn.functional.normalize(self.conv.weight, dim=0)
        gain = nn.functional.normalize(self.gain, dim=0)
        y = self.conv.convolution(x.sum(2, keepdim=True), weight)
        return gain[:, None] * y + self.conv.bias


def _check_blocks(blocks: int) -> None:
    if blocks < 1:
        raise GroupError(f"{blocks} blocks: expected at least one")
