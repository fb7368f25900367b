"""A folder of state dicts with a table of what is known of them.

.. code-block:: text

    labels.csv            file,label,split,...
    networks/0001.pt      the state dict that the row with file networks/0001.pt tells of
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from weightspace.errors import FormatError
from weightspace.weights.source.file import STATES, read_state
from weightspace.zoo.readers.architecture import described
from weightspace.zoo.readers.collection import Collection, ImportSettings, Request
from weightspace.zoo.readers.file import Files
from weightspace.zoo.readers.table import check_lineage, check_published, check_splits, drawn, numbered, read_csv
from weightspace.zoo.readers.tree import check_name, checked_file, listing, nearest, walk

__all__ = ["read_labels", "read_state_dicts"]

Labelled = tuple[list[str], dict[str, Any], Any]

_RESERVED = ("number", "sha256", "stored", "diverged")


def read_state_dicts(request: Request) -> Collection:
    """The networks that the table names, in its order; its columns are kept.

    A column ``split`` is the split (train, val, test), and a column ``network`` says which rows are of one network:
    its checkpoints never stand in several splits. Without a split one is drawn, by ``network`` where there is one.

    Args:
        request: what the architecture is; its settings ``labels``, ``count``, ``seed`` and ``fractions`` count.

    Raises:
        FormatError: no table, a file that it names and that is not there, a file there twice, a split that is none or
            that shares a network, files of several architectures.
        SpecError: the architecture was not told.
    """
    root, settings = request.root, request.settings
    path = settings.labels or checked_file(root, root / "labels.csv")
    present = walk(root, STATES)
    names, columns, split = read_labels(path, present, settings)
    first = root / names[0]
    architecture, notes = described(request, read_state(first), first)
    files = Files(root, names, architecture)
    left = len(present) - len(names)
    if left:
        notes = (*notes, f"the source: {left:,} files that {path.name} does not name were left out")
    return Collection(
        spec=architecture.spec,
        table=pa.table(columns),
        read=files.read,
        digest=files.digest_of,
        settings={"template": architecture.record, "split": split},
        forward={},
        source=listing(root, names, [path]) | {"left_out": left},
        notes=notes,
    )


def read_labels(path: Path, present: Sequence[str], settings: ImportSettings) -> Labelled:
    """The networks that a table names, its columns with ``number`` and ``split``, and where the split is from.

    Args:
        path: a csv file with the column ``file``.
        present: names that may stand there.
        settings: how splits are drawn where the table has none.

    Raises:
        FormatError: as for :func:`read_state_dicts`.
    """
    table = read_csv(path, ["file"])
    known = set(present)
    names = [check_name(str(name), path) for name in table["file"].to_pylist()]
    if not names:
        raise FormatError(f"{path} names no networks.")
    for row, name in enumerate(names, start=1):
        if name not in known:
            raise FormatError(
                f"{path} names {name!r} in row {row}, which the source does not hold{nearest(name, present[:1000])}. "
                "Remedy: name files relative to the source's folder."
            )
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise FormatError(f"{path} names {twice!r} more than once; expected one row per network.")
    columns = {name: table[name].combine_chunks() for name in table.column_names if name != "file"}
    for name in _RESERVED:
        if name in columns:
            raise FormatError(f"{path} has a column {name!r}, which a zoo fills itself. Remedy: call it otherwise.")
    published = "split" in columns
    split = path.name if published else {"seed": settings.seed, "fractions": settings.fractions}
    return names, {"number": np.arange(len(names)), **_with_split(columns, names, path, settings)}, split


def _with_split(columns: dict[str, Any], names: list[str], path: Path, settings: ImportSettings) -> dict[str, Any]:
    lineage = columns["network"].to_pylist() if "network" in columns else names
    networks = numbered(lineage)
    if "split" in columns:
        check_published(settings, path)
        splits = check_splits([str(split) for split in columns["split"].to_pylist()], path)
        check_lineage(networks, splits, path)
    else:
        splits = drawn(networks, settings)
    columns["split"] = pa.array(splits.tolist(), pa.string())
    return columns
