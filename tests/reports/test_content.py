"""What a report holds: parts that do not belong together are refused by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from weightspace.errors import ShapeError
from weightspace.reports import Curve, DemoReport, DigitGallery, ModelRow, Orbit, Pattern, confusion_matrix

PICTURES = np.zeros((2, 4, 4))
WALK = np.zeros((2, 3, 3))
WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "gallery shapes": (lambda: DigitGallery(PICTURES, PICTURES[:1], ("a", "b"), (1.0, 2.0)), "two equal shapes"),
    "gallery rank": (lambda: DigitGallery(PICTURES[0], PICTURES[0], ("a",), (1.0,)), "two equal shapes"),
    "gallery labels": (lambda: DigitGallery(PICTURES, PICTURES, ("a",), (1.0, 2.0)), "1 labels and 2 PSNR"),
    "curve lengths": (lambda: Curve("NP", [0, 1], [0.0], [1.0], [0.1]), "curve of 'NP'"),
    "pattern type": (lambda: Pattern("p", np.zeros((1, 1)), (("a", 1),), (("a", 1),)), "matrix of integers"),
    "pattern blocks": (lambda: Pattern("p", np.eye(2, dtype=int), (("a", 1),), (("a", 2),)), r"fill \(1, 2\)"),
    "orbit frames": (lambda: Orbit(WALK, PICTURES, ("start",), (0.0, 0.0)), "1 moves"),
    "orbit empty": (lambda: Orbit(WALK[:0], PICTURES[:0], (), ()), "at least one frame"),
    "orbit rank": (lambda: Orbit(WALK[0], PICTURES, ("a", "b"), (0.0, 0.0)), "frames, rows, columns"),
    "confusion square": (lambda: DemoReport("r", confusions={"NP": np.zeros((2, 3), dtype=int)}), "'NP'"),
    "confusion classes": (
        lambda: DemoReport("r", classes=("a",), confusions={"NP": np.zeros((2, 2), dtype=int)}),
        r"expected \(1, 1\)",
    ),
    "confusion counts": (lambda: confusion_matrix([0], [0, 1], 2), "1 labels and 2 answers"),
    "confusion range": (lambda: confusion_matrix([0], [2], 2), r"class \[2\]"),
}


@pytest.mark.parametrize("case", WRONG)
def test_parts_that_do_not_fit_are_refused(case: str) -> None:
    make, words = WRONG[case]
    with pytest.raises(ShapeError, match=words):
        make()


def test_confusion_counts_row_truth_column_answer() -> None:
    rng = np.random.default_rng(0)
    labels, answers = rng.integers(0, 4, 50), rng.integers(0, 4, 50)
    slow = [[int(((labels == t) & (answers == a)).sum()) for a in range(4)] for t in range(4)]
    np.testing.assert_array_equal(confusion_matrix(labels, answers, 4), slow)
    assert (confusion_matrix(answers, labels, 4) != slow).any()


def test_pattern_counts_distinct_parameters() -> None:
    matrix = np.array([[3, -3], [0, 7]])
    blocks = (("a", 2),)
    assert Pattern("p", matrix, blocks, blocks).count == 2
    assert Pattern("p", matrix, blocks, blocks, parameters=75).count == 75
    assert Pattern("p", matrix, blocks, blocks).filled == 0.75


def test_models_are_listed_once_in_order() -> None:
    report = DemoReport(
        "r",
        rows=[ModelRow("b"), ModelRow("a")],
        curves=[Curve("a", [], [], [], []), Curve("c", [], [], [], [])],
        confusions={"d": np.eye(2)},
    )
    assert report.models == ("b", "a", "c", "d")
    assert "learning curves" in report.missing
