"""Products along paths: what they are, how they transform, that thin ways of mixing them equal the plain one."""

import copy
from math import sqrt

import pytest
import torch
from tests.laws.registry import MODULES, SPECS, mlp
from tests.oracles.path import products_by_terms
from torch import Tensor, nn

import weightspace.layers.carry as carry
import weightspace.layers.thin as thin_factors
from weightspace.errors import ShapeError, SpecError, SymmetryError, UnknownNameError
from weightspace.layers import EquivariantLinear, PathInvariants, PathProducts, dense_spec
from weightspace.layers.path import Paths
from weightspace.layers.polynomial import MixedCoupling
from weightspace.layers.wiring import Wiring
from weightspace.spec import NetworkSpec, Sine, spec_of
from weightspace.testing import equivariance_error, invariance_error, random_features
from weightspace.weights import WeightFeatures

DENSE = {name: dense_spec(SPECS[name]) for name in MODULES}
CHAINS = [(2, 2), (2, 3, 2), (2, 3, 4, 1), (1, 3, 4, 5), (1, 4, 3, 5, 3), (3, 2, 4, 2, 3, 2)]
FEW_AND_MANY = [1, 2, 9]  # channels, for which different ways are fast


def made(spec: NetworkSpec, channels_in: int = 2, channels_out: int = 3, **options: NetworkSpec) -> PathProducts:
    torch.manual_seed(0)
    layer = PathProducts(spec, channels_in, channels_out, **options).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


def features(spec: NetworkSpec, batch: int = 3, channels: int = 2) -> WeightFeatures:
    return random_features(spec, batch, channels, generator=torch.Generator().manual_seed(0))


# Laws.


@pytest.mark.parametrize("name", DENSE)
def test_equivariant(name: str) -> None:
    assert equivariance_error(made(DENSE[name]), DENSE[name], channels=2, log_scale=8) < 1e-10


@pytest.mark.parametrize("name", ["cnn-relu", "cnn-flattened", "batch-norm", "lstm", "encoder"])
def test_parameters_without_a_path_are_kept(name: str) -> None:
    """Kernels carry no product; they are still mapped as a linear layer maps them."""
    assert equivariance_error(made(SPECS[name]), SPECS[name], channels=2, log_scale=8) < 1e-10


@pytest.mark.parametrize("name", DENSE)
def test_invariant(name: str) -> None:
    torch.manual_seed(0)
    layer = PathInvariants(DENSE[name], 2, 4).double()
    assert layer(features(DENSE[name])).shape == (3, 4)
    assert invariance_error(layer, DENSE[name], channels=2, log_scale=8) < 1e-10


def test_not_invariant_to_more() -> None:
    """Scales that a sign network does not allow change its polynomials."""
    layer = PathInvariants(SPECS["tanh"], 1, 4).double()

    def relabelled(x: WeightFeatures) -> Tensor:
        return layer(WeightFeatures(SPECS["tanh"], x.tensors))

    assert invariance_error(relabelled, SPECS["relu"]) < 1e-10  # products of paths keep them, whatever the activation

    def relabelled_layer(x: WeightFeatures) -> WeightFeatures:
        y = made(SPECS["tanh"], 1, 1)(WeightFeatures(SPECS["tanh"], x.tensors))
        return WeightFeatures(SPECS["relu"], y.tensors)

    assert equivariance_error(relabelled_layer, SPECS["relu"]) > 1e-2  # what turns a path around does not


def test_paths_that_leave_something_over_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Squares leave a place with twice the power: without the check of powers, products would not transform."""
    spec = spec_of(nn.Sequential(nn.Linear(2, 3), Squares(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 1)))
    assert equivariance_error(made(spec), spec, channels=2, log_scale=2) < 1e-10
    monkeypatch.setattr(Wiring, "net", lambda self, axis, *powers: tuple(0 for _ in powers[0]))
    assert equivariance_error(made(spec), spec, channels=2, log_scale=2) > 1e-2


class Squares(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.square()


def test_a_product_on_the_wrong_side_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = SPECS["relu"]
    right = Paths._matrix
    # Square matrices hide a transposition from every shape.
    square = spec_of(mlp((3, 3, 3, 3), nn.ReLU()))
    monkeypatch.setattr(Paths, "_matrix", lambda self, wire: right(self, wire).transpose(1, 2))
    assert equivariance_error(made(square), square, channels=2) > 1e-2
    assert spec != square


# What the products are.


@pytest.mark.parametrize("widths", CHAINS)
def test_products_of_a_chain(widths: tuple[int, ...]) -> None:
    """From every input or bias to every layer, and from every layer to the outputs: plain matrix products."""
    spec = spec_of(mlp(widths, nn.ReLU()))
    x = features(spec)
    weights = [x[f"{2 * i}.weight"] for i in range(len(widths) - 1)]
    biases = [x[f"{2 * i}.bias"] for i in range(len(widths) - 1)]
    expected: list[Tensor] = []
    for s in range(1, len(weights)):
        for first in [weights[0], *(b.unsqueeze(2) for b in biases[:s])]:
            start = next((i for i in range(s) if first.data_ptr() == biases[i].data_ptr()), 0)
            expected.append(chained(weights[start + 1 : s + 1], first))
    for t in range(1, len(weights) - 1):
        expected.append(chained(weights[t:], None).transpose(1, 2))
    found = multiplied(spec, x)
    assert len(found) == len(expected)
    for values in found.values():
        values = values if values.ndim == 4 else values.unsqueeze(2)
        assert any(values.shape == e.shape and torch.allclose(values, e) for e in expected)


def multiplied(spec: NetworkSpec, x: WeightFeatures) -> dict[str, Tensor]:
    paths = Paths(Wiring(spec), x)
    return {param.name: paths.values(pick) for pick, param in paths.products()}


def chained(weights: list[Tensor], first: Tensor | None) -> Tensor:
    """`W_s ... W_t first`, every factor divided by the root of the units it sums over."""
    out = first
    for weight in weights:
        out = weight if out is None else torch.einsum("ajkc,akec->ajec", weight, out) / sqrt(weight.shape[2])
    assert out is not None
    return out


@pytest.mark.parametrize("widths", CHAINS)
def test_as_many_coefficients_as_the_published_layer(widths: tuple[int, ...]) -> None:
    """Its terms without traces, which are in the span of the rest, and with a coefficient for each bias's path."""
    layer = PathProducts(spec_of(mlp(widths, nn.ReLU())), 1, 1)
    assert layer.linear_parameters == published_count(widths)
    invariant = widths[-1] if len(widths) > 2 else widths[-1] * (widths[0] + 1)
    assert layer.constant_parameters == invariant


def published_count(widths: tuple[int, ...]) -> int:
    depth, n, m = len(widths) - 1, widths[0], widths[-1]
    if depth == 1:  # the one weight is first and last at once, and its entries are invariant
        return (m * n + m) * (3 * m * n + m)
    first = 3 * n * n + n + 3 * n + 1
    inner = sum(3 + 3 * n + (i - 1) + 1 for i in range(2, depth))
    return first + inner + 3 * m * m + 3 * n * m * m + (depth - 1) * m * m + m * m


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("widths", [(2, 4, 3, 1), (1, 4, 3, 5), (2, 5, 4, 6)])
def test_mixing_thin_factors_is_mixing_products(widths: tuple[int, ...], channels: int) -> None:
    spec = spec_of(mlp(widths, nn.ReLU()))
    layer, x = made(spec, channels, 4), features(spec, channels=channels)
    paths = Paths(layer.wiring, x)
    (mixed,) = layer.inner
    products = super(MixedCoupling, mixed).forward(paths)
    plain = torch.stack([torch.einsum("ajkc,cf->ajkf", p, m) for p, m in zip(products, mixed.mix, strict=True)]).sum(0)
    for by_outputs in (True, False):
        mixed.by_outputs = by_outputs
        base = torch.randn_like(plain)
        torch.testing.assert_close(mixed(paths, base), base + plain)


def test_products_are_the_same_by_either_side() -> None:
    spec = spec_of(mlp((2, 4, 3, 3), nn.ReLU()))
    layer, x = made(spec), features(spec)
    paths = Paths(layer.wiring, x)
    for coupling in layer.outer:
        coupling.by_outputs = True
        expected = coupling(paths)
        coupling.by_outputs = False
        torch.testing.assert_close(coupling(paths), expected)


@pytest.mark.parametrize("channels", FEW_AND_MANY)
@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh()])
@pytest.mark.parametrize("widths", CHAINS)
def test_slow_twin(widths: tuple[int, ...], activation: nn.Module, channels: int) -> None:
    """What comes out, with and without gradients, and the gradients themselves."""
    spec = spec_of(mlp(widths, activation))
    layer, x = made(spec, channels), features(spec, channels=channels)
    inputs = [*x.map(lambda t: t.requires_grad_()).tensors, *layer.parameters()]
    ways = layer(x), products_by_terms(layer, x)
    for fast, slow in zip(*(y.tensors for y in ways), strict=True):
        torch.testing.assert_close(fast, slow)
    gradients = (torch.autograd.grad(sum(t.square().sum() for t in y.tensors), inputs) for y in ways)
    for fast, slow in zip(*gradients, strict=True):
        torch.testing.assert_close(fast, slow)
    with torch.no_grad():
        for fast, slow in zip(layer(x).tensors, ways[1].tensors, strict=True):
            torch.testing.assert_close(fast, slow)


@pytest.mark.parametrize("cached", [10, 100, 2**18])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("channels", FEW_AND_MANY)
@pytest.mark.parametrize("ends", [1, 3, 6, 40])
def test_carrying(ends: int, channels: int, turned: bool, cached: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(carry.shares, "__defaults__", (cached,))
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 5, 4, channels), (3, 4 if turned else 5, ends, channels))
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]

    def carried(matrix: Tensor, columns: Tensor) -> Tensor:
        return carry.carry(matrix if turned else matrix.transpose(1, 2), columns, 0.5)

    expected = 0.5 * torch.einsum("ajkc,akec->ajec" if turned else "akjc,akec->ajec", *tensors)
    torch.testing.assert_close(carried(*tensors), expected)
    assert torch.autograd.gradcheck(carried, tensors, fast_mode=True)
    torch.testing.assert_close(torch.vmap(carried, (None, 0))(tensors[0], tensors[1][None])[0], expected)


@pytest.mark.parametrize("cached", [10, 200, 2**18])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize(("products", "thin"), [(1, 1), (2, 1), (1, 3), (2, 2)])
def test_mixing(products: int, thin: int, turned: bool, cached: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thin_factors, "CACHED", cached)
    generator = torch.Generator().manual_seed(0)
    p, q = (5, 4) if turned else (4, 5)
    shapes = (3, 4, 5, 2), (3, p, thin, 3), (3, q, products, thin, 3), (products, thin, 3, 2)
    tensors = [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]

    def mixed(base: Tensor, *others: Tensor) -> Tensor:
        return thin_factors.add_mixed(base.transpose(1, 2) if turned else base, *others)

    base, *others = tensors
    expected = torch.einsum("apec,aqnec,necf->apqf", *others) + (base.transpose(1, 2) if turned else base)
    torch.testing.assert_close(mixed(*tensors), expected)
    assert torch.autograd.gradcheck(mixed, tensors, fast_mode=True)
    torch.testing.assert_close(torch.vmap(mixed, (0, None, None, None))(base[None], *others)[0], expected)
    with torch.no_grad():
        torch.testing.assert_close(mixed(base.clone(), *(tensor.detach() for tensor in others)), expected)


def test_a_share_of_the_batch_left_out_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    right = carry.shares
    monkeypatch.setattr(thin_factors, "shares", lambda *arguments: [*right(*arguments)][:1])
    monkeypatch.setattr(thin_factors, "CACHED", 10)
    spec = spec_of(mlp((2, 4, 3, 1), nn.ReLU()))
    layer, x = made(spec), features(spec)
    pairs = zip(layer(x).tensors, products_by_terms(layer, x).tensors, strict=True)
    assert not all(torch.allclose(fast, slow) for fast, slow in pairs)


def test_weights_stored_the_other_way_round() -> None:
    """A transposed convolution keeps its input units first."""
    module = nn.Sequential(
        nn.ConvTranspose2d(2, 4, 1), nn.ReLU(), nn.ConvTranspose2d(4, 3, 1), nn.ReLU(), nn.ConvTranspose2d(3, 1, 1)
    )
    spec = dense_spec(spec_of(module, torch.zeros(1, 2, 2, 2)))
    twin = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1)))
    x = features(spec)
    y = WeightFeatures(twin, [t.transpose(1, 2) if t.ndim == 4 else t for t in x.tensors])
    found = multiplied(spec, x)
    for name, values in multiplied(twin, y).items():
        assert any(values.shape == v.shape and torch.allclose(values, v) for v in found.values()), name
    layer = made(spec)
    assert layer.inner[0].joint.turned
    assert layer(x)["2.weight"].shape == (3, 4, 3, 3)
    assert equivariance_error(layer, spec, channels=2) < 1e-10


# What users meet.


def test_far_layers_meet() -> None:
    """The entries of the product of all matrices are in the span of the invariants, and not of linear ones."""
    spec = spec_of(mlp((2, 4, 4, 2), nn.ReLU()))
    x = random_features(spec, 200, generator=torch.Generator().manual_seed(0))
    target = chained([x[f"{i}.weight"] for i in (0, 2, 4)], None).flatten(1)
    torch.manual_seed(0)
    answers = PathInvariants(spec, 1, 60).double()(x).detach()
    assert unexplained(answers, target) < 1e-12
    torch.manual_seed(0)
    linear = EquivariantLinear(spec, 1, 60).double()(x).tensors[-1].detach().flatten(1)
    assert unexplained(linear, target) > 0.5


def unexplained(answers: Tensor, target: Tensor) -> float:
    solution = torch.linalg.lstsq(answers, target, driver="gelsd").solution
    return ((answers @ solution - target).square().sum() / target.square().sum()).item()


@pytest.mark.parametrize("depth", [2, 8])
def test_variance_is_kept(depth: int) -> None:
    spec = spec_of(mlp((2, *(32,) * (depth - 1), 2), nn.ReLU()))
    torch.manual_seed(0)
    y = PathProducts(spec, 16, 16)(random_features(spec, 64, 16).to(torch.float32))
    for name, values in y.items():
        assert 0.4 < values.square().mean() < 2.5, name


@pytest.mark.parametrize("name", ["relu", "no-bias", "one-unit", "residual-norm", "lstm"])
def test_nothing_but_zeros(name: str) -> None:
    x = features(DENSE[name]).map(torch.zeros_like).map(lambda t: t.requires_grad_())
    y = made(DENSE[name])(x)
    sum(t.square().sum() for t in y.tensors).backward()
    assert all(t.isfinite().all() for t in y.tensors)
    assert all(t.grad is None or t.grad.isfinite().all() for t in x.tensors)


def test_gradients() -> None:
    spec = SPECS["tanh"]
    layer, x = made(spec, 1, 2), features(spec, 2, 1)

    def outputs(*tensors: Tensor) -> tuple[Tensor, ...]:
        return layer(WeightFeatures(spec, tensors)).tensors

    assert torch.autograd.gradcheck(outputs, [t.requires_grad_() for t in x.tensors])
    assert all(p.grad is None for p in layer.parameters())
    sum(t.square().sum() for t in layer(x).tensors).backward()
    assert all(p.grad.abs().max() > 0 for p in layer.parameters())


def test_copies_compute_the_same() -> None:
    layer = made(SPECS["siren"])
    x = features(SPECS["siren"])
    for a, b in zip(layer(x).tensors, copy.deepcopy(layer)(x).tensors, strict=True):
        assert torch.equal(a, b)
    other = PathProducts(SPECS["siren"], 2, 3).double()
    other.load_state_dict(layer.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(layer(x).tensors, other(x).tensors, strict=True))


def test_what_lies_on_no_path_is_named() -> None:
    assert PathInvariants(SPECS["relu"], 1, 1).unread == ()
    assert PathInvariants(SPECS["cnn-relu"], 1, 1).unread == ("0.weight", "0.bias", "2.weight", "6.weight")
    assert PathInvariants(DENSE["cnn-relu"], 1, 1).unread == ()
    assert "unread: 0.weight, 0.bias" in repr(PathInvariants(SPECS["cnn-relu"], 1, 1))


def test_refusals() -> None:
    with pytest.raises(SpecError, match="no path to multiply"):
        PathProducts(SPECS["recurrent-sign"], 1, 1)
    with pytest.raises(SymmetryError, match="free axes"):
        PathProducts(SPECS["relu"], 1, 1, spec_out=SPECS["tanh"])
    with pytest.raises(ShapeError, match="2 channels"):
        made(SPECS["relu"])(features(SPECS["relu"], channels=5))


def test_terms_of_signs_alone_can_be_left_out() -> None:
    """What is left is the layer for scales, whose powers tell a wire's ends apart."""
    widths = (2, 4, 4, 3, 2)
    relu, tanh = (spec_of(mlp(widths, function)) for function in (nn.ReLU(), nn.Tanh()))
    plain = PathProducts(tanh, 2, 3, turned=False).double()
    assert plain.linear_parameters == PathProducts(relu, 2, 3).linear_parameters
    assert plain.linear_parameters < PathProducts(tanh, 2, 3).linear_parameters
    assert equivariance_error(plain, tanh, channels=2) < 1e-10


def test_widths_are_channels_of_a_parameter_alone() -> None:
    spec = SPECS["cnn-relu"]
    wide = dense_spec(spec, {"2.weight": 4, "0.bias": 2})
    assert (wide.shape("2.weight"), wide.shape("0.bias"), wide.shape("0.weight")) == ((4, 3, 4), (3, 2), (3, 1))
    there, back = EquivariantLinear(spec, 1, 3, spec_out=wide), EquivariantLinear(wide, 3, 1, spec_out=spec)
    assert equivariance_error(nn.Sequential(there, back).double(), spec, log_scale=8) < 1e-12
    with pytest.raises(SpecError, match=r"a width of 0 for parameter '0.bias'; expected at least 1"):
        dense_spec(spec, {"0.bias": 0})
    with pytest.raises(UnknownNameError, match='did you mean "0.bias"'):
        dense_spec(spec, {"0.bais": 2})


def test_dense_spec_of_dense_networks_is_the_same() -> None:
    spec = spec_of(nn.Sequential(nn.Linear(2, 3), Sine(), nn.Linear(3, 1)))
    assert dense_spec(spec).axes == spec.axes
    assert [spec.shape(p.name) for p in spec.params] == [dense_spec(spec).shape(p.name) for p in spec.params]
