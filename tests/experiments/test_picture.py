"""Arrays to look at: tied entries, and a walk along an orbit on which nothing is to be seen."""

import numpy as np
import pytest
import torch
from tests.laws.registry import SPECS, mlp
from tests.oracles.linear import representation
from torch import nn

from weightspace.experiments.picture import orbit_walk, tied_entries
from weightspace.spec import PERMUTATION, NetworkSpec, Sine, spec_of
from weightspace.weights import Element, WeightFeatures, features_of, sample_element
from weightspace.zoo.generate.siren import SirenSettings, render, siren

SMALL_SIREN = spec_of(mlp((2, 3, 3, 1), Sine()))


@pytest.mark.parametrize(("spec", "parameters"), [(SMALL_SIREN, 15), (SMALL_SIREN.with_symmetry(PERMUTATION), 75)])
def test_parameter_counts(spec: NetworkSpec, parameters: int) -> None:
    matrix, count = tied_entries(spec)
    assert matrix.shape == (spec.numel, spec.numel)
    assert count == parameters
    assert len(np.unique(matrix[matrix > 0])) <= parameters


def averaged(spec: NetworkSpec, dense: torch.Tensor) -> torch.Tensor:
    """The mean of `R(g)^-1 M R(g)` over random elements: what of a matrix commutes with the group, roughly."""
    g = sample_element(spec, 400, generator=torch.Generator().manual_seed(0))
    terms = [representation(spec, g[i : i + 1]) for i in range(len(g))]
    return sum(r.T @ dense @ r for r in terms) / len(terms)  # permutations and signs: the transpose is the inverse


def test_entries_are_tied_exactly_where_averaging_ties_them() -> None:
    spec = spec_of(mlp((1, 2, 1), nn.Tanh()))
    matrix, _ = tied_entries(spec)
    dense = torch.randn(matrix.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean = averaged(spec, dense).numpy()
    assert abs(mean[matrix == 0]).max() < 0.2
    for number in np.unique(matrix[matrix > 0]):
        members = mean[matrix == number]
        assert members.max() - members.min() < 0.4


@pytest.mark.parametrize("spec", [SMALL_SIREN, SPECS["gelu"]])
def test_a_matrix_of_the_pattern_commutes_with_the_group(spec: NetworkSpec) -> None:
    matrix, _ = tied_entries(spec)
    values = np.random.default_rng(0).normal(size=matrix.max() + 1)
    values[0] = 0
    dense = torch.from_numpy(values[matrix])
    g = sample_element(spec, 1, generator=torch.Generator().manual_seed(0))
    r = representation(spec, g)
    torch.testing.assert_close(dense @ r, r @ dense)
    mutant = dense.clone()
    mutant[0, 0] += 1
    assert not torch.allclose(mutant @ r, r @ mutant)


def start() -> tuple[WeightFeatures, SirenSettings]:
    settings = SirenSettings(hidden=(8, 8))
    torch.manual_seed(0)
    template = siren(settings)
    return features_of(spec_of(template), template), settings


def test_the_weights_move_and_the_picture_does_not() -> None:
    x, settings = start()
    walk, pictures, moves = orbit_walk(x, lambda v: render(v, settings, 9, 9), frames=6)
    assert len(walk) == len(pictures) == len(moves) == 6
    assert moves[0] == "as fitted"
    assert "change places and change sign" in moves[1]
    assert abs(pictures - pictures[:1]).max() < 1e-4
    for before, after in zip(walk, walk[1:], strict=False):
        assert any(not torch.equal(a, b) for a, b in zip(before.tensors, after.tensors, strict=True))


def test_a_walk_off_the_orbit_would_be_seen() -> None:
    x, settings = start()
    halfway = x.map(lambda t: 0.9 * t)
    assert abs(render(halfway, settings, 9, 9) - render(x, settings, 9, 9)).max() > 1e-3


@pytest.mark.parametrize("name", ["relu", "gelu", "one-unit-sine", "cnn-relu"])
def test_walks_of_other_networks(name: str) -> None:
    spec = SPECS[name]
    x = WeightFeatures(spec, [torch.ones(1, *spec.shape(p.name), 1) for p in spec.params])
    _, sums, moves = orbit_walk(x, lambda v: v.tensors[-1].flatten(1), frames=3)
    assert sums.shape[0] == 3
    assert ("size" in moves[1]) == (name in ("relu", "cnn-relu"))
    assert isinstance(sample_element(spec, 1), Element)
