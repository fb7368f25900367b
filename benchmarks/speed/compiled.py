"""What torch.compile and bfloat16 gain, for both layers at the published settings and for ScaleGMN.

`eager` is the layer as it is, `compiled` the same under `torch.compile` (inductor, `fullgraph=True`: a break in the
graph is an error), `bfloat16` under `torch.autocast`. All take turns, forward and back; `milliseconds` are medians, and
`gain` is the time of `eager` over that of the others. `seconds_to_compile` is the first pass forward and back, with
nothing cached and the compiler loaded. `error` is the root mean square of the difference from float32 over that of the
float32 output.
Prints one JSON object, and to stderr the rows of the table in docs/guide/speed.md.

    python benchmarks/speed/compiled.py [--turns 5] [--threads 1] [--give-back] [--device cpu] [--only CASE ...]

The compiled layer is left out where no C++ compiler is installed. See machine.py for `--give-back`.
"""

import json
import os
import time
from collections.abc import Callable
from functools import partial
from shutil import which
from tempfile import TemporaryDirectory

import linear
import path
import torch
from machine import Way, in_turns, parser, prepare, told, turn
from torch import Tensor, nn

from weightspace.layers import EquivariantLinear, PathProducts
from weightspace.models import Edit, ScaleGMN
from weightspace.spec import NetworkSpec
from weightspace.testing import random_features
from weightspace.weights import WeightFeatures

Case = tuple[EquivariantLinear | PathProducts | ScaleGMN, WeightFeatures]

PUBLISHED = (
    "cnn zoo, scales, 16 channels, batch 8",
    "cnn zoo, scales, 16 channels, batch 256",
    "siren, signs, 64 channels, batch 32",
    "siren, signs, 64 channels, batch 256",
)


def edited(spec: NetworkSpec, both: bool) -> Case:
    """A ScaleGMN that edits networks, of 64 channels and 4 rounds, and 16 of them."""
    torch.manual_seed(0)
    model = ScaleGMN(spec, Edit(), channels=64, rounds=4, bidirectional=both)
    return model, random_features(spec, 16).to(torch.float32)


CASES: dict[str, Callable[[], Case]] = {
    **{f"EquivariantLinear, {name}": partial(linear.case, name) for name in PUBLISHED},
    **{f"PathProducts, {name}": partial(path.case, name) for name in path.CASES if not name.startswith("chain")},
    "ScaleGMN, siren, forward": partial(edited, linear.SIREN, False),
    "ScaleGMN, cnn zoo, both ways": partial(edited, linear.ZOO, True),
}


def in_bfloat16(layer: nn.Module, x: WeightFeatures) -> WeightFeatures:
    with torch.autocast(x.tensors[0].device.type, torch.bfloat16):
        return layer(x)


def numbers(way: Way, x: WeightFeatures) -> Tensor:
    """What comes out; with gradients, as what is timed, or it would be compiled once more."""
    out = way(x.map(lambda tensor: tensor.detach().requires_grad_()))
    return torch.cat([tensor.detach().flatten().double() for tensor in out.tensors])


def error(exact: Tensor, other: Tensor) -> float:
    return float(f"{((other - exact).square().mean() / exact.square().mean()).sqrt().item():.1e}")


def can_compile(device: str) -> bool:
    return device != "cpu" or any(map(which, ("g++", "clang++")))


def compare(name: str, turns: int, device: str) -> dict[str, object]:
    layer, x = CASES[name]()
    layer, x = layer.to(device), x.to(device)
    ways: dict[str, Way] = {"eager": layer, "bfloat16": partial(in_bfloat16, layer)}
    found: dict[str, object] = {}
    turn(layer, layer, x)
    if can_compile(device):
        torch.compiler.reset()
        ways["compiled"] = torch.compile(layer, fullgraph=True, dynamic=False)
        start = time.perf_counter()
        turn(layer, ways["compiled"], x)
        found["seconds_to_compile"] = round(time.perf_counter() - start, 1)
    spent = in_turns({way: partial(turn, layer, function, x) for way, function in ways.items()}, turns)
    found["milliseconds"] = {way: round(value, 2) for way, value in spent.items()}
    found["gain"] = {way: round(spent["eager"] / value, 2) for way, value in spent.items() if way != "eager"}
    exact = numbers(layer, x)
    found["error"] = {way: error(exact, numbers(function, x)) for way, function in ways.items() if way != "eager"}
    return found


def row(figures: dict) -> list[object]:
    spent, gain = figures["milliseconds"], figures["gain"]
    half = [spent["bfloat16"], gain["bfloat16"], f"{figures['error']['bfloat16']:.0e}"]
    if "compiled" not in spent:
        return [spent["eager"], *["-"] * 3, *half]
    return [spent["eager"], spent["compiled"], gain["compiled"], figures["seconds_to_compile"], *half]


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--device", default="cpu")
    options.add_argument("--only", nargs="+", default=list(CASES), choices=list(CASES), metavar="CASE")
    arguments = options.parse_args()
    record: dict[str, object] = {**prepare(arguments), "device": arguments.device}
    with TemporaryDirectory() as empty:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = empty
        if can_compile(arguments.device):  # the first of a process loads what all others use
            torch.compile(torch.sin)(torch.ones(8, device=arguments.device))
        found = ((name, compare(name, arguments.turns, arguments.device)) for name in arguments.only)
        figures = told(found, row)
    print(json.dumps({**record, "cases": figures}, indent=1))
