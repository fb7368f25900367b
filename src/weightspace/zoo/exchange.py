"""Zoos as data sets of the Hugging Face library `datasets`, and as Parquet files that it loads; and back."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from weightspace.disk import sweep, write_atomic
from weightspace.errors import DataError, FormatError
from weightspace.spec import NetworkSpec
from weightspace.weights import unflatten
from weightspace.zoo.card import CARD_FILE, card
from weightspace.zoo.composition import shard_rows
from weightspace.zoo.dataset import Zoo, open_zoo
from weightspace.zoo.format import Manifest, rows_digest
from weightspace.zoo.precision import precision_of
from weightspace.zoo.split import assign
from weightspace.zoo.store import ZooWriter

__all__ = ["export", "from_dataset", "to_dataset"]

Progress = Callable[[int, int], None]

Dataset = Any
"""A `datasets.Dataset`; the library, which is optional, is imported where one is made."""

_WEIGHTS = "weights"
_TOLD = "manifest.json"


def to_dataset(zoo: Zoo) -> Dataset:
    """A zoo as a data set: the columns of its table, and ``weights``, float32, parameters in the order of the spec.

    All weights are held in memory; :func:`export` is for zoos that do not fit.

    Args:
        zoo: the zoo, or a part of one: ``zoo.only(...)``.

    Raises:
        DataError: `datasets` is not installed, or the table has a column of that name.
        FormatError: a shard that is damaged.
    """
    try:
        import datasets
    except ImportError as failure:
        raise DataError("the library datasets is not installed. Remedy: pip install 'weightspace[hub]'.") from failure
    return datasets.Dataset(pa.concat_tables(list(_tables(zoo))))


def from_dataset(
    dataset: Dataset,
    spec: NetworkSpec | Manifest,
    out: str | Path,
    *,
    dtype: str = "float32",
    progress: Progress | None = None,
) -> Zoo:
    """A zoo of the rows of a data set; a second call goes on where the first one stopped.

    Rows without a ``number`` are numbered in order; without a ``split`` they get one by their number.

    Args:
        dataset: with a column ``weights``, a list of floating point numbers for each network.
        spec: the weight space, or the whole manifest of the zoo, such as that of the zoo the data set was made of.
        out: folder of the new zoo.
        dtype: in which weights are stored, where no manifest says it.
        progress: called with the number of networks that are there, and of all, after each shard.

    Raises:
        FormatError: no such column, rows of another length than the spec has parameters, columns that no zoo holds, or
            another zoo in the folder.
        StorageError: the folder cannot be written.
    """
    manifest = spec if isinstance(spec, Manifest) else _manifest(dataset, spec, dtype)
    writer, rows = ZooWriter(out, manifest), shard_rows(manifest.spec)
    for shard, begin in enumerate(range(0, len(dataset), rows)):
        end = min(begin + rows, len(dataset))
        if writer.rows.get(shard) != end - begin:
            table = _part(dataset, begin, end)
            flat = _matrix(table, manifest.spec.numel)
            writer.write(shard, unflatten(manifest.spec, flat), _complete(table.drop_columns([_WEIGHTS]), begin))
        if progress is not None:
            progress(end, len(dataset))
    return open_zoo(out)


def export(zoo: Zoo, dest: str | Path, *, license: str | None = None, progress: Progress | None = None) -> None:
    """Writes a zoo as Parquet files with a column ``weights`` and a card: a folder that the hub and `datasets` read.

    It holds one file at a time and goes on where it stopped; ``datasets.load_dataset(dest, split="networks")`` loads
    it.

    Args:
        zoo: the zoo, or a part of one: ``zoo.only(...)``.
        dest: the folder, new or of the same export.
        license: as the hub names licences.
        progress: called with the number of networks that are there, and of all, after each file.

    Raises:
        FormatError: something else in the folder, or a shard that is damaged.
        StorageError: the folder cannot be written.
    """
    root = Path(dest)
    told = {"checksum": zoo.checksum, "manifest": json.loads(zoo.manifest.to_json())}
    _check_own(root, told)
    write_atomic(root / _TOLD, (json.dumps(told, indent=1) + "\n").encode())
    sweep(root / "data")
    done = 0
    for number, (table, path) in enumerate(_files(zoo, root)):
        if table is not None:
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink)
            write_atomic(path, bytes(sink.getvalue()))
        done = min(len(zoo), (number + 1) * shard_rows(zoo.spec))
        if progress is not None:
            progress(done, len(zoo))
    write_atomic(root / CARD_FILE, card(zoo, license=license, data="data/*.parquet").encode(errors="replace"))


def _files(zoo: Zoo, root: Path) -> Iterator[tuple[pa.Table | None, Path]]:
    """The files of an export; None in place of a table for those that are there, which were written whole."""
    rows = shard_rows(zoo.spec)
    for number, begin in enumerate(range(0, len(zoo), rows)):
        path = root / "data" / f"{number:05d}.parquet"
        yield None if path.exists() else _table(zoo, begin, begin + rows), path


def _tables(zoo: Zoo) -> Iterator[pa.Table]:
    rows = shard_rows(zoo.spec)
    for begin in range(0, max(len(zoo), 1), rows):
        yield _table(zoo, begin, begin + rows)


def _table(zoo: Zoo, begin: int, end: int) -> pa.Table:
    """Some rows of a zoo's table with their weights."""
    if _WEIGHTS in zoo.table.column_names:
        raise DataError(f"{zoo!r} has a column {_WEIGHTS!r} of its own, which stands for the weights here.")
    flat = zoo.matrix(slice(begin, end))
    weights = pa.FixedSizeListArray.from_arrays(pa.array(flat.numpy().reshape(-1)), zoo.spec.numel)
    return zoo.table.slice(begin, end - begin).append_column(_WEIGHTS, weights)


def _check_own(root: Path, told: dict[str, Any]) -> None:
    """Refuses a folder that holds something else."""
    if not root.exists() or (root.is_dir() and not any(root.iterdir())):
        return
    try:
        same = json.loads((root / _TOLD).read_bytes()) == told
    except (OSError, ValueError, RecursionError):
        same = False
    if not same:
        raise FormatError(f"{root} holds something else than this zoo's export. Remedy: give a new or empty folder.")


def _manifest(dataset: Dataset, spec: NetworkSpec, dtype: str) -> Manifest:
    """What is known of networks of which only the rows are: a digest of all of them, read once for it."""
    digest, rows = hashlib.sha256(), shard_rows(spec)
    for begin in range(0, len(dataset), rows):
        table = _part(dataset, begin, begin + rows)
        digest.update(_matrix(table, spec.numel).numpy().data)
        digest.update(rows_digest(_complete(table.drop_columns([_WEIGHTS]), begin)).encode())
    source = {"name": "datasets", "networks": len(dataset), "checksum": digest.hexdigest()}
    kind = precision_of(dtype).name
    return Manifest(spec=spec, recipe="dataset", settings={}, source=source, count=len(dataset), dtype=kind)


def _part(dataset: Dataset, begin: int, end: int) -> pa.Table:
    """Some rows as an Arrow table of the types that zoos hold."""
    if _WEIGHTS not in dataset.column_names:
        raise FormatError(f"the data set has the columns {dataset.column_names}; expected one named {_WEIGHTS!r}.")
    table = dataset.with_format("arrow")[begin : min(end, len(dataset))].replace_schema_metadata(None)
    return table.cast(pa.schema([(field.name, _kind(field.type)) for field in table.schema])).combine_chunks()


def _kind(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_large_list(kind):
        return pa.list_(kind.value_type)
    return kind


def _matrix(table: pa.Table, numel: int) -> Tensor:
    """The weights of a table as a matrix of float32."""
    column = table[_WEIGHTS].combine_chunks()
    kind = column.type
    if not (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)) or not pa.types.is_floating(kind.value_type):
        raise FormatError(f"column {_WEIGHTS!r} has type {kind}; expected lists of floating point numbers.")
    values = column.flatten()
    if column.null_count or values.null_count or len(values) != len(column) * numel or not _even(column, numel):
        raise FormatError(f"column {_WEIGHTS!r} has gaps or lists of other lengths; expected {numel} numbers in each.")
    return torch.from_numpy(values.to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(column), numel))


def _even(column: pa.Array, numel: int) -> bool:
    if pa.types.is_fixed_size_list(column.type):
        return bool(column.type.list_size == numel)
    return bool((column.value_lengths().to_numpy() == numel).all())


def _complete(table: pa.Table, begin: int) -> pa.Table:
    """The table with the columns that every zoo has."""
    if "number" not in table.column_names:
        table = table.append_column("number", pa.array(np.arange(begin, begin + table.num_rows)))
    if "split" not in table.column_names:
        table = table.append_column("split", pa.array(assign(table["number"].to_numpy()).tolist(), pa.string()))
    return table
