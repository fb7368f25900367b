"""How the cost of whole models grows with width, depth, batch and channels.

Networks 2-32-32-1 with sines, batch 32 and 16 channels, and from there one of the four at a time. `milliseconds` are of
one pass forward and back to the coefficients, medians of all models and sizes in turns; `slopes` are fitted to
logarithms over the upper half of the points (1 is linear; 2 over the width is linear in the number of weights);
`peak_mebibytes_per_network` is what one pass adds to the memory of a fresh process, over the batch. All models have
the same channels in every layer; graphs have three rounds in both directions. Prints one JSON object, and to stderr
the rows of the table in docs/guide/speed.md.

    python benchmarks/speed/growth.py [--turns 3] [--threads 1] [--give-back] [--only width depth batch channels]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from math import log
from statistics import linear_regression

import torch
from machine import added, in_fresh_process, in_turns, parser, prepare
from path import chain
from torch import nn

from weightspace.models import MAGEPNFN, Invariant, MonomialNFN, ScaleGMN
from weightspace.spec import NetworkSpec, Sine
from weightspace.testing import random_features
from weightspace.weights import WeightFeatures

Make = Callable[[NetworkSpec, int], nn.Module]
GRAPH = {"rounds": 3, "bidirectional": True}
MODELS: Mapping[str, Make] = {
    "ScaleGMN, linear": lambda spec, c: ScaleGMN(spec, Invariant(10), channels=c, messages="linear", **GRAPH),
    "ScaleGMN, sent": lambda spec, c: ScaleGMN(spec, Invariant(10), channels=c, messages="sent", **GRAPH),
    "MonomialNFN": lambda spec, c: MonomialNFN(spec, Invariant(10), stem=(c, c), trunk=(c, c)),
    "MAGEPNFN": lambda spec, c: MAGEPNFN(spec, Invariant(10), channels=(c, c)),
}
BASE = {"width": 32, "depth": 3, "batch": 32, "channels": 16}
SIZES = {"width": (16, 32, 64, 128), "depth": (2, 4, 8, 16), "batch": (8, 32, 128), "channels": (8, 16, 32, 64)}


def case(kind: str, size: int, name: str) -> tuple[nn.Module, WeightFeatures]:
    at = {**BASE, kind: size}
    spec = chain(Sine(30.0), 2, *[at["width"]] * (at["depth"] - 1), 1)
    torch.manual_seed(0)
    return MODELS[name](spec, at["channels"]), random_features(spec, at["batch"]).to(torch.float32)


def turn(model: nn.Module, x: WeightFeatures) -> float:
    model.zero_grad()
    start = time.perf_counter()
    model(x).square().mean().backward()
    return 1e3 * (time.perf_counter() - start)


def measured(kind: str, turns: int, threads: int) -> dict[str, object]:
    ways = {f"{size} {name}": partial(turn, *case(kind, size, name)) for size in SIZES[kind] for name in MODELS}
    spent = in_turns(ways, turns)
    out: dict[str, object] = {}
    for name in MODELS:
        times = {size: spent[f"{size} {name}"] for size in SIZES[kind]}
        upper = list(times)[len(times) // 2 :] if len(times) > 3 else list(times)
        slope = linear_regression([log(size) for size in upper], [log(times[size]) for size in upper]).slope
        most = SIZES[kind][-1]
        peak = in_fresh_process(__file__, "--peak", kind, most, name, "--threads", threads)
        networks = most if kind == "batch" else BASE["batch"]
        out[name] = {
            "milliseconds": {size: round(value, 1) for size, value in times.items()},
            "slope": round(slope, 2),
            "peak_mebibytes_per_network": round(peak / networks, 2),
        }
        cells = [kind, name, *(f"{value:,.1f}" for value in times.values()), f"{slope:.2f}", f"{peak / networks:.2f}"]
        print("| " + " | ".join(cells) + " |", file=sys.stderr)
    return out


if __name__ == "__main__":
    options = parser(__doc__)
    options.set_defaults(turns=3)
    options.add_argument("--only", nargs="+", choices=SIZES, default=list(SIZES))
    options.add_argument("--peak", nargs=3, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    record = prepare(arguments, keep=not arguments.peak)
    if arguments.peak:
        kind, size, name = arguments.peak
        model, x = case(kind, int(size), name)
        turn(model, x[:2])
        model.zero_grad()
        print(added(lambda: turn(model, x)))
    else:
        record |= {kind: measured(kind, arguments.turns, arguments.threads) for kind in arguments.only}
        print(json.dumps(record, indent=1))
