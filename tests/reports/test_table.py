"""The one table, and how its numbers are written."""

from __future__ import annotations

import pytest

from weightspace.reports import ModelRow, summary, table
from weightspace.reports.table import HEADINGS, duration, percent, power_of_ten

ROWS = [
    ModelRow("FlatMLP", 0.1, 0.09, 168_330, 40.04, 0.93, 0.9),
    ModelRow("a model with a long name", 0.4, 0.4, 5, 100.0, 3.1e-7, 0.0),
    ModelRow("stopped"),
]


def test_columns_line_up() -> None:
    lines = table(ROWS).splitlines()
    assert len({len(line) for line in lines}) == 1
    ends = [lines[0].index(heading) + len(heading) for heading in HEADINGS[1:]]
    for line in lines:
        for end in ends:
            assert line[end - 1] != " "
            assert line[end : end + 1] in {"", " "}


def test_every_number_stands_under_its_heading() -> None:
    lines = table(ROWS).splitlines()
    for heading, cell in (("test accuracy", "10.0 %"), ("after symmetry", "9.0 %"), ("answers change", "90.0 %")):
        end = lines[0].index(heading) + len(heading)
        assert lines[1][:end].endswith(f"  {cell}")
    assert "3.1 × 10⁻⁷" in lines[2]
    assert lines[3].split() == ["stopped", *["–"] * 6]


def test_table_without_rows_is_its_headings() -> None:
    assert table([]) == "  ".join(HEADINGS)


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_was_not_measured_is_a_dash(value: float | None) -> None:
    assert percent(value) == power_of_ten(value) == duration(value) == "–"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.01, "0.01"),
        (0.0099, "9.9 × 10⁻³"),
        (12.34, "12"),
        (999.0, "999"),
        (1000.0, "1.0 × 10³"),
        (-2e-12, "-2.0 × 10⁻¹²"),
    ],
)
def test_sizes_over_many_decades(value: float, text: str) -> None:
    assert power_of_ten(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(119.4, "119 s"), (119.6, "2 min 00 s"), (3599.9, "60 min 00 s")])
def test_durations_round_before_they_split(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_summary_names_the_best_and_the_first() -> None:
    text = summary(ROWS, tested=2000)
    assert "2,000 unseen networks" in text
    assert "a model with a long name tells the class of 40.0 % of them and FlatMLP of 10.0 %" in text
    assert "a model with a long name gives another answer for 0.0 % and FlatMLP for 90.0 %" in text
    assert text.count(".") - text.count(".0 %") == 1


def test_summary_tells_only_what_was_measured() -> None:
    assert "equivalent" not in summary([ModelRow("NP", 0.3)])
    assert " and " not in summary([ModelRow("NP", 0.3, answers_changed=0.1)])
    assert summary([ModelRow("NP")]) == "This run has measured no test accuracy yet."
