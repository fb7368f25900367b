"""GM-CNN: published sizes and layers, and what follows the group."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from weightspace.errors import GroupError, WeightspaceError
from weightspace.groups import Group, box, cyclic, dihedral, direct_product, quotient, regular, subgroup
from weightspace.matrices import (
    GMCNN,
    CosetPool,
    GainConv,
    GMCNNDynamics,
    GroupConv,
    GroupUNet,
    LowRankGroupConv,
    Mixing,
    ModulatedGroupConv,
)
from weightspace.testing import signal_error

GROUPS = {
    "plane": direct_product(cyclic(6), cyclic(5)),
    "dihedral plane": direct_product(dihedral(3), dihedral(2)),
    "dihedral": dihedral(5),
}
CONVS: dict[str, Callable[..., nn.Module]] = {
    "full": GroupConv,
    "separable": partial(GroupConv, mixing=Mixing.SEPARABLE),
    "summed": partial(GroupConv, mixing=Mixing.SUMMED),
    "modulated": partial(ModulatedGroupConv, rank=2),
    "low rank": LowRankGroupConv,
}
groups = pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
convs = pytest.mark.parametrize("conv", CONVS.values(), ids=CONVS)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def moved(x: Tensor, group: Group, k: int) -> Tensor:
    return x[:, group.multiply(group.inverse(k), group.elements)]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("cifar10", 13_691),
        ("mnist-bg-rot", 25_691),
        ("mnist-noise", 13_451),
        ("rectangles", 12_483),
        ("rot-mnist", 48_731),
        ("smallnorb", 12_725),
        ("norb", 12_967),
    ],
)
def test_published_classifiers_have_their_size(name: str, parameters: int) -> None:
    model = GMCNN.published(name)
    assert count(model) == parameters
    assert count(GMCNN.published(name, Mixing.FULL)) > 10 * parameters


@pytest.mark.parametrize(("reach", "parameters"), [(1, 24_454), (2, 32_646)])
def test_published_dynamics_have_their_size(reach: int, parameters: int) -> None:
    plane = direct_product(cyclic(64), cyclic(64))
    assert count(GMCNNDynamics(plane, 2, 10, box(plane, reach), channels=128, conv=GainConv)) == parameters


def published_layer(x: Tensor, weight: Tensor, bias: Tensor, gain: Tensor | None, index: Tensor) -> Tensor:
    """The published computation: channels first, neighbours gathered, one contraction over channels and taps."""
    near = x[:, :, index]  # (batch, channels, taps, order)
    if gain is None:
        return torch.einsum("ok,bckh->boh", weight, near) + bias[:, None]
    unit = weight / weight.norm(dim=1, keepdim=True)
    return gain / gain.norm() * torch.einsum("ok,bckh->boh", unit, near) + bias[:, None]


@groups
def test_published_layers_from_the_same_weights(group: Group) -> None:
    taps = box(group, 1)
    index = group.multiply(group.elements[None], group.inverse(taps)[:, None])
    x = torch.randn(3, group.order, 4, dtype=torch.float64)
    plain = GroupConv(group, 4, 6, taps, mixing=Mixing.SUMMED).double()
    expected = published_layer(x.mT, plain.weight[:, :, 0].T, plain.bias, None, index).mT
    assert (plain(x) - expected).abs().max() < 1e-12
    gained = GainConv(group, 4, 6, taps).double()
    weight, bias = gained.conv.weight[:, :, 0].T, gained.conv.bias
    assert (gained(x) - published_layer(x.mT, weight, bias, gained.gain, index).mT).abs().max() < 1e-12


def test_the_published_layer_sees_sums_of_channels_alone() -> None:
    """What the corrected form has in addition: telling one channel from another."""
    group = GROUPS["plane"]
    x = torch.randn(2, group.order, 3)
    for mixing, blind in ((Mixing.SUMMED, True), (Mixing.SEPARABLE, False), (Mixing.FULL, False)):
        conv = GroupConv(group, 3, 4, box(group, 1), mixing=mixing)
        assert torch.allclose(conv(x), conv(x[:, :, [1, 2, 0]]), atol=1e-5) == blind


@groups
@convs
def test_classifiers_are_invariant(group: Group, conv: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    model = GMCNN(group, 2, 3, box(group, 1), channels=5, conv=conv, dropout=0.5).double().eval()
    x = torch.randn(2, group.order, 2, dtype=torch.float64)
    for k in range(group.order):
        assert (model(moved(x, group, k)) - model(x)).abs().max() < 1e-11


@groups
@convs
def test_dynamics_are_equivariant(group: Group, conv: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    model = GMCNNDynamics(group, 2, 3, box(group, 1), channels=5, blocks=2, conv=conv).double()
    x = torch.randn(2, group.order, 6, dtype=torch.float64)
    out = model.roll_out(x, 4)
    for k in range(group.order):
        change = model.roll_out(moved(x, group, k), 4) - moved(out.movedim(1, 3), group, k).movedim(3, 1)
        assert change.abs().max() < 1e-9 * out.abs().max()


def test_symmetry_is_gone_where_positions_differ() -> None:
    group = GROUPS["dihedral"]
    torch.manual_seed(0)
    x = torch.randn(2, group.order, 2)
    model = GMCNN(group, 2, 3, conv=ModulatedGroupConv)
    with torch.no_grad():
        model.blocks[0].conv.positions.axes[0].normal_()
    assert (model(moved(x, group, 1)) - model(x)).abs().max() > 1e-3
    gained = GMCNNDynamics(group, 2, 1, conv=GainConv)
    assert (gained(moved(x, group, 1)) - moved(gained(x), group, 1)).abs().max() > 1e-3


def test_roll_out_feeds_back() -> None:
    group = cyclic(4)
    model = GMCNNDynamics(group, 2, 3, channels=4, blocks=1).double()
    x = torch.randn(2, 4, 6, dtype=torch.float64)
    first = model(x)
    second = model(torch.cat([x[:, :, 2:], first], 2))
    assert torch.equal(model.roll_out(x, 2), torch.stack([first, second], 1))


def test_refusals() -> None:
    with pytest.raises(WeightspaceError, match="did you mean .cifar10."):
        GMCNN.published("cifar")
    with pytest.raises(GroupError, match="0 blocks"):
        GMCNN(cyclic(3), 1, 1, blocks=0)
    with pytest.raises(GroupError, match="0 past frames"):
        GMCNNDynamics(cyclic(3), 1, 0)


def chain() -> list[Group]:
    plane = direct_product(dihedral(4), cyclic(8))
    half = subgroup(plane, [2 * 8, 4 * 8, 2])
    return [plane, half, subgroup(half, [half.number(4 * 8), half.number(4)])]


@convs
def test_u_nets_follow_the_last_subgroup(conv: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    groups = chain()
    net = GroupUNet(groups, 2, 3, channels=4, conv=conv).double()
    plane, half, last = groups
    x = torch.randn(2, plane.order, 2, dtype=torch.float64)
    act = regular(plane)
    follows = [int(half.inclusion[k]) for k in last.inclusion]
    out = net(x).detach()
    errors = {
        k: float((net(moved(x, plane, k)).detach() - moved(out, plane, k)).abs().max()) for k in (*follows, 1, 16)
    }
    assert all(errors[k] < 1e-11 for k in follows)
    # Not under what pooling threw away.
    assert max(errors.values()) > 1e-3
    assert signal_error(net, x, act, act, elements=8) > 1e-3


def test_u_nets_on_one_group_and_refusals() -> None:
    group = dihedral(4)
    assert GroupUNet([group], 2, 3)(torch.randn(2, 8, 2)).shape == (2, 8, 3)
    with pytest.raises(GroupError, match="empty chain"):
        GroupUNet([], 1, 1)
    with pytest.raises(GroupError, match="is no subgroup of dihedral\\(4\\)"):
        GroupUNet([group, cyclic(4)], 1, 1)


def test_signal_error_tells_laws_from_faults() -> None:
    group = dihedral(4)
    act, corners = regular(group), quotient(subgroup(group, [4]))
    x = torch.randn(2, 8, 1, dtype=torch.float64)
    conv, pool = GroupConv(group, 1, 2).double(), CosetPool(subgroup(group, [4]))
    assert signal_error(conv, x, act, act) < 1e-14
    assert signal_error(pool, x, act, corners) == 0
    assert signal_error(lambda x: conv(x).sum(1), x, act) < 1e-14
    assert signal_error(conv, x, act) > 0.1
    assert signal_error(lambda x: conv(x)[:, group.multiply(group.elements, 4)], x, act, act) < 1e-14
    assert signal_error(lambda x: conv(x)[:, group.multiply(4, group.elements)], x, act, act) > 0.1
