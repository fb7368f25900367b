"""Tables that come with networks: csv files as columns without gaps, and splits that keep a network's rows together."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from weightspace.errors import DataError, FormatError
from weightspace.zoo.readers.collection import ImportSettings
from weightspace.zoo.readers.tree import nearest
from weightspace.zoo.split import SPLITS, assign

__all__ = ["check_lineage", "check_published", "check_splits", "column", "drawn", "numbered", "read_csv"]

_LONG = {"valid": "val", "validation": "val"}


def read_csv(path: Path, required: Sequence[str] = (), *, names: Sequence[str] | None = None) -> pa.Table:
    r"""The columns of a csv file, plain or compressed by gzip, without gaps.

    Empty fields are NaN among numbers and empty among texts.

    Args:
        path: the file; its first line names the columns.
        required: columns that must be there.
        names: of the columns of a file whose first line is data.

    Raises:
        FormatError: a file that is missing, damaged or no table; a column missing or there twice; gaps among booleans.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "labels.csv"
        >>> _ = file.write_text("file,epoch,note\na.pt,,good\nb.pt,3,\n")
        >>> read_csv(file, ["file"]).to_pydict()
        {'file': ['a.pt', 'b.pt'], 'epoch': [nan, 3.0], 'note': ['good', '']}
    """
    try:
        table = pacsv.read_csv(
            path,
            read_options=pacsv.ReadOptions(use_threads=False, column_names=names),
            convert_options=pacsv.ConvertOptions(
                # The word nan is a number and not a gap: a loss that is no number is worth knowing.
                null_values=[""],
            ),
        )
    except (pa.ArrowException, OSError, ValueError) as failure:
        raise FormatError(f"{path} cannot be read as a csv file: {failure}. Remedy: copy it again.") from failure
    found = table.column_names
    twice = sorted({name for name in found if found.count(name) > 1})
    if twice:
        raise FormatError(f"{path} has the column {twice[0]!r} twice; expected each once.")
    for name in required:
        if name not in found:
            raise FormatError(
                f"{path} has no column {name!r}{nearest(name, found)}; it has {', '.join(map(repr, found))}. "
                "Remedy: give the file that belongs to this format, or name the column so."
            )
    return pa.table({name: _filled(path, name, table[name]) for name in found})


def _filled(path: Path, name: str, values: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column in one of the types that a zoo's table holds, its gaps filled."""
    kind = values.type
    if pa.types.is_null(kind) or not _kept(kind):
        return pc.fill_null(values.cast(pa.string()), "")
    if not values.null_count:
        return values
    if pa.types.is_boolean(kind):
        row = pc.is_null(values).to_pylist().index(True) + 1
        raise FormatError(f"{path}: column {name!r} has a gap in row {row}; expected true or false in every row.")
    return pc.fill_null(values, "") if pa.types.is_string(kind) else pc.fill_null(values.cast(pa.float64()), np.nan)


def _kept(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
    return any(test(kind) for test in tests)


def column(table: pa.Table, name: str, kind: pa.DataType, path: Path) -> np.ndarray:
    """A column as an array of one type.

    Raises:
        FormatError: values that are none of this type.
    """
    try:
        return table[name].cast(pa.string() if pa.types.is_string(kind) else kind).to_numpy()
    except pa.ArrowException as failure:
        raise FormatError(f"{path}: column {name!r} holds something that is no {kind}: {failure}.") from failure


def numbered(values: Iterable[object]) -> npt.NDArray[np.int64]:
    """Equal values as equal numbers, from 0 in order of first appearance.

    Example:
        >>> numbered(["b", "a", "b"]).tolist()
        [0, 1, 0]
    """
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


def drawn(networks: npt.NDArray[np.int64], settings: ImportSettings) -> np.ndarray:
    """Splits where none are published: all rows of one network in one, by the hash of its number."""
    return assign(networks, seed=settings.seed, fractions=settings.fractions)


def check_splits(splits: Sequence[str] | np.ndarray, where: object) -> np.ndarray:
    """Splits under their short names.

    Raises:
        FormatError: a name that is none of a split's.

    Example:
        >>> check_splits(["train", "validation"], "labels.csv").tolist()
        ['train', 'val']
    """
    short = [_LONG.get(str(name), str(name)) for name in splits]
    strange = sorted(set(short) - set(SPLITS))
    if strange:
        raise FormatError(f"{where} names the split {strange[0]!r}; expected {', '.join(SPLITS)} (or validation).")
    return np.array(short, dtype=np.str_)


def check_published(settings: ImportSettings, where: object) -> None:
    """Refuses settings of how to draw a split where there is one to be kept.

    Raises:
        DataError: a seed or fractions beside a published split.
    """
    default = ImportSettings()
    for name in ("seed", "fractions"):
        if getattr(settings, name) != getattr(default, name):
            raise DataError(f"{where} holds a split, which is kept; {name} would not count. Remedy: leave it out.")


def check_lineage(networks: npt.NDArray[np.int64], splits: np.ndarray, where: object) -> None:
    """Refuses splits that share a network between them.

    Raises:
        FormatError: rows of one network in several splits.

    Example:
        >>> check_lineage(np.array([0, 0]), np.array(["train", "test"]), "labels.csv")
        Traceback (most recent call last):
        weightspace.errors.FormatError: labels.csv puts rows of network 0 into test and train; checkpoints or views...
    """
    first: dict[int, str] = {}
    for network, split in zip(networks.tolist(), splits.tolist(), strict=True):
        if first.setdefault(network, split) != split:
            names = " and ".join(sorted((first[network], split)))
            raise FormatError(
                f"{where} puts rows of network {network} into {names}; checkpoints or views of one network must lie in "
                "one split, or a model is tested on what it has seen. Remedy: split by networks."
            )
