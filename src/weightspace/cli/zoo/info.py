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

__all__ = ["fit", "info", "size"]


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


def size(zoo: Zoo) -> str:
    """How many networks there are, and how many there are to be."""
    planned = zoo.manifest.count
    return f"{len(zoo):,} of {planned:,} planned" if planned and planned > len(zoo) else f"{len(zoo):,}"


def fit(zoo: Zoo) -> str:
    """How well the networks fit their images; those that diverged are counted apart."""
    psnr = zoo.column("psnr")
    good = psnr[~np.isnan(psnr)]
    told = [f"{good.mean():.1f} dB on average, {good.min():.1f} dB at worst"] if len(good) else []
    if len(good) < len(psnr):
        told.append(f"{len(psnr) - len(good):,} diverged")
    return ", ".join(told)


def _facts(zoo: Zoo) -> Iterator[tuple[str, str]]:
    manifest = zoo.manifest
    yield "networks", f"{size(zoo)}, by the recipe {manifest.recipe}"
    yield "parameters", f"{zoo.spec.numel:,} each"
    yield "free units", ", ".join(f"{axis.size} x {axis.symmetry}" for axis in zoo.spec.free_axes) or "none"
    yield "splits", ", ".join(f"{name} {len(zoo.split(name)):,}" for name in SPLITS)
    if "label" in zoo.table.column_names and len(zoo):
        labels, counts = np.unique(zoo.column("label"), return_counts=True)
        yield "labels", ", ".join(f"{label}: {count}" for label, count in zip(labels, counts, strict=True))
    if "psnr" in zoo.table.column_names and len(zoo):
        yield "PSNR", fit(zoo)
    for name, entries in (("source", manifest.source), ("settings", manifest.settings), ("forward", manifest.forward)):
        if entries:
            yield name, _listed(entries)
    yield "checksum", zoo.checksum


def _listed(entries: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in entries.items())
