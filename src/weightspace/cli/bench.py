"""``weightspace bench``: models side by side under one protocol."""

from dataclasses import replace
from typing import Annotated

from cyclopts import Parameter

from weightspace.cli.bar import bars
from weightspace.errors import TrainingError, unknown
from weightspace.experiments.bench.cost import measure_costs
from weightspace.experiments.bench.schedule import Places, run_tables
from weightspace.experiments.bench.table import Table
from weightspace.experiments.choice import ModelChoice
from weightspace.experiments.paper import TABLES
from weightspace.reports.bench import write_pages

__all__ = ["bench"]


def bench(
    *tables: str,
    places: Annotated[Places, Parameter(name="*")] = Places(),  # noqa: B008 - frozen
    rows: tuple[str, ...] = (),
    model: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    workers: int | None = None,
    costs: bool = False,
    pages: bool = False,
) -> None:
    """Train and judge models side by side, and write the pages; without a table, list all of them.

    Interrupted, it goes on when it is called again; what is in the results is not done again, and where everything is,
    the pages are written from it alone.

    Args:
        tables: names of tables, or all.
        places: where things lie, and the scale.
        rows: names of rows; all by default.
        model: models of your own beside them, each package.module:Model, which is imported, called with (spec,
            readout) and runs its code; they are given what a table's first row is given, and left out where no
            networks are read.
        seeds: of the runs; by default three.
        workers: processes with one thread each; as many as there are cores by default.
        costs: measure time and memory of every row as well, one after the other, which wants a machine that does
            nothing else.
        pages: run nothing, and write the pages from the records that are there.
    """
    if not tables:
        print("\n".join(f"{table.name:24} {table.title}" for table in TABLES.values()))
        return
    chosen = [_with(table, model) for table in _chosen(tables)]
    for name in rows:
        if not any(name == row.name for table in chosen for row in table.rows):
            raise unknown("row", name, dict.fromkeys(row.name for table in chosen for row in table.rows))
    names = (*rows, *model) if rows else ()
    if not pages:
        with bars() as report:
            records = run_tables(chosen, places, rows=names, seeds=seeds, workers=workers, report=report)
            for table in chosen if costs else ():
                measure_costs(table, places, names, report)
        failed = sum(record.status != "finished" for record in records)
        print(f"{len(records)} runs of {len(chosen)} tables, {failed} of which diverged.")
    written = write_pages(chosen, places.scale, places.results, listed=TABLES.values())
    print("\n".join(f"The page is {page}" for page in written if page.suffix == ".md"))


def _chosen(names: tuple[str, ...]) -> list[Table]:
    if "all" in names:
        return list(TABLES.values())
    for name in names:
        if name not in TABLES:
            raise unknown("table", name, [*TABLES, "all"])
    return [TABLES[name] for name in dict.fromkeys(names)]


def _with(table: Table, models: tuple[str, ...]) -> Table:
    """A table with rows for models of one's own, which are given what its first row is given."""
    first = table.rows[0]
    own = tuple(replace(first, name=name, model=ModelChoice(name), published=None) for name in models)
    for row in own:
        if row.model.packaged:
            raise TrainingError(
                f"model {row.name} is one of the package's: name it by --rows, or give package.module:Model."
            )
    # What reads networks has nothing to say of signals on groups.
    return table if first.track == "signals" else replace(table, rows=(*table.rows, *own))
