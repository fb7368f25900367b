"""``weightspace report``: the page of a finished run, written again."""

from pathlib import Path

from weightspace.experiments import read_demo
from weightspace.reports import write_report
from weightspace.reports.demo import demo_report

__all__ = ["report"]


def report(run: Path, /, *, out: Path | None = None) -> None:
    """Write the page of a finished demo again, from its record alone.

    Args:
        run: the folder with demo.json.
        out: the HTML file; by default report.html in the folder of the run.
    """
    print(write_report(demo_report(read_demo(run)), out or run / "report.html"))
