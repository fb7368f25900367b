"""Shifts of phases as signs: what holds of the view, and of every model on it."""

import math
from collections.abc import Callable, Mapping

import pytest
import torch
from tests.gauge.rows import apart, generator, written
from tests.gauge.test_phase import FOLDED, LEFT, read
from tests.laws.registry import mlp
from tests.laws.test_model import with_full_steps
from tests.oracles.linear import equivariant_dimension
from tests.oracles.phase import spelt_anew, stacked
from torch import Tensor, nn

from weightspace.errors import ShapeError, UnknownNameError
from weightspace.gauge import PhaseView, fold_phases, gauge_norms
from weightspace.gauge.phase import phases, shift_phases
from weightspace.groups import Monomial
from weightspace.layers import EquivariantLinear
from weightspace.layers.graph import Graph
from weightspace.models import GMN, HNP, MAGEPNFN, NP, Edit, Invariant, MonomialNFN, Phased, ScaleGMN
from weightspace.spec import FIXED, SIGN, Axis, Leg, NetworkSpec, Place, Sine, spec_of
from weightspace.testing import random_features
from weightspace.weights import Element, WeightFeatures, act, features_of, identity, sample_element

Make = Callable[[NetworkSpec, Invariant | Edit], nn.Module]
SIREN = mlp((2, 5, 4, 1), Sine(30.0), Sine(3.0))
ANSWER = Invariant(3, hidden=8)
SEEN = tuple(name for name in FOLDED if name != "sines at the outputs")
# Recurrent units with a bias from the input and one from the state, as RNNs have them.
RECURRENT = written(
    (Axis("i", 2, FIXED), Axis("h", 4, SIGN), Axis("o", 1, FIXED)),
    (Place("input", "i"), Place("h", "h", "sine", (("omega", 3.0),)), Place("output", "o")),
    "weight:input>h recurrent:h>h first:>h second:>h out:h>output",
    weight=(Leg("h", (1,)), Leg("i")),
    recurrent=(Leg("h", (1,)), Leg("h", (1,))),
    first=(Leg("h", (1,)),),
    second=(Leg("h", (1,)),),
    out=(Leg("o"), Leg("h", (1,))),
)
INSIDE: Mapping[str, dict] = {
    "ScaleGMN": {"channels": 6},
    "ScaleGMN, both ways": {"channels": 6, "bidirectional": True, "form": "product"},
    "ScaleGMN, linear": {"channels": 6, "bidirectional": True, "messages": "linear"},
    "MonomialNFN": {"stem": (8, 8), "trunk": (4,)},
    "MAGEPNFN": {"channels": (4, 4), "invariants": 8},
}
PERMUTING: Mapping[str, dict] = {
    "NP": {"channels": (4, 4), "fourier": 4},
    "HNP": {"channels": (4, 4), "fourier": 0},
    "GMN": {"channels": 6, "rounds": 2},
}
RAW: Mapping[str, type[nn.Module]] = {kind.__name__: kind for kind in (GMN, HNP, MAGEPNFN, MonomialNFN, NP, ScaleGMN)}


def made(name: str, spec: NetworkSpec, readout: Invariant | Edit = ANSWER, *, phased: bool = True) -> nn.Module:
    """A model on the view, or as it is, in float64, with scales of its own and edits that can be seen."""
    torch.manual_seed(0)
    inside, settings = name.split(",")[0], {**INSIDE, **PERMUTING}[name]
    model = (
        Phased(spec, readout, inside=inside, settings=settings) if phased else RAW[inside](spec, readout, **settings)
    )
    nn.init.uniform_(model.norm.rms, 0.5, 2)
    return with_full_steps(model).double().eval()


def networks(name: str, size: float = 1.0) -> WeightFeatures:
    if name == "recurrent":
        return random_features(RECURRENT, 4, generator=generator(1)).map(lambda tensor: size * tensor)
    return read(*FOLDED[name][:2], size)[2]


def random_turns(x: WeightFeatures, *, whole: bool = False) -> dict[str, Tensor]:
    """Up to three half turns for every unit, or as many whole ones; none for sines at the outputs."""
    seen = {place.name for place in PhaseView(x.spec).places}
    return {
        name: torch.randint(-3, 4, k.shape, generator=generator(3)).double() * (1 + whole)
        for name, k in phases(x).items()
        if name in seen
    }


def moved(x: WeightFeatures, g: Element, turns: Mapping[str, Tensor]) -> WeightFeatures:
    """The same functions: units moved and flipped by `g`, then shifted by half turns."""
    return shift_phases(act(g, x), turns)


def seen_element(view: PhaseView, g: Element, turns: Mapping[str, Tensor]) -> Element:
    """What moves the view of networks as `moved` moves the networks."""
    like, parts = identity(view.spec, len(g)), {}
    for axis in like.axes:
        added = [1 - 2 * (turns[p.name][..., 0] % 2) for p in view.places if p.axis == axis.name]
        part = g.parts[axis.name]
        parts[axis.name] = Monomial(part.perm, torch.cat([part.scale, *(sign.unsqueeze(1) for sign in added)], 1))
    return Element(like.axes, parts)


def law(model: Callable, x: WeightFeatures, *, whole: bool = False, signs: bool = True) -> float:
    """How far answers are from being the same, and edits from being moved alike; relative to the largest number."""
    g, turns = sample_element(x.spec, len(x), generator=generator(2)), random_turns(x, whole=whole)
    if not signs:
        g = Element(g.axes, {n: Monomial(part.perm, torch.ones_like(part.scale)) for n, part in g.parts.items()})
    with torch.no_grad():
        before, after = model(x), model(moved(x, g, turns))
    if isinstance(before, WeightFeatures):
        return apart(after, moved(before, g, turns))
    return ((after - before).abs().max() / before.abs().max()).item()


def test_the_group_keeps_functions() -> None:
    """As the formulas say, unit by unit: the network's function is the same, and the view is moved by signs."""
    x = read(SIREN, (20, 2))[2]
    draw = generator(4)
    perms = [[torch.randperm(n, generator=draw) for n in (5, 4)] for _ in range(4)]
    signs = [[torch.randint(0, 2, (n,), generator=draw) * 2 - 1 for n in (5, 4)] for _ in range(4)]
    turns = [[torch.randint(-3, 4, (n,), generator=draw) for n in (5, 4)] for _ in range(4)]
    states = [{key: tensor[0] for key, tensor in x[row].to_state().items()} for row in range(4)]
    other = features_of(
        x.spec,
        stacked([spelt_anew(*each) for each in zip(states, [(30.0, 3.0)] * 4, perms, signs, turns, strict=True)]),
    )
    points, siren = torch.rand(20, 2, dtype=torch.float64, generator=draw), mlp((2, 5, 4, 1), Sine(30.0), Sine(3.0))
    for one, two in zip(*(f.to_modules(siren.double()) for f in (x, other)), strict=True):
        torch.testing.assert_close(two(points), one(points), rtol=1e-11, atol=1e-11)
    view = PhaseView(x.spec)
    like, parts = identity(view.spec, 4), {}
    for number, name in enumerate(("0", "2")):
        s, parity = (torch.stack([each[number] for each in rows]).double() for rows in (signs, turns))
        u = 1 - 2 * (parity % 2)
        parts[name] = Monomial(torch.stack([each[number] for each in perms]), torch.stack([s * u, u], 1))
    assert apart(view.features(other), act(Element(like.axes, parts), view.features(x))) < 1e-10
    for name in INSIDE:
        answers = [made(name, x.spec)(f) for f in (x, other)]
        assert (answers[0] - answers[1]).abs().max() < 1e-10 * answers[0].abs().max()


@pytest.mark.parametrize("name", [*SEEN, "recurrent"])
def test_shifts_are_signs_on_the_view(name: str) -> None:
    x = networks(name)
    view = PhaseView(x.spec)
    g, turns = sample_element(x.spec, len(x), generator=generator(2)), random_turns(x)
    assert turns
    element = seen_element(view, g, turns)
    assert apart(view.features(moved(x, g, turns)), act(element, view.features(x))) < 1e-12


@pytest.mark.parametrize("name", [*SEEN, "recurrent"])
def test_changes_follow_and_do_not_see_shifts(name: str) -> None:
    """A change of the view, moved, means the change of the networks, moved by what permutes and flips alone."""
    x = networks(name)
    view = PhaseView(x.spec)
    g, turns = sample_element(x.spec, len(x), generator=generator(2)), random_turns(x)
    y = random_features(view.spec, len(x), generator=generator(5))
    change = view.change(moved(x, g, turns), act(seen_element(view, g, turns), y))
    near = WeightFeatures(x.spec, [a + b for a, b in zip(x.tensors, view.change(x, y).tensors, strict=True)])
    expected = moved(near, g, turns)
    found = WeightFeatures(x.spec, [a + b for a, b in zip(moved(x, g, turns).tensors, change.tensors, strict=True)])
    assert apart(found, expected) < 1e-12


@pytest.mark.parametrize("name", [*SEEN, "recurrent"])
def test_changes_undo_the_derivative_of_the_view(name: str) -> None:
    """Of several biases that are added up, the sum is what counts."""
    x = networks(name)
    view = PhaseView(x.spec)
    step = random_features(x.spec, len(x), generator=generator(5))
    _, tangent = torch.autograd.functional.jvp(
        lambda *tensors: view.features(WeightFeatures(x.spec, tensors)).tensors, x.tensors, step.tensors
    )
    change = view.change(x, WeightFeatures(view.spec, tangent))
    for place in view.places:
        found, expected = (sum(f[bias] for bias in place.biases) for f in (change, step))
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)
    biases = {bias for place in view.places for bias in place.biases}
    assert all(torch.equal(t, step[n]) for n, t in change.items() if n not in biases)
    radial = dict(view.features(x).map(torch.zeros_like).items())
    for place in view.places:
        for part in ("sine", "cosine"):
            radial[f"{place.biases[0]} {part}"] = view.features(x)[f"{place.biases[0]} {part}"]
    still = view.change(x, WeightFeatures(view.spec, radial))
    assert max(tensor.abs().max() for tensor in still.tensors) < 1e-12


@pytest.mark.parametrize("name", [*SEEN, "recurrent"])
def test_the_library_takes_its_spec(name: str) -> None:
    """Text, graph, norms, the linear rule: nothing on the way between the new places is out of line."""
    x = networks(name)
    view = PhaseView(x.spec)
    assert NetworkSpec.from_json(view.spec.to_json()) == view.spec
    before, graph = Graph(x.spec), Graph(view.spec)
    crooked = {(e.param, e.target.name) for e in (*graph.wires, *graph.biases) if not e.straight}
    assert crooked <= {(e.param, e.target.name) for e in (*before.wires, *before.biases) if not e.straight}
    assert graph.unread == before.unread
    assert (graph.inputs, graph.outputs) == (before.inputs, before.outputs)
    seen = view.features(x)
    assert all(norms.isfinite().all() for norms in gauge_norms(seen).values())
    layer = EquivariantLinear(view.spec, 1, 1).double()
    assert (
        apart(layer(act(g := sample_element(view.spec, 4, generator=generator(2)), seen)), act(g, layer(seen))) < 1e-11
    )
    assert not PhaseView(view.spec).places  # what is seen once has no phases any more


@pytest.mark.parametrize("widths", [(1, 2, 1), (1, 2, 2, 1), (1, 1, 1, 1)])
def test_the_linear_layer_is_complete(widths: tuple[int, ...]) -> None:
    """As many coefficients as the space of commuting maps has dimensions: cosines meet no sine but through weights."""
    spec = PhaseView(spec_of(mlp(widths, Sine(3.0)))).spec
    layer = EquivariantLinear(spec, 1, 1, bias=False)
    assert sum(p.numel() for p in layer.parameters()) == equivariant_dimension(spec)


def test_what_has_no_phases_is_seen_as_it_is() -> None:
    for name in LEFT:
        x = read(*LEFT[name])[2]
        view = PhaseView(x.spec)
        assert view.spec is x.spec
        assert view.places == ()
        assert all(a is b for a, b in zip(view.features(x).tensors, x.tensors, strict=True))
        assert all(a is b for a, b in zip(view.change(x, x).tensors, x.tensors, strict=True))
    assert not PhaseView(networks("sines at the outputs").spec).places  # fixed units have no signs


@pytest.mark.parametrize("name", ["siren", "two sines on one axis", "behind a LayerNorm", "depthwise", "groups"])
@pytest.mark.parametrize("model", INSIDE)
def test_models_on_the_view_are_invariant(model: str, name: str) -> None:
    x = networks(name)
    network = made(model, x.spec)
    assert (network(x).std(0) > 1e-4 * network(x).abs().max()).all()
    assert law(network, x) < 1e-10


@pytest.mark.parametrize("name", ["siren", "two sines on one axis", "behind a LayerNorm", "depthwise", "groups"])
@pytest.mark.parametrize("model", INSIDE)
def test_edits_on_the_view_commute(model: str, name: str) -> None:
    x = networks(name)
    network = made(model, x.spec, Edit())
    biases = [bias for place in PhaseView(x.spec).places for bias in place.biases]
    assert all((network(x)[bias] - x[bias]).abs().max() > 1e-4 for bias in biases)
    assert law(network, x) < 1e-10


@pytest.mark.parametrize("model", PERMUTING)
def test_models_that_permute_respect_whole_turns(model: str) -> None:
    x = networks("siren")
    for readout in (ANSWER, Edit()):
        network = made(model, x.spec, readout)
        assert law(network, x, whole=True, signs=False) < 1e-10
        assert law(network, x, signs=False) > 1e-3


@pytest.mark.parametrize("model", [*INSIDE, *PERMUTING])
def test_models_that_read_biases_are_caught(model: str) -> None:
    """As they are, they see every shift, whole turns too."""
    x = networks("siren")
    for readout in (ANSWER, Edit()):
        assert law(made(model, x.spec, readout, phased=False), x, whole=True, signs=False) > 1e-3


class WithoutFrequency(PhaseView):
    """Takes the bias for the phase."""

    def _phase(self, x: WeightFeatures, place: object) -> Tensor:
        return super()._phase(x, place) * place.step / math.pi


class FirstBias(PhaseView):
    """Forgets that biases are added up."""

    def _phase(self, x: WeightFeatures, place: object) -> Tensor:
        return x[place.biases[-1]] * math.pi / place.step


def test_views_with_another_phase_are_caught() -> None:
    for kind, name in ((WithoutFrequency, "siren"), (FirstBias, "recurrent")):
        x = networks(name)
        view, g, turns = kind(x.spec), sample_element(x.spec, 4, generator=generator(2)), random_turns(x)
        element = seen_element(view, g, turns)
        assert apart(view.features(moved(x, g, turns)), act(element, view.features(x))) > 1e-2


def test_cosines_are_needed() -> None:
    """A phase and what is left of it to half a turn have one sine, and are other functions.

    `MonomialNFN` takes every sign away for itself, and so cannot tell.
    """
    x = networks("siren")
    tensors = dict(x.items())
    other = WeightFeatures(x.spec, {**tensors, "0.bias": math.pi / 30 - tensors["0.bias"]})
    view = PhaseView(x.spec)
    torch.testing.assert_close(view.features(other)["0.bias sine"], view.features(x)["0.bias sine"])
    for model in set(INSIDE) - {"MonomialNFN"}:
        network = made(model, x.spec)
        assert (network(other) - network(x)).abs().max() > 1e-6 * network(x).abs().max()


def test_the_view_has_no_seam() -> None:
    """Half a turn from both sides: folded networks jump, the view does not."""
    x = networks("siren")
    near = []
    for side in (-1e-9, 1e-9):
        bias = torch.full_like(x["0.bias"], math.pi / 60 + side)
        near.append(WeightFeatures(x.spec, {**dict(x.items()), "0.bias": bias}))
    view, network = PhaseView(x.spec), made("ScaleGMN, both ways", x.spec)
    seen = [view.features(f) for f in near]
    assert max((a - b).abs().max() for a, b in zip(seen[0].tensors, seen[1].tensors, strict=True)) < 1e-6
    folds = [fold_phases(f)["0.weight"] for f in near]
    assert torch.equal(folds[0], -folds[1])
    assert (network(near[0]) - network(near[1])).abs().max() < 1e-6


def test_gradients_are_finite_everywhere() -> None:
    """Also where sines or cosines vanish."""
    x = networks("siren")
    for phase in (0.0, math.pi / 2, math.pi):
        bias = torch.full_like(x["0.bias"], phase / 30)
        leaves = [
            t.clone().requires_grad_() for t in WeightFeatures(x.spec, {**dict(x.items()), "0.bias": bias}).tensors
        ]
        network = made("ScaleGMN, both ways", x.spec)
        network(WeightFeatures(x.spec, leaves)).sum().backward()
        assert all(leaf.grad is not None and leaf.grad.isfinite().all() for leaf in leaves)


def test_scales_are_taken_of_what_is_seen() -> None:
    x = networks("siren")
    network = Phased(x.spec, ANSWER, inside="MonomialNFN", settings={"stem": (4,), "trunk": (4,)})
    assert network.norm.fit(x).spec == x.spec
    seen = network.view.features(x)
    expected = torch.stack([tensor.square().mean().sqrt() for tensor in seen.tensors])
    torch.testing.assert_close(network.inner.norm.rms, expected.float())
    with pytest.raises(ShapeError, match="given to a layer"):
        network.norm.fit(seen)


def test_mistakes_are_named() -> None:
    x = networks("siren")
    view = PhaseView(x.spec)
    seen = view.features(x)
    with pytest.raises(ShapeError, match="given to a layer"):
        view.features(seen)
    with pytest.raises(ShapeError, match="given to a layer"):
        view.change(x, x)
    with pytest.raises(ShapeError, match="3 changes of 1 channels for 4 networks of 1; expected as many"):
        view.change(x, seen[:3])
    with pytest.raises(ShapeError, match="nothing at '0.bias sine'"):
        seen.to_modules(FOLDED["siren"][0])
    with pytest.raises(UnknownNameError, match="model inside Phased 'ScaleGNM': did you mean"):
        Phased(x.spec, ANSWER, inside="ScaleGNM")
