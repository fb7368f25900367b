"""``weightspace zoo info``: what a zoo holds."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from weightspace.zoo import Zoo, open_zoo
from weightspace.zoo.split import SPLITS

__all__ = ["info"]


def info(path: Path, /) -> None:
    """Say what a zoo holds: its networks, how they were made, from what, and how well they fit.

    Args:
        path: the zoo's folder.
    """
    zoo = open_zoo(path)
    lines = Table.grid(padding=(0, 2))
    for name, value in _facts(zoo):
        lines.add_row(Text(name, style="bold"), Text(value))
    Console().print(lines)


def _facts(zoo: Zoo) -> Iterator[tuple[str, str]]:
    manifest = zoo.manifest
    planned = f" of {manifest.count:,} planned" if manifest.count and manifest.count != len(zoo) else ""
    yield "networks", f"{len(zoo):,}{planned}, by the recipe {manifest.recipe}"
    yield "parameters", f"{zoo.spec.numel:,} each"
    yield "free units", ", ".join(f"{axis.size} x {axis.symmetry}" for axis in zoo.spec.free_axes) or "none"
    yield "splits", ", ".join(f"{name} {len(zoo.split(name)):,}" for name in SPLITS)
    if "label" in zoo.table.column_names and len(zoo):
        labels, counts = np.unique(zoo.column("label"), return_counts=True)
        yield "labels", ", ".join(f"{label}: {count}" for label, count in zip(labels, counts, strict=True))
    if "psnr" in zoo.table.column_names and len(zoo):
        psnr = zoo.column("psnr")
        yield "PSNR", f"{np.mean(psnr):.1f} dB on average, {np.min(psnr):.1f} dB at worst"
    for name, entries in (("source", manifest.source), ("settings", manifest.settings), ("forward", manifest.forward)):
        if entries:
            yield name, _listed(entries)
    yield "checksum", zoo.checksum


def _listed(entries: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in entries.items())
