"""A table with its records: what came of each row, and how rows stand to each other."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from weightspace.experiments.bench.cost import Cost, read_costs
from weightspace.experiments.bench.record import BenchRecord, read_records
from weightspace.experiments.bench.run import key_of
from weightspace.experiments.bench.significance import Difference, Noise
from weightspace.experiments.bench.table import Row, Table

__all__ = ["Evidence", "Outcome", "Spread", "moved_names", "read_evidence", "spread"]


@dataclass(frozen=True)
class Spread:
    """The middle of several runs and their range."""

    low: float
    middle: float
    high: float
    count: int


def spread(values: Iterable[float | None]) -> Spread | None:
    """Lowest, median and highest of the numbers among some values; None where there is none.

    Example:
        >>> spread([0.5, None, 0.1, 0.2])
        Spread(low=0.1, middle=0.2, high=0.5, count=3)
    """
    known = [value for value in values if value is not None]
    return Spread(min(known), statistics.median(known), max(known), len(known)) if known else None


@dataclass(frozen=True)
class Outcome:
    """What came of one row.

    Args:
        row: the row.
        runs: its records, by seed.
    """

    row: Row
    runs: tuple[BenchRecord, ...] = ()

    @property
    def name(self) -> str:
        """The row's name."""
        return self.row.name

    @property
    def finished(self) -> tuple[BenchRecord, ...]:
        """The runs that came to their end."""
        return tuple(run for run in self.runs if run.status == "finished")

    @property
    def parameters(self) -> int | None:
        """Numbers that are trained; None before there is a run."""
        return self.runs[0].parameters if self.runs else None

    def score(self, measure: str) -> Spread | None:
        """A measure over the finished runs."""
        return spread(run.scores.get(measure) for run in self.finished)

    def moved(self, move: str) -> Spread | None:
        """The first measure on networks that were moved, over the finished runs."""
        return spread(run.moved.get(move) for run in self.finished)

    def change(self, measure: str, move: str) -> Spread | None:
        """The first measure on networks that were moved, less that on the networks as they are, run by run."""
        pairs = ((run.moved.get(move), run.scores.get(measure)) for run in self.finished)
        return spread(None if after is None or before is None else after - before for after, before in pairs)

    @property
    def symmetry_error(self) -> float | None:
        """The largest of all runs."""
        found = spread(run.symmetry_error for run in self.runs)
        return None if found is None else found.high

    @property
    def seconds(self) -> Spread | None:
        """The time of a run."""
        return spread(run.seconds for run in self.runs)

    @property
    def peak_memory(self) -> int | None:
        """The most memory that a run's process held, in bytes."""
        return max((run.peak_memory for run in self.runs), default=None)

    def published(self, measure: str) -> float | None:
        """The number in print. An accuracy above 1 is one in percent."""
        printed = self.row.published
        if printed is None:
            return None
        return printed.value / 100 if measure == "accuracy" and printed.value > 1 else printed.value

    def worst(self, measure: str) -> tuple[str, float] | None:
        """The move that changes the first measure of one run most, and by how much."""
        found = {move: self.change(measure, move) for move in moved_names([self])}
        ends = [
            (move, end) for move, change in found.items() if change is not None for end in (change.low, change.high)
        ]
        return max(ends, key=lambda pair: abs(pair[1]), default=None)

    @property
    def networks(self) -> int | None:
        """How many networks it learnt from: those of the training split, or the row's share of them."""
        for run in self.runs:
            if (items := _training_items(run, self.row.share)) is not None:
                return items
        return None


@dataclass(frozen=True)
class Evidence:
    """A table, what came of its rows at one scale, and what is noise there.

    Args:
        table: the table.
        scale: small or full.
        outcomes: one for each row, by name, in the table's order; without runs where nothing has run.
        unknown: names of rows that have records and are not in the table.
        costs: by row, what a step of training and an answer cost when nothing else ran, from `costs.json`:
            seconds `step` and `answer`, bytes `step_memory` and `answer_memory`; empty where it was not measured.
        noise: of the first measure.
    """

    table: Table
    scale: str
    outcomes: Mapping[str, Outcome]
    unknown: tuple[str, ...] = ()
    costs: Mapping[str, Cost] = field(default_factory=dict)
    noise: Noise = field(repr=False, compare=False, default_factory=lambda: Noise(""))

    @property
    def measure(self) -> str:
        """The measure that decides."""
        return self.table.measures[0]

    @property
    def records(self) -> list[BenchRecord]:
        """All runs of the table's rows, row by row."""
        return [run for outcome in self.outcomes.values() for run in outcome.runs]

    def part(self, *, study: str = "", track: str | None = None) -> list[Outcome]:
        """The rows of a study, of one track or of all; by default those of the comparison itself."""
        return [
            outcome
            for outcome in self.outcomes.values()
            if outcome.row.study == study and track in (None, outcome.row.track)
        ]

    @property
    def studies(self) -> list[str]:
        """The side questions, in the table's order."""
        return list(dict.fromkeys(o.row.study for o in self.outcomes.values() if o.row.study))

    @property
    def tracks(self) -> list[str]:
        """The tracks of the comparison itself, in the table's order."""
        return list(dict.fromkeys(outcome.row.track for outcome in self.part()))

    def ranked(self, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """The rows with a score, the best median first."""
        scored = [(outcome.score(self.measure), outcome) for outcome in outcomes]
        known = [(found.middle, outcome) for found, outcome in scored if found is not None]
        return [outcome for _, outcome in sorted(known, key=lambda pair: pair[0], reverse=self.table.higher)]

    def difference(self, first: Outcome, second: Outcome) -> Difference | None:
        """The first measure of one row less that of another, with its interval; None where they cannot be paired."""
        return self.noise.difference(first.finished, second.finished)

    def sign(self, first: Outcome, second: Outcome) -> int | None:
        """1 where the first row is better beyond noise, -1 where it is worse, 0 between; None: not to be paired."""
        found = self.difference(first, second)
        return None if found is None else found.sign if self.table.higher else -found.sign

    def of(self, outcome: Outcome) -> Outcome | None:
        """The row of the comparison that a study's row belongs to: the longest name that its own goes on from."""
        main = self.part()
        named = [other for other in main if outcome.name.startswith(f"{other.name}, ")]
        alike = [other for other in main if other.row.model == outcome.row.model]
        packaged = [other for other in main if other.row.model.packaged]
        kind = [other for other in packaged if other.row.model.name == outcome.row.model.name]
        named.sort(key=lambda other: -len(other.name))
        return next(iter([*named, *alike, *kind]), None)

    def curves(self) -> dict[str, list[tuple[int, Outcome]]]:
        """By model, how many networks were learnt from and what came of it: the study "labels", and its full rows."""
        found: dict[str, list[tuple[int, Outcome]]] = {}
        for outcome in self.part(study="labels"):
            whole = self.of(outcome)
            name = outcome.name.split(",")[0].strip() if whole is None else whole.name
            points = found.setdefault(name, [] if whole is None else _point(whole))
            points += _point(outcome)
        return {name: sorted(points, key=lambda point: point[0]) for name, points in found.items() if points}


def read_evidence(table: Table, scale: str, results: Path) -> Evidence:
    """The records of a table at one scale, row by row; those of other settings than the rows now have are left out.

    Args:
        table: the table.
        scale: small or full.
        results: the folder of all records.

    Raises:
        FormatError: a file among the records that is none.
    """
    runs: dict[str, list[BenchRecord]] = {}
    keyed = {row.name: row for row in table.rows}
    for record in read_records(results, scale, table.name):
        row = keyed.get(record.row)
        if row is None or not record.key or record.key == key_of(table, row, scale, record.seed):
            runs.setdefault(record.row, []).append(record)
    outcomes = {
        row.name: Outcome(row, tuple(sorted(runs.pop(row.name, []), key=lambda run: run.seed))) for row in table.rows
    }
    costs = read_costs(results, scale, table.name)
    return Evidence(table, scale, outcomes, tuple(sorted(runs)), costs, Noise(table.measures[0]))


def moved_names(outcomes: Iterable[Outcome]) -> list[str]:
    """The moves that were tried on some rows, in the order of their records."""
    return list(dict.fromkeys(name for outcome in outcomes for run in outcome.finished for name in run.moved))


def _point(outcome: Outcome) -> list[tuple[int, Outcome]]:
    return [] if outcome.networks is None or not outcome.finished else [(outcome.networks, outcome)]


def _training_items(run: BenchRecord, share: float) -> int | None:
    """The items that were learnt from: as the run's own settings say, else a share of the data's training split."""
    for plain, part in ((run.settings.get("data"), 1.0), *((value, share) for value in run.zoo.values())):
        if isinstance(plain, Mapping) and isinstance(plain.get("train"), int):
            return round(plain["train"] * part)
    return None
