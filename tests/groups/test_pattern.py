"""The tied pattern is the null space of the commutator, for permutations, signs and scalars."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.groups.rows import GROUPS
from tests.oracles.group import commuting_basis, double_cosets, matrices_of

from weightspace.errors import GroupError, ShapeError
from weightspace.groups import (
    Group,
    Monomial,
    Pattern,
    cyclic,
    dihedral,
    direct_sum,
    from_permutations,
    natural,
    quotient,
    regular,
    subgroup,
    symmetric,
    table_action,
    tensor_product,
    tied_pattern,
)

each = pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)


def hyperoctahedral(points: int) -> Monomial:
    """Permutations with signs: the swap of two points, the turn of all, the sign of one."""
    perms = [[1, 0, *range(2, points)], [*range(1, points), 0], list(range(points))]
    scale = torch.ones(3, 1, points, dtype=torch.float64)
    scale[2, 0, 0] = -1
    return Monomial(torch.tensor(perms), scale)


def check(pattern: Pattern, after: Monomial, before: Monomial) -> None:
    basis = commuting_basis(after, before)
    assert pattern.size == len(basis)
    m = torch.randn(*pattern.label.shape, dtype=torch.float64)
    nearest = torch.einsum("bij,bkl,kl->ij", basis, basis, m)
    assert torch.allclose(pattern.project(m), nearest, atol=1e-10)
    theta = torch.randn(3, pattern.size, dtype=torch.float64)
    dense = pattern.expand(theta)
    for r, s in zip(matrices_of(after), matrices_of(before), strict=True):
        assert torch.allclose(r @ dense, dense @ s, atol=1e-12)
    n = torch.randn(3, *pattern.label.shape, dtype=torch.float64)
    assert torch.allclose((dense * n).sum(), (theta * pattern.reduce(n)).sum())  # adjoint
    assert torch.allclose(pattern.reduce(dense) / pattern.norms, theta)


@each
def test_homogeneous_spaces(group: Group) -> None:
    held = [subgroup(group, []), subgroup(group, group.generators[-1:]), subgroup(group, group.generators)]
    for k in held:
        for h in held:
            after, before = quotient(k).representation(), quotient(h).representation()
            pattern = tied_pattern(after, before)
            assert pattern.size == double_cosets(group, k, h)
            if pattern.label.numel() <= 150:
                check(pattern, after, before)


@each
def test_regular_is_one_parameter_per_element(group: Group) -> None:
    rep = regular(group).representation()
    pattern = tied_pattern(rep, rep)
    assert pattern.size == group.order
    assert (pattern.norms == group.order).all()


@pytest.mark.parametrize(("points", "expected"), [(3, (2, 5, 14)), (4, (2, 5, 15))])
def test_tensor_powers(points: int, expected: tuple[int, ...]) -> None:
    one = natural(symmetric(points)).representation()
    two = tensor_product(one, one)
    found = [tied_pattern(one, one), tied_pattern(two, one), tied_pattern(two, two)]
    assert tuple(pattern.size for pattern in found) == expected
    signed = hyperoctahedral(points)
    pairs = tensor_product(signed, signed)
    assert [tied_pattern(*reps).size for reps in ((signed, signed), (pairs, signed), (pairs, pairs))] == [1, 0, 4]
    check(tied_pattern(pairs, pairs), pairs, pairs)
    assert tied_pattern(pairs, signed).expand(torch.zeros(2, 0)).abs().max() == 0


def square_action(size: int) -> Monomial:
    i, j = torch.arange(size)[:, None].expand(size, size), torch.arange(size).expand(size, size)
    turn, flip = j * size + size - 1 - i, i * size + size - 1 - j
    return natural(from_permutations(torch.stack([turn.flatten(), flip.flatten()]))).representation()


def test_pixels() -> None:
    """Turns and flips of a picture."""
    assert tied_pattern(square_action(4), square_action(4)).size == 36
    large = tied_pattern(square_action(28), square_action(28))
    assert (large.size, large.label.numel()) == (77_028, 614_656)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_random_monomials(data: st.DataObject) -> None:
    """Any permutations and signs, of which most tie whole blocks to zero."""

    def draw(units: int, generators: int) -> Monomial:
        perms = [data.draw(st.permutations(range(units))) for _ in range(generators)]
        signs = st.lists(st.sampled_from([1.0, -1.0]), min_size=units, max_size=units)
        scale = torch.tensor([data.draw(signs) for _ in range(generators)], dtype=torch.float64)
        return Monomial(torch.tensor(perms), scale[:, None])

    generators = data.draw(st.integers(1, 3))
    after, before = draw(data.draw(st.integers(1, 5)), generators), draw(data.draw(st.integers(1, 5)), generators)
    check(tied_pattern(after, before), after, before)
    both = direct_sum(after, before)
    parts = ((after, after), (after, before), (before, after), (before, before))
    assert tied_pattern(both, both).size == sum(tied_pattern(*pair).size for pair in parts)


def test_scalars() -> None:
    """A turn of three units, rescaled: what it scales by is carried, and a loop that does not close is dead."""
    perm, scale = torch.tensor([[1, 2, 0]]), torch.tensor([[[2.0, 4.0, 0.125]]], dtype=torch.float64)
    rep = Monomial(perm, scale)
    check(tied_pattern(rep, rep), rep, rep)
    assert tied_pattern(rep, rep).size == 3
    loop = replace(rep, scale=2 * scale)
    assert tied_pattern(loop, rep).size == 0
    assert tied_pattern(loop, loop).size == 3


def test_a_forgotten_sign_is_caught() -> None:
    """The same permutations without their signs have more that commutes with them."""
    signed = hyperoctahedral(3)
    plain = replace(signed, scale=signed.scale.abs())
    with pytest.raises(AssertionError):
        check(tied_pattern(plain, plain), signed, signed)


def test_gradients() -> None:
    rep = regular(dihedral(3)).representation()
    pattern = tied_pattern(rep, rep)
    theta = torch.randn(2, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pattern.expand, theta)
    assert torch.autograd.gradcheck(pattern.reduce, pattern.expand(theta).detach().requires_grad_())


def test_no_generators() -> None:
    rep = regular(cyclic(1)).representation()
    assert tied_pattern(rep, rep).size == 1
    three = table_action(cyclic(1), torch.arange(3)[None]).representation()
    assert tied_pattern(three, rep).size == 3


def test_refusals() -> None:
    rep = regular(dihedral(3)).representation()
    with pytest.raises(GroupError, match="2 generators act on rows and 1 on columns"):
        tied_pattern(rep, rep[:1])
    with pytest.raises(GroupError, match="rows are nested or have 2 factors"):
        tied_pattern(Monomial(rep.perm, torch.cat([rep.scale, rep.scale], 1)), rep)
    pattern = tied_pattern(rep, rep)
    with pytest.raises(ShapeError, match="7 parameters given, expected 6"):
        pattern.expand(torch.zeros(7))
    with pytest.raises(ShapeError, match=r"\(6, 5\), expected \(6, 6\)"):
        pattern.reduce(torch.zeros(6, 5))
