"""The page of all tables, with what the evidence shows, and the pages of each."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from weightspace.disk import write_atomic
from weightspace.errors import unknown
from weightspace.experiments.bench.evidence import Evidence, read_evidence
from weightspace.experiments.bench.table import SCALES, TRACKS, Table
from weightspace.experiments.paper.claim import CLAIMS, Claim, Finding, findings
from weightspace.reports.bench.page import PAGE, markdown, marks, score_text, write_page
from weightspace.reports.bench.text import plain
from weightspace.reports.table import duration

__all__ = ["write_pages"]


def write_pages(
    tables: Iterable[Table],
    scale: str,
    results: Path,
    *,
    listed: Iterable[Table] = (),
    claims: Sequence[Claim] = CLAIMS,
) -> list[Path]:
    """The page of each table at one scale, and the page of all tables at every scale; from records alone.

    Written again from the same records, every file has the same bytes.

    Args:
        tables: whose pages are written.
        scale: small or full.
        results: the folder that holds `SCALE/TABLE/records`.
        listed: more tables that the page of all tables names; those without records are named as such.
        claims: what the evidence should show.

    Returns:
        The files: the page of all tables, then each table's page with its figures.

    Raises:
        FormatError: a file among the records that is none.
        StorageError: a file cannot be written.
        UnknownNameError: a scale that does not exist.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> [path.relative_to(folder).as_posix() for path in write_pages([], "small", folder)]
        ['README.md']
    """
    if scale not in SCALES:
        raise unknown("scale", scale, SCALES)
    chosen = {table.name: table for table in tables}
    # In the order of the whole list, whichever tables are written this time.
    every = {table.name: chosen.get(table.name, table) for table in listed}
    every |= {name: table for name, table in chosen.items() if name not in every}
    known = {name: [read_evidence(table, one, results) for one in SCALES] for name, table in every.items()}
    files = [
        path
        for table in chosen.values()
        for evidence in known[table.name]
        if evidence.scale == scale
        for path in write_page(evidence, results)
    ]
    index = results / PAGE
    write_atomic(index, markdown("bench-index.md", **_index(list(every.values()), known, claims)).encode())
    return [index, *files]


def _index(tables: list[Table], known: dict[str, list[Evidence]], claims: Sequence[Claim]) -> dict[str, Any]:
    ran = {name: [evidence for evidence in scales if evidence.records] for name, scales in known.items()}
    total = sum(run.seconds for scales in ran.values() for evidence in scales for run in evidence.records)
    return {
        "tables": [line for table in tables for line in _lines(table, ran[table.name])],
        "claims": [_claim(claim, findings(claim, ran)) for claim in claims],
        "runs": sum(len(evidence.records) for scales in ran.values() for evidence in scales),
        "seconds": duration(total),
    }


def _lines(table: Table, scales: list[Evidence]) -> list[list[str]]:
    """A line for each scale and track of a table, with its best rows."""
    if not scales:
        return [[plain(table.title), "–", "–", "no runs yet", "–", "0"]]
    lines = []
    for evidence in scales:
        link = f"[{plain(table.title)}]({evidence.scale}/{table.name}/{PAGE})"
        for track in evidence.tracks:
            outcomes = evidence.part(track=track)
            ranked, chosen = evidence.ranked(outcomes), marks(evidence, outcomes)
            top = [outcome for outcome in ranked if chosen.get(outcome.name)] or ranked[:1]
            names = ", ".join(plain(outcome.name) for outcome in top) or "no finished run"
            score = score_text(evidence.measure, top[0].score(evidence.measure)) if top else "–"
            if "bold" in chosen.values():
                names = f"**{names}**"
            measure = f"{plain(evidence.measure)} {'↑' if table.higher else '↓'}"
            runs = sum(len(outcome.runs) for outcome in outcomes)
            if runs:
                lines.append([link, evidence.scale, TRACKS[track], names, f"{score} ({measure})", str(runs)])
    return lines


def _claim(claim: Claim, found: list[Finding]) -> dict[str, Any]:
    """A claim with what each table says."""
    counts: dict[str, int] = {}
    for finding in found:
        counts[finding.verdict.value] = counts.get(finding.verdict.value, 0) + 1
    return {
        "text": plain(claim.text),
        "verdict": ", ".join(f"{count} × {name}" if len(found) > 1 else name for name, count in counts.items()),
        "lines": [
            [finding.table or "–", finding.scale or "–", finding.verdict.value, plain(finding.numbers) or "–"]
            for finding in found
        ],
    }
