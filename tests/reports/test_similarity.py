"""The picture of similarities: cells where the numbers say, names beside them, models parted."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from weightspace.reports import draw_similarity

from .sample import HOSTILE
from .test_figure import words

STAGES = [("NP", "trunk"), ("NP", "head"), ("ScaleGMN", "rounds.0"), ("ScaleGMN", "head")]
MATRIX = np.array([[1, 0.2, 0.7, 0.1], [0.2, 1, 0.3, 0.9], [0.7, 0.3, 1, np.nan], [0.1, 0.9, np.nan, -0.05]])


def drawn(matrix: np.ndarray = MATRIX, stages: list[tuple[str, str]] = STAGES) -> str:
    return draw_similarity(matrix, stages, name="cka", title="two models")


def test_every_cell_has_its_number_and_its_shade() -> None:
    text = drawn()
    found = words(text)
    assert found.count("0.70") == 2
    assert found.count("-0.05") == 1
    assert "nan" not in found
    assert [name for name in found if name in ("trunk", "rounds.0")] == ["trunk", "rounds.0"] * 2
    assert {"NP", "ScaleGMN"} <= set(found)
    shades = [float(shade) for shade in re.findall(r"clip-path=[^>]*style=\"[^\"]*opacity: ([\d.]+)", text)]
    shades = shades or [float(shade) for shade in re.findall(r"opacity: ([\d.]+)", text)]
    assert {round(shade, 3) for shade in shades} >= {0.1, 0.2, 0.3, 0.7, 0.9, 0.0}
    assert text == drawn()


def test_it_says_what_is_most_alike() -> None:
    description = next(ElementTree.fromstring(drawn()).iter("{http://www.w3.org/2000/svg}desc")).text
    assert description == "4 stages of 2 models; of different models ScaleGMN head and NP head are most alike, 0.90."
    alone = drawn(np.ones((1, 1)), [("NP", "head")])
    assert "1 stages of 1 models." in alone


def test_many_stages_have_no_numbers_and_long_names_room() -> None:
    stages = [("a model of a very long name indeed", f"stage {i}") for i in range(20)]
    found = words(drawn(np.eye(20), stages))
    assert "1.00" not in found
    assert any(name.endswith("…") for name in found)


def test_hostile_names_and_other_shapes() -> None:
    text = drawn(np.eye(2), [(HOSTILE, HOSTILE), ("NP", "head")])
    ElementTree.fromstring(text)
    for wrong in (np.eye(3), np.ones((4, 3))):
        with pytest.raises(ValueError, match="4 stages; expected"):
            drawn(wrong)
    with pytest.raises(ValueError, match="0 stages"):
        drawn(np.ones((0, 0)), [])
