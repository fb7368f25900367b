"""The picture of the demo of editing: networks' images before an edit, after it, and what they were to become."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from weightspace.errors import ShapeError

__all__ = ["draw_editing"]

_NO_SOFTWARE: dict[Any, Any] = {"Software": None}
_WIDTH, _DOTS = 9.0, 100
Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


def draw_editing(shown: Columns, titles: Sequence[str], photo: Columns | None = None) -> bytes:
    """A PNG: a column of three images for each network, and below, side by side, the three of a photo.

    Shapes:
        shown: three of ``(n, height, width)`` or ``(n, height, width, 3)``; photo: three of ``(height, width[, 3])``.

    Args:
        shown: images before, after, and to be, from 0 to 1.
        titles: of these three.
        photo: the same for one photo.

    Raises:
        ShapeError: images of different shapes, or other than three titles.

    Example:
        >>> images = np.zeros((2, 4, 4))
        >>> draw_editing((images, images, images), ("before", "after", "aim"))[1:4]
        b'PNG'
    """
    for three in (shown, photo) if photo is not None else (shown,):
        if len({images.shape for images in three}) != 1:
            raise ShapeError(f"images have the shapes {[images.shape for images in three]}; expected the same.")
    if len(titles) != 3:
        raise ShapeError(f"{len(titles)} titles; expected three.")
    count = len(shown[0])
    above, below = 3 * _WIDTH / max(count, 1), 0.0 if photo is None else _WIDTH / 3
    figure = Figure(figsize=(_WIDTH, above + below + 0.2), dpi=_DOTS, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    heights = [above] if photo is None else [above, below]
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)
    _draw_networks(parts[0, 0], shown, titles)
    if photo is not None:
        for axes, image, title in zip(parts[1, 0].subplots(1, 3), photo, titles, strict=True):
            _draw(axes, image)
            axes.set_title(title, fontsize=10)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata=_NO_SOFTWARE, pil_kwargs={"optimize": True})
    return buffer.getvalue()


def _draw_networks(part: Any, shown: Columns, titles: Sequence[str]) -> None:
    grid = part.subplots(3, len(shown[0]), squeeze=False)
    for row, images, title in zip(grid, shown, titles, strict=True):
        for axes, image in zip(row, images, strict=True):
            _draw(axes, image)
        row[0].set_ylabel(title, fontsize=9)


def _draw(axes: Axes, image: np.ndarray) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    for side in axes.spines.values():
        side.set_visible(False)
