"""Alignment finds hidden copies exactly, each assignment is the best there is, and no network is worse off."""

import copy
from itertools import permutations, product

import pytest
import torch
from tests.gauge.rows import EVERY, GROUP_NORMALISED, GROUPS, INPUT, OUTPUT, WRITTEN, apart, generator, written
from tests.laws.registry import MODULES, SPECS, heads, mlp
from torch import nn

from weightspace.errors import ShapeError
from weightspace.gauge import align, align_activations, canonicalise, fold_phases
from weightspace.gauge.leg import factor_positions, only
from weightspace.gauge.match import assign, similarities
from weightspace.gauge.phase import phases, shift_phases
from weightspace.gauge.response import correlations, responses
from weightspace.groups import Monomial
from weightspace.spec import FIXED, NONZERO, PERMUTATION, SIGN, Axis, Factor, Leg, NetworkSpec, Place, Sine, spec_of
from weightspace.testing import random_features
from weightspace.weights import Element, WeightFeatures, act, features_of, sample_element

CNN = nn.Sequential(
    nn.Conv2d(2, 6, 3), nn.Tanh(), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)
).double()


def inner(x: WeightFeatures, y: WeightFeatures) -> float:
    return sum((a * b).sum().item() for a, b in zip(x.tensors, y.tensors, strict=True))


def every_move(spec: NetworkSpec, names: tuple[str, ...]) -> list[Element]:
    """All permutations with all signs of an axis and of another that is nested in it."""
    choices = []
    still = only(spec, 1, {})
    for name in names:
        shape = still.parts[name].perm.shape
        blocks = shape[:-1].numel()
        signs = factor_positions(spec.axis(name), Factor.SIGN)
        one = [
            (perm, sign)
            for perm in permutations(range(shape[-1]))
            for sign in product((1.0, -1.0), repeat=shape[-1] * len(signs))
        ]
        choices.append([(name, combined) for combined in product(one, repeat=blocks)])
    moves = []
    for combination in product(*choices):
        parts = {}
        for name, blocks in combination:
            still_part = still.parts[name]
            perm = torch.tensor([perm for perm, _ in blocks]).reshape(still_part.perm.shape)
            scale = still_part.scale.clone()
            for f in factor_positions(spec.axis(name), Factor.SIGN):
                scale[:, f] = torch.tensor([sign for _, sign in blocks]).reshape(still_part.perm.shape)
            parts[name] = Monomial(perm, scale)
        moves.append(only(spec, 1, parts))
    return moves


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        (SPECS["tanh"], ("0",)),
        (SPECS["gelu"], ("0",)),
        (WRITTEN["normalised"], ("h",)),
        (GROUPS, ("g", "d")),
        (GROUP_NORMALISED, ("g", "c")),
        (heads(NONZERO, 2, (1, 1), (1, -1)), ("head", "unit")),
        (SPECS["heads-permutation"], ("head", "unit")),
        (SPECS["heads-one-unit"], ("head", "unit")),
    ],
)
def test_each_assignment_is_the_best_of_all(spec: NetworkSpec, names: tuple[str, ...]) -> None:
    x, to = (random_features(spec, 1, generator=generator(seed)) for seed in (0, 1))
    if "c" in {axis.name for axis in spec.free_axes}:  # leave the third axis nothing to bring
        to = WeightFeatures(spec, {n: t * 0 if n in ("first", "grouped") else t for n, t in to.items()})
    best = max(inner(act(move, x), to) for move in every_move(spec, names))
    found = assign(spec, names[0], similarities(x, to, names[0]), 1)
    assert inner(act(found, x), to) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_hidden_copies_are_found(name: str) -> None:
    to = random_features(EVERY[name], 8, generator=generator())
    x = act(sample_element(to.spec, 8, generator=generator(1), log_scale=8), to)
    found = align(x, to)
    assert found.distance.max() < 1e-9
    assert apart(found.features, to) < 1e-9
    assert apart(act(found.element, x), to) < 1e-9 or phases(x)


def test_hidden_copies_of_wide_networks_with_noise_are_found() -> None:
    """The units are those of the copy, although no number is."""
    spec = spec_of(mlp((8, 32, 32, 4), nn.Tanh()))
    to = random_features(spec, 4, generator=generator())
    g = sample_element(spec, 4, generator=generator(1))
    noise = random_features(spec, 4, generator=generator(2)).map(lambda tensor: 0.1 * tensor)
    found = align(act(g, to + noise), to)
    back = found.element @ g
    assert all(torch.equal(part.perm, torch.arange(32).expand(4, 32)) for part in back.parts.values())
    assert all((part.scale > 0).all() for part in back.parts.values())
    assert (found.distance < 0.2).all()


def test_blind_to_signs_is_caught() -> None:
    """Matched as if units had no signs: a hidden copy stays hidden."""
    to = random_features(spec_of(mlp((8, 16, 4), nn.Tanh())), 4, generator=generator())
    x = act(sample_element(to.spec, 4, generator=generator(1)), to)
    blind = to.spec.with_symmetry(PERMUTATION)
    found = align(WeightFeatures(blind, x.tensors), WeightFeatures(blind, to.tensors))
    assert found.distance.min() > 0.3
    assert to.spec.axis("0").symmetry == SIGN


def test_blind_to_scales_is_caught() -> None:
    to = random_features(spec_of(mlp((8, 16, 4), nn.ReLU())), 4, generator=generator())
    x = act(sample_element(to.spec, 4, generator=generator(1), log_scale=2), to)
    blind = to.spec.with_symmetry(PERMUTATION)
    assert align(WeightFeatures(blind, x.tensors), WeightFeatures(blind, to.tensors)).distance.min() > 0.3
    assert align(x, to).distance.max() < 1e-9


@pytest.mark.parametrize("name", EVERY)
def test_alignment_never_moves_apart(name: str) -> None:
    """Against networks of other seeds; the start is one of the candidates."""
    x, to = (random_features(EVERY[name], 3, generator=generator(seed)) for seed in (0, 1))
    still = align(x, to, sweeps=0)
    found = align(x, to)
    assert (found.distance <= still.distance + 1e-12).all()
    assert all(tensor.isfinite().all() for tensor in found.features.tensors)


@pytest.mark.parametrize("name", ["relu", "tanh", "cnn-relu", "groups"])
def test_the_distance_belongs_to_the_orbits(name: str) -> None:
    x, to = (random_features(EVERY[name], 4, generator=generator(seed)) for seed in (0, 1))
    g = sample_element(x.spec, 4, generator=generator(2), log_scale=4)
    here, there = align(x, to, sweeps=100), align(x, act(g, to), sweeps=0)
    assert (here.distance <= there.distance + 1e-9).all()
    copy = align(to, act(g, to))
    assert copy.distance.max() < 1e-9


def test_a_batch_is_its_networks() -> None:
    x, to = (random_features(SPECS["relu"], 4, generator=generator(seed)) for seed in (0, 1))
    together, alone = align(x, to), [align(x[row], to[row]) for row in range(4)]
    torch.testing.assert_close(together.distance, torch.cat([one.distance for one in alone]))
    one_for_all = align(x, to[0])
    torch.testing.assert_close(one_for_all.distance[0], together.distance[0])
    assert len(align(x[0], to).features) == 4


@pytest.mark.parametrize("name", MODULES)
def test_functions_are_kept(name: str) -> None:
    template, shape = MODULES[name]
    template = copy.deepcopy(template).double()
    x, to = (random_features(SPECS[name], 2, generator=generator(seed)) for seed in (0, 1))
    inputs = torch.randn(5, *shape, generator=generator(), dtype=torch.float64)
    for before, after in zip(x.to_modules(template), align(x, to).features.to_modules(template), strict=True):
        torch.testing.assert_close(after(inputs), before(inputs), rtol=1e-9, atol=1e-9)


def test_phases_of_the_other_network_are_put_in() -> None:
    siren = mlp((2, 6, 5, 1), Sine(30.0)).double()
    to = random_features(spec_of(siren), 4, generator=generator())
    turns = {name: torch.randint(-3, 4, k.shape, generator=generator(2)).double() for name, k in phases(to).items()}
    x = shift_phases(act(sample_element(to.spec, 4, generator=generator(1)), to), turns)
    found = align(x, to)
    assert apart(found.features, to) < 1e-9
    assert apart(act(found.element, fold_phases(x)), fold_phases(to)) < 1e-9


def test_noise_over_the_seam_of_the_fold() -> None:
    """Folded, a copy and its noisy twin may lie on either side of half a turn; the units are found all the same."""
    siren = mlp((2, 32, 32, 1), Sine(30.0)).double()
    to = random_features(spec_of(siren), 4, generator=generator())
    noise = random_features(to.spec, 4, generator=generator(1))
    near = WeightFeatures(to.spec, [t * (1 + 0.01 * n) for t, n in zip(to.tensors, noise.tensors, strict=True)])
    crossed = [(phases(near)[name] != phases(to)[name]).sum().item() for name in ("0", "2")]
    assert sum(crossed) > 2
    g = sample_element(to.spec, 4, generator=generator(2))
    found = align(act(g, near), to)
    assert apart(found.features, near) < 1e-9
    back = found.element @ g
    assert all(torch.equal(part.perm, torch.arange(32).expand(4, 32)) for part in back.parts.values())


@pytest.mark.parametrize("name", EVERY)
def test_dead_units_and_nothing_at_all(name: str) -> None:
    x = random_features(EVERY[name], 1, generator=generator())
    nothing = x.map(torch.zeros_like)
    for a, b in ((x, nothing), (nothing, x), (nothing, nothing)):
        found = align(a, b)
        assert found.distance.isfinite().all()
        assert all(tensor.isfinite().all() for tensor in found.features.tensors)


def test_networks_that_do_not_fit_are_refused() -> None:
    x, y = random_features(SPECS["relu"], 3), random_features(SPECS["tanh"], 3)
    with pytest.raises(ShapeError, match="one architecture"):
        align(x, y)
    with pytest.raises(ShapeError, match="3 networks cannot be aligned to 2"):
        align(x, x[:2])


# By activations.


@pytest.mark.parametrize("template", [CNN, mlp((3, 8, 6, 2), nn.ReLU()), mlp((3, 8, 6, 2), Sine(2.0))])
def test_hidden_copies_are_found_by_activations(template: nn.Module) -> None:
    inputs = torch.randn(64, *((2, 9, 9) if template is CNN else (3,)), generator=generator(), dtype=torch.float64)
    template = copy.deepcopy(template).double()
    to = features_of(spec_of(template), template)
    hidden = act(sample_element(to.spec, 1, generator=generator(1), log_scale=2), to)
    found = align_activations(hidden.to_modules(template)[0], template, to.spec, inputs)
    assert apart(found.features, to) < 1e-6
    assert found.distance.item() < 1e-6


def test_values_of_norms_and_gains_are_recorded() -> None:
    values = responses(CNN, spec_of(CNN), torch.randn(4, 2, 9, 9, dtype=torch.float64))
    assert {path: tuple(v.shape) for path, (_, v) in values.items()} == {"0": (196, 6), "2": (100, 5), "6": (4, 3)}
    found = correlations(CNN, CNN, spec_of(CNN), torch.randn(4, 2, 9, 9, dtype=torch.float64))
    for axis, by_axis in found.items():
        for alike in by_axis[axis].values():
            torch.testing.assert_close(alike[0].diagonal(), torch.ones_like(alike[0].diagonal()))


def test_axes_without_recorded_values_are_matched_by_weights() -> None:
    """A functional layer owns its weights itself and answers nothing of its own."""

    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Parameter(torch.randn(5, 3, generator=generator(3), dtype=torch.float64))
            self.second = nn.Parameter(torch.randn(2, 5, generator=generator(4), dtype=torch.float64))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.tanh(x @ self.first.mT) @ self.second.mT

    spec = written(
        (Axis("i", 3, FIXED), Axis("h", 5, SIGN), Axis("o", 2, FIXED)),
        (INPUT, Place("h", "h", "tanh"), OUTPUT),
        "first:input>h second:h>output",
        first=(Leg("h", (1,)), Leg("i")),
        second=(Leg("o"), Leg("h", (1,))),
    )
    to = features_of(spec, Functional())
    hidden = act(sample_element(spec, 1, generator=generator(1)), to)
    found = align_activations(
        hidden.to_modules(Functional())[0], Functional(), spec, torch.randn(9, 3, dtype=torch.float64)
    )
    assert apart(found.features, to) < 1e-12


def test_the_canonical_form_is_a_hidden_copy() -> None:
    x = random_features(SPECS["relu"], 3, generator=generator())
    assert align(canonicalise(x), x).distance.max() < 1e-9
