"""The runs of tables, side by side on the cores of a machine; what is there already is not done again."""

import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch

from weightspace.allocator import keep_freed_memory
from weightspace.errors import unknown
from weightspace.experiments.bench.record import BenchRecord, read_record, record_path
from weightspace.experiments.bench.run import key_of, run_row, tune
from weightspace.experiments.bench.table import SCALES, Data, Row, Subject, Table

__all__ = ["Places", "Report", "make_data", "run_tables"]

Report = Callable[[str, int, int, str], None]
"""Called with the stage, what is done, out of how much, and a word on how it goes."""


@dataclass(frozen=True)
class Places:
    """Where a comparison works and where it leaves what came of it.

    Raises:
        UnknownNameError: a scale that does not exist.
    """

    home: Path = Path("weightspace-bench")
    """Folder for zoos and runs; it may be deleted once all is done."""
    results: Path = Path("results")
    """Folder of the records and of the pages made from them."""
    scale: str = "small"
    """small (two cores) or full (one modern GPU)."""

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise unknown("scale", self.scale, SCALES)


@dataclass(frozen=True)
class Job:
    """A run for one seed; without a seed, the choice of a learning rate."""

    table: Table
    row: Row
    seed: int | None


def run_tables(
    tables: Iterable[Table],
    places: Places,
    *,
    rows: Sequence[str] = (),
    seeds: Sequence[int] = (),
    workers: int | None = None,
    report: Report | None = None,
) -> list[BenchRecord]:
    """All runs of some tables that are not there yet.

    Args:
        tables: the tables; their data is made first, one after the other.
        places: where things lie.
        rows: names of rows; all by default. A table is left out that has none of them.
        seeds: of the runs; the tables' own by default.
        workers: processes with one thread each; as many as there are cores by default.
        report: told how it goes.

    Returns:
        The records of these runs, those that were there before included.

    Raises:
        UnknownNameError: a row that no table has.
        WeightspaceError: whatever a run cannot do, with the remedy; what was finished before is kept. A run that
            diverged is no error, but a record.
    """
    tell = report or (lambda *_: None)
    jobs = [
        Job(table, row, seed)
        for table in tables
        for row in table.rows
        if not rows or row.name in rows
        for seed in (seeds or table.seeds)
    ]
    missing = [job for job in jobs if _kept(job, places) is None]
    for table in {job.table.name: job.table for job in missing}.values():
        make_data(table, places, tell)
    count = min(workers or os.cpu_count() or 1, max(1, len(missing)))
    for done, job in enumerate(_carried_out(missing, places, count), start=1):
        tell("Runs", done, len(missing), f"{job.table.name}: {job.row.name}, seed {job.seed}")
    found = [_kept(job, places) for job in jobs]
    return [record for record in found if record is not None]


def _kept(job: Job, places: Places) -> BenchRecord | None:
    """The record of an earlier run with the same settings."""
    assert job.seed is not None
    path = record_path(places.results, places.scale, job.table.name, job.row.name, job.seed)
    if not path.exists():
        return None
    record = read_record(path)
    return record if record.key == key_of(job.table, job.row, places.scale, job.seed) else None


def make_data(table: Table, places: Places, tell: Report) -> None:
    """What a table is about, as far as it is not there."""
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        tell(f"Data of {table.name}", done, done, "")

    table.data[places.scale].make(places.home, advance)


def _carried_out(jobs: Sequence[Job], places: Places, workers: int) -> Iterator[Job]:
    """The jobs as they are done. A row's first job is the choice of its rate, and its runs come after."""
    if workers == 1 or not jobs:
        yield from _one_by_one(jobs, places)
        return
    # A fresh interpreter each: threads and random numbers of this one are not inherited.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin) as pool:
        rows = {(job.table.name, job.row.name): replace(job, seed=None) for job in jobs}
        pending: dict[Future[None], Job] = {pool.submit(_do, job, places): job for job in rows.values()}
        try:
            while pending:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    job = pending.pop(future)
                    future.result()
                    if job.seed is not None:
                        yield job
                        continue
                    same = [one for one in jobs if (one.table.name, one.row.name) == (job.table.name, job.row.name)]
                    pending |= {pool.submit(_do, one, places): one for one in same}
        finally:
            pool.shutdown(cancel_futures=True)


def _one_by_one(jobs: Sequence[Job], places: Places) -> Iterator[Job]:
    """The jobs in this process, with one thread as in all others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for job in jobs:
            _do(job, places)
            yield job
    finally:
        torch.set_num_threads(threads)


def _begin() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()


def _do(job: Job, places: Places) -> None:
    """One job, in a process of its own."""
    subject = _subject(job.table.data[places.scale], places.home)
    if job.seed is None:
        tune(job.table, job.row, places.scale, subject, places.home)
    else:
        run_row(job.table, job.row, places.scale, job.seed, subject, places.home).write(places.results)


@lru_cache(maxsize=2)
def _subject(data: Data, home: Path) -> Subject:
    return data.subject(home)
