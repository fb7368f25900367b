"""Projections, distances and their bounds, and both displacement ranks, on every group."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.groups.rows import GROUPS
from tests.oracles.group import diagonal, translation, twirl
from torch import Tensor

from weightspace.errors import ShapeError
from weightspace.groups import Group, ball, cyclic, dihedral, regular, tied_pattern
from weightspace.matrices import (
    Displacement,
    GroupMatrix,
    LowRankGroupMatrix,
    ModulatedGroupMatrix,
    Norm,
    approximate,
    approximate_low_rank,
    commutator_norm,
    coordinates,
    displacement_rank,
    distance,
    from_coordinates,
    project,
)

each = pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@each
def test_coordinates(group: Group) -> None:
    torch.manual_seed(0)
    m = drawn(group.order, group.order)
    found = coordinates(m, group)
    assert torch.equal(from_coordinates(found, group), m)
    expected = sum(found[g].reshape(-1, 1) * diagonal(group, g) for g in range(group.order))
    assert torch.equal(expected, m)
    wide = drawn(2 * group.order, 3 * group.order)
    assert torch.equal(from_coordinates(coordinates(wide, group), group, (2, 3)), wide)


@each
def test_projection(group: Group) -> None:
    torch.manual_seed(0)
    m = drawn(group.order, group.order)
    near = project(m, group)
    assert (near.to_dense() - twirl(group, m)).abs().max() < 1e-10
    rep = regular(group).representation()
    assert (near.to_dense() - tied_pattern(rep, rep).project(m)).abs().max() < 1e-10
    assert torch.allclose(project(near.to_dense(), group).coefficients, near.coefficients)
    block = GroupMatrix(group, drawn(group.order, 2, 3))
    assert torch.allclose(project(block.to_dense(), group).coefficients, block.coefficients)
    wide = drawn(2 * group.order, 3 * group.order)
    # Every pair of channels is projected alone.
    assert torch.allclose(project(wide, group).to_dense()[1::2, 2::3], project(wide[1::2, 2::3], group).to_dense())


@each
@pytest.mark.parametrize("norm", Norm)
def test_bounds(group: Group, norm: Norm) -> None:
    torch.manual_seed(0)
    for scale in (1e-9, 1.0, 1e6):
        for m in (drawn(group.order, group.order), drawn(2 * group.order, group.order)):
            near = scale * m + project(drawn(*m.shape), group).to_dense()
            d, e = float(distance(near, group, norm)), float(commutator_norm(near, group, norm))
            slack = 1e-12 * float(near.norm())
            assert d <= e + slack
            assert e <= 2 * d + slack
    plain = drawn(group.order, group.order)
    by_hand = [plain @ translation(group, g) - translation(group, g) @ plain for g in range(group.order)]
    kind = None if norm == Norm.FROBENIUS else 2
    norms = [float(change.norm() if kind is None else torch.linalg.matrix_norm(change, 2)) for change in by_hand]
    assert float(commutator_norm(plain, group, norm)) == pytest.approx(max(norms), abs=1e-10)
    away = plain - twirl(group, plain)
    by_hand_distance = float(away.norm() if kind is None else torch.linalg.matrix_norm(away, 2))
    assert float(distance(plain, group, norm)) == pytest.approx(by_hand_distance, abs=1e-10)


def test_both_bounds_are_met() -> None:
    """On two elements the error is twice the distance, and on many it is near the distance: both bounds are tight."""
    m = torch.tensor([[1.0, 0.0], [0.0, -1.0]]).double()
    assert float(commutator_norm(m, cyclic(2)) / distance(m, cyclic(2))) == pytest.approx(2)
    spike = torch.zeros(40, 40).double()
    spike[0, 0] = 1
    for n in (40,):
        ratio = float(commutator_norm(spike, cyclic(n), Norm.OPERATOR) / distance(spike, cyclic(n), Norm.OPERATOR))
        assert 1 < ratio < 1.03


def test_products_stay_near() -> None:
    torch.manual_seed(0)
    group = dihedral(4)
    for _ in range(20):
        m, n = drawn(8, 8), drawn(8, 8)
        norms = [torch.linalg.matrix_norm(a, 2) for a in (m, n)]
        bound = norms[1] * distance(m, group) + norms[0] * distance(n, group)
        assert distance(m @ n, group) <= bound


@each
def test_modulated(group: Group) -> None:
    torch.manual_seed(0)
    support = ball(group, 1)
    for block, taps in (((), None), ((2, 3), None), ((), support)):
        size = group.order if taps is None else len(taps)
        base = GroupMatrix(group, drawn(size, *block), taps)
        m = ModulatedGroupMatrix(base, drawn(2, size, *block), drawn(2, group.order))
        dense = m.to_dense()
        x = drawn(dense.shape[1], 4)
        assert (m @ x - dense @ x).abs().max() < 1e-10
        assert displacement_rank(dense, group) == min(2, group.order - 1)
        assert displacement_rank(base.to_dense(), group) == 0
        # Constant positions change the weights alone.
        even = ModulatedGroupMatrix(base, m.banks, torch.ones_like(m.positions))
        assert displacement_rank(even.to_dense(), group, tolerance=1e-10) == 0
        none = ModulatedGroupMatrix(base, m.banks[:0], m.positions[:0])
        assert torch.equal(none @ x, base @ x)


@each
def test_low_rank(group: Group) -> None:
    torch.manual_seed(0)
    n = group.order
    base = GroupMatrix(group, drawn(n))
    for rank in (0, 1):
        m = LowRankGroupMatrix(base, drawn(n, rank), drawn(n, rank))
        x = drawn(n, 3)
        assert (m @ x - m.to_dense() @ x).abs().max() < 1e-10
        commutators = [
            translation(group, s) @ m.to_dense() - m.to_dense() @ translation(group, s) for s in group.generators
        ]
        ranks = [int(torch.linalg.matrix_rank(c, atol=1e-9)) for c in commutators]
        assert displacement_rank(m.to_dense(), group, Displacement.SYLVESTER) == max(ranks, default=0) <= 2 * rank


def test_ranks_differ() -> None:
    """Figures for sixteen rows, in both senses."""
    torch.manual_seed(0)
    group, n = cyclic(16), 16
    i = torch.arange(n)
    toeplitz = drawn(2 * n)[i[:, None] - i + n]
    circulant = GroupMatrix(group, drawn(n)).to_dense()
    banded = drawn(n)[:, None] * GroupMatrix(group, drawn(3), torch.tensor([0, 1, 15])).to_dense()
    expected = {"toeplitz": (15, 2), "diagonal": (1, 16), "low rank": (15, 2), "banded": (1, 16), "circulant": (0, 0)}
    matrices = (toeplitz, torch.diag(drawn(n)), circulant + torch.outer(drawn(n), drawn(n)), banded, circulant)
    for (modulated, sylvester), m in zip(expected.values(), matrices, strict=True):
        assert displacement_rank(m, group) == modulated
        assert displacement_rank(m, group, Displacement.SYLVESTER) == sylvester


@each
def test_best_approximation(group: Group) -> None:
    torch.manual_seed(0)
    n = group.order
    m = drawn(n, n)
    centred = coordinates(m, group)[:, :, 0]
    values = torch.linalg.svdvals(centred - centred.mean(1, keepdim=True))
    for rank in range(min(n, 5)):
        near = approximate(m, group, rank)
        assert displacement_rank(near.to_dense(), group) <= rank
        assert torch.allclose((near.to_dense() - m).norm(), values[rank:].norm(), atol=1e-10)
        again = approximate(near.to_dense(), group, rank).to_dense()
        assert torch.allclose(again, near.to_dense(), atol=1e-10)
    assert torch.allclose(approximate(m, group, n).to_dense(), m)
    assert torch.allclose(approximate(m, group, 0).to_dense(), twirl(group, m))


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2), st.integers(0, 2**31 - 1))
def test_nothing_is_nearer(rank: int, seed: int) -> None:
    """No other matrix of the rank, however small the change."""
    torch.manual_seed(seed)
    group = dihedral(3)
    m = drawn(6, 6)
    best = approximate(m, group, rank)
    least = (best.to_dense() - m).norm()
    for size in (1e-3, 0.1, 1.0):
        base = GroupMatrix(group, best.base.coefficients + size * drawn(6))
        other = ModulatedGroupMatrix(base, best.banks + size * drawn(rank, 6), best.positions + size * drawn(rank, 6))
        assert (other.to_dense() - m).norm() >= least


def test_low_rank_approximation() -> None:
    torch.manual_seed(0)
    group = dihedral(5)
    made = LowRankGroupMatrix(GroupMatrix(group, drawn(10)), drawn(10, 1), drawn(10, 1)).to_dense()
    # What is of this form is found again.
    assert (approximate_low_rank(made, group, 1, steps=2000).to_dense() - made).norm() < 1e-6 * made.norm()
    noisy = made + 0.1 * drawn(10, 10)
    errors = [float((approximate_low_rank(noisy, group, 1, steps).to_dense() - noisy).norm()) for steps in range(6)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] == pytest.approx(float(distance(noisy, group)))


def test_gradients() -> None:
    torch.manual_seed(0)
    group = dihedral(3)
    m = torch.randn(6, 6, dtype=torch.float64, requires_grad=True)
    for norm in Norm:
        assert torch.autograd.gradcheck(lambda m, norm=norm: distance(m, group, norm), m)
    assert torch.autograd.gradcheck(lambda m: project(m, group).coefficients, m)
    even = torch.ones(6, 6, dtype=torch.float64, requires_grad=True)
    distance(even, group).backward()
    assert even.grad is not None
    assert (even.grad == 0).all()


def test_refusals() -> None:
    with pytest.raises(ShapeError, match=r"\(6, 5\) .* multiples of 6"):
        distance(torch.zeros(6, 5), dihedral(3))
    with pytest.raises(ShapeError, match=r"expected \(6, 6\)"):
        approximate(torch.zeros(12, 12), dihedral(3), 1)
    with pytest.raises(ShapeError, match="rank -1"):
        approximate_low_rank(torch.zeros(6, 6), dihedral(3), -1)
    base = GroupMatrix(cyclic(3), torch.zeros(3))
    with pytest.raises(ShapeError, match=r"expected \(rank, 3\) and \(rank, 3\)"):
        ModulatedGroupMatrix(base, torch.zeros(1, 2), torch.zeros(1, 3))
    with pytest.raises(ShapeError, match=r"expected \(3, 3\)"):
        LowRankGroupMatrix(base, torch.zeros(2, 1), torch.zeros(3, 1))
