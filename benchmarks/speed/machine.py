"""What the machine can do, and how the benchmarks of layers measure.

Prints the machine's rates as one JSON object: GFLOP/s of tall float32 matrix products, (65536 x k) @ (k x k), and GB/s
of copying a tensor of 80 MB, bytes read plus bytes written. Copies run on pages that the process already has; tensors
that fit into a cache can be moved faster.

    python benchmarks/speed/machine.py [--turns 5] [--threads 1] [--give-back]

`--give-back` leaves out `keep_freed_memory`, which all benchmarks of layers call at their start. Without it large
tensors lie on fresh pages every time, which some machines are very slow to hand out.
"""

import argparse
import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from statistics import median

import torch
from torch import nn

from weightspace.allocator import keep_freed_memory
from weightspace.layers import EquivariantLinear
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures

Way = Callable[[WeightFeatures], WeightFeatures]

COPIED = 80_000_000
ROWS, LARGEST = 65536, 512
MOST_OPERATIONS = 8e9
FEW = 8


@dataclass(frozen=True)
class Product:
    """A matrix product of a layer, (rows x inner) @ (inner x outer), with its two products backward."""

    rows: int
    inner: int
    outer: int

    @property
    def operations(self) -> int:
        return 3 * 2 * self.rows * self.inner * self.outer


def products(layer: EquivariantLinear, batch: int) -> list[Product]:
    """The merged products of a linear layer: one row per network and carried unit."""
    shapes = [weight.shape for weight in layer.weights]
    carried = [[layer.spec.axis(index.axis).size for index in mix.sources[0].type] for mix in layer.mixes]
    return [Product(batch * prod(units), i, o) for units, (o, i) in zip(carried, shapes, strict=True)]


def numbers_moved(layer: nn.Module, x: WeightFeatures, channels_out: int, spec_out: NetworkSpec) -> int:
    """Forward reads input and coefficients and writes the output.

    Backward reads input, coefficients and the output's gradient, and writes two gradients.
    """
    inputs, outputs = (len(x) * space.numel * c for space, c in ((x.spec, x.channels), (spec_out, channels_out)))
    return 3 * inputs + 2 * outputs + 3 * sum(parameter.numel() for parameter in layer.parameters())


def milliseconds(way: Callable[[], object]) -> float:
    start = time.perf_counter()
    way()
    return 1e3 * (time.perf_counter() - start)


def matrix_rate(inner: int, outer: int) -> float:
    """GFLOP/s of a tall product, of fewer rows where it would take long; the first of two warms up."""
    rows = int(min(ROWS, max(1024, MOST_OPERATIONS / (2 * inner * outer))))
    left, right, out = torch.ones(rows, inner), torch.ones(inner, outer), torch.empty(rows, outer)
    spent = [milliseconds(lambda: torch.mm(left, right, out=out)) for _ in range(2)]
    return 2e-6 * rows * inner * outer / spent[-1]


def copy_rate() -> float:
    """GB/s of a copy, bytes read plus bytes written; the first of two warms up."""
    source, target = torch.ones(COPIED // 4), torch.empty(COPIED // 4)
    spent = [milliseconds(lambda: target.copy_(source)) for _ in range(2)]
    return 2e-6 * COPIED / spent[-1]


def turn(layer: nn.Module, way: Way, x: WeightFeatures) -> float:
    """Milliseconds of one pass forward and back, to the input and to the coefficients."""
    inputs = WeightFeatures(x.spec, [tensor.detach().requires_grad_() for tensor in x.tensors])
    layer.zero_grad()
    synchronise(x)
    start = time.perf_counter()
    out = way(inputs)
    synchronise(x)
    forward = time.perf_counter() - start
    gradients = [torch.ones_like(tensor) for tensor in out.tensors]  # a layer above would hand them down
    synchronise(x)
    start = time.perf_counter()
    torch.autograd.backward(out.tensors, gradients)
    synchronise(x)
    return 1e3 * (forward + time.perf_counter() - start)


def settled(layer: nn.Module, way: Way, x: WeightFeatures) -> float:
    """A turn; for a few networks the second of two, since what ran before took the caches."""
    return [turn(layer, way, x) for _ in range(2 if len(x) <= FEW else 1)][-1]


def synchronise(x: WeightFeatures) -> None:
    if x.tensors[0].is_cuda:
        torch.cuda.synchronize()


def in_turns(ways: Mapping[str, Callable[[], float]], turns: int, warm: int = 1) -> dict[str, float]:
    """Median of what each way gives, all ways in turns; the first turns warm up."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(turns + warm):
        for name, way in ways.items():
            spent = way()
            if number >= warm:
                times[name].append(spent)
    return {name: median(spent) for name, spent in times.items()}


@dataclass(frozen=True)
class Work:
    """What a pass has to do: matrix products, further `thin` ones of so many operations, and numbers moved.

    Every product is set against the rate of tall products of its own inner sizes, thin ones against that of the
    largest.
    """

    products: Sequence[Product]
    numbers: int
    thin: int = 0

    @property
    def operations(self) -> int:
        return sum(product.operations for product in self.products) + self.thin

    def floors(self) -> dict[str, Callable[[], float]]:
        """Milliseconds at the machine's rates, to be measured in turns with a layer: a busy machine slows both."""
        return {"products": self.multiplying, "bytes": lambda: 4e-6 * self.numbers / copy_rate()}

    def multiplying(self) -> float:
        spent = 1e-6 * self.thin / matrix_rate(LARGEST, LARGEST) if self.thin else 0.0
        for sizes in {(product.inner, product.outer) for product in self.products}:
            same = [product.operations for product in self.products if (product.inner, product.outer) == sizes]
            spent += 1e-6 * sum(same) / matrix_rate(*sizes)
        return spent

    def against(self, spent: Mapping[str, float]) -> dict[str, object]:
        """How near the layer comes to the machine's rates, from median milliseconds."""
        layer, multiplying, moving = spent["layer"], spent["products"], spent["bytes"]
        floors = {"products": multiplying, "bytes": moving, "larger": max(multiplying, moving)}
        return {
            "matrix_products": len(self.products),
            "gigaflop": round(1e-9 * self.operations, 4),
            "megabytes": round(4e-6 * self.numbers, 3),
            "floor_milliseconds": {
                name: round(value, 3) for name, value in (floors | {"sum": multiplying + moving}).items()
            },
            "gigaflop_per_second": {
                "tall products": round(1e-6 * self.operations / multiplying, 1),
                "reached": round(1e-6 * self.operations / layer, 1),
            },
            "gigabyte_per_second": {
                "copy": round(4e-6 * self.numbers / moving, 1),
                "reached": round(4e-6 * self.numbers / layer, 1),
            },
            "share_of_matrix_rate": round(multiplying / layer, 3),
            "over_bytes": round(layer / moving, 1),
        }


def peaks(script: str, case: str, ways: Sequence[str], threads: int) -> dict[str, object]:
    """Mebibytes that one pass of each way adds to what a fresh process holds, and the first way's share of the second.

    Both run with the allocator as it comes, since memory that was kept from before would not count.
    """
    added = {way: in_fresh_process(script, "--peak", case, way, "--threads", threads) for way in ways}
    first, second, *_ = added.values()
    return {
        "peak_mebibytes": {way: round(value, 1) for way, value in added.items()},
        "peak_share": round(first / max(second, 1e-9), 2),
    }


def in_fresh_process(script: str, *words: object) -> float:
    """The number that a script prints in a process of its own."""
    command = [sys.executable, script, *map(str, words)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def added(run: Callable[[], object]) -> float:
    """Mebibytes by which a call raises what this process holds, at its peak. Linux alone can tell."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    before = held("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # sets the high-water mark back
    run()
    return held("VmHWM") - before


def held(row: str) -> float:
    """Mebibytes that this process holds (VmRSS), or at most held since the mark was last set back (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(row)) / 1024


def parser(doc: str | None, turns: int = 5) -> argparse.ArgumentParser:
    """The options that all benchmarks of layers have."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--turns", type=int, default=turns)
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--give-back", action="store_true", help="leave out keep_freed_memory")
    return made


def prepare(arguments: argparse.Namespace, *, keep: bool = True) -> dict[str, object]:
    """Set this process up; what every record says about it."""
    torch.set_num_threads(arguments.threads)
    kept = keep and not arguments.give_back and keep_freed_memory()
    return {"threads": arguments.threads, "torch": torch.__version__, "keeps_freed_memory": kept}


def told(cases: Iterator[tuple[object, dict]], row: Callable[[dict], Sequence[object]]) -> dict[object, dict]:
    """All cases; a row of a table in Markdown goes to stderr when one is done."""
    found = {}
    for name, figures in cases:
        found[name] = figures
        cells = [cell if isinstance(cell, str) else f"{float(f'{cell:.3g}'):,.7g}" for cell in row(figures)]
        print(f"| {' | '.join([str(name), *cells])} |", file=sys.stderr, flush=True)
    return found


def main(
    doc: str | None,
    cases: Sequence[str],
    compare: Callable[[str, argparse.Namespace], dict],
    print_peak: Callable[[str, str], None],
    row: Callable[[dict], Sequence[object]],
    turns: int = 5,
) -> None:
    """A benchmark of cases, or, where `--peak` asks for it, the memory of one way of one case."""
    options = parser(doc, turns)
    options.add_argument("--only", nargs="+", default=list(cases), choices=list(cases), metavar="CASE")
    options.add_argument("--peak", nargs=2, metavar=("CASE", "WAY"), help=argparse.SUPPRESS)
    arguments = options.parse_args()
    record = prepare(arguments, keep=not arguments.peak)
    if arguments.peak:
        print_peak(*arguments.peak)
    else:
        figures = told(((name, compare(name, arguments)) for name in arguments.only), row)
        print(json.dumps({**record, "cases": figures}, indent=1))


def shares(figures: dict) -> list[object]:
    """The cells of a table that set a layer against the machine."""
    products = [figures["gigaflop"], f"{100 * figures['share_of_matrix_rate']:.0f} %"]
    return [*products, figures["megabytes"], figures["over_bytes"], *figures["peak_mebibytes"].values()]


if __name__ == "__main__":
    arguments = parser(__doc__).parse_args()
    record = prepare(arguments)
    rates = {str(k): partial(matrix_rate, k, k) for k in (4, 8, 16, 32, 64, 128, 256, LARGEST)}
    *tall, copied = in_turns({**rates, "copy": copy_rate}, arguments.turns).values()
    record["tall_products_gigaflop_per_second"] = {k: round(rate, 1) for k, rate in zip(rates, tall, strict=True)}
    record["copy_gigabyte_per_second"] = round(copied, 1)
    print(json.dumps(record, indent=1))
