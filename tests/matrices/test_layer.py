"""Convolution, pooling and lifting layers: their laws on every group, and what they are for squares of pixels."""

import pickle
from collections.abc import Callable

import pytest
import torch
from tests.groups.rows import GROUPS
from tests.oracles.group import diagonal, translation
from torch import Tensor, nn

from weightspace.errors import GroupError, ShapeError
from weightspace.groups import (
    Group,
    Subgroup,
    ball,
    box,
    cyclic,
    dihedral,
    direct_product,
    left_cosets,
    p4,
    p4m,
    point_group,
    quotient,
    right_cosets,
    subgroup,
    symmetric,
    turn_matrices,
)
from weightspace.matrices import (
    Convolution,
    CosetLift,
    CosetPool,
    GroupConv,
    GroupPool,
    GroupUnpool,
    Mixing,
    Plan,
    Pooling,
)

each = pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)
SUBGROUPS = {
    "even": subgroup(cyclic(6), [2]),
    "even turns": subgroup(dihedral(4), [2, 4]),
    "flip": subgroup(dihedral(5), [5]),
    "plane": subgroup(direct_product(cyclic(4), cyclic(6)), [2, 12]),
    "dihedral plane": subgroup(direct_product(dihedral(4), dihedral(4)), [2, 4, 2 * 8, 4 * 8]),
    "three letters": subgroup(symmetric(4), symmetric(4).number(torch.tensor([[1, 0, 2, 3], [0, 2, 1, 3]])).tolist()),
    "turns": point_group(p4(3)),
    "whole": subgroup(cyclic(4), [1]),
    "trivial": subgroup(dihedral(3), []),
}
subgroups = pytest.mark.parametrize("held", SUBGROUPS.values(), ids=SUBGROUPS)


def moved(x: Tensor, group: Group, k: int) -> Tensor:
    return x[:, group.multiply(group.inverse(k), group.elements)]


def signals(group: Group, channels: int = 2) -> Tensor:
    return torch.randn(3, group.order, channels, dtype=torch.float64)


@each
@pytest.mark.parametrize("mixing", Mixing)
def test_convolutions_commute_from_the_left(group: Group, mixing: Mixing) -> None:
    conv = GroupConv(group, 2, 3, box(group, 1), mixing=mixing).double()
    x = 1e6 * signals(group)
    out = conv(x)
    for k in range(group.order):
        assert (conv(moved(x, group, k)) - moved(out, group, k)).abs().max() <= 1e-10 * out.abs().max()


@each
@pytest.mark.parametrize("mixing", Mixing)
def test_convolutions_are_sums_of_group_diagonals(group: Group, mixing: Mixing) -> None:
    taps = ball(group, 1)
    conv = GroupConv(group, 2, 3, taps, mixing=mixing).double()
    x = signals(group)
    parts = zip(taps.tolist(), conv.kernel(), strict=True)
    expected = sum(torch.einsum("hk,bki,oi->bho", diagonal(group, g), x, w) for g, w in parts) + conv.bias
    assert (conv(x) - expected).abs().max() < 1e-12
    matrix = conv.matrix() @ x.flatten(1).T
    assert (matrix.T.unflatten(1, (group.order, 3)) + conv.bias - expected).abs().max() < 1e-12


def test_parameters_of_each_mixing() -> None:
    group = dihedral(5)
    count = {m: sum(p.numel() for p in GroupConv(group, 6, 7, box(group, 1), mixing=m).parameters()) for m in Mixing}
    taps = 6
    assert count == {
        Mixing.FULL: 7 * 6 * taps + 7,
        Mixing.SEPARABLE: 7 * (6 + taps) + 7,
        Mixing.SUMMED: 7 * taps + 7,
    }
    assert GroupConv(group, 6, 7, bias=False).bias is None


@subgroups
def test_strides_are_rows(held: Subgroup) -> None:
    """With a stride the answer is that of the whole convolution on the subgroup, however it is computed."""
    group = held.parent
    conv = GroupConv(group, 2, 3, stride=held).double()
    x = signals(group)
    expected = Convolution(group)(x, conv.weight, Plan.DENSE)[:, held.inclusion] + conv.bias
    assert (conv(x) - expected).abs().max() < 1e-12
    for plan in Plan:
        assert (conv.convolution(x, conv.weight, plan) + conv.bias - expected).abs().max() < 1e-12
    assert conv(x[:0]).shape == (0, held.order, 3)


@subgroups
def test_strides_commute_with_the_subgroup(held: Subgroup) -> None:
    group = held.parent
    conv = GroupConv(group, 2, 3, stride=held).double()
    x = signals(group)
    for k in range(held.order):
        change = conv(moved(x, group, int(held.inclusion[k]))) - moved(conv(x), held, k)
        assert change.abs().max() < 1e-12


@subgroups
@pytest.mark.parametrize("mode", Pooling)
def test_pooling_commutes_with_the_subgroup(held: Subgroup, mode: Pooling) -> None:
    group, pool = held.parent, GroupPool(held, mode)
    x = signals(group)
    reads_once = pool.index.flatten().sort().values
    assert torch.equal(reads_once, group.elements)
    for k in range(held.order):
        assert torch.allclose(pool(moved(x, group, int(held.inclusion[k]))), moved(pool(x), held, k), atol=1e-14)


def test_a_window_of_the_wrong_cosets_is_caught() -> None:
    """Windows `t H` in place of `H t` read every value once, too, and are not equivariant."""
    held = SUBGROUPS["three letters"]
    group, x = held.parent, signals(held.parent)
    pool = GroupPool(held)
    pool.index = group.multiply(left_cosets(held).transversal[None], held.inclusion[:, None])
    assert torch.equal(pool.index.flatten().sort().values, group.elements)
    errors = [
        (pool(moved(x, group, int(held.inclusion[k]))) - moved(pool(x), held, k)).abs().max() for k in range(held.order)
    ]
    assert max(errors) > 0.1


@subgroups
def test_unpooling_is_the_adjoint(held: Subgroup) -> None:
    group = held.parent
    overlapping = torch.cat([right_cosets(held).transversal, torch.tensor([group.order - 1])])
    for window in (None, overlapping):
        down, up = GroupPool(held, Pooling.MEAN, window), GroupUnpool(held, window)
        x, y = signals(group), signals(held)
        assert abs(float((up(y) * x).sum() - (y * down(x)).sum())) < 1e-12
        for k in range(held.order):
            change = up(moved(y, held, k)) - moved(up(y), group, int(held.inclusion[k]))
            assert change.abs().max() < 1e-14


@subgroups
@pytest.mark.parametrize("mode", Pooling)
def test_cosets_follow_the_whole_group(held: Subgroup, mode: Pooling) -> None:
    group, pool, lift = held.parent, CosetPool(held, mode), CosetLift(held)
    act = quotient(held)
    x, y = signals(group), torch.randn(3, group.order // held.order, 2, dtype=torch.float64)
    for k in range(group.order):
        back = act.move(torch.tensor(group.inverse(k)), torch.arange(act.points))
        assert torch.allclose(pool(moved(x, group, k)), pool(x)[:, back], atol=1e-14)
        assert torch.equal(lift(y[:, back]), moved(lift(y), group, k))
    assert torch.allclose(pool(lift(y)), y)
    means = CosetPool(held, Pooling.MEAN)
    assert abs(float((lift(y) * x).sum() - held.order * (y * means(x)).sum())) < 1e-12


def test_the_whole_group_leaves_invariants() -> None:
    group = dihedral(4)
    pool = CosetPool(subgroup(group, group.generators))
    x = signals(group)
    assert torch.equal(pool(x), x.amax(1, keepdim=True))


def test_pooling_of_a_plane_is_that_of_torch() -> None:
    plane = direct_product(cyclic(6), cyclic(8))
    held = subgroup(plane, [2, 2 * 8])
    x = torch.randn(2, 3, 6, 8)
    for mode, torch_pool in ((Pooling.MAX, nn.MaxPool2d(2)), (Pooling.MEAN, nn.AvgPool2d(2))):
        found = GroupPool(held, mode)(x.flatten(2).mT).mT.unflatten(2, (3, 4))
        assert torch.allclose(found, torch_pool(x), atol=1e-6)


@pytest.mark.parametrize("lattice", [p4, p4m])
def test_pictures_turn(lattice: Callable[[int], Group]) -> None:
    """A quarter turn about the middle of a picture is a motion, and a network on lifted pixels follows it."""
    size = 6
    group = lattice(size)
    held = point_group(group)
    net = nn.Sequential(
        CosetLift(held),
        GroupConv(group, 1, 4, box(group, 1)),
        nn.ReLU(),
        GroupConv(group, 4, 2, box(group, 1)),
        CosetPool(held),
    ).double()
    x = torch.randn(2, 1, size, size, dtype=torch.float64)

    def run(picture: Tensor) -> Tensor:
        return net(picture.flatten(2).mT).mT.unflatten(2, (size, size))

    assert (run(x.rot90(1, (2, 3))) - run(x).rot90(1, (2, 3))).abs().max() < 1e-12
    mirrored = (run(x.flip(3)) - run(x).flip(3)).abs().max()
    assert (mirrored < 1e-12) == (lattice is p4m)


def test_arrows_turn_with_the_picture() -> None:
    """Velocities on pixels: a turned picture has its arrows turned, going in and coming out."""
    size = 5
    group = p4(size)
    held = point_group(group)
    turns = turn_matrices(cyclic(4)).double()
    net = nn.Sequential(
        CosetLift(held, turns),
        GroupConv(group, 4, 6, box(group, 1)),
        nn.Tanh(),
        GroupConv(group, 6, 2, box(group, 1)),
        CosetPool(held, Pooling.MEAN, turns),
    ).double()
    x = torch.randn(2, size * size, 4, dtype=torch.float64)  # two arrows per pixel, rows and columns
    act = quotient(held)

    def turned(y: Tensor) -> Tensor:
        arrows = y.unflatten(2, (-1, 2)) @ turns[1].T
        back = act.move(torch.tensor(group.inverse(size * size)), torch.arange(act.points))
        return arrows.flatten(2)[:, back]

    assert (net(turned(x)) - turned(net(x))).abs().max() < 1e-12
    # The law has teeth: arrows that are moved and not turned are another picture.
    plain = CosetLift(held)
    net[0] = plain
    assert (net(turned(x)) - turned(net(x))).abs().max() > 1e-3


@each
def test_gradients_and_pickles(group: Group) -> None:
    held = subgroup(group, group.generators[:1])
    layers = [
        GroupConv(group, 1, 1, ball(group, 1), mixing=Mixing.SEPARABLE),
        GroupPool(held),
        GroupUnpool(held),
        CosetPool(held),
        CosetLift(held),
    ]
    net = nn.Sequential(*layers).double()
    x = torch.randn(1, group.order, 1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(net, (x,))
    assert torch.equal(pickle.loads(pickle.dumps(net))(x), net(x))
    assert set(net.state_dict()) == {"0.weight", "0.mixer", "0.bias"}
    assert (net(torch.zeros_like(x)).isfinite()).all()


def test_refusals() -> None:
    even = subgroup(cyclic(6), [2])
    with pytest.raises(GroupError, match="0 channels in"):
        GroupConv(cyclic(6), 0, 1)
    with pytest.raises(GroupError, match="expected a subgroup of cyclic\\(5\\)"):
        GroupConv(cyclic(5), 1, 1, stride=even)
    with pytest.raises(ShapeError, match="length 5, expected 6"):
        GroupPool(even)(torch.zeros(1, 5, 1))
    with pytest.raises(ShapeError, match="length 6, expected 3"):
        GroupUnpool(even)(torch.zeros(1, 6, 1))
    with pytest.raises(ShapeError, match="length 3, expected 2"):
        CosetLift(even)(torch.zeros(1, 3, 1))
    with pytest.raises(GroupError, match="at least one element"):
        GroupPool(even, window=torch.tensor([], dtype=torch.int64))
    with pytest.raises(GroupError, match="7 is no element"):
        GroupPool(even, window=torch.tensor([7]))
    signs = torch.tensor([1.0, -1.0, 1.0])[:, None, None]
    with pytest.raises(GroupError, match="no representation"):
        CosetLift(even, signs)
    with pytest.raises(GroupError, match="use mode 'mean'"):
        CosetPool(even, Pooling.MAX, torch.ones(3, 1, 1))
    with pytest.raises(GroupError, match="does not turn a square"):
        turn_matrices(cyclic(3))
    with pytest.raises(GroupError, match="at least one"):
        p4(0)


def test_lattices() -> None:
    """Numbers are pixels, then turns; what is generated by a turn about pixel 0 leaves it in its place."""
    group = p4m(3)
    assert group.order == 72
    act = quotient(point_group(group))
    pixel = torch.arange(9)
    assert torch.equal(act.move(torch.tensor(5), pixel), ((pixel // 3 + 1) % 3) * 3 + (pixel % 3 + 2) % 3)
    assert torch.equal(act.move(torch.tensor(9), pixel), (-(pixel % 3) % 3) * 3 + pixel // 3)
    assert act.stabiliser(0).order == 8


def test_translations_by_hand() -> None:
    """`moved` is the action of the oracle."""
    group = symmetric(3)
    x = signals(group)
    for k in range(6):
        assert torch.equal(moved(x, group, k), torch.einsum("hk,bkc->bhc", translation(group, k), x))
