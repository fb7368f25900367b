"""Progress bars, on the error stream: what a verb prints can be piped on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

__all__ = ["RateColumn", "Report", "bars"]

Report = Callable[[str, int, int, str], None]
"""Called with the stage, what is done, out of how much, and a word on how it goes."""


class RateColumn(ProgressColumn):
    """How much is done in a second, over the last half minute: steps of a training, networks of a zoo."""

    def render(self, task: Task) -> Text:
        """The rate, or nothing before two reports."""
        rate = task.finished_speed or task.speed
        return Text("" if rate is None else f"{rate:,.0f}/s" if rate >= 100 else f"{rate:.3g}/s")


@contextmanager
def bars(*, quiet: bool = False) -> Iterator[Report]:
    """Progress bars for as long as the block runs, one per stage; a stage's bar appears when it is first told of.

    Each shows what is done of how much, the rate, the time that is left, and the word on how it goes.

    Args:
        quiet: show nothing, for processes that leave the telling to another.

    Example:
        >>> with bars() as report:
        ...     report("Fitting", 5, 10, "30.1 dB")
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        RateColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}"),
    )
    shown = Progress(*columns, console=Console(stderr=True))
    lines: dict[str, TaskID] = {}

    def report(stage: str, done: int, total: int, note: str) -> None:
        if quiet:
            return
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
