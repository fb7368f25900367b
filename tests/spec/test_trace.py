"""Random networks: what is claimed of them is true. And the parts that the tracer is made of."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from weightspace.spec import spec_of
from weightspace.spec.trace.atom import Atom, Forest, Join
from weightspace.spec.trace.form import System
from weightspace.testing import function_error, random_module

ACTIVATIONS = ("abs", "cosine", "gelu", "identity", "leaky_relu", "prelu", "relu", "relu6", "sine", "square", "tanh")


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_random_networks(seed: int) -> None:
    """Any depth, widths down to one unit, kernels, norms, sums and concatenations; scales over four decades."""
    module, inputs = random_module(seed, activations=ACTIVATIONS)
    spec = spec_of(module, inputs, verify=False, strict=True)
    assert function_error(module, spec, inputs, elements=3) < 1e-9
    assert sum(tensor.numel() for tensor in module.parameters()) <= spec.numel


class Layer(nn.Module):
    """One step of a random recipe, each keeping the number of units."""

    def __init__(self, kind: str, width: int) -> None:
        super().__init__()
        self.kind = kind
        self.a, self.b = nn.Linear(width, width), nn.Linear(width, width)
        self.norm = {"layer": nn.LayerNorm(width), "rms": nn.RMSNorm(width)}.get(kind, nn.Identity())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`(batch, tokens, width)` in and out."""
        match self.kind:
            case "gate":
                return self.a(x) * self.b(x).sigmoid()
            case "pairs":
                return x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
            case "halves":
                return torch.cat(x.chunk(2, -1)[::-1], -1)
            case "softmax":
                return self.a(x).unflatten(-1, (-1, 2)).softmax(-1).flatten(-2)
            case "attention":
                q, k = (one(x).unflatten(-1, (2, -1)).transpose(1, 2) for one in (self.a, self.b))
                return nn.functional.scaled_dot_product_attention(q, k, k).transpose(1, 2).flatten(-2)
            case "tokens":
                return (self.a(x).mT.softmax(-1) @ x).sum(-1, keepdim=True) + x
            case "largest":
                return torch.maximum(self.a(x), x)
            case _:
                return x + self.b(self.norm(self.a(x)).relu())


KINDS = ("gate", "pairs", "halves", "softmax", "attention", "largest", "layer", "rms", "plain")


@settings(deadline=None, max_examples=25)
@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3), st.sampled_from([4, 8]), st.integers(0, 10**6))
def test_random_recipes(kinds: list[str], width: int, seed: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = nn.Sequential(nn.Linear(3, width), *(Layer(kind, width) for kind in kinds), nn.Linear(width, 2))
        x = torch.randn(2, 5, 3)
    spec = spec_of(module, x, verify=False, strict=True)
    assert function_error(module, spec, x, elements=2, log_scale=1.0) < 1e-8


# ---- sets of units


def test_sets_that_meet_are_one() -> None:
    forest, a, b = Forest(), Atom(6, name="a"), Atom(6)
    forest.merge(a, b, "met")
    forest.product(forest.find(a), 2, None)
    assert [leaf.size for leaf in forest.leaves(b)] == [3, 2]
    assert forest.find(b).name == "a"
    outer, inner = forest.leaves(a)
    assert forest.outer(inner) is outer


@pytest.mark.parametrize("first", [Join.PRODUCT, Join.CONCAT])
def test_sets_of_other_parts_are_frozen(first: Join) -> None:
    forest, a, b = Forest(), Atom(6), Atom(6)
    forest.product(a, 2, None) if first is Join.PRODUCT else forest.concat(a, 2)
    forest.product(b, 3, None)
    forest.merge(a, b, "do not fit")
    assert forest.frozen(a) == forest.frozen(b) == "do not fit"


def test_sets_that_nest_in_each_other_are_flat() -> None:
    forest, a, b = Forest(), Atom(4), Atom(4)
    forest.product(a, 2, None)
    forest.product(b, 2, None)
    for one, other in zip(a.parts, reversed(b.parts), strict=True):
        forest.merge(one, other, "exchanged")
    outers = [forest.outer(leaf) for leaf in forest.leaves(a)]
    assert None in outers


def test_a_set_in_two_others_nests_in_the_one_they_share() -> None:
    """Dimensions of queries nest in heads, those of keys in groups of heads: together in groups of heads."""
    forest, queries, keys = Forest(), Atom(12), Atom(6)
    forest.product(queries, 3, None)
    forest.product(keys, 3, None)
    (heads, of_queries), (groups, of_keys) = queries.parts, keys.parts
    forest.product(heads, 2, None)
    forest.merge(heads.parts[0], groups, "repeated")
    forest.merge(of_queries, of_keys, "scores")
    assert forest.outer(forest.find(of_keys)) is forest.find(groups)


# ---- equations


def test_equations() -> None:
    system = System()
    a, b, c = (system.unknown() for _ in range(3))
    system.demand({a: Fraction(1), b: Fraction(-2)})
    system.demand({b: Fraction(1), c: Fraction(1)})
    assert system.free == [system.free[0]]
    assert system.reduce({a: Fraction(1), c: Fraction(2)}) == {}
    system.demand({a: Fraction(1)})
    assert system.free == []


def test_signs_count_modulo_two() -> None:
    system = System(2)
    a = system.unknown()
    assert system.sum(({a: Fraction(1)}, 1), ({a: Fraction(1)}, 1)) == {}
