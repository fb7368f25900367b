"""A U-Net on a group: down to smaller and smaller subgroups, and up again."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightspace.errors import GroupError
from weightspace.groups import Group, Subgroup, box
from weightspace.matrices.conv import GroupConv
from weightspace.matrices.gmcnn import Conv, GroupBlock
from weightspace.matrices.pool import GroupPool, GroupUnpool, Pooling

__all__ = ["GroupUNet"]


class GroupUNet(nn.Module):
    r"""Fields to fields over several scales: convolutions and pooling down a chain of subgroups, and the way back.

    On every group of the chain two residual blocks, one on the way down and one on the way up, where what comes up is
    the adjoint of pooling and stands beside what went down there. Channels double from each group to the next.

    Shapes:
        `(batch, order, channels_in)` to `(batch, order, channels_out)`, on the first group.

    Symmetry:
        Equivariant under the last subgroup, if convolutions commute with their groups.

    Args:
        chain: a group, a subgroup of it, a subgroup of that, ...
        channels_in: channels that go in.
        channels_out: channels that come out.
        radius: of the filters, boxes along the axes of each group.
        channels: channels on the first group.
        conv: makes each convolution, as for :class:`weightspace.matrices.GMCNN`.
        mode: how windows are pooled.

    Raises:
        GroupError: for an empty chain, or a member that is no subgroup of the one before.

    Example:
        >>> from weightspace.groups import cyclic, direct_product, subgroup
        >>> plane = direct_product(cyclic(16), cyclic(16))
        >>> half = subgroup(plane, [2, 32])
        >>> net = GroupUNet([plane, half, subgroup(half, [2, 16])], 2, 1, channels=8)
        >>> net(torch.randn(3, 256, 2)).shape
        torch.Size([3, 256, 1])

    References:
        O. Ronneberger, P. Fischer, T. Brox: "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015.
    """

    def __init__(
        self,
        chain: Sequence[Group],
        channels_in: int,
        channels_out: int,
        radius: int = 1,
        *,
        channels: int = 32,
        conv: Conv = GroupConv,
        mode: Pooling = Pooling.MEAN,
    ):
        super().__init__()
        steps = _steps(chain)

        def block(group: Group, before: int, after: int) -> GroupBlock:
            return GroupBlock(conv(group, before, after, box(group, radius)), before, after, nn.PReLU())

        widths = [channels << depth for depth in range(len(chain))]
        self.down = nn.ModuleList(map(block, chain, [channels_in, *widths[:-1]], widths))
        self.pools = nn.ModuleList(GroupPool(step, mode) for step in steps)
        self.unpools = nn.ModuleList(GroupUnpool(step) for step in steps)
        sums = [here + below for here, below in zip(widths, widths[1:], strict=False)]
        self.up = nn.ModuleList(map(block, chain[:-1], sums, widths))
        self.head = nn.Linear(channels, channels_out)

    def forward(self, x: Float[Tensor, "batch order channels_in"]) -> Float[Tensor, "batch order channels_out"]:
        """Fields on the first group."""
        kept = []
        for block, pool in zip(self.down, self.pools, strict=False):
            kept.append(block(x))
            x = pool(kept[-1])
        x = self.down[-1](x)
        for block, unpool, beside in zip(reversed(self.up), reversed(self.unpools), reversed(kept), strict=True):
            x = block(torch.cat([beside, unpool(x)], 2))
        return self.head(x)


def _steps(chain: Sequence[Group]) -> list[Subgroup]:
    if not chain:
        raise GroupError("an empty chain of groups: expected a group, a subgroup of it, ...")
    steps = []
    for above, below in zip(chain, chain[1:], strict=False):
        if not isinstance(below, Subgroup) or below.parent != above:
            raise GroupError(f"{below!r} is no subgroup of {above!r}: make it by subgroup({above!r}, generators)")
        steps.append(below)
    return steps
