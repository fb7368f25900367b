"""Arrays as PNG pictures inside the page (data URIs), for pictures, weights and patterns."""

import base64
import colorsys
import io
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.image import imsave

from weightspace.errors import ShapeError

__all__ = ["moved", "pattern_colours", "pattern_pixels", "picture_uri", "png_uri", "signed_uri"]

# Middle lightness: both signs must read on white and on black, since zero is transparent.
_POSITIVE, _NEGATIVE, _MARK = (224, 122, 20), (48, 128, 204), (140, 148, 158)
_NO_TEXT: dict[Any, Any] = {"Software": None}
# Okabe and Ito, with the yellow darkened and three more of middle lightness.
_TIED = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#a99a00", "#8c6bb1", "#8a8f98", "#9c5a2e")


def png_uri(pixels: np.ndarray) -> str:
    """A PNG data URI of colours.

    Shapes:
        pixels: ``(height, width, 3 or 4)`` uint8.

    Raises:
        ShapeError: not such an array.

    Example:
        >>> png_uri(np.zeros((2, 2, 3), dtype=np.uint8))[:22]
        'data:image/png;base64,'
    """
    if pixels.ndim != 3 or pixels.shape[-1] not in (3, 4) or pixels.dtype != np.uint8:
        raise ShapeError(f"pixels are {pixels.shape} {pixels.dtype}; expected (height, width, 3 or 4) uint8")
    buffer = io.BytesIO()
    # No name of the software inside: the same picture gives the same bytes with every version.
    imsave(buffer, pixels, format="png", metadata=_NO_TEXT, pil_kwargs={"optimize": True})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def picture_uri(image: np.ndarray) -> str:
    """A PNG data URI of a grey or coloured picture.

    Shapes:
        image: ``(height, width)`` or ``(height, width, 3)``; uint8, or floats in [0, 1] (clipped).

    Example:
        >>> picture_uri(np.zeros((4, 4))) == picture_uri(np.zeros((4, 4, 3), dtype=np.uint8))
        True
    """
    if image.dtype != np.uint8:
        image = np.round(np.clip(np.nan_to_num(image.astype(np.float64)), 0, 1) * 255).astype(np.uint8)
    return png_uri(np.repeat(image[..., None], 3, axis=-1) if image.ndim == 2 else image)


def signed_uri(matrix: np.ndarray, bound: float, *, moved_from: np.ndarray | None = None) -> str:
    """A PNG data URI of a weight matrix: orange above zero, blue below, the more opaque the larger.

    Shapes:
        matrix, moved_from: ``(rows, columns)``. The picture has one pixel per entry, and two more on the left and on
        top, where grey marks stand at the rows and columns that moved.

    Args:
        matrix: the weights.
        bound: absolute value that is drawn fully opaque; larger ones are clipped.
        moved_from: the weights one step earlier; None marks nothing.

    Example:
        >>> signed_uri(np.eye(3), 1.0) == signed_uri(-np.eye(3), 1.0)
        False
    """
    strength = np.clip(np.nan_to_num(np.abs(matrix)) / (bound or 1.0), 0, 1)
    colours = np.where((matrix >= 0)[..., None], np.array(_POSITIVE), np.array(_NEGATIVE))
    pixels = np.zeros((matrix.shape[0] + 2, matrix.shape[1] + 2, 4), dtype=np.uint8)
    pixels[2:, 2:] = np.dstack([colours, np.round(strength * 255)]).astype(np.uint8)
    if moved_from is not None:
        rows, columns = moved(moved_from, matrix)
        pixels[2 + rows, 0] = pixels[0, 2 + columns] = (*_MARK, 255)
    return png_uri(pixels)


def moved(before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of a weight matrix that changed in more than half of their entries.

    Example:
        >>> before = np.arange(12.0).reshape(3, 4)
        >>> [part.tolist() for part in moved(before, before[[1, 0, 2]])]
        [[0, 1], []]
    """
    # A column of three loses two entries when two of three rows change places, and did not move itself: if a few rows
    # (or a few columns) explain every change, only they count.
    changed = before != after
    rows = np.flatnonzero(changed.mean(axis=1) > 0.5)
    columns = np.flatnonzero(changed.mean(axis=0) > 0.5)
    if 0 < len(rows) < len(before) and not np.delete(changed, rows, axis=0).any():
        return rows, columns[:0]
    if 0 < len(columns) < before.shape[1] and not np.delete(changed, columns, axis=1).any():
        return rows[:0], columns
    return rows, columns


def pattern_colours(matrix: np.ndarray, row_sizes: Sequence[int], column_sizes: Sequence[int]) -> dict[int, str]:
    """A colour per tied parameter, such that no two parameters of one block share it while the palette lasts.

    A layer has far more parameters than there are colours that an eye tells apart, but few in each block; so a colour
    may return in another block. Beyond ten in one block, further hues are made.

    Shapes:
        matrix: ``(rows, columns)`` integers as in :class:`weightspace.reports.Pattern`.

    Args:
        matrix: the pattern.
        row_sizes: sizes of the blocks of rows.
        column_sizes: sizes of the blocks of columns.

    Example:
        >>> colours = pattern_colours(np.array([[1, 2], [3, 0]]), (1, 1), (2,))
        >>> colours[1] != colours[2], colours[1] == colours[3]
        (True, True)
    """
    together: dict[int, set[int]] = {}
    for rows in _spans(row_sizes):
        for columns in _spans(column_sizes):
            present = [int(number) for number in np.setdiff1d(np.abs(matrix[rows, columns]), [0])]
            for number in present:
                together.setdefault(number, set()).update(present)
    chosen: dict[int, int] = {}
    for number in sorted(together):
        taken = {chosen[other] for other in together[number] if other in chosen}
        chosen[number] = next(index for index in range(len(taken) + 1) if index not in taken)
    return {number: _hue(index) for number, index in chosen.items()}


def _spans(sizes: Sequence[int]) -> list[slice]:
    return [slice(int(a), int(b)) for a, b in pairwise(np.concatenate([[0], np.cumsum(sizes)]))]


def _hue(index: int) -> str:
    if index < len(_TIED):
        return _TIED[index]
    # Steps of the golden angle keep neighbours apart; three lightnesses help where hues crowd.
    red, green, blue = colorsys.hls_to_rgb(index * 0.618034 % 1, (0.42, 0.54, 0.66)[index % 3], 0.55)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def pattern_pixels(matrix: np.ndarray, colours: dict[int, str], cell: int) -> np.ndarray:
    """The pattern as colours: zero is transparent, an entry with a minus sign has a gap like a minus sign.

    Shapes:
        matrix: ``(rows, columns)``; returns ``(rows * cell, columns * cell, 4)`` uint8.

    Args:
        matrix: the pattern.
        colours: colour of each parameter, as ``#rrggbb``.
        cell: side of an entry in pixels; from five on, the minus sign is drawn.

    Example:
        >>> pattern_pixels(np.array([[0, 1]]), {1: "#ff0000"}, cell=1).tolist()
        [[[0, 0, 0, 0], [255, 0, 0, 255]]]
    """
    palette = np.zeros((int(np.abs(matrix).max(initial=0)) + 1, 4), dtype=np.uint8)
    for number, colour in colours.items():
        palette[number] = (*bytes.fromhex(colour[1:]), 255)
    pixels = palette[np.abs(matrix)].repeat(cell, axis=0).repeat(cell, axis=1)
    if cell >= 5:
        sign = np.zeros((cell, cell), dtype=bool)
        thick = max(1, cell // 6)
        top = (cell - thick) // 2
        sign[top : top + thick, cell // 4 : cell - cell // 4] = True
        pixels[np.kron(matrix < 0, sign)] = 0
    return pixels
