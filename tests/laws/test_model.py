"""One battery for all models: the symmetry that each claims, and none beyond it; gradients, zeros, precision, files."""

import copy
import pickle
from collections.abc import Callable, Mapping

import pytest
import torch
from tests.laws.registry import SPECS
from torch import nn

from weightspace.errors import ShapeError, SymmetryError, UnknownNameError, WeightspaceError
from weightspace.models import HNP, MAGEPNFN, NP, Edit, FlatMLP, Invariant, MonomialNFN, Readout, StatNN
from weightspace.spec import FIXED, PERMUTATION, NetworkSpec, spec_of
from weightspace.testing import equivariance_error, invariance_error, random_features
from weightspace.weights import WeightFeatures, act, flatten, sample_element

Make = Callable[[NetworkSpec, Readout], nn.Module]
MODELS: Mapping[str, Make] = {
    "NP": lambda spec, readout: NP(spec, readout, channels=4, layers=2, fourier=4),
    "HNP": lambda spec, readout: HNP(spec, readout, channels=4, layers=2, fourier=0),
    "MonomialNFN": lambda spec, readout: MonomialNFN(spec, readout, stem=(8, 8), trunk=(4,)),
    "MAGEPNFN": lambda spec, readout: MAGEPNFN(spec, readout, channels=(4, 4), invariants=8),
    "StatNN": StatNN,
    "FlatMLP": lambda spec, readout: FlatMLP(spec, readout, hidden=16),
}
CLASSES = (NP, HNP, MonomialNFN, MAGEPNFN, StatNN, FlatMLP)
WHOLE = ("MonomialNFN", "MAGEPNFN")  # respect all of a spec's group
NETWORKS = ("siren", "relu", "tanh", "cnn-relu", "cnn-tanh", "relu-gelu", "relu-tanh")
NETWORKS += ("one-unit", "one-unit-sine", "no-bias", "one-layer", "identity")
WRITTEN = ("recurrent-sign", "heads-nonzero", "two-factors", "residual-positive")
# Polynomials need the wires, which specs written by hand leave out.
ALL = [(model, spec) for model in MODELS for spec in NETWORKS + (() if model == "MAGEPNFN" else WRITTEN)]
EDITORS = [(model, spec) for model, spec in ALL if model != "StatNN"]
ANSWER = Invariant(3, hidden=8)


def claimed(model: str, spec: NetworkSpec) -> NetworkSpec:
    """The same networks with the group that the model's docstring promises."""
    if model in WHOLE:
        return spec
    return spec.with_symmetry(FIXED if model == "FlatMLP" else PERMUTATION)


def made(model: str, spec: NetworkSpec, readout: Readout = ANSWER) -> nn.Module:
    """In evaluation mode, with statistics of its own in every normalisation and steps that can be seen."""
    torch.manual_seed(0)
    out = MODELS[model](spec, readout).double()
    nn.init.uniform_(out.norm.rms, 0.5, 2)
    for module in out.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.running_var, 0.5, 2)
    if isinstance(readout, Edit):
        nn.init.ones_(out.step)
    return out.eval()


def networks(spec: NetworkSpec, batch: int = 4) -> WeightFeatures:
    return random_features(spec, batch, generator=torch.Generator().manual_seed(0))


def as_claimed(f: Callable, spec: NetworkSpec) -> Callable:
    """`f` on features that are described by another group."""

    def relabelled(x: WeightFeatures) -> object:
        y = f(WeightFeatures(spec, x.tensors))
        return WeightFeatures(x.spec, y.tensors) if isinstance(y, WeightFeatures) else y

    return relabelled


@pytest.mark.parametrize(("model", "name"), ALL)
def test_invariant(model: str, name: str) -> None:
    spec = SPECS[name]
    network = made(model, spec)
    assert network(networks(spec)).shape == (4, 3)
    assert invariance_error(as_claimed(network, spec), claimed(model, spec), log_scale=4) < 1e-9


@pytest.mark.parametrize(("model", "name"), EDITORS)
def test_equivariant(model: str, name: str) -> None:
    spec = SPECS[name]
    network = made(model, spec, Edit())
    x = networks(spec)
    assert any((a - b).abs().max() > 1e-3 for a, b in zip(network(x).tensors, x.tensors, strict=True))
    assert equivariance_error(as_claimed(network, spec), claimed(model, spec), log_scale=4) < 1e-9


SENSITIVE = [
    *[(model, name) for model in MODELS if model not in WHOLE for name in ("siren", "relu", "cnn-tanh")],
    ("FlatMLP", "gelu"),
]


@pytest.mark.parametrize(("model", "name"), SENSITIVE)
def test_not_invariant_to_more(model: str, name: str) -> None:
    """Sign flips and scales that keep every network's function change the answers of models that ignore them."""
    network = made(model, SPECS[name])
    assert invariance_error(network, SPECS[name], log_scale=0.5) > 1e-3


@pytest.mark.parametrize(("model", "name"), [(m, n) for m, n in SENSITIVE if m != "StatNN"])
def test_not_equivariant_to_more(model: str, name: str) -> None:
    assert equivariance_error(made(model, SPECS[name], Edit()), SPECS[name], log_scale=0.5) > 1e-3


@pytest.mark.parametrize("model", ["NP", "HNP", "MonomialNFN", "MAGEPNFN"])
def test_inputs_and_outputs_are_told_apart(model: str) -> None:
    """Another order of the inputs is another function; statistics alone cannot see it."""
    spec = SPECS["gelu"]
    x = networks(spec)
    other = WeightFeatures(spec, {**dict(x.items()), "0.weight": x["0.weight"].flip(2)})
    network = made(model, spec)
    assert not torch.allclose(network(x), network(other), rtol=1e-3)
    assert torch.allclose(*(made("StatNN", spec)(v) for v in (x, other)))


@pytest.mark.parametrize("model", ["MonomialNFN", "MAGEPNFN", "HNP", "NP"])
def test_units_are_not_summed_too_early(model: str) -> None:
    """One unit's outgoing weight moved to another unit is another function with the same statistics."""
    spec = SPECS["gelu"]
    x = networks(spec)
    other = WeightFeatures(spec, {**dict(x.items()), "2.weight": x["2.weight"].roll(1, dims=2)})
    network = made(model, spec)
    assert (network(x) - network(other)).abs().max() > 1e-6


def test_a_model_that_forgets_to_divide_scalars_out_is_caught() -> None:
    spec = SPECS["relu"]
    network = made("MonomialNFN", spec)
    network.trunk[0].factors = [frozenset()] * len(spec.params)
    assert invariance_error(network, spec, log_scale=4) > 1e-2


def test_statistics_cannot_edit() -> None:
    with pytest.raises(SymmetryError, match="cannot give back a network; use FlatMLP, NP or MonomialNFN"):
        StatNN(SPECS["relu"], Edit())


@pytest.mark.parametrize("kind", CLASSES)
def test_presets(kind: type[nn.Module]) -> None:
    assert (
        kind.preset("demo", SPECS["relu"], ANSWER)(networks(SPECS["relu"]).to(torch.float32).map(torch.tanh))
        .isfinite()
        .all()
    )
    with pytest.raises(UnknownNameError, match=f"preset of {kind.__name__} 'dmeo': did you mean \"demo\""):
        kind.preset("dmeo", SPECS["relu"], ANSWER)


def small_cnn(activation: nn.Module) -> NetworkSpec:
    """The networks of the Small CNN Zoo."""
    convolutions = [nn.Conv2d(1, 16, 3), activation, nn.Conv2d(16, 16, 3), activation, nn.Conv2d(16, 16, 3), activation]
    module = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    return spec_of(module, torch.zeros(1, 1, 9, 9))


def sizes(model: nn.Module) -> dict[str, int]:
    return {name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()}


def test_published_sizes() -> None:
    """The published counts, with the differences spelt out: 254,619 for Monomial-NFN, 1,008,521 for MAGEP."""
    relu, tanh = small_cnn(nn.ReLU()), small_cnn(nn.Tanh())
    norm, affine = 2 * 250, 2 * 5 * 32  # batch normalisation of the head, and the pool's affine map that it replaces
    pairs = 16 + 16 * 16 + 16 * 5  # channels in times channels out, over the three layers
    monomial = [
        sum(sizes(MonomialNFN.preset(f"cnn-zoo-{name}", spec, Invariant(1, hidden=200))).values())
        for name, spec in (("relu", relu), ("tanh", tanh))
    ]
    # What the published model leaves out for tanh: couplings of the last weight with the last hidden bias, both ways.
    assert monomial == [254_619 + norm - affine, 254_619 + norm - affine + 2 * 10 * pairs]
    magep = sizes(MAGEPNFN.preset("cnn-zoo-relu", relu, Invariant(1, hidden=500)))
    untied, traces = 2 * 10 * 10 + 1, 2 * 3 * 10  # a coefficient for every bias's path; in the span of the rest
    couplings = 20 * 14 * 10  # two for each of seven places of products, one to ten ends
    assert magep["polynomials"] == 2 * ((884 + untied - traces) * 400 + 200 + couplings)
    assert magep["invariants"] == (3 * 10 + 3 * 10 + 10) * 400 + 20 + 20 * 2 * 10


@pytest.mark.parametrize("wrong", [{"outputs": 0}, {"outputs": 2, "hidden": 0}, {"outputs": 2, "dropout": 1.0}])
def test_impossible_readouts_are_refused(wrong: dict) -> None:
    with pytest.raises(WeightspaceError, match="outputs and hidden of at least 1"):
        Invariant(**wrong)


@pytest.mark.parametrize("model", MODELS)
def test_networks_of_another_architecture_are_refused(model: str) -> None:
    """Also where all shapes agree, as for tanh in place of ReLU."""
    network = made(model, SPECS["relu"])
    for name in ("tanh", "cnn-relu"):
        with pytest.raises(ShapeError, match="features' own spec"):
            network(networks(SPECS[name]))


@pytest.mark.parametrize(("model", "name", "readout"), [*((*c, ANSWER) for c in ALL), *((*c, Edit()) for c in EDITORS)])
def test_gradients_reach_every_parameter(model: str, name: str, readout: Readout) -> None:
    spec = SPECS[name]
    network = made(model, spec, readout)
    out = network(networks(spec, 32))
    weights = torch.linspace(0.5, 1.5, 3) if isinstance(out, torch.Tensor) else 1.0
    tensors = (out,) if isinstance(out, torch.Tensor) else out.tensors
    sum((t * weights).square().sum() + (t * weights).sum() for t in tensors).backward()
    dead = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead
    assert all(p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(("model", "name"), [(m, n) for m, n in ALL if n not in WRITTEN])
def test_zeros_and_dead_units_give_no_nan(model: str, name: str) -> None:
    spec = SPECS[name]
    network, x = made(model, spec), networks(spec)
    dead = x.tensors[0].clone()
    dead[:, 0] = 0
    for broken in (x.map(torch.zeros_like), WeightFeatures(spec, [dead, *x.tensors[1:]])):
        inputs = [t.clone().requires_grad_() for t in broken.tensors]
        network.zero_grad()
        out = network(WeightFeatures(spec, inputs))
        out.sum().backward()
        gradients = [p.grad for p in (*inputs, *network.parameters())]
        assert all(t.isfinite().all() for t in (out, *gradients) if t is not None)


@pytest.mark.parametrize("name", NETWORKS)
def test_single_precision_suffices(name: str) -> None:
    """Scales over two decades change the answers by less than a thousandth."""
    spec = SPECS[name]
    network = made("MonomialNFN", spec).float()
    x = networks(spec).to(torch.float32)
    g = sample_element(spec, 4, generator=torch.Generator().manual_seed(1), log_scale=1)
    before, after = network(x), network(act(g, x))
    assert (after - before).abs().max() < 1e-3 * before.abs().max()


@pytest.mark.parametrize(
    ("model", "readout"), [(m, r) for m in MODELS for r in (ANSWER, Edit()) if m != "StatNN" or r == ANSWER]
)
def test_files(model: str, readout: Readout) -> None:
    spec = SPECS["siren"]
    network, x = made(model, spec, readout), networks(spec)
    fresh = MODELS[model](spec, readout).double().eval()
    fresh.load_state_dict(network.state_dict())
    for again in (fresh, pickle.loads(pickle.dumps(network)), copy.deepcopy(network)):
        one, other = (flatten(y) if isinstance(y, WeightFeatures) else y for y in (network(x), again(x)))
        assert torch.equal(one, other)
