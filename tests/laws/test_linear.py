"""The linear layer is every equivariant map: law, sensitivity, completeness, slow twin, gradients."""

import pickle
from dataclasses import replace

import pytest
import torch
from tests.laws.registry import CHAINS, NESTED_TWICE, SPECS, heads, mlp
from tests.oracles.linear import constant_dimension, equivariant_dimension, linear_by_terms
from torch import Tensor, nn
from torch.func import functional_call, vmap

from weightspace.errors import ShapeError, SymmetryError
from weightspace.layers import EquivariantLinear
from weightspace.spec import FIXED, NONZERO, POSITIVE, Axis, NetworkSpec, Sine, spec_of
from weightspace.testing import equivariance_error, orbit_error, random_features
from weightspace.weights import WeightFeatures, act, flatten, sample_element, unflatten

KNOWN = {
    "relu": 13,
    "tanh": 15,
    "gelu": 75,
    "all-permuted": 32,
    "one-unit": 65,
    "siren-two-layers": 17,
    "relu-gelu": 45,
    "gelu-tanh": 51,
    "recurrent-permutation": 63,
    "recurrent-sign": 13,
    "residual-sign": 13,
    "heads-nonzero": 8,
} | {name: maps for name, (_, maps) in CHAINS.items()}
SMALL = {name: spec for name, spec in SPECS.items() if spec.numel <= 45}
SMALL |= {name: spec_of(module, verify=False) for name, (module, _) in CHAINS.items()}


def randomised(
    spec: NetworkSpec, channels_in: int = 1, channels_out: int = 1, **options: NetworkSpec
) -> EquivariantLinear:
    """A layer with every coefficient drawn, constants included."""
    torch.manual_seed(0)
    layer = EquivariantLinear(spec, channels_in, channels_out, **options).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter)
    return layer


@pytest.mark.parametrize("name", SPECS)
def test_equivariant(name: str) -> None:
    assert equivariance_error(randomised(SPECS[name], 2, 3), SPECS[name], channels=2, log_scale=8) < 1e-12


@pytest.mark.parametrize("name", ["relu", "leaky", "no-bias", "cnn-relu", "two-factors"])
def test_scales_by_powers_of_two_agree_to_the_bit(name: str) -> None:
    spec = SPECS[name]
    x = random_features(spec, 3, 2, generator=torch.Generator().manual_seed(0))
    g = sample_element(spec, 3, log_scale=8, powers_of_two=True, permute=False)
    layer = randomised(spec, 2, 2)
    assert orbit_error(layer, lambda v: act(g, v), lambda y: act(g.inverse(), y), x) == 0.0


@pytest.mark.parametrize("name", SMALL)
def test_complete(name: str) -> None:
    """As many coefficients as there are equivariant maps, and no two combinations of them are the same map."""
    spec = SMALL[name]
    layer = EquivariantLinear(spec, 1, 1).double()
    assert layer.linear_parameters == equivariant_dimension(spec)
    assert layer.constant_parameters == constant_dimension(spec)
    assert layer.linear_parameters == KNOWN.get(name, layer.linear_parameters)
    assert rank(layer) == layer.linear_parameters


@pytest.mark.parametrize("depth", [2, 3, 4, 5])
@pytest.mark.parametrize(("n", "m"), [(2, 2), (3, 1), (4, 3)])
def test_count_of_a_chain(depth: int, n: int, m: int) -> None:
    """The formulas in inputs, outputs and depth; hidden widths do not count."""
    scales = (n + 1) ** 2 + 2 * (depth - 2) + 2 * m**2
    signs = (n + 1 + m) ** 2 + m**2 if depth == 2 else scales + 2 * m
    for activation, expected in ((nn.ReLU(), scales), (Sine(), signs)):
        spec = spec_of(mlp((n, *range(5, 4 + depth), m), activation), verify=False)
        layer = EquivariantLinear(spec, 1, 1)
        assert (layer.linear_parameters, layer.constant_parameters) == (expected, m)


def rank(layer: EquivariantLinear) -> int:
    """Of the layer's matrix as a function of its coefficients."""
    basis = unflatten(layer.spec, torch.eye(layer.spec.numel, dtype=torch.float64))
    weights = {name: weight for name, weight in layer.named_parameters() if name.startswith("weights")}
    sizes = [weight.numel() for weight in weights.values()]

    def matrix(row: Tensor) -> Tensor:
        parts = zip(weights.items(), row.split(sizes), strict=True)
        drawn = {name: part.reshape(weight.shape) for (name, weight), part in parts}
        return flatten(functional_call(layer, drawn, (basis,))).flatten()

    return int(torch.linalg.matrix_rank(vmap(matrix)(torch.eye(sum(sizes), dtype=torch.float64))))


@pytest.mark.parametrize("name", SPECS)
def test_equals_the_slow_twin(name: str) -> None:
    layer = randomised(SPECS[name], 2, 3)
    x = random_features(SPECS[name], 2, 2, generator=torch.Generator().manual_seed(0))
    for fast, slow in zip(layer(x).tensors, linear_by_terms(layer, x).tensors, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("layer_of", "tested_on"), [("tanh", "relu"), ("gelu", "tanh"), ("gelu", "relu")])
def test_near_symmetries_are_not_respected(layer_of: str, tested_on: str) -> None:
    """A layer for a smaller group fails on the larger one: the same networks, described with more symmetry."""
    layer, larger, smaller = randomised(SPECS[layer_of]), SPECS[tested_on], SPECS[layer_of]

    def relabelled(x: WeightFeatures) -> WeightFeatures:
        return WeightFeatures(larger, layer(WeightFeatures(smaller, x.tensors)).tensors)

    assert equivariance_error(relabelled, larger) > 1e-2


def test_a_layer_that_mixes_units_is_caught() -> None:
    layer, spec = randomised(SPECS["relu"]), SPECS["relu"]

    def mutant(x: WeightFeatures) -> WeightFeatures:
        y = dict(layer(x).items())
        y["0.bias"] = y["0.bias"] + 1e-6 * y["0.bias"].roll(1, dims=1)
        return WeightFeatures(spec, y)

    assert equivariance_error(layer, spec) < 1e-12 < 1e-9 < equivariance_error(mutant, spec)


def test_fixed_axes_may_differ_between_input_and_output() -> None:
    source = SPECS["cnn-relu"]
    flat = replace(
        source,
        axes=tuple(replace(a, size=1) if "kernel" in a.name else a for a in source.axes),
    )
    layer = randomised(source, 1, 2, spec_out=flat)
    y = layer(random_features(source, 2))
    assert y["0.weight"].shape == (2, 3, 1, 1, 1, 2)
    g = sample_element(source, 2, log_scale=4)
    error = orbit_error(layer, lambda v: act(g, v), lambda y: act(g.inverse(), y), random_features(source, 2))
    assert error < 1e-12


def test_other_free_axes_in_the_output_are_refused() -> None:
    with pytest.raises(SymmetryError, match="'0'"):
        EquivariantLinear(SPECS["relu"], 1, 1, spec_out=SPECS["gelu"])


def test_features_of_another_space_are_refused() -> None:
    layer = EquivariantLinear(SPECS["relu"], 1, 1)
    with pytest.raises(ShapeError, match="features of a space of 20 parameters"):
        layer(random_features(SPECS["tanh"], 2).to(torch.float32))
    with pytest.raises(ShapeError, match="features with 2 channels"):
        layer(random_features(SPECS["relu"], 2, channels=2).to(torch.float32))


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh(), nn.GELU()])
@pytest.mark.parametrize("shared", [0.0, 0.9])
def test_initialisation_keeps_the_variance_over_depth(activation: nn.Module, shared: float) -> None:
    """For features that differ from unit to unit and for features that are nearly the same in all of them."""
    spec = spec_of(mlp((2, 24, 24, 3), activation))
    torch.manual_seed(0)
    x = random_features(spec, 64, channels=32, generator=torch.Generator().manual_seed(0))
    x = x.map(
        lambda t: (1 - shared) ** 0.5 * t + shared**0.5 * t.flatten(1, -2)[:, :1].reshape(64, *[1] * (t.ndim - 2), 32)
    )
    for _ in range(6):
        x = EquivariantLinear(spec, 32, 32).double()(x)
    assert all(0.1 < tensor.square().mean().item() < 4 for tensor in x.tensors)


def test_gradients_agree_with_differences() -> None:
    layer = randomised(NESTED_TWICE, 1, 1)
    x = random_features(NESTED_TWICE, 2, generator=torch.Generator().manual_seed(0))
    inputs = tuple(t.requires_grad_() for t in x.tensors)
    assert torch.autograd.gradcheck(lambda *t: layer(WeightFeatures(NESTED_TWICE, t)).tensors, inputs)


def test_every_parameter_matters() -> None:
    spec = SPECS["siren"]
    layer = randomised(spec, 2, 2)
    sum(t.square().sum() for t in layer(random_features(spec, 4, 2)).tensors).backward()
    assert all(parameter.grad.abs().min() > 0 for parameter in layer.parameters())


def test_pickles_and_prints() -> None:
    layer = EquivariantLinear(SPECS["tanh"], 1, 4)
    assert "60 linear and 4 constant" in repr(layer)
    x = random_features(SPECS["tanh"], 2).to(torch.float32)
    again = pickle.loads(pickle.dumps(layer))
    assert torch.equal(again(x)["0.weight"], layer(x)["0.weight"])


def test_wider_nested_space_keeps_the_rule() -> None:
    """Counts do not depend on sizes once there are enough units."""
    small, large = heads(NONZERO, 3, (1, 1), (1, -1)), heads(NONZERO, 5, (1, 1), (1, -1))
    assert EquivariantLinear(small, 1, 1).linear_parameters == EquivariantLinear(large, 1, 1).linear_parameters == 8


def test_a_space_without_free_axes_is_mixed_fully() -> None:
    spec = spec_of(nn.Linear(2, 3))
    assert EquivariantLinear(spec, 1, 1).linear_parameters == 81
    assert [axis.symmetry for axis in spec.axes] == [FIXED, FIXED]
    assert Axis("x", 1, POSITIVE).size == 1
