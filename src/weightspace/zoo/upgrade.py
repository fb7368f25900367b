"""From the manifests of older versions to that of today: one function per step."""

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["UPGRADES", "upgrade"]


def _from_1(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Version 2 states the type of the weights, what a zoo was put together from, and what was added to it."""
    return {**plain, "version": 2, "dtype": "float32", "provenance": [], "appended": []}


UPGRADES: Mapping[int, Callable[[Mapping[str, Any]], dict[str, Any]]] = {1: _from_1}
"""What turns the manifest of a version into that of the next."""


def upgrade(plain: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest in the newest version that there is a way to; files are not touched.

    Example:
        >>> upgrade({"format": "weightspace-zoo", "version": 1})["dtype"]
        'float32'
    """
    out = dict(plain)
    while type(out.get("version")) is int and out["version"] in UPGRADES:
        out = UPGRADES[out["version"]](out)
    return out
