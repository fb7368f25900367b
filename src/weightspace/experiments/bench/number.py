"""How measures are written, the same on every page."""

from weightspace.experiments.bench.significance import Difference

__all__ = ["interval", "signed", "written"]

NOTHING = "–"
"""What stands where nothing was measured."""


def written(measure: str, value: float | None) -> str:
    """A measure as a reader says it: accuracies in percent, rank correlations with four digits, others with three.

    Example:
        >>> written("accuracy", 0.9659), written("tau", 0.92345), written("mse", 0.018913), written("mse", None)
        ('96.6 %', '0.9234', '0.0189', '–')
    """
    if value is None:
        return NOTHING
    if measure == "accuracy":
        return f"{100 * value:.1f} %"
    return f"{value:.4f}" if measure.startswith("tau") else f"{value:.3g}"


def signed(measure: str, value: float | None) -> str:
    """A difference of two measures; of accuracies in percentage points. What is written as 0 has no sign.

    Example:
        >>> signed("accuracy", 0.012), signed("tau", -0.0021), signed("tau", -1e-9), signed("mse", 0.00123)
        ('+1.2', '−0.0021', '0.0000', '+0.00123')
    """
    if value is None:
        return NOTHING
    told = _size(measure, value)
    return f"{'−' if value < 0 else '+'}{told}" if float(told) else told


def interval(measure: str, found: Difference | None) -> str:
    """A difference with its interval; ends keep their sign, which tells whether it holds 0.

    Example:
        >>> interval("accuracy", Difference(0.012, -0.0001, 0.025))
        '+1.2 [−0.0, +2.5] points'
    """
    if found is None:
        return NOTHING
    unit = " points" if measure == "accuracy" else ""
    low, high = (f"{'−' if end < 0 else '+'}{_size(measure, end)}" for end in (found.low, found.high))
    return f"{signed(measure, found.value)} [{low}, {high}]{unit}"


def _size(measure: str, value: float) -> str:
    size = abs(value)
    return f"{100 * size:.1f}" if measure == "accuracy" else f"{size:.4f}" if measure == "tau" else f"{size:.3g}"
