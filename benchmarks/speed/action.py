"""The group's action on a batch of networks against a plain copy of it, and against the action leg by leg.

All three go over the same float32 features in turns, several times over, forward only; figures are medians in
milliseconds. `over_copy` is the time of `act` over that of cloning every tensor, `over_act` that of the slow twin from
the tests, which reorders and scales the whole tensor once per leg, over that of `act`. Prints one JSON object.

    python benchmarks/speed/action.py [--turns 15] [--threads 1]
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

from weightspace.spec import NetworkSpec, Sine, sample_element, spec_of
from weightspace.testing import random_features
from weightspace.weights import WeightFeatures, act

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.oracles.action import act_by_legs


def mlp(*widths: int, activation: type[nn.Module] = nn.ReLU) -> NetworkSpec:
    layers: list[nn.Module] = []
    for before, after in zip(widths[:-1], widths[1:], strict=True):
        layers += [nn.Linear(before, after), activation()]
    return spec_of(nn.Sequential(*layers[:-1]))


SIREN = mlp(2, 32, 32, 1, activation=Sine)
CNN = spec_of(
    nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(64, 10),
    )
)  # fmt: skip
CASES: dict[str, tuple[NetworkSpec, int, int]] = {
    "siren 2-32-32-1, signs, batch 64": (SIREN, 1, 64),
    "siren 2-32-32-1, signs, batch 1024": (SIREN, 1, 1024),
    "siren 2-32-32-1, signs, 32 channels, batch 64": (SIREN, 32, 64),
    "mlp 64-128-128-10, scales, batch 64": (mlp(64, 128, 128, 10), 1, 64),
    "mlp 784-512-512-10, scales, batch 8": (mlp(784, 512, 512, 10), 1, 8),
    "cnn 3-32-64-10, scales, batch 64": (CNN, 1, 64),
}


def milliseconds(way: Callable[[], object]) -> float:
    start = time.perf_counter()
    way()
    return 1e3 * (time.perf_counter() - start)


def copied(x: WeightFeatures) -> WeightFeatures:
    return x.map(torch.clone)


def compare(spec: NetworkSpec, channels: int, batch: int, turns: int) -> dict[str, object]:
    generator = torch.Generator().manual_seed(0)
    x = random_features(spec, batch, channels, generator=generator).to(torch.float32)
    g = sample_element(spec, batch, generator=generator)
    ways = {"copy": lambda: copied(x), "act": lambda: act(g, x), "leg by leg": lambda: act_by_legs(g, x)}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(turns + 2):
        for name, way in ways.items():
            spent = milliseconds(way)
            if number > 1:  # the first turns warm up
                times[name].append(spent)
    medians = {name: median(spent) for name, spent in times.items()}
    return {
        "milliseconds": {name: round(value, 3) for name, value in medians.items()},
        "over_copy": round(medians["act"] / medians["copy"], 1),
        "over_act": round(medians["leg by leg"] / medians["act"], 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    figures = {name: compare(*case, arguments.turns) for name, case in CASES.items()}
    print(json.dumps({"threads": arguments.threads, "torch": torch.__version__, "cases": figures}, indent=1))
