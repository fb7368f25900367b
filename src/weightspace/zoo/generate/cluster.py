"""Shards of a zoo as tasks of Ray, on one machine or many: the one file that imports Ray.

What every task needs, recipe and data, is stored once and fetched once by each machine. A task has as many threads as
torch has here, since for some recipes the last digits depend on their number. Tasks give back what they made, and the
caller writes it: so the zoo's folder need not be shared, one process commits shards, and a cluster that is lost leaves
a zoo to go on with. Twice as many tasks are handed out as there are places for, so that nobody waits for the writer,
and never more: finished shards lie in the memory of the machines that made them, at most two for each place.

References:
    Moritz et al., *Ray: A Distributed Framework for Emerging AI Applications*, OSDI 2018.
"""

import logging
import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

import torch
from torch import Tensor

import weightspace
from weightspace.allocator import keep_freed_memory
from weightspace.errors import TrainingError
from weightspace.zoo.generate.engine import Make, Progress

try:
    import ray
    from ray.exceptions import RayError, RayTaskError
except ImportError as missing:
    raise TrainingError(
        "the engine 'ray' needs the package ray, which is not installed here. Remedy: pip install 'weightspace[ray]', "
        "or use the engine 'local'."
    ) from missing

__all__ = ["made_by_ray"]

Made = TypeVar("Made")

# Tasks for each place, how often a task whose worker died is begun again, and how often one that must end is told so.
_AHEAD, _RETRIES, _ATTEMPTS = 2, 5, 10


def made_by_ray(
    make: Make[Made], shards: Mapping[int, Tensor], address: str | None, progress: Progress | None
) -> Generator[tuple[int, Made], None, None]:
    """What is made of each shard, with its number, in the order in which they come.

    A worker that dies, or a machine that goes, costs the shards that it was at: Ray begins them again. Where the caller
    stops, what is under way is cancelled.

    Args:
        make: a shard of networks, given their numbers.
        shards: numbers of the networks of each.
        address: of the cluster; left out, that of RAY_ADDRESS, and without one a Ray of its own on this machine. Where
            this process is connected already, that connection is used and left open.
        progress: called with the number of networks of a shard when the caller asks for the next.

    Raises:
        TrainingError: Ray cannot be reached, or has no machine with enough processors, or another version of the
            package; a worker that died again and again.
    """
    threads, waiting = torch.get_num_threads(), iter(shards.items())
    if not shards:
        return
    with _connection(address, threads):
        work: Any = ray.remote(num_cpus=threads, max_retries=_RETRIES)(_make_shard)
        given, places = ray.put(make), _places(threads)
        running: dict[Any, int] = {}
        try:
            while True:
                for shard, numbers in islice(waiting, _AHEAD * places - len(running)):
                    running[work.remote(given, numbers.tolist(), threads, _versions())] = shard
                if not running:
                    return
                ready = ray.wait(list(running), num_returns=1)[0][0]
                shard = running.pop(ready)
                yield shard, _received(ready, shard)
                del ready
                if progress is not None:
                    progress(len(shards[shard]))
                # A cluster may have grown or shrunk meanwhile.
                places = max(1, _room(threads))
        finally:
            _cancel(list(running))


def _make_shard(make: Make[Made], numbers: list[int], threads: int, versions: tuple[str, str]) -> Made:
    """The work of a task, in a process of Ray's."""
    if versions != _versions():
        raise TrainingError(
            f"a worker of Ray has versions {_versions()} of weightspace and torch; expected {versions}, as here. "
            f"Remedy: install the same on all machines."
        )
    torch.set_num_threads(threads)
    keep_freed_memory()
    return make(torch.tensor(numbers), None)


def _received(task: Any, shard: int) -> Any:
    """What a task gave, or the error that it met, as if it had been met here."""
    try:
        return ray.get(task)
    except RayTaskError as failure:
        raise failure.cause from None
    except RayError as failure:
        first = str(failure).strip().splitlines()[0]
        raise TrainingError(
            f"Ray gave up shard {shard} after {_RETRIES} new beginnings ({type(failure).__name__}: {first}). "
            f"What is finished is kept. Remedy: see that workers have enough memory, then run the same again to go on."
        ) from failure


def _cancel(tasks: list[Any]) -> None:
    """Ends tasks that nobody waits for."""
    # By force: an interrupt in the worker did not reach every one. And again: a task that is just fetching what it
    # needs is passed over (Ray 2.60).
    for _ in range(_ATTEMPTS):
        for task in tasks:
            ray.cancel(task, force=True)
        tasks = ray.wait(tasks, num_returns=len(tasks), timeout=0.5)[1] if tasks else []
        if not tasks:
            return


@contextmanager
def _connection(address: str | None, threads: int) -> Iterator[None]:
    """A connection to Ray; one that is there already stays."""
    if ray.is_initialized():
        if address is not None:
            raise TrainingError(
                f"this process is connected to Ray already; expected no connection, as an address ({address}) is "
                f"given. Remedy: leave out the address, or call ray.shutdown() first."
            )
        yield
        return
    chosen = address or os.environ.get("RAY_ADDRESS") or "local"
    options: dict[str, Any] = {"address": chosen, "log_to_driver": False, "logging_level": logging.ERROR}
    if chosen == "local":
        options |= {"num_cpus": max(threads, os.cpu_count() or 1), "include_dashboard": False}
    # A Ray of our own tells nobody that it runs; that of a cluster is up to those who started it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(**options)
    except (RayError, ConnectionError, ValueError, RuntimeError) as failure:
        first = (str(failure).strip().splitlines() or [type(failure).__name__])[0]
        raise TrainingError(
            f"cannot connect to Ray at {chosen!r}: {first} Remedy: check the address, or leave it out (and RAY_ADDRESS "
            f"unset) for a Ray on this machine alone."
        ) from failure
    try:
        yield
    finally:
        ray.shutdown()


def _places(threads: int) -> int:
    """Tasks that can run at a time.

    Raises:
        TrainingError: none.
    """
    room = _room(threads)
    if not room:
        raise TrainingError(
            f"a task has {threads} threads, as torch has here, and no machine of the Ray cluster has as many "
            f"processors. Remedy: start with fewer, as in OMP_NUM_THREADS=1, or add larger machines."
        )
    return room


def _room(threads: int) -> int:
    return sum(int(node["Resources"].get("CPU", 0)) // threads for node in ray.nodes() if node["Alive"])


def _versions() -> tuple[str, str]:
    return weightspace.__version__, torch.__version__
