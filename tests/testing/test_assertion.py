"""The assertions on functions of weights: right ones pass in every type of numbers, mutants do not."""

import copy

import pytest
import torch
from tests.laws.registry import SPECS
from torch import Tensor

from weightspace.layers import EquivariantLinear
from weightspace.spec import Element, ParamSpec
from weightspace.testing import assert_equivariant, assert_invariant, random_features
from weightspace.weights import WeightFeatures, act, flatten, sample_element

SPEC = SPECS["relu"]
HARD = ("relu", "siren", "heads-nonzero", "nested-twice", "recurrent-sign", "two-factors", "cnn-relu", "one-layer")
DTYPES = (torch.float64, torch.float32, torch.bfloat16)


def changed(x: WeightFeatures, name: str, tensor: Tensor) -> WeightFeatures:
    return WeightFeatures(x.spec, {**dict(x.items()), name: tensor})


def linear(spec_name: str) -> EquivariantLinear:
    torch.manual_seed(0)
    return EquivariantLinear(SPECS[spec_name], 2, 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", HARD)
def test_layers_pass(name: str, dtype: torch.dtype) -> None:
    for seed in range(3):
        assert_equivariant(linear(name), SPECS[name], channels=2, log_scale=2, dtype=dtype, seed=seed)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_invariants_pass(dtype: torch.dtype) -> None:
    assert_invariant(lambda x: flatten(x).square().sum(1), SPECS["tanh"], dtype=dtype)
    assert_invariant(lambda x: {"last": x["4.bias"]}, SPECS["relu"], dtype=dtype)


@pytest.mark.parametrize("share", [1e-3, 1e-6])
def test_small_entries_scaled_wrongly(share: float) -> None:
    """The fault is in entries far below the largest; only pulling back brings it up."""

    def mutant(x: WeightFeatures) -> WeightFeatures:
        bias = x["0.bias"]
        return changed(x, "0.bias", torch.where(bias.abs() < share * bias.abs().amax(), 1.01 * bias, bias))

    with pytest.raises(
        AssertionError, match=r"not equivariant: error .* at the output\['0.bias'\], entry \(\d, \d, 0\)"
    ):
        assert_equivariant(mutant, SPEC, log_scale=8, batch=32)


def test_a_message_with_everything_to_run_it_again() -> None:
    message = (
        r"not invariant: error \S+ at the output, entry \(\d,\) > tolerance \S+ \(log-uniform scales, torch.float64, "
        r"conditioning \S+, seed 3\)"
    )
    with pytest.raises(AssertionError, match=message):
        assert_invariant(lambda x: flatten(x).sum(1), SPEC, seed=3)
    assert_invariant(lambda x: flatten(x).sum(1), SPECS["tanh"], tolerance=1e3)


def test_an_epsilon_that_is_added_to_what_scales() -> None:
    def mutant(x: WeightFeatures) -> WeightFeatures:
        return x.map(lambda t: t + 1e-9)

    with pytest.raises(AssertionError, match="not equivariant"):
        assert_equivariant(mutant, SPEC)


def test_what_is_not_finite_fails() -> None:
    with pytest.raises(AssertionError, match="error inf"):
        assert_invariant(lambda x: flatten(x).sum(1) / 0, SPEC)


def with_powers(wrong: int):
    """An action that takes the leg of a bias to another power."""

    def mutant(g: Element, x: WeightFeatures) -> WeightFeatures:
        tensors = []
        for param, tensor in zip(x.spec.params, x.tensors, strict=True):
            power = wrong if param.name == "0.bias" else 1
            legs = tuple(type(leg)(leg.axis, tuple(power * p for p in leg.powers)) for leg in param.legs)
            tensors.append(g.move_block(ParamSpec(param.name, legs, param.role, param.view), tensor))
        return WeightFeatures(x.spec, tensors)

    return mutant


def pairing_forgotten(g: Element, x: WeightFeatures) -> WeightFeatures:
    """An action in which each nested leg goes with the first leg of its outer axis, not with the nearest."""
    (tensor,) = x.tensors
    head, unit = g.parts["head"], g.parts["unit"]
    tensor = head.apply(tensor, (1,), ())
    tensor = unit.apply(tensor, (1, 2), ())
    tensor = head.apply(tensor, (3,), ())
    return WeightFeatures(x.spec, [unit.apply(tensor, (1, 4), ())])


@pytest.mark.parametrize(
    ("name", "mutant", "wrong"),
    [("relu", with_powers(1), False), ("relu", with_powers(0), True), ("relu", with_powers(-1), True),
     ("relu", with_powers(2), True), ("nested-twice", pairing_forgotten, True)],
)  # fmt: skip
def test_wrong_actions(name: str, mutant, wrong: bool) -> None:
    """A layer that is right by one action is wrong by another: `act` after the layer, the mutant ahead of it."""
    spec = SPECS[name]
    generator = torch.Generator().manual_seed(0)
    x, g = random_features(spec, 4, 2, generator=generator), sample_element(spec, 4, generator=generator)
    layer = linear(name).double()
    with torch.no_grad():
        left, right = layer(mutant(g, x)), act(g, layer(x))
    distance = max((a - b).abs().max().item() for a, b in zip(left.tensors, right.tensors, strict=True))
    assert (distance > 1e-3) == wrong


def test_modules_stay_as_they_are() -> None:
    layer = linear("relu").train()
    before = copy.deepcopy(layer.state_dict())
    assert_equivariant(layer, SPEC, channels=2)
    assert layer.training
    for key, tensor in layer.state_dict().items():
        assert torch.equal(tensor, before[key])
        assert tensor.dtype == torch.float32
