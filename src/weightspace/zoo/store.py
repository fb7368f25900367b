"""Writing a zoo so that what was good stays readable: each shard appears whole or not at all."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import torch

from weightspace.disk import LEFTOVER, staged, sweep, write_atomic, writing
from weightspace.errors import FormatError, ShapeError
from weightspace.weights import WeightFeatures, flatten
from weightspace.zoo.format import MANIFEST_FILE, SHARD_FOLDER, Manifest, encode_table, encode_weights
from weightspace.zoo.link import check_inside
from weightspace.zoo.lock import hold
from weightspace.zoo.precision import rounded
from weightspace.zoo.shard import REMOVE, committed, read_shard, shard_files, verify
from weightspace.zoo.split import SPLITS

__all__ = ["Problem", "ZooWriter", "check", "read_manifest"]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a zoo on disk.

    Args:
        shard: which shard; None where the whole zoo is meant.
        text: what is wrong, what was expected and the remedy.
    """

    shard: int | None
    text: str

    def __str__(self) -> str:
        return self.text


class ZooWriter:
    """Writes a zoo shard by shard, or goes on with one.

    A shard appears when both its files are on the disk in full; a run that is killed, or finds the disk full, leaves
    a zoo that opens with the shards before it. Shards that are damaged do not count as done.

    Args:
        path: the zoo's folder; made where it does not exist.
        manifest: what the networks are. A zoo that is there must have the same one (but for the planned count).

    Attributes:
        done: numbers of the shards that are there and sound.
        rows: how many networks each of them holds.

    Raises:
        FormatError: the folder holds a zoo with another manifest, or something that is no zoo.
        StorageError: the folder cannot be written, or another process writes to it.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> from weightspace.spec import spec_of
        >>> from weightspace.weights import features_of
        >>> lines = [nn.Linear(2, 1) for _ in range(3)]
        >>> manifest = Manifest(spec=spec_of(lines[0]), recipe="lines", settings={})
        >>> table = pa.table({"number": [0, 1, 2], "split": ["train", "train", "test"]})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     ZooWriter(folder, manifest).write(0, features_of(manifest.spec, lines), table)
        ...     ZooWriter(folder, manifest).done
        frozenset({0})
    """

    def __init__(self, path: str | Path, manifest: Manifest) -> None:
        self.path = Path(path)
        self.manifest = manifest
        _existing(self.path, manifest)
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            hold(self, self.path)
        # Once more, now that nobody else writes.
        known = _existing(self.path, manifest)
        for folder in (self.path, self.path / SHARD_FOLDER):
            sweep(folder)
        # A run that wants fewer networks leaves the others, and the plan for them, in place.
        if known is None or (known.count or 0) < (manifest.count or 0):
            write_atomic(self.path / MANIFEST_FILE, manifest.to_json().encode())
        self._rows = _sound(self.path, manifest)

    @property
    def done(self) -> frozenset[int]:
        """Numbers of the shards that are there and sound."""
        return frozenset(self._rows)

    @property
    def rows(self) -> dict[int, int]:
        """How many networks each of them holds."""
        return dict(self._rows)

    def write(self, shard: int, features: WeightFeatures, table: pa.Table) -> None:
        """Commits one shard; one of the same number that is there is replaced.

        Weights are stored in the type that the manifest states, rounded to the nearest number that it has.

        Shapes:
            features: ``(batch, *axes, 1)``, float32; table: ``batch`` rows.

        Args:
            shard: its number, from 0. Readers order networks by it.
            features: the networks.
            table: one row per network, with at least ``number`` (int64, unique in the zoo) and ``split`` (text).

        Raises:
            FormatError: networks of another architecture, a weight that the zoo's type cannot hold, or a table that
                lacks a column or holds a wrong value.
            ShapeError: more than one channel, another type than float32, or unequal numbers of networks and rows.
            StorageError: the disk is full or may not be written. The other shards are unharmed.
        """
        _check_features(self.manifest, features)
        _check_table(table, len(features))
        numbers = table["number"].to_numpy()
        weights = encode_weights(rounded(flatten(features), self.manifest.dtype, self.manifest.spec, numbers))
        weights_path, table_path = shard_files(self.path, shard)
        content = encode_table(table, weights, self.manifest)
        with staged(weights_path, weights) as move_weights, staged(table_path, content) as move_table:
            # Never a table beside weights that it does not describe: an old shard is withdrawn first.
            with writing(table_path):
                table_path.unlink(missing_ok=True)
            self._rows.pop(shard, None)
            move_weights()
            move_table()
        self._rows[shard] = len(features)


def check(path: str | Path) -> list[Problem]:
    """Everything that is wrong with a zoo's shards, every byte of them read.

    Raises:
        FormatError: no zoo there, or its manifest cannot be read.
    """
    root, problems = Path(path), []
    manifest = read_manifest(root)
    seen: dict[int, int] = {}
    columns: tuple[int, pa.Schema] | None = None
    for number in committed(root):
        try:
            shard = read_shard(root, number, manifest)
            verify(shard)
        except FormatError as failure:
            problems.append(Problem(number, str(failure)))
            continue
        columns = columns or (number, shard.table.schema)
        if shard.table.schema != columns[1]:
            text = f"shard {number} of {root} has other columns than shard {columns[0]}. {REMOVE}"
            problems.append(Problem(number, text))
            continue
        for network in shard.table["number"].to_pylist():
            if seen.setdefault(network, number) != number:
                text = f"shard {number} of {root} repeats network {network} of shard {seen[network]}. {REMOVE}"
                problems.append(Problem(number, text))
                break
    return problems


def read_manifest(path: str | Path) -> Manifest:
    """The manifest of the zoo in a folder.

    Raises:
        FormatError: no such folder, no zoo in it, a damaged manifest, or one of a newer version.
    """
    root = Path(path)
    file = root / MANIFEST_FILE
    if not root.is_dir():
        raise FormatError(f"{root} is not a folder; expected a zoo. Remedy: `weightspace zoo make` makes one.")
    if not file.is_file():
        hint = "write it again" if (root / SHARD_FOLDER).is_dir() else "make one"
        raise FormatError(
            f"{root} is not a zoo: it holds no {MANIFEST_FILE}. "
            f"Remedy: give the folder of a zoo, or {hint} with `weightspace zoo make`."
        )
    try:
        check_inside(root, file)
        return Manifest.from_json(file.read_bytes())
    except OSError as failure:
        raise FormatError(f"cannot read {file}: {failure.strerror}. Remedy: make it readable for you.") from failure
    except FormatError as failure:
        raise FormatError(f"cannot read {file}: {failure}") from failure


def _existing(path: Path, manifest: Manifest) -> Manifest | None:
    """The manifest of a zoo to go on with, None where a new one may be made."""
    if (path / MANIFEST_FILE).exists():
        known = read_manifest(path)
        differences = known.differences(manifest)
        if differences:
            text = "; ".join(f"{key} is {old!r} there and {new!r} here" for key, (old, new) in differences.items())
            raise FormatError(
                f"{path} holds a zoo that was made otherwise: {text}. "
                f"Remedy: use the settings of that zoo to go on with it, or give another folder."
            )
        _check_appended(path, known, manifest)
        return known
    if path.exists() and not path.is_dir():
        raise FormatError(f"{path} is a file; expected a folder for the zoo. Remedy: give another path.")
    foreign = _foreign(path, manifest)
    if foreign:
        raise FormatError(
            f"{path} is no zoo (no {MANIFEST_FILE}) but holds {foreign}; nothing was touched. "
            f"Remedy: give a new or empty folder."
        )
    return None


def _check_appended(path: Path, known: Manifest, manifest: Manifest) -> None:
    """Refuses to write over networks of others that were added behind those of a recipe."""
    appended = len(known.appended)
    if appended and manifest.appended[:appended] != known.appended and (manifest.count or 0) > (known.own_count or 0):
        raise FormatError(
            f"{path} cannot grow: networks of {known.appended[-1].get('name')!r} were appended to it. "
            f"Remedy: make the larger zoo in another folder, and append to that."
        )


def _foreign(path: Path, manifest: Manifest) -> str | None:
    """Something in a folder without a manifest that does not belong to this zoo."""
    if not path.exists():
        return None
    for entry in sorted(path.iterdir()):
        if entry.name not in (SHARD_FOLDER, "README.md") and not entry.name.endswith(LEFTOVER):
            return entry.name
    for number in committed(path):
        try:
            read_shard(path, number, manifest)
        except FormatError as failure:
            return str(failure)
    return None


def _sound(path: Path, manifest: Manifest) -> dict[int, int]:
    """Networks in each committed shard that is whole to the byte."""
    rows = {}
    for number in committed(path):
        with contextlib.suppress(FormatError):
            shard = read_shard(path, number, manifest)
            verify(shard)
            rows[number] = shard.table.num_rows
    return rows


def _check_features(manifest: Manifest, features: WeightFeatures) -> None:
    if features.spec != manifest.spec:
        here = {param.name: features.spec.shape(param.name) for param in features.spec.params}
        there = {param.name: manifest.spec.shape(param.name) for param in manifest.spec.params}
        told = f"parameters {here}, where the zoo has {there}" if here != there else "other symmetries or wires"
        raise FormatError(
            f"these networks are of another architecture than the zoo's: {told}. "
            f"Remedy: write them to a zoo of their own."
        )
    if features.channels != 1 or features.dtype != torch.float32:
        raise ShapeError(
            f"features have {features.channels} channels of {features.dtype}; "
            f"expected one channel of torch.float32, as plain networks have."
        )


def _check_table(table: pa.Table, count: int) -> None:
    for name, kind in (("number", pa.int64()), ("split", pa.string())):
        found = table.schema.field(name).type if name in table.column_names else None
        if found != kind:
            raise FormatError(
                f"column {name!r} of the table has type {found}; expected {kind}. Remedy: add or cast it."
            )
    if table.num_rows != count:
        raise ShapeError(f"the table has {table.num_rows} rows for {count} networks; expected one row per network.")
    if len(table["number"].unique()) != count:
        raise FormatError('column "number" names a network twice; expected numbers that are unique in the zoo.')
    strange = sorted(set(table["split"].unique().to_pylist()) - set(SPLITS), key=str)
    if strange:
        raise FormatError(f'column "split" holds {strange}; expected {", ".join(SPLITS)}.')
