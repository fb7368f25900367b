"""Classical low-displacement-rank layers: their displacement, their products, their parameters."""

import pytest
import torch
from torch import Tensor

from weightspace.errors import ShapeError
from weightspace.matrices import LowDisplacementRank, Operators

each = pytest.mark.parametrize("operators", Operators)


def made(size: int, rank: int, operators: Operators) -> LowDisplacementRank:
    torch.manual_seed(size)
    layer = LowDisplacementRank(size, rank, operators).double()
    if operators.bands:
        torch.nn.init.normal_(layer.bands, std=0.5)
    return layer


def by_powers(layer: LowDisplacementRank) -> Tensor:
    """The sum over powers of the operators, one after the other."""
    a, b = layer.operator(0), layer.operator(1)
    found = torch.zeros(layer.size, layer.size, dtype=torch.float64)
    for g, h in zip(layer.left, layer.right, strict=True):
        for _ in range(layer.size):
            found = found + torch.outer(g, h)
            g, h = a @ g, b @ h
    return found


@each
@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_products(size: int, operators: Operators) -> None:
    layer = made(size, 2, operators)
    dense = by_powers(layer).detach()
    assert torch.allclose(layer.to_dense(), dense, atol=1e-10)
    for shape in ((size,), (3, size), (2, 3, size)):
        x = torch.randn(*shape).double()
        assert (layer(x) - x @ dense.T).abs().max() < 1e-10 * max(1.0, float(dense.abs().max()))


@each
def test_displacement(operators: Operators) -> None:
    layer = made(12, 2, operators)
    a, b, m = layer.operator(0), layer.operator(1).T, layer.to_dense()
    rank = int(torch.linalg.matrix_rank(m - a @ m @ b, atol=1e-9))
    assert rank <= (2 if operators == Operators.SHIFT else 4)
    assert torch.linalg.matrix_rank(m, atol=1e-9) > 4


def test_every_toeplitz_matrix_is_toeplitz_like() -> None:
    torch.manual_seed(0)
    i = torch.arange(9)
    toeplitz = torch.randn(18).double()[i[:, None] - i + 9]
    layer = made(9, 2, Operators.SHIFT)
    a, b = layer.operator(0), layer.operator(1).T
    # M - A M B = G H^T - A^n G H^T B^n = 2 G H^T, since A^n = 1 and B^n = -1.
    left, values, right = torch.linalg.svd((toeplitz - a @ toeplitz @ b) / 2)
    with torch.no_grad():
        layer.left.copy_((left * values).T[:2])
        layer.right.copy_(right[:2])
    assert (layer.to_dense() - toeplitz).abs().max() < 1e-10
    assert (layer(torch.eye(9).double()).T - toeplitz).abs().max() < 1e-10


@pytest.mark.parametrize("size", [16, 784])
@pytest.mark.parametrize("rank", [1, 4])
def test_parameters(size: int, rank: int) -> None:
    found = [sum(p.numel() for p in LowDisplacementRank(size, rank, kind).parameters()) for kind in Operators]
    assert found == [2 * size * rank, 2 * size * (rank + 1), 2 * size * (rank + 3)]


def test_learnt_operators_start_as_shifts() -> None:
    for kind in Operators:
        layer = LowDisplacementRank(6, 1, kind)
        for which in (0, 1):
            assert torch.equal(layer.operator(which), LowDisplacementRank(6).operator(which))


@each
def test_gradients(operators: Operators) -> None:
    layer = made(4, 2, operators)
    names = [name for name, _ in layer.named_parameters()]

    def call(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    x = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    values = [p.detach().clone().requires_grad_() for p in layer.parameters()]
    assert torch.autograd.gradcheck(call, (x, *values))
    if operators.bands:  # a weight of zero is no trouble
        with torch.no_grad():
            values[names.index("bands")][:, 0, 1] = 0
        assert torch.autograd.gradcheck(call, (x, *values))


def test_refusals() -> None:
    for size, rank in ((0, 1), (3, 0)):
        with pytest.raises(ShapeError, match=f"size {size} and rank {rank}"):
            LowDisplacementRank(size, rank)
