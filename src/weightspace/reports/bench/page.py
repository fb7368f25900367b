"""The page of one table: Markdown that GitHub and MkDocs show, with its figures beside it."""

import json
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from weightspace.disk import write_atomic, writing
from weightspace.experiments.bench.evidence import Evidence, Outcome, Spread, moved_names
from weightspace.experiments.bench.number import NOTHING, interval, signed, written
from weightspace.experiments.bench.record import BenchRecord
from weightspace.experiments.bench.table import TRACKS
from weightspace.reports.bench.drawing import drawings
from weightspace.reports.bench.text import code, plain, told
from weightspace.reports.figure import printable
from weightspace.reports.table import duration, power_of_ten
from weightspace.training.watch import leaves

__all__ = ["FIGURES", "PAGE", "markdown", "marks", "score_text", "write_page"]

PAGE = "README.md"
FIGURES = ("scores", "robustness", "cost", "curves", "labels")
"""Names of the SVG files beside a page."""
_OWN = ("seed", "learning_rate")
"""Settings that are shown elsewhere."""


def write_page(evidence: Evidence, results: Path) -> list[Path]:
    """The page of a table and its figures, in the folder that holds its records' folder.

    Args:
        evidence: the table with its records; without any, the page says so.
        results: the folder of all records.

    Returns:
        The page, then the figures. Figures for which there are no numbers any more are removed.

    Raises:
        StorageError: a file cannot be written.
    """
    folder = results / evidence.scale / evidence.table.name
    figures = drawings(evidence)
    files = {folder / f"{name}.svg": text for name, text in figures.items()}
    for name in FIGURES:
        if name not in figures:
            with writing(folder / f"{name}.svg"):
                (folder / f"{name}.svg").unlink(missing_ok=True)
    page = markdown("bench.md", **_page(evidence, set(figures)))
    for path, text in {folder / PAGE: page, **files}.items():
        write_atomic(path, text.encode())
    return [folder / PAGE, *files]


def markdown(name: str, **content: Any) -> str:
    """A template of Markdown, filled; words of others have been escaped before they come here."""
    return printable(_environment().get_template(name).render(**content))


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("weightspace.reports"),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"plain": plain, "code": code, "duration": duration}
    return environment


def _page(evidence: Evidence, figures: set[str]) -> dict[str, Any]:
    """What the template shows."""
    records = evidence.records
    return {
        "table": evidence.table,
        "scale": evidence.scale,
        "ran": bool(records),
        "grouped": any(run.groups for run in records),
        "figures": figures,
        "change": "largest change" + (", points" if evidence.measure == "accuracy" else ""),
        "measures": [_heading(evidence, name) for name in evidence.table.measures],
        "data": _data(records),
        "protocol": _protocol(evidence),
        "tuned": _tuned(evidence),
        "tracks": [_track(evidence, track) for track in evidence.tracks],
        "robustness": _robustness(evidence),
        "alone": bool(evidence.costs),
        "costs": [_cost(evidence, outcome) for outcome in evidence.part() if outcome.runs],
        "studies": [_study(evidence, study) for study in evidence.studies],
        "unknown": evidence.unknown,
        "runs": len(records),
        "seconds": duration(sum(run.seconds for run in records)),
    }


def _heading(evidence: Evidence, name: str) -> str:
    if name != evidence.measure:
        return plain(name)
    return f"{plain(name)} {'↑' if evidence.table.higher else '↓'}"


def _data(records: Sequence[BenchRecord]) -> list[dict[str, Any]]:
    """Each data set among the records: its facts, and the rows where there are several."""
    found: dict[str, list[str]] = {}
    for run in records:
        found.setdefault(json.dumps(run.zoo), []).append(run.row)
    return [
        {
            "rows": ", ".join(plain(row) for row in dict.fromkeys(rows)) if len(found) > 1 else "",
            "facts": [(plain(key.replace("_", " ")), told(key, value)) for key, value in json.loads(zoo).items()],
        }
        for zoo, rows in found.items()
    ]


def _protocol(evidence: Evidence) -> list[tuple[str, str]]:
    """How all rows were trained: what they have in common, and what differs from the most frequent value."""
    records = [run for outcome in evidence.part() for run in outcome.runs]
    facts = [
        ("scale", evidence.scale),
        ("learning rates tried on the first seed", ", ".join(f"{rate:g}" for rate in evidence.table.rates)),
        ("steps of each try", f"{evidence.table.tuning:.0%} of the run's"),
        ("seeds", ", ".join(str(seed) for seed in sorted({run.seed for run in evidence.records}))),
        ("ran on", _named(run.device for run in evidence.records)),
        ("threads", _named(str(run.threads) for run in evidence.records)),
        *((f"version of {name}", text) for name, text in _versions(evidence).items()),
    ]
    facts += [("task", told("task", run.settings["task"])) for run in records[:1] if "task" in run.settings]
    settings = [(run.row, leaves(run.settings.get("settings", {}))) for run in records]
    for name in dict.fromkeys(name for _, found in settings for name in found if name not in _OWN):
        rows: dict[str, list[str]] = {}
        for row, found in settings:
            rows.setdefault(told(name, found.get(name)), []).append(row)
        usual = max(rows, key=lambda text: len(rows[text]))
        others = [f"{text} for {_named(names)}" for text, names in rows.items() if text != usual]
        facts.append((plain(name), "; ".join([usual, *others])))
    return facts


def _versions(evidence: Evidence) -> dict[str, str]:
    names = dict.fromkeys(name for run in evidence.records for name in run.versions)
    return {name: _named(run.versions.get(name, NOTHING) for run in evidence.records) for name in names}


def _named(texts: Iterable[str]) -> str:
    return ", ".join(plain(text) for text in dict.fromkeys(texts))


def _tuned(evidence: Evidence) -> list[tuple[str, str, str, str]]:
    """For each row, the rates that were tried with their validation scores, and the one that was taken."""
    lines = []
    for outcome in evidence.outcomes.values():
        for run in outcome.runs[:1]:
            tries = [_try(evidence, one) for one in run.tuning]
            rate = run.settings.get("settings", {}).get("learning_rate")
            taken = NOTHING if rate is None else f"{rate:g}"
            lines.append((plain(outcome.name), _model(run), ", ".join(tries) or NOTHING, taken))
    return lines


def _model(run: BenchRecord) -> str:
    """The model of a run with its preset and options."""
    chosen = dict(run.settings.get("choice", run.settings.get("model", {})))
    name = plain(chosen.pop("name", NOTHING))
    rest = {key: value for key, value in chosen.items() if value not in (None, {}, "") and key != "shapes"}
    return f"{name}, {told('model', rest)}" if rest else name


def _try(evidence: Evidence, one: dict[str, Any]) -> str:
    rate = next((value for key, value in one.items() if "rate" in key), None)
    score = next((value for key, value in one.items() if key in ("validation", "score", "validation_score")), None)
    return f"{rate:g}: {written(evidence.measure, score)}" if rate is not None else told("try", one)


def marks(evidence: Evidence, outcomes: Sequence[Outcome]) -> dict[str, str]:
    """By row, "bold" for the one that is better than every other beyond noise, "level" for all that are not below it.

    Args:
        evidence: the table.
        outcomes: the rows that are compared, those of one track.
    """
    ranked = evidence.ranked(outcomes)
    if len(ranked) < 2:
        return {}
    signs = {outcome.name: evidence.sign(ranked[0], outcome) for outcome in ranked[1:]}
    if all(sign == 1 for sign in signs.values()):
        return {ranked[0].name: "bold"}
    level = [name for name, sign in signs.items() if sign is not None and sign <= 0]
    return dict.fromkeys([ranked[0].name, *level], "level") if level else {}


def score_text(measure: str, found: Spread | None) -> str:
    """A median with its range, or one number alone.

    Example:
        >>> score_text("accuracy", Spread(0.5, 0.6, 0.65, 3)), score_text("tau", Spread(0.9, 0.9, 0.9, 1))
        ('60.0 % (50.0 % to 65.0 %)', '0.9000')
    """
    if found is None:
        return NOTHING
    middle, low, high = (written(measure, value) for value in (found.middle, found.low, found.high))
    return middle if found.count == 1 else f"{middle} ({low} to {high})"


def _track(evidence: Evidence, track: str) -> dict[str, Any]:
    """One table: the rows of a track, with footnotes for what is in print and what went wrong."""
    outcomes = evidence.part(track=track)
    chosen = marks(evidence, outcomes)
    notes: list[str] = []
    lines: list[list[str]] = []
    for outcome in outcomes:
        printed, cell = outcome.row.published, NOTHING
        if printed is not None:
            letter = chr(ord("a") + len(notes) % 26) * (1 + len(notes) // 26)
            cell = f"{written(evidence.measure, outcome.published(evidence.measure))} <sup>{letter}</sup>"
            note = f"; {plain(printed.note)}" if printed.note else ""
            notes.append(f"<sup>{letter}</sup> {plain(outcome.name)}: {plain(printed.source)}{note}.")
        lines.append([*_cells(evidence, outcome, chosen.get(outcome.name, "")), cell])
    failed = [run for outcome in outcomes for run in outcome.runs if run.status != "finished"]
    notes += [f"{plain(run.row)}, seed {run.seed}: {plain(run.status)}. {plain(run.message)}" for run in failed]
    return {
        "heading": TRACKS[track],
        "lines": lines,
        "notes": notes,
        "bold": "bold" in chosen.values(),
        "level": "level" in chosen.values(),
    }


def _cells(evidence: Evidence, outcome: Outcome, mark: str) -> list[str]:
    """A row up to what is in print."""
    name, first = plain(outcome.name), _first(evidence, outcome)
    if mark == "bold":
        name, first = f"**{name}**", f"**{first}**"
    elif mark == "level":
        first = f"{first} †"
    others = [score_text(measure, outcome.score(measure)) for measure in evidence.table.measures[1:]]
    seconds = outcome.seconds
    return [
        name,
        NOTHING if outcome.parameters is None else f"{outcome.parameters:,}",
        *(first, *others),
        power_of_ten(outcome.symmetry_error),
        NOTHING if seconds is None else f"{seconds.middle:,.1f}",
    ]


def _first(evidence: Evidence, outcome: Outcome) -> str:
    """The measure that decides, or why there is none."""
    if not outcome.runs:
        return "not run"
    failed = len(outcome.runs) - len(outcome.finished)
    if not outcome.finished:
        return f"diverged ({failed} of {len(outcome.runs)} runs)"
    score = score_text(evidence.measure, outcome.score(evidence.measure))
    return f"{score}; {failed} of {len(outcome.runs)} runs diverged" if failed else score


def _robustness(evidence: Evidence) -> dict[str, Any]:
    """Medians of the first measure on moved networks, and the largest change of one run."""
    outcomes = [outcome for outcome in evidence.part() if moved_names([outcome])]
    moves = moved_names(outcomes)
    lines = []
    for outcome in outcomes:
        found = [outcome.moved(move) for move in moves]
        score = outcome.score(evidence.measure)
        cells = [written(evidence.measure, None if one is None else one.middle) for one in (score, *found)]
        lines.append([plain(outcome.name), *cells, _worst(evidence, outcome)])
    return {"moves": [plain(move) for move in moves], "lines": lines}


def _worst(evidence: Evidence, outcome: Outcome) -> str:
    """The largest change of one run under any move."""
    worst = outcome.worst(evidence.measure)
    return signed(evidence.measure, None if worst is None else worst[1])


def _cost(evidence: Evidence, outcome: Outcome) -> list[str]:
    """What a row took in its runs, and what a step and an answer cost alone where that was measured."""
    memory, seconds, cost = outcome.peak_memory, outcome.seconds, evidence.costs.get(outcome.name)
    alone = [NOTHING] * 4 if evidence.costs else []
    if cost is not None:
        alone = [f"{1000 * seconds_taken:.1f}" for seconds_taken in (cost.step, cost.answer)]
        alone += [f"{held / 2**20:,.0f}" for held in (cost.step_memory, cost.answer_memory)]
    return [
        plain(outcome.name),
        NOTHING if outcome.parameters is None else f"{outcome.parameters:,}",
        NOTHING if seconds is None else f"{seconds.middle:,.1f}",
        f"{sum(run.seconds for run in outcome.runs):,.1f}",
        NOTHING if memory is None else f"{memory / 2**20:,.0f}",
        *alone,
    ]


def _study(evidence: Evidence, study: str) -> dict[str, Any]:
    """A side question: each of its rows with the difference from the row of the comparison that it belongs to."""
    lines, shown = [], dict[str, None]()
    for outcome in evidence.part(study=study):
        whole = evidence.of(outcome)
        if whole is not None and whole.name not in shown:
            shown[whole.name] = None
            lines.append(_study_line(evidence, whole, None))
        lines.append(_study_line(evidence, outcome, whole))
    return {"name": study, "heading": _HEADINGS.get(study, study[:1].upper() + study[1:]), "lines": lines}


_HEADINGS = {"ablation": "Ablations", "labels": "Fewer networks to learn from"}


def _study_line(evidence: Evidence, outcome: Outcome, whole: Outcome | None) -> list[str]:
    found = None if whole is None else evidence.difference(outcome, whole)
    beyond = "" if found is None else ", beyond noise" if found.beyond else ", within noise"
    against = NOTHING if whole is None else f"{interval(evidence.measure, found)}{beyond}"
    return [
        plain(outcome.name),
        NOTHING if outcome.networks is None else f"{outcome.networks:,}",
        NOTHING if outcome.parameters is None else f"{outcome.parameters:,}",
        _first(evidence, outcome),
        against if whole is None or found is None else f"{against} (to {plain(whole.name)})",
        _worst(evidence, outcome),
        power_of_ten(outcome.symmetry_error),
    ]
