"""Convolution layers that may leave symmetry behind: exact at the start, and as far from it as data ask for."""

from abc import ABC, abstractmethod
from enum import StrEnum

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from weightspace.errors import GroupError
from weightspace.groups import DirectProduct, Group
from weightspace.matrices.conv import GroupConv, Mixing
from weightspace.matrices.displacement import LowRankGroupMatrix, ModulatedGroupMatrix

__all__ = ["LowRankGroupConv", "ModulatedGroupConv", "Positions", "RelaxedConv", "asymmetry", "penalty"]


class Positions(StrEnum):
    """Which weights of positions there are.

    * `FULL`: one for each element of the group.
    * `AXES`: sums of one weight per element of each factor of a direct product. On a plane, rows plus columns: 128
      numbers instead of 4,096 for 64 by 64.
    """

    FULL = "full"
    AXES = "axes"


class RelaxedConv(nn.Module, ABC):
    """A convolution that need not be equivariant, and knows by how much it is not."""

    @abstractmethod
    def matrix(self) -> ModulatedGroupMatrix | LowRankGroupMatrix:
        """The layer without its bias."""


class PositionWeights(nn.Module):
    """Numbers for every rank and element of a group, all zero at first."""

    def __init__(self, group: Group, rank: int, kind: Positions):
        super().__init__()
        if kind == Positions.AXES and not isinstance(group, DirectProduct):
            raise GroupError(f"positions along axes need a direct product of groups, not {group!r}: use 'full'")
        factors = group.factors if kind == Positions.AXES and isinstance(group, DirectProduct) else (group,)
        self.axes = nn.ParameterList(torch.zeros(rank, factor.order) for factor in factors)

    def forward(self) -> Float[Tensor, "rank order"]:
        """The weights of all elements."""
        first, *rest = self.axes
        total: Tensor = first
        for axis in rest:
            total = (total[:, :, None] + axis[:, None, :]).flatten(1)
        return total


class ModulatedGroupConv(RelaxedConv):
    r"""Convolution whose weights change with the position: :math:`y = B x + \sum_{i=1}^r v_i \odot U_i x`, plus a bias.

    `B` and all `U_i` are convolutions on the group, so the layer is any matrix of displacement rank at most `r`, which
    is also called a relaxed group convolution with `r + 1` filter banks. Position weights `v` start at zero, and the
    layer as a :class:`GroupConv`.

    Shapes:
        `(batch, order, channels_in)` to `(batch, order, channels_out)`.

    Symmetry:
        Commutes with the group if and only if all `v` are constant, up to banks that cancel; `matrix()` measures how
        far it is from that.

    Args:
        group: the group.
        channels_in: channels that go in.
        channels_out: channels that come out.
        support: the elements that have weights; all if left out.
        rank: how many banks are modulated.
        positions: which weights of positions there are.
        mixing: how channels mix, in every bank.

    Raises:
        GroupError: for a negative rank, positions along axes of what is no product, or what `GroupConv` refuses.

    Example:
        >>> from weightspace.groups import box, cyclic, direct_product
        >>> torus = direct_product(cyclic(8), cyclic(8))
        >>> conv = ModulatedGroupConv(torus, 3, 16, box(torus, 1), rank=2, positions=Positions.AXES)
        >>> conv(torch.randn(5, 64, 3)).shape, asymmetry(conv)
        (torch.Size([5, 64, 16]), {'': 0.0})

    References:
        R. Wang, R. Walters, R. Yu: "Approximately Equivariant Networks for Imperfectly Symmetric Dynamics", ICML 2022.
        A. Samudre, M. Petrache, B. D. Nord, S. Trivedi: "Symmetry-Based Structured Matrices for Efficient Approximately
        Equivariant Networks", AISTATS 2025.
    """

    def __init__(
        self,
        group: Group,
        channels_in: int,
        channels_out: int,
        support: Int[Tensor, " taps"] | None = None,
        *,
        rank: int = 1,
        positions: Positions = Positions.FULL,
        mixing: Mixing = Mixing.FULL,
    ):
        super().__init__()
        if rank < 0:
            raise GroupError(f"a rank of {rank}: expected 0 or more")
        self.rank, self.channels_out = rank, channels_out
        # All banks are one convolution.
        self.banks = GroupConv(group, channels_in, (1 + rank) * channels_out, support, mixing=mixing, bias=False)
        self.positions = PositionWeights(group, rank, Positions(positions))
        self.bias = nn.Parameter(torch.zeros(channels_out))

    def extra_repr(self) -> str:
        """The rank."""
        return f"rank={self.rank}"

    def forward(self, x: Float[Tensor, "batch order channels_in"]) -> Float[Tensor, "batch order channels_out"]:
        """Signals on the group."""
        found = self.banks(x).unflatten(2, (1 + self.rank, self.channels_out))
        varied = torch.einsum("rh,bhro->bho", self.positions(), found[:, :, 1:])
        return found[:, :, 0] + varied + self.bias

    def matrix(self) -> ModulatedGroupMatrix:
        """The layer without its bias."""
        whole = self.banks.matrix()
        base, *banks = whole.coefficients.unflatten(1, (1 + self.rank, self.channels_out)).unbind(1)
        empty = base.new_zeros(0, *base.shape)
        kernel = type(whole)(whole.group, base, whole.support)
        return ModulatedGroupMatrix(kernel, torch.stack(banks) if banks else empty, self.positions())


class LowRankGroupConv(RelaxedConv):
    r"""Convolution plus a map of low rank: :math:`y = B x + L R^\top x`, plus a bias.

    Its Sylvester displacement rank is at most :math:`2r`. `L` starts at zero, and the layer as a :class:`GroupConv`.
    It has `rank * order * (channels_in + channels_out)` parameters more.

    Shapes:
        `(batch, order, channels_in)` to `(batch, order, channels_out)`.

    Symmetry:
        Commutes with the group as long as :math:`L R^\top` does; `matrix()` measures how far it is from that.

    Args:
        group: the group.
        channels_in: channels that go in.
        channels_out: channels that come out.
        support: the elements that have weights; all if left out.
        rank: the rank of what is added.
        mixing: how channels mix in the convolution.

    Raises:
        GroupError: for a negative rank, or what `GroupConv` refuses.

    Example:
        >>> from weightspace.groups import dihedral
        >>> conv = LowRankGroupConv(dihedral(4), 2, 3, rank=1)
        >>> conv(torch.randn(5, 8, 2)).shape, conv.matrix().to_dense().shape
        (torch.Size([5, 8, 3]), torch.Size([24, 16]))
    """

    def __init__(
        self,
        group: Group,
        channels_in: int,
        channels_out: int,
        support: Int[Tensor, " taps"] | None = None,
        *,
        rank: int = 1,
        mixing: Mixing = Mixing.FULL,
    ):
        super().__init__()
        if rank < 0:
            raise GroupError(f"a rank of {rank}: expected 0 or more")
        self.conv = GroupConv(group, channels_in, channels_out, support, mixing=mixing)
        rows = group.order * channels_in
        self.left = nn.Parameter(torch.zeros(group.order * channels_out, rank))
        self.right = nn.Parameter(torch.randn(rows, rank) * rows**-0.5)

    def extra_repr(self) -> str:
        """The rank."""
        return f"rank={self.left.shape[1]}"

    def forward(self, x: Float[Tensor, "batch order channels_in"]) -> Float[Tensor, "batch order channels_out"]:
        """Signals on the group."""
        y: Tensor = self.conv(x)
        return y + (x.flatten(1) @ self.right @ self.left.T).unflatten(1, y.shape[1:])

    def matrix(self) -> LowRankGroupMatrix:
        """The layer without its bias."""
        return LowRankGroupMatrix(self.conv.matrix(), self.left, self.right)


def penalty(model: nn.Module) -> Float[Tensor, ""]:
    r"""The sum over all relaxed layers of their square distances from equivariance, to add to a loss.

    The distance :math:`d` of a layer bounds its error of equivariance, :math:`d \le E \le 2d`
    (:func:`weightspace.matrices.distance`). Its square has gradients everywhere; they vanish where the layer is exact.

    Example:
        >>> from weightspace.groups import cyclic
        >>> conv = ModulatedGroupConv(cyclic(4), 1, 1)
        >>> _ = torch.nn.init.normal_(conv.positions.axes[0])
        >>> bool(penalty(torch.nn.Sequential(conv, torch.nn.ReLU())) > 0)
        True
    """
    found = [layer.matrix().square_distance() for layer in model.modules() if isinstance(layer, RelaxedConv)]
    return torch.stack(found).sum() if found else torch.zeros(())


@torch.no_grad()
def asymmetry(model: nn.Module) -> dict[str, float]:
    r"""For each relaxed layer the share of it that is not equivariant: :math:`d(M) / \|M\|`, from 0 to 1.

    Example:
        >>> from weightspace.groups import cyclic
        >>> asymmetry(torch.nn.Sequential(ModulatedGroupConv(cyclic(4), 1, 1), torch.nn.ReLU()))
        {'0': 0.0}
    """
    shares = {}
    for name, layer in model.named_modules():
        if isinstance(layer, RelaxedConv):
            matrix = layer.matrix()
            near = matrix.projection()
            away = float(matrix.square_distance())
            whole = away + near.group.order * float(near.coefficients.square().sum())
            shares[name] = (away / whole) ** 0.5 if whole else 0.0
    return shares
