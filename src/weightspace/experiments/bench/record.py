"""One run of a table's row, as it is kept in results: everything that the pages are made of."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from weightspace.errors import FormatError
from weightspace.training.record import write_json

__all__ = ["BenchRecord", "read_record", "read_records", "record_path"]

FORMAT, VERSION = "weightspace-bench", 1


@dataclass(frozen=True)
class BenchRecord:
    """What a run was given and what came of it; plain values, so that it is JSON as it stands."""

    table: str
    """The table's name."""
    row: str
    """The row's name."""
    track: str
    """What the model goes by, one of `TRACKS`."""
    study: str
    """The side question that the row belongs to; empty for the comparison itself."""
    scale: str
    """small or full."""
    seed: int
    """Of the run."""
    settings: dict[str, Any]
    """Training settings, task, and model with preset and options, as in the run's own record."""
    zoo: dict[str, Any]
    """The data: name, command, seed, checksum, and items by split."""
    tuning: list[dict[str, Any]]
    """The learning rates that were tried, each with its best validation score."""
    status: str
    """finished or diverged."""
    message: str
    """What went wrong; empty for a run that finished."""
    validation: float | None
    """The best validation score."""
    scores: dict[str, float | None]
    """Measures on the test split by name, in the table's order; empty unless finished."""
    predictions: list[Any]
    """The answer for each test item: a class, a number, or the error of an edited image."""
    targets: list[Any]
    """The truth for each test item; empty where the prediction is an error already."""
    moved: dict[str, float | None]
    """The first measure on test networks that were moved along their symmetries, by the name of the move."""
    symmetry_error: float | None
    """How far the answers are from the law that they should follow, in float64; None where there is no law."""
    parameters: int
    """Numbers that were trained."""
    steps: int
    """Steps of the optimiser."""
    seconds: float
    """Of training and validation."""
    peak_memory: int
    """The most memory that the process held, in bytes."""
    curves: dict[str, list[Any]]
    """By name, one entry per validation: step, seconds, train_loss, validation_loss, validation_score."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of weightspace, torch and python."""
    device: str = "cpu"
    """Where the run took place."""
    threads: int = 1
    """Threads of PyTorch on the CPU."""
    key: str = ""
    """What makes the run this run, in 16 letters: equal keys, equal runs."""

    def write(self, results: Path) -> Path:
        """Put the record into a folder of results; gives its file."""
        path = record_path(results, self.scale, self.table, self.row, self.seed)
        write_json(path, {"format": FORMAT, "version": VERSION, **asdict(self)})
        return path


def record_path(results: Path, scale: str, table: str, row: str, seed: int) -> Path:
    """Where the record of a run lies in a folder of results.

    Example:
        >>> record_path(Path("results"), "small", "inr-mnist", "ScaleGMN, both ways", 0).as_posix()
        'results/small/inr-mnist/records/scalegmn-both-ways-0.json'
    """
    plain = "".join(letter if letter.isalnum() else " " for letter in row.lower())
    return results / scale / table / "records" / f"{'-'.join(plain.split())}-{seed}.json"


def read_record(path: Path) -> BenchRecord:
    """The record in a file.

    Raises:
        FormatError: no such record.
    """
    try:
        plain = json.loads(path.read_bytes())
        if plain.pop("format") != FORMAT or plain.pop("version") != VERSION:
            raise ValueError(f"not of format {FORMAT} {VERSION}")
        return BenchRecord(**plain)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise FormatError(f"{path} is no record of a comparison ({error}): delete it and run again.") from error


def read_records(results: Path, scale: str, table: str) -> list[BenchRecord]:
    """All records of a table, by file name.

    Raises:
        FormatError: a file that is no such record.
    """
    return [read_record(path) for path in sorted((results / scale / table / "records").glob("*.json"))]
