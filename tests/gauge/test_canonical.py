"""One representative per orbit: same function, same for all members, idempotent, without undefined numbers."""

import copy
import math

import pytest
import torch
from tests.gauge.rows import EVERY, GROUP_NORMALISED, PLACED, WRITTEN, apart, generator
from tests.laws.registry import MODULES, SPECS, TWO_FACTORS, mlp, written
from torch import nn

from weightspace.gauge import canonical_element, canonicalise, fold_phases, gauge_norms
from weightspace.gauge.order import order_units
from weightspace.gauge.phase import phases, shift_phases
from weightspace.gauge.scale import balance
from weightspace.gauge.sign import settle_signs
from weightspace.groups import Monomial
from weightspace.spec import SIGN, Axis, Factor, Leg, Sine, spec_of
from weightspace.testing import random_features
from weightspace.weights import WeightFeatures, act, features_of, identity, sample_element


def orbit_error(form: object, name: str, log_scale: float = 8) -> float:
    """How far a form is from being the same for two members of an orbit."""
    x = random_features(EVERY[name], 8, generator=generator())
    g = sample_element(x.spec, 8, generator=generator(1), log_scale=log_scale)
    return apart(form(act(g, x)), form(x))


@pytest.mark.parametrize("name", EVERY)
def test_the_same_for_every_member_of_an_orbit(name: str) -> None:
    assert orbit_error(canonicalise, name) < 1e-9


@pytest.mark.parametrize("name", EVERY)
def test_twice_is_once(name: str) -> None:
    once = canonicalise(random_features(EVERY[name], 8, generator=generator()))
    assert apart(canonicalise(once), once) < 1e-9


@pytest.mark.parametrize("name", EVERY)
def test_it_is_the_action_of_an_element(name: str) -> None:
    x = random_features(EVERY[name], 3, channels=2, generator=generator())
    y = act(canonical_element(x), x)
    assert apart(canonicalise(x), y if not phases(x) else act(canonical_element(x), fold_phases(x))) == 0


@pytest.mark.parametrize("name", MODULES)
def test_functions_are_kept(name: str) -> None:
    template, shape = MODULES[name]
    x = random_features(SPECS[name], 4, generator=generator())
    inputs = torch.randn(5, *shape, generator=generator(), dtype=torch.float64)
    template = copy.deepcopy(template).double()
    pairs = zip(x.to_modules(template), canonicalise(x).to_modules(template), strict=True)
    for before, after in pairs:
        torch.testing.assert_close(after(inputs), before(inputs), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["relu", "cnn-relu", "depthwise", "normalised", "groups", "square"])
def test_units_are_driven_with_norm_one(name: str) -> None:
    y = canonicalise(random_features(EVERY[name], 4, generator=generator()))
    norms = gauge_norms(y)
    for place in y.spec.places:
        factors = y.spec.axis(place.axis).symmetry.factors
        if any(p for f, p in zip(factors, place.powers, strict=True) if f is Factor.POSITIVE):
            torch.testing.assert_close(norms[place.name], torch.ones_like(norms[place.name]))


def test_norms_of_a_stream_have_geometric_mean_one() -> None:
    norms = gauge_norms(canonicalise(random_features(WRITTEN["residual"], 4, generator=generator())))
    torch.testing.assert_close(norms["s0"] * norms["s1"], torch.ones_like(norms["s0"]))


@pytest.mark.parametrize("name", ["relu", "tanh", "cnn-relu", "normalised", "groups"])
def test_single_precision(name: str) -> None:
    x = random_features(EVERY[name], 8, generator=generator())
    g = sample_element(x.spec, 8, generator=generator(1), log_scale=8)
    y = canonicalise(act(g, x).to(torch.float32))
    assert y.dtype == torch.float32
    assert apart(y.to(torch.float64), canonicalise(x)) < 1e-4


# What a careless canonical form would do; each is caught by the law.


def sorted_by_bias(x: WeightFeatures) -> WeightFeatures:
    """Sorts by the raw bias, whose sign is not yet settled, and settles signs afterwards."""
    x = act(balance(x), x)
    perm = x["0.bias"][..., 0].argsort(-1)
    still = identity(x.spec, len(x))
    parts = {**still.parts, "0": Monomial(perm, still.parts["0"].scale)}
    x = act(type(still)(still.axes, parts), x)
    return act(settle_signs(x), x)


@pytest.mark.parametrize(
    ("name", "mutant"),
    [
        ("tanh", sorted_by_bias),
        ("relu", lambda x: act(order_units(x), x)),
        ("tanh", lambda x: act(order_units(x), x)),
        ("relu", lambda x: act(balance(x), x)),
        ("tanh", lambda x: act(settle_signs(x), x)),
    ],
)
def test_careless_forms_are_caught(name: str, mutant: object) -> None:
    assert orbit_error(mutant, name, log_scale=1) > 0.1


# Dead units, ties, several channels.


def silenced(x: WeightFeatures, **units: tuple[int, ...]) -> WeightFeatures:
    """The networks with some rows of some parameters zero."""
    tensors = {name: tensor.clone() for name, tensor in x.items()}
    for name, rows in units.items():
        key = name.replace("_", ".")[1:]
        if key == "2.weight":
            tensors[key][:, :, list(rows)] = 0
        else:
            tensors[key][:, list(rows)] = 0
    return WeightFeatures(x.spec, tensors)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.Tanh(), nn.GELU(), Sine(3.0), nn.Identity()])
@pytest.mark.parametrize(
    "units",
    [
        {"_0.weight": (0, 3), "_0.bias": (0, 3)},
        {"_2.weight": (1, 2)},
        {"_0.weight": (0, 3), "_0.bias": (0, 3), "_2.weight": (0, 2, 3)},
        {"_0.weight": (0, 1, 2, 3, 4), "_0.bias": (0, 1, 2, 3, 4)},
    ],
)
def test_dead_units(activation: nn.Module, units: dict[str, tuple[int, ...]]) -> None:
    x = silenced(random_features(spec_of(mlp((2, 5, 3), activation)), 4, generator=generator()), **units)
    g = sample_element(x.spec, 4, generator=generator(1), log_scale=8)
    a, b = canonicalise(x), canonicalise(act(g, x))
    assert apart(b, a) < 1e-9


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_ties_give_numbers(name: str, value: float) -> None:
    x = random_features(EVERY[name], 2).map(lambda tensor: torch.full_like(tensor, value))
    assert all(tensor.isfinite().all() for tensor in canonicalise(x).tensors)


def test_copies_of_a_unit_are_no_tie() -> None:
    x = random_features(SPECS["leaky"], 4, generator=generator())
    tensors = {name: tensor.clone() for name, tensor in x.items()}
    for name in ("0.weight", "0.bias"):
        tensors[name][:, 1] = tensors[name][:, 0]
    x = WeightFeatures(x.spec, tensors)
    assert apart(canonicalise(act(sample_element(x.spec, 4, log_scale=4), x)), canonicalise(x)) < 1e-9


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu", "normalised"])
def test_several_channels(name: str) -> None:
    x = random_features(EVERY[name], 4, channels=3, generator=generator())
    g = sample_element(x.spec, 4, generator=generator(1), log_scale=4)
    assert apart(canonicalise(act(g, x)), canonicalise(x)) < 1e-9


def test_a_weight_that_changes_with_three_signs() -> None:
    """Such a weight settles the sign of parts that hang together by nothing else."""
    axes = (Axis("a", 2, SIGN), Axis("b", 3, SIGN), Axis("c", 2, SIGN))
    spec = written(axes, cube=(Leg("a", (1,)), Leg("b", (1,)), Leg("c", (1,))), pair=(Leg("a", (1,)), Leg("b", (1,))))
    x = random_features(spec, 8, generator=generator())
    g = sample_element(spec, 8, generator=generator(1))
    assert apart(canonicalise(act(g, x)), canonicalise(x)) < 1e-12


def test_specs_without_places_are_balanced_by_their_entries() -> None:
    x = random_features(TWO_FACTORS, 4, generator=generator())
    y = act(balance(x), x)
    logs = {name: tensor.abs().log() for name, tensor in y.items()}
    received = logs["received"].sum((2, 3)) - logs["depthwise"].sum(2)
    own = logs["depthwise"].sum(2) + logs["bias"].sum(2) - logs["out"].sum((1, 3))
    assert max(received.abs().max().item(), own.abs().max().item()) < 1e-12


# Sine phases.

SIREN = mlp((2, 6, 5, 1), Sine(30.0)).double()


def shifted(x: WeightFeatures) -> WeightFeatures:
    """The same functions with phases moved by a few half turns."""
    turns = {name: torch.randint(-3, 4, k.shape, generator=generator(2)).double() for name, k in phases(x).items()}
    return shift_phases(x, turns)


def test_shifted_phases_keep_the_function_and_are_folded_back() -> None:
    x = random_features(spec_of(SIREN), 4, generator=generator())
    y = shifted(act(sample_element(x.spec, 4, generator=generator(1)), x))
    points = torch.rand(20, 2, dtype=torch.float64, generator=generator())
    for before, after in zip(x.to_modules(SIREN), y.to_modules(SIREN), strict=True):
        torch.testing.assert_close(after(points), before(points))
    a, b = canonicalise(x), canonicalise(y)
    assert apart(b, a) < 1e-9
    for name in ("0.bias", "2.bias"):
        assert a[name].abs().max() <= math.pi / 60 + 1e-12
    assert x["0.bias"].abs().max() > 1
    assert torch.equal(a["4.bias"], x["4.bias"])


def test_a_fold_that_forgets_the_sign_is_caught() -> None:
    x = random_features(spec_of(SIREN), 1, generator=generator())
    turns = phases(x)
    tensors = dict(x.items())
    for name, turn in turns.items():
        tensors[f"{name}.bias"] = tensors[f"{name}.bias"] - turn * math.pi / 30
    points = torch.rand(20, 2, dtype=torch.float64, generator=generator())
    before, wrong = (features.to_modules(SIREN)[0](points) for features in (x, WeightFeatures(x.spec, tensors)))
    assert (before - wrong).abs().max() > 0.1


def test_shifting_back_undoes_a_shift() -> None:
    x = random_features(spec_of(SIREN), 4, generator=generator())
    turns = {name: torch.randint(-3, 4, k.shape, generator=generator(2)).double() for name, k in phases(x).items()}
    assert apart(shift_phases(shift_phases(x, turns), turns, back=True), x) < 1e-12


def test_phases_of_half_a_turn_stay() -> None:
    x = features_of(spec_of(SIREN), SIREN)
    x = WeightFeatures(x.spec, {n: torch.full_like(t, math.pi / 60) if n == "0.bias" else t for n, t in x.items()})
    assert torch.equal(fold_phases(x)["0.bias"], x["0.bias"])


@pytest.mark.parametrize("name", [name for name in PLACED if "siren" not in name and "sine" not in name])
def test_without_sine_units_there_are_no_phases(name: str) -> None:
    assert not phases(random_features(PLACED[name], 1))


def test_gains_of_one_size_are_no_tie() -> None:
    """Behind a normalisation by groups all gains have magnitude one in the gauge, and several share a sign."""
    spec = GROUP_NORMALISED
    x = random_features(spec, 16, generator=generator()).map(lambda tensor: tensor / 10)
    g = sample_element(spec, 16, generator=generator(1), log_scale=4)
    assert apart(canonicalise(act(g, x)), canonicalise(x)) < 1e-9
