"""Steps of smoke plumes: many side by side, one at a time, and as plain tensors in a loop over simulations.

For each size of the box: milliseconds of a step of a batch, and nanoseconds per cell, for several batches; beside it
the same simulations as an unbatched loop, in which each lookup indexes a tensor four times, written as one would write
it first. `floor` is what reading and writing smoke and both components of velocity once costs at the rate of a copy of
that many bytes. All are measured in turns; figures are medians of processor time, which a busy machine disturbs less
than the clock. `--set` times whole sets, with their files, in a temporary folder. Prints one JSON object.

    python benchmarks/speed/plume.py [--sides 64 128 300] [--batches 1 4 9 18 36] [--turns 7] [--set rotation]
        [--threads 1]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from machine import in_turns, parser, prepare
from torch import Tensor

from weightspace.zoo.generate import PlumeSettings, make_plumes
from weightspace.zoo.generate.plume import Run, runs_of, start
from weightspace.zoo.generate.smoke import Pressure, Smoke

STEPS, WARM = 5, 15


class Plain:
    """One simulation with plain tensors: no batch, no buffers, nothing shared between lookups."""

    def __init__(self, run: Run) -> None:
        smoke = start([run])
        self.inflow, self.force, self.time_step = smoke._inflow[0], smoke._force[0], float(run.time_step)
        height, width = self.inflow.shape
        self.smoke = torch.zeros(height, width)
        self.x, self.y = torch.zeros(height, width + 1), torch.zeros(height + 1, width)
        self.pressure = Pressure(height, width, self.inflow)
        self.rows, self.columns = torch.arange(height) + 0.5, torch.arange(width) + 0.5

    def step(self) -> None:
        padded = torch.nn.functional.pad
        smooth = padded(self.smoke[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
        row, column = torch.meshgrid(self.rows, self.columns, indexing="ij")
        x, y = self.velocity(row, column)
        back, corners = lookup(smooth, row - y + 0.5, column - x + 0.5)
        again = padded(back[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
        forth, _ = lookup(again, row + y + 0.5, column + x + 0.5)
        moved = back + (self.smoke - forth) / 2
        self.smoke = torch.clamp(moved, corners.amin(0), corners.amax(0)) + self.inflow
        self.move()
        divergence = self.x[:, 1:] - self.x[:, :-1] + self.y[1:] - self.y[:-1]
        pressure = self.pressure(divergence[None])[0]
        self.x[:, 1:-1] -= pressure.diff(dim=1)
        self.y[1:-1] -= pressure.diff(dim=0)

    def velocity(self, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
        padded = torch.nn.functional.pad
        x, _ = lookup(padded(self.x, (0, 0, 1, 1)), row + 0.5, column)
        y, _ = lookup(padded(self.y, (1, 1)), row, column + 0.5)
        return x, y

    def move(self) -> None:
        found = []
        for rows, columns in ((self.rows, self.columns[1:] - 0.5), (self.rows[1:] - 0.5, self.columns)):
            row, column = torch.meshgrid(rows, columns, indexing="ij")
            x, y = self.velocity(row, column)
            found.append(self.velocity(row - self.time_step * y, column - self.time_step * x))
        across, up = self.smoke * self.force
        self.x[:, 1:-1] = found[0][0] + (across[:, 1:] + across[:, :-1]) / 2
        self.y[1:-1] = found[1][1] + (up[1:] + up[:-1]) / 2


def lookup(field: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    height, width = field.shape
    row, column = row.clamp(0, height - 1), column.clamp(0, width - 1)
    top, left = row.long().clamp(max=height - 2), column.long().clamp(max=width - 2)
    corners = torch.stack([field[top + i, left + j] for i in (0, 1) for j in (0, 1)])
    down, right = row - top, column - left
    weights = torch.stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right])
    return (weights * corners).sum(0), corners


def milliseconds(way: Callable[[], None]) -> float:
    busy = time.process_time()
    way()
    return 1e3 * (time.process_time() - busy)


def steps(simulations: list[Smoke] | list[Plain]) -> Callable[[], float]:
    for simulation in simulations:
        for _ in range(WARM):
            simulation.step()

    def way() -> None:
        for simulation in simulations:
            for _ in range(STEPS):
                simulation.step()

    return lambda: milliseconds(way) / STEPS


def floor(cells: int) -> Callable[[], float]:
    source, target = torch.ones(3 * cells), torch.empty(3 * cells)

    def way() -> None:
        for _ in range(100):
            target.copy_(source)

    return lambda: milliseconds(way) / 100


def side_by_side(side: int, batch: int, turns: int) -> dict[str, float]:
    run = replace(runs_of(PlumeSettings(kind="scale"))[0], scale=side / 64)
    runs = [replace(run, force=(0.0, 0.01 * (1 + number % 9))) for number in range(batch)]
    cells = batch * side * side
    ways = {"batch": steps([start(runs)]), "plain loop": steps([Plain(run) for run in runs]), "floor": floor(cells)}
    spent = in_turns(ways, turns)
    return {
        "milliseconds_per_step": round(spent["batch"], 3),
        "nanoseconds_per_cell": round(1e6 * spent["batch"] / cells, 1),
        "plain_loop_milliseconds": round(spent["plain loop"], 3),
        "times_the_plain_loop": round(spent["plain loop"] / spent["batch"], 1),
        "floor_milliseconds": round(spent["floor"], 4),
        "times_the_floor": round(spent["batch"] / spent["floor"], 1),
    }


def same(side: int) -> float:
    """How far plain and fast smoke are apart, in parts of the largest value, after a few steps."""
    run = replace(runs_of(PlumeSettings(kind="scale"))[0], scale=side / 64)
    fast, plain = start([run]), Plain(run)
    for _ in range(10):
        fast.step()
        plain.step()
    return float((fast.smoke[0] - plain.smoke).abs().max() / plain.smoke.max())


def whole(kind: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        begun, busy = time.perf_counter(), time.process_time()
        make_plumes(folder, PlumeSettings(kind=kind))
        spent = {"clock": time.perf_counter() - begun, "processor": time.process_time() - busy}
    return {name: round(seconds, 2) for name, seconds in spent.items()}


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    record = prepare(arguments)
    for side in arguments.sides:
        most = max(1, 36 * 64 * 64 // side**2)
        chosen = [batch for batch in arguments.batches if batch <= most]
        record[f"side {side}"] = {
            "deviation_of_the_plain_loop": same(side),
            **{f"batch {batch}": side_by_side(side, batch, arguments.turns) for batch in chosen},
        }
    record["seconds_of_a_set"] = {kind: whole(kind) for kind in arguments.set}
    return record


if __name__ == "__main__":
    options = parser(__doc__, turns=7)
    options.add_argument("--sides", type=int, nargs="+", default=[64, 128, 300])
    options.add_argument("--batches", type=int, nargs="+", default=[1, 4, 9, 18, 36])
    options.add_argument("--set", nargs="*", default=[])
    print(json.dumps(measure(options.parse_args()), indent=1))
