"""Runs side by side, as tables for a terminal and as one page with their curves."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from weightspace.disk import write_atomic
from weightspace.experiments.comparison import Group, RunRow, differing
from weightspace.reports.figure import draw_lines, printable
from weightspace.reports.page import environment
from weightspace.reports.table import duration, percent
from weightspace.reports.theme import Style, css_variables, styles, variable

__all__ = [
    "GROUP_HEADINGS",
    "RUN_HEADINGS",
    "difference_lines",
    "group_cells",
    "names",
    "run_cells",
    "write_comparison",
]

RUN_HEADINGS = (
    *("run", "model", "task", "zoo", "steps", "seed", "validation", "test"),
    *("parameters", "time", "memory", "status"),
)
GROUP_HEADINGS = ("runs", "validation, median", "lowest to highest", "test, median", "lowest to highest", "time")
_NOTHING = "–"


def names(rows: Sequence[RunRow]) -> list[str]:
    """A name for each run: its folder, without what all folders have in common.

    Example:
        >>> from weightspace.experiments.comparison import find_runs
        >>> names([])
        []
    """
    folders = [row.folder.resolve() for row in rows]
    if len(folders) < 2:
        return [folder.name for folder in folders]
    common = os.path.commonpath(folders)
    return [os.path.relpath(folder, common) for folder in folders]


def run_cells(name: str, row: RunRow) -> tuple[str, ...]:
    """What stands under each of the RUN_HEADINGS for one run."""
    model = row.model if row.preset in ("", "demo") else f"{row.model} {row.preset}"
    status = row.status if row.status == "finished" else f"{row.status}, step {row.step:,}"
    return (
        *(name, model, row.task, row.zoo),
        *(_NOTHING if row.steps is None else f"{row.steps:,}", str(row.seed)),
        *(_score(row, row.validation), _score(row, row.test)),
        *(_NOTHING if row.parameters is None else f"{row.parameters:,}", duration(row.seconds)),
        *(_NOTHING if row.memory is None else f"{row.memory / 2**20:,.0f} MiB", status),
    )


def group_cells(group: Group) -> tuple[str, ...]:
    """What stands under each of the GROUP_HEADINGS for one group, behind its names."""
    cells = [str(len(group.runs))]
    for scores in (group.validation, group.test):
        low, middle, high = scores or (None, None, None)
        first = group.runs[0]
        ends = _NOTHING if scores is None else f"{_score(first, low)} to {_score(first, high)}"
        cells += [_score(first, middle), ends]
    return (*cells, duration(group.seconds))


def difference_lines(rows: Sequence[RunRow]) -> list[str]:
    """One line for each setting in which the runs differ."""
    return [f"{name}: {text}" for name, text in _differences(rows).items()]


def _differences(rows: Sequence[RunRow]) -> dict[str, str]:
    """The values of each setting in which the runs differ, in words; of many numbers how many, and their range."""
    return {name: _told(values) for name, values in differing(rows).items()}


def _told(values: list[Any]) -> str:
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) < len(values):
        return ", ".join(map(str, values))
    if len(numbers) > 6:
        return f"{len(numbers)} values from {min(numbers):.4g} to {max(numbers):.4g}"
    return ", ".join(f"{value:.4g}" for value in sorted(numbers))


def write_comparison(rows: Sequence[RunRow], path: Path) -> Path:
    """One page: the table of the runs, the settings in which they differ, and their curves, task by task.

    Args:
        rows: the runs.
        path: the HTML file, written whole or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    told = names(rows)
    chosen = styles(told)
    page = environment().get_template("comparison.html")
    text = page.render(
        light=Markup(css_variables(dark=False)),
        dark=Markup(css_variables(dark=True)),
        count=len(rows),
        headings=RUN_HEADINGS,
        rows=[(variable(chosen[n].colour), run_cells(n, row)) for n, row in zip(told, rows, strict=True)],
        differences=_differences(rows),
        sections=_sections(dict(zip(told, rows, strict=True)), chosen),
    )
    write_atomic(path, printable(text).encode())
    return path


@dataclass(frozen=True)
class _Section:
    """The curves of the runs of one task on one zoo."""

    title: str
    legend: list[tuple[str, str, Style]]
    figures: list[Markup]


def _sections(rows: dict[str, RunRow], chosen: dict[str, Style]) -> list[_Section]:
    parts: dict[tuple[str, str], dict[str, RunRow]] = {}
    for name, row in rows.items():
        if row.curves.get("step"):
            parts.setdefault((row.task, row.zoo), {})[name] = row
    return [
        _Section(
            f"{task}, zoo {zoo}" if zoo else task,
            [(name, variable(chosen[name].colour), chosen[name]) for name in part],
            _figures(part, chosen, f"part-{number}"),
        )
        for number, ((task, zoo), part) in enumerate(parts.items())
    ]


def _figures(part: dict[str, RunRow], chosen: dict[str, Style], prefix: str) -> list[Markup]:
    share = all(row.accuracy for row in part.values())
    score = "validation accuracy" if share else "validation score"
    drawn: list[tuple[str, str, str, bool]] = [
        ("step", "train_loss", "training loss", False),
        ("step", "validation_loss", "validation loss", False),
        ("step", "validation_score", score, share),
        ("seconds", "validation_score", score, share),
    ]
    figures = []
    for along, up, label, percents in drawn:
        lines: dict[str, Any] = {
            name: (row.curves[along], [value if value is not None else float("nan") for value in row.curves[up]])
            for name, row in part.items()
        }
        below = "optimisation steps" if along == "step" else "seconds of training"
        name = f"{prefix}-{up}-{along}".replace("_", "-")
        figures.append(Markup(draw_lines(lines, chosen, name=name, labels=(below, label), share=percents)))
    return figures


def _score(row: RunRow, score: float | None) -> str:
    if score is None:
        return _NOTHING
    return percent(score) if row.accuracy else f"{score:.3f}"
