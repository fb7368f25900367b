"""How alike the stages of models are, as a picture."""

from collections.abc import Sequence
from itertools import groupby

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from weightspace.reports.figure import STYLE, _short, blank, svg
from weightspace.reports.theme import ACCENT, INK, MUTED, PANEL, PAPER

__all__ = ["draw_similarity"]

_MOST_NUMBERS = 14
"""Rows up to which each cell has its number in it."""


def draw_similarity(matrix: np.ndarray, stages: Sequence[tuple[str, str]], *, name: str, title: str) -> str:
    """Alignments of the stages of models as SVG text: the fuller a cell, the more alike, full at 1.

    Lines part the models, whose names stand above. What was not measured (nan) is left empty with a dot; estimates
    below 0 are drawn as 0.

    Shapes:
        matrix: ``(stages, stages)``.

    Args:
        matrix: of alignments, such as ``Similarities.matrix``.
        stages: model and stage of each row, models in one piece.
        name: prefix of identifiers, unique in the page.
        title: what is compared, in a few words.

    Raises:
        ValueError: a matrix of another shape.

    Example:
        >>> stages = [("NP", "pool"), ("NP", "head")]
        >>> text = draw_similarity(np.array([[1.0, 0.25], [0.25, 1.0]]), stages, name="cka", title="NP")
        >>> "pool" in text, "0.25" in text
        (True, True)
    """
    count = len(stages)
    if matrix.shape != (count, count) or not count:
        raise ValueError(f"matrix of shape {matrix.shape} for {count} stages; expected ({count}, {count}).")
    side = 1.6 + max(2.2, min(8.0, 0.36 * count))
    with mpl.rc_context(STYLE):
        figure, axes = blank(side, side)
        for (row, column), value in np.ndenumerate(matrix):
            _cell(axes, row, column, float(value), told=count <= _MOST_NUMBERS)
        _parts(axes, [model for model, _ in stages])
        names = [_short(stage, 16) for _, stage in stages]
        axes.set(xlim=(-0.6, count - 0.4), ylim=(count - 0.4, -0.6), aspect="equal")
        axes.set_xticks(range(count), names, rotation=90)
        axes.set_yticks(range(count), names)
        axes.tick_params(length=0, labelsize=9.5 if count <= _MOST_NUMBERS else 7)
        axes.spines[:].set_visible(False)
        axes.set_facecolor(PANEL)
    return svg(figure, name, f"Similarity of {title}", _description(matrix, stages))


def _cell(axes: Axes, row: int, column: int, value: float, *, told: bool) -> None:
    if np.isnan(value):
        axes.plot([column], [row], ".", color=MUTED, markersize=3)
        return
    share = min(1.0, max(0.0, value))
    axes.add_patch(Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, facecolor=ACCENT, alpha=share, linewidth=0))
    if told:
        ink = PAPER if share > 0.6 else INK
        axes.text(column, row, f"{value:.2f}", color=ink, ha="center", va="center_baseline", size=7.5)


def _parts(axes: Axes, models: Sequence[str]) -> None:
    """Lines between models, and their names above and to the right."""
    start = 0
    for model, stages in groupby(models):
        end = start + len(list(stages))
        if start:
            axes.axvline(start - 0.5, color=INK, linewidth=1)
            axes.axhline(start - 0.5, color=INK, linewidth=1)
        middle = (start + end - 1) / 2
        shown = _short(model)
        axes.text(middle, -0.75, shown, ha="left" if len(shown) > 4 * (end - start) else "center", va="bottom",
                  rotation=30 if len(shown) > 4 * (end - start) else 0, size=10)  # fmt: skip
        start = end


def _description(matrix: np.ndarray, stages: Sequence[tuple[str, str]]) -> str:
    """The pair of different models' stages that are most alike, for readers who do not see the picture."""
    pairs = [
        (float(matrix[i, j]), i, j)
        for i, (one, _) in enumerate(stages)
        for j, (other, _) in enumerate(stages[:i])
        if one != other and not np.isnan(matrix[i, j])
    ]
    told = f"{len(stages)} stages of {len({model for model, _ in stages})} models"
    if not pairs:
        return f"{told}."
    value, i, j = max(pairs)
    return f"{told}; of different models {' '.join(stages[i])} and {' '.join(stages[j])} are most alike, {value:.2f}."
