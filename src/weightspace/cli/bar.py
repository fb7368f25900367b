"""Progress bars, on the error stream: what a verb prints can be piped on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

__all__ = ["Report", "bars"]

Report = Callable[[str, int, int, str], None]
"""Called with the stage, what is done, out of how much, and a word on how it goes."""


@contextmanager
def bars() -> Iterator[Report]:
    """Progress bars for as long as the block runs, one per stage; a stage's bar appears when it is first told of.

    Example:
        >>> with bars() as report:
        ...     report("Fitting", 5, 10, "30.1 dB")
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
    )
    shown = Progress(*columns, console=Console(stderr=True))
    lines: dict[str, TaskID] = {}

    def report(stage: str, done: int, total: int, note: str) -> None:
        if not lines:
            shown.start()
        if stage not in lines:
            lines[stage] = shown.add_task(stage, note="")
        shown.update(lines[stage], completed=done, total=total, note=note)

    try:
        yield report
    finally:
        if lines:
            shown.stop()
