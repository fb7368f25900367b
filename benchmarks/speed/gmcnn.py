"""Layers and networks on groups, against how they were published and against torch's ordinary convolutions.

Two kinds of cases, all in float32, forward and backward, in turns; `milliseconds` are medians.

* A layer of the published GM-CNN: `published` gathers the neighbours of every element, all channels apart, and sums
  over channels and taps, as the published code does; `layer` is `GroupConv` with summed mixing (`GainConv` on
  Z64 x Z64); they give the same numbers, which is checked first. `index` is the time of making the layer's indices
  and `index_megabytes` what they take.
* A step of training of a whole network, "step ...": `group` is a GMCNN or GMCNNDynamics that mixes channels in full,
  `torch` the same blocks of `Conv2d` with circular padding on images, cosets as channels. `gain` is the time of
  `group` over that of the same step under `torch.autocast` in bfloat16, and over that of the compiled model.

`ratio` is the time of the second way over that of the first, `ratio_forward` the same without gradients;
`peak_mebibytes` is what one pass or step adds to the memory of a process of its own, `peak_share` that of the first way
over that of the second. Prints one JSON object, and to stderr the rows of a table.

    python benchmarks/speed/gmcnn.py [--turns 5] [--threads 1] [--give-back] [--only CASE ...]

See machine.py for `--give-back`.
"""

import argparse
from collections.abc import Callable
from functools import partial
from shutil import which

import torch
from machine import added, in_turns, main, milliseconds, peaks
from torch import Tensor, nn

from weightspace.groups import Group, box, cyclic, dihedral, direct_product
from weightspace.matrices import GMCNN, Convolution, GainConv, GMCNNDynamics, GroupBlock, GroupConv, Mixing


def plane(size: int) -> Group:
    return direct_product(cyclic(size), cyclic(size))


def mirrors(size: int) -> Group:
    return direct_product(dihedral(size), dihedral(size))


# Group, radius, batch, channels.
LAYERS: dict[str, tuple[Group, int, int, int]] = {
    "Z32 x Z32, radius 3": (plane(32), 3, 4, 120),
    "Z28 x Z28, radius 3": (plane(28), 3, 4, 120),
    "D14 x D14, radius 2": (mirrors(14), 2, 4, 120),
    "D14 x D14, radius 3": (mirrors(14), 3, 4, 120),
    "Z64 x Z64, radius 1, gains": (plane(64), 1, 4, 128),
}
STEPS: dict[str, tuple[Group, int, int, int]] = {
    "step, Z32 x Z32, radius 1": (plane(32), 1, 32, 64),
    "step, D14 x D14, radius 1": (mirrors(14), 1, 16, 32),
    "step, dynamics, Z64 x Z64, radius 1": (plane(64), 1, 8, 32),
}


def published(x: Tensor, weight: Tensor, bias: Tensor, gain: Tensor, index: Tensor) -> Tensor:
    """The published computation, `x` with channels ahead of elements."""
    near = x[:, :, index]
    return gain * torch.einsum("ok,bckh->boh", weight, near) + bias[:, None]


def layer_ways(name: str) -> dict[str, Callable[[], Tensor]]:
    group, radius, batch, channels = LAYERS[name]
    torch.manual_seed(0)
    support = box(group, radius)
    x = torch.randn(batch, group.order, channels, requires_grad=True)
    gained = name.endswith("gains")
    layer = (
        GainConv(group, channels, channels, support)
        if gained
        else GroupConv(group, channels, channels, support, mixing=Mixing.SUMMED)
    )
    conv = layer.conv if isinstance(layer, GainConv) else layer
    unit = nn.functional.normalize(conv.weight, dim=0) if gained else conv.weight
    gain = nn.functional.normalize(layer.gain, dim=0) if gained else torch.ones(group.order)
    weight, gain = unit[:, :, 0].T.detach().requires_grad_(), gain.detach().requires_grad_(gained)
    index = group.multiply(group.elements[None], group.inverse(support)[:, None])
    turned = x.detach().mT.contiguous().requires_grad_()
    bias = conv.bias.detach().requires_grad_()
    return {
        "layer": lambda: layer(x),
        "published": lambda: published(turned, weight, bias, gain, index),
    }


class Image(nn.Module):
    """Signals on a torus as images for a `Conv2d`, whose signature stays that of a group convolution."""

    def __init__(self, made: Convolution, channels: tuple[int, int], reach: int) -> None:
        super().__init__()
        self.sizes, self.cosets = made.sizes, made.cosets
        into, out = (count * made.cosets for count in channels)
        self.conv = nn.Conv2d(into, out, 2 * reach + 1, padding=reach, padding_mode="circular", bias=False)
        self.bias = nn.Parameter(torch.zeros(channels[1]))

    def forward(self, x: Tensor) -> Tensor:
        """Elements stand coset by coset within pixels."""
        image = x.unflatten(1, (*self.sizes, self.cosets)).flatten(3).movedim(3, 1)
        return self.conv(image).movedim(1, 3).unflatten(3, (self.cosets, -1)).flatten(1, 3) + self.bias


def step_ways(name: str) -> dict[str, partial[Tensor]]:
    group, radius, batch, channels = STEPS[name]
    torch.manual_seed(0)
    support = box(group, radius)
    made = Convolution(group, support)

    def image(group: Group, before: int, after: int, support: Tensor | None) -> nn.Module:
        return Image(made, (before, after), radius)

    def model(conv: Callable[..., nn.Module]) -> nn.Module:
        if "dynamics" in name:
            return GMCNNDynamics(group, 2, 10, support, channels=channels, conv=conv)
        return GMCNN(group, 3, 10, support, channels=channels, conv=conv)

    x = torch.randn(batch, group.order, 20 if "dynamics" in name else 3)
    return {"group": partial(step, *trained(model(GroupConv)), x), "torch": partial(step, *trained(model(image)), x)}


def faster(name: str, turns: int) -> dict[str, float]:
    """What bfloat16 and the compiler gain, in turns with the step as it is."""
    step_of = step_ways(name)["group"]
    model, optimiser, x = step_of.args
    ways = {"group": step_of, "bfloat16": torch.autocast("cpu", torch.bfloat16)(step_of)}
    if which("g++") or which("clang++"):
        ways["compiled"] = partial(step, torch.compile(model, dynamic=False), optimiser, x)
    spent = in_turns({way: partial(milliseconds, call) for way, call in ways.items()}, turns)
    return {way: round(spent["group"] / value, 2) for way, value in spent.items() if way != "group"}


def trained(model: nn.Module) -> tuple[nn.Module, torch.optim.Optimizer]:
    assert any(isinstance(part, GroupBlock) for part in model.modules())
    return model, torch.optim.AdamW(model.parameters())


def step(model: nn.Module, optimiser: torch.optim.Optimizer, x: Tensor) -> Tensor:
    """One step of training, whatever for."""
    optimiser.zero_grad()
    loss = model(x).square().mean()
    loss.backward()
    optimiser.step()
    return loss


def ways_of(name: str) -> dict[str, Callable[[], object]]:
    if name in STEPS:
        return dict(step_ways(name))
    ways = layer_ways(name)
    assert torch.allclose(ways["layer"]().mT, ways["published"](), atol=1e-4)
    handed = {way: torch.ones_like(call()) for way, call in ways.items()}

    def both(call: Callable[[], Tensor], gradient: Tensor) -> None:
        call().backward(gradient)

    return {way: partial(both, call, handed[way]) for way, call in ways.items()}


def compare(name: str, arguments: argparse.Namespace) -> dict[str, object]:
    ways = ways_of(name)
    spent = in_turns({way: partial(milliseconds, call) for way, call in ways.items()}, arguments.turns)
    first, second = spent.values()
    figures = {
        "milliseconds": {way: round(value, 3) for way, value in spent.items()},
        "ratio": round(second / first, 2),
        **peaks(__file__, name, list(ways), arguments.threads),
    }
    if name in STEPS:
        figures["gain"] = faster(name, arguments.turns)
    if name in LAYERS:
        forward = {way: partial(milliseconds, torch.no_grad()(call)) for way, call in layer_ways(name).items()}
        spent = in_turns(forward, arguments.turns)
        figures["forward_milliseconds"] = {way: round(value, 3) for way, value in spent.items()}
        figures["ratio_forward"] = round(spent["published"] / spent["layer"], 2)
        group, radius, _, _ = LAYERS[name]
        support = box(group, radius)
        made = Convolution(group, support)
        numbers = sum(buffer.numel() * buffer.element_size() for buffer in made.buffers())
        build = in_turns({"index": lambda: milliseconds(lambda: Convolution(group, support))}, arguments.turns)
        figures |= {"index": round(build["index"], 2), "index_megabytes": round(1e-6 * numbers, 2)}
    return figures


def print_peak(name: str, way: str) -> None:
    print(added(ways_of(name)[way]))


def row(figures: dict) -> list[object]:
    times, memory = figures["milliseconds"].values(), figures["peak_mebibytes"].values()
    found = [figures[key] for key in ("ratio_forward", "index", "index_megabytes") if key in figures]
    return [*times, figures["ratio"], *memory, figures["peak_share"], *found, *figures.get("gain", {}).values()]


if __name__ == "__main__":
    main(__doc__, [*LAYERS, *STEPS], compare, print_peak, row)
