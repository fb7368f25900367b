"""Every plan is the dense product, on every group, and commutes with the group from the left."""

import pickle
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.groups.rows import GROUPS
from tests.oracles.group import diagonal
from torch import Tensor

from weightspace.errors import GroupError, ShapeError
from weightspace.groups import Group, ball, box, cyclic, dihedral, direct_product, from_permutations, p4, symmetric
from weightspace.matrices import Convolution, Plan
from weightspace.matrices.tap import gathered

each = pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)


def by_diagonals(group: Group, taps: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """One group diagonal after the other."""
    return sum(torch.einsum("hk,bki,oi->bho", diagonal(group, int(g)), x, w) for g, w in zip(taps, weight, strict=True))


def supports(group: Group) -> list[Tensor]:
    shuffled = torch.randperm(group.order, generator=torch.Generator().manual_seed(1))
    return [box(group, 0), box(group, 1), ball(group, 1), shuffled, shuffled[: group.order // 3 + 1], shuffled[:1]]


@each
def test_plans_are_the_dense_product(group: Group) -> None:
    torch.manual_seed(0)
    for taps in supports(group):
        convolve = Convolution(group, taps)
        x, weight = torch.randn(2, group.order, 3).double(), torch.randn(len(taps), 2, 3).double()
        expected = by_diagonals(group, taps, x, weight)
        assert convolve.plans() == tuple(Plan)
        for plan in (*Plan, None):
            assert (convolve(x, weight, plan) - expected).abs().max() < 1e-10
        for plan in Plan:
            single = convolve(x.float(), weight.float(), plan)
            assert single.dtype == torch.float32
            assert (single - expected).abs().max() < 1e-4


@pytest.mark.parametrize("name", ["cyclic", "dihedral", "symmetric 3", "lattice", "shuffled"])
def test_groups_of_channels(name: str) -> None:
    """Channels in parts that do not mix are as many convolutions side by side."""
    torch.manual_seed(0)
    group = GROUPS[name]
    taps = ball(group, 1)
    convolve = Convolution(group, taps)
    x, weight = torch.randn(2, group.order, 6).double(), torch.randn(len(taps), 9, 2).double()
    parts = zip(x.chunk(3, 2), weight.chunk(3, 1), strict=True)
    expected = torch.cat([by_diagonals(group, taps, part, mixing) for part, mixing in parts], 2)
    for plan in Plan:
        assert (convolve(x, weight, plan, groups=3) - expected).abs().max() < 1e-10


@each
def test_commutes_from_the_left_alone(group: Group) -> None:
    torch.manual_seed(0)
    convolve = Convolution(group, box(group, 1))
    x, weight = 1e6 * torch.randn(1, group.order, 2).double(), torch.randn(convolve.taps, 2, 2).double()
    for plan in Plan:
        out = convolve(x, weight, plan)
        from_the_right = 0.0
        for k in range(group.order):
            left, right = group.multiply(group.inverse(k), group.elements), group.multiply(group.elements, k)
            assert (convolve(x[:, left], weight, plan) - out[:, left]).abs().max() < 1e-10 * 1e6
            from_the_right = max(
                from_the_right, float((convolve(x[:, right], weight, plan) - out[:, right]).abs().max())
            )
        # The law has teeth: what commutes from the left does not from the right, unless the group is abelian.
        assert (from_the_right < 1e-3) == group.is_abelian


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_support_of_a_torus(data: st.DataObject) -> None:
    """Boxes that wrap, lie away from the identity, or are the whole ring."""
    group = direct_product(cyclic(data.draw(st.integers(1, 6))), dihedral(data.draw(st.integers(1, 5))))
    taps = torch.tensor(data.draw(st.lists(st.integers(0, group.order - 1), min_size=1, unique=True)))
    convolve = Convolution(group, taps)
    x, weight = torch.randn(1, group.order, 1).double(), torch.randn(len(taps), 1, 1).double()
    expected = convolve(x, weight, Plan.DENSE)
    for plan in Plan:
        assert (convolve(x, weight, plan) - expected).abs().max() < 1e-10


@settings(max_examples=15, deadline=None)
@given(st.lists(st.permutations(range(5)), min_size=1, max_size=2), st.integers(0, 2), st.booleans())
def test_any_group_of_permutations(generators: list[list[int]], radius: int, near: bool) -> None:
    """Groups that nobody chose: their axes and cosets are found, and every plan agrees."""
    group = from_permutations(generators)
    convolve = Convolution(group, ball(group, radius) if near else box(group, radius))
    x, weight = torch.randn(2, group.order, 2).double(), torch.randn(convolve.taps, 2, 2).double()
    expected = convolve(x, weight, Plan.DENSE)
    for plan in Plan:
        assert (convolve(x, weight, plan) - expected).abs().max() < 1e-10


def test_four_axes() -> None:
    """More cyclic axes than torch convolves along: the shortest becomes a coset."""
    group = direct_product(cyclic(3), cyclic(2), cyclic(4), cyclic(3))
    convolve = Convolution(group, box(group, 1))
    assert convolve.sizes == (3, 4, 3)
    assert convolve.cosets == 2
    x, weight = torch.randn(1, 72, 2).double(), torch.randn(convolve.taps, 2, 2).double()
    expected = by_diagonals(group, box(group, 1), x, weight)
    for plan in Plan:
        assert (convolve(x, weight, plan) - expected).abs().max() < 1e-10


def test_it_is_the_circular_convolution_of_torch() -> None:
    group = direct_product(cyclic(6), cyclic(5))
    convolve = Convolution(group, box(group, 1))
    conv = torch.nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular", bias=False, dtype=torch.float64)
    x = torch.randn(4, 2, 6, 5).double()
    weight = torch.zeros(9, 3, 2, dtype=torch.float64)
    for tap, g in enumerate(box(group, 1).tolist()):
        i, j = (g // 5 + 1) % 6, (g % 5 + 1) % 5
        weight[tap] = conv.weight[:, :, 2 - i, 2 - j].detach()
    for plan in Plan:
        out = convolve(x.flatten(2).mT, weight, plan).mT.unflatten(2, (6, 5))
        assert (out - conv(x)).abs().max() < 1e-12


@pytest.mark.parametrize("plan", Plan)
@pytest.mark.parametrize("name", ["dihedral", "symmetric 3", "torus"])
def test_gradients(name: str, plan: Plan) -> None:
    torch.manual_seed(0)
    group = GROUPS[name]
    convolve = Convolution(group, ball(group, 1))
    x = torch.randn(2, group.order, 2, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(convolve.taps, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *args: convolve(*args, plan), (x, weight))


@pytest.mark.parametrize("plan", Plan)
def test_second_gradients(plan: Plan) -> None:
    convolve = Convolution(dihedral(3), torch.tensor([1, 4]))
    x, weight = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((1, 6, 2), (2, 2, 1)))
    assert torch.autograd.gradgradcheck(lambda *args: convolve(*args, plan, groups=2), (x, weight))


def test_what_is_kept_for_the_way_back() -> None:
    """Taps keep the signal once, gathering keeps it once per tap."""
    convolve = Convolution(symmetric(4), ball(symmetric(4), 2))
    x, weight = torch.randn(16, 24, 8, requires_grad=True), torch.randn(convolve.taps, 8, 8, requires_grad=True)

    def kept(plan: Plan) -> int:
        found: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            if tensor.is_floating_point():
                found[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            out = convolve(x, weight, plan)
        out.sum().backward()
        return sum(found.values())

    assert kept(Plan.TAPS) == x.numel() + weight.numel()
    assert kept(Plan.GATHER) >= convolve.taps * x.numel()


def test_nothing_in_it_is_learnt_or_stored() -> None:
    convolve = Convolution(dihedral(4))
    assert not list(convolve.parameters())
    assert not convolve.state_dict()
    assert convolve.to("meta").index.is_meta


def test_compiled() -> None:
    """In a process of its own: the compiler does not see through the wrappers that check shapes while testing."""
    words = [sys.executable, "-m", "tests.matrices.compiled"]
    done = subprocess.run(words, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_copies() -> None:
    convolve = Convolution(dihedral(5), box(dihedral(5), 1))
    x, weight = torch.randn(2, 10, 2), torch.randn(convolve.taps, 3, 2)
    for copy in (pickle.loads(pickle.dumps(convolve)), deepcopy(convolve)):
        assert torch.equal(copy(x, weight), convolve(x, weight))


def test_zeros_and_empty_batches() -> None:
    convolve = Convolution(dihedral(4))
    for plan in Plan:
        x = torch.zeros(2, 8, 1, requires_grad=True)
        convolve(x, torch.zeros(8, 1, 1), plan).sum().backward()
        assert x.grad is not None
        assert (x.grad == 0).all()
        assert convolve(torch.zeros(0, 8, 3), torch.zeros(8, 2, 3), plan).shape == (0, 8, 2)


def test_choice() -> None:
    """Each way is the cheapest somewhere, and what would hold too much is not offered."""
    torus = direct_product(cyclic(32), cyclic(32))
    x = torch.zeros(16, 1024, 16)

    def chosen(group: Group, taps: Tensor | None, x: Tensor, out: int) -> Plan:
        convolve = Convolution(group, taps)
        return convolve.plan(x, x.new_zeros(convolve.taps, out, x.shape[2]))

    assert chosen(torus, box(torus, 1), x, 16) == Plan.CONVOLUTION
    assert chosen(direct_product(dihedral(14), dihedral(14)), None, torch.zeros(8, 784, 1), 1) == Plan.FOURIER
    assert chosen(symmetric(4), ball(symmetric(4), 1), torch.zeros(64, 24, 64), 64) == Plan.GATHER
    large = direct_product(cyclic(64), cyclic(64))
    whole = Convolution(large)
    assert whole.plans() == (Plan.CONVOLUTION, Plan.FOURIER)
    with pytest.raises(GroupError, match="gather"):
        whole(torch.zeros(1, 4096, 1), torch.zeros(4096, 1, 1), Plan.GATHER)
    s5 = symmetric(5)
    assert chosen(s5, ball(s5, 1), torch.zeros(8192, 120, 64), 64) == Plan.TAPS


def test_blocks_of_a_lattice() -> None:
    """Translations with quarter turns are one plane convolution of four times the channels."""
    convolve = Convolution(p4(4), box(p4(4), 1))
    assert (convolve.sizes, convolve.cosets) == ((4, 4), 4)
    # Around the identity, so that nothing has to be turned afterwards.
    assert convolve.box == ((-1, 3), (-1, 3))


def test_refusals() -> None:
    convolve = Convolution(cyclic(5), torch.tensor([0, 1]))
    with pytest.raises(ShapeError, match="length 4 .* expected 5"):
        convolve(torch.zeros(1, 4, 1), torch.zeros(2, 1, 1))
    with pytest.raises(ShapeError, match="3 taps, expected 2"):
        convolve(torch.zeros(1, 5, 1), torch.zeros(3, 1, 1))
    with pytest.raises(ShapeError, match="2 channels"):
        convolve(torch.zeros(1, 5, 2), torch.zeros(2, 1, 1))
    with pytest.raises(GroupError, match="each element once"):
        Convolution(cyclic(5), torch.tensor([1, 1]))
    with pytest.raises(GroupError, match="5 is no element"):
        Convolution(cyclic(5), torch.tensor([5]))


def test_gathering_and_its_adjoint() -> None:
    """The way back reads where torch's own adds up, and gives the same; so does the way back of that."""
    group = symmetric(3)
    convolve = Convolution(group, ball(group, 1))
    x = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    near = gathered(x, convolve.index, convolve.inverse)
    assert torch.equal(near, x[:, convolve.index])
    handed = torch.randn_like(near)
    (found,) = torch.autograd.grad(near, x, handed)
    (expected,) = torch.autograd.grad(x[:, convolve.index], x, handed)
    assert torch.allclose(found, expected, atol=1e-14)
    (wrong,) = torch.autograd.grad(gathered(x, convolve.index, convolve.index), x, handed)
    assert not torch.allclose(wrong, expected)
    assert torch.autograd.gradgradcheck(lambda x: gathered(x, convolve.index, convolve.inverse), (x,))
