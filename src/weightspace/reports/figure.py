"""Figures as SVG text: one small function per picture, drawn from plain arrays.

Every figure follows the page's light or dark colours (see :mod:`weightspace.reports.theme`), keeps its words as text,
and carries a title and a description for readers who do not see it. The same input gives the same bytes.
"""

import io
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from weightspace.reports.content import ModelRow, Numbers, Pattern
from weightspace.reports.image import pattern_colours, pattern_pixels
from weightspace.reports.theme import ACCENT, INK, MUTED, PANEL, PAPER, RULE, Style, variable

__all__ = ["STYLE", "blank", "draw_accuracy", "draw_confusion", "draw_lines", "draw_pattern", "printable", "svg"]

STYLE: dict[Any, Any] = {
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "figure.facecolor": "none",
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10,
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "image.composite_image": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "weightspace",
    "text.color": INK,
    # A name with a dollar sign is a name, not a formula.
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 9.5,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 9.5,
}
"""Settings of matplotlib under which every figure is drawn and saved."""

_FONT = "var(--sans, system-ui, sans-serif)"
_MOST_POINTS = 240
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def blank(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure with one pair of axes.

    Args:
        width: in inches.
        height: in inches.

    Example:
        >>> blank(3, 2)[0].get_size_inches().tolist()
        [3.0, 2.0]
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure, figure.add_subplot()


def printable(text: str) -> str:
    r"""The text without control characters and halves of characters, which neither XML nor HTML can hold.

    Example:
        >>> printable("a\x00b")
        'a�b'
    """
    return _UNPRINTABLE.sub("�", text)


def svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The figure as SVG text that stands alone and may be put into a page.

    Args:
        figure: a matplotlib figure, drawn under this module's style.
        name: prefix of all identifiers, unique in the page.
        title: the short name that a screen reader says.
        description: what the figure shows, in a sentence or two.

    Example:
        >>> text = svg(Figure(figsize=(2, 1)), "empty", "Nothing", "An empty figure <with> marks.")
        >>> text.startswith("<svg"), "empty-figure_1" in text, "&lt;with&gt;" in text
        (True, True, True)
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with mpl.rc_context(STYLE), warnings.catch_warnings():
        # The reader's font draws the words; that the measuring font lacks a letter is no concern.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        figure.savefig(buffer, format="svg", metadata=nothing)
    root = ElementTree.fromstring(printable(buffer.getvalue()))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: _attribute(key, value, name) for key, value in element.attrib.items()}
    for metadata in root.findall("metadata"):
        root.remove(metadata)
    root.attrib |= {"xmlns": "http://www.w3.org/2000/svg", "role": "img"}
    root.set("aria-labelledby", f"{name}-title {name}-desc")
    for tag, text in (("desc", description), ("title", title)):
        element = ElementTree.Element(tag, {"id": f"{name}-{tag}"})
        element.text = printable(text)
        root.insert(0, element)
    return ElementTree.tostring(root, encoding="unicode")


def _attribute(key: str, value: str, name: str) -> str:
    """One attribute of matplotlib's SVG with the page's identifiers, colours and font."""
    if key.endswith("href"):
        return f"#{name}-{value[1:]}" if value.startswith("#") else value
    if key == "id":
        return f"{name}-{value}"
    value = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", value)
    if key == "style":
        value = re.sub(r"#[0-9a-fA-F]{6}", lambda match: variable(match.group()), value)
        # Versions of matplotlib differ: some write the family alone, some the shorthand.
        return re.sub(r"(font-family:|font: [^;]*?px) [^;]+", rf"\1 {_FONT}", value)
    return value


def _short(text: str, most: int = 22) -> str:
    """A name that leaves room for the picture beside it."""
    return text if len(text) <= most else text[: most - 1] + "…"


def draw_lines(
    lines: Mapping[str, tuple[Numbers, Numbers]],
    styles: Mapping[str, Style],
    *,
    name: str,
    labels: tuple[str, str],
    share: bool = False,
) -> str:
    """Learning curves of several models in one picture, as SVG text.

    Args:
        lines: model -> what stands along and up; points that are not finite are left out, and a curve of more than
            240 points is drawn through the means of neighbouring ones.
        styles: model -> its style.
        name: prefix of identifiers, unique in the page.
        labels: what the two axes show.
        share: whether the upright axis is a share in [0, 1], written in percent from 0.

    Example:
        >>> from weightspace.reports.theme import styles
        >>> lines = {"NP": ([0, 1, 2], [2.3, 2.0, 1.7])}
        >>> text = draw_lines(lines, styles(lines), name="loss", labels=("steps", "training loss"))
        >>> "training loss" in text
        True
    """
    with mpl.rc_context(STYLE):
        figure, axes = blank(4.6, 3.1)
        for model, (along, up) in lines.items():
            x, y = _thinned(np.asarray(along, dtype=np.float64), np.asarray(up, dtype=np.float64))
            style = styles[model]
            dashes = (0, style.dashes) if style.dashes else "solid"
            axes.plot(x, y, color=style.colour, linewidth=1.9, linestyle=dashes)
            axes.plot(x[-1:], y[-1:], color=style.colour, marker=style.marker, markersize=6, linestyle="none")
        axes.grid(axis="y")
        axes.set(xlabel=labels[0], ylabel=labels[1])
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        if share:
            axes.set_ylim(0, None)
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    finals = ", ".join(f"{model} ends at {_last(up, share)}" for model, (_, up) in lines.items())
    return svg(figure, name, f"{labels[1]} over {labels[0]}", f"One line per model: {finals}.")


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    if len(x) <= _MOST_POINTS:
        return x, y
    parts = np.array_split(np.arange(len(x)), _MOST_POINTS)
    return np.array([x[part].mean() for part in parts]), np.array([y[part].mean() for part in parts])


def _last(values: Numbers, share: bool) -> str:
    finite = [value for value in np.asarray(values, dtype=np.float64) if np.isfinite(value)]
    if not finite:
        return "no measured value"
    return f"{100 * finite[-1]:.1f} %" if share else f"{finite[-1]:.3g}"


def draw_confusion(counts: np.ndarray, classes: Sequence[str], *, name: str, title: str) -> str:
    """A confusion matrix as SVG text: the fuller a cell, the larger its share of the row; numbers are counts.

    Shapes:
        counts: ``(classes, classes)``, row = truth, column = answer.

    Args:
        counts: how often each class was given each answer.
        classes: names of the classes, in order.
        name: prefix of identifiers, unique in the page.
        title: the model.

    Example:
        >>> "truth" in draw_confusion(np.eye(2, dtype=int), ("0", "1"), name="np", title="NP")
        True
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size, names = len(counts), [_short(text, 12) for text in classes]
    with mpl.rc_context(STYLE):
        figure, axes = blank(3.9, 3.8)
        for (row, column), share in np.ndenumerate(shares):
            corner = (column - 0.47, row - 0.47)
            axes.add_patch(Rectangle(corner, 0.94, 0.94, facecolor=ACCENT, alpha=float(share), linewidth=0))
            if counts[row, column]:
                ink = PAPER if share > 0.6 else INK
                count = f"{counts[row, column]}"
                axes.text(column, row, count, color=ink, ha="center", va="center_baseline", size=8.5)
        axes.set(xlim=(-0.6, size - 0.4), ylim=(size - 0.4, -0.6), aspect="equal", xlabel="answer", ylabel="truth")
        axes.set_xticks(range(size), names)
        axes.set_yticks(range(size), names)
        axes.tick_params(length=0)
        if max(map(len, names), default=0) > 2:
            axes.tick_params(axis="x", labelrotation=90)
        axes.spines[:].set_visible(False)
        axes.set_facecolor(PANEL)
    right = int(np.trace(counts))
    return svg(figure, name, f"Confusion matrix of {title}", f"{right} of {int(counts.sum())} answers are right.")


def draw_accuracy(
    rows: Sequence[ModelRow], styles: Mapping[str, Style], *, name: str, chance: float | None, tested: int | None
) -> str:
    """Test accuracy before and after the symmetry, one line per model, as SVG text.

    A ring is the accuracy before, a full dot the accuracy after; the thin line is the 95 % interval of the latter
    (Wilson's interval of a share among ``tested`` networks).

    Args:
        rows: models; those without both accuracies are left out.
        styles: model -> its style.
        name: prefix of identifiers, unique in the page.
        chance: share of a guess, drawn as a dashed line; None draws none.
        tested: number of test networks; None draws no interval.

    Example:
        >>> from weightspace.reports.theme import styles
        >>> rows = [ModelRow("NP", accuracy=0.3, accuracy_after=0.2)]
        >>> "30.0" in draw_accuracy(rows, styles(["NP"]), name="change", chance=0.1, tested=200)
        True
    """
    measured = [(row.model, *row.measured) for row in rows if row.measured]
    with mpl.rc_context(STYLE):
        figure, axes = blank(4.9, 0.85 + 0.48 * len(measured))
        if chance is not None:
            axes.axvline(chance, color=MUTED, linewidth=1, linestyle=(0, (3, 3)), zorder=1)
            axes.annotate("chance", (chance, -0.6), xytext=(4, 0), textcoords="offset points", color=MUTED, size=9)
        for line, (model, before, after) in enumerate(measured):
            _dumbbell(axes, line, (before, after), styles[model].colour, tested)
        axes.set(ylim=(len(measured) - 0.45, -0.8), xlabel="test accuracy")
        # Room for the numbers that stand to the right of the marks.
        reach = max([0.1, *(_reach(before, after, tested) for _, before, after in measured)])
        axes.set_xlim(0, 1.42 * reach)
        ticks = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(0, 1.2 * reach)
        axes.set_xticks([tick for tick in ticks if 0 <= tick <= min(1, 1.42 * reach)])
        axes.set_yticks(range(len(measured)), [_short(model) for model, _, _ in measured])
        axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
        axes.tick_params(axis="y", length=0, labelsize=10.5)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
    told = [f"{model} {100 * before:.1f} % before, {100 * after:.1f} % after" for model, before, after in measured]
    return svg(figure, name, "Test accuracy before and after the symmetry", f"{'; '.join(told)}.")


def _dumbbell(axes: Axes, line: int, shares: tuple[float, float], colour: str, tested: int | None) -> None:
    before, after = shares
    if tested:
        axes.plot(_wilson(after, tested), [line, line], color=colour, linewidth=1.2, alpha=0.7, zorder=2)
    axes.plot(shares, [line, line], color=colour, linewidth=4, alpha=0.35, solid_capstyle="butt", zorder=2)
    axes.plot([before], [line], "o", markersize=12, markerfacecolor=PAPER, markeredgecolor=colour, markeredgewidth=1.8)
    axes.plot([after], [line], "o", markersize=6.5, color=colour, zorder=4)
    text = f"{100 * before:.1f} → {100 * after:.1f} %"
    right = (_reach(before, after, tested), line)
    axes.annotate(text, right, xytext=(11, 0), textcoords="offset points", size=9.5, va="center_baseline")


def _reach(before: float, after: float, tested: int | None) -> float:
    """The right end of a model's marks."""
    return max(before, after, _wilson(after, tested)[1] if tested else 0.0)


def _wilson(share: float, count: int, z: float = 1.96) -> tuple[float, float]:
    """The interval of a share measured on ``count`` cases (Probable inference, Wilson 1927)."""
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * float(np.sqrt(share * (1 - share) / count + z * z / (4 * count**2)))
    return max(0.0, centre - half), min(1.0, centre + half)


def draw_pattern(pattern: Pattern, *, name: str) -> str:
    """The tied entries of a layer as SVG text: one colour is one parameter within each block.

    Blank entries are structural zeros; a gap in an entry is a minus sign. Lines stand between parameter blocks.

    Args:
        pattern: the integer matrix with its blocks.
        name: prefix of identifiers, unique in the page.

    Example:
        >>> pattern = Pattern("tied", np.array([[1, -1], [0, 2]]), (("a", 1), ("b", 1)), (("c", 2),))
        >>> "2 parameters" in draw_pattern(pattern, name="small")
        True
    """
    rows, columns = pattern.matrix.shape
    sizes = [[size for _, size in blocks] for blocks in (pattern.row_blocks, pattern.column_blocks)]
    colours = pattern_colours(pattern.matrix, *sizes)
    pixels = pattern_pixels(pattern.matrix, colours, cell=max(1, 900 // max(rows, columns, 1)))
    with mpl.rc_context(STYLE):
        figure, axes = blank(4.5, 4.5)
        axes.set_facecolor(PANEL)
        axes.imshow(pixels, extent=(0, columns, rows, 0), interpolation="none", zorder=2)
        for edge in np.cumsum([0, *sizes[0]]):
            axes.axhline(edge, color=MUTED, linewidth=0.7, zorder=3)
        for edge in np.cumsum([0, *sizes[1]]):
            axes.axvline(edge, color=MUTED, linewidth=0.7, zorder=3)
        _name_blocks(axes, pattern.row_blocks, rows, upright=True)
        _name_blocks(axes, pattern.column_blocks, columns, upright=False)
        axes.set(xlim=(0, columns), ylim=(rows, 0), xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    told = (
        f"A matrix of {rows} by {columns} entries with {pattern.count:,} parameters; "
        f"{100 * pattern.filled:.1f} % of the entries are not structural zeros."
    )
    return svg(figure, name, pattern.title, told)


def _name_blocks(axes: Axes, blocks: Sequence[tuple[str, int]], length: int, *, upright: bool) -> None:
    """Write the names of blocks beside a matrix, pushed apart where blocks are narrow, with a line to each."""
    edges = np.cumsum([0, *(size for _, size in blocks)])
    centres = (edges[:-1] + edges[1:]) / 2
    for (label, _), centre, place in zip(blocks, centres, _apart(centres, length * 0.05, length), strict=True):
        near, far = -0.012 * length, -0.045 * length
        ends = ([far, near], [place, centre]) if upright else ([place, centre], [far, near])
        axes.plot(*ends, color=MUTED, linewidth=0.7, clip_on=False)
        if upright:
            axes.text(far * 1.2, place, _short(label), ha="right", va="center", size=9.5)
        else:
            axes.text(place, far * 1.2, _short(label), ha="center", va="bottom", rotation=90, size=9.5)


def _apart(centres: np.ndarray, gap: float, length: float) -> np.ndarray:
    """Places near the centres, in order, at least a gap apart and inside the length where they fit."""
    places = centres.astype(np.float64).copy()
    for index in range(1, len(places)):
        places[index] = max(places[index], places[index - 1] + gap)
    if len(places) and places[-1] > length - gap / 2:
        places[-1] = length - gap / 2
        for index in range(len(places) - 2, -1, -1):
            places[index] = min(places[index], places[index + 1] - gap)
    return places
