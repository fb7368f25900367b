"""Reading a zoo, against copying memory: a shuffled epoch from the page cache, and opening a zoo of many networks.

Writes zoos of 270,000 networks of 4,970 parameters (as many as the Small CNN Zoo has) to a temporary folder and reads
all of them in random order, in batches, in turns with copies of a tensor of 80 MB, as `machine.py` measures them, all
in one process. Rates count the bytes of the float32 rows, read once and written once, so that bfloat16, of which half
as many bytes are read, can be faster than a copy. `share` is the epoch's rate over the copy's. The first epoch also
verifies every byte; it is told apart. `opening` is a million rows of small networks with five columns, their tables in
the page cache. Prints one JSON object; rows of the table in docs/guide/speed.md go to stderr.

    python benchmarks/speed/reading.py [--networks 270000] [--batches 32 256 2048] [--rows 1000000] [--turns 3]
        [--threads 1] [--folder /tmp]

It needs as much room on the disk and as page cache as the zoo has bytes: 5.4 GB for float32, half for bfloat16.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import torch
from machine import copy_rate, in_turns, parser, prepare
from torch import nn

from weightspace.spec import spec_of
from weightspace.weights import unflatten
from weightspace.zoo import Manifest, Zoo, ZooWriter, assign, open_zoo
from weightspace.zoo.composition import shard_rows
from weightspace.zoo.generate.cnn import CnnSettings, cnn

TYPES = ("float32", "bfloat16")


def written(path: Path, module: nn.Module, count: int, dtype: str) -> Path:
    """A zoo of random weights: those of one shard, changed a little for every shard."""
    spec = spec_of(module)
    rows = shard_rows(spec)
    writer = ZooWriter(path, Manifest(spec=spec, recipe="random", settings={}, count=count, dtype=dtype))
    flat = torch.randn(min(rows, count), spec.numel)
    for shard, begin in enumerate(range(0, count, rows)):
        numbers = np.arange(begin, min(begin + rows, count))
        table = pa.table(
            {
                "number": numbers,
                "network": numbers // 9,
                "label": numbers % 10,
                "split": assign(numbers // 9).tolist(),
                "test_accuracy": np.random.default_rng(shard).random(len(numbers), np.float32),
            }
        )
        writer.write(shard, unflatten(spec, flat[: len(numbers)].add_(1e-3)), table)
    return path


def epoch(zoo: Zoo, batch: int, order: np.ndarray) -> float:
    """Seconds of reading all networks once, in an order."""
    start = time.perf_counter()
    for begin in range(0, len(order), batch):
        zoo.features(order[begin : begin + batch])
    return time.perf_counter() - start


def gigabytes_of(zoo: Zoo) -> float:
    """Of all rows as float32, read once and written once."""
    return 8e-9 * len(zoo) * zoo.spec.numel


def rate(zoo: Zoo, batch: int, order: np.ndarray) -> float:
    return gigabytes_of(zoo) / epoch(zoo, batch, order)


def read(path: Path, batches: Sequence[int], turns: int) -> dict[str, object]:
    zoo = open_zoo(path)
    order = np.random.default_rng(0).permutation(len(zoo))
    first = epoch(zoo, max(batches), order)
    gigabytes = gigabytes_of(zoo)
    found: dict[str, object] = {"first_epoch_seconds": round(first, 2), "first_epoch_rate": round(gigabytes / first, 1)}
    for batch in batches:
        ways: dict[str, Callable[[], float]] = {
            "epoch": partial(rate, zoo, batch, order),
            "copy": lambda: median(copy_rate() for _ in range(9)),
        }
        rates = in_turns(ways, turns)
        told = {f"{name}_gigabyte_per_second": round(each, 2) for name, each in rates.items()}
        share = rates["epoch"] / rates["copy"]
        found[f"batch {batch}"] = {
            "epoch_seconds": round(gigabytes / rates["epoch"], 2),
            **told,
            "share": round(share, 2),
        }
        cells = [zoo.manifest.dtype, batch, *(f"{each:.1f}" for each in rates.values()), f"{share:.2f}"]
        print(f"| {' | '.join(map(str, cells))} |", file=sys.stderr, flush=True)
    return found


def opening(path: Path, turns: int) -> dict[str, object]:
    def once() -> float:
        start = time.perf_counter()
        open_zoo(path)
        return time.perf_counter() - start

    seconds = in_turns({"open": once}, turns)["open"]
    print(f"opened {len(open_zoo(path)):,} rows in {seconds:.2f} s", file=sys.stderr, flush=True)
    return {"rows": len(open_zoo(path)), "shards": len(open_zoo(path).shards), "seconds": round(seconds, 3)}


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    record = prepare(arguments)
    module = cnn(CnnSettings(), 10)
    for dtype in TYPES:
        with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
            path = written(Path(folder), module, arguments.networks, dtype)
            record[dtype] = read(path, arguments.batches, arguments.turns)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        record["opening"] = opening(written(Path(folder), nn.Linear(2, 1), arguments.rows, "float32"), arguments.turns)
    return record


if __name__ == "__main__":
    options = parser(__doc__, turns=3)
    options.add_argument("--networks", type=int, default=270_000)
    options.add_argument("--batches", type=int, nargs="+", default=[32, 256, 2048])
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--folder", type=Path, default=None)
    print(json.dumps(measure(options.parse_args()), indent=1))
