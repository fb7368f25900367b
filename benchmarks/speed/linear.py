"""The equivariant linear layer against its twin that computes one einsum per term, and against the machine.

Layers at the published settings: networks of the CNN zoo, whose kernels count as channels, and SIRENs, with the whole
symmetry of each and with permutations alone. Layer and twin do one forward and one backward pass on the same features
with the same coefficients, in turns, several times over; `milliseconds` are medians, `ratio` is the twin's time over
the layer's.

`gigaflop` counts the layer's merged matrix products, 2 * rows * inner * outer each, and twice that backward.
`megabytes` is what has to move: forward reads input and coefficients and writes the output, backward reads input,
coefficients and the output's gradient and writes two gradients. `share_of_matrix_rate` is the time that the products
would take at the rate of tall products of the same inner sizes, over the layer's; `over_bytes` is the layer's time over
that of copying as many bytes. Both rates are measured in turns with the layer. `peak_mebibytes` is what one pass adds
to the memory of a process of its own.
Prints one JSON object, and to stderr the rows of the table in docs/guide/speed.md.

    python benchmarks/speed/linear.py [--turns 5] [--threads 1] [--give-back] [--only CASE ...]

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

from weightspace.layers import EquivariantLinear
from weightspace.spec import PERMUTATION, NetworkSpec, Sine, spec_of
from weightspace.testing import random_features
from weightspace.weights import WeightFeatures

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.oracles.linear import linear_by_terms


def small_cnn() -> NetworkSpec:
    """The networks of the Small CNN Zoo, with ReLU."""
    convolutions = [nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU()]
    module = nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))
    return spec_of(module, torch.zeros(1, 1, 9, 9))


ZOO = small_cnn()
SIREN = spec_of(nn.Sequential(nn.Linear(2, 32), Sine(), nn.Linear(32, 32), Sine(), nn.Linear(32, 1)))
# Networks, channels in and out, batches.
SETTINGS: dict[str, tuple[NetworkSpec, int, tuple[int, ...]]] = {
    "cnn zoo, scales, 16 channels": (ZOO, 16, (256, 8, 1)),
    "siren, signs, 64 channels": (SIREN, 64, (256, 32, 1)),
    "cnn zoo, permutations, 16 channels": (ZOO.with_symmetry(PERMUTATION), 16, (32, 1)),
    "siren, permutations, 64 channels": (SIREN.with_symmetry(PERMUTATION), 64, (32, 1)),
}
CASES: dict[str, tuple[NetworkSpec, int, int]] = {
    f"{name}, batch {batch}": (spec, channels, batch)
    for name, (spec, channels, batches) in SETTINGS.items()
    for batch in batches
}


def case(name: str) -> tuple[EquivariantLinear, WeightFeatures]:
    spec, channels, batch = CASES[name]
    torch.manual_seed(0)
    return EquivariantLinear(spec, channels, channels), random_features(spec, batch, channels).to(torch.float32)


def ways_of(layer: EquivariantLinear) -> dict[str, Way]:
    return {"layer": layer, "twin": lambda x: linear_by_terms(layer, x)}


def print_peak(name: str, way: str) -> None:
    layer, x = case(name)
    turn(layer, layer, x[:1])  # what any first pass loads
    layer.zero_grad()
    print(added(lambda: turn(layer, ways_of(layer)[way], x)))


def compare(name: str, arguments: argparse.Namespace) -> dict[str, object]:
    layer, x = case(name)
    work = Work(products(layer, len(x)), numbers_moved(layer, x, layer.channels_out, layer.spec_out))
    ways = {way: partial(settled, layer, function, x) for way, function in ways_of(layer).items()}
    spent = in_turns({**ways, **work.floors()}, arguments.turns)
    return {
        "terms": sum(1 for _ in layer.terms()),
        "milliseconds": {way: round(spent[way], 2) for way in ways},
        "ratio": round(spent["twin"] / spent["layer"], 2),
        **work.against(spent),
        **peaks(__file__, name, list(ways), arguments.threads),
    }


def row(figures: dict) -> list[object]:
    return [figures["terms"], *figures["milliseconds"].values(), figures["ratio"], *shares(figures)]


if __name__ == "__main__":
    main(__doc__, list(CASES), compare, print_peak, row)
