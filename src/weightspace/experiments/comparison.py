"""Many runs side by side: what each is, how far it is, what came of it, and in which settings they differ."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from weightspace.errors import FormatError, unknown
from weightspace.experiments.spaces import short
from weightspace.training import read_record
from weightspace.training.watch import leaves

__all__ = ["Group", "RunRow", "apart", "differing", "find_runs", "grouped", "read_run"]

COLUMNS = ("model", "preset", "task", "zoo", "seed", "steps", "status")
"""What runs can be grouped by, besides their settings."""
# What every table shows, or follows from what it shows.
_SHOWN = (
    *("settings.seed", "zoo", "data.", "model.", "about.model.name", "about.model.preset", "about.spec"),
    *("about.target", "task.target"),
)


@dataclass(frozen=True)
class RunRow:
    """One run.

    Args:
        folder: where it lies.
        model: the name of the model.
        preset: the size of the model, empty where none has a name.
        task: the column that is told.
        accuracy: whether scores are shares of right answers, as those of a classification; otherwise rank correlations.
        zoo: the first eight digits of the zoo's checksum, or of one of all zoos together.
        seed: of the run.
        steps: of the whole run; None before it is known.
        step: steps done.
        status: finished, diverged, unfinished (still going on, or broken off), or damaged (its record cannot be read).
        validation: the best validation score so far.
        test: the score on the test split; None unless finished.
        parameters: numbers that are trained; None unless it is over.
        seconds: of training so far.
        memory: the most that its process held, in bytes; None unless it is over.
        settings: everything that makes the run this run, with dotted names.
        curves: by name, as in the record.
    """

    folder: Path
    model: str
    preset: str
    task: str
    accuracy: bool
    zoo: str
    seed: int
    steps: int | None
    step: int
    status: str
    validation: float | None
    test: float | None
    parameters: int | None
    seconds: float
    memory: int | None
    settings: Mapping[str, Any] = field(repr=False)
    curves: Mapping[str, Sequence[Any]] = field(repr=False)

    def value(self, name: str) -> Any:
        """A column, or a setting by its dotted name or the end of it; None for a setting that this run does not have.

        Raises:
            UnknownNameError: a name that stands for several settings.
        """
        if name in COLUMNS:
            return getattr(self, name)
        found = [key for key in self.settings if key == name or key.endswith(f".{name}")]
        if len(found) > 1:
            raise unknown("column or setting", name, [*COLUMNS, *self.settings])
        return self.settings[found[0]] if found else None


@dataclass(frozen=True)
class Group:
    """Runs that are alike in what they are grouped by.

    Args:
        names: what they have in common, in the order of the columns that were asked for.
        runs: all of them.
        validation: lowest, median and highest validation score; None where there is none.
        test: the same of the test scores.
        seconds: the median time.
    """

    names: tuple[Any, ...]
    runs: tuple[RunRow, ...]
    validation: tuple[float, float, float] | None
    test: tuple[float, float, float] | None
    seconds: float


def find_runs(folders: Iterable[Path]) -> list[RunRow]:
    """All runs in some folders and in the folders below them, the best first: by task and zoo, then validation score.

    Runs are not sorted by their test scores, since what stands first is what will be chosen.

    Args:
        folders: folders of runs, or around them.

    Raises:
        FormatError: a folder that does not exist or holds no run.
    """
    rows: dict[Path, RunRow] = {}
    for folder in folders:
        if not folder.is_dir():
            raise FormatError(f"{folder} is no folder: expected one with runs of `weightspace train`.")
        found = [row for path in sorted(folder.rglob("settings.json")) if (row := read_run(path.parent)) is not None]
        if not found:
            raise FormatError(f"{folder} holds no runs: expected folders with a settings.json of `weightspace train`.")
        rows |= {row.folder.resolve(): row for row in found}
    return sorted(rows.values(), key=_place)


def _place(row: RunRow) -> tuple[Any, ...]:
    return row.task, row.zoo, row.validation is None, -(row.validation or 0.0), str(row.folder)


def read_run(folder: Path) -> RunRow | None:
    """The run in a folder, finished or not; None where settings.json is not that of a run."""
    try:
        plain = json.loads((folder / "settings.json").read_bytes())
        settings, task = plain["settings"], plain["task"]
        name, seed = plain["model"]["name"], settings["seed"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    about = plain.get("about")
    model = about.get("model") if isinstance(about, dict) else None
    chosen = model if isinstance(model, dict) else {}
    common = {
        "folder": folder,
        "model": chosen.get("name", name),
        "preset": chosen.get("preset") or "",
        "task": str(task.get("target", task.get("name", ""))),
        "accuracy": task.get("name") == "Classify",
        "zoo": short(str(plain.get("zoo", "")), 8),
        "seed": seed,
        "settings": leaves(plain),
    }
    if not (folder / "record.json").exists():
        return RunRow(**common, **_unfinished(folder, settings))
    try:
        return RunRow(**common, **_over(folder))
    except FormatError:
        return RunRow(**common, **{**_unfinished(folder, settings), "status": "damaged"})


def grouped(rows: Sequence[RunRow], by: Sequence[str]) -> list[Group]:
    """Runs in groups that are alike in some columns or settings, such as seeds of one model; the best median first.

    Args:
        rows: the runs.
        by: columns (model, preset, task, zoo, seed, steps, status) or settings, by the end of their dotted names.

    Raises:
        UnknownNameError: a name that stands for nothing.
    """
    settings = dict.fromkeys(key for row in rows for key in row.settings)
    for name in by:
        if name not in COLUMNS and not any(key == name or key.endswith(f".{name}") for key in settings):
            raise unknown("column or setting", name, [*COLUMNS, *settings])
    keys: dict[str, list[RunRow]] = {}
    for row in rows:
        keys.setdefault(json.dumps([row.value(name) for name in by]), []).append(row)
    groups = [
        Group(
            names=tuple(json.loads(key)),
            runs=tuple(part),
            validation=_range([row.validation for row in part]),
            test=_range([row.test for row in part]),
            seconds=statistics.median(row.seconds for row in part),
        )
        for key, part in keys.items()
    ]
    return sorted(groups, key=lambda group: -group.validation[1] if group.validation else 2.0)


def apart(rows: Sequence[RunRow], by: Sequence[str]) -> tuple[str, ...]:
    """What to group by so that no group mixes tasks or zoos, whose scores cannot be compared.

    Args:
        rows: the runs.
        by: what was asked for.

    Example:
        >>> apart([], ["model"])
        ('model',)
    """
    mixed = [name for name in ("task", "zoo") if name not in by and len({row.value(name) for row in rows}) > 1]
    return (*by, *mixed)


def differing(rows: Sequence[RunRow]) -> dict[str, list[Any]]:
    """The settings in which runs differ, with their values, apart from those that every table shows."""
    names = dict.fromkeys(name for row in rows for name in row.settings)
    found = {}
    for name in names:
        if not name.startswith(_SHOWN):
            values = {json.dumps(row.settings.get(name)): row.settings.get(name) for row in rows}
            if len(values) > 1:
                found[name] = [values[key] for key in sorted(values)]
    return found


def _over(folder: Path) -> dict[str, Any]:
    """What is known of a run with a record."""
    record = read_record(folder)
    return {
        "steps": record.steps,
        "step": (record.curves["step"] or [0])[-1],
        "status": record.status,
        "validation": record.validation_score,
        "test": record.test_score,
        "parameters": record.parameters,
        "seconds": record.seconds,
        "memory": record.peak_memory,
        "curves": record.curves,
    }


def _unfinished(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the last checkpoint that can be read says of a run without a record."""
    state: dict[str, Any] = {}
    for path in sorted((folder / "checkpoints").glob("*.safetensors"), reverse=True):
        try:
            with safe_open(path, framework="np") as file:
                state = json.loads((file.metadata() or {})["checkpoint"])["state"]
            break
        except (OSError, SafetensorError, KeyError, ValueError):
            continue  # half a file, or none any more: the run goes on while it is looked at
    return {
        "steps": state.get("plan", {}).get("steps", settings.get("steps")),
        "step": state.get("step", 0),
        "status": "unfinished",
        "validation": state.get("best_score"),
        "test": None,
        "parameters": None,
        "seconds": state.get("seconds", 0.0),
        "memory": None,
        "curves": state.get("curves", {}),
    }


def _range(scores: Sequence[float | None]) -> tuple[float, float, float] | None:
    known = [score for score in scores if score is not None]
    return (min(known), statistics.median(known), max(known)) if known else None
