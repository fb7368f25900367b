"""Pictures, weights and patterns as pixels."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from weightspace.errors import ShapeError
from weightspace.reports.image import moved, pattern_colours, pattern_pixels, picture_uri, png_uri, signed_uri


def decoded(uri: str) -> np.ndarray:
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.round(imread(io.BytesIO(base64.b64decode(body))) * 255).astype(int)


def test_pictures_come_back_pixel_for_pixel() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8)
    colour = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decoded(picture_uri(grey))[..., :3], np.repeat(grey[..., None], 3, -1))
    np.testing.assert_array_equal(decoded(picture_uri(colour))[..., :3], colour)
    np.testing.assert_array_equal(decoded(picture_uri(grey / 255))[..., 0], grey)


def test_pictures_are_clipped_not_wrapped() -> None:
    np.testing.assert_array_equal(decoded(picture_uri(np.array([[-0.5, 1.5, np.nan]])))[..., 0], [[0, 255, 0]])


def test_other_arrays_are_refused() -> None:
    with pytest.raises(ShapeError, match="height, width"):
        png_uri(np.zeros((3, 3), dtype=np.uint8))
    with pytest.raises(ShapeError, match="float64"):
        png_uri(np.zeros((3, 3, 3)))


def test_sign_is_hue_and_size_is_opacity() -> None:
    pixels = decoded(signed_uri(np.array([[1.0, -1.0], [0.0, 0.5]]), bound=1.0))[2:, 2:]
    red, blue, opacity = pixels[..., 0], pixels[..., 2], pixels[..., 3]
    assert red[0, 0] > blue[0, 0]
    assert red[0, 1] < blue[0, 1]
    np.testing.assert_array_equal(opacity, [[255, 255], [0, 128]])


def test_zero_weights_have_no_scale() -> None:
    assert (decoded(signed_uri(np.zeros((2, 2)), bound=0.0))[..., 3] == 0).all()


WALK = np.random.default_rng(0).normal(size=(8, 9))


@pytest.mark.parametrize(
    ("after", "rows", "columns"),
    [
        (WALK, [], []),
        (WALK[[1, 0, *range(2, 8)]], [0, 1], []),
        (WALK[:, [0, 4, 2, 3, 1, 5, 6, 7, 8]], [], [1, 4]),
        (WALK * np.where(np.arange(8) == 3, -1, 1)[:, None], [3], []),
        (WALK[[1, 0, *range(2, 8)]][:, [1, 0, *range(2, 9)]], [0, 1], [0, 1]),
        (-WALK, list(range(8)), list(range(9))),
    ],
)
def test_marks_stand_at_what_moved(after: np.ndarray, rows: list[int], columns: list[int]) -> None:
    found = moved(WALK, after)
    assert [part.tolist() for part in found] == [rows, columns]
    pixels = decoded(signed_uri(after, 1.0, moved_from=WALK))
    assert np.flatnonzero(pixels[2:, 0, 3]).tolist() == rows
    assert np.flatnonzero(pixels[0, 2:, 3]).tolist() == columns


def slow_pixels(matrix: np.ndarray, colours: dict[int, str]) -> np.ndarray:
    """One entry at a time."""
    pixels = np.zeros((*matrix.shape, 4), dtype=np.uint8)
    for place, number in np.ndenumerate(matrix):
        if number:
            colour = colours[abs(int(number))]
            pixels[place] = [int(colour[i : i + 2], 16) for i in (1, 3, 5)] + [255]
    return pixels


@st.composite
def blocked_patterns(draw: st.DrawFn) -> tuple[np.ndarray, list[int], list[int]]:
    sizes = st.lists(st.integers(1, 4), min_size=1, max_size=3)
    rows, columns = draw(sizes), draw(sizes)
    values = st.integers(-14, 14)
    entries = draw(st.lists(values, min_size=sum(rows) * sum(columns), max_size=sum(rows) * sum(columns)))
    return np.array(entries).reshape(sum(rows), sum(columns)), rows, columns


def clashes(matrix: np.ndarray, rows: list[int], columns: list[int], colours: dict[int, str]) -> int:
    """Pairs of parameters of one block with one colour."""
    count = 0
    row_edges, column_edges = np.cumsum([0, *rows]), np.cumsum([0, *columns])
    for top, bottom in zip(row_edges[:-1], row_edges[1:], strict=True):
        for left, right in zip(column_edges[:-1], column_edges[1:], strict=True):
            present = {abs(int(number)) for number in matrix[top:bottom, left:right].flat if number}
            count += len(present) - len({colours[number] for number in present})
    return count


@given(blocked_patterns())
def test_pattern_equals_the_slow_one_and_tells_parameters_apart(case: tuple[np.ndarray, list[int], list[int]]) -> None:
    matrix, rows, columns = case
    colours = pattern_colours(matrix, rows, columns)
    assert set(colours) == {abs(int(number)) for number in matrix.flat if number}
    assert clashes(matrix, rows, columns, colours) == 0
    np.testing.assert_array_equal(pattern_pixels(matrix, colours, cell=1), slow_pixels(matrix, colours))
    np.testing.assert_array_equal(
        pattern_pixels(np.abs(matrix), colours, cell=6)[::6, ::6], slow_pixels(matrix, colours)
    )


def test_one_colour_for_all_would_be_caught() -> None:
    matrix = np.array([[1, 2]])
    assert clashes(matrix, [1], [2], {1: "#000000", 2: "#000000"}) == 1


def test_minus_is_a_gap_only_in_negative_entries() -> None:
    pixels = pattern_pixels(np.array([[1, -1]]), {1: "#ff0000"}, cell=12)
    assert (pixels[:, :12, 3] == 255).all()
    gap = pixels[:, 12:, 3] == 0
    assert gap[5:7, 3:9].all()
    assert gap.sum() == 2 * 6
