"""Figures of a table as SVG files: scores, robustness, cost and learning curves, from plain numbers."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from textwrap import fill
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import (
    FixedLocator,
    FuncFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    PercentFormatter,
)

from weightspace.experiments.bench.number import written
from weightspace.experiments.bench.table import TRACKS
from weightspace.reports.figure import STYLE, blank, svg
from weightspace.reports.theme import INK, MUTED, PAPER, Style

__all__ = ["Along", "Mark", "Scale", "Trace", "draw_cost", "draw_scores", "draw_traces"]

_PANELS = (("seconds", "seconds of a run"), ("step", "ms per step, alone"), ("parameters", "parameters"))
_VARIABLE = re.compile(r"var\(--[\w-]+, ([^()]*)\)")


@dataclass(frozen=True)
class Scale:
    """How a measure is shown.

    Args:
        name: of the measure.
        higher: whether more is better.
    """

    name: str
    higher: bool

    @property
    def label(self) -> str:
        """What stands beside the axis."""
        return f"{self.name} ({'higher' if self.higher else 'lower'} is better)"

    def dress(self, axis: Any) -> None:
        """Put ticks on an axis of this measure."""
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        if self.name == "accuracy":
            axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))


@dataclass(frozen=True)
class Mark:
    """One row of a table: its score with its range, and what it took.

    Args:
        name: the row.
        track: the heading under which it stands.
        score: lowest, median and highest; None where no run finished.
        published: the number in print.
        seconds: of a run.
        parameters: that are trained.
        step: milliseconds of a step of training, measured with nothing beside it.
    """

    name: str
    track: str
    score: tuple[float, float, float] | None
    published: float | None = None
    seconds: float | None = None
    parameters: int | None = None
    step: float | None = None


@dataclass(frozen=True)
class Trace:
    """One line of a figure: medians with their ranges.

    Args:
        along: where each point stands.
        middle: the median of each.
        low: the lowest of each.
        high: the highest of each.
    """

    along: Sequence[float]
    middle: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


@dataclass(frozen=True)
class Along:
    """The lower axis of lines.

    Args:
        label: what stands under it.
        ticks: names of the places 0, 1, 2, ... on it; none for numbers.
        log: whether it is logarithmic.
        marked: whether every point has its marker, not only the last one.
    """

    label: str
    ticks: Sequence[str] = ()
    log: bool = False
    marked: bool = True


def draw_scores(marks: Sequence[Mark], styles: Mapping[str, Style], scale: Scale, *, name: str) -> str:
    """The score of each row with its range over runs, and the number in print as a hollow diamond, track by track.

    Args:
        marks: the rows, those of a track beside each other.
        styles: row -> its style.
        scale: of the measure.
        name: prefix of identifiers.

    Example:
        >>> from weightspace.reports.bench.style import bench_styles
        >>> mark = Mark("NP", "weights only", (0.7, 0.75, 0.8), published=0.785)
        >>> "weights only" in draw_scores([mark], bench_styles(["NP"]), Scale("accuracy", True), name="scores")
        True
    """
    lines = _lines(marks)
    with mpl.rc_context(STYLE):
        figure, axes = blank(7.2, 0.9 + 0.3 * len(lines))
        figure.patch.set_facecolor(PAPER)
        for place, line in enumerate(lines):
            if isinstance(line, str):
                # In the column of names: left of the axis and as wide as they are.
                continue
            _score(axes, place, line, styles[line.name])
        axes.set_yticks(range(len(lines)), [line if isinstance(line, str) else line.name for line in lines])
        for label, line in zip(axes.get_yticklabels(), lines, strict=True):
            label.set(
                color=MUTED if isinstance(line, str) else INK, style="italic" if isinstance(line, str) else "normal"
            )
        axes.set(ylim=(len(lines) - 0.4, -0.6), xlabel=scale.label)
        axes.margins(x=0.06)
        scale.dress(axes.xaxis)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        if any(mark.published is not None for mark in marks):
            _legend(figure, [(_hollow(), "in print", "")], below=True)
    told = "; ".join(f"{m.name} {written(scale.name, m.score[1])}" for m in marks if m.score is not None)
    return _alone(svg(figure, name, f"{scale.name} of each row", f"Medians over runs: {told or 'none'}."))


def _lines(marks: Sequence[Mark]) -> list[Mark | str]:
    """The rows with a heading before each track, or none where there is one track."""
    tracks = list(dict.fromkeys(mark.track for mark in marks))
    if len(tracks) < 2:
        return list(marks)
    lines: list[Mark | str] = []
    for track in tracks:
        lines += [track, *(mark for mark in marks if mark.track == track)]
    return lines


def _score(axes: Axes, place: int, mark: Mark, style: Style) -> None:
    if mark.published is not None:
        # Beside the line, so that neither mark hides the other.
        axes.plot([mark.published], [place + 0.22], "D", markersize=5.5, mfc=PAPER, mec=MUTED, mew=1.3, zorder=3)
    if mark.score is None:
        axes.annotate(
            "no finished run", (0.01, place), xycoords=("axes fraction", "data"), color=MUTED, size=9, va="center"
        )
        return
    low, middle, high = mark.score
    axes.plot([low, high], [place, place], color=style.colour, linewidth=3.2, alpha=0.45, solid_capstyle="round")
    axes.plot([middle], [place], style.marker, color=style.colour, markersize=7, zorder=4)


def draw_traces(
    traces: Mapping[str, Trace],
    styles: Mapping[str, Style],
    scale: Scale,
    *,
    name: str,
    title: str,
    along: Along,
    tracks: Mapping[str, str],
) -> str:
    """Scores along something, one line per model through the medians, with the range over runs as a band.

    Args:
        traces: model -> its points.
        styles: model -> its style.
        scale: of the measure.
        name: prefix of identifiers.
        title: what is shown, for readers who do not see it.
        along: the lower axis.
        tracks: model -> the heading under which it stands beside the figure.

    Example:
        >>> from weightspace.reports.bench.style import bench_styles
        >>> trace = Trace([100, 1000], [0.5, 0.6], [0.4, 0.6], [0.5, 0.7])
        >>> scale, along = Scale("tau", True), Along("networks", log=True)
        >>> drawn = draw_traces({"NP": trace}, bench_styles(["NP"]), scale, name="n", title="t", along=along, tracks={})
        >>> "networks" in drawn
        True
    """
    headings = _ordered(tracks.get(model, "") for model in traces)
    with mpl.rc_context(STYLE):
        size = (3.0 + 2.1 * len(headings) + 3.2, max(3.6, 0.9 + 0.24 * (len(traces) + len(headings))))
        figure = Figure(figsize=size, layout="constrained", facecolor=PAPER)
        row = figure.subplots(1, len(headings), sharey=True, squeeze=False)[0]
        for axes, heading in zip(row, headings, strict=True):
            part = {model: trace for model, trace in traces.items() if tracks.get(model, "") == heading}
            _traced(axes, part, styles, along, crowded=len(headings) > 1)
            if len(headings) > 1:
                axes.set_title(fill(heading, 26), size=9.5, style="italic", color=MUTED)
        row[0].set_ylabel(scale.label)
        scale.dress(row[0].yaxis)
        # In the order in which the lines end, so that a name is found beside its line.
        order = sorted(traces, key=lambda model: -traces[model].middle[-1])
        entries = [(Line2D([], [], **_drawn(styles[model])), model, tracks.get(model, "")) for model in order]
        _legend(figure, entries)
    told = "; ".join(f"{model} ends at {written(scale.name, trace.middle[-1])}" for model, trace in traces.items())
    return _alone(svg(figure, name, title, f"{told}."))


def _traced(
    axes: Axes, traces: Mapping[str, Trace], styles: Mapping[str, Style], along: Along, *, crowded: bool
) -> None:
    """The lines of one track."""
    for model, trace in traces.items():
        style = styles[model]
        axes.fill_between(trace.along, trace.low, trace.high, color=style.colour, alpha=0.14, linewidth=0)
        every = None if along.marked else [len(trace.along) - 1]
        axes.plot(trace.along, trace.middle, markevery=every, **_drawn(style))
    axes.set(xlabel=along.label)
    if along.ticks:
        slanted = crowded or len(along.ticks) > 4
        turned: dict[str, Any] = {"rotation": 35, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
        axes.set_xticks(range(len(along.ticks)), [t if slanted else fill(t, 12) for t in along.ticks], **turned)
        axes.set_xlim(-0.15, len(along.ticks) - 0.85)
    elif along.log:
        _log(axes, [place for trace in traces.values() for place in trace.along])
    else:
        axes.xaxis.set_major_locator(MaxNLocator(3 if crowded else 6, steps=[1, 2, 5, 10]))
    axes.grid(axis="y")
    axes.set_axisbelow(True)


def draw_cost(marks: Sequence[Mark], styles: Mapping[str, Style], scale: Scale, *, name: str) -> str:
    """Scores against seconds of a run, time of a step and parameters, all logarithmic.

    Args:
        marks: the rows; those without a score are left out.
        styles: row -> its style.
        scale: of the measure.
        name: prefix of identifiers.

    Example:
        >>> from weightspace.reports.bench.style import bench_styles
        >>> mark = Mark("NP", "", (0.7, 0.75, 0.8), seconds=30.0, parameters=1000)
        >>> "seconds of a run" in draw_cost([mark], bench_styles(["NP"]), Scale("accuracy", True), name="cost")
        True
    """
    shown = [(mark, mark.score) for mark in marks if mark.score is not None]
    panels = [panel for panel in _PANELS if any(getattr(mark, panel[0]) for mark, _ in shown)]
    with mpl.rc_context(STYLE):
        size = (2.9 * len(panels) + 2.9, max(3.4, 0.8 + 0.24 * len(shown)))
        figure = Figure(figsize=size, layout="constrained", facecolor=PAPER)
        row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (of, label) in zip(row, panels, strict=True):
            places = [(getattr(mark, of), mark, score) for mark, score in shown if getattr(mark, of)]
            for place, mark, (low, middle, high) in places:
                style = styles[mark.name]
                axes.plot([place, place], [low, high], color=style.colour, linewidth=1.6, alpha=0.6)
                axes.plot([place], [middle], style.marker, color=style.colour, markersize=7.5, mec=PAPER, mew=0.6)
            axes.set(xlabel=label)
            _log(axes, [place for place, _, _ in places])
            axes.grid(axis="both")
            axes.set_axisbelow(True)
        row[0].set_ylabel(scale.label)
        scale.dress(row[0].yaxis)
        order = sorted(shown, key=lambda pair: -pair[1][1])
        _legend(figure, [(_dot(styles[mark.name]), mark.name, mark.track) for mark, _ in order])
    told = "; ".join(f"{m.name} {written(scale.name, s[1])}, {m.seconds:.3g} s" for m, s in shown if m.seconds)
    return _alone(svg(figure, name, f"{scale.name} against cost", f"{told}."))


def _log(axes: Axes, places: Sequence[float]) -> None:
    """A logarithmic lower axis whose ticks are plain numbers, at least two of them."""
    axes.set_xscale("log")
    if not places:
        return
    low, high = min(places), max(places)
    axes.set_xlim(low / 1.25, high * 1.25)
    distinct = sorted(set(places))
    if len(distinct) < 7 and all(after > 1.6 * before for before, after in pairwise(distinct)):
        axes.xaxis.set_major_locator(FixedLocator(distinct))
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < 30 else (1.0,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: _brief(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _brief(value: float) -> str:
    """A number with few letters, for ticks.

    Example:
        >>> _brief(0.5), _brief(900), _brief(30_000), _brief(2e6)
        ('0.5', '900', '30k', '2M')
    """
    for size, letter in ((1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if letter == 'k' else size):g}{letter}"
    return f"{value:g}"


def _drawn(style: Style) -> dict[str, Any]:
    return {
        "color": style.colour,
        "linestyle": (0, style.dashes) if style.dashes else "solid",
        "linewidth": 1.7,
        "marker": style.marker,
        "markersize": 6,
        "markeredgecolor": PAPER,
        "markeredgewidth": 0.5,
    }


def _dot(style: Style) -> Line2D:
    return Line2D([], [], color=style.colour, marker=style.marker, markersize=7, linestyle="none")


def _hollow() -> Line2D:
    return Line2D([], [], marker="D", markersize=5.5, mfc=PAPER, mec=MUTED, mew=1.3, linestyle="none")


def _legend(figure: Figure, entries: Sequence[tuple[Line2D, str, str]], *, below: bool = False) -> None:
    """Names beside the figure, under the heading of their track where there are several tracks."""
    tracks = _ordered(track for _, _, track in entries)
    found: list[tuple[Line2D, str]] = []
    for track in tracks:
        if len(tracks) > 1:
            found.append((Line2D([], [], linestyle="none"), track or "other"))
        found += [(handle, label) for handle, label, of in entries if of == track]
    place: Any = "outside lower right" if below else "outside right upper"
    handles, labels = [handle for handle, _ in found], [label for _, label in found]
    drawn = figure.legend(handles, labels, loc=place, frameon=False, fontsize=9.5, handlelength=3.2, numpoints=1)
    for text in drawn.get_texts():
        if len(tracks) > 1 and text.get_text() in tracks:
            text.set(style="italic", color=MUTED)


def _ordered(tracks: Iterable[str]) -> list[str]:
    """Headings of tracks, each once, in their own order."""
    present = set(tracks)
    return sorted(present, key=[*TRACKS.values(), *sorted(present)].index)


def _alone(text: str) -> str:
    """The figure as a file of its own: its colours as they are, since no page around it names them."""
    return _VARIABLE.sub(r"\1", text) + "\n"
