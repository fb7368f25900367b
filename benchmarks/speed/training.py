"""What training costs: networks a second, time spent waiting for data, a second process, and torch.compile.

A zoo of random CNNs of the Small CNN Zoo's shape (4,970 weights) is written to a temporary folder and read from there,
as `weightspace train` reads it. For each model, at its preset for that zoo and batch 64: networks a second, and the
share of the time in which steps waited for their batch, read ahead by a thread or in memory. Then one process on one
core against two on two, and the same model compiled, by turns. Ends with JSON on stdout.

    python benchmarks/speed/training.py [--steps 30] [--only epochs processes compile] [--models MonomialNFN ...]
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import torch

from weightspace.allocator import keep_freed_memory
from weightspace.models import MAGEPNFN, Invariant, MonomialNFN, ScaleGMN
from weightspace.spec import spec_of
from weightspace.tasks import PredictAccuracy
from weightspace.training import Pace, Splits, TrainSettings, train
from weightspace.weights import unflatten
from weightspace.zoo import Manifest, Zoo, ZooWriter, assign, open_zoo
from weightspace.zoo.generate.cnn import CnnSettings, cnn

NETWORKS, BATCH = 4096, 64
MODELS = {
    "MonomialNFN": partial(MonomialNFN.preset, "cnn-zoo-relu"),
    "MAGEPNFN": partial(MAGEPNFN.preset, "cnn-zoo-relu"),
    "ScaleGMN": partial(ScaleGMN.preset, "cnn-cifar-relu"),
}
TASK = PredictAccuracy()


def zoo(folder: Path) -> Zoo:
    """Random networks with random accuracies."""
    spec, numbers = spec_of(cnn(CnnSettings())), np.arange(NETWORKS)
    columns = {
        "number": numbers,
        "split": assign(numbers).tolist(),
        "test_accuracy": np.random.default_rng(0).random(NETWORKS, np.float32),
    }
    writer = ZooWriter(folder, Manifest(spec=spec, recipe="random", settings={}, count=NETWORKS))
    writer.write(0, unflatten(spec, torch.randn(NETWORKS, spec.numel)), pa.table(columns))
    return open_zoo(folder)


def paces(name: str, opened: Zoo, settings: TrainSettings, *, stored: bool = True) -> list[tuple[float, Pace]]:
    """When each step was done, and how the run went by then."""
    told: list[tuple[float, Pace]] = []
    data = Splits.of(opened, TASK, stored=stored)
    # Validation is not what is measured here.
    few = Splits(
        data.train,
        *(replace(part, features=part.features[:64], target=part.target[:64]) for part in (data.val, data.test)),
    )
    torch.manual_seed(0)
    model = MODELS[name](opened.spec, Invariant(1))
    with tempfile.TemporaryDirectory() as out:
        train(model, TASK, few, settings, out=out, progress=lambda p: told.append((time.perf_counter(), p)))
    return told


def settled(told: list[tuple[float, Pace]]) -> float:
    """Networks a second: the median step after the first third."""
    times = [when for when, _ in told][len(told) // 3 :]
    steps = [pace.step for _, pace in told][len(told) // 3 :]
    return BATCH / median((b - a) / (t - s) for a, b, s, t in zip(times, times[1:], steps, steps[1:], strict=False))


def epochs(opened: Zoo, settings: TrainSettings, models: list[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in models:
        ways = {"read ahead": True, "in memory": False}
        told = {way: paces(name, opened, settings, stored=stored) for way, stored in ways.items()}
        found[name] = {
            way: {"networks_a_second": round(settled(each), 1), "waiting": round(each[-1][1].waiting, 4)}
            for way, each in told.items()
        }
        print(name, found[name], file=sys.stderr)
    return found


def compiled(opened: Zoo, settings: TrainSettings, models: list[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in models:
        rates = [settled(paces(name, opened, replace(settings, compile=on))) for on in (False, True, False)]
        found[name] = {"gain": round(2 * rates[1] / (rates[0] + rates[2]), 2)}
        print(name, found[name], file=sys.stderr)
    return found


def processes(opened: Zoo, settings: TrainSettings, models: list[str]) -> dict[str, object]:
    """One process on one core, two on two, by turns."""
    found: dict[str, object] = {}
    for name in models:
        rates = {count: [] for count in (1, 2)}
        for _ in range(2):
            for count, each in rates.items():
                each.append(started(count, name, opened.path, settings.steps or 0))
        one, two = (max(each) for each in rates.values())
        found[name] = {"one": round(one, 1), "two": round(two, 1), "ratio": round(two / one, 2)}
        print(name, found[name], file=sys.stderr)
    return found


def started(count: int, name: str, path: Path, steps: int) -> float:
    """Networks a second on so many processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "speed",
    }
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **(world if count > 1 else {})}
    words = [sys.executable, __file__, "--child", name, str(path), "--steps", str(steps)]
    ranks = [
        subprocess.Popen(
            words,
            env={**os.environ, **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    said = [process.communicate()[0] for process in ranks]
    return float(said[0].splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--only", nargs="*", default=["epochs", "processes", "compile"])
    parser.add_argument("--models", nargs="*", default=list(MODELS))
    parser.add_argument("--child", nargs=2, metavar=("MODEL", "ZOO"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    settings = TrainSettings(steps=chosen.steps, batch=BATCH, evaluate_every=chosen.steps, device="cpu")
    if chosen.child:
        told = paces(chosen.child[0], open_zoo(chosen.child[1]), settings)
        print(settled(told) if told else "")
        return
    parts = {"epochs": epochs, "processes": processes, "compile": compiled}
    with tempfile.TemporaryDirectory() as folder:
        opened = zoo(Path(folder) / "zoo")
        found = {name: parts[name](opened, settings, chosen.models) for name in chosen.only}
    print(json.dumps({"batch": BATCH, "steps": chosen.steps, "torch": str(torch.__version__), **found}, indent=1))


if __name__ == "__main__":
    main()
