"""The polynomial layer against its twin, which forms every product and computes one einsum per term.

Both do one forward and one backward pass on the same features with the same coefficients, in turns, several times
over; figures are medians in milliseconds, and `ratio` is the twin's time over the layer's. `peak_mebibytes` is by how
much one pass raises the largest memory that a process of its own ever held, `peak_share` the layer's part of the
twin's. `linear alone` is the linear layer without products.
Prints one JSON object.

    python benchmarks/speed/path.py [--turns 5] [--threads 1] [--only CASE ...]
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from linear import turn
from torch import nn

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


# Widths, channels and batches of the published experiments, and a deep chain.
CASES: dict[str, tuple[tuple[nn.Module, ...], tuple[int, ...], int, int]] = {
    "cnn zoo 1-16-16-16-10, 20 channels, batch 8": ((nn.ReLU(),), (1, 16, 16, 16, 10), 20, 8),
    "cnn zoo 1-16-16-16-10, 20 channels, batch 256": ((nn.ReLU(),), (1, 16, 16, 16, 10), 20, 256),
    "siren 2-32-32-1, 64 channels, batch 32": ((Sine(),), (2, 32, 32, 1), 64, 32),
    "siren 2-32-32-1, 64 channels, batch 256": ((Sine(),), (2, 32, 32, 1), 64, 256),
    "chain 2-512x8-1, 4 channels, batch 1": ((nn.ReLU(),), (2, *(512,) * 8, 1), 4, 1),
}


def case(name: str) -> tuple[PathProducts, WeightFeatures]:
    (activation,), widths, channels, batch = CASES[name]
    torch.manual_seed(0)
    spec = chain(activation, *widths)
    return PathProducts(spec, channels, channels), random_features(spec, batch, channels).to(torch.float32)


def ways_of(layer: PathProducts) -> dict[str, Callable[[WeightFeatures], WeightFeatures]]:
    return {"layer": layer, "twin": lambda x: products_by_terms(layer, x)}


def peak(name: str, way: str, threads: int) -> float:
    """Mebibytes that one pass adds to the most memory a fresh process held."""
    command = [sys.executable, __file__, "--peak", name, way, "--threads", str(threads)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def held(row: str) -> float:
    """Mebibytes that this process holds (VmRSS), or at most held since the mark was last set back (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(row)) / 1024


def print_peak(name: str, way: str) -> None:
    layer, x = case(name)
    turn(layer, EquivariantLinear(x.spec, x.channels, x.channels), x[:1])  # what any first pass loads
    before = held("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back; Linux alone has it
    turn(layer, ways_of(layer)[way], x)
    print(held("VmHWM") - before)


def compare(name: str, turns: int, threads: int) -> dict[str, object]:
    layer, x = case(name)
    linear = EquivariantLinear(x.spec, x.channels, x.channels)
    ways = {**ways_of(layer), "linear alone": linear}
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(turns + 1):
        for way, function in ways.items():
            spent = turn(layer, function, x)
            if number:  # the first turn warms up
                times[way].append(spent)
    medians = {way: median(spent) for way, spent in times.items()}
    peaks = {way: peak(name, way, threads) for way in ways_of(layer)}
    return {
        "milliseconds": {way: round(value, 2) for way, value in medians.items()},
        "ratio": round(medians["twin"] / medians["layer"], 2),
        "peak_mebibytes": {way: round(value, 1) for way, value in peaks.items()},
        "peak_share": round(peaks["layer"] / max(peaks["twin"], 1e-9), 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=list(CASES), choices=list(CASES), metavar="CASE")
    parser.add_argument("--peak", nargs=2, metavar=("CASE", "WAY"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.peak:
        print_peak(*arguments.peak)
    else:
        figures = {name: compare(name, arguments.turns, arguments.threads) for name in arguments.only}
        print(json.dumps({"threads": arguments.threads, "torch": torch.__version__, "cases": figures}, indent=1))
