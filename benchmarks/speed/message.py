"""ScaleGMN against its twin that gathers and scatters as the published code does, and against other models.

At the published configurations, with messages that do not see the receiver, as in that code: SIRENs with 128 channels
and 4 rounds, and networks of the CNN zoo, forward and both ways. Model and twin do one forward and one backward pass
with the same coefficients, in turns; `milliseconds` are medians, `ratio` is the twin's time over the model's,
`peak_mebibytes` is what one pass adds to the memory of a process of its own. `lean` is the model that saves memory;
`large_peak_mebibytes` is its peak both ways at twice the batch, by what messages are.

Beside the forward cases, on the same batch, what a pass of other models takes at the same number of channels.
Prints one JSON object, and to stderr the rows of the tables in docs/guide/speed.md.

    python benchmarks/speed/message.py [--turns 3] [--threads 1] [--give-back] [--only CASE ...]

See machine.py for `--give-back`.
"""

import argparse
import copy
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from linear import SIREN, ZOO
from machine import added, in_turns, main, peaks
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from weightspace.models import GMN, MAGEPNFN, Invariant, MonomialNFN, ScaleGMN
from weightspace.spec import NetworkSpec
from weightspace.testing import random_features
from weightspace.weights import WeightFeatures

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.oracles.message import Gathered

BATCH, CHANNELS, ROUNDS = 64, 128, 4
CASES: dict[str, tuple[NetworkSpec, bool]] = {
    "siren, forward": (SIREN, False),
    "siren, both ways": (SIREN, True),
    "cnn zoo, forward": (ZOO, False),
    "cnn zoo, both ways": (ZOO, True),
}
LARGE = ("sent", "gated")
Model = Callable[[WeightFeatures], Tensor]


def case(name: str) -> tuple[ScaleGMN, WeightFeatures]:
    spec, both = CASES[name]
    torch.manual_seed(0)
    model = ScaleGMN(spec, Invariant(10), channels=CHANNELS, rounds=ROUNDS, bidirectional=both, messages="sent")
    return model, random_features(spec, BATCH).to(torch.float32)


def turn(model: nn.Module, way: Model, x: WeightFeatures) -> float:
    """Milliseconds of one pass forward and back, to the coefficients."""
    model.zero_grad()
    start = time.perf_counter()
    way(x).square().mean().backward()
    return 1e3 * (time.perf_counter() - start)


def ways_of(model: ScaleGMN) -> dict[str, Model]:
    return {"model": model, "twin": Gathered(model), "lean": copy.deepcopy(model).save_memory()}


def print_peak(name: str, way: str) -> None:
    model, x = large(name, way) if way in LARGE else case(name)
    turn(model, model, x[:2])
    model.zero_grad()
    print(added(lambda: turn(model, model if way in LARGE else ways_of(model)[way], x)))


def large(name: str, messages: str) -> tuple[ScaleGMN, WeightFeatures]:
    """Twice the batch, both ways, saving memory."""
    spec, _ = CASES[name]
    torch.manual_seed(0)
    answer, sizes = Invariant(10), {"channels": CHANNELS, "rounds": ROUNDS, "bidirectional": True}
    model = ScaleGMN(spec, answer, messages=messages, **sizes).save_memory()
    return model, random_features(spec, 2 * BATCH).to(torch.float32)


def others(spec: NetworkSpec) -> dict[str, nn.Module]:
    """Other models for the same networks, as many channels, and other messages."""
    answer, sizes = Invariant(10), {"channels": CHANNELS, "rounds": ROUNDS}
    return {
        "ScaleGMN, gated": ScaleGMN(spec, answer, **sizes),
        "ScaleGMN, linear": ScaleGMN(spec, answer, messages="linear", **sizes),
        "GMN": GMN(spec, answer, messages="sent", **sizes),
        "MonomialNFN": MonomialNFN(spec, answer, stem=(CHANNELS,) * 2, trunk=(CHANNELS,) * 2),
        "MAGEPNFN": MAGEPNFN(spec, answer, channels=(CHANNELS,) * 3),
    }


def gigaflop(way: Model, x: WeightFeatures) -> float:
    """Of the matrix products of a pass forward and back, counted on a few networks."""
    few = x[:4]
    with FlopCounterMode(display=False) as counter:
        way(few).square().mean().backward()
    return round(1e-9 * counter.get_total_flops() * len(x) / len(few), 1)


def compare(name: str, arguments: argparse.Namespace) -> dict[str, object]:
    model, x = case(name)
    ways = {way: partial(turn, model, function, x) for way, function in ways_of(model).items()}
    spec, both = CASES[name]
    beside = {} if both else {way: partial(turn, other, other, x) for way, other in others(spec).items()}
    spent = in_turns({**ways, **beside}, arguments.turns)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "milliseconds": {way: round(value, 1) for way, value in spent.items()},
        "ratio": round(spent["twin"] / spent["model"], 2),
        "gigaflop": {way: gigaflop(function, x) for way, function in ways_of(model).items() if way != "lean"},
        **peaks(__file__, name, list(ways), arguments.threads),
        "large_peak_mebibytes": peaks(__file__, name, LARGE, arguments.threads)["peak_mebibytes"],
    }


def row(figures: dict) -> list[object]:
    model, twin, lean, *rest = figures["milliseconds"].values()
    return [model, twin, figures["ratio"], lean, *figures["peak_mebibytes"].values(), *rest]


if __name__ == "__main__":
    main(__doc__, list(CASES), compare, print_peak, row, turns=3)
