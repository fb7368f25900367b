"""Gauge norms follow their place's powers, stay in range, and equal the plain formula."""

from dataclasses import replace

import pytest
import torch
from tests.gauge.rows import DEPTHWISE, FORGETFUL, GATED, PLACED, WRITTEN, generator
from tests.laws.registry import SPECS
from torch import Tensor

from weightspace.errors import ShapeError, UnknownNameError
from weightspace.gauge import gauge_norms
from weightspace.gauge.leg import nest
from weightspace.spec import Leg, NetworkSpec, ParamSpec, Place, View
from weightspace.testing import random_features
from weightspace.weights import Element, WeightFeatures, act, sample_element


def followed(spec: NetworkSpec, place: Place, g: Element, norms: Tensor) -> Tensor:
    """The norms of one place moved and multiplied as its powers say: as a parameter with these powers would be."""
    axes = nest(spec, place.axis)
    outer = tuple(Leg(axis.name, (0,) * len(axis.symmetry.factors)) for axis in axes[:-1])
    like = replace(
        spec,
        params=(ParamSpec("c", (*outer, Leg(place.axis, place.powers)), "weight", View("c")),),
        places=(),
        wires=(),
    )
    return act(g, WeightFeatures(like, [norms.unsqueeze(-1)])).tensors[0].squeeze(-1).abs()


def error(spec: NetworkSpec, norms: object = gauge_norms, log_scale: float = 8) -> float:
    """How far norms are from following the powers, relative to each unit's norm."""
    x = random_features(spec, 4, channels=2, generator=generator())
    g = sample_element(spec, 4, generator=generator(1), log_scale=log_scale)
    before, after = norms(x), norms(act(g, x))
    pairs = [(followed(spec, place, g, before[place.name]), after[place.name]) for place in spec.places]
    return max(((a - b).abs() / a).max().item() for a, b in pairs)


@pytest.mark.parametrize("name", PLACED)
def test_norms_follow_the_powers(name: str) -> None:
    assert error(PLACED[name]) < 1e-12


@pytest.mark.parametrize("name", ["residual", "depthwise", "normalised", "square", "gated"])
def test_wrong_powers_are_caught(name: str) -> None:
    """A spec whose places carry the wrong power."""
    spec = WRITTEN[name]
    wrong = [replace(p, powers=tuple(2 * power + 1 for power in p.powers)) for p in spec.places]
    assert error(replace(spec, places=tuple(wrong))) > 0.1


@pytest.mark.parametrize("name", ["relu", "cnn-relu", *WRITTEN])
def test_float32_stays_in_range(name: str) -> None:
    x = random_features(PLACED[name], 4, generator=generator())
    # A product of two factors reaches beyond float32's range itself, and so does a square.
    decades = 5 if name in ("gated", "square") else 10
    moved = act(sample_element(x.spec, 4, generator=generator(1), log_scale=decades), x)
    exact, single = gauge_norms(moved), gauge_norms(moved.to(torch.float32))
    for place, norms in single.items():
        assert norms.isfinite().all()
        torch.testing.assert_close(norms.double(), exact[place], rtol=1e-5, atol=0)


def plain_norms(x: WeightFeatures, bias: bool = True) -> list[Tensor]:
    """The formula for an MLP of one network, unit by unit."""
    tensors = dict(x.items())
    norms = [torch.ones(x.spec.axis("input").size, dtype=torch.float64)]
    for name in sorted(name for name in tensors if name.endswith("weight")):
        weight, shift = tensors[name][0, ..., 0], tensors[name.replace("weight", "bias")][0, :, 0]
        row = []
        for unit in range(len(weight)):
            total = sum((weight[unit, k] * norms[-1][k]) ** 2 for k in range(weight.shape[1]))
            row.append((total + (shift[unit] ** 2 if bias else 0)) ** 0.5)
        norms.append(torch.stack(row))
    return norms


def test_they_equal_the_formula() -> None:
    x = random_features(SPECS["relu"], 1, generator=generator())
    found = gauge_norms(x)
    for norms, expected in zip(found.values(), plain_norms(x), strict=True):
        torch.testing.assert_close(norms[0], expected)
    forgetful = plain_norms(x, bias=False)
    assert all((n[0] - e).abs().max() > 1e-2 for n, e in zip(list(found.values())[1:], forgetful[1:], strict=True))


def test_gains_gates_and_normalisations() -> None:
    x = random_features(DEPTHWISE, 1, generator=generator())
    c = gauge_norms(x)
    kernel = x["depthwise"][0, ..., 0].norm(dim=-1)
    torch.testing.assert_close(c["own"][0], ((kernel * c["received"][0]) ** 2 + x["bias"][0, :, 0] ** 2).sqrt())
    x = random_features(GATED, 1, generator=generator())
    c = gauge_norms(x)
    torch.testing.assert_close(c["product"], c["up"] * c["gate"])
    x = random_features(FORGETFUL, 1, generator=generator())
    torch.testing.assert_close(gauge_norms(x)["normed"], torch.hypot(x["gain"], x["shift"])[..., 0])


def with_dead_unit(x: WeightFeatures) -> WeightFeatures:
    """The first hidden unit of an MLP with nothing coming in."""
    tensors = {name: tensor.clone() for name, tensor in x.items()}
    tensors["0.weight"][:, 0] = 0
    tensors["0.bias"][:, 0] = 0
    return WeightFeatures(x.spec, tensors)


def test_dead_units_have_norm_zero_and_finite_gradients() -> None:
    x = with_dead_unit(random_features(SPECS["relu"], 2, generator=generator()).to(torch.float32))
    x = x.map(lambda tensor: tensor.clone().requires_grad_())
    c = gauge_norms(x)
    assert (c["0"][:, 0] == 0).all()
    assert (c["0"][:, 1:] > 0).all()
    sum(norms.sum() for norms in c.values()).backward()
    assert all(tensor.grad.isfinite().all() for tensor in x.tensors)
    assert x["0.weight"].grad[:, 1:].abs().min() > 0


def test_nothing_at_all() -> None:
    for spec in WRITTEN.values():
        x = random_features(spec, 2).map(lambda tensor: torch.zeros_like(tensor).requires_grad_())
        c = gauge_norms(x)
        assert all((norms == 0).all() for place, norms in c.items() if place != "input")
        c["output"].sum().backward()
        assert all(tensor.grad is None or tensor.grad.isfinite().all() for tensor in x.tensors)


def test_inputs_of_other_sizes() -> None:
    x = random_features(SPECS["no-bias"], 3, generator=generator())
    double = gauge_norms(x, {"input": torch.full((2,), -2.0)})
    for place, norms in gauge_norms(x).items():
        torch.testing.assert_close(double[place], 2 * norms)
    with pytest.raises(UnknownNameError, match='did you mean "input"'):
        gauge_norms(x, {"inputs": torch.ones(2)})
    with pytest.raises(ShapeError, match=r"expected \(2,\) or \(3, 2\)"):
        gauge_norms(x, {"input": torch.ones(3)})


def test_places_whose_wires_are_not_known_have_norm_zero() -> None:
    """Where a factor acts, any other number would break the law."""
    spec = replace(SPECS["relu"], wires=SPECS["relu"].wires[2:])
    assert error(spec) != error(spec) or error(spec) < 1e-12  # zero over zero where nothing is known
    assert (gauge_norms(random_features(spec, 1))[spec.places[1].name] == 0).all()
