"""Distances: the same for every network of an orbit, large for networks from elsewhere."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from weightspace.experiments import distance
from weightspace.experiments.distance import Neighbourhood, statistics
from weightspace.spec import NetworkSpec, Sine, spec_of
from weightspace.weights import WeightFeatures, act, features_of, sample_element


def chain(activation: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 8), activation, nn.Linear(8, 8), activation, nn.Linear(8, 2))


NETWORKS = {
    "relu": lambda: chain(nn.ReLU()),
    "tanh": lambda: chain(nn.Tanh()),
    "sine": lambda: chain(Sine(15.0)),
    "gelu": lambda: chain(nn.GELU()),
    "cnn": lambda: nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1)),
        *(nn.Flatten(), nn.Linear(4, 2)),
    ),
    "single": lambda: nn.Linear(3, 2),
}


def drawn(name: str, count: int) -> WeightFeatures:
    torch.manual_seed(0)
    modules = [NETWORKS[name]().eval() for _ in range(count)]
    inputs = torch.randn(2, 1, 12, 12) if name == "cnn" else torch.randn(2, 3)
    return features_of(spec_of(modules[0], inputs), modules)


def moved(x: WeightFeatures, scale: float = 3.0) -> WeightFeatures:
    g = sample_element(x.spec, len(x), generator=torch.Generator().manual_seed(1), log_scale=scale)
    return act(g, x.to(torch.float64))


@pytest.mark.parametrize("name", NETWORKS)
def test_no_symmetry_changes_the_statistics(name: str) -> None:
    x = drawn(name, 6)
    found = statistics(x)
    assert torch.allclose(statistics(moved(x)), found, rtol=0, atol=1e-6)
    assert found.isfinite().all()


def slow(matrix: list[list[float]]) -> list[float]:
    """The statistics of one parameter on which no sign acts, in plain loops; a vector is a single row."""
    entries = [entry for row in matrix for entry in row]
    sizes, count = sorted(abs(entry) for entry in entries), len(entries)
    rms = math.sqrt(sum(entry**2 for entry in entries) / count)
    found = [
        math.log(value + 1e-9) for value in (rms, *(sizes[round(q * (count - 1))] for q in (0, 0.25, 0.5, 0.75, 1)))
    ]
    if len(matrix) > 1:
        gram = [sum(a * b for a, b in zip(one, other, strict=True)) for one in matrix for other in matrix]
        found.append(math.log(math.sqrt(sum(value**2 for value in gram)) / (count * rms**2) + 1e-9))
    return [*found, sum(entries) / count / rms]


def test_the_statistics_are_those_of_plain_loops() -> None:
    x = drawn("gelu", 2)
    for row, found in enumerate(statistics(x)):
        tensors = [tensor[row, ..., 0].tolist() for tensor in x.tensors]
        expected = [value for t in tensors for value in slow(t if isinstance(t[0], list) else [t])]
        assert found.tolist() == pytest.approx(expected, abs=1e-9)


def test_parts_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = drawn("cnn", 7)
    whole = statistics(x)
    monkeypatch.setattr("weightspace.experiments.chunk.MOST", 3)
    assert torch.allclose(statistics(x), whole, rtol=0, atol=1e-12)


def test_without_the_gauge_scales_would_change_them(monkeypatch: pytest.MonkeyPatch) -> None:
    x = drawn("relu", 6)
    monkeypatch.setattr(distance, "balance", lambda x: sample_element(x.spec, len(x), log_scale=0))
    assert not torch.allclose(statistics(moved(x)), statistics(x), atol=1)


@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "single"])
def test_networks_from_elsewhere_are_far_and_copies_are_not(name: str) -> None:
    x = drawn(name, 300)
    around = Neighbourhood.of(statistics(x[:200]))
    edge = around.distance(statistics(x[200:])).max()
    copies = moved(x[200:])
    assert around.distance(statistics(copies)).max() < edge + 1e-4
    for other in (x[200:].map(lambda t: 100 * t), x[200:].map(lambda t: 0 * t), x[200:].map(torch.ones_like)):
        assert around.distance(statistics(other)).min() > edge


def test_parameters_that_never_vary_do_not_hide_the_others() -> None:
    spec: NetworkSpec = spec_of(nn.Linear(3, 2))
    weight = torch.randn(50, 2, 3, 1, generator=torch.Generator().manual_seed(0))
    x = WeightFeatures(spec, [weight, torch.zeros(50, 2, 1)])
    around = Neighbourhood.of(statistics(x))
    assert around.distance(statistics(x)).max() < 5
    biased = WeightFeatures(spec, [weight, torch.full((50, 2, 1), 1e-3)])
    assert around.distance(statistics(biased)).min() > 100


def test_a_single_known_network_has_a_neighbourhood() -> None:
    x = drawn("gelu", 2)
    around = Neighbourhood.of(statistics(x[:1]))
    assert around.distance(statistics(x[:1])).item() == 0
    assert around.distance(statistics(x[1:])).item() > 1
