"""Relaxed convolutions: exact at the start, what they say of their distance is true, ranks are what they promise."""

import pytest
import torch
from tests.groups.rows import GROUPS
from torch import Tensor, nn

from weightspace.errors import GroupError
from weightspace.groups import Group, ball, box, cyclic, dihedral, direct_product
from weightspace.matrices import (
    Displacement,
    GroupConv,
    LowRankGroupConv,
    Mixing,
    ModulatedGroupConv,
    Norm,
    Positions,
    RelaxedConv,
    asymmetry,
    commutator_norm,
    displacement_rank,
    distance,
    penalty,
    project,
)

each = pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
PRODUCTS = {name: group for name, group in GROUPS.items() if hasattr(group, "factors")}


def layers(group: Group, channels: tuple[int, int] = (2, 3)) -> list[RelaxedConv]:
    taps = ball(group, 1)
    made: list[RelaxedConv] = [
        ModulatedGroupConv(group, *channels, taps, rank=2),
        ModulatedGroupConv(group, *channels, taps, rank=1, mixing=Mixing.SUMMED),
        ModulatedGroupConv(group, *channels, taps, rank=1, mixing=Mixing.SEPARABLE),
        LowRankGroupConv(group, *channels, taps, rank=2),
        LowRankGroupConv(group, *channels, taps, rank=1, mixing=Mixing.SEPARABLE),
    ]
    if group in PRODUCTS.values():
        made.append(ModulatedGroupConv(group, *channels, taps, rank=2, positions=Positions.AXES))
    return [layer.double() for layer in made]


def perturbed(layer: RelaxedConv) -> RelaxedConv:
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter))
    return layer


@torch.no_grad()
def error(layer: nn.Module, group: Group, x: Tensor) -> float:
    """The largest error of equivariance, element by element."""
    found = 0.0
    for k in range(group.order):
        left = group.multiply(group.inverse(k), group.elements)
        found = max(found, float((layer(x[:, left]) - layer(x)[:, left]).abs().max()))
    return found


@each
def test_they_start_exact_and_leave_when_asked(group: Group) -> None:
    x = torch.randn(2, group.order, 2, dtype=torch.float64)
    for layer in layers(group):
        assert error(layer, group, x) < 1e-12
        assert penalty(layer) == 0
        assert asymmetry(layer) == {"": 0.0}
        perturbed(layer)
        if group.order > 1:
            assert error(layer, group, x) > 1e-2
            assert asymmetry(layer)[""] > 1e-2


@each
def test_they_multiply_by_their_matrix(group: Group) -> None:
    x = torch.randn(2, group.order, 2, dtype=torch.float64)
    for layer in layers(group):
        perturbed(layer)
        bias = layer.conv.bias if isinstance(layer, LowRankGroupConv) else layer.bias
        for product in (layer.matrix() @ x.flatten(1).T, layer.matrix().to_dense() @ x.flatten(1).T):
            assert (product.T.unflatten(1, (group.order, 3)) + bias - layer(x)).abs().max() < 1e-10


@each
def test_distances_need_no_matrix(group: Group) -> None:
    """What is computed from banks and factors is the distance of the dense matrix, and bounds the error."""
    for layer in layers(group):
        matrix = perturbed(layer).matrix()
        dense = matrix.to_dense()
        away = distance(dense, group)
        assert abs(matrix.square_distance() - away.square()) <= 1e-9 * dense.square().sum()
        assert (matrix.projection().to_dense() - project(dense, group).to_dense()).abs().max() < 1e-10
        assert abs(asymmetry(layer)[""] - away / dense.norm()) < 1e-6
        worst = commutator_norm(dense, group, Norm.FROBENIUS)
        assert away <= worst + 1e-9
        assert worst <= 2 * away + 1e-9


@each
def test_ranks(group: Group) -> None:
    modulated, _, _, low, *_ = (perturbed(layer).matrix().to_dense() for layer in layers(group))
    assert displacement_rank(modulated, group) == min(2, group.order - 1)
    assert displacement_rank(low, group, Displacement.SYLVESTER) <= 4


def test_constant_positions_are_equivariant() -> None:
    """And nothing but what changes from element to element counts as a distance."""
    group = direct_product(dihedral(3), cyclic(4))
    conv = ModulatedGroupConv(group, 2, 3, box(group, 1), positions=Positions.AXES).double()
    with torch.no_grad():
        for axis in conv.positions.axes:
            axis.fill_(3.0)
    x = torch.randn(2, group.order, 2, dtype=torch.float64)
    assert error(conv, group, x) < 1e-12
    assert penalty(conv) < 1e-20
    with torch.no_grad():
        conv.positions.axes[0][0, 0] += 1.0
    assert error(conv, group, x) > 0.1


def test_positions_along_axes() -> None:
    group = direct_product(cyclic(3), cyclic(5))
    conv = ModulatedGroupConv(group, 1, 1, rank=2, positions=Positions.AXES)
    rows, columns = (torch.randn(2, 3), torch.randn(2, 5))
    with torch.no_grad():
        conv.positions.axes[0].copy_(rows)
        conv.positions.axes[1].copy_(columns)
    assert torch.allclose(conv.positions().unflatten(1, (3, 5)), rows[:, :, None] + columns[:, None, :])
    full = ModulatedGroupConv(group, 1, 1, rank=2)
    assert [sum(p.numel() for p in layer.positions.parameters()) for layer in (conv, full)] == [16, 30]


def test_rank_zero_is_a_convolution() -> None:
    group = dihedral(4)
    x = torch.randn(2, 8, 2)
    modulated = ModulatedGroupConv(group, 2, 3, rank=0)
    plain = GroupConv(group, 2, 3)
    with torch.no_grad():
        plain.weight.copy_(modulated.banks.weight)
        plain.bias.zero_()
    assert torch.allclose(modulated(x), plain(x), atol=1e-6)
    assert modulated.matrix().to_dense().shape == (24, 16)
    assert (penalty(LowRankGroupConv(group, 2, 3, rank=0))) == 0


def test_penalty_trains_back_to_symmetry() -> None:
    """Its gradient is finite where it is zero, and leads there from elsewhere."""
    group = cyclic(6)
    net = nn.Sequential(ModulatedGroupConv(group, 1, 2), nn.ReLU(), LowRankGroupConv(group, 2, 1))
    penalty(net).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())
    for layer in net:
        if isinstance(layer, RelaxedConv):
            perturbed(layer)
    optimiser = torch.optim.Adam(net.parameters(), 0.05)
    before = float(penalty(net).detach())
    for _ in range(300):
        optimiser.zero_grad()
        penalty(net).backward()
        optimiser.step()
    assert float(penalty(net).detach()) < 1e-3 * before
    assert penalty(nn.ReLU()) == 0


@pytest.mark.parametrize("name", ["dihedral", "torus"])
def test_gradients(name: str) -> None:
    group = GROUPS[name]
    x = torch.randn(1, group.order, 2, dtype=torch.float64)
    for layer in layers(group):
        perturbed(layer)
        names, values = zip(*layer.named_parameters(), strict=True)

        def loss(*given: Tensor, layer: nn.Module = layer, names: tuple[str, ...] = names) -> Tensor:
            state = dict(zip(names, given, strict=True))
            return torch.func.functional_call(layer, state, (x,)).square().sum()

        assert torch.autograd.gradcheck(loss, tuple(v.detach().requires_grad_() for v in values))


def test_refusals() -> None:
    with pytest.raises(GroupError, match="rank of -1"):
        ModulatedGroupConv(cyclic(3), 1, 1, rank=-1)
    with pytest.raises(GroupError, match="rank of -1"):
        LowRankGroupConv(cyclic(3), 1, 1, rank=-1)
    with pytest.raises(GroupError, match="direct product"):
        ModulatedGroupConv(dihedral(3), 1, 1, positions=Positions.AXES)
