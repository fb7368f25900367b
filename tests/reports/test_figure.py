"""Figures: their marks stand where the numbers say, and their words and colours follow the page."""

from __future__ import annotations

import base64
import io
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

from weightspace.reports import ModelRow, Pattern, draw_accuracy, draw_confusion, draw_lines, draw_pattern, styles
from weightspace.reports.figure import _apart, _thinned, _wilson

from .sample import HOSTILE, pattern

_SVG = "{http://www.w3.org/2000/svg}"


def words(svg: str) -> list[str]:
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter(f"{_SVG}text")]


def embedded(svg: str) -> np.ndarray:
    found = re.search(r"data:image/png;base64,([^\"]+)", svg)
    assert found is not None
    return np.round(imread(io.BytesIO(base64.b64decode(found.group(1)))) * 255).astype(int)


def test_pattern_keeps_its_orientation_and_ids() -> None:
    drawn = pattern()
    pixels = embedded(draw_pattern(drawn, name="p"))
    rows, columns = drawn.matrix.shape
    cell = len(pixels) // rows
    # A quarter into each entry, away from a minus sign.
    corners = pixels[cell // 4 :: cell, cell // 4 :: cell]
    assert corners.shape[:2] == (rows, columns)
    assert ((corners[..., 3] == 0) == (drawn.matrix == 0)).all()
    middles = pixels[cell // 2 :: cell, cell // 2 :: cell, 3]
    assert ((middles == 0) == (drawn.matrix <= 0)).all()
    colours = [tuple(corners[place][:3]) for place in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert colours[0] == colours[3]
    assert colours[1] == colours[2]
    assert colours[0] != colours[1]


def test_pattern_stands_upright_with_its_labels_in_order() -> None:
    root = ElementTree.fromstring(draw_pattern(pattern(), name="p"))
    (image,) = root.iter(f"{_SVG}image")
    across, _, _, down, *_ = (float(number) for number in re.findall(r"[-\d.e]+", image.get("transform", "")[6:]))
    assert across > 0
    assert down > 0
    rows = {node.text: float(node.get("y", 0)) for node in root.iter(f"{_SVG}text") if node.text in {"a", "b"}}
    assert rows["a"] < rows["b"]


def test_pattern_names_its_blocks_once_each_way() -> None:
    svg = draw_pattern(pattern(HOSTILE), name="p")
    assert sorted(words(svg)) == ["a", "b", "c", "d"]
    assert "A matrix of 3 by 3 entries with 4 parameters; 66.7 % of the entries" in svg


def test_labels_are_pushed_apart_in_order() -> None:
    places = _apart(np.array([1.0, 1.1, 1.2, 9.9]), 0.5, 10.0)
    assert (np.diff(places) >= 0.5 - 1e-12).all()
    assert places[-1] <= 9.75
    np.testing.assert_array_equal(_apart(np.array([1.0, 5.0]), 0.5, 10.0), [1.0, 5.0])


def test_curves_use_each_models_colour_and_skip_gaps() -> None:
    chosen = styles(["a", "b"])
    lines = {"a": ([0, 1, 2, 3], [None, 1.0, float("nan"), 3.0]), "b": ([0, 1], [2.0, 2.5])}
    svg = draw_lines(lines, chosen, name="c", labels=("steps", "loss"))
    for style in chosen.values():
        assert f"stroke: var(--model-{list(chosen.values()).index(style)}, {style.colour})" in svg
    assert "a ends at 3, b ends at 2.5." in svg
    assert {"steps", "loss"} <= set(words(svg))
    assert "NaN" not in svg
    assert "nan" not in svg


def test_curve_without_any_value_is_drawn() -> None:
    svg = draw_lines({"a": ([0, 1], [None, None])}, styles(["a"]), name="c", labels=("steps", "loss"), share=True)
    assert "a ends at no measured value." in svg


def test_long_curves_keep_their_mean() -> None:
    x = np.arange(2400.0)
    thin_x, thin_y = _thinned(x, 3 * x)
    assert len(thin_x) == 240
    assert thin_y.mean() == pytest.approx(3 * x.mean())
    np.testing.assert_allclose(thin_y, 3 * thin_x)


def test_confusion_counts_stand_in_their_cells() -> None:
    counts = np.array([[7, 0], [2, 5]])
    svg = draw_confusion(counts, ("zero", "one"), name="m", title="model")
    places = {
        "".join(node.itertext()): (float(node.get("x", 0)), float(node.get("y", 0)))
        for node in ElementTree.fromstring(svg).iter(f"{_SVG}text")
        if "".join(node.itertext()) in {"7", "2", "5"}
    }
    assert set(places) == {"7", "2", "5"}
    assert places["7"][0] == pytest.approx(places["2"][0], abs=0.1)
    assert places["2"][1] == pytest.approx(places["5"][1], abs=0.1)
    assert places["7"][1] < places["2"][1]
    assert places["2"][0] < places["5"][0]
    assert "12 of 14 answers are right." in svg


def test_empty_class_has_an_empty_row() -> None:
    svg = draw_confusion(np.array([[0, 0], [0, 3]]), ("0", "1"), name="m", title="model")
    assert "nan" not in svg.lower()


def test_accuracy_tells_both_numbers_and_leaves_out_the_unmeasured() -> None:
    rows = [ModelRow("moves", 0.4, 0.1), ModelRow("stays", 0.99, 0.99), ModelRow("unmeasured", 0.5)]
    svg = draw_accuracy(rows, styles([row.model for row in rows]), name="x", chance=0.1, tested=100)
    told = words(svg)
    assert "40.0 → 10.0 %" in told
    assert "moves" in told
    assert "unmeasured" not in told
    assert "chance" in told
    assert not {"110 %", "120 %"} & set(told)


@pytest.mark.parametrize(("share", "low", "high"), [(0.5, 0.404, 0.596), (0.0, 0.0, 0.037), (1.0, 0.963, 1.0)])
def test_interval_is_wilsons(share: float, low: float, high: float) -> None:
    assert _wilson(share, 100) == pytest.approx((low, high), abs=5e-4)


def test_same_input_gives_same_bytes_and_own_ids() -> None:
    first, again, other = (draw_pattern(pattern(), name=name) for name in ("a", "a", "b"))
    assert first == again
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (first, other)]
    assert ids[0]
    assert not ids[0] & ids[1]
    for svg, own in zip((first, other), ids, strict=True):
        assert set(re.findall(r"url\(#([^)]+)\)", svg)) | set(re.findall(r'href="#([^"]+)"', svg)) <= own


def test_words_are_never_formulas_and_use_the_pages_font() -> None:
    name = "$\\frac{$ <b> & \x00 数"
    svg = draw_accuracy([ModelRow(name, 0.4, 0.1)], styles([name]), name="x", chance=None, tested=None)
    assert name.replace("\x00", "\ufffd") in words(svg)
    assert "DejaVu" not in svg
    assert "var(--ink, #1b2026)" in svg


def test_long_names_leave_room_for_the_picture() -> None:
    name = "a" * 500
    svg = draw_accuracy([ModelRow(name, 0.4, 0.1)], styles([name]), name="x", chance=None, tested=None)
    assert "a" * 21 + "…" in words(svg)
    assert name in svg
    blocks = ((name, 1),)
    assert words(draw_pattern(Pattern("p", np.array([[1]]), blocks, blocks), name="p")) == ["a" * 21 + "…"] * 2
    draw_confusion(np.array([[1]]), (name,), name="m", title=name)
