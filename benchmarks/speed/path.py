"""The polynomial layer against its twin, which forms every product and computes one einsum per term.

Widths, channels and batches of the published experiments, and a deep chain. Layer and twin do one forward and one
backward pass on the same features with the same coefficients, in turns, several times over; `milliseconds` are medians,
`ratio` is the twin's time over the layer's, and `linear alone` is the linear layer of the same network, without
products.

`gigaflop` counts all matrix products that the layer does, forward and back (`torch.utils.flop_counter`): those of the
linear part, and the `thin` ones, along paths and in the mixing of their channels. Thin ones are set against the rate of
products of 512 by 512, which they cannot reach: their inner sizes are numbers of inputs and outputs. All else is as in
linear.py; `megabytes` counts input, output, coefficients and gradients, and no product.
Prints one JSON object, and to stderr the rows of the table in docs/guide/speed.md.

    python benchmarks/speed/path.py [--turns 5] [--threads 1] [--give-back] [--only CASE ...]

See machine.py for `--give-back`.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import torch
from machine import (
    Way,
    Work,
    added,
    in_turns,
    main,
    numbers_moved,
    peaks,
    products,
    settled,
    shares,
    turn,
)
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from weightspace.layers import EquivariantLinear, PathProducts
from weightspace.spec import NetworkSpec, Sine, spec_of
from weightspace.testing import random_features
from weightspace.weights import WeightFeatures

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.oracles.path import products_by_terms


def chain(activation: nn.Module, *widths: int) -> NetworkSpec:
    layers: list[nn.Module] = []
    for before, behind in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(before, behind), activation]
    return spec_of(nn.Sequential(*layers[:-1]), verify=False)


CASES: dict[str, tuple[nn.Module, tuple[int, ...], int, int]] = {
    "cnn zoo 1-16-16-16-10, 20 channels, batch 8": (nn.ReLU(), (1, 16, 16, 16, 10), 20, 8),
    "cnn zoo 1-16-16-16-10, 20 channels, batch 256": (nn.ReLU(), (1, 16, 16, 16, 10), 20, 256),
    "siren 2-32-32-1, 64 channels, batch 32": (Sine(), (2, 32, 32, 1), 64, 32),
    "siren 2-32-32-1, 64 channels, batch 256": (Sine(), (2, 32, 32, 1), 64, 256),
    "chain 2-512x8-1, 4 channels, batch 1": (nn.ReLU(), (2, *(512,) * 8, 1), 4, 1),
}


def case(name: str) -> tuple[PathProducts, WeightFeatures]:
    activation, widths, channels, batch = CASES[name]
    torch.manual_seed(0)
    spec = chain(activation, *widths)
    return PathProducts(spec, channels, channels), random_features(spec, batch, channels).to(torch.float32)


def ways_of(layer: PathProducts) -> dict[str, Way]:
    return {"layer": layer, "twin": lambda x: products_by_terms(layer, x)}


def print_peak(name: str, way: str) -> None:
    layer, x = case(name)
    turn(layer, EquivariantLinear(x.spec, x.channels, x.channels), x[:1])  # what any first pass loads
    print(added(lambda: turn(layer, ways_of(layer)[way], x)))


def counted(layer: nn.Module, x: WeightFeatures) -> int:
    """Operations of all matrix products of one pass forward and back."""
    with FlopCounterMode(display=False) as counter:
        turn(layer, layer, x)
    return counter.get_total_flops()


def compare(name: str, arguments: argparse.Namespace) -> dict[str, object]:
    layer, x = case(name)
    linear = EquivariantLinear(x.spec, x.channels, x.channels)
    tall = products(layer.linear, len(x))
    thin = counted(layer, x) - sum(product.operations for product in tall)
    work = Work(tall, numbers_moved(layer, x, layer.linear.channels_out, layer.spec_out), thin)
    ways = {way: partial(settled, layer, function, x) for way, function in ways_of(layer).items()}
    alone = {"linear alone": partial(settled, linear, linear, x)}
    spent = in_turns({**ways, **alone, **work.floors()}, arguments.turns)
    return {
        "milliseconds": {way: round(spent[way], 2) for way in (*ways, *alone)},
        "ratio": round(spent["twin"] / spent["layer"], 2),
        "thin_gigaflop": round(1e-9 * thin, 4),
        **work.against(spent),
        **peaks(__file__, name, list(ways), arguments.threads),
    }


def row(figures: dict) -> list[object]:
    layer, twin, linear = figures["milliseconds"].values()
    return [layer, twin, figures["ratio"], linear, *shares(figures)]


if __name__ == "__main__":
    main(__doc__, list(CASES), compare, print_peak, row)
