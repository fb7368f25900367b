"""The models of the comparison, each in one size for all tables of a kind."""

from collections.abc import Mapping
from typing import Any

from weightspace.experiments.bench.table import Published, Row
from weightspace.experiments.choice import ModelChoice

__all__ = ["FORWARD", "WEIGHTS", "compared"]

FORWARD: Mapping[str, Any] = {"bidirectional": False}
"""ScaleGMN with messages along the network alone; its preset has them both ways."""

WEIGHTS: Mapping[str, ModelChoice] = {
    "FlatMLP": ModelChoice("FlatMLP"),
    "StatNN": ModelChoice("StatNN"),
    "DeepSets": ModelChoice("DeepSets"),
    "NP": ModelChoice("NP"),
    "HNP": ModelChoice("HNP"),
    "MonomialNFN": ModelChoice("MonomialNFN"),
    "MAGEPNFN": ModelChoice("MAGEPNFN"),
    "GMN": ModelChoice("GMN"),
    "GaugeGMN": ModelChoice("GaugeGMN"),
    "NGGNN": ModelChoice("NGGNN"),
    "ScaleGMN": ModelChoice("ScaleGMN", options=FORWARD),
    "ScaleGMN-B": ModelChoice("ScaleGMN"),
    "Phased": ModelChoice("Phased"),
}
"""What reads weights alone, by the name of its row."""


def compared(
    names: tuple[str, ...],
    published: Mapping[str, Published] | None = None,
    models: Mapping[str, ModelChoice] = WEIGHTS,
) -> tuple[Row, ...]:
    """Rows of the comparison on weights alone.

    Args:
        names: of the models, in order.
        published: the numbers in print, by name.
        models: in which sizes.

    Example:
        >>> [row.name for row in compared(("NP", "ScaleGMN"))]
        ['NP', 'ScaleGMN']
    """
    return tuple(Row(name, models[name], published=(published or {}).get(name)) for name in names)
