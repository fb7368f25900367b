"""Zoos made of other zoos: some networks of one, those of several, those of one added to another.

Each goes shard by shard and never holds more than one, is told by a manifest before the first shard is written, and
goes on where it was interrupted: the finished zoo is the same to the byte.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from weightspace.errors import DataError, FormatError
from weightspace.spec import NetworkSpec
from weightspace.weights import unflatten
from weightspace.zoo.card import write_card
from weightspace.zoo.dataset import Zoo, open_zoo
from weightspace.zoo.format import Manifest, leaves
from weightspace.zoo.precision import precision_of, rounded
from weightspace.zoo.store import ZooWriter

__all__ = ["MergeSettings", "append", "merge", "shard_rows", "take"]

Progress = Callable[[int, int], None]
"""Called with the number of networks that are there, and of all, after each shard."""

_SHARD_BYTES = 1 << 25
_SHARD_ROWS = 4096
_ORIGIN = ("origin", "origin_number")
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class MergeSettings:
    """What becomes of what zoos have in common, and of what they do not.

    Args:
        duplicates: networks that several zoos hold, equal in every weight. `first` keeps those of the first zoo, `all`
            keeps all and does not look for them, which is faster.
        splits: an image of one data set that lies in different splits of several zoos. With `first` all its networks
            go to the split of the first.
        columns: of their tables. With `common`, those that all zoos have are kept.
        dtype: in which weights are stored: float32 (fp32), bfloat16 (bf16) or float16 (fp16). By default that of
            the zoos if it is one, else float32.
    """

    duplicates: Literal["refuse", "first", "all"] = "refuse"
    splits: Literal["refuse", "first"] = "refuse"
    columns: Literal["equal", "common"] = "equal"
    dtype: str | None = None


def take(zoo: Zoo, out: str | Path, *, dtype: str | None = None, progress: Progress | None = None) -> Zoo:
    """Writes the networks of a zoo, or of a part of one, to a zoo of their own; a second call goes on.

    Numbers, splits and all other columns are kept. The manifest keeps the name and the checksum of what was taken.

    Args:
        zoo: what is taken; ``zoo.only(...)`` chooses.
        out: folder of the new zoo.
        dtype: in which weights are stored: float32 (fp32), bfloat16 (bf16) or float16 (fp16). By default as they are.
        progress: told of each shard.

    Raises:
        DataError: nothing is left to be taken.
        FormatError: a weight that the type cannot hold, a damaged shard, or another zoo in the folder.
        StorageError: the folder cannot be written.

    Example:
        >>> import tempfile
        >>> from weightspace.zoo import load_images
        >>> from weightspace.zoo.generate import SirenSettings, make_siren_zoo
        >>> root = Path(tempfile.mkdtemp())
        >>> made = make_siren_zoo(root / "all", load_images("digits"), SirenSettings((8,), steps=5), count=20)
        >>> small = take(made.only(made.split("train")), root / "train", dtype="bf16")
        >>> len(small) == len(made.split("train")), small.manifest.dtype, small.manifest.provenance[0]["name"]
        (True, 'bfloat16', 'all')
    """
    if not len(zoo):
        raise DataError(f"nothing is left to be taken from {zoo.path}. Remedy: choose by other conditions.")
    manifest = replace(
        zoo.manifest,
        count=len(zoo),
        dtype=precision_of(dtype or zoo.manifest.dtype).name,
        provenance=_origins(zoo),
        appended=(),
    )
    draft = _Draft([(zoo, np.arange(len(zoo)))], zoo.table)
    draft.write(ZooWriter(out, manifest), progress)
    return _finished(out)


def merge(
    zoos: Sequence[Zoo],
    out: str | Path,
    settings: MergeSettings = MergeSettings(),
    *,
    progress: Progress | None = None,
) -> Zoo:
    """Writes the networks of several zoos of one weight space to a new zoo; a second call goes on.

    Splits are kept. Networks are numbered anew; the columns ``origin`` and ``origin_number`` say which entry of
    ``manifest.provenance`` a network comes from and which number it has there; ``network`` is moved up, so that those
    of several zoos stay apart, and ``parent`` follows. The manifest has those settings that the zoos agree on;
    all of them, names and checksums are in its provenance.

    Args:
        zoos: at least two.
        out: folder of the new zoo.
        settings: what becomes of what they have in common.
        progress: told of each shard.

    Raises:
        DataError: fewer than two zoos, or networks or splits that contradict each other.
        FormatError: zoos of different weight spaces, forward passes or columns; a damaged shard; another zoo there.
        StorageError: the folder cannot be written.
    """
    if len(zoos) < 2:
        raise DataError(f"{len(zoos)} zoos are given; expected two or more to merge.")
    union = _union(zoos, settings)
    told = [{**entry, "merged": _ways(settings)} for entry in union.origins]
    manifest = _merged_manifest(zoos, told, union.table.num_rows, settings)
    table = union.table.append_column(_ORIGIN[0], pa.array(union.origin))
    table = table.append_column(_ORIGIN[1], pa.array(union.origin_number))
    draft = _Draft(list(zip(zoos, union.kept, strict=True)), table)
    draft.write(ZooWriter(out, manifest), progress)
    return _finished(out)


def append(
    path: str | Path,
    zoo: Zoo,
    settings: MergeSettings = MergeSettings(),
    *,
    progress: Progress | None = None,
) -> Zoo:
    """Adds the networks of a zoo to the one in a folder, behind its own; a second call goes on.

    The networks that are there are not touched. Those that are added get the numbers that follow; they are stored in
    the type of the zoo that they are added to. The manifest keeps name and checksum of each zoo in ``appended``.

    Args:
        path: the folder of the zoo that grows, which must be complete.
        zoo: what is added.
        settings: what becomes of what they have in common; columns must be equal, and the type is that of the zoo.
        progress: told of each shard.

    Raises:
        DataError: a zoo that is not complete, networks or splits that contradict each other, or settings that cannot
            be kept.
        FormatError: as :func:`merge`.
        StorageError: likewise.
    """
    whole = open_zoo(path)
    _check_appendable(whole, zoo, settings)
    entry = {"name": _name(zoo), "checksum": zoo.checksum, "settings": _ways(settings)}
    before = list(whole.manifest.appended)
    known = next((old for old in before if entry.items() <= old.items()), None)
    if known is None and len(whole) != (whole.manifest.count or len(whole)):
        raise DataError(f"{whole!r} is not complete. Remedy: finish it first by the command that it was begun with.")
    base = whole
    if known is not None:
        # As it was before, so that what is added is numbered as it was begun.
        base = whole.only(slice(_rows_before(whole, known["first_shard"])))
        base.manifest = replace(whole.manifest, appended=before[: before.index(known)])
    union = _union([base, zoo], settings, keep=1)
    table = union.table.slice(len(base))
    if _ORIGIN[0] in base.table.column_names:
        for name, values in zip(_ORIGIN, (union.origin, union.origin_number), strict=True):
            table = table.append_column(name, pa.array(values[len(base) :]))
    table = table.select(base.table.column_names)
    manifest, first = whole.manifest, _next_shard(whole)
    if known is None:
        _check_fits(zoo, union.kept[1], manifest.dtype)
        added = {**entry, "networks": table.num_rows, "first_shard": first, "origins": _origins(zoo)}
        count = (manifest.count or len(whole)) + table.num_rows
        manifest = replace(manifest, appended=[*before, added], count=count)
    draft = _Draft([(zoo, union.kept[1])], table)
    draft.write(ZooWriter(path, manifest), progress, first if known is None else known["first_shard"])
    return _finished(path)


def _finished(path: str | Path) -> Zoo:
    """The zoo that was written, with a card."""
    zoo = open_zoo(path)
    write_card(zoo)
    return zoo


def shard_rows(spec: NetworkSpec) -> int:
    """How many networks a shard holds: about 32 MB of float32, and 4,096 at most."""
    return max(1, min(_SHARD_ROWS, _SHARD_BYTES // (4 * spec.numel)))


@dataclass(frozen=True, eq=False)
class _Draft:
    """What is to be written: rows of zoos, one part after the other, and the whole table of them."""

    parts: Sequence[tuple[Zoo, Integers]]
    table: pa.Table

    def write(self, writer: ZooWriter, progress: Progress | None, first_shard: int = 0) -> None:
        """Writes the shards that are not there yet."""
        spec, total = writer.manifest.spec, self.table.num_rows
        if not total:
            raise DataError(f"no networks are left for {writer.path}. Remedy: choose otherwise.")
        rows = shard_rows(spec)
        for shard, begin in enumerate(range(0, total, rows), first_shard):
            end = min(begin + rows, total)
            if writer.rows.get(shard) != end - begin:
                flat = torch.cat(list(self._weights(begin, end)))
                writer.write(shard, unflatten(spec, flat), self.table.slice(begin, end - begin).combine_chunks())
            if progress is not None:
                progress(end, total)

    def _weights(self, begin: int, end: int) -> Iterator[Tensor]:
        """The weights of some rows of the table."""
        for zoo, rows in self.parts:
            chosen = rows[max(begin, 0) : max(end, 0)]
            if len(chosen):
                yield zoo.matrix(chosen)
            begin, end = begin - len(rows), end - len(rows)


@dataclass(frozen=True, eq=False)
class _Union:
    """Networks of several zoos as one table: the rows kept of each, and where each row of the table comes from."""

    kept: Sequence[Integers]
    table: pa.Table
    origins: Sequence[Mapping[str, Any]]
    origin: Integers
    origin_number: Integers


def _union(zoos: Sequence[Zoo], settings: MergeSettings, keep: int = 0) -> _Union:
    """The networks of zoos, numbered anew but for those of the first `keep` zoos."""
    for zoo in zoos[1:]:
        _check_agree(zoos[0], zoo)
    names = _columns(zoos, settings)
    kept = _kept(zoos, settings)
    whole = [zoo.table.take(pa.array(rows)) for zoo, rows in zip(zoos, kept, strict=True)]
    origins = [_origins(zoo) for zoo in zoos]
    before = np.cumsum([0, *map(len, origins)])
    origin = [
        _of_origin(zoo, rows, len(origins[place])) + before[place]
        for place, (zoo, rows) in enumerate(zip(zoos, kept, strict=True))
    ]
    number = [table[_ORIGIN[1] if _ORIGIN[1] in table.column_names else "number"].to_numpy() for table in whole]
    tables = _renumbered([table.select(names) for table in whole], keep)
    entries, places = [entry for each in origins for entry in each], np.concatenate(origin)
    table = _settled(pa.concat_tables(tables), entries, places, settings)
    return _Union(kept, table, entries, places, np.concatenate(number))


def _of_origin(zoo: Zoo, rows: Integers, origins: int) -> Integers:
    """Which entry of its zoo's origins each row comes from."""
    table = zoo.table
    if _ORIGIN[0] not in table.column_names:
        return np.zeros(len(rows), np.int64)
    if not all(_counted(table, name) for name in _ORIGIN) or not _within(zoo.column(_ORIGIN[0]), origins):
        raise FormatError(
            f"{zoo.path} has columns {' and '.join(_ORIGIN)} that do not lead to the {origins} entries of its "
            "provenance. Remedy: restore its manifest."
        )
    return np.asarray(zoo.column(_ORIGIN[0])[rows], np.int64)


def _within(values: Integers, end: int) -> bool:
    return bool(((values >= 0) & (values < end)).all())


def _origins(zoo: Zoo) -> list[dict[str, Any]]:
    """The zoos that networks come from in the end, each with the zoos that they went through."""
    manifest = zoo.manifest
    here = {"name": _name(zoo), "checksum": zoo.checksum, "networks": len(zoo)}
    if not manifest.provenance:
        made = {"recipe": manifest.recipe, "settings": manifest.settings, "source": manifest.source}
        return [{**here, **made, "through": []}]
    entries = [*manifest.provenance, *(origin for entry in manifest.appended for origin in entry.get("origins", []))]
    return [{**entry, "through": [*entry.get("through", []), here]} for entry in entries]


def _name(zoo: Zoo) -> str:
    return zoo.path.resolve().name


def _ways(settings: MergeSettings) -> dict[str, str]:
    """The settings that decide which networks and columns there are."""
    return {name: value for name, value in asdict(settings).items() if name != "dtype"}


def _merged_manifest(
    zoos: Sequence[Zoo], provenance: Sequence[Mapping[str, Any]], count: int, settings: MergeSettings
) -> Manifest:
    """What zoos agree on, and where each comes from."""
    first, *others = (zoo.manifest for zoo in zoos)
    types = {zoo.manifest.dtype for zoo in zoos}
    dtype = settings.dtype or (types.pop() if len(types) == 1 else "float32")

    def common(name: str) -> dict[str, Any]:
        return {
            key: value
            for key, value in getattr(first, name).items()
            if all(key in getattr(other, name) and getattr(other, name)[key] == value for other in others)
        }

    return Manifest(
        spec=first.spec,
        recipe=first.recipe if all(other.recipe == first.recipe for other in others) else "merged",
        settings=common("settings"),
        forward=first.forward,
        source=common("source"),
        count=count,
        dtype=precision_of(dtype).name,
        provenance=provenance,
    )


def _check_agree(first: Zoo, other: Zoo) -> None:
    """Refuses networks that do not lie in one weight space, or that compute otherwise with equal weights."""
    told = _difference(first.spec, other.spec) or _unequal_forward(first.manifest, other.manifest)
    if told:
        raise FormatError(
            f"{first.path} and {other.path} hold networks of different kinds: {told}. Remedy: keep them apart."
        )


def _difference(first: NetworkSpec, other: NetworkSpec) -> str | None:
    """The first part in which two specs differ."""
    if first == other:
        return None
    for kind in ("axes", "params", "places", "wires"):
        here, there = getattr(first, kind), getattr(other, kind)
        for place, (a, b) in enumerate(zip(here, there, strict=False)):
            if a != b:
                return f"{kind}[{place}] of the spec is {a} here and {b} there"
        if len(here) != len(there):
            return f"the specs have {len(here)} and {len(there)} {kind}"
    raise AssertionError("specs differ in nothing that is compared")


def _unequal_forward(first: Manifest, other: Manifest) -> str | None:
    here, there = leaves(first.forward), leaves(other.forward)
    # An empty mapping is a leaf without a name.
    for key in sorted((here.keys() | there.keys()) - {""}):
        if (key in here, here.get(key)) != (key in there, there.get(key)):
            return f"forward.{key} is {here.get(key)!r} here and {there.get(key)!r} there"
    return None


def _check_appendable(whole: Zoo, zoo: Zoo, settings: MergeSettings) -> None:
    if settings.dtype is not None or settings.columns != "equal":
        raise DataError(
            "what is appended to has its type and its columns already. Remedy: leave dtype and columns out, or merge."
        )
    tracked = _ORIGIN[0] in whole.table.column_names
    if "image" in whole.table.column_names and not tracked and whole.manifest.source != zoo.manifest.source:
        raise DataError(
            f"{whole.path} holds networks of {whole.manifest.source.get('name')!r} and {zoo.path} of "
            f"{zoo.manifest.source.get('name')!r}, and images are told by their number alone. Remedy: merge them."
        )


def _check_fits(zoo: Zoo, rows: Integers, dtype: str) -> None:
    """Finds a weight that a type cannot hold before anything is planned for it."""
    if dtype in ("float32", zoo.manifest.dtype):
        return
    numbers, step = zoo.column("number"), shard_rows(zoo.spec)
    for begin in range(0, len(rows), step):
        part = rows[begin : begin + step]
        rounded(zoo.matrix(part), dtype, zoo.spec, numbers[part])


def _columns(zoos: Sequence[Zoo], settings: MergeSettings) -> list[str]:
    """The columns that are kept, but for those that say where a network comes from."""
    fields = [{field.name: field.type for field in zoo.table.schema if field.name not in _ORIGIN} for zoo in zoos]
    common = [name for name in fields[0] if all(name in other for other in fields)]
    for zoo, other in zip(zoos, fields, strict=True):
        odd = next((name for name in [*fields[0], *other] if name not in common), None)
        if odd is not None and settings.columns == "equal":
            raise FormatError(
                f"column {odd!r} is in {[str(z.path) for z, f in zip(zoos, fields, strict=True) if odd in f]} and not "
                'in all. Remedy: keep those that all have: columns "common".'
            )
        wrong = next((name for name in common if other[name] != fields[0][name]), None)
        if wrong is not None:
            raise FormatError(
                f"column {wrong!r} has type {fields[0][wrong]} in {zoos[0].path} and {other[wrong]} in {zoo.path}; "
                "expected the same."
            )
    return common


def _kept(zoos: Sequence[Zoo], settings: MergeSettings) -> list[Integers]:
    """The rows of each zoo that no zoo before it holds."""
    if settings.duplicates == "all":
        return [np.arange(len(zoo)) for zoo in zoos]
    seen: dict[bytes, tuple[Zoo, int]] = {}
    kept = []
    for zoo in zoos:
        digests = list(_digests(zoo))
        new = [digest not in seen for digest in digests]
        if settings.duplicates == "refuse" and not all(new):
            row = new.index(False)
            other, there = seen[digests[row]]
            raise DataError(
                f"network {zoo.column('number')[row]} of {zoo.path} is network {other.column('number')[there]} of "
                f'{other.path}, weight by weight. Remedy: keep the first of each (duplicates "first"), or all.'
            )
        for row, digest in enumerate(digests):
            seen.setdefault(digest, (zoo, row))
        kept.append(np.flatnonzero(new))
    return kept


def _digests(zoo: Zoo) -> Iterator[bytes]:
    """A digest of the weights of each network, as float32."""
    rows = shard_rows(zoo.spec)
    for begin in range(0, len(zoo), rows):
        for row in zoo.matrix(slice(begin, begin + rows)).numpy():
            yield hashlib.blake2b(row.data, digest_size=16).digest()


def _renumbered(tables: Sequence[pa.Table], keep: int) -> list[pa.Table]:
    """Tables whose networks have numbers of their own; those of the first `keep` stay as they are."""
    numbers, networks = 0, 0
    out = []
    for place, table in enumerate(tables):
        if place >= keep:
            table = _moved(table, numbers, networks)
        out.append(table)
        numbers = max(numbers, _highest(table, "number") + 1)
        networks = max(networks, _highest(table, "network") + 1)
    return out


def _counted(table: pa.Table, name: str) -> bool:
    """Whether a column is there and holds whole numbers; tables of imported zoos are their owners'."""
    return name in table.column_names and pa.types.is_integer(table.schema.field(name).type)


def _highest(table: pa.Table, name: str) -> int:
    return int(table[name].to_numpy().max(initial=-1)) if _counted(table, name) else -1


def _moved(table: pa.Table, numbers: int, networks: int) -> pa.Table:
    """The table with numbers from a first one on, to which `parent` leads, and with `network` moved up."""
    old, new = table["number"].to_numpy(), numbers + np.arange(table.num_rows)
    changed = {"number": new}
    if _counted(table, "network"):
        changed["network"] = table["network"].to_numpy() + networks
    if _counted(table, "parent"):
        became = dict(zip(old.tolist(), new.tolist(), strict=True))
        changed["parent"] = np.array([became.get(parent, -1) for parent in table["parent"].to_pylist()], np.int64)
    for name, values in changed.items():
        kind = table.schema.field(name).type
        table = table.set_column(table.column_names.index(name), name, pa.array(values, kind))
    return table


def _settled(
    table: pa.Table, entries: Sequence[Mapping[str, Any]], origin: Integers, settings: MergeSettings
) -> pa.Table:
    """The table with every image in one split, where images are told by their data set and their number."""
    if "image" not in table.column_names:
        return table.combine_chunks()
    sources = [json.dumps(entry.get("source") or place, sort_keys=True) for place, entry in enumerate(entries)]
    source = np.unique(sources, return_inverse=True)[1][origin]
    images, splits = table["image"].to_numpy(), table["split"].to_numpy().astype(np.str_)
    different, image = np.unique(images, return_inverse=True)
    _, first, group = np.unique(source * len(different) + image, return_index=True, return_inverse=True)
    settled = splits[first][group]
    odd = np.flatnonzero(settled != splits)
    if len(odd) and settings.splits == "refuse":
        row = odd[0]
        raise DataError(
            f"image {images[row]} is in {settled[row]} in {entries[origin[first[group[row]]]]['name']} and "
            f"in {splits[row]} in {entries[origin[row]]['name']}: {len(odd):,} networks of one image would lie in "
            'different splits. Remedy: put them where the first zoo has them (splits "first").'
        )
    column = table.column_names.index("split")
    return table.set_column(column, "split", pa.array(settled.tolist(), pa.string())).combine_chunks()


def _rows_before(zoo: Zoo, shard: int) -> int:
    """How many networks lie in the shards before one."""
    return sum(one.layout.networks for one in zoo.shards if one.number < shard)


def _next_shard(zoo: Zoo) -> int:
    return max((one.number for one in zoo.shards), default=-1) + 1
