"""Transformers on units: what a token is made of, entry by entry, and what tells units apart."""

import pytest
import torch
from tests.laws.registry import SPECS
from tests.laws.test_model import ANSWER, networks, sizes, small_siren
from tests.oracles.answer import entries_of_units
from torch import nn

from weightspace.errors import WeightspaceError
from weightspace.models import Invariant, NeuronTransformer
from weightspace.spec import PERMUTATION, NetworkSpec
from weightspace.testing import invariance_error


def model_of(spec: NetworkSpec, **settings: object) -> NeuronTransformer:
    torch.manual_seed(0)
    return NeuronTransformer(spec, ANSWER, width=8, heads=2, hidden=12, **settings).double().eval()


@pytest.mark.parametrize("positions", [True, False])
@pytest.mark.parametrize("name", ["gelu", "cnn-relu", "cnn-flattened", "recurrent-permutation", "one-layer"])
def test_tokens_are_rows_and_columns(name: str, positions: bool) -> None:
    spec = SPECS[name]
    model, x = model_of(spec, positions=positions), networks(spec, 2)
    for network in range(2):
        weights = {key: tensor[network, ..., 0] for key, tensor in x.items()}
        for axis, seen in model.views.items():
            fast = torch.cat([model._seen(x.tensors[row], row, dims)[network] for row, dims in seen], -1)
            slow = torch.tensor(list(entries_of_units(spec, weights, axis, positions)), dtype=torch.float64)
            assert torch.equal(fast, slow)


def test_every_parameter_is_seen() -> None:
    """Also where a spec does not tell which axes are units: then a parameter of no free axis is a token."""
    for name in ("gelu", "cnn-relu", "residual-positive", "two-factors", "one-layer", "lstm"):
        spec = SPECS[name]
        model, x = model_of(spec), networks(spec)
        inputs = [tensor.clone().requires_grad_() for tensor in x.tensors]
        model(type(x)(spec, inputs)).square().sum().backward()
        assert all(tensor.grad.any() for tensor in inputs)


def test_without_positions_there_is_one_vector_for_hidden_units() -> None:
    spec = SPECS["gelu"]
    ordered, unordered = model_of(spec), model_of(spec, positions=False)
    assert [tuple(place.shape) for place in ordered.places] == [(2, 8), (3, 8), (2, 8), (1, 8)]
    assert [tuple(place.shape) for place in unordered.places] == [(2, 8), (1, 8), (1, 8), (1, 8)]
    for before, behind in zip(ordered.embed.parameters(), unordered.embed.parameters(), strict=True):
        assert before.shape == behind.shape


def test_what_tells_units_apart_is_caught() -> None:
    """Either of the two breaks the law: the order of entries, and a vector for each unit."""
    spec = SPECS["gelu"].with_symmetry(PERMUTATION)
    model = model_of(spec, positions=False)
    assert invariance_error(model, spec) < 1e-9
    kept, model.free_dims = model.free_dims, [[] for _ in spec.params]
    assert invariance_error(model, spec) > 1e-3
    model.free_dims = kept
    model.places[1] = nn.Parameter(torch.randn(3, 8, dtype=torch.float64))
    assert invariance_error(model, spec) > 1e-3


def test_demo_size() -> None:
    counts = sizes(NeuronTransformer.preset("demo", small_siren(), Invariant(10)))
    assert 30_000 < sum(counts.values()) < 150_000


@pytest.mark.parametrize("wrong", [{"width": 0}, {"layers": 0}, {"heads": 3}, {"hidden": 0}])
def test_impossible_sizes_are_refused(wrong: dict) -> None:
    with pytest.raises(WeightspaceError, match="a width that is a multiple of the heads"):
        NeuronTransformer(SPECS["gelu"], ANSWER, **wrong)
