"""One self-contained HTML page of a run: no network, no other files, readable without JavaScript."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from weightspace.disk import write_atomic
from weightspace.reports.content import Curve, DemoReport, DigitGallery, Orbit
from weightspace.reports.figure import draw_accuracy, draw_confusion, draw_lines, draw_pattern, printable
from weightspace.reports.image import picture_uri, signed_uri
from weightspace.reports.table import HEADINGS, cells, duration, percent, power_of_ten, summary
from weightspace.reports.theme import Style, css_variables, styles, variable

__all__ = ["environment", "render_report", "write_report"]


def write_report(report: DemoReport, path: str | Path) -> Path:
    """Write the page of a run to a file, whole or not at all.

    A page that stands there already is replaced only once the new one is complete on disk; missing folders are made.

    Args:
        report: what was measured; missing parts are named on the page.
        path: the HTML file.

    Returns:
        The path of the file.

    Raises:
        StorageError: the file cannot be written, with the reason and the remedy.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_report(DemoReport("Demo"), Path(folder) / "report.html").read_text(encoding="utf-8")[:15]
        '<!DOCTYPE html>'
    """
    target = Path(path)
    write_atomic(target, render_report(report).encode())
    return target


def render_report(report: DemoReport) -> str:
    """The page of a run as HTML text.

    Args:
        report: what was measured; missing parts are named on the page.

    Example:
        >>> "&lt;b&gt;" in render_report(DemoReport("<b>"))
        True
    """
    return printable(environment().get_template("report.html").render(_shown(report)))


def environment() -> Environment:
    """Where templates of pages are found, with words escaped, and how numbers are written in them."""
    environment = Environment(
        loader=PackageLoader("weightspace.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "duration": duration}
    return environment


def _shown(report: DemoReport) -> dict[str, Any]:
    """What the template shows. Only figures are markup: they escape their own words where they are made."""
    chosen = styles(report.models)
    figures = [Markup(draw_pattern(pattern, name=f"pattern-{i}")) for i, pattern in enumerate(report.patterns)]
    return {
        "report": report,
        "light": Markup(css_variables(dark=False)),
        "dark": Markup(css_variables(dark=True)),
        "summary": report.summary or summary(report.rows, report.tested),
        "headings": HEADINGS,
        "rows": [(variable(chosen[row.model].colour), cells(row)) for row in report.rows],
        "legend": [(model, variable(style.colour), style) for model, style in chosen.items()],
        "digits": _digit_cards(report.digits) if report.digits else [],
        "orbit": _orbit_frames(report.orbit) if report.orbit else [],
        "change": _change(report, chosen),
        "patterns": list(zip(report.patterns, figures, strict=True)),
        "signed": any((pattern.matrix < 0).any() for pattern in report.patterns),
        "curves": _curve_figures(report.curves, chosen),
        "confusions": _confusions(report, chosen),
        "stages": _stages(report),
    }


def _digit_cards(digits: DigitGallery) -> list[dict[str, str]]:
    ratios = np.asarray(digits.psnr, dtype=np.float64)
    parts = zip(digits.originals, digits.rendered, digits.labels, ratios, strict=True)
    return [
        {
            "original": picture_uri(original),
            "rendered": picture_uri(rendered),
            "label": str(label),
            "psnr": f"{psnr:.1f} dB" if np.isfinite(psnr) else "–",
        }
        for original, rendered, label, psnr in parts
    ]


def _orbit_frames(orbit: Orbit) -> list[dict[str, str]]:
    changes = np.asarray(orbit.pixel_change, dtype=np.float64)
    # One scale for the walk, so that a colour is one number throughout; the largest few weights may saturate.
    bound = float(np.quantile(np.abs(np.nan_to_num(orbit.weights)), 0.98))
    return [
        {
            "weights": signed_uri(weights, bound, moved_from=orbit.weights[index - 1] if index else None),
            "picture": picture_uri(orbit.images[index]),
            "move": str(orbit.moves[index]),
            "change": power_of_ten(float(changes[index])),
        }
        for index, weights in enumerate(orbit.weights)
    ]


def _change(report: DemoReport, chosen: dict[str, Style]) -> Markup | None:
    if not any(row.measured for row in report.rows):
        return None
    classes = len(report.classes) or max((len(counts) for counts in report.confusions.values()), default=0)
    chance = 1 / classes if classes else None
    return Markup(draw_accuracy(report.rows, chosen, name="change", chance=chance, tested=report.tested))


def _curve_figures(curves: Sequence[Curve], chosen: dict[str, Style]) -> list[Markup]:
    drawn = [curve for curve in curves if len(curve.steps)]
    if not drawn:
        return []
    figures = []
    for along, label in (("seconds", "seconds of training"), ("steps", "optimisation steps")):
        places = {curve.model: curve.seconds if along == "seconds" else curve.steps for curve in drawn}
        losses = {curve.model: (places[curve.model], curve.train_loss) for curve in drawn}
        scores = {curve.model: (places[curve.model], curve.accuracy) for curve in drawn}
        figures += [
            draw_lines(losses, chosen, name=f"loss-{along}", labels=(label, "training loss")),
            draw_lines(scores, chosen, name=f"accuracy-{along}", labels=(label, "validation accuracy"), share=True),
        ]
    return [Markup(figure) for figure in figures]


def _confusions(report: DemoReport, chosen: dict[str, Style]) -> list[dict[str, Any]]:
    drawn = []
    for index, (model, counts) in enumerate(report.confusions.items()):
        classes = [str(name) for name in report.classes] or [str(number) for number in range(len(counts))]
        drawn.append(
            {
                "model": model,
                "colour": variable(chosen[model].colour),
                "right": int(np.trace(counts)),
                "total": int(counts.sum()),
                "figure": Markup(draw_confusion(counts, classes, name=f"confusion-{index}", title=model)),
            }
        )
    return drawn


def _stages(report: DemoReport) -> list[dict[str, Any]]:
    whole = sum(report.stages.values()) or 1.0
    longest = max(report.stages.values(), default=0.0) or 1.0
    return [
        {"name": stage, "seconds": seconds, "share": seconds / whole, "bar": 100 * seconds / longest}
        for stage, seconds in report.stages.items()
    ]
