"""The one table of a run, as text for a terminal and as cells for a page, and how its numbers are written."""

import math
from collections.abc import Sequence

from weightspace.reports.content import ModelRow

__all__ = ["HEADINGS", "aligned", "cells", "duration", "percent", "power_of_ten", "summary", "table"]

HEADINGS = (
    "model",
    "test accuracy",
    "after symmetry",
    "answers change",
    "logits change",
    "parameters",
    "seconds",
)
_NOTHING = "–"


def percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage, a dash where there is none.

    Example:
        >>> percent(0.4275), percent(None)
        ('42.8 %', '–')
    """
    return _NOTHING if share is None or not math.isfinite(share) else f"{100 * share:.{digits}f} %"


def power_of_ten(value: float | None) -> str:
    """A size over many decades: plain between a hundredth and a thousand, else with its power of ten.

    Example:
        >>> power_of_ten(0.871), power_of_ten(3.2e-7), power_of_ten(0.0), power_of_ten(None)
        ('0.87', '3.2 × 10⁻⁷', '0', '–')
    """
    if value is None or not math.isfinite(value):
        return _NOTHING
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{value:.3g}" if abs(value) >= 100 else f"{value:.2g}"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa} × 10{str(int(exponent)).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def duration(seconds: float | None) -> str:
    """Seconds as a reader says them.

    Example:
        >>> duration(0.42), duration(61.7), duration(185), duration(None)
        ('0.4 s', '62 s', '3 min 05 s', '–')
    """
    if seconds is None or not math.isfinite(seconds):
        return _NOTHING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60:02d} s"


def cells(row: ModelRow) -> tuple[str, ...]:
    """What stands under each of the HEADINGS for one model.

    Example:
        >>> cells(ModelRow("NP", accuracy=0.31, parameters=120_000, logit_change=2e-7))
        ('NP', '31.0 %', '–', '–', '2.0 × 10⁻⁷', '120,000', '–')
    """
    return (
        row.model,
        percent(row.accuracy),
        percent(row.accuracy_after),
        percent(row.answers_changed),
        power_of_ten(row.logit_change),
        _NOTHING if row.parameters is None else f"{row.parameters:,}",
        _NOTHING if row.seconds is None or not math.isfinite(row.seconds) else f"{row.seconds:.1f}",
    )


def table(rows: Sequence[ModelRow]) -> str:
    """The table as text for a terminal: names to the left, numbers to the right.

    Args:
        rows: one per model; no rows give the headings alone.

    Example:
        >>> print(table([ModelRow("FlatMLP", 0.1, 0.09, 1000, 60.0, 0.9, 0.8), ModelRow("NP", parameters=50)]))
        model    test accuracy  after symmetry  answers change  logits change  parameters  seconds
        FlatMLP         10.0 %           9.0 %          80.0 %            0.9       1,000     60.0
        NP                   –               –               –              –          50        –
    """
    return aligned([HEADINGS, *(cells(row) for row in rows)])


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells as text for a terminal: the first column to the left, all others to the right.

    Example:
        >>> print(aligned([("model", "score"), ("NP", "0.5")]))
        model  score
        NP       0.5
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [[cell.rjust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    named = zip(lines, padded, strict=True)
    return "\n".join("  ".join([line[0].ljust(widths[0]), *right[1:]]) for line, right in named)


def summary(rows: Sequence[ModelRow], tested: int | None = None) -> str:
    """One sentence of what was measured: the best model, the one the symmetry changes least, and the first.

    Args:
        rows: one per model.
        tested: number of test networks.

    Example:
        >>> rows = [ModelRow("FlatMLP", 0.1, answers_changed=0.8), ModelRow("NFN", 0.4, answers_changed=0.0)]
        >>> summary(rows, tested=200)
        'From nothing but the weights of 200 unseen networks, NFN tells the class of 40.0 % of them and
        FlatMLP of 10.0 %; after each network is replaced by an equivalent one, NFN gives another answer for 0.0 % and
        FlatMLP for 80.0 %.'
    """
    measured = [row for row in rows if row.accuracy is not None]
    if not measured:
        return "This run has measured no test accuracy yet."
    best = max(measured, key=lambda row: row.accuracy or 0.0)
    steadiest = min(measured, key=lambda row: 1.0 if row.answers_changed is None else row.answers_changed)
    named = list(dict.fromkeys((best, steadiest, measured[0])))
    networks = f"{tested:,} unseen networks" if tested is not None else "unseen networks"
    verbs = ("tells the class of {} of them", "of {}")
    told = _joined(named, [row.accuracy for row in named], verbs)
    changed = _joined(named, [row.answers_changed for row in named], ("gives another answer for {}", "for {}"))
    after = f"; after each network is replaced by an equivalent one, {changed}" if changed else ""
    return f"From nothing but the weights of {networks}, {told}{after}."


def _joined(rows: Sequence[ModelRow], shares: Sequence[float | None], verbs: tuple[str, str]) -> str:
    """``A tells the class of 40 % of them and B of 10 %``: the verb once, for those that have a share."""
    known = [(row.model, share) for row, share in zip(rows, shares, strict=True) if share is not None]
    parts = [f"{model} {verbs[min(i, 1)].format(percent(share))}" for i, (model, share) in enumerate(known)]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)
