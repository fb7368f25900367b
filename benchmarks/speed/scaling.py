"""How the cost of both layers grows with the depth and the width of the networks that they read.

ReLU chains of 2 to 64 weight matrices of width 32, and of three weight matrices of width 16 to 1024; two inputs, one
output, four channels, batch 8. `milliseconds` are of one pass forward and back, all sizes in turns, medians; `slopes`
are fitted to logarithms over the upper half of the points: 1 is linear. A chain has as many numbers as the square of
its width, so 2 is linear in what is read.

`memory` is of forward passes without gradients, in fresh processes, for batches of about 64 MB: the most that a process
holds of input, output, coefficients and what lies in between, over input, output and coefficients alone.
Prints one JSON object.

    python benchmarks/speed/scaling.py [--turns 5] [--threads 1] [--give-back] [--picture FILE]

See machine.py for `--give-back`.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import ceil, log
from pathlib import Path
from statistics import linear_regression

import torch
from machine import added, in_fresh_process, in_turns, parser, prepare, settled
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from path import chain
from torch import nn

from weightspace.layers import EquivariantLinear, PathProducts
from weightspace.reports.theme import INK, MUTED, RULE, styles
from weightspace.spec import NetworkSpec
from weightspace.testing import random_features

CHANNELS, BATCH = 4, 8
BYTES_HELD = 64e6
LAYERS: dict[str, type[EquivariantLinear] | type[PathProducts]] = {
    "EquivariantLinear": EquivariantLinear,
    "PathProducts": PathProducts,
}
SIZES = {"depth": (2, 4, 8, 16, 32, 64), "width": (16, 32, 64, 128, 256, 512, 1024)}
HELD_AT = {"depth": (8, 64), "width": (64, 256, 1024)}
LINEAR = {"depth": 1, "width": 2}


def network(kind: str, size: int) -> NetworkSpec:
    hidden = (32,) * (size - 1) if kind == "depth" else (size,) * 2
    return chain(nn.ReLU(), 2, *hidden, 1)


def measured(kind: str, turns: int) -> dict[int, dict]:
    """All sizes in turns, or a machine whose speed changes would bend the line."""
    ways: dict[str, Callable[[], float]] = {}
    for size in SIZES[kind]:
        spec = network(kind, size)
        torch.manual_seed(0)
        x = random_features(spec, BATCH, CHANNELS).to(torch.float32)
        for name, make in LAYERS.items():
            layer = make(spec, CHANNELS, CHANNELS)
            ways[f"{size} {name}"] = partial(settled, layer, layer, x)
    spent = in_turns(ways, turns)
    return {n: {"milliseconds": {name: round(spent[f"{n} {name}"], 3) for name in LAYERS}} for n in SIZES[kind]}


def slopes(points: Mapping[int, dict]) -> dict[str, float]:
    """How steep the upper half of the points is, in logarithms."""
    upper = list(points)[len(points) // 2 :]
    along = [log(size) for size in upper]
    return {
        name: round(linear_regression(along, [log(points[n]["milliseconds"][name]) for n in upper]).slope, 2)
        for name in LAYERS
    }


def print_held(kind: str, size: str, name: str) -> None:
    spec = network(kind, int(size))
    batch = ceil(BYTES_HELD / (4 * CHANNELS * spec.numel))
    layer = LAYERS[name](spec, CHANNELS, CHANNELS)
    x = random_features(spec, batch, CHANNELS).to(torch.float32)
    with torch.no_grad():
        layer(x[:1])  # what any first pass loads
        pass_adds = 2**20 * added(lambda: layer(x))
    parameters = 4 * sum(parameter.numel() for parameter in layer.parameters())
    features = 4 * CHANNELS * spec.numel * batch
    print((features + parameters + pass_adds) / (2 * features + parameters))


def memory(threads: int) -> dict[str, dict[str, float]]:
    return {
        f"{kind} {size}": {
            name: round(in_fresh_process(__file__, "--held", kind, size, name, "--threads", threads), 2)
            for name in LAYERS
        }
        for kind, sizes in HELD_AT.items()
        for size in sizes
    }


def draw(record: Mapping[str, dict], path: Path) -> None:
    """Time over depth and over width, side by side."""
    figure = Figure(figsize=(9, 3.9), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12)
    panels = figure.subplots(1, 2, sharey=True)
    for panel, kind in zip(panels, SIZES, strict=True):
        draw_panel(panel, kind, {int(size): point for size, point in record[kind].items()}, record["slopes"][kind])
    panels[0].margins(y=0.08)
    panels[0].set_ylabel("forward and back, ms", color=INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def draw_panel(panel: Axes, kind: str, points: Mapping[int, dict], steepness: Mapping[str, float]) -> None:
    sizes = list(points)
    panel.set(xscale="log", yscale="log", xlim=(sizes[0] / 1.3, 1.2 * sizes[-1]))
    panel.set_xlabel("weight matrices, width 32" if kind == "depth" else "width, 3 weight matrices", color=INK)
    looks = styles(["", "", *LAYERS])  # two colours that stand apart
    for name in LAYERS:
        up = [points[size]["milliseconds"][name] for size in sizes]
        panel.plot(sizes, up, color=looks[name].colour, marker=looks[name].marker, markersize=5, linewidth=1.8)
        label(panel, (sizes[-1], up[-1]), f"{name}\nslope {steepness[name]:.2f}", looks[name].colour)
    upper = sizes[len(sizes) // 2 :]
    low = 0.25 * points[upper[-1]]["milliseconds"]["EquivariantLinear"]
    guide = [low * (size / upper[-1]) ** LINEAR[kind] for size in upper]
    panel.plot(upper, guide, color=MUTED, linewidth=1, linestyle=(0, (3, 3)))
    label(panel, (upper[-1], guide[-1]), f"linear in {'depth' if kind == 'depth' else 'weights'}", MUTED)
    decorate(panel, sizes)


def label(panel: Axes, end: tuple[float, float], text: str, colour: str) -> None:
    place = {"xytext": (13, 0), "textcoords": "offset points", "va": "center"}
    panel.annotate(text, end, **place, fontsize=9, color=colour, annotation_clip=False)


def decorate(panel: Axes, sizes: Sequence[int]) -> None:
    panel.set_xticks(sizes, [str(size) for size in sizes])
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    panel.grid(axis="y", color=RULE, linewidth=0.7)
    panel.set_axisbelow(True)
    panel.tick_params(which="both", color=MUTED, labelcolor=INK, labelsize=9)
    panel.tick_params(which="minor", length=0)
    panel.spines[["top", "right"]].set_visible(False)
    panel.spines[["left", "bottom"]].set_color(MUTED)


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--picture", type=Path)
    options.add_argument("--held", nargs=3, metavar=("KIND", "SIZE", "LAYER"), help=argparse.SUPPRESS)
    arguments = options.parse_args()
    record = prepare(arguments, keep=not arguments.held)
    if arguments.held:
        print_held(*arguments.held)
    else:
        record |= {kind: measured(kind, arguments.turns) for kind in SIZES}
        record["slopes"] = {kind: slopes(record[kind]) for kind in SIZES}
        record["memory"] = memory(arguments.threads)
        if arguments.picture:
            draw(record, arguments.picture)
        print(json.dumps(record, indent=1))
