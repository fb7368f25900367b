"""Equality modulo symmetry: yes with the element, no with the distance."""

import pytest
import torch
from tests.gauge.rows import EVERY, apart, generator
from tests.laws.registry import SPECS, mlp
from torch import nn

from weightspace.errors import DataError, ShapeError
from weightspace.gauge import align, canonicalise, families, fold_phases, same
from weightspace.gauge.phase import phases, shift_phases
from weightspace.spec import Sine, spec_of
from weightspace.testing import random_features
from weightspace.weights import WeightFeatures, act, sample_element


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize(("dtype", "precision"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_hidden_copies_are_the_same(name: str, dtype: torch.dtype, precision: float) -> None:
    a = random_features(EVERY[name], 1, generator=generator()).to(dtype)
    b = act(sample_element(a.spec, 1, generator=generator(1), log_scale=6), a)
    answer = same(a, b)
    assert answer
    assert answer.element is not None
    assert apart(act(answer.element, fold_phases(a)), b if not phases(a) else fold_phases(b)) < precision


@pytest.mark.parametrize("name", EVERY)
def test_a_thousandth_makes_another_network(name: str) -> None:
    a = random_features(EVERY[name], 1, generator=generator())
    noise = random_features(EVERY[name], 1, generator=generator(2))
    near = WeightFeatures(a.spec, [t * (1 + 1e-3 * n) for t, n in zip(a.tensors, noise.tensors, strict=True)])
    answer = same(a, act(sample_element(a.spec, 1, generator=generator(1)), near))
    assert not answer
    assert answer.element is None
    assert 1e-5 < answer.distance < 0.1


def test_networks_of_other_seeds_are_not() -> None:
    a, b = (random_features(SPECS["relu"], 1, generator=generator(seed)) for seed in (0, 1))
    answer = same(a, b)
    assert not answer.equal
    assert answer.distance > 0.1


def test_shifted_phases_are_the_same() -> None:
    a = random_features(spec_of(mlp((2, 5, 1), Sine(30.0))), 1, generator=generator())
    b = shift_phases(a, {name: torch.ones_like(turns) for name, turns in phases(a).items()})
    assert apart(a, b) > 0.1
    assert same(a, b)


def test_ties_are_looked_at_again() -> None:
    """Units that differ in the order of two equal weights only: their colours tie, and alignment tells them apart."""
    a = random_features(SPECS["gelu"], 1, generator=generator())
    tensors = {name: torch.zeros_like(tensor) for name, tensor in a.items()}
    for unit, (k, out) in enumerate([(0, 0), (1, 1), (0, 0)]):
        tensors["0.weight"][0, unit, k] = 1
        tensors["2.weight"][0, out, unit] = 1
    tensors["4.weight"][:] = torch.tensor([1.0, 2.0])[:, None]
    a = WeightFeatures(a.spec, tensors)
    for seed in range(8):
        assert same(a, act(sample_element(a.spec, 1, generator=generator(seed)), a))


def test_dead_units_do_no_harm() -> None:
    a = random_features(spec_of(mlp((2, 4, 1), nn.ReLU())), 1, generator=generator())
    tensors = {name: tensor.clone() for name, tensor in a.items()}
    tensors["0.weight"][:, 0], tensors["0.bias"][:, 0] = 0, 0
    a = WeightFeatures(a.spec, tensors)
    assert same(a, act(sample_element(a.spec, 1, generator=generator(1), log_scale=6), a))


def test_tolerance() -> None:
    a = random_features(SPECS["relu"], 1, generator=generator())
    near = a.map(lambda tensor: tensor + 1e-6 * tensor.sin())
    assert not same(a, near)
    assert same(a, near, tolerance=1e-3)
    assert not same(a, near.to(torch.float64), tolerance=0.0)


def test_what_cannot_be_compared_is_refused() -> None:
    x, y = random_features(SPECS["relu"], 2), random_features(SPECS["tanh"], 1)
    with pytest.raises(ShapeError, match="different architecture"):
        same(x[0], y)
    with pytest.raises(ShapeError, match="not 2 with 1"):
        same(x, x[0])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    x = random_features(SPECS["relu"], 1)
    broken = WeightFeatures(x.spec, {n: torch.full_like(t, bad) if n == "2.bias" else t for n, t in x.items()})
    for call in (lambda: same(x, broken), lambda: align(broken, x), lambda: canonicalise(broken)):
        with pytest.raises(ShapeError, match=r"'2.bias' of network 0 has entries that are not finite"):
            call()


@pytest.mark.parametrize("tolerance", [-1.0, float("nan")])
@pytest.mark.parametrize("compare", [lambda x, tolerance: same(x[0], x[0], tolerance), families])
def test_a_tolerance_that_nothing_meets_is_refused(compare, tolerance: float) -> None:
    with pytest.raises(DataError, match="expected zero or more"):
        compare(random_features(SPECS["relu"], 2), tolerance)
