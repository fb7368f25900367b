"""How a zoo lies on disk: a manifest, and shards of weights with a table of their networks.

.. code-block:: text

    zoo.json                   what the networks are: spec, recipe and its settings, exact forward pass, source, type
    shards/00000.safetensors   one tensor "weights" (networks, parameters) of that type, columns in the spec's order
    shards/00000.parquet       one row per network; its metadata holds the digest and size of the weights

The table is written after the weights, and its presence commits the shard. Every byte that matters is covered: the
weights by the digest in the table's metadata, the table's content by a digest of its own, and each shard carries the
digest of its manifest, so that shards of different zoos cannot be mixed. Nothing is ever unpickled. What is read is
not trusted: whatever the bytes are, they are either a zoo or an error that says why not.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.torch import save
from torch import Tensor

from weightspace.errors import FormatError, WeightspaceError
from weightspace.spec import NetworkSpec
from weightspace.zoo.precision import PRECISIONS
from weightspace.zoo.upgrade import upgrade

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
    "leaves",
    "read_layout",
    "read_stored",
    "rows_digest",
]

FORMAT = "weightspace-zoo"
VERSION = 2
MANIFEST_FILE = "zoo.json"
SHARD_FOLDER = "shards"
_RESTORE = (
    "Remedy: restore it, or remove it: `weightspace zoo make` or `zoo import` with the settings of this zoo keeps its "
    "shards."
)

_PARTS = ("recipe", "settings", "forward", "source", "count")
_TENSOR = "weights"
_METADATA = b"weightspace"
_HEADER_LIMIT = 1 << 20
# More than a network could have, and few enough that no size computed from it overflows.
_NUMEL_LIMIT = 1 << 40
_MOST_SIDES = 8
# Bytes of a value, by the names that safetensors has for floating point types.
_WIDTHS = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8}
# What parsing the text of somebody else may end with; the last two for what is too deep or too large.
_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError, MemoryError)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What the networks of a zoo are and how they were made.

    Args:
        spec: the weight space that all of them lie in.
        recipe: the name of what made them.
        settings: the recipe's settings, as JSON knows them (tuples become lists).
        forward: the exact forward pass: constants, output offset, coordinate range.
        source: the data they were made from, with its checksum.
        count: how many networks are planned; None where that is not known.
        dtype: the type in which weights are stored: float32, bfloat16 or float16.
        provenance: the zoos that it was put together from, with their checksums; empty for one that was made.
        appended: the zoos whose networks were added later, likewise. This and the count are the only entries that may
            change: a zoo may grow.

    Raises:
        FormatError: an entry of another kind, or one that JSON cannot hold.

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
    dtype: str = "float32"
    provenance: Sequence[Mapping[str, Any]] = ()
    appended: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        for name in ("settings", "forward", "source"):
            object.__setattr__(self, name, _plain(name, getattr(self, name), dict))
        for name in ("provenance", "appended"):
            entries = _plain(name, getattr(self, name), list)
            object.__setattr__(self, name, [_plain(f"an entry of {name}", entry, dict) for entry in entries])
        _check(self)

    def identity(self) -> dict[str, Any]:
        """The entries that make a zoo this zoo, as JSON values: all but the planned count and what was appended.

        What version 1 did not know stands here only where it differs from what was meant then. Shards of a zoo of
        version 1 are shards of its upgraded manifest for this reason.
        """
        return {
            "format": FORMAT,
            "version": 1,
            "recipe": self.recipe,
            "settings": self.settings,
            "forward": self.forward,
            "source": self.source,
            "spec": json.loads(self.spec.to_json()),
            **({"dtype": self.dtype} if self.dtype != "float32" else {}),
            **({"provenance": self.provenance} if self.provenance else {}),
        }

    @property
    def digest(self) -> str:
        """sha256 (hex) of the identity."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()

    @property
    def own_count(self) -> int | None:
        """How many networks are planned without those that were appended."""
        return None if self.count is None else self.count - sum(entry["networks"] for entry in self.appended)

    def to_json(self) -> str:
        """The text of ``zoo.json``."""
        newer = {name: getattr(self, name) for name in ("dtype", "provenance", "appended", "count")}
        return json.dumps({**self.identity(), "version": VERSION, **newer}, indent=1) + "\n"

    @staticmethod
    def from_json(text: str | bytes) -> "Manifest":
        """The manifest that :meth:`to_json` wrote, or that of an older version.

        Raises:
            FormatError: not JSON, another format, a newer version, or an entry missing or damaged.
        """
        try:
            plain = json.loads(text)
        except _UNREADABLE as failure:
            raise FormatError(f"not JSON ({_short(failure)}). {_RESTORE}") from failure
        if not isinstance(plain, dict) or plain.get("format") != FORMAT:
            raise FormatError(f'not the manifest of a zoo: it has no entry "format": "{FORMAT}". {_RESTORE}')
        plain = upgrade(plain)
        version = plain.get("version")
        if type(version) is not int or version != VERSION:
            raise FormatError(
                f"zoo format {_short(version)}; this weightspace reads formats 1 to {VERSION}. "
                f"Remedy: upgrade weightspace, or make the zoo in another folder with this one."
            )
        try:
            parts = {name: plain[name] for name in (*_PARTS, "dtype", "provenance", "appended")}
            return Manifest(spec=NetworkSpec.from_json(json.dumps(plain["spec"])), **parts)
        except (*_UNREADABLE, WeightspaceError) as failure:
            raise FormatError(f"entry missing or damaged: {_short(failure)}. {_RESTORE}") from failure

    def differences(self, other: "Manifest") -> dict[str, tuple[Any, Any]]:
        """Each entry of the identity that differs: ``{"settings.omega": (here, there)}``."""
        here, there = ({"dtype": one.dtype, **leaves(one.identity())} for one in (self, other))
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
        dtype: the type of the weights, as safetensors names it.
    """

    offset: int
    networks: int
    parameters: int
    dtype: str


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
        flat: ``(networks, parameters)``, of the type to be stored.
    """
    return save({_TENSOR: flat.detach().cpu().contiguous()})


def read_layout(path: Path) -> Layout:
    """Where the weights lie in a shard, after checking that its header and its size agree.

    Raises:
        FormatError: not a safetensors file with one matrix "weights" of a type that zoos have, or one cut short.
    """
    stored = read_stored(path, _TENSOR)
    if stored.dtype not in {kind.stored for kind in PRECISIONS.values()} or len(stored.shape) != 2:
        raise FormatError(
            f'the header describes "{_TENSOR}" as {stored.dtype} of shape {stored.shape}; '
            f"expected a matrix of float32, bfloat16 or float16"
        )
    return Layout(stored.offset, *stored.shape, stored.dtype)


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
        stored = Stored(8 + length, entry["dtype"], tuple(entry["shape"]))
        width = _WIDTHS.get(stored.dtype, 0)
    except _UNREADABLE as failure:
        raise FormatError(f'the header describes no tensor "{name}" ({_short(failure)})') from failure
    # Exact types: a boolean is an integer too, and 1e400 a number.
    sides = all(type(side) is int and 0 <= side < 1 << 63 for side in stored.shape) and len(stored.shape) <= _MOST_SIDES
    if not sides or begin != 0 or type(end) is not int or not width or end != math.prod(stored.shape) * width:
        raise FormatError(
            f'the header describes "{name}" as {_short(entry)}; expected floating point values from offset 0'
        )
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


def decode_table(content: bytes, rows: int | None = None) -> tuple[pa.Table, ShardRecord]:
    """The table of a shard and what it records, verified against the digest of its rows.

    Args:
        content: of the Parquet file.
        rows: how many there must be, if that is known: nothing else is decoded.

    Raises:
        FormatError: not a Parquet file that :func:`encode_table` wrote, or one that was changed since.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        if rows is not None and file.metadata.num_rows != rows:
            raise FormatError(f"it tells of {file.metadata.num_rows:,} networks; there are weights of {rows:,}")
        table = file.read(use_threads=False)
        table.validate(full=True)
        record = _record(table.schema.metadata[_METADATA])
        table = table.replace_schema_metadata(None)
        digest = rows_digest(table)
    except (pa.ArrowException, OSError, *_UNREADABLE) as failure:
        raise FormatError(f"not a readable table of a shard ({_short(failure)})") from failure
    if digest != record.rows:
        raise FormatError("its rows differ from those that were written")
    return table, record


def _record(text: bytes) -> ShardRecord:
    """What a table records.

    Raises:
        TypeError: an entry of another type, missing or too many; other errors of parsing JSON.
    """
    record = ShardRecord(**json.loads(text))
    if [type(value) for value in asdict(record).values()] != [str, int, str, str]:
        raise TypeError("entries of other types")
    return record


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


def _plain(name: str, value: Any, kind: type) -> Any:
    """A mapping or list as JSON gives it back."""
    try:
        return json.loads(json.dumps(kind(value), allow_nan=False))
    except _UNREADABLE as failure:
        raise FormatError(
            f"{name} of the manifest holds something that JSON cannot: {_short(failure)}. "
            f"Expected texts, finite numbers, booleans, lists and mappings."
        ) from failure


def _check(manifest: Manifest) -> None:
    """Refuses entries of a kind or size that nothing could be done with."""
    if not isinstance(manifest.recipe, str):
        raise FormatError(f"the recipe is {_short(manifest.recipe)}; expected a name.")
    count = manifest.count
    if count is not None and (type(count) is not int or not 0 <= count < 1 << 63):
        raise FormatError(f"the count is {_short(count)}; expected how many networks are planned, or null.")
    if not isinstance(manifest.dtype, str) or manifest.dtype not in PRECISIONS:
        raise FormatError(f"the dtype is {_short(manifest.dtype)}; expected one of {', '.join(PRECISIONS)}.")
    for entry in manifest.appended:
        if any(type(entry.get(name)) is not int or entry[name] < 0 for name in ("networks", "first_shard")):
            raise FormatError(f"appended holds {_short(entry)}; expected numbers of networks and of the first shard.")
    if not 0 < manifest.spec.numel <= _NUMEL_LIMIT:
        raise FormatError(f"networks of {_short(manifest.spec.numel)} parameters; expected 1 to {_NUMEL_LIMIT:,}.")


def _short(value: object) -> str:
    """What a message can hold of something that may be of any length."""
    try:
        text = str(value) if isinstance(value, BaseException) else repr(value)
    except (ValueError, RecursionError):
        return "something that cannot be printed"
    return text if len(text) <= 200 else f"{text[:200]}..."


def leaves(plain: Any, prefix: str = "") -> dict[str, Any]:
    """Nested mappings, and lists of them, as one mapping with dotted keys."""
    if isinstance(plain, list) and plain and all(isinstance(item, Mapping) for item in plain):
        plain = {str(position): item for position, item in enumerate(plain)}
    if not isinstance(plain, Mapping) or not plain:
        return {prefix: plain}
    found: dict[str, Any] = {}
    for key, value in plain.items():
        found |= leaves(value, f"{prefix}.{key}" if prefix else str(key))
    return found
