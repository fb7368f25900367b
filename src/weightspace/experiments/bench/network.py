"""The networks that are compared on signals: pictures told apart, and flows continued, each of one plan.

Those of one task differ in their convolutions, or in the matrix of their hidden layer, and in nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn

from weightspace.errors import GroupError, TrainingError, unknown
from weightspace.groups import (
    DirectProduct,
    Group,
    SemidirectProduct,
    box,
    cyclic,
    dihedral,
    direct_product,
    p4,
    p4m,
    point_group,
    subgroup,
)
from weightspace.matrices import (
    GMCNN,
    CosetLift,
    GainConv,
    GMCNNDynamics,
    GroupConv,
    GroupUNet,
    LowDisplacementRank,
    Mixing,
    ModulatedGroupConv,
    Operators,
    Positions,
    RollOut,
)

__all__ = [
    "CLASSIFIERS",
    "FEATURES",
    "FORECASTERS",
    "HIDDEN_LAYER",
    "PAST",
    "PLAIN",
    "Banks",
    "Damped",
    "Flow",
    "Persistence",
    "Pictures",
    "ZeroPadded",
    "classifier",
    "forecaster",
    "plane",
    "size_of",
    "widest",
]

FEATURES, PAST = 2, 10
"""Components of a velocity, and frames of it that are seen."""


def plane(side: int) -> Group:
    """The translations of a periodic plane of so many rows and columns."""
    return direct_product(cyclic(side), cyclic(side))


def _sides(group: Group) -> list[int]:
    """Rows and columns of a plane."""
    if not isinstance(group, DirectProduct):
        raise GroupError(f"{group} is no plane: expected rows times columns, such as cyclic(8) times cyclic(8)")
    return [factor.order for factor in group.factors]


class ZeroPadded(nn.Module):
    """`Conv2d` with zeros beyond the border, between signals on a plane as :class:`GroupConv` has them.

    Args:
        group: rows times columns.
        channels_in: channels that go in.
        channels_out: channels that come out.
        support: of a convolution on the group, which is not looked at: filters are squares about the middle.
        reach: of the filters: 2 means 5 by 5.
        separable: a matrix of channels first, then a filter for each channel.

    Raises:
        GroupError: for a group that is no plane.
    """

    def __init__(
        self,
        group: Group,
        channels_in: int,
        channels_out: int,
        support: Tensor | None = None,
        *,
        reach: int = 1,
        separable: bool = False,
    ) -> None:
        super().__init__()
        self.sizes, width = _sides(group), 2 * reach + 1
        if separable:
            deep = nn.Conv2d(channels_out, channels_out, width, padding="same", groups=channels_out)
            self.conv: nn.Module = nn.Sequential(nn.Conv2d(channels_in, channels_out, 1, bias=False), deep)
        else:
            self.conv = nn.Conv2d(channels_in, channels_out, width, padding="same")

    def forward(self, x: Tensor) -> Tensor:
        """Signals `(batch, order, channels)` on the plane."""
        return self.conv(x.mT.unflatten(2, self.sizes)).flatten(2).mT


class Banks(nn.Module):
    """The relaxed convolution of Wang, Walters and Yu: filter banks weighed by the position, at first all alike.

    Args:
        group: the group.
        channels_in: channels that go in.
        channels_out: channels that come out.
        support: the elements that filters have weights for.
        banks: how many.
    """

    def __init__(
        self, group: Group, channels_in: int, channels_out: int, support: Tensor | None, banks: int = 2
    ) -> None:
        super().__init__()
        self.conv = GroupConv(group, channels_in, banks * channels_out, support)
        self.weights = nn.Parameter(torch.full((banks, group.order), 1 / banks))

    def forward(self, x: Tensor) -> Tensor:
        """Signals `(batch, order, channels)` on the group."""
        found = self.conv(x).unflatten(2, (len(self.weights), -1))
        return torch.einsum("rh,bhro->bho", self.weights, found)


# Pictures told apart.


@dataclass(frozen=True)
class Pictures:
    """What all networks that tell pictures apart are made for, and what they share.

    Args:
        side: pixels per side.
        outputs: classes.
        budget: parameters that a network may have, those of the last map included.
        reach: of filters: 2 means 5 by 5.
        blocks: of convolutions.
        dropout: before the last map.
    """

    side: int
    outputs: int
    budget: int = 4_000
    reach: int = 2
    blocks: int = 2
    dropout: float = 0.0


class OnGroup(nn.Module):
    """A picture as a signal on a group, and a network on it."""

    def __init__(self, network: nn.Module, lift: nn.Module | None = None) -> None:
        super().__init__()
        self.lift, self.network = lift, network

    def forward(self, images: Tensor) -> Tensor:
        """Pictures `(batch, side, side)`."""
        x = images.flatten(1)[:, :, None]
        return self.network(x if self.lift is None else self.lift(x))


class SingleHiddenLayer(nn.Module):
    """A matrix, a bias, ReLU, a linear map."""

    def __init__(self, matrix: nn.Module, hidden: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.matrix, self.bias = matrix, nn.Parameter(torch.zeros(hidden))
        self.dropout, self.head = nn.Dropout(dropout), nn.Linear(hidden, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Pictures `(batch, side, side)`."""
        return self.head(self.dropout((self.matrix(images.flatten(1)) + self.bias).relu()))


def _on_group(make: Callable[[int], Group], conv: Callable[..., nn.Module], pictures: Pictures, width: int) -> OnGroup:
    """A GM-CNN on a group made from the number of pixels per side; pixels are cosets of what fixes the first one."""
    group = make(pictures.side)
    support = box(group, pictures.reach)
    network = GMCNN(
        group,
        1,
        pictures.outputs,
        support,
        channels=width,
        blocks=pictures.blocks,
        conv=conv,
        dropout=pictures.dropout,
    )
    return OnGroup(network, CosetLift(point_group(group)) if isinstance(group, SemidirectProduct) else None)


def _plain(pictures: Pictures, width: int, *, separable: bool = False) -> nn.Module:
    """The same with `Conv2d` in place of the group's convolution."""
    return _on_group(plane, partial(ZeroPadded, reach=pictures.reach, separable=separable), pictures, width)


def _structured(operators: Operators, pictures: Pictures, rank: int) -> nn.Module:
    size = pictures.side**2
    return SingleHiddenLayer(LowDisplacementRank(size, rank, operators), size, pictures.outputs, pictures.dropout)


def _unstructured(pictures: Pictures, hidden: int) -> nn.Module:
    matrix = nn.Linear(pictures.side**2, hidden, bias=False)
    return SingleHiddenLayer(matrix, hidden, pictures.outputs, pictures.dropout)


def _mirrored(side: int) -> Group:
    return direct_product(dihedral(side // 2), dihedral(side // 2))


_SUMMED, _SEPARABLE = (partial(GroupConv, mixing=mixing) for mixing in (Mixing.SUMMED, Mixing.SEPARABLE))
_AXES, _FULL = (partial(ModulatedGroupConv, rank=1, positions=where) for where in (Positions.AXES, Positions.FULL))
PLAIN = "plain CNN"
CLASSIFIERS: dict[str, Callable[[Pictures, int], nn.Module]] = {
    PLAIN: _plain,
    "depthwise-separable CNN": partial(_plain, separable=True),
    "GM-CNN, summed": partial(_on_group, plane, _SUMMED),
    "GM-CNN, separable": partial(_on_group, plane, _SEPARABLE),
    "GM-CNN, full": partial(_on_group, plane, GroupConv),
    "displacement rank 1, axes": partial(_on_group, plane, _AXES),
    "displacement rank 1, positions": partial(_on_group, plane, _FULL),
    "per-axis dihedral, summed": partial(_on_group, _mirrored, _SUMMED),
    "p4": partial(_on_group, p4, GroupConv),
    "p4m": partial(_on_group, p4m, GroupConv),
    "LDR-SD": partial(_structured, Operators.SUBDIAGONAL),
    "LDR-TD": partial(_structured, Operators.TRIDIAGONAL),
    "Toeplitz-like": partial(_structured, Operators.SHIFT),
    "unstructured": _unstructured,
}
"""By name what makes a network of a width, which is a number of channels, a rank, or units of the hidden layer."""
HIDDEN_LAYER = ("LDR-SD", "LDR-TD", "Toeplitz-like", "unstructured")
"""Those that have one hidden layer and no convolution."""


def size_of(model: nn.Module) -> int:
    """Parameters of a model."""
    return sum(parameter.numel() for parameter in model.parameters())


@cache
def widest(kind: str, pictures: Pictures, budget: int) -> int:
    """The largest width, or rank, whose parameters fit into a budget; 0 if none does.

    Args:
        kind: one of `CLASSIFIERS`.
        pictures: what the network is for.
        budget: parameters, the last map's included.

    Example:
        >>> widest("plain CNN", Pictures(side=14, outputs=10), 5_000)
        13
    """
    build, low, high = partial(CLASSIFIERS[kind], pictures), 0, 1
    with torch.random.fork_rng(devices=[]):
        while size_of(build(high)) <= budget:
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if size_of(build(middle)) <= budget else (low, middle)
    return low


def classifier(pictures: Pictures, *, kind: str, times: float = 1.0) -> nn.Module:
    """The widest network of a kind that fits into the budget of parameters.

    Args:
        pictures: what it is for.
        kind: one of `CLASSIFIERS`.
        times: so many times the budget.

    Raises:
        UnknownNameError: no such kind.
        TrainingError: a budget that is too small for any network of the kind.

    Example:
        >>> model = classifier(Pictures(side=14, outputs=10, budget=5_000), kind="GM-CNN, summed")
        >>> model(torch.randn(3, 14, 14)).shape, size_of(model)
        (torch.Size([3, 10]), 4939)
    """
    if kind not in CLASSIFIERS:
        raise unknown("network for pictures", kind, CLASSIFIERS)
    budget = round(times * pictures.budget)
    width = widest(kind, pictures, budget)
    if not width:
        least = size_of(CLASSIFIERS[kind](pictures, 1))
        raise TrainingError(f"{kind} has {least:,} parameters at least: a budget of {budget:,} is too small for it.")
    return CLASSIFIERS[kind](pictures, width)


# Flows continued.


@dataclass(frozen=True)
class Flow:
    """What all networks that continue a flow are made for, and what they share.

    Args:
        side: cells per side of the periodic plane.
        frames: that come where none are asked for.
        channels: of the blocks.
    """

    side: int
    frames: int
    channels: int = 16


class Persistence(nn.Module):
    """The last frame again: what every model has to beat."""

    def forward(self, x: Tensor) -> Tensor:
        """Frames `(batch, order, past * features)`."""
        return x[:, :, -FEATURES:]


class Damped(nn.Module):
    """The last frame times a number that is learnt, at first one: persistence, or something better."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Frames `(batch, order, past * features)`."""
        return self.factor * x[:, :, -FEATURES:]


def _of_blocks(conv: Callable[..., nn.Module], group: Group, channels: int) -> nn.Module:
    return GMCNNDynamics(group, FEATURES, PAST, box(group, 1), channels=channels, conv=conv)


def _unet(group: Group, channels: int) -> nn.Module:
    """A U-Net on the plane and two subgroups of it, of half and a quarter of its resolution."""
    side = _sides(group)[0]
    half = subgroup(group, [2, 2 * side])
    quarter = subgroup(half, [half.number(4), half.number(4 * side)])
    return GroupUNet([group, half, quarter], FEATURES * PAST, FEATURES, channels=channels)


_relaxed = partial(ModulatedGroupConv, positions=Positions.AXES)
FORECASTERS: dict[str, Callable[[Group, int], nn.Module]] = {
    "persistence": lambda group, channels: Persistence(),
    "persistence, damped": lambda group, channels: Damped(),
    "CNN, zeros beyond the border": partial(_of_blocks, ZeroPadded),
    "GM-CNN, rank 0": partial(_of_blocks, GroupConv),
    "GM-CNN, rank 1": partial(_of_blocks, partial(_relaxed, rank=1)),
    "GM-CNN, rank 2": partial(_of_blocks, partial(_relaxed, rank=2)),
    "GM-CNN, rank 1, a weight per element": partial(_of_blocks, partial(ModulatedGroupConv, rank=1)),
    "relaxed group convolution": partial(_of_blocks, Banks),
    "published GM-CNN": partial(_of_blocks, GainConv),
    "group U-Net": _unet,
}
"""By name what makes a network of the next frame on a plane, with so many channels."""


def forecaster(flow: Flow, *, kind: str) -> nn.Module:
    """A network of a kind that continues a flow frame by frame.

    Args:
        flow: what it is for.
        kind: one of `FORECASTERS`.

    Raises:
        UnknownNameError: no such kind.
        GroupError: a side that the kind cannot deal with.

    Example:
        >>> model = forecaster(Flow(side=8, frames=20, channels=4), kind="GM-CNN, rank 1")
        >>> model(torch.randn(3, 64, 20)).shape, model(torch.randn(3, 64, 20), 6).shape
        (torch.Size([3, 20, 64, 2]), torch.Size([3, 6, 64, 2]))
    """
    if kind not in FORECASTERS:
        raise unknown("network for flows", kind, FORECASTERS)
    if FORECASTERS[kind] is _unet and (flow.side % 4 or flow.side < 8):
        raise GroupError(f"{flow.side} cells per side: {kind} halves them twice. Choose a multiple of 4 from 8 on.")
    return RollOut(FORECASTERS[kind](plane(flow.side), flow.channels), flow.frames)
