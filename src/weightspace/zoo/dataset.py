"""Reading a zoo: its table in memory, its weights mapped from the disk and copied only for the rows asked for."""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from torch import Tensor

from weightspace.errors import DataError, FormatError, unknown
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures, unflatten
from weightspace.zoo.format import Manifest
from weightspace.zoo.precision import PRECISIONS
from weightspace.zoo.shard import Shard, committed, mapped, read_shard
from weightspace.zoo.split import SPLITS
from weightspace.zoo.store import Problem, check, read_manifest

__all__ = ["Rows", "Zoo", "open_zoo"]

Rows = int | slice | Sequence[int] | np.ndarray | Tensor

# Rows from this many bytes on are copied one by one, each straight into its place.
_LONG_ROW = 4096
# Bytes that are read before they are turned into another type: few enough to lie in a cache.
_CACHED = 1 << 19
_NO_NETWORKS = pa.schema([("number", pa.int64()), ("split", pa.string())])


class Zoo:
    """Networks on disk with one table row each, in the order of their shards; made by :func:`open_zoo`.

    Args:
        path: the zoo's folder.
        manifest: what its networks are.
        shards: the shards to read.
        problems: what was left out.
        chosen: the rows that count, numbered over all shards; all of them by default.

    Attributes:
        manifest: what the networks are and how they were made.
        table: all rows (Arrow), in the order of the networks.
        problems: what was left out on opening.
    """

    def __init__(
        self,
        path: Path,
        manifest: Manifest,
        shards: Sequence[Shard],
        problems: Sequence[Problem],
        chosen: npt.NDArray[np.int64] | None = None,
    ) -> None:
        self.path = path
        self.manifest = manifest
        self.problems = tuple(problems)
        self.table = _joined(path, shards)
        self._chosen = chosen
        if chosen is not None:
            self.table = self.table.take(pa.array(chosen)).combine_chunks()
        self._shards = tuple(shards)
        sizes = np.array([shard.layout.networks for shard in shards], np.int64)
        self._ends = np.cumsum(sizes)
        self._begins = self._ends - sizes
        self._blocks: dict[int, np.ndarray] = {}

    @property
    def spec(self) -> NetworkSpec:
        """The weight space of the networks."""
        return self.manifest.spec

    @property
    def shards(self) -> tuple[Shard, ...]:
        """The shards that it is read from, all of them even where only some rows were chosen."""
        return self._shards

    @property
    def checksum(self) -> str:
        """sha256 (hex) over the recorded digests of the manifest and of every shard, and the rows that were chosen."""
        digest = hashlib.sha256(self.manifest.digest.encode())
        for shard in self._shards:
            digest.update(f"{shard.number} {shard.record.sha256} {shard.record.rows}".encode())
        if self._chosen is not None:
            digest.update(b"rows" + self._chosen.astype("<i8").tobytes())
        return digest.hexdigest()

    def __len__(self) -> int:
        return self.table.num_rows

    def __repr__(self) -> str:
        whole = self._chosen is not None or self.manifest.count in (None, len(self))
        planned = "" if whole else f" of {self.manifest.count:,} planned"
        return (
            f"Zoo({str(self.path)!r}: {len(self):,}{planned} {self.manifest.recipe} networks "
            f"of {self.spec.numel:,} parameters)"
        )

    def __reduce__(self) -> tuple[object, ...]:
        # A worker process maps the files itself; the weights do not travel.
        return functools.partial(_opened, skip_damaged=bool(self.problems), chosen=self._chosen), (self.path,)

    def column(self, name: str) -> np.ndarray:
        """One column of the table as an array: ``(len(zoo),)``.

        Raises:
            UnknownNameError: no such column.
        """
        if name not in self.table.column_names:
            raise unknown("column", name, self.table.column_names)
        column = self.table[name]
        values = column.to_numpy()
        return values.astype(np.str_) if pa.types.is_string(column.type) else values

    def split(self, name: str) -> npt.NDArray[np.int64]:
        """Rows of the networks in one split, in order.

        Raises:
            UnknownNameError: not ``train``, ``val`` or ``test``.
        """
        if name not in SPLITS:
            raise unknown("split", name, SPLITS)
        return np.flatnonzero(self.column("split") == name)

    def only(self, rows: Rows) -> "Zoo":
        """The zoo reduced to some of its rows, numbered anew from 0; nothing on disk is touched.

        Args:
            rows: a slice, row numbers in the order wanted, or one boolean for each row, as a comparison of a column
                gives it: ``zoo.only(zoo.column("final"))``.

        Raises:
            DataError: a row that the zoo does not have, or booleans of another number.
        """
        if not isinstance(rows, slice):
            mask = np.asarray(rows)
            if mask.dtype == np.bool_:
                if mask.shape != (len(self),):
                    raise DataError(f"booleans have shape {mask.shape}; expected one for each of {len(self)} rows.")
                rows = np.flatnonzero(mask)
        wanted = self._wanted(rows)
        chosen = wanted if self._chosen is None else self._chosen[wanted]
        return Zoo(self.path, self.manifest, self._shards, self.problems, chosen)

    def features(self, rows: Rows = slice(None), *, dtype: torch.dtype = torch.float32) -> WeightFeatures:
        """The chosen networks, in the order asked for, as copies that may be changed.

        Each shard is verified in full before its first row is given away.

        Shapes:
            rows: ``(batch,)``; result: ``(batch, *axes, 1)``.

        Args:
            rows: a slice, or row numbers from 0; a single number gives a batch of one. Default: all.
            dtype: of the result, whatever the weights are stored in.

        Raises:
            DataError: a row that the zoo does not have.
            FormatError: a shard that is damaged; rows of other shards remain readable.
        """
        return unflatten(self.spec, self.matrix(rows, dtype=dtype))

    def matrix(self, rows: Rows = slice(None), *, dtype: torch.dtype = torch.float32) -> Tensor:
        """The chosen networks as rows of a matrix, parameters in the order of the spec; otherwise as `features`.

        Shapes:
            rows: ``(batch,)``; result: ``(batch, parameters)``.

        Args:
            rows: as those of `features`.
            dtype: likewise.

        Raises:
            DataError: a row that the zoo does not have.
            FormatError: a shard that is damaged; rows of other shards remain readable.
        """
        wanted = self._wanted(rows)
        if self._chosen is not None:
            wanted = self._chosen[wanted]
        shard_of = np.searchsorted(self._ends, wanted, side="right")
        local = wanted - self._begins[shard_of]
        blocks = {position: self._block(position) for position in set(shard_of.tolist())}
        stored, shape = PRECISIONS[self.manifest.dtype], (len(wanted), self.spec.numel)
        if dtype == stored.torch:
            raw = np.empty(shape, stored.raw)
            _gather(raw, blocks, shard_of, local)
            return torch.from_numpy(raw).view(dtype)
        out = torch.empty(shape, dtype=dtype)
        rows = max(1, _CACHED // (self.spec.numel * stored.torch.itemsize))
        raw = np.empty((min(rows, shape[0]), shape[1]), stored.raw)
        for begin in range(0, len(wanted), rows):
            part = out[begin : begin + rows]
            _gather(raw[: len(part)], blocks, shard_of[begin : begin + rows], local[begin : begin + rows])
            part.copy_(torch.from_numpy(raw[: len(part)]).view(stored.torch))
        return out

    def _wanted(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Row numbers as an array, all of them existing."""
        if isinstance(rows, slice):
            return np.arange(len(self), dtype=np.int64)[rows]
        wanted = np.atleast_1d(np.asarray(rows))
        if wanted.size == 0:
            return np.zeros(0, dtype=np.int64)
        if wanted.ndim != 1 or not np.issubdtype(wanted.dtype, np.integer):
            raise DataError(
                f"rows have type {wanted.dtype} and shape {wanted.shape}; expected row numbers in one dimension. "
                f"Remedy: turn a mask into numbers with numpy.flatnonzero."
            )
        outside = wanted[(wanted < 0) | (wanted >= len(self))]
        if outside.size:
            told = f"has rows 0 to {len(self) - 1}" if len(self) else "holds no networks yet"
            raise DataError(f"row {outside[0]} does not exist: {self!r} {told}.")
        return wanted.astype(np.int64)

    def _block(self, position: int) -> np.ndarray:
        """The mapped weights of a shard, verified when first touched."""
        if position not in self._blocks:
            self._blocks[position] = mapped(self._shards[position])
        return self._blocks[position]


def open_zoo(path: str | Path, *, skip_damaged: bool = False) -> Zoo:
    """A zoo on disk, ready to read; one that is still being made opens with the networks it has.

    Opening reads the tables and the shards' headers and sizes. The weights are verified shard by shard when first
    touched; :func:`weightspace.zoo.store.check` verifies all of them.

    Args:
        path: the zoo's folder.
        skip_damaged: verify every byte now and leave damaged shards out (``zoo.problems`` lists them). By default a
            shard that is seen to be damaged is an error.

    Raises:
        FormatError: no zoo there, one of a newer version, or a damaged shard.

    Example:
        >>> from weightspace.errors import FormatError
        >>> try:
        ...     open_zoo("no/such/folder")
        ... except FormatError as failure:
        ...     print(failure)
        no/such/folder is not a folder; expected a zoo. Remedy: `weightspace zoo make` makes one.
    """
    root = Path(path)
    manifest = read_manifest(root)
    problems = check(root) if skip_damaged else []
    left_out = {problem.shard for problem in problems}
    shards = []
    for number in committed(root):
        if number in left_out:
            continue
        try:
            shards.append(read_shard(root, number, manifest))
        except FormatError as failure:
            raise FormatError(f"{failure} Or read the others: open_zoo({str(path)!r}, skip_damaged=True).") from failure
    return Zoo(root, manifest, shards, problems)


def _gather(
    out: np.ndarray,
    blocks: Mapping[int, np.ndarray],
    shard_of: npt.NDArray[np.int64],
    local: npt.NDArray[np.int64],
) -> None:
    """Copies rows of shards: long ones one by one into their places, short ones all of a shard at a time.

    Shapes:
        out: ``(batch, parameters)``; blocks: of each shard ``(networks, parameters)``; shard_of, local: ``(batch,)``.
    """
    # As they lie on the disk: neighbours share pages, and what leads to them.
    order = np.lexsort((local, shard_of))
    if out.strides[0] >= _LONG_ROW:
        ordered = (order.tolist(), shard_of[order].tolist(), local[order].tolist())
        for place, position, row in zip(*ordered, strict=True):
            out[place] = blocks[position][row]
        return
    ends = np.flatnonzero(np.diff(shard_of[order], append=-1)) + 1
    begin = 0
    for end in ends.tolist():
        places = order[begin:end]
        out[places] = blocks[int(shard_of[places[0]])][local[places]]
        begin = end


def _opened(path: Path, *, skip_damaged: bool, chosen: npt.NDArray[np.int64] | None) -> Zoo:
    """A zoo as another process had it."""
    zoo = open_zoo(path, skip_damaged=skip_damaged)
    return zoo if chosen is None else zoo.only(chosen)


def _joined(path: Path, shards: Sequence[Shard]) -> pa.Table:
    """The tables of all shards as one."""
    if not shards:
        return _NO_NETWORKS.empty_table()
    for shard in shards:
        if shard.table.schema != shards[0].table.schema:
            raise FormatError(
                f"shard {shard.number} of {path} has the columns {shard.table.schema.names} of types "
                f"{[str(kind) for kind in shard.table.schema.types]}, shard {shards[0].number} has "
                f"{shards[0].table.schema.names} of types {[str(kind) for kind in shards[0].table.schema.types]}; "
                f"expected the same. Remedy: remove the odd shard and make it again."
            )
    return pa.concat_tables([shard.table for shard in shards]).combine_chunks()
