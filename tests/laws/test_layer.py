"""One battery for all layers: laws, refusals, zeros, gradients, torch's transforms, and a mutant for each law."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.laws.registry import SPECS
from tests.laws.rows import CASES, CHANNELS, FIRST, ROWS, layer_of, leaves
from torch import Tensor
from torch.utils import _pytree as pytree

from weightspace.errors import ShapeError, SymmetryError, UnknownNameError, WeightspaceError
from weightspace.groups import Monomial
from weightspace.layers import (
    Canonical,
    FourierFeatures,
    InvariantPool,
    ParameterScale,
    Pointwise,
    PositionEncoding,
    Suited,
    canonical,
    permutation_spec,
    suited_nonlinearity,
)
from weightspace.spec import Factor, NetworkSpec
from weightspace.testing import equivariance_error, invariance_error, orbit_error, random_features
from weightspace.weights import Element, WeightFeatures, act, sample_element

Layer = Callable[[WeightFeatures], WeightFeatures]


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def features(spec: str, batch: int = 3) -> WeightFeatures:
    return random_features(SPECS[spec], batch, CHANNELS, generator=generator())


def permutations(g: Element, spec: NetworkSpec) -> Element:
    """What a group element does to units once the scalars are gone."""
    return Element(
        spec.free_axes, {a.name: Monomial(g.parts[a.name].perm, g.parts[a.name].scale[:, :0]) for a in g.axes}
    )


def canonical_error(f: Layer, spec: NetworkSpec, log_scale: float) -> float:
    x = random_features(spec, 4, CHANNELS, generator=generator())
    g = sample_element(spec, 4, generator=generator(), log_scale=log_scale)
    back = permutations(g, permutation_spec(spec)).inverse()
    return orbit_error(f, lambda v: act(g, v), lambda y: act(back, y), x)


@pytest.mark.parametrize(("name", "spec"), CASES)
def test_law(name: str, spec: str) -> None:
    """Scales from 1e-8 to 1e8."""
    layer = layer_of(name, spec)
    if ROWS[name].law == "canonical":
        error = canonical_error(layer, SPECS[spec], 8)
    else:
        law = {"equivariant": equivariance_error, "invariant": invariance_error}[ROWS[name].law]
        error = law(layer, SPECS[spec], channels=CHANNELS, log_scale=8)
    assert error < 1e-12


UNEVEN = torch.linspace(0.5, 2, 3, dtype=torch.float64)[:, None]
MUTANTS: dict[str, tuple[Layer, str]] = {
    "statistics of each entry": (lambda x: x.map(lambda t: t / t.std(0, keepdim=True)), "gelu"),
    "a scale for each unit": (lambda x: x.map(lambda t: t * UNEVEN if t.shape[-2] == 3 else t), "siren-two-layers"),
    "ReLU on signs": (lambda x: x.map(torch.relu), "tanh"),
    "tanh on scales": (lambda x: x.map(torch.tanh), "relu"),
    "a gate on the raw entries": (lambda x: x.map(lambda t: t * t.sigmoid()), "tanh"),
    "a gate with signs left in": (lambda x: x.map(lambda t: t * canonical(t, {Factor.POSITIVE}).sigmoid()), "identity"),
    "cosines of signs": (lambda x: x.map(torch.cos), "siren"),
}  # fmt: skip


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(name: str) -> None:
    mutant, spec = MUTANTS[name]
    assert equivariance_error(mutant, SPECS[spec], channels=CHANNELS) > 1e-2


@pytest.mark.parametrize(
    ("spec", "pool"),
    [
        ("tanh", lambda t: t.flatten(1, -2).amax(1)),
        ("tanh", lambda t: t.flatten(1).mean(1)),
        ("relu", torch.Tensor.abs),
    ],
)
def test_mutant_pools_are_caught(spec: str, pool: Callable[[Tensor], Tensor]) -> None:
    assert invariance_error(lambda x: pool(x["0.bias"]), SPECS[spec], channels=CHANNELS) > 1e-2


def test_encoding_a_free_axis_breaks_its_permutations() -> None:
    spec = SPECS["gelu"]
    assert equivariance_error(PositionEncoding(spec, ("0",)), spec) > 1e-2


def test_units_of_an_encoded_axis_are_told_apart() -> None:
    spec = SPECS["gelu"]
    codes = PositionEncoding(spec, ("input",))(random_features(spec, 1).map(torch.zeros_like))["0.weight"]
    assert not torch.equal(codes[0, 0, 0], codes[0, 0, 1])
    assert torch.equal(codes[0, 0], codes[0, 1])


def with_floor(t: Tensor) -> Tensor:
    return t / (t.norm(dim=-1, keepdim=True) + 1e-8)


@pytest.mark.parametrize("scale", [1e-30, 1e-10, 1.0, 1e10, 1e30])
def test_canonical_has_no_floor(scale: float) -> None:
    """In float32, where squares of 1e-30 vanish and squares of 1e30 overflow."""
    x = torch.randn(50, 4, generator=generator())
    assert torch.allclose(canonical(x * scale, {Factor.POSITIVE}), canonical(x, {Factor.POSITIVE}), rtol=1e-5)
    assert torch.equal(canonical(-x * scale, {Factor.SIGN}), canonical(x * scale, {Factor.SIGN}))
    if scale < 1e-8 or scale > 1e20:
        assert not torch.allclose(with_floor(x * scale), with_floor(x), rtol=1e-5)


def test_canonical_keeps_what_no_scalar_touches() -> None:
    x = torch.randn(5, 4, generator=generator())
    assert torch.equal(canonical(x, frozenset()), x)
    assert canonical(x, {Factor.POSITIVE}).norm(dim=-1).allclose(torch.ones(5))
    assert (canonical(x, {Factor.POSITIVE}).sign() == x.sign()).all()


REFUSALS: list[tuple[Callable[[], object], type[WeightspaceError], str]] = [
    (lambda: Pointwise(SPECS["tanh"], "relu"), SymmetryError, "relu does not suit .*'0.weight'.*change sign.*odd"),
    (lambda: Pointwise(SPECS["relu"], "tanh"), SymmetryError, "tanh does not suit .*entries scale.*homogeneous"),
    (lambda: Pointwise(SPECS["relu"], "gelu"), SymmetryError, "gelu does not suit"),
    (lambda: Pointwise(SPECS["identity"], "relu"), SymmetryError, "change sign"),
    (lambda: Pointwise(SPECS["gelu"], "rleu"), UnknownNameError, 'did you mean "relu"'),
    (lambda: FourierFeatures(SPECS["siren"], 1, 4), SymmetryError, "Fourier features would break .*Canonical"),
    (lambda: PositionEncoding(SPECS["relu"], ("input",)), SymmetryError, "position encodings would break"),
    (lambda: PositionEncoding(SPECS["gelu"], ("inptu",)), UnknownNameError, 'did you mean "input"'),
    (lambda: InvariantPool(SPECS["relu"], 2), SymmetryError, r"\['0.weight'.*not invariant. Put Canonical in front"),
    (lambda: ParameterScale(SPECS["relu"]).fit(features("relu", 0)), ShapeError, "scales from 0 networks"),
    (lambda: ParameterScale(SPECS["relu"]).fit(features("relu").map(torch.log)), ShapeError, "nan"),
    (lambda: ParameterScale(SPECS["relu"]).fit(features("relu").map(lambda t: t * 1e50)), ShapeError, "inf"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "error", "message"), REFUSALS)
def test_refusals(make: Callable[[], object], error: type[WeightspaceError], message: str) -> None:
    with pytest.raises(error, match=f"(?s){message}"):
        make()


@pytest.mark.parametrize(("name", "spec"), FIRST)
def test_features_of_another_space_are_refused(name: str, spec: str) -> None:
    """Also where all shapes agree: the law would fail without a word."""
    x, layer = features(spec), layer_of(name, spec)
    axes = tuple(replace(axis, name=f"other {axis.name}") for axis in x.spec.axes if axis.within is None)
    other = NetworkSpec((*x.spec.axes, *axes), x.spec.params, x.spec.places, x.spec.wires)
    layer(x)
    with pytest.raises(ShapeError, match="of the layer's spec|features' own spec"):
        layer(WeightFeatures(other, x.tensors))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [("relu", "relu"), ("siren", "tanh"), ("gelu", "relu"), ("relu-gelu", "relu")],
)
def test_what_suits(spec: str, expected: str) -> None:
    assert repr(suited_nonlinearity(SPECS[spec], 2)) == f"Pointwise({expected})"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("relu-tanh", ["relu", "relu", "gate", "tanh", "tanh", "relu"]),
        ("identity", ["gate", "gate", "gate", "relu"]),
        ("heads-nonzero", ["gate", "gate"]),
    ],
)
def test_each_parameter_gets_what_suits_it(spec: str, expected: list[str]) -> None:
    """A gate only where entries scale and change sign."""
    layer = suited_nonlinearity(SPECS[spec], 2)
    assert isinstance(layer, Suited)
    assert layer.names == expected
    assert len(layer.gates) == expected.count("gate")


def emptied(x: WeightFeatures) -> list[WeightFeatures]:
    """All zeros; a dead unit; a dead network beside living ones; one channel gone."""
    weight, *others = x.tensors
    dead_unit, dead_network = weight.clone(), x.map(torch.clone)
    dead_unit[:, 0] = 0
    for tensor in dead_network.tensors:
        tensor[0] = 0
    dead_channel = x.map(lambda t: t * torch.tensor([1.0, 0.0]))
    return [x.map(torch.zeros_like), WeightFeatures(x.spec, [dead_unit, *others]), dead_network, dead_channel]


@pytest.mark.parametrize(("name", "spec"), CASES)
def test_zeros_give_no_nan(name: str, spec: str) -> None:
    layer = layer_of(name, spec)
    for x in emptied(features(spec)):
        inputs = [t.detach().requires_grad_() for t in x.tensors]
        out = leaves(layer(WeightFeatures(x.spec, inputs)))
        gradients = torch.autograd.grad(sum(t.square().sum() + t.sum() for t in out), inputs)
        assert all(t.isfinite().all() for t in (*out, *gradients))


def test_a_root_without_care_gives_nan_gradients() -> None:
    x = torch.zeros(1, 2, requires_grad=True)
    (x / x.square().sum(-1, keepdim=True).sqrt().clamp_min(1e-12)).sum().backward()
    assert x.grad.isnan().all()


@pytest.mark.parametrize(("name", "spec"), FIRST)
def test_gradients(name: str, spec: str) -> None:
    layer, x = layer_of(name, spec), features(spec, 2)
    inputs = tuple(t.requires_grad_() for t in x.tensors)
    assert torch.autograd.gradcheck(lambda *t: leaves(layer(WeightFeatures(x.spec, t))), inputs, fast_mode=True)


@pytest.mark.parametrize(("name", "spec"), FIRST)
def test_pickling_and_state(name: str, spec: str) -> None:
    layer, x = layer_of(name, spec), features(spec)
    again = pickle.loads(pickle.dumps(layer))
    assert all(torch.equal(a, b) for a, b in zip(leaves(layer(x)), leaves(again(x)), strict=True))
    fresh = ROWS[name].make(SPECS[spec]).double()
    fresh.load_state_dict(layer.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(leaves(layer(x)), leaves(fresh(x)), strict=True))


@pytest.mark.parametrize(("name", "spec"), FIRST)
def test_vmap_over_an_ensemble(name: str, spec: str) -> None:
    layer, x = layer_of(name, spec), features(spec, 6)
    ensemble = pytree.tree_map(lambda t: t.unflatten(0, (2, 3)), x)
    together = [t.flatten(0, 1) for t in leaves(torch.vmap(layer)(ensemble))]
    for one, other in zip(leaves(layer(x)), together, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.slow
def test_compiled_layers_give_the_same() -> None:
    """In a process of its own: the compiler does not see through the wrappers that check shapes while testing."""
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "tests.laws.compiled"], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_scales_come_from_the_networks_and_travel() -> None:
    spec = SPECS["relu"]
    x = features("relu", 50).map(lambda t: 3 * t)
    norm = ParameterScale(spec).fit(x)
    assert all(0.7 < t.square().mean() < 1.3 for t in norm(x).tensors)
    torch.testing.assert_close(norm.inverse(norm(x)).tensors, x.tensors)
    assert list(norm.state_dict()) == ["rms"]
    always_zero = ParameterScale(spec).fit(x.map(torch.zeros_like))
    assert torch.equal(always_zero.rms, torch.ones(len(spec.params)))


def test_pool_keeps_fixed_indices() -> None:
    """Networks that differ only in which input a weight belongs to are told apart."""
    spec = SPECS["gelu"]
    x = features("gelu")
    swapped = WeightFeatures(spec, {**dict(x.items()), "0.weight": x["0.weight"].flip(2)})
    pool = InvariantPool(spec, CHANNELS)
    assert pool.width == pool(x).shape[1]
    assert not torch.allclose(pool(x), pool(swapped))
    assert Canonical(SPECS["relu"])(features("relu")).spec == permutation_spec(SPECS["relu"])
