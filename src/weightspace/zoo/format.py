"""How a zoo lies on disk: a manifest, and shards of weights with a table of their networks.

.. code-block:: text

    zoo.json                   what the networks are: spec, recipe and its settings, exact forward pass, source
    shards/00000.safetensors   one tensor "weights" (networks, parameters), float32, columns in the spec's order
    shards/00000.parquet       one row per network; its metadata holds the digest and size of the weights

The table is written after the weights, and its presence commits the shard. Every byte that matters is covered: the
weights by the digest in the table's metadata, the table's content by a digest of its own, and each shard carries the
digest of its manifest, so that shards of different zoos cannot be mixed. Nothing is ever unpickled.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import save
from torch import Tensor

from weightspace.errors import FormatError, SpecError
from weightspace.spec import NetworkSpec

__all__ = [
    "FORMAT",
    "MANIFEST_FILE",
    "SHARD_FOLDER",
    "VERSION",
    "Layout",
    "Manifest",
    "ShardRecord",
    "Stored",
    "decode_table",
    "encode_table",
    "encode_weights",
    "read_layout",
    "read_stored",
    "rows_digest",
]

FORMAT = "weightspace-zoo"
VERSION = 1
MANIFEST_FILE = "zoo.json"
SHARD_FOLDER = "shards"
_RESTORE = (
    "Remedy: restore it, or remove it: `weightspace zoo make` or `zoo import` with the settings of this zoo keeps its "
    "shards."
)

_TENSOR = "weights"
_METADATA = b"weightspace"
_HEADER_LIMIT = 1 << 20
# Bytes of a value, by the names that safetensors has for floating point types.
_WIDTHS = {"F16": 2, "F32": 4, "F64": 8}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What the networks of a zoo are and how they were made.

    Args:
        spec: the weight space that all of them lie in.
        recipe: the name of what made them.
        settings: the recipe's settings, as JSON knows them (tuples become lists).
        forward: the exact forward pass: constants, output offset, coordinate range.
        source: the data they were made from, with its checksum.
        count: how many networks are planned; None where that is not known. The only entry that may change later:
            a zoo may grow.

    Raises:
        FormatError: an entry that JSON cannot hold.

    Example:
        >>> from torch import nn
        >>> from weightspace.spec import spec_of
        >>> manifest = Manifest(spec=spec_of(nn.Linear(2, 1)), recipe="lines", settings={"seed": 0, "steps": (1, 2)})
        >>> Manifest.from_json(manifest.to_json()) == manifest
        True
        >>> manifest.settings
        {'seed': 0, 'steps': [1, 2]}
    """

    spec: NetworkSpec
    recipe: str
    settings: Mapping[str, Any]
    forward: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    count: int | None = None

    def __post_init__(self) -> None:
        for name in ("settings", "forward", "source"):
            try:
                plain = json.loads(json.dumps(dict(getattr(self, name)), allow_nan=False))
            except (TypeError, ValueError) as failure:
                raise FormatError(
                    f"{name} of the manifest holds something that JSON cannot: {failure}. "
                    f"Expected texts, finite numbers, booleans, lists and mappings."
                ) from failure
            object.__setattr__(self, name, plain)

    def identity(self) -> dict[str, Any]:
        """The entries that make a zoo this zoo, as JSON values: all but the planned count."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "recipe": self.recipe,
            "settings": self.settings,
            "forward": self.forward,
            "source": self.source,
            "spec": json.loads(self.spec.to_json()),
        }

    @property
    def digest(self) -> str:
        """sha256 (hex) of the identity."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()

    def to_json(self) -> str:
        """The text of ``zoo.json``."""
        return json.dumps({**self.identity(), "count": self.count}, indent=1) + "\n"

    @staticmethod
    def from_json(text: str | bytes) -> "Manifest":
        """The manifest that :meth:`to_json` wrote.

        Raises:
            FormatError: not JSON, another format, a newer version, or an entry missing.
        """
        try:
            plain = json.loads(text)
        except ValueError as failure:
            raise FormatError(f"not JSON ({failure}). {_RESTORE}") from failure
        if not isinstance(plain, dict) or plain.get("format") != FORMAT:
            raise FormatError(f'not the manifest of a zoo: it has no entry "format": "{FORMAT}". {_RESTORE}')
        version = plain.get("version")
        if version != VERSION:
            raise FormatError(
                f"zoo format {version!r}; this weightspace reads format {VERSION}. "
                f"Remedy: upgrade weightspace, or make the zoo in another folder with this one."
            )
        try:
            parts = {name: plain[name] for name in ("recipe", "settings", "forward", "source", "count")}
            return Manifest(spec=NetworkSpec.from_json(json.dumps(plain["spec"])), **parts)
        except (KeyError, TypeError, ValueError, SpecError) as failure:
            raise FormatError(f"entry missing or damaged: {failure}. {_RESTORE}") from failure

    def differences(self, other: "Manifest") -> dict[str, tuple[Any, Any]]:
        """Each entry of the identity that differs: ``{"settings.omega": (here, there)}``."""
        here, there = _leaves(self.identity()), _leaves(other.identity())
        keys = [*here, *(key for key in there if key not in here)]
        return {key: (here.get(key), there.get(key)) for key in keys if here.get(key) != there.get(key)}


@dataclass(frozen=True)
class ShardRecord:
    """What a shard's table records of it: digest and size of its weights, digests of its manifest and its rows."""

    sha256: str
    size: int
    manifest: str
    rows: str


@dataclass(frozen=True)
class Layout:
    """Where the weights lie in a safetensors file.

    Args:
        offset: bytes before the first value.
        networks: rows.
        parameters: columns.
    """

    offset: int
    networks: int
    parameters: int


@dataclass(frozen=True)
class Stored:
    """Where the only tensor of a safetensors file lies.

    Args:
        offset: bytes before the first value.
        dtype: as safetensors names it.
        shape: of the tensor.
    """

    offset: int
    dtype: str
    shape: tuple[int, ...]


def encode_weights(flat: Tensor) -> bytes:
    """The safetensors file of one shard.

    Shapes:
        flat: ``(networks, parameters)``, float32.
    """
    return save({_TENSOR: flat.detach().cpu().contiguous()})


def read_layout(path: Path) -> Layout:
    """Where the weights lie in a shard, after checking that its header and its size agree.

    Raises:
        FormatError: not a safetensors file with one float32 matrix "weights", or one cut short.
    """
    stored = read_stored(path, _TENSOR)
    if stored.dtype != "F32" or len(stored.shape) != 2:
        raise FormatError(
            f'the header describes "{_TENSOR}" as {stored.dtype} of shape {stored.shape}; expected a float32 matrix'
        )
    return Layout(stored.offset, *stored.shape)


def read_stored(path: Path, name: str) -> Stored:
    """Where the only tensor of a safetensors file lies, after checking that its header and its size agree.

    Args:
        path: the file.
        name: of the tensor.

    Raises:
        FormatError: not a safetensors file, one without that tensor at its beginning, or one cut short.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, _HEADER_LIMIT):
            raise FormatError(f"{size} bytes do not hold a safetensors header")
        header = file.read(length)
    try:
        entry = json.loads(header)[name]
        begin, end = entry["data_offsets"]
        stored = Stored(8 + length, entry["dtype"], tuple(int(side) for side in entry["shape"]))
    except (ValueError, KeyError, TypeError) as failure:
        raise FormatError(f'the header describes no tensor "{name}" ({failure!r})') from failure
    if begin != 0 or end != math.prod(stored.shape) * _WIDTHS.get(stored.dtype, 0):
        raise FormatError(f'the header describes "{name}" as {entry}; expected floating point values from offset 0')
    if size != 8 + length + end:
        raise FormatError(f"{size} bytes, where the header asks for {8 + length + end}")
    return stored


def encode_table(table: pa.Table, weights: bytes, manifest: Manifest) -> bytes:
    """The Parquet file that commits a shard.

    Args:
        table: one row per network, columns of integers, floating point numbers, booleans, texts and lists of
            floating point numbers (curves), without gaps.
        weights: the shard's safetensors file.
        manifest: that of the zoo.

    Raises:
        FormatError: a column of another type, or one with gaps.
    """
    record = ShardRecord(hashlib.sha256(weights).hexdigest(), len(weights), manifest.digest, rows_digest(table))
    sink = pa.BufferOutputStream()
    marked = table.replace_schema_metadata({_METADATA: json.dumps(asdict(record)).encode()})
    pq.write_table(marked, sink, write_page_checksum=True)
    return bytes(sink.getvalue())


def decode_table(content: bytes) -> tuple[pa.Table, ShardRecord]:
    """The table of a shard and what it records, verified against the digest of its rows.

    Raises:
        FormatError: not a Parquet file that :func:`encode_table` wrote, or one that was changed since.
    """
    try:
        table = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True).read(use_threads=False)
        record = ShardRecord(**json.loads(table.schema.metadata[_METADATA]))
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as failure:
        raise FormatError(f"not a readable table of a shard ({failure})") from failure
    table = table.replace_schema_metadata(None)
    if rows_digest(table) != record.rows:
        raise FormatError("its rows differ from those that were written")
    return table, record


def rows_digest(table: pa.Table) -> str:
    """sha256 (hex) of names, types and values: the same however Arrow or Parquet cut or packed them.

    Raises:
        FormatError: a column of a type that a zoo's table does not hold, or one with gaps.
    """
    digest = hashlib.sha256()
    for name, column in zip(table.column_names, table.columns, strict=True):
        if column.null_count:
            raise FormatError(f"column {name!r} has {column.null_count} gaps; give every network a value.")
        # Parquet gives the entries of a list another name than Arrow.
        kind = f"list<{column.type.value_type}>" if pa.types.is_list(column.type) else column.type
        digest.update(f"{name}\0{kind}\0{len(column)}\0".encode())
        for part in _canonical(name, column):
            digest.update(part)
    return digest.hexdigest()


def _canonical(name: str, column: pa.ChunkedArray) -> list[bytes]:
    """A column's values as bytes that depend on nothing else."""
    kind = column.type
    if pa.types.is_string(kind):
        # Positions in order of first appearance, then the words: a few words repeat a million times.
        words = column.combine_chunks().dictionary_encode()
        return [words.indices.to_numpy().astype("<i4").tobytes(), "\0".join(words.dictionary.to_pylist()).encode()]
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        values = column.to_numpy()
        return [values.astype(values.dtype.newbyteorder("<")).tobytes()]
    if pa.types.is_list(kind) and pa.types.is_floating(kind.value_type):
        lists = column.combine_chunks()
        lengths, values = lists.value_lengths().to_numpy(), lists.flatten().to_numpy()
        return [lengths.astype("<i4").tobytes(), values.astype(values.dtype.newbyteorder("<")).tobytes()]
    raise FormatError(
        f"column {name!r} has type {kind}; "
        f"expected integers, floating point, booleans, texts or lists of floating point."
    )


def _leaves(plain: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping with dotted keys."""
    if not isinstance(plain, Mapping) or not plain:
        return {prefix: plain}
    leaves: dict[str, Any] = {}
    for key, value in plain.items():
        leaves |= _leaves(value, f"{prefix}.{key}" if prefix else str(key))
    return leaves
