"""The card of a zoo: a README.md that the Hugging Face hub understands, told by the manifest and the table alone."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from weightspace.disk import write_atomic
from weightspace.errors import FormatError
from weightspace.zoo.dataset import Zoo
from weightspace.zoo.split import SPLITS

__all__ = ["CARD_FILE", "card", "write_card"]

CARD_FILE = "README.md"
# What tells a card from a text that somebody wrote, which is never replaced.
_MARK = "<!-- Written by weightspace from the zoo's manifest. Delete this line to keep your changes. -->"
_LICENCE = re.compile(r"^license: (?P<name>\S+)$", re.MULTILINE)
_LICENCE_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]*")


def card(zoo: Zoo, *, license: str | None = None, data: str = "shards/*.parquet") -> str:
    """The text of a zoo's card: front matter for the hub, then what the zoo holds, how it was made and how it is read.

    Args:
        zoo: the zoo.
        license: as the hub names licences, such as ``cc-by-4.0``; ``unknown`` if left out.
        data: the Parquet files that the hub shows.

    Raises:
        FormatError: something that cannot be the name of a licence.
    """
    if license is not None and not _LICENCE_NAME.fullmatch(license):
        raise FormatError(f"{license!r} is no name of a licence; expected one of the hub's, such as cc-by-4.0 or mit.")
    name = zoo.path.resolve().name
    parts = [
        _front(zoo, name, license or "unknown", data),
        _MARK,
        f"# {_plain(name)}",
        f"{len(zoo):,} trained networks of {zoo.spec.numel:,} parameters each, one per row, as data for learning on "
        "weights.",
        _table(("", ""), _facts(zoo)),
        _metrics(zoo),
        _provenance(zoo),
        _code("Source", zoo.manifest.source),
        _code("Settings", zoo.manifest.settings),
        _READING if data.startswith("shards/") else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def write_card(zoo: Zoo, *, license: str | None = None, replace: bool = False) -> bool:
    """Writes a zoo's card into its folder; one that somebody changed or wrote stays.

    Args:
        zoo: the zoo.
        license: as :func:`card` takes it. If left out, a card that is there keeps its own.
        replace: whatever is there.

    Returns:
        Whether it was written.

    Raises:
        FormatError: as :func:`card`, or a card that cannot be read.
        StorageError: the folder cannot be written.
    """
    path = zoo.path / CARD_FILE
    try:
        there = path.read_text(errors="replace") if path.exists() else None
    except OSError as failure:
        raise FormatError(
            f"cannot read {path}: {failure}. Remedy: make it readable for you, or remove it."
        ) from failure
    if there is not None and _MARK not in there and not replace:
        return False
    kept = _LICENCE.search(there or "")
    write_atomic(path, card(zoo, license=license or (kept["name"] if kept else None)).encode(errors="replace"))
    return True


def _front(zoo: Zoo, name: str, license: str, data: str) -> str:
    """The hub's YAML, of which every JSON text is a part."""
    tags = ["weightspace", "weight-space-learning", "model-zoo", zoo.manifest.recipe]
    lines = [
        "---",
        f"license: {license}",
        f"pretty_name: {json.dumps(name)}",
        "tags:",
        *(f"- {json.dumps(tag)}" for tag in tags),
        "size_categories:",
        f"- {_size(len(zoo))}",
        "configs:",
        "- config_name: default",
        "  data_files:",
        "  - split: networks",
        f"    path: {json.dumps(data)}",
        "---",
    ]
    return "\n".join(lines)


def _size(count: int) -> str:
    """The hub's word for a number of rows."""
    names = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")
    bounds = [10 ** (3 + place) for place in range(len(names))]
    place = next((place for place, bound in enumerate(bounds) if count < bound), None)
    if place is None:
        return "1B<n<10B"
    return f"n<{names[0]}" if place == 0 else f"{names[place - 1]}<n<{names[place]}"


def _facts(zoo: Zoo) -> Iterator[tuple[str, str]]:
    manifest = zoo.manifest
    yield "recipe", manifest.recipe
    yield "free units", ", ".join(f"{axis.size} x {axis.symmetry}" for axis in zoo.spec.free_axes) or "none"
    yield "stored as", manifest.dtype
    yield "splits", ", ".join(f"{name} {len(zoo.split(name)):,}" for name in SPLITS)
    yield "checksum", zoo.checksum


def _metrics(zoo: Zoo) -> str:
    """Least, middle and most of each column of floating point numbers."""
    rows = []
    for field in zoo.table.schema:
        values = zoo.column(field.name)
        if values.dtype.kind == "f" and len(values) and np.isfinite(values).any():
            known = values[np.isfinite(values)]
            rows.append((field.name, *(f"{number:.4g}" for number in np.quantile(known, (0, 0.5, 1)))))
    return _table(("column", "least", "median", "most"), rows) if rows else ""


def _provenance(zoo: Zoo) -> str:
    """What it was put together from."""
    entries = [*zoo.manifest.provenance, *zoo.manifest.appended]
    told = [tuple(str(entry.get(key, "")) for key in ("name", "networks", "checksum")) for entry in entries]
    return "## Put together from\n\n" + _table(("zoo", "networks", "checksum"), told) if told else ""


def _code(title: str, entries: Mapping[str, Any]) -> str:
    # Four backticks: no entry of a manifest ends the block.
    return f"## {title}\n\n````json\n{json.dumps(entries, indent=1)}\n````" if entries else ""


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]] | list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(_plain(cell) for cell in line)} |" for line in lines)


def _plain(text: str) -> str:
    """A text that stays in its cell."""
    return re.sub(r"[\s|<>`]+", " ", text)


_READING = """## How to read it

```python
from weightspace.zoo import open_zoo

zoo = open_zoo("path/of/this/folder")
features, table = zoo.features(zoo.split("train")), zoo.table
```

Without weightspace: `shards/*.safetensors` hold one matrix `weights` each, a network per row; the rows of
`shards/*.parquet` are these networks, in the same order. `zoo.json` says how parameters lie in a row."""
