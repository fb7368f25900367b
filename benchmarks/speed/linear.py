"""The equivariant linear layer against its twin that computes one einsum per term.

Both do one forward and one backward pass on the same features with the same coefficients, in turns, several times
over; figures are medians in milliseconds, and `ratio` is the twin's time over the layer's. `largest_mebibytes` is the
size of the largest output tensor, and `floor_milliseconds` the time of copying as many bytes as reading the input and
writing the output once, forward and back, must move: no implementation can be faster. Prints one JSON object.

    python benchmarks/speed/linear.py [--turns 5] [--threads 1]
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from torch import nn

from weightspace.layers import EquivariantLinear
from weightspace.spec import PERMUTATION, NetworkSpec, Sine, spec_of
from weightspace.testing import random_features
from weightspace.weights import WeightFeatures

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.oracles.linear import linear_by_terms

SIREN = spec_of(nn.Sequential(nn.Linear(2, 32), Sine(), nn.Linear(32, 32), Sine(), nn.Linear(32, 1)))
CNN = spec_of(
    nn.Sequential(
        nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 10),
    )
)  # fmt: skip
CASES: dict[str, tuple[NetworkSpec, int, int, int]] = {
    "siren, signs, 1 to 32 channels, batch 64": (SIREN, 1, 32, 64),
    "siren, signs, 32 to 32 channels, batch 64": (SIREN, 32, 32, 64),
    "siren, permutations, 32 to 32 channels, batch 64": (SIREN.with_symmetry(PERMUTATION), 32, 32, 64),
    "siren, permutations, 32 to 32 channels, batch 8": (SIREN.with_symmetry(PERMUTATION), 32, 32, 8),
    "cnn, scales, 1 to 16 channels, batch 32": (CNN, 1, 16, 32),
    "cnn, scales, 16 to 16 channels, batch 32": (CNN, 16, 16, 32),
}


def turn(layer: EquivariantLinear, way: Callable[[WeightFeatures], WeightFeatures], x: WeightFeatures) -> float:
    """Milliseconds of one pass forward and back, to the input and to the coefficients."""
    inputs = WeightFeatures(x.spec, [tensor.detach().requires_grad_() for tensor in x.tensors])
    layer.zero_grad()
    start = time.perf_counter()
    out = way(inputs)
    torch.autograd.backward(out.tensors, [torch.ones_like(tensor) for tensor in out.tensors])
    return 1e3 * (time.perf_counter() - start)


def floor(numbers: int) -> float:
    """Milliseconds of copying as many float32 numbers, read once and written once."""
    source, target = torch.ones(numbers // 2), torch.ones(numbers // 2)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        target.copy_(source)
        times.append(1e3 * (time.perf_counter() - start))
    return median(times)


def compare(spec: NetworkSpec, channels_in: int, channels_out: int, batch: int, turns: int) -> dict[str, object]:
    torch.manual_seed(0)
    layer = EquivariantLinear(spec, channels_in, channels_out)
    x = random_features(spec, batch, channels_in).to(torch.float32)
    ways = {"layer": layer, "one einsum per term": lambda v: linear_by_terms(layer, v)}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(turns + 1):
        for name, way in ways.items():
            spent = turn(layer, way, x)
            if number:  # the first turn warms up
                times[name].append(spent)
    # Forward reads the input and writes the output; backward reads both and the output's gradient, writes the input's.
    numbers = batch * spec.numel * (3 * channels_in + 2 * channels_out)
    largest = max(tensor[0].numel() // channels_in for tensor in x.tensors) * batch * channels_out
    medians = {name: median(spent) for name, spent in times.items()}
    return {
        "terms": sum(1 for _ in layer.terms()),
        "milliseconds": {name: round(value, 2) for name, value in medians.items()},
        "ratio": round(medians["one einsum per term"] / medians["layer"], 2),
        "floor_milliseconds": round(floor(numbers), 2),
        "largest_mebibytes": round(4 * largest / 2**20, 2),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    figures = {name: compare(*case, arguments.turns) for name, case in CASES.items()}
    print(json.dumps({"threads": arguments.threads, "torch": torch.__version__, "cases": figures}, indent=1))
