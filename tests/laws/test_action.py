"""The group acts: identity, composition, inverse; and no network's function changes."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.laws.registry import MODULES, SPECS, mlp
from torch import nn

from weightspace.errors import ShapeError, SpecError, SymmetryError
from weightspace.groups import Monomial
from weightspace.spec import ACTIVATIONS, FIXED, POSITIVE, SIGN, Axis, Factor, Leg, Sine, Symmetry, spec_of
from weightspace.testing import function_error, random_features
from weightspace.weights import WeightFeatures, act, features_of, identity, sample_element


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distance(x: WeightFeatures, y: WeightFeatures) -> float:
    return max(
        ((a - b).abs() / (1e-300 + a.abs().max())).max().item() for a, b in zip(x.tensors, y.tensors, strict=True)
    )


@pytest.mark.parametrize("name", SPECS)
def test_elements_act_as_a_group(name: str) -> None:
    spec = SPECS[name]
    x = random_features(spec, 3, channels=2, generator=generator())
    g, h = (sample_element(spec, 3, generator=generator(seed), log_scale=2) for seed in (1, 2))
    assert distance(act(identity(spec), x), x) == 0
    assert distance(act(g @ h, x), act(g, act(h, x))) < 1e-12
    assert distance(act(g.inverse(), act(g, x)), x) < 1e-12
    assert distance(act(g @ g.inverse(), x), x) < 1e-12


def test_composition_in_the_wrong_order_is_caught() -> None:
    spec = SPECS["heads-nonzero"]
    x = random_features(spec, 3, generator=generator())
    g, h = (sample_element(spec, 3, generator=generator(seed)) for seed in (1, 2))
    assert distance(act(h @ g, x), act(g, act(h, x))) > 0.1


@pytest.mark.parametrize("name", MODULES)
def test_no_function_changes(name: str) -> None:
    module, shape = MODULES[name]
    inputs = torch.randn(5, *shape, generator=generator(), dtype=torch.float64)
    assert function_error(module, spec_of(module), (inputs,)) < 1e-9


@pytest.mark.parametrize(("activation", "wrong"), [(nn.ReLU6(), POSITIVE), (nn.GELU(), SIGN), (nn.Tanh(), POSITIVE)])
def test_a_symmetry_too_many_changes_the_function(activation: nn.Module, wrong: Symmetry) -> None:
    """The check drives ReLU6 beyond its bound, where it stops being homogeneous."""
    module = mlp((2, 4, 1), activation)
    right = spec_of(module)
    like = spec_of(mlp((2, 4, 1), nn.ReLU() if wrong == POSITIVE else nn.Tanh()))
    mutant = replace(like, places=right.places)
    assert function_error(module, mutant, (torch.randn(5, 2, generator=generator()),)) > 1e-3


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_table(name: str) -> None:
    """`f(d x) = d f(x)` for every factor the table allows, and for no other."""
    row = ACTIVATIONS[name]
    x = torch.linspace(-9, 9, 181, dtype=torch.float64)
    for factor, values in ((Factor.SIGN, (-1.0,)), (Factor.POSITIVE, (0.01, 0.5, 3.0, 700.0))):
        error = max((row.function(d * x) - d * row.function(x)).abs().max().item() for d in values)
        assert (error < 1e-12) == (factor in row.symmetry.factors), (name, factor, error)
    assert row.source


@settings(max_examples=40, deadline=None)
@given(
    widths=st.lists(st.integers(1, 5), min_size=3, max_size=5),
    names=st.lists(st.sampled_from(sorted(ACTIVATIONS)), min_size=4, max_size=4),
    bias=st.booleans(),
)
def test_any_mlp_keeps_its_function(widths: list[int], names: list[str], bias: bool) -> None:
    activations = [ACTIVATIONS[name].module() for name in names[: len(widths) - 2]]
    torch.manual_seed(0)
    module = mlp(tuple(widths), *activations, bias=bias) if len(activations) > 1 else mlp(tuple(widths), activations[0])
    inputs = torch.randn(3, widths[0], generator=generator())
    assert function_error(module, spec_of(module), (inputs,)) < 1e-7


def test_leaky_slopes_that_are_something_else_are_refused() -> None:
    for slope in (1.0, -1.0):
        with pytest.raises(SpecError, match="LeakyReLU"):
            spec_of(mlp((2, 3, 1), nn.LeakyReLU(slope)))


def test_powers_of_two_only_touch_exponents() -> None:
    g = sample_element(SPECS["relu"], 8, generator=generator(), log_scale=6, powers_of_two=True)
    for part in g.parts.values():
        assert torch.equal(torch.frexp(part.scale).mantissa, torch.full_like(part.scale, 0.5))


def test_bad_elements_are_refused() -> None:
    x = random_features(SPECS["relu"], 3, generator=generator())
    with pytest.raises(SymmetryError, match="disagree"):
        act(sample_element(SPECS["tanh"], 3), x)
    with pytest.raises(SymmetryError, match="2 group elements for 3 networks"):
        act(sample_element(SPECS["relu"], 2), x)
    axes = (Axis("o", 2, FIXED), Axis("u", 2, SIGN, within="o"))
    nested = replace(SPECS["one-layer"], axes=axes, params=(), places=(), wires=())
    with pytest.raises(SymmetryError, match="nested in 'o', which is fixed"):
        sample_element(nested, 1)


def test_a_module_survives_the_round_trip() -> None:
    modules = [mlp((2, 3, 2, 1), nn.ReLU()) for _ in range(4)]
    x = features_of(spec_of(modules[0]), modules)
    for before, after in zip(modules, x.to_modules(modules[0]), strict=True):
        for key, tensor in before.state_dict().items():
            assert torch.equal(tensor, after.state_dict()[key])
    again = features_of(x.spec, x.to_state())
    assert all(torch.equal(a, b) for a, b in zip(again.tensors, x.tensors, strict=True))


def test_networks_of_another_architecture_are_refused() -> None:
    spec = spec_of(mlp((2, 3, 1), nn.ReLU()))
    with pytest.raises(ShapeError, match=r"'0.weight' has shape \(4, 2\).*expects \(3, 2\)"):
        features_of(spec, mlp((2, 4, 1), nn.ReLU()))
    with pytest.raises(ShapeError, match="network 1"):
        features_of(spec, [mlp((2, 3, 1), nn.ReLU()), mlp((2, 4, 1), nn.ReLU())])
    with pytest.raises(ShapeError, match="template"):
        features_of(spec, mlp((2, 3, 1), nn.ReLU())).to_modules(mlp((2, 4, 1), nn.ReLU()))


def test_monomial_blocks() -> None:
    g = Monomial(torch.tensor([[2, 0, 1]]), torch.tensor([[[2.0, 4.0, 8.0]]]))
    v = torch.tensor([[1.0, 10.0, 100.0]])
    assert torch.equal(g.apply(v, (1,), (1,)), torch.tensor([[200.0, 4.0, 80.0]]))
    assert torch.equal(g.apply(v, (1,), (-1,)), torch.tensor([[50.0, 0.25, 1.25]]))
    assert len(g[:1]) == 1


def test_leg_powers_must_fit() -> None:
    with pytest.raises(SpecError, match="1 factor"):
        replace(SPECS["relu"], params=(replace(SPECS["relu"].params[0], legs=(Leg("0"), Leg("input"))),), wires=())


def test_a_weight_used_twice_is_refused() -> None:
    layer = nn.Linear(3, 3)
    with pytest.raises(SpecError, match="used twice"):
        spec_of(nn.Sequential(layer, nn.ReLU(), layer))


def test_sine_is_read_with_its_frequency() -> None:
    assert spec_of(mlp((2, 3, 1), Sine(7.0))).places[1].constants == (("omega", 7.0),)
