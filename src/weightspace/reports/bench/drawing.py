"""Which figures a table has, and what stands in them."""

from collections.abc import Iterable, Sequence

from weightspace.experiments.bench.evidence import Evidence, Outcome, Spread, moved_names, spread
from weightspace.experiments.bench.table import TRACKS
from weightspace.reports.bench.figure import Along, Mark, Scale, Trace, draw_cost, draw_scores, draw_traces
from weightspace.reports.bench.style import bench_styles
from weightspace.reports.theme import Style

__all__ = ["drawings"]


def drawings(evidence: Evidence) -> dict[str, str]:
    """The figures of a table that have numbers, as SVG by the name of the file.

    Args:
        evidence: the table with its records.
    """
    scale = Scale(evidence.measure, evidence.table.higher)
    chosen = bench_styles(evidence.outcomes)
    shown = [_mark(evidence, outcome) for outcome in evidence.part()]
    figures: dict[str, str] = {}
    if any(mark.score is not None for mark in shown):
        ran = [mark for mark in shown if mark.score is not None or mark.published is not None]
        figures["scores"] = draw_scores(ran, chosen, scale, name="scores")
        figures["cost"] = draw_cost(shown, chosen, scale, name="cost")
    return {**figures, **_lines(evidence, chosen, scale)}


def _lines(evidence: Evidence, chosen: dict[str, Style], scale: Scale) -> dict[str, str]:
    moves = moved_names(evidence.part())
    drawn = {
        "robustness": (
            {outcome.name: _moved(evidence, outcome, moves) for outcome in evidence.part()},
            "Scores on test networks that were moved along their symmetries",
            Along("how test networks were moved", ticks=("as they are", *moves)),
        ),
        "curves": (
            {outcome.name: _learnt(outcome) for outcome in evidence.part()},
            "Validation scores while training",
            Along("steps", marked=False),
        ),
        "labels": (
            {
                name: _trace([(count, outcome.score(evidence.measure)) for count, outcome in points])
                for name, points in evidence.curves().items()
            },
            "Scores against the number of networks that were learnt from",
            Along("networks to learn from", log=True),
        ),
    }
    figures = {}
    for name, (lines, title, along) in drawn.items():
        traces = {model: trace for model, trace in lines.items() if trace is not None and len(trace.along)}
        if traces:
            tracks = {
                model: TRACKS[evidence.outcomes[model].row.track] for model in traces if model in evidence.outcomes
            }
            look = {**bench_styles([*evidence.outcomes, *traces]), **chosen}
            figures[name] = draw_traces(traces, look, scale, name=name, title=title, along=along, tracks=tracks)
    return figures


def _mark(evidence: Evidence, outcome: Outcome) -> Mark:
    score, seconds = outcome.score(evidence.measure), outcome.seconds
    return Mark(
        outcome.name,
        TRACKS[outcome.row.track],
        None if score is None else (score.low, score.middle, score.high),
        outcome.published(evidence.measure),
        None if seconds is None else seconds.middle,
        outcome.parameters,
        None if outcome.name not in evidence.costs else 1000 * evidence.costs[outcome.name].step,
    )


def _moved(evidence: Evidence, outcome: Outcome, moves: Sequence[str]) -> Trace | None:
    """From the score on the networks as they are, move by move; nothing where only that is known."""
    points = [outcome.score(evidence.measure), *(outcome.moved(move) for move in moves)]
    if all(point is None for point in points[1:]):
        return None
    return _trace(list(enumerate(points)))


def _learnt(outcome: Outcome) -> Trace | None:
    """Validation scores at each step at which a run was validated, over runs."""
    found: dict[int, list[float | None]] = {}
    for run in outcome.runs:
        for step, score in zip(run.curves.get("step", []), run.curves.get("validation_score", []), strict=False):
            found.setdefault(step, []).append(score)
    return _trace([(step, spread(scores)) for step, scores in sorted(found.items())])


def _trace(points: Iterable[tuple[float, Spread | None]]) -> Trace | None:
    known = [(place, found) for place, found in points if found is not None]
    if not known:
        return None
    return Trace(
        [place for place, _ in known],
        [found.middle for _, found in known],
        [found.low for _, found in known],
        [found.high for _, found in known],
    )
