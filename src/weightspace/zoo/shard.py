"""One shard of a zoo on disk: where it lies, whether it was committed, and whether it is whole."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from weightspace.errors import DataError, FormatError
from weightspace.zoo.format import SHARD_FOLDER, Layout, Manifest, ShardRecord, decode_table, read_layout

__all__ = ["REMOVE", "Shard", "committed", "read_shard", "shard_files", "verify"]

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
    """
    folder = path / SHARD_FOLDER
    try:
        files = [Path(name) for name in os.listdir(folder)]
    except FileNotFoundError:
        return []
    except OSError as failure:
        raise DataError(
            f"cannot list {folder}: {failure.strerror}. Remedy: check that it is a folder that you may read."
        ) from failure
    return sorted(int(file.stem) for file in files if file.suffix == ".parquet" and file.stem.isdigit())


def read_shard(path: Path, number: int, manifest: Manifest) -> Shard:
    """A shard's table, and where its weights lie, without reading them.

    Raises:
        FormatError: a file missing, cut short or damaged, or of another zoo.
    """
    weights_path, table_path = shard_files(path, number)
    file = table_path
    try:
        table, record = decode_table(table_path.read_bytes())
        file = weights_path
        layout = read_layout(weights_path)
        size = weights_path.stat().st_size
    except (FormatError, OSError) as failure:
        raise _damaged(number, f"{file}: {failure}") from failure
    if record.manifest != manifest.digest:
        raise FormatError(f"shard {number} ({table_path}) was written for a zoo with another manifest. {REMOVE}")
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
    if found != shard.record.sha256:
        expected = shard.record.sha256
        raise _damaged(shard.number, f"{shard.path} has sha256 {found[:16]}...; expected {expected[:16]}...")


def _damaged(number: int, told: str) -> FormatError:
    return FormatError(
        f"shard {number} is damaged: {told}. "
        f"Remedy: `weightspace zoo make`, or `zoo import`, with the same settings makes just this shard again."
    )
