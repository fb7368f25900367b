"""Groups of equal networks among many: hidden copies are found, near ones and broken ones are not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from weightspace.gauge import canonicalise, families
from weightspace.spec import Sine, spec_of
from weightspace.weights import WeightFeatures, act, features_of, sample_element

CHAINS = {
    "relu": lambda: nn.Sequential(nn.Linear(2, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1)),
    "tanh": lambda: nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1)),
    "sine": lambda: nn.Sequential(nn.Linear(2, 6), Sine(30.0), nn.Linear(6, 1)),
    "gelu": lambda: nn.Sequential(nn.Linear(2, 6), nn.GELU(), nn.Linear(6, 1)),
    "conv": lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1)),
}


def networks(name: str, count: int, dtype: torch.dtype = torch.float64) -> WeightFeatures:
    torch.manual_seed(0)
    modules = [CHAINS[name]().to(dtype) for _ in range(count)]
    return features_of(spec_of(modules[0]), modules)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CHAINS)
def test_hidden_copies_are_found(name: str, dtype: torch.dtype) -> None:
    x = networks(name, 4, dtype)
    copies = act(sample_element(x.spec, 8, log_scale=2), x[[3, 1, 0, 3, 1, 3, 0, 0]])
    assert families(WeightFeatures.cat([x, copies])) == [[0, 6, 10, 11], [1, 5, 8], [2], [3, 4, 7, 9]]


@pytest.mark.parametrize("name", CHAINS)
def test_networks_that_are_near_are_not_equal(name: str) -> None:
    x = networks(name, 1)
    near = WeightFeatures(x.spec, [x.tensors[0] * (1 + 1e-6 * torch.randn(x.tensors[0].shape)), *x.tensors[1:]])
    both = WeightFeatures.cat([x, near])
    assert families(both) == [[0], [1]]
    assert families(both, tolerance=1e-3) == [[0, 1]]


def test_networks_whose_units_tie_are_found_where_canonical_forms_differ() -> None:
    # Two units look alike until their signs are chosen; copies may end in another order.
    x = networks("tanh", 1)
    tied = x.map(torch.ones_like)
    copies = act(sample_element(x.spec, 6), tied[[0] * 6])
    assert families(WeightFeatures.cat([tied, copies])) == [[0, 1, 2, 3, 4, 5, 6]]


def test_dead_networks_and_those_that_diverged_have_their_place() -> None:
    x = networks("relu", 3)
    broken = x[1].map(lambda tensor: tensor * float("nan"))
    dead = x[0].map(torch.zeros_like)
    assert families(WeightFeatures.cat([x, broken, broken, dead, dead])) == [[0], [1], [2], [3], [4], [5, 6]]
    assert families(broken) == [[0]]


def test_one_more_network_than_fits_a_chunk_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weightspace.gauge.family.CHUNK", 16)
    x = networks("gelu", 20)
    again = WeightFeatures.cat([x, act(sample_element(x.spec, 20), x)])
    assert families(again) == [[row, row + 20] for row in range(20)]
    assert families(canonicalise(x)) == [[row] for row in range(20)]
