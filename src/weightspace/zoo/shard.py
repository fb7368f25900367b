"""One shard of a zoo on disk: where it lies, whether it was committed, and whether it is whole."""

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from weightspace.errors import DataError, FormatError
from weightspace.zoo.format import SHARD_FOLDER, Layout, Manifest, ShardRecord, decode_table, read_layout
from weightspace.zoo.link import check_inside
from weightspace.zoo.precision import PRECISIONS

__all__ = ["REMOVE", "Shard", "committed", "mapped", "read_shard", "shard_files", "verify"]

# As shard_files writes numbers, and no other way: "3" or Arabic digits would lead to another file.
_TABLE = re.compile(r"(?P<number>[0-9]{5}|[1-9][0-9]{5,17})\.parquet", re.ASCII)

_NEEDED = {"number": pa.int64(), "split": pa.string()}

REMOVE = "Remedy: remove its two files; `weightspace zoo make` or `zoo import` with the same settings makes it again."


@dataclass(frozen=True)
class Shard:
    """One committed shard: its weights' file and layout, its table, and what the table records."""

    number: int
    path: Path
    layout: Layout
    table: pa.Table
    record: ShardRecord


def shard_files(path: Path, number: int) -> tuple[Path, Path]:
    """The files of a shard of the zoo in a folder: weights, table.

    Example:
        >>> [file.name for file in shard_files(Path("zoo"), 3)]
        ['00003.safetensors', '00003.parquet']
    """
    stem = path / SHARD_FOLDER / f"{number:05d}"
    return stem.with_suffix(".safetensors"), stem.with_suffix(".parquet")


def committed(path: Path) -> list[int]:
    """Numbers of the shards that were committed, in order.

    Raises:
        DataError: the folder may not be listed.
        FormatError: it is a link that leads elsewhere.
    """
    folder = path / SHARD_FOLDER
    try:
        check_inside(path, folder)
        found = [_TABLE.fullmatch(name) for name in os.listdir(folder)]
    except FileNotFoundError:
        return []
    except OSError as failure:
        raise DataError(
            f"cannot list {folder}: {failure.strerror}. Remedy: check that it is a folder that you may read."
        ) from failure
    return sorted(int(match["number"]) for match in found if match)


def read_shard(path: Path, number: int, manifest: Manifest) -> Shard:
    """A shard's table, and where its weights lie, without reading them.

    Raises:
        FormatError: a file missing, cut short or damaged, or of another zoo.
    """
    weights_path, table_path = shard_files(path, number)
    file = weights_path
    try:
        check_inside(path, weights_path)
        layout = read_layout(weights_path)
        size = weights_path.stat().st_size
        file = table_path
        check_inside(path, table_path)
        table, record = decode_table(table_path.read_bytes(), layout.networks)
    except (FormatError, OSError) as failure:
        raise _damaged(number, f"{file}: {failure}") from failure
    if record.manifest != manifest.digest:
        raise FormatError(f"shard {number} ({table_path}) was written for a zoo with another manifest. {REMOVE}")
    if layout.dtype != PRECISIONS[manifest.dtype].stored:
        raise _damaged(number, f"{weights_path} holds weights of {layout.dtype}; expected {manifest.dtype}")
    if not _NEEDED.items() <= dict(zip(table.schema.names, table.schema.types, strict=True)).items():
        raise _damaged(number, f"{table_path} has the columns {table.schema.names}; expected number and split")
    found = (size, layout.networks, layout.parameters)
    expected = (record.size, table.num_rows, manifest.spec.numel)
    if found != expected:
        raise _damaged(number, f"{weights_path} has (bytes, networks, parameters) {found}; expected {expected}")
    return Shard(number, weights_path, layout, table, record)


def verify(shard: Shard) -> None:
    """Reads all weights of a shard and compares their digest with the recorded one.

    Raises:
        FormatError: they differ, or cannot be read.
    """
    try:
        with shard.path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as failure:
        raise _damaged(shard.number, f"{shard.path}: {failure}") from failure
    _check_digest(shard, found)


def mapped(shard: Shard) -> np.ndarray:
    """The weights of a shard as they are stored, mapped from the disk and verified.

    Digesting the mapped bytes brings every page into this process, so that no later row waits for one.

    Shapes:
        result: ``(networks, parameters)``, read-only.

    Raises:
        FormatError: the weights differ from those that were written, or cannot be read.
    """
    layout, size = shard.layout, (shard.layout.networks, shard.layout.parameters)
    raw = next(kind.raw for kind in PRECISIONS.values() if kind.stored == layout.dtype)
    try:
        whole = np.memmap(shard.path, np.uint8, "r")
        if len(whole) != shard.record.size:
            raise ValueError(f"{len(whole):,} bytes; expected {shard.record.size:,}")
    except (OSError, ValueError) as failure:
        raise _damaged(shard.number, f"{shard.path}: {failure}") from failure
    _check_digest(shard, hashlib.sha256(whole.data).hexdigest())
    return np.asarray(np.ndarray(size, raw, whole, layout.offset))


def _check_digest(shard: Shard, found: str) -> None:
    if found != shard.record.sha256:
        expected = shard.record.sha256
        raise _damaged(shard.number, f"{shard.path} has sha256 {found[:16]}...; expected {expected[:16]}...")


def _damaged(number: int, told: str) -> FormatError:
    return FormatError(
        f"shard {number} is damaged: {told}. "
        f"Remedy: `weightspace zoo make`, or `zoo import`, with the same settings makes just this shard again."
    )
