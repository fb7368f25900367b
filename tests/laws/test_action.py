"""The group acts: identity, composition, inverse; and no network's function changes."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.laws.registry import MODULES, SPECS, mlp, written
from tests.oracles.action import act_by_legs
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from weightspace.errors import ShapeError, SpecError, SymmetryError
from weightspace.groups import Monomial
from weightspace.spec import ACTIVATIONS, FIXED, POSITIVE, SIGN, Axis, Leg, ParamSpec, Sine, Symmetry, spec_of
from weightspace.testing import function_error, random_features
from weightspace.weights import Element, WeightFeatures, act, features_of, identity, sample_element

PLAIN = ("gelu", "identity", "leaky_relu", "relu", "relu6", "sigmoid", "sine", "softplus", "tanh")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def distance(x: WeightFeatures, y: WeightFeatures) -> float:
    return max(
        ((a - b).abs() / (1e-300 + a.abs().max())).max().item() for a, b in zip(x.tensors, y.tensors, strict=True)
    )


def largest_entry_error(x: WeightFeatures, y: WeightFeatures) -> float:
    """Entry by entry: with scales over sixteen decades the largest entry hides all others."""
    return max((a / b - 1).abs().max().item() for a, b in zip(x.tensors, y.tensors, strict=True))


@pytest.mark.parametrize("name", SPECS)
def test_elements_act_as_a_group(name: str) -> None:
    spec = SPECS[name]
    x = random_features(spec, 3, channels=2, generator=generator())
    g, h = (sample_element(spec, 3, generator=generator(seed), log_scale=2) for seed in (1, 2))
    assert distance(act(identity(spec), x), x) == 0
    assert distance(act(g @ h, x), act(g, act(h, x))) < 1e-12
    assert distance(act(g.inverse(), act(g, x)), x) < 1e-12
    assert distance(act(g @ g.inverse(), x), x) < 1e-12
    g, h = (sample_element(spec, 3, generator=generator(seed), log_scale=8) for seed in (1, 2))
    assert largest_entry_error(act(g @ h, x), act(g, act(h, x))) < 1e-12


def test_composition_in_the_wrong_order_is_caught() -> None:
    spec = SPECS["heads-nonzero"]
    x = random_features(spec, 3, generator=generator())
    g, h = (sample_element(spec, 3, generator=generator(seed)) for seed in (1, 2))
    assert distance(act(h @ g, x), act(g, act(h, x))) > 0.1


@pytest.mark.parametrize(("elements", "networks"), [(3, 3), (1, 3), (3, 1), (1, 1)])
@pytest.mark.parametrize("name", SPECS)
def test_all_legs_at_once_and_leg_by_leg(name: str, elements: int, networks: int) -> None:
    """Scales from 1e-8 to 1e8, whichever of the two batches is one."""
    x = random_features(SPECS[name], networks, channels=2, generator=generator())
    g = sample_element(SPECS[name], elements, generator=generator(1), log_scale=8)
    y = act(g, x)
    assert len(y) == max(len(g), networks)
    assert largest_entry_error(y, act_by_legs(g, x)) < 1e-12
    assert largest_entry_error(act(g.inverse(), y), act(identity(x.spec), x)) < 1e-12


@pytest.mark.parametrize("name", ["relu", "cnn-relu", "heads-nonzero", "nested-twice", "recurrent-sign", "two-factors"])
def test_gradients_go_back_the_way_the_networks_came(name: str) -> None:
    x = random_features(SPECS[name], 2, channels=2, generator=generator()).map(lambda t: t.requires_grad_())
    g = sample_element(SPECS[name], 2, generator=generator(1))
    weights = random_features(SPECS[name], 2, channels=2, generator=generator(2)).tensors
    ways = [torch.autograd.grad(way(g, x).tensors, x.tensors, weights, allow_unused=True) for way in (act, act_by_legs)]
    for fast, slow in zip(*ways, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-12, atol=0)


def test_gradients_reach_the_scales_too() -> None:
    """An element whose scales are learnt."""
    x, g = random_features(SPECS["residual-positive"], 2), sample_element(SPECS["residual-positive"], 2)
    scales = {name: part.scale.clone().requires_grad_() for name, part in g.parts.items()}
    learnt = Element(g.axes, {name: Monomial(part.perm, scales[name]) for name, part in g.parts.items()})
    ways = [
        torch.autograd.grad(sum(t.square().sum() for t in way(learnt, x).tensors), list(scales.values()))
        for way in (act, act_by_legs)
    ]
    for fast, slow in zip(*ways, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-10, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_types_of_numbers_stay(dtype: torch.dtype) -> None:
    """A scale that half precision cannot hold comes with its reciprocal: what they make together can be held."""
    x = random_features(SPECS["residual-positive"], 2, generator=generator()).to(dtype)
    part = identity(x.spec, 2).parts
    g = Element(
        identity(x.spec, 2).axes, {n: Monomial(p.perm, p.scale * torch.tensor(1e8).double()) for n, p in part.items()}
    )
    y = act(g, x)
    assert y.dtype == dtype
    torch.testing.assert_close(y["first"], x["first"], rtol=1e-6, atol=0)


class FullSize(TorchFunctionMode):
    """Keeps every tensor of at least so many entries that an operation gives."""

    def __init__(self, entries: int) -> None:
        super().__init__()
        self.entries, self.kept = entries, []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.untyped_storage().nbytes() >= out.element_size() * self.entries:
            self.kept.append(out)
        return out

    def memories(self) -> int:
        return len({tensor.untyped_storage().data_ptr() for tensor in self.kept})


def test_no_temporary_per_leg() -> None:
    """Four legs: one index, one scale and the result; besides the features themselves."""
    axes = tuple(Axis(name, 4, POSITIVE) for name in "abcd")
    spec = written(axes, w=tuple(Leg(name, (1,)) for name in "abcd"))
    x, g = random_features(spec, 2), sample_element(spec, 2)
    counts = {}
    for way in (act, act_by_legs):
        with FullSize(2 * spec.numel) as mode:
            way(g, x)
        counts[way] = mode.memories()
    assert counts[act] <= 4 < 8 <= counts[act_by_legs]


def test_vmap_and_no_networks() -> None:
    x, g = random_features(SPECS["heads-nonzero"], 3), sample_element(SPECS["heads-nonzero"], 3)
    twice = pytree.tree_map(lambda t: torch.stack([t, 2 * t]), x)
    assert (
        distance(
            pytree.tree_map(lambda t: t[1], torch.vmap(lambda v: act(g, v))(twice)), act(g, x.map(lambda t: 2 * t))
        )
        == 0
    )
    assert len(act(g[:1], x[3:])) == len(act(g[3:], x[:1])) == 0


@pytest.mark.parametrize("name", ["relu", "cnn-relu", "heads-nonzero", "nested-twice", "no-bias"])
def test_elements_come_to_where_the_networks_are(name: str) -> None:
    """Elements are drawn on the CPU; the device without memory refuses to mix them with tensors of its own."""
    x = random_features(SPECS[name], 2).to("meta")
    y = act(sample_element(SPECS[name], 2), x)
    assert [(t.device.type, t.shape) for t in y.tensors] == [("meta", t.shape) for t in x.tensors]


def test_the_action_compiles_in_one_piece() -> None:
    """In a process without the wrappers that check shapes, which the compiler cannot read."""
    code = (
        "import torch; from tests.laws.registry import SPECS; from weightspace.testing import random_features\n"
        "from weightspace.weights import act, sample_element\n"
        "x, g = random_features(SPECS['heads-nonzero'], 2), sample_element(SPECS['heads-nonzero'], 2)\n"
        "y = torch.compile(act, backend='eager', fullgraph=True)(g, x)\n"
        "assert all(torch.equal(a, b) for a, b in zip(y.tensors, act(g, x).tensors))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def swapped_pairing(g: Element, param: ParamSpec, tensor: torch.Tensor) -> torch.Tensor:
    """Moves nested units as if every outer unit had the matrix of the first."""
    outer = {axis.name: axis.within for axis in g.axes}
    flat = {
        name: part if outer[name] is None else Monomial(part.perm[:, :1].expand_as(part.perm), part.scale)
        for name, part in g.parts.items()
    }
    return Element(g.axes, flat).move_block(param, tensor)


def test_a_nested_axis_without_its_outer_units_is_caught() -> None:
    spec = SPECS["nested-twice"]
    x, g = random_features(spec, 3, generator=generator()), sample_element(spec, 3, generator=generator(1))
    moved = WeightFeatures(spec, [swapped_pairing(g, p, t) for p, t in zip(spec.params, x.tensors, strict=True)])
    assert distance(moved, act_by_legs(g, x)) > 0.1


def test_blocks_that_do_not_fit_are_refused() -> None:
    g = sample_element(SPECS["relu"], 3)
    with pytest.raises(ShapeError, match=r"'0.weight' has shape \(3, 2, 3, 1\).*sizes \(3, any\)"):
        g.move_block(SPECS["relu"].param("0.weight"), torch.zeros(3, 2, 3, 1))
    with pytest.raises(SymmetryError, match="3 group elements for 2 networks"):
        g.move_block(SPECS["relu"].param("0.bias"), torch.zeros(2, 3, 1))
    with pytest.raises(SymmetryError, match="cannot be composed"):
        g @ sample_element(SPECS["tanh"], 3)


@pytest.mark.parametrize("name", MODULES)
def test_no_function_changes(name: str) -> None:
    module, shape = MODULES[name]
    inputs = torch.randn(5, *shape, generator=generator(), dtype=torch.float64)
    assert function_error(module, spec_of(module), (inputs,)) < 1e-9


@pytest.mark.parametrize(("activation", "wrong"), [(nn.ReLU6(), POSITIVE), (nn.GELU(), SIGN), (nn.Tanh(), POSITIVE)])
def test_a_symmetry_too_many_changes_the_function(activation: nn.Module, wrong: Symmetry) -> None:
    """The check drives ReLU6 beyond its bound, where it stops being homogeneous."""
    module = mlp((2, 4, 1), activation)
    right = spec_of(module)
    like = spec_of(mlp((2, 4, 1), nn.ReLU() if wrong == POSITIVE else nn.Tanh()))
    mutant = replace(like, places=right.places)
    assert function_error(module, mutant, (torch.randn(5, 2, generator=generator()),)) > 1e-3


@settings(max_examples=40, deadline=None)
@given(
    widths=st.lists(st.integers(1, 5), min_size=3, max_size=5),
    names=st.lists(st.sampled_from(PLAIN), min_size=4, max_size=4),
    bias=st.booleans(),
)
def test_any_mlp_keeps_its_function(widths: list[int], names: list[str], bias: bool) -> None:
    activations = [ACTIVATIONS[name].module() for name in names[: len(widths) - 2]]
    torch.manual_seed(0)
    module = mlp(tuple(widths), *activations, bias=bias) if len(activations) > 1 else mlp(tuple(widths), activations[0])
    inputs = torch.randn(3, widths[0], generator=generator())
    assert function_error(module, spec_of(module), (inputs,)) < 1e-7


def test_powers_of_two_only_touch_exponents() -> None:
    g = sample_element(SPECS["relu"], 8, generator=generator(), log_scale=6, powers_of_two=True)
    for part in g.parts.values():
        assert torch.equal(torch.frexp(part.scale).mantissa, torch.full_like(part.scale, 0.5))


def test_bad_elements_are_refused() -> None:
    x = random_features(SPECS["relu"], 3, generator=generator())
    with pytest.raises(SymmetryError, match="disagree"):
        act(sample_element(SPECS["tanh"], 3), x)
    with pytest.raises(SymmetryError, match="2 group elements for 3 networks"):
        act(sample_element(SPECS["relu"], 2), x)
    axes = (Axis("o", 2, FIXED), Axis("u", 2, SIGN, within="o"))
    nested = replace(SPECS["one-layer"], axes=axes, params=(), places=(), wires=())
    with pytest.raises(SymmetryError, match="nested in 'o', which is fixed"):
        sample_element(nested, 1)


def test_a_module_survives_the_round_trip() -> None:
    modules = [mlp((2, 3, 2, 1), nn.ReLU()) for _ in range(4)]
    x = features_of(spec_of(modules[0]), modules)
    for before, after in zip(modules, x.to_modules(modules[0]), strict=True):
        for key, tensor in before.state_dict().items():
            assert torch.equal(tensor, after.state_dict()[key])
    again = features_of(x.spec, x.to_state())
    assert all(torch.equal(a, b) for a, b in zip(again.tensors, x.tensors, strict=True))


def test_networks_of_another_architecture_are_refused() -> None:
    spec = spec_of(mlp((2, 3, 1), nn.ReLU()))
    with pytest.raises(ShapeError, match=r"'0.weight' has shape \(4, 2\).*expects \(3, 2\)"):
        features_of(spec, mlp((2, 4, 1), nn.ReLU()))
    with pytest.raises(ShapeError, match="network 1"):
        features_of(spec, [mlp((2, 3, 1), nn.ReLU()), mlp((2, 4, 1), nn.ReLU())])
    with pytest.raises(ShapeError, match="template"):
        features_of(spec, mlp((2, 3, 1), nn.ReLU())).to_modules(mlp((2, 4, 1), nn.ReLU()))


def test_monomial_blocks() -> None:
    g = Monomial(torch.tensor([[2, 0, 1]]), torch.tensor([[[2.0, 4.0, 8.0]]]))
    v = torch.tensor([[1.0, 10.0, 100.0]])
    assert torch.equal(g.apply(v, (1,), (1,)), torch.tensor([[200.0, 4.0, 80.0]]))
    assert torch.equal(g.apply(v, (1,), (-1,)), torch.tensor([[50.0, 0.25, 1.25]]))
    assert len(g[:1]) == 1


def test_leg_powers_must_fit() -> None:
    with pytest.raises(SpecError, match="1 factor"):
        replace(SPECS["relu"], params=(replace(SPECS["relu"].params[0], legs=(Leg("0"), Leg("input"))),), wires=())


def test_sine_is_read_with_its_frequency() -> None:
    assert spec_of(mlp((2, 3, 1), Sine(7.0))).places[1].constants == (("omega", 7.0),)
