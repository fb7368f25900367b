"""The progress bar: rate, time left, loss and metric; nothing on the stream that is piped on."""

from __future__ import annotations

import pytest
from rich.progress import Progress

from weightspace.cli.bar import RateColumn, bars


def rate(*reports: tuple[float, float]) -> str:
    """What the column shows after reports of a time and what is done by then."""
    clock = [0.0]
    shown = Progress(RateColumn(), get_time=lambda: clock[0], auto_refresh=False, disable=False)
    number = shown.add_task("Training", total=1e6)
    for clock[0], done in reports:
        shown.update(number, completed=done)
    return RateColumn().render(next(task for task in shown._tasks.values() if task.id == number)).plain


@pytest.mark.parametrize(("steps", "told"), [(5, "2.5/s"), (0.02, "0.01/s"), (2468, "1,234/s")])
def test_the_rate_is_what_is_done_in_a_second(steps: float, told: str) -> None:
    assert rate((0, 1)) == ""
    assert rate((0, 1), (2, 1 + steps)) == told


def test_a_run_that_goes_on_does_not_count_earlier_steps_as_fast() -> None:
    assert rate((1, 9000), (3, 9020)) == "10/s"


def test_the_bar_is_on_the_error_stream_and_quiet_where_asked(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet in (False, True):
        with bars(quiet=quiet) as report:
            report("Training StatNN", 5, 10, "loss 2.25, validation 31.0%")
        told = capsys.readouterr()
        assert told.out == ""
        assert ("loss 2.25, validation" in told.err) is not quiet
