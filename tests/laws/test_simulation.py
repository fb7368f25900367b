"""Coefficients set by hand, with which messages compute what the networks themselves compute: outputs and gradients."""

import pytest
import torch
from tests.laws.registry import mlp
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from weightspace.errors import ShapeError, UnknownNameError
from weightspace.gauge import gauge_norms
from weightspace.layers.gated import Gated, Invariants
from weightspace.models import Edit, ScaleGMN
from weightspace.spec import spec_of
from weightspace.testing import random_features
from weightspace.weights import WeightFeatures

WIDTHS, CHANNELS = (2, 5, 4, 3), 8
BIAS, VALUE, SLOPE = 0, 1, 2  # what stands in the first channels; a slope is times the squared gauge norm of its unit
# So far above all numbers that what a layer normalisation divides by hardly depends on them.
FAR = 1e7


def cleared(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    for part in module.modules():
        if isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)


def set_step(gate: Invariants, parts: list[tuple[int, int]]) -> None:
    """Answers one for all channels, but for value and slope one or zero with the sign of a sum of channels.

    Layer normalisation makes signs of numbers that come in pairs, and `silu(a) - silu(-a)` is `a`.
    """
    for part, channel in parts:
        gate.read[part].weight[0::2, channel] = FAR
        gate.read[part].weight[1::2, channel] = -FAR
    gate.answer.bias[:] = 1
    for channel in (VALUE, SLOPE):
        gate.answer.bias[channel] = 0.5
        gate.answer.weight[channel, :2] = torch.tensor([0.5, -0.5])


def set_linear(gate: Invariants, rows: dict[int, list[tuple[int, int]]]) -> None:
    """Answers, in some channels, sums of channels as they are, beside two numbers that outweigh them."""
    gate.shift[:2] = torch.tensor([FAR, -FAR])
    for row, (channel, parts) in enumerate(rows.items(), start=1):
        for part, other in parts:
            gate.read[part].weight[2 * row, other] = 1
            gate.read[part].weight[2 * row + 1, other] = -1
        size = FAR * (2 / CHANNELS) ** 0.5
        gate.answer.weight[channel, 2 * row : 2 * row + 2] = torch.tensor([size, -size])


def set_hidden(gated: Gated, ways: list[str]) -> None:
    """Keeps the bias; the value is the sum of what came and the bias where it is positive, the slope likewise."""
    gated.linear[0].weight[BIAS, BIAS] = gated.linear[0].weight[VALUE, BIAS] = 1
    parts = [(0, BIAS)]
    if "ahead" in ways:
        gated.linear[1 + ways.index("ahead")].weight[VALUE, VALUE] = 1
        parts.append((1 + ways.index("ahead"), VALUE))
    if "back" in ways:
        gated.linear[1 + ways.index("back")].weight[SLOPE, SLOPE] = 1
    set_step(gated.invariants, parts)


@torch.no_grad()
def simulator(model: ScaleGMN) -> ScaleGMN:
    """Sets every coefficient that what vertices hold depends on."""
    cleared(model.start)
    model.start.signal["input"].weight[VALUE] = 1
    last = next(iter(model.graphs)).outputs[0]
    for label, place in model.start.place.items():
        if label == next(iter(model.graphs)).vertices[last].label:
            place[:, SLOPE] = 1
    for weight in model.start.bias.weight.values():
        weight[:, BIAS] = 1
    for layer, step in zip(model.rounds, next(iter(model.plans.values())).steps, strict=True):
        cleared(layer)
        for way, messages in layer.messages.items():
            channel = VALUE if way == "ahead" else SLOPE
            messages.vertex.weight[channel, channel] = 1
            for wire in step.ways[way]:
                # Sums are over the root of the number of receivers' edges, weights times that of the fan-in.
                ends = [end.shape[-1] for end in wire.ends(back=False)]
                messages.edge.weight[wire.label][0, channel] = (1 if way == "ahead" else ends[1] / ends[0]) ** 0.5
        for place, ways in step.heard:
            gated = layer.vertex[layer._key(place, ways)]
            if place.factors:
                set_hidden(gated, list(ways))
            elif place.name == "input":
                set_linear(gated.invariants, {VALUE: [(0, VALUE)]})
            else:
                set_linear(gated.invariants, {BIAS: [(0, BIAS)], VALUE: [(0, BIAS), (1, VALUE)], SLOPE: [(0, SLOPE)]})
    return model


def vertices(model: ScaleGMN, x: WeightFeatures, points: Tensor) -> dict[str, Tensor]:
    """What stands at the vertices in the end."""
    (plan,) = model.plans.values()
    state = model.start(plan.graph, plan.steps[0], x, {"input": points.unsqueeze(-1)})
    for layer, step in zip(model.rounds, plan.steps, strict=True):
        state = layer(state, step)
    return state.vertices


def test_vertices_hold_the_activations_and_the_slopes_of_a_network() -> None:
    """On random networks with ReLU and random points, to rounding: outputs, hidden activations, gradients of biases."""
    module = mlp(WIDTHS, nn.ReLU())
    spec = spec_of(module)
    options = {
        "channels": CHANNELS,
        "rounds": len(WIDTHS) - 1,
        "bidirectional": True,
        "messages": "linear",
        "skip": False,
    }
    model = simulator(ScaleGMN(spec, Edit(), signals={"input": 1}, **options).double())
    x = random_features(spec, 16, generator=torch.Generator().manual_seed(0))
    points = torch.randn(16, WIDTHS[0], dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    held = vertices(model, x, points)
    state = x.to_state()

    def output(state: dict[str, Tensor], point: Tensor) -> Tensor:
        return functional_call(module, state, (point,))

    torch.testing.assert_close(held["4"][..., VALUE], vmap(output)(state, points), rtol=1e-10, atol=1e-10)
    slopes = vmap(grad(lambda state, point: output(state, point).sum()))(state, points)
    norms = gauge_norms(x)
    for name in ("0", "2"):
        got = held[name][..., SLOPE] / norms[name].square()
        torch.testing.assert_close(got, slopes[f"{name}.bias"], rtol=1e-10, atol=1e-10)
        before = "input" if name == "0" else "0"
        values = points if name == "0" else held[before][..., VALUE]
        products = got.unsqueeze(-1) * values.unsqueeze(-2)
        torch.testing.assert_close(products, slopes[f"{name}.weight"], rtol=1e-10, atol=1e-10)


def test_a_round_less_does_not_reach_the_first_layer() -> None:
    spec = spec_of(mlp(WIDTHS, nn.ReLU()))
    options = {"channels": CHANNELS, "bidirectional": True, "messages": "linear", "skip": False}
    x = random_features(spec, 16, generator=torch.Generator().manual_seed(0))
    points = torch.ones(16, WIDTHS[0], dtype=torch.float64)
    enough, short = (
        vertices(simulator(ScaleGMN(spec, Edit(), rounds=n, signals={"input": 1}, **options).double()), x, points)
        for n in (3, 2)
    )
    assert torch.allclose(enough["0"][..., VALUE], short["0"][..., VALUE], atol=1e-9)
    assert not torch.allclose(enough["0"][..., SLOPE], short["0"][..., SLOPE], atol=1e-3)
    assert not torch.allclose(enough["4"][..., VALUE], short["4"][..., VALUE], atol=1e-3)


def test_signals_are_those_that_were_announced() -> None:
    spec = spec_of(mlp(WIDTHS, nn.ReLU()))
    x = random_features(spec, 4).to(torch.float32)
    model = ScaleGMN(spec, Edit(), channels=4, signals={"input": 1})
    for wrong in ({}, {"input": torch.ones(4, 3, 1)}, {"input": torch.ones(4, 2, 1), "4": torch.ones(4, 3, 1)}):
        with pytest.raises(ShapeError, match=r"expected \{'input': \(4, 2, 1\)\}"):
            model(x, wrong)
    with pytest.raises(UnknownNameError, match='did you mean "input"'):
        ScaleGMN(spec, Edit(), channels=4, signals={"inputs": 1})
