"""Phases folded into half a turn: the function stays, every phase is small, and nothing is folded that must not be."""

import copy
import math
from collections.abc import Callable, Mapping
from functools import cache

import pytest
import torch
from tests.gauge.rows import apart, generator
from tests.laws.registry import mlp
from tests.oracles.phase import Fold, folded, nearest, with_slip, without_frequency
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.gauge import fold_phases
from weightspace.gauge import phase as module
from weightspace.gauge.phase import phases, shift_phases, sine_places
from weightspace.spec import NetworkSpec, Sine, spec_of
from weightspace.testing import random_features
from weightspace.weights import WeightFeatures, act, features_of, sample_element
from weightspace.zoo.generate.siren import SirenSettings, initial_state, render, siren

sin = torch.sin


class Written(nn.Module):
    """A function of layers by name."""

    def __init__(self, function: Callable, **layers: nn.Module | nn.Parameter) -> None:
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def layer(before: int = 2, after: int = 4) -> nn.Linear:
    return nn.Linear(before, after)


def vector(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.linspace(0.5, 1.5, math.prod(shape)).reshape(shape))


def conv(before: int, after: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(before, after, 1, groups=groups)


MAP = (5, 2, 3, 3)
# Networks, shapes of inputs, and by place the frequency of the sines whose phases are folded.
FOLDED: Mapping[str, tuple[nn.Module, tuple[int, ...], dict[str, float]]] = {
    "siren": (mlp((2, 6, 5, 1), Sine(30.0)), (20, 2), {"0": 30.0, "2": 30.0}),
    "two frequencies": (mlp((2, 6, 5, 1), Sine(30.0), Sine(3.0)), (20, 2), {"0": 30.0, "2": 3.0}),
    "one unit": (mlp((1, 1, 1, 1), Sine(3.0)), (20, 1), {"0": 3.0, "2": 3.0}),
    "negative frequency": (mlp((2, 6, 1), Sine(-4.0)), (20, 2), {"0": -4.0}),
    "sines at the outputs": (nn.Sequential(nn.Linear(2, 4), Sine(3.0)), (20, 2), {"0": 3.0}),
    "beside a tanh": (mlp((2, 4, 4, 1), Sine(3.0), nn.Tanh()), (20, 2), {"0": 3.0}),
    "factors one after another": (
        Written(lambda m, x: m.c(sin(3 * (2 * m.a(x)) / 4)), a=layer(), c=layer(4, 1)),
        (20, 2),
        {"a": 1.5},
    ),
    "convolutions": (
        nn.Sequential(nn.Conv2d(2, 3, 2, padding=1), Sine(4.0), nn.Conv2d(3, 2, 2), Sine(3.0), nn.Flatten(),
                      nn.Linear(18, 1)),
        MAP,
        {"0": 4.0, "2": 3.0},
    ),
    "groups": (
        nn.Sequential(conv(2, 4), Sine(3.0), conv(4, 4, groups=2), Sine(4.0), conv(4, 1)),
        MAP,
        {"0": 3.0, "2": 4.0},
    ),
    "depthwise": (
        nn.Sequential(conv(2, 4), Sine(3.0), conv(4, 4, groups=4), Sine(4.0), conv(4, 1)),
        MAP,
        {"0": 3.0, "0@conv2d_1": 4.0},
    ),
    "two sines on one axis": (
        Written(lambda m, x: m.c(sin(3 * m.a(x)) + sin(7 * m.b(x))), a=layer(), b=layer(), c=layer(4, 1)),
        (20, 2),
        {"a": 3.0, "a@linear_1": 7.0},
    ),
    "a residual sum behind": (
        Written(
            lambda m, x: (lambda h: m.c(h + sin(7 * m.b(h))))(sin(3 * m.a(x))), a=layer(), b=layer(4), c=layer(4, 1)
        ),
        (20, 2),
        {"a": 3.0, "a@linear_1": 7.0},
    ),
    "a residual sum ahead of another": (
        Written(
            lambda m, x: (lambda h: m.c(sin(7 * (h + m.b(h)))))(sin(3 * m.a(x))), a=layer(), b=layer(4), c=layer(4, 1)
        ),
        (20, 2),
        {"a": 3.0},
    ),
    "added to GELUs": (
        Written(lambda m, x: m.c(sin(3 * m.a(x)) + F.gelu(m.b(x))), a=layer(), b=layer(), c=layer(4, 1)),
        (20, 2),
        {"a": 3.0},
    ),
    "a gate": (
        Written(lambda m, x: m.c(sin(3 * m.a(x)) * m.b(x)), a=layer(), b=layer(), c=layer(4, 1)),
        (20, 2),
        {"a": 3.0},
    ),
    "joined ahead": (
        Written(lambda m, x: m.c(sin(3 * torch.cat([m.a(x), m.b(x)], -1))), a=layer(), b=layer(2, 3), c=layer(7, 1)),
        (20, 2),
        {"a": 3.0, "b": 3.0},
    ),
    "behind a LayerNorm": (
        nn.Sequential(nn.Linear(2, 4), nn.LayerNorm(4), Sine(4.0), nn.Linear(4, 1)),
        (20, 2),
        {"0@layer_norm": 4.0},
    ),
    "behind a BatchNorm": (
        nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), Sine(4.0), nn.Linear(4, 1)).eval(),
        (20, 2),
        {"0@batch_norm": 4.0},
    ),
    "a matrix and a vector": (
        Written(lambda m, x: m.c(sin(2 * torch.addmm(m.h, x, m.w))), h=vector(4), w=vector(2, 4), c=layer(4, 1)),
        (20, 2),
        {"output": 2.0},
    ),
}  # fmt: skip
# Where folding would change the function, or may for all that is known.
LEFT: Mapping[str, tuple[nn.Module, tuple[int, ...]]] = {
    "no bias": (mlp((2, 4, 1), Sine(3.0), bias=False), (20, 2)),
    "what arrives is used twice": (
        Written(lambda m, x: m.c(sin(3 * m.a(x)) + m.a(x)), a=layer(), c=layer(4, 1)),
        (20, 2),
    ),
    "the same with two frequencies": (
        Written(lambda m, x: m.c(sin(3 * m.a(x)) + sin(5 * m.a(x))), a=layer(), c=layer(4, 1)),
        (20, 2),
    ),
    "one layer twice": (
        Written(lambda m, x: m.c(sin(3 * m.b(sin(3 * m.b(m.a(x)))))), a=layer(), b=layer(4), c=layer(4, 1)),
        (20, 2),
    ),
    "the bias is used elsewhere": (
        Written(lambda m, x: m.c(sin(3 * m.a(x)) + m.a.bias), a=layer(), c=layer(4, 1)),
        (20, 2),
    ),
    "a residual sum ahead": (
        Written(lambda m, x: (lambda h: m.c(sin(7 * (h + m.b(h)))))(torch.tanh(m.a(x))), a=layer(), b=layer(4),
                c=layer(4, 1)),
        (20, 2),
    ),
    "a number added": (Written(lambda m, x: m.c(sin(3 * m.a(x) + 0.5)), a=layer(), c=layer(4, 1)), (20, 2)),
    "a vector added": (
        Written(lambda m, x: m.c(sin(3 * (m.a(x) + torch.ones(4)))), a=layer(), c=layer(4, 1)),
        (20, 2),
    ),
    "other frequencies by unit": (
        Written(lambda m, x: m.c(sin(torch.arange(1.0, 5.0) * m.a(x))), a=layer(), c=layer(4, 1)),
        (20, 2),
    ),
    "frequencies that are learnt": (
        Written(lambda m, x: m.c(sin(m.w * m.a(x))), a=layer(), w=vector(4), c=layer(4, 1)),
        (20, 2),
    ),
    "joined at two frequencies": (
        Written(lambda m, x: m.c(sin(torch.cat([m.a(x), 2 * m.b(x)], -1))), a=layer(), b=layer(2, 3), c=layer(7, 1)),
        (20, 2),
    ),
    "summed ahead": (Written(lambda m, x: m.c(sin(3 * m.a(x).sum(1))), a=layer(), c=layer(4, 1)), (20, 2, 2)),
    "pooled ahead": (nn.Sequential(nn.Conv2d(2, 3, 1), nn.AvgPool2d(3), Sine(4.0), nn.Conv2d(3, 1, 1)), MAP),
    "half of a bias": (
        Written(lambda m, x: m.c(sin(F.linear(x, m.w, 0.5 * m.h))), h=vector(4), w=vector(4, 2), c=layer(4, 1)),
        (20, 2),
    ),
    "twice a bias": (
        Written(lambda m, x: m.c(sin(torch.addmm(m.h, x, m.w, beta=2.0))), h=vector(4), w=vector(2, 4), c=layer(4, 1)),
        (20, 2),
    ),
    "clamped": (Written(lambda m, x: m.c(sin(m.a(x).clamp(-1, 1))), a=layer(), c=layer(4, 1)), (20, 2)),
    "no frequency at all": (Written(lambda m, x: m.c(sin(0 * m.a(x))), a=layer(), c=layer(4, 1)), (20, 2)),
    "cosines": (Written(lambda m, x: m.c(torch.cos(3 * m.a(x))), a=layer(), c=layer(4, 1)), (20, 2)),
}  # fmt: skip


@cache
def space(network: nn.Module, shape: tuple[int, ...]) -> NetworkSpec:
    return spec_of(network, torch.randn(shape, generator=generator()))


def read(network: nn.Module, shape: tuple[int, ...], size: float = 2.0) -> tuple[nn.Module, Tensor, WeightFeatures]:
    """A network in float64, inputs for it, and random networks like it, their phases several turns around."""
    x = random_features(space(network, shape), 4, generator=generator(1))
    network = copy.deepcopy(network).double()
    inputs = torch.randn(shape, generator=generator(), dtype=torch.float64)
    return network, inputs, x.map(lambda tensor: size * tensor)


def function_error(network: nn.Module, x: WeightFeatures, y: WeightFeatures, inputs: Tensor) -> float:
    """The largest difference of what two batches of networks compute, over the largest number that they give."""
    before, after = (torch.stack([each(inputs) for each in f.to_modules(network)]) for f in (x, y))
    return ((before - after).abs().max() / before.abs().max()).item()


def largest_phase(x: WeightFeatures) -> float:
    """In half turns."""
    return max((sum(x[n] for n in p.biases) / p.step).abs().max().item() for p in sine_places(x.spec))


@pytest.mark.parametrize("name", FOLDED)
def test_functions_are_kept_and_phases_small(name: str) -> None:
    network, shape, frequencies = FOLDED[name]
    network, inputs, x = read(network, shape)
    places = {place.name: math.pi / place.step for place in sine_places(x.spec)}
    assert places == pytest.approx(frequencies)
    y = fold_phases(x)
    assert largest_phase(x) > 1
    assert largest_phase(y) <= 0.5
    assert function_error(network, x, y, inputs) < 1e-12
    assert all(torch.equal(a, b) for a, b in zip(fold_phases(y).tensors, y.tensors, strict=True))


@pytest.mark.parametrize("name", FOLDED)
def test_it_commutes_with_the_group(name: str) -> None:
    network, shape, _ = FOLDED[name]
    _, _, x = read(network, shape)
    g = sample_element(x.spec, len(x), generator=generator(2))
    assert apart(fold_phases(act(g, x)), act(g, fold_phases(x))) < 1e-12


@pytest.mark.parametrize("name", FOLDED)
def test_shifts_are_folded_away(name: str) -> None:
    """Up to signs, which the group has: what comes in and the phase of a unit have one spelling."""
    network, shape, _ = FOLDED[name]
    _, _, x = read(network, shape)
    turns = {name: torch.randint(-3, 4, k.shape, generator=generator(2)).double() for name, k in phases(x).items()}
    shifted = shift_phases(x, turns)
    assert largest_phase(shifted) > 1
    assert apart(fold_phases(shifted), fold_phases(x)) < 1e-9


@pytest.mark.parametrize("name", LEFT)
def test_what_must_not_be_folded_is_left(name: str) -> None:
    _, _, x = read(*LEFT[name])
    assert all(a is b for a, b in zip(fold_phases(x).tensors, x.tensors, strict=True))


def test_a_fold_that_takes_every_bias_for_its_own_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the frequency of the operation just ahead of the sine, as if nothing else could come in between."""
    for name in ("a number added", "half of a bias", "summed ahead", "what arrives is used twice"):
        network, inputs, x = read(*LEFT[name])
        place = next(p for p in x.spec.places if p.activation == "sine")
        careless = module.SinePlace(place.name, place.axis, math.pi / 3, *careless_params(x.spec, place.name))
        with monkeypatch.context() as patch:
            patch.setattr(module, "sine_places", lambda spec, found=careless: (found,))
            assert function_error(network, x, fold_phases(x), inputs) > 1e-2


def careless_params(spec: NetworkSpec, place: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All that leads into a place, and what of it comes from nowhere."""
    wires = [wire for wire in spec.wires if wire.target == place]
    return tuple(str(w.param) for w in wires), tuple(str(w.param) for w in wires if w.source is None)


def test_gains_are_no_biases(monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind a LayerNorm both come from nowhere; one that adds the gain to the phase is caught."""
    network, inputs, x = read(*FOLDED["behind a LayerNorm"][:2])
    (place,) = sine_places(x.spec)
    assert (place.params, place.biases) == (("1.weight", "1.bias"), ("1.bias",))
    both = module.SinePlace(place.name, place.axis, place.step, place.params, place.params)
    monkeypatch.setattr(module, "sine_places", lambda spec: (both,))
    assert function_error(network, x, fold_phases(x), inputs) > 1e-2


@pytest.mark.parametrize("omegas", [(30.0, 30.0), (30.0, 3.0), (1.0, 1.0)])
def test_it_folds_as_the_plain_loops_do(omegas: tuple[float, float]) -> None:
    _, _, x = read(mlp((2, 6, 5, 1), *map(Sine, omegas)), (20, 2))
    for row in range(len(x)):
        state = {key: tensor[0] for key, tensor in x[row].to_state().items()}
        slow = features_of(x.spec, {key: tensor[None] for key, tensor in folded(state, omegas).items()})
        assert apart(fold_phases(x[row]), slow) < 1e-12


def one_by_one(x: WeightFeatures, omegas: tuple[float, ...], fold: Fold) -> WeightFeatures:
    """Every network folded in plain loops, by one of the published rules."""
    states = [folded({key: tensor[0] for key, tensor in x[row].to_state().items()}, omegas, fold) for row in range(4)]
    return features_of(x.spec, {key: torch.stack([state[key] for state in states]) for key in states[0]})


def test_published_folds_are_caught() -> None:
    """One takes the bias for the phase: it breaks functions, or does nothing. One leaves up to three half turns."""
    network, inputs, x = read(mlp((2, 6, 5, 1), Sine(30.0)), (20, 2))
    assert function_error(network, x, one_by_one(x, (30.0, 30.0), nearest), inputs) < 1e-12
    assert function_error(network, x, one_by_one(x, (30.0, 30.0), without_frequency), inputs) > 1e-2
    small = x.map(lambda tensor: tensor / 8)
    assert largest_phase(small) > 1
    assert apart(one_by_one(small, (30.0, 30.0), without_frequency), small) == 0
    slipped = one_by_one(x, (30.0, 30.0), with_slip)
    assert function_error(network, x, slipped, inputs) < 1e-11
    assert largest_phase(slipped) > 2


def test_one_frequency_for_all_layers_is_caught() -> None:
    network, inputs, x = read(*FOLDED["two frequencies"][:2])
    assert function_error(network, x, one_by_one(x, (30.0, 30.0), nearest), inputs) > 1e-2


@pytest.mark.parametrize("omega", [15.0, 30.0])
def test_images_are_kept_in_single_precision(omega: float) -> None:
    settings = SirenSettings(omega=omega)
    x = features_of(spec_of(siren(settings)), initial_state(settings, torch.arange(8)))
    y = fold_phases(x)
    assert largest_phase(x) > 1
    assert largest_phase(y) <= 0.5
    assert (render(x, settings, 28, 28) - render(y, settings, 28, 28)).abs().max() < 1e-5
    assert all(torch.equal(a, b) for a, b in zip(fold_phases(y).tensors, y.tensors, strict=True))


def test_networks_of_a_batch_do_not_meet() -> None:
    _, _, x = read(*FOLDED["siren"][:2])
    one_by_one = WeightFeatures.cat([fold_phases(x[row]) for row in range(len(x))])
    assert all(torch.equal(a, b) for a, b in zip(fold_phases(x).tensors, one_by_one.tensors, strict=True))
    assert len(fold_phases(x[:0])) == 0


def test_exactly_half_a_turn_has_two_spellings() -> None:
    """Each is kept; a unit a little beyond gets the other one."""
    network, inputs, x = read(mlp((2, 4, 1), Sine(2.0)), (20, 2))
    tensors = dict(x.items())
    half = torch.tensor([1.0, -1.0, 1.0001, -1.0001], dtype=torch.float64) * math.pi / 4
    tensors["0.bias"] = half.expand(len(x), 4).unsqueeze(-1)
    x = WeightFeatures(x.spec, tensors)
    y = fold_phases(x)
    kept, turned = [0, 1], [2, 3]
    assert torch.equal(y["0.bias"][:, kept], x["0.bias"][:, kept])
    assert torch.equal(y["0.weight"][:, kept], x["0.weight"][:, kept])
    assert torch.equal(y["0.weight"][:, turned], -x["0.weight"][:, turned])
    assert (y["0.bias"][:, turned] * x["0.bias"][:, turned] > 0).all()  # turned around, on the same side again
    assert function_error(network, x, y, inputs) < 1e-12


def test_gradients_are_those_of_a_sign() -> None:
    """Between the jumps the fold is linear: one for biases, turned around where what comes in is."""
    _, _, x = read(*FOLDED["siren"][:2])
    leaves = [tensor.clone().requires_grad_() for tensor in x.tensors]
    y = fold_phases(WeightFeatures(x.spec, leaves))
    sum(tensor.sum() for tensor in y.tensors).backward()
    signs = 1 - 2 * (phases(x)["0"] % 2)
    gradients = dict(zip([param.name for param in x.spec.params], [leaf.grad for leaf in leaves], strict=True))
    assert torch.equal(gradients["0.bias"], signs)
    assert torch.equal(gradients["0.weight"], signs.unsqueeze(2).expand_as(x["0.weight"]))
    assert torch.equal(gradients["4.weight"], torch.ones_like(x["4.weight"]))


@pytest.mark.parametrize("name", FOLDED)
def test_zeros_stay_and_gradients_are_finite(name: str) -> None:
    network, shape, _ = FOLDED[name]
    _, _, x = read(network, shape)
    zeros = x.map(torch.zeros_like)
    assert all(torch.equal(a, b) for a, b in zip(fold_phases(zeros).tensors, zeros.tensors, strict=True))
    for start in (x, zeros):
        leaves = [tensor.clone().requires_grad_() for tensor in start.tensors]
        sum(tensor.square().sum() for tensor in fold_phases(WeightFeatures(x.spec, leaves)).tensors).backward()
        assert all(leaf.grad is None or leaf.grad.isfinite().all() for leaf in leaves)
