"""``weightspace zoo info``: what a zoo, or a set of plumes, holds."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from rich.text import Text

from weightspace.zoo import PROTOCOLS, Plumes, Zoo, open_plumes, open_zoo, open_zoos
from weightspace.zoo.collection import COLLECTION_FILE
from weightspace.zoo.plume import MANIFEST_FILE
from weightspace.zoo.split import SPLITS

__all__ = ["collection_there", "info", "plumes_there", "quality", "size"]


def info(path: Path, /) -> None:
    """Say what a zoo holds: its networks, how they were made, from what, and how good they are. Or a set of plumes.

    Of a folder of zoos, a line for each of them.

    Args:
        path: the folder.
    """
    if collection_there(path):
        for zoo in open_zoos(path):
            print(f"{zoo.path}: {size(zoo)} networks of {zoo.spec.numel:,} parameters, {quality(zoo)}.")
        return
    lines = Table.grid(padding=(0, 2))
    for name, value in _plume_facts(open_plumes(path)) if plumes_there(path) else _facts(open_zoo(path)):
        lines.add_row(Text(name, style="bold"), Text(value))
    Console().print(lines)


def plumes_there(path: Path) -> bool:
    """Whether a folder holds plumes and not networks."""
    return (path / MANIFEST_FILE).is_file()


def collection_there(path: Path) -> bool:
    """Whether a folder holds several zoos."""
    return (path / COLLECTION_FILE).is_file()


def size(made: Zoo | Plumes) -> str:
    """How many networks or plumes there are, and how many there are to be; each row of a zoo is one."""
    if isinstance(made, Plumes):
        found, planned = len(made.tasks), len(made.manifest.tasks)
    else:
        found, planned = len(made), made.manifest.count or 0
    return f"{found:,} of {planned:,} planned" if planned > found else f"{found:,}"


def quality(zoo: Zoo) -> str:
    """How good the networks are at what they were made for; those that diverged are counted apart.

    Networks with checkpoints count once, by the last.
    """
    columns = zoo.table.column_names
    if "final" in columns and zoo.column("final").dtype == np.bool_:
        zoo = zoo.only(zoo.column("final"))
    told = []
    diverged = zoo.column("diverged") if "diverged" in columns else np.zeros(len(zoo), bool)
    for name, tell in _TOLD.items():
        values = zoo.column(name)[~diverged] if name in columns else np.zeros(0)
        # Tables of imported zoos are their owners': whole numbers, texts and gaps are there too.
        known = values[np.isfinite(values)] if values.dtype.kind in "iuf" else values[:0]
        if len(known):
            told.append(tell(known.astype(np.float64)))
    if diverged.any():
        told.append(f"{diverged.sum():,} diverged")
    return ", ".join(told)


def _fit(psnr: npt.NDArray[np.float64]) -> str:
    return f"{psnr.mean():.1f} dB on average, {psnr.min():.1f} dB at worst"


def _accuracy(accuracy: npt.NDArray[np.float64]) -> str:
    least, low, middle, high, most = np.quantile(accuracy, (0, 0.25, 0.5, 0.75, 1))
    return (
        f"test accuracy {middle:.1%} in the middle, a quarter below {low:.1%}, a quarter above {high:.1%}, "
        f"{least:.1%} at worst, {most:.1%} at best"
    )


def _return(returns: npt.NDArray[np.float64]) -> str:
    least, low, middle, high, most = np.quantile(returns, (0, 0.25, 0.5, 0.75, 1))
    return (
        f"return {middle:.1f} in the middle, a quarter below {low:.1f}, a quarter above {high:.1f}, "
        f"{least:.1f} at worst, {most:.1f} at best"
    )


def _near(errors: npt.NDArray[np.float64]) -> str:
    return f"{errors.mean():.4f} off the distances near the surface on average, {errors.max():.4f} at worst"


_TOLD = {"psnr": _fit, "test_accuracy": _accuracy, "mean_return": _return, "surface_error": _near}


def _spread(scaled: npt.NDArray[np.float64]) -> str:
    """How many policies there are in each tenth between the bounds of the return."""
    counts, _ = np.histogram(scaled, 10, (0, 1))
    return ", ".join(f"{tenth / 10:.1f}: {count:,}" for tenth, count in enumerate(counts))


def _facts(zoo: Zoo) -> Iterator[tuple[str, str]]:
    manifest = zoo.manifest
    yield "networks", f"{size(zoo)}, by the recipe {manifest.recipe}"
    yield "parameters", f"{zoo.spec.numel:,} each, stored as {manifest.dtype}"
    yield "free units", ", ".join(f"{axis.size} x {axis.symmetry}" for axis in zoo.spec.free_axes) or "none"
    yield "splits", ", ".join(f"{name} {len(zoo.split(name)):,}" for name in SPLITS)
    if "label" in zoo.table.column_names and len(zoo):
        labels, counts = np.unique(zoo.column("label"), return_counts=True)
        yield "labels", ", ".join(f"{label}: {count}" for label, count in zip(labels, counts, strict=True))
    if "final" in zoo.table.column_names and len(zoo) and zoo.column("final").dtype == np.bool_:
        networks = int(zoo.column("final").sum())
        yield "checkpoints", f"of {networks:,} networks; all rows of one lie in one split"
    if "scaled_return" in zoo.table.column_names and len(zoo):
        yield "scaled returns", f"of all rows, by tenths from {_spread(zoo.column('scaled_return'))}"
        yield "constant", f"{zoo.column('constant').sum():,} policies that never change their action"
    if len(zoo):
        yield "quality", quality(zoo)
    # How an imported architecture looks in full is for programs to read.
    settings = {name: value.get("kind") if name == "template" else value for name, value in manifest.settings.items()}
    for name, entries in (("source", manifest.source), ("settings", settings), ("forward", manifest.forward)):
        if entries:
            yield name, _listed(entries)
    for name in ("provenance", "appended"):
        told = [f"{entry.get('name')}: {entry.get('networks')} networks" for entry in getattr(manifest, name)]
        if told:
            yield name, "\n".join(told)
    yield "checksum", zoo.checksum


def _plume_facts(plumes: Plumes) -> Iterator[tuple[str, str]]:
    manifest = plumes.manifest
    frames, _, height, width = manifest.shape
    yield "plumes", f"{size(plumes)}, {manifest.kind}"
    yield "frames", f"{frames} each, of {height} x {width}, {manifest.dtype}"
    if manifest.kind in PROTOCOLS:
        counts = plumes.protocol.counts(manifest.tasks, frames)
        told = ", ".join(f"{name} {count:,}" for name, count in counts.items())
        yield "windows", told or "none by the protocol, which needs longer runs"
    yield "settings", _listed(manifest.settings)
    yield "size", f"{sum(size for _, size in manifest.files.values()) / 1e6:,.1f} MB"


def _listed(entries: Mapping[str, Any]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in entries.items())
