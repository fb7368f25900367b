"""``weightspace runs``: many runs side by side."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from weightspace.cli.new import check_new
from weightspace.experiments.comparison import Group, RunRow, apart, find_runs, grouped
from weightspace.reports.comparison import (
    GROUP_HEADINGS,
    RUN_HEADINGS,
    difference_lines,
    group_cells,
    names,
    run_cells,
    write_comparison,
)
from weightspace.reports.table import aligned
from weightspace.training.record import write_json

__all__ = ["runs"]


def runs(
    folders: tuple[Path, ...],
    /,
    *,
    by: tuple[str, ...] = (),
    json: Path | None = None,
    report: Path | None = None,
    force: bool = False,
) -> None:
    """List the runs in some folders, the best by validation score first, and say in which settings they differ.

    Args:
        folders: folders of runs, or folders around them.
        by: put runs into groups that are alike in these columns (model, preset, task, zoo, seed, steps, status) or
            settings (such as learning_rate), with median and range of their scores: the seeds of each model by model.
            Different tasks and zoos always stay apart.
        json: a file for all of it.
        report: an HTML file with the table and the curves.
        force: write over files that are there.
    """
    for path in (json, report):
        if path is not None:
            check_new(path, force=force)
    rows = find_runs(folders)
    by = apart(rows, by) if by else ()
    groups = grouped(rows, by) if by else []
    # Files ahead of all words: who reads these may have enough of them early.
    if json is not None:
        write_json(json, {"runs": [_plain(row) for row in rows], "groups": [_group(each, by) for each in groups]})
    if report is not None:
        write_comparison(rows, report)
    if by:
        lines = [[str(name) for name in group.names] + list(group_cells(group)) for group in groups]
        print(aligned([(*by, *GROUP_HEADINGS), *lines]))
    else:
        print(aligned([RUN_HEADINGS, *(run_cells(n, row) for n, row in zip(names(rows), rows, strict=True))]))
    different = difference_lines(rows)
    if different:
        print("\nSettings that differ:\n" + "\n".join(f"  {line}" for line in different))
    if report is not None:
        print(f"\nThe page with the curves is {report}")


def _plain(row: RunRow) -> dict[str, Any]:
    return {**asdict(row), "folder": str(row.folder)}


def _group(group: Group, by: tuple[str, ...]) -> dict[str, Any]:
    return {
        "by": dict(zip(by, group.names, strict=True)),
        "runs": [str(row.folder) for row in group.runs],
        "validation": group.validation,
        "test": group.test,
        "seconds": group.seconds,
    }
