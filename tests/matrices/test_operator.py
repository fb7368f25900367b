"""Group matrices are an algebra, and each operation is that of the dense matrix."""

import pytest
import torch
from tests.groups.rows import GROUPS
from tests.oracles.group import diagonal, translation

from weightspace.errors import GroupError, ShapeError, SingularError
from weightspace.groups import Group, ball, box, cyclic, dihedral, regular, symmetric, tied_pattern
from weightspace.matrices import GroupMatrix, Plan, kron, multiply

each = pytest.mark.parametrize("group", GROUPS.values(), ids=GROUPS)


def drawn(group: Group, *block: int, support: torch.Tensor | None = None) -> GroupMatrix:
    taps = group.order if support is None else len(support)
    return GroupMatrix(group, torch.randn(taps, *block, dtype=torch.float64), support)


@each
def test_dense(group: Group) -> None:
    torch.manual_seed(0)
    for block in ((), (2, 3)):
        for support in (None, ball(group, 1).flip(0)):
            m = drawn(group, *block, support=support)
            one = torch.ones(1, 1).double()
            blocks = zip(m.elements.tolist(), m.coefficients, strict=True)
            expected = sum(torch.kron(diagonal(group, g), w * one if not block else w) for g, w in blocks)
            assert torch.equal(m.to_dense(), expected)
            assert m.shape == tuple(expected.shape)
            x = torch.randn(m.shape[1], 4).double()
            for plan in Plan:
                assert (multiply(m, x, plan) - expected @ x).abs().max() < 1e-10
            assert torch.equal(m.T.to_dense(), expected.T)
            assert torch.equal(m.T.T.to_dense(), expected)


@each
def test_commutes(group: Group) -> None:
    torch.manual_seed(0)
    dense = drawn(group).to_dense()
    moved = [translation(group, k) for k in range(group.order)]
    assert all(torch.equal(dense @ k, k @ dense) for k in moved)
    # Entries are tied as the pattern of the regular representation says, one parameter per element.
    rep = regular(group).representation()
    assert torch.allclose(tied_pattern(rep, rep).project(dense), dense)
    if not group.is_abelian:
        other = drawn(group).to_dense()
        assert not torch.allclose(dense @ other, other @ dense)


@each
def test_products(group: Group) -> None:
    torch.manual_seed(0)
    near = ball(group, 1)
    for one, other in (((), ()), ((2, 3), (3, 1)), ((1, 1), ())):
        for support in (None, near):
            a, b = drawn(group, *one, support=support), drawn(group, *other, support=near)
            product = a @ b
            assert isinstance(product, GroupMatrix)
            assert (product.to_dense() - a.to_dense() @ b.to_dense()).abs().max() < 1e-10
            if support is not None:
                assert set(product.elements.tolist()) == set(group.multiply(near[:, None], near).flatten().tolist())


@pytest.mark.parametrize("name", ["dihedral", "symmetric 4", "order 21"])
def test_products_of_different_supports(name: str) -> None:
    """The elements of a product stand in the order of the right factor first."""
    group = GROUPS[name]
    a, b = drawn(group, support=torch.tensor([1, 2])), drawn(group, support=torch.tensor([group.order - 1]))
    product = a @ b
    assert product.elements.tolist() == sorted(group.multiply(group.order - 1, g) for g in (1, 2))
    assert torch.allclose(product.to_dense(), a.to_dense() @ b.to_dense())


@each
def test_inverses(group: Group) -> None:
    torch.manual_seed(0)
    for block in ((), (3, 3)):
        m = drawn(group, *block)
        one = torch.eye(m.shape[0]).double()
        assert (m.inverse().to_dense() @ m.to_dense() - one).abs().max() < 1e-8
        y = torch.randn(m.shape[0], 2).double()
        assert (m @ m.solve(y) - y).abs().max() < 1e-8
        assert (m.solve(y) - torch.linalg.solve(m.to_dense(), y)).abs().max() < 1e-8


@each
def test_singular(group: Group) -> None:
    """The average over the group, and a block whose second row repeats the first."""
    block = torch.randn(group.order, 1, 2).double().expand(-1, 2, -1).contiguous()
    wrong = [GroupMatrix(group, block), GroupMatrix(group, torch.zeros(group.order))]
    if group.order > 1:
        wrong.append(GroupMatrix(group, torch.ones(group.order)))
    for m in wrong:
        for call in (m.inverse, lambda m=m: m.solve(torch.ones(m.shape[0], 1).to(m.coefficients))):
            with pytest.raises(SingularError, match="singular values go from"):
                call()


@pytest.mark.parametrize("name", ["cyclic", "dihedral", "symmetric 3", "order 21"])
def test_kronecker(name: str) -> None:
    a, b = drawn(GROUPS[name]), drawn(dihedral(3), support=torch.tensor([3, 0, 4]))
    for first, second in ((a, b), (b, a), (a, a)):
        both = kron(first, second)
        assert torch.equal(both.to_dense(), torch.kron(first.to_dense(), second.to_dense()))


def test_gradients() -> None:
    torch.manual_seed(0)
    group, support = dihedral(3), torch.tensor([0, 1, 3])
    coefficients = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    x = torch.randn(12, 2, dtype=torch.float64, requires_grad=True)

    def everything(coefficients: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        m = GroupMatrix(group, coefficients, support)
        return (m @ m.T).inverse() @ (m @ x) + m.solve(x) + m.to_dense() @ x

    assert torch.autograd.gradcheck(everything, (coefficients, x))


def test_batches_of_coefficients() -> None:
    """Many matrices at once, by torch's own vmap."""
    many, x = torch.randn(5, 8).double(), torch.randn(8, 3).double()
    found = torch.vmap(lambda w: GroupMatrix(dihedral(4), w) @ x)(many)
    assert torch.allclose(found, torch.stack([GroupMatrix(dihedral(4), w).to_dense() @ x for w in many]))


def test_float32() -> None:
    m = GroupMatrix(cyclic(64), torch.randn(64))
    x = torch.randn(64, 3)
    assert (m @ x).dtype == torch.float32
    assert torch.allclose(m.to_dense() @ m.inverse().to_dense(), torch.eye(64), atol=1e-3)


def test_large_groups_stay_small() -> None:
    torus = GROUPS["torus"].__class__((cyclic(64), cyclic(64)))
    m = GroupMatrix(torus, torch.randn(9).double(), box(torus, 1))
    x = torch.randn(4096, 2).double()
    assert (multiply(m, x) - multiply(m, x, Plan.FOURIER)).abs().max() < 1e-10
    assert sum(buffer.numel() * buffer.element_size() for buffer in m.convolution.buffers()) < 10e6


def test_refusals() -> None:
    with pytest.raises(ShapeError, match=r"expected \(taps,\) or \(taps, out, in\)"):
        GroupMatrix(cyclic(3), torch.zeros(3, 1))
    with pytest.raises(ShapeError, match="2 coefficients for 3"):
        GroupMatrix(cyclic(3), torch.zeros(2))
    with pytest.raises(GroupError, match="each element once"):
        GroupMatrix(cyclic(3), torch.zeros(2), torch.tensor([1, 1]))
    m = GroupMatrix(cyclic(3), torch.ones(3, 2, 1))
    with pytest.raises(ShapeError, match=r"expected \(3, batch\)"):
        m @ torch.zeros(6, 1)
    with pytest.raises(ShapeError, match="2 channels come in, expected 1"):
        m @ m
    with pytest.raises(ShapeError, match="not square"):
        m.inverse()
    with pytest.raises(GroupError, match="no product"):
        GroupMatrix(cyclic(6), torch.ones(6)) @ GroupMatrix(symmetric(3), torch.ones(6))
    with pytest.raises(ShapeError, match="without channels"):
        kron(m, m)
