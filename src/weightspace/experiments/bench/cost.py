"""What the rows of a table cost: time and memory of a training step and of an answer, on the same batch."""

import ctypes
import gc
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import FormatError
from weightspace.experiments.bench.schedule import Places, Report, make_data
from weightspace.experiments.bench.table import Row, Table
from weightspace.training.record import peak_memory, versions, write_json
from weightspace.training.step import Stepping, Task

__all__ = ["Cost", "measure_costs", "read_costs"]

FORMAT, VERSION = "weightspace-costs", 1
BATCH, REPEATS, SECONDS = 64, 5, 2.0


@dataclass(frozen=True)
class Cost:
    """What a model costs with one thread, on a batch of 64.

    Args:
        step: seconds of a training step: forward, backward and the optimiser.
        step_memory: bytes that the process holds at most in it, beyond those it held with model and batch.
        answer: seconds of an answer without gradients.
        answer_memory: bytes likewise.
    """

    step: float
    step_memory: int
    answer: float
    answer_memory: int


def measure_costs(table: Table, places: Places, rows: Sequence[str] = (), report: Report | None = None) -> Path:
    """Measure rows of the comparison, one after the other, each in processes of its own; nothing else should run.

    Args:
        table: whose rows.
        places: where its data lies and where the file goes. What it says of other rows is kept.
        rows: names of rows; by default all but those of side questions.
        report: told how it goes.

    Returns:
        The file, `costs.json` beside the records.

    Raises:
        WeightspaceError: a model that cannot be built.
    """
    chosen = [row for row in table.rows if (row.name in rows if rows else not row.study)]
    tell = report or (lambda *_: None)
    make_data(table, places, tell)
    found = {name: asdict(cost) for name, cost in read_costs(places.results, places.scale, table.name).items()}
    path = _path(places.results, places.scale, table.name)
    about = {"batch": BATCH, "threads": 1, "device": "cpu", "versions": versions()}
    for done, row in enumerate(chosen, start=1):
        found[row.name] = asdict(_cost(table, row, places))
        write_json(path, {"format": FORMAT, "version": VERSION, **about, "rows": found})
        tell(f"Costs of {table.name}", done, len(chosen), row.name)
    return path


def read_costs(results: Path, scale: str, table: str) -> Mapping[str, Cost]:
    """The costs that were measured, by row; empty where none were.

    Raises:
        FormatError: a damaged file.
    """
    path = _path(results, scale, table)
    if not path.exists():
        return {}
    try:
        plain = json.loads(path.read_bytes())
        if plain["format"] != FORMAT or plain["version"] != VERSION:
            raise ValueError(f"not of format {FORMAT} {VERSION}")
        return {name: Cost(**values) for name, values in plain["rows"].items()}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise FormatError(f"{path} holds no costs ({error}): delete it and measure again.") from error


def _path(results: Path, scale: str, table: str) -> Path:
    return results / scale / table / "costs.json"


def _cost(table: Table, row: Row, places: Places) -> Cost:
    """A fresh process each: the most that a process has held never falls."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool:
        step, step_memory = pool.submit(_measured, table, row, places, True).result()
        answer, answer_memory = pool.submit(_measured, table, row, places, False).result()
    return Cost(step, step_memory, answer, answer_memory)


def _measured(table: Table, row: Row, places: Places, learning: bool) -> tuple[float, int]:
    """Median seconds and memory of a step or of an answer."""
    torch.set_num_threads(1)
    subject = table.data[places.scale].subject(places.home)
    model, split = subject.build(row, table.seeds[0]), subject.data(row).train
    features, target = split.batch(slice(0, BATCH), torch.device("cpu"))
    optimiser = torch.optim.AdamW(model.parameters())

    def step() -> None:
        optimiser.zero_grad()
        _loss(subject.task, model, features, target).backward()
        optimiser.step()

    def answer() -> None:
        with torch.no_grad():
            model(features)

    model.train(learning)
    held = _memory_now()
    spent = list(_times(step if learning else answer))
    return median(spent), max(0, peak_memory() - held)


def _loss(task: Task, model: nn.Module, features: Any, target: Tensor) -> Tensor:
    """What is minimised in a step, as in training."""
    return task.step(model, features, target) if isinstance(task, Stepping) else task.loss(model(features), target)


def _memory_now() -> int:
    """Bytes that the process holds; on Linux its peak is forgotten, and what was freed is given back first."""
    gc.collect()
    if sys.platform != "linux":
        return peak_memory()
    getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)(0)
    Path("/proc/self/clear_refs").write_text("5")
    return peak_memory()


def _times(work: Callable[[], Any]) -> Iterator[float]:
    """Seconds of some repeats; the first warms up and is left out."""
    work()
    begun = time.perf_counter()
    for number in range(10**6):
        start = time.perf_counter()
        work()
        yield time.perf_counter() - start
        if number + 1 >= REPEATS and time.perf_counter() - begun > SECONDS:
            return
