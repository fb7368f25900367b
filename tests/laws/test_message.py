"""Messages on the network's graph: gates follow scalars, fast sums equal slow ones, and what is wrong is caught."""

import pytest
import torch
from tests.laws.registry import SPECS, mlp
from tests.oracles.message import Gathered
from torch import Tensor, nn

from weightspace.errors import SpecError, SymmetryError, UnknownNameError, WeightspaceError
from weightspace.layers import Gated, Invariants, graph_ends
from weightspace.layers.edge import formed
from weightspace.layers.gated import SIGN_FORMS
from weightspace.layers.graph import Graph
from weightspace.layers.graph_ends import GraphStart
from weightspace.layers.message import GatedMessages, LinearMessages, State
from weightspace.models import Edit, Invariant, ScaleGMN
from weightspace.spec import Factor, spec_of
from weightspace.testing import equivariance_error, invariance_error, random_features
from weightspace.weights import act, sample_element

KINDS = [frozenset[Factor](), frozenset({Factor.SIGN}), frozenset({Factor.POSITIVE}), frozenset(Factor)]


def rows(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("form", SIGN_FORMS)
@pytest.mark.parametrize("factors", KINDS)
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_gates_follow_their_scalar(factors: frozenset[Factor], form: str, scale: float) -> None:
    torch.manual_seed(0)
    gated, x, y = Gated([4, 3], 5, factors, form).double(), rows(6, 1, 4), rows(6, 7, 3)
    factor = (scale if Factor.POSITIVE in factors else 1.0) * (-1 if Factor.SIGN in factors else 1)
    torch.testing.assert_close(gated(factor * x, factor * y), factor * gated(x, y), rtol=1e-11, atol=0)


@pytest.mark.parametrize(("factors", "factor"), [({Factor.POSITIVE}, -1.0), ({Factor.SIGN}, 2.0), (set(), 2.0)])
def test_gates_follow_no_other(factors: set[Factor], factor: float) -> None:
    gated, x = Gated([4], 5, factors).double(), rows(6, 4)
    nn.init.normal_(gated.invariants.shift)
    assert not torch.allclose(gated(factor * x), factor * gated(x), rtol=1e-2)


@pytest.mark.parametrize("form", SIGN_FORMS)
def test_only_absolute_values_lose_the_signs_of_channels_relative_to_each_other(form: str) -> None:
    invariants, x = Invariants([4], 5, {Factor.SIGN}, form).double(), rows(6, 4)
    flipped = x * torch.tensor([1.0, -1, 1, 1], dtype=torch.float64)
    assert torch.allclose(invariants(x), invariants(flipped)) == (form == "absolute")


@pytest.mark.parametrize("factors", KINDS)
def test_zero_stays_zero_without_nan(factors: frozenset[Factor]) -> None:
    x = torch.zeros(3, 4, requires_grad=True)
    y = Gated([4], 4, factors)(x)
    assert bool((y == 0).all()) == bool(factors)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert gradient.isfinite().all()


def graph_and_state(name: str, channels: int = 3) -> tuple[Graph, State]:
    torch.manual_seed(0)
    graph = Graph(SPECS[name])
    (step,) = graph.steps(1, [*graph.vertices], [], back=True)
    x = random_features(SPECS[name], 2, generator=torch.Generator().manual_seed(0))
    start = GraphStart([graph], [step], channels, linear=False).double()
    return graph, start(graph, step, x)


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("receiver", [False, True])
@pytest.mark.parametrize("name", ["relu", "tanh", "cnn-flattened", "relu-tanh", "gelu"])
def test_messages_one_by_one(name: str, receiver: bool, back: bool) -> None:
    """Gathered for every edge, computed, and scattered to where they go."""
    graph, state = graph_and_state(name)
    layer = GatedMessages(graph.wires, back=back, channels=3, receiver=receiver, form="symmetrised").double()
    heard = layer(state, graph.wires)
    for wire in graph.wires:
        source, target = (end.name for end in wire.ends(back=back))
        edges = formed((state.back if back else state.edges)[wire.param])
        total = torch.zeros_like(state.vertices[target])
        place = graph.vertices[target]
        gate = layer.gates["ends" if place.fixed else "_".join(["hidden", *sorted(place.factors)])]
        rows_are_targets = wire.target_dims == (1,)
        for i in range(edges.shape[1]):
            for j in range(edges.shape[2]):
                hears, sends = (i, j) if rows_are_targets != back else (j, i)
                sent = layer.vertex(state.vertices[source][:, sends]) * layer.edge(edges[:, i, j])
                parts = [state.vertices[target][:, hears], sent] if receiver else [sent]
                total[:, hears] += gate(*parts)
        count = edges.shape[1] * edges.shape[2] // total.shape[1]
        torch.testing.assert_close(heard[target], total / count**0.5, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("messages", ["gated", "sent"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("name", ["relu", "siren"])
def test_edge_by_edge(name: str, bidirectional: bool, messages: str) -> None:
    """The whole model against its slow twin, which gathers and scatters."""
    model = made(name, bidirectional=bidirectional, messages=messages)
    x = random_features(SPECS[name], 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x), Gathered(model)(x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("name", ["relu", "tanh", "cnn-relu", "grouped", "rnn-relu", "encoder"])
def test_linear_messages_are_sums_of_products(name: str, back: bool) -> None:
    graph, state = graph_and_state(name)
    for wire in (wire for wire in graph.wires if wire.param in (state.weights_back if back else state.weights)):
        if not wire.straight:
            continue
        layer = LinearMessages([wire], back=back, channels=3).double()
        source, target = (end.name for end in wire.ends(back=back))
        dims, to = wire.dims(back=back)
        weights = (state.weights_back if back else state.weights)[wire.param]
        edges = weights @ layer.edge.matrix(wire)
        sent = layer.vertex(state.vertices[source])
        shape = [sent.shape[1 + dims.index(dim)] if dim in dims else 1 for dim in range(1, edges.ndim - 1)]
        products = edges * sent.reshape(len(sent), *shape, 3)
        others = [dim for dim in range(1, edges.ndim - 1) if dim not in to]
        total = products.sum(others) if others else products
        count = edges[0, ..., 0].numel() // total[0, ..., 0].numel()
        torch.testing.assert_close(layer(state, [wire])[target], total / count**0.5, rtol=1e-10, atol=1e-12)


def made(name: str, **options: object) -> ScaleGMN:
    torch.manual_seed(0)
    return ScaleGMN(SPECS[name], Invariant(3, hidden=8), channels=6, **options).double().eval()


@pytest.mark.parametrize("name", ["relu", "cnn-tanh", "relu-gelu", "encoder", "one-unit"])
def test_lean_rounds_compute_the_same(name: str) -> None:
    """In blocks and twice: the same answers, the same gradients."""
    x = random_features(SPECS[name], 3, generator=torch.Generator().manual_seed(0))
    models = [made(name, bidirectional=True).save_memory(lean) for lean in (False, True)]
    for model in models:
        model(x).square().sum().backward()
    assert torch.allclose(models[0](x), models[1](x), rtol=1e-12)
    for one, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-10, atol=1e-12)


def test_weights_as_backward_edges_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the published code does: not equivariant under scales."""
    model = made("relu", bidirectional=True)
    assert invariance_error(model, SPECS["relu"], log_scale=1) < 1e-10
    monkeypatch.setattr(graph_ends, "_ratio", lambda wire, norms, x: torch.ones(1))
    assert invariance_error(model, SPECS["relu"], log_scale=1) > 1e-3


def test_wires_that_are_not_straight_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert invariance_error(made("lstm"), SPECS["lstm"]) < 1e-10
    monkeypatch.setattr(Graph, "_straight", lambda *args: True)
    assert invariance_error(made("lstm"), SPECS["lstm"]) > 1e-3


def test_first_weights_need_as_many_rounds_as_layers() -> None:
    """Forward, where the outputs alone are read; what is not read is not computed."""
    graph = Graph(SPECS["relu"])
    steps = graph.steps(3, graph.outputs, [], back=False)
    assert [len(step.wires) for step in steps] == [3, 2, 1]
    assert [len(step.edges) for step in steps] == [2, 1, 0]


@pytest.mark.parametrize("messages", ["gated", "sent", "linear"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_no_dead_network_gives_nan(messages: str, bidirectional: bool) -> None:
    """Zeros, a dead unit, factors from 1e-10 to 1e10 in float32; gradients included."""
    spec = spec_of(mlp((2, 4, 4, 1), nn.ReLU()))
    model = ScaleGMN(spec, Edit(1.0), channels=6, messages=messages, bidirectional=bidirectional)
    x = random_features(spec, 3).to(torch.float32)
    x.tensors[0][0], x.tensors[1][0], x.tensors[2][1, 2] = 0, 0, 0
    for log_scale in (0, 10):
        g = sample_element(spec, 3, generator=torch.Generator().manual_seed(0), log_scale=log_scale)
        inputs = act(g, x).map(lambda t: t.detach().requires_grad_())
        change = model(inputs)
        gradients = torch.autograd.grad(change.tensors, inputs.tensors, [torch.ones_like(t) for t in change.tensors])
        assert all(t.isfinite().all() for t in (*change.tensors, *gradients))


def test_editing_learns_a_planted_target() -> None:
    """An equivariant map drawn at random: the largest part of the variance is explained after 200 steps."""
    spec = spec_of(mlp((2, 6, 6, 1), nn.Tanh()))
    torch.manual_seed(0)
    teacher = ScaleGMN(spec, Edit(1.0), channels=4, rounds=1, messages="linear")
    student = ScaleGMN(spec, Edit(0.1), channels=12, rounds=2, messages="linear")
    x = random_features(spec, 256, generator=torch.Generator().manual_seed(0)).to(torch.float32)
    with torch.no_grad():
        change = [(a - b) for a, b in zip(teacher(x).tensors, x.tensors, strict=True)]
    optimiser = torch.optim.Adam(student.parameters(), lr=1e-2)
    for _ in range(200):
        optimiser.zero_grad()
        got = [a - b for a, b in zip(student(x).tensors, x.tensors, strict=True)]
        loss = sum((a - b).square().sum() for a, b in zip(got, change, strict=True))
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.3 * sum(t.square().sum() for t in change).item()
    assert equivariance_error(student.double(), spec) < 1e-10


def test_refusals() -> None:
    with pytest.raises(SpecError, match="no places and wires"):
        ScaleGMN(SPECS["two-factors"], Invariant(3))
    with pytest.raises(WeightspaceError, match="rounds is 0; expected at least one"):
        ScaleGMN(SPECS["relu"], Invariant(3), rounds=0)
    with pytest.raises(SymmetryError, match="'0.weight', whose entries scale.*Remedy: GMN or NGGNN"):
        ScaleGMN(SPECS["relu"], Invariant(3), fourier=4)
    with pytest.raises(UnknownNameError, match='did you mean "gated"'):
        ScaleGMN(SPECS["relu"], Invariant(3), messages="gatde")
    with pytest.raises(UnknownNameError, match='did you mean "product"'):
        ScaleGMN(SPECS["tanh"], Invariant(3), form="produkt")
