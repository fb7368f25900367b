"""Colours and type of all figures and pages, in one table for light and dark screens.

Figures are drawn in the light colours; each colour then becomes a CSS variable whose fallback is itself, so that a
figure stands alone as a file and follows the reader's light or dark setting inside a page.
"""

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["ACCENT", "INK", "MUTED", "PANEL", "PAPER", "RULE", "Style", "css_variables", "styles", "variable"]

INK = "#1b2026"
MUTED = "#59626c"
RULE = "#d5dae0"
PANEL = "#f5f6f8"
PAPER = "#fefefe"
ACCENT = "#0b4a82"

# Okabe and Ito's palette, darkened on white and lightened on black until lines reach a contrast of 3:1.
_MODELS = (
    ("#6b7280", "#a3abb8"),
    ("#b8801a", "#e9b44c"),
    ("#0072b2", "#58b0ee"),
    ("#c94f00", "#ff8f50"),
    ("#008a64", "#3ecfa4"),
    ("#a8508a", "#e79cc8"),
    ("#3f3f9c", "#a9a9ff"),
)
_DASHES: tuple[tuple[float, ...], ...] = ((1.2, 1.6), (4, 1.6), (6, 1.6, 1.2, 1.6), ())
_MARKERS = ("s", "D", "^", "o", "v", "P", "X")

_THEME = {
    "--ink": (INK, "#e7eaee"),
    "--muted": (MUTED, "#a2abb5"),
    "--rule": (RULE, "#3a424b"),
    "--panel": (PANEL, "#1d2228"),
    "--paper": (PAPER, "#14181c"),
    "--accent": (ACCENT, "#8cc4f5"),
    **{f"--model-{index}": pair for index, pair in enumerate(_MODELS)},
}
_VARIABLES = {light: f"var({name}, {light})" for name, (light, _) in _THEME.items()}


@dataclass(frozen=True)
class Style:
    """How one model looks everywhere: colour, dash and marker, so that no model is told by its colour alone.

    Args:
        colour: hexadecimal colour on a light page.
        dashes: lengths of dashes and gaps in line widths; empty for a solid line.
        marker: marker letter of matplotlib.
    """

    colour: str
    dashes: tuple[float, ...]
    marker: str


def styles(models: Iterable[str]) -> dict[str, Style]:
    """One style per model, by the order of the names.

    Args:
        models: names; beyond seven the colours start again, with other dashes.

    Example:
        >>> styles(["FlatMLP", "NP"])["NP"].colour == styles(["StatNN", "NP"])["NP"].colour
        True
    """
    return {
        name: Style(_MODELS[i % len(_MODELS)][0], _DASHES[i % len(_DASHES)], _MARKERS[i % len(_MARKERS)])
        for i, name in enumerate(dict.fromkeys(models))
    }


def variable(colour: str) -> str:
    """The CSS value that follows light and dark for a colour of this table; any other colour stays as it is.

    Example:
        >>> variable("#1b2026"), variable("#123456")
        ('var(--ink, #1b2026)', '#123456')
    """
    return _VARIABLES.get(colour.lower(), colour)


def css_variables(*, dark: bool) -> str:
    """The declarations of all variables for a light or a dark page.

    Example:
        >>> "--ink: #1b2026;" in css_variables(dark=False)
        True
    """
    return " ".join(f"{name}: {pair[dark]};" for name, pair in _THEME.items())
