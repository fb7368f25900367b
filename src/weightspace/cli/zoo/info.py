"""``weightspace zoo info``: what a zoo holds."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from rich.text import Text

from weightspace.zoo import Zoo, open_zoo
from weightspace.zoo.split import SPLITS

__all__ = ["info", "quality", "size"]


def info(path: Path, /) -> None:
    """Say what a zoo holds: its networks, how they were made, from what, and how good they are.

    Args:
        path: the zoo's folder.
    """
    zoo = open_zoo(path)
    lines = Table.grid(padding=(0, 2))
    for name, value in _facts(zoo):
        lines.add_row(Text(name, style="bold"), Text(value))
    Console().print(lines)


def size(zoo: Zoo) -> str:
    """How many networks there are, and how many there are to be; each row is one."""
    planned = zoo.manifest.count
    return f"{len(zoo):,} of {planned:,} planned" if planned and planned > len(zoo) else f"{len(zoo):,}"


def quality(zoo: Zoo) -> str:
    """How good the networks are at what they were made for; those that diverged are counted apart.

    Networks with checkpoints count once, by the last.
    """
    columns = zoo.table.column_names
    if "final" in columns:
        zoo = zoo.only(zoo.column("final"))
    told = []
    diverged = zoo.column("diverged") if "diverged" in columns else np.zeros(len(zoo), bool)
    for name, tell in (("psnr", _fit), ("test_accuracy", _accuracy)):
        if name in columns and not diverged.all():
            told.append(tell(zoo.column(name)[~diverged]))
    if diverged.any():
        told.append(f"{diverged.sum():,} diverged")
    return ", ".join(told)


def _fit(psnr: npt.NDArray[np.float32]) -> str:
    return f"{psnr.mean():.1f} dB on average, {psnr.min():.1f} dB at worst"


def _accuracy(accuracy: npt.NDArray[np.float32]) -> str:
    least, low, middle, high, most = np.quantile(accuracy, (0, 0.25, 0.5, 0.75, 1))
    return (
        f"test accuracy {middle:.1%} in the middle, a quarter below {low:.1%}, a quarter above {high:.1%}, "
        f"{least:.1%} at worst, {most:.1%} at best"
    )


def _facts(zoo: Zoo) -> Iterator[tuple[str, str]]:
    manifest = zoo.manifest
    yield "networks", f"{size(zoo)}, by the recipe {manifest.recipe}"
    yield "parameters", f"{zoo.spec.numel:,} each"
    yield "free units", ", ".join(f"{axis.size} x {axis.symmetry}" for axis in zoo.spec.free_axes) or "none"
    yield "splits", ", ".join(f"{name} {len(zoo.split(name)):,}" for name in SPLITS)
    if "label" in zoo.table.column_names and len(zoo):
        labels, counts = np.unique(zoo.column("label"), return_counts=True)
        yield "labels", ", ".join(f"{label}: {count}" for label, count in zip(labels, counts, strict=True))
    if "final" in zoo.table.column_names and len(zoo):
        networks = int(zoo.column("final").sum())
        yield "checkpoints", f"of {networks:,} networks; all rows of one lie in one split"
    if len(zoo):
        yield "quality", quality(zoo)
    for name, entries in (("source", manifest.source), ("settings", manifest.settings), ("forward", manifest.forward)):
        if entries:
            yield name, _listed(entries)
    yield "checksum", zoo.checksum


def _listed(entries: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in entries.items())
