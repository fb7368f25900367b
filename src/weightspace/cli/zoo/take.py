"""``weightspace zoo take``: some networks of a zoo, or all of them in another type, in a new one."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from weightspace.cli.bar import bars
from weightspace.cli.zoo.info import size
from weightspace.zoo import Zoo, open_zoo
from weightspace.zoo import take as taken
from weightspace.zoo import where as meets

__all__ = ["take"]


def take(
    zoo: Path,
    /,
    *,
    out: Path,
    where: list[str] | None = None,
    split: str | None = None,
    dtype: str | None = None,
) -> None:
    """Write some networks of a zoo, or all in another type, to a new zoo; go on with the one that is there.

    Args:
        zoo: folder of the zoo.
        out: folder of the new one.
        where: conditions on columns, such as "test_accuracy >= 0.5"; networks that meet all of them are taken.
        split: train, val or test; all of them if left out.
        dtype: of the weights: fp32, bf16 or fp16; as they are if left out.
    """
    source = open_zoo(zoo)
    chosen = _chosen(source, where or [], split)
    with bars() as report:
        made = taken(
            source.only(chosen) if len(chosen) < len(source) else source,
            out,
            dtype=dtype,
            progress=lambda done, total: report("Taking", done, total, ""),
        )
    print(f"{out}: {size(made)} of {len(source):,} networks, stored as {made.manifest.dtype}.")


def _chosen(zoo: Zoo, conditions: list[str], split: str | None) -> npt.NDArray[np.int64]:
    """The rows that are in a split and meet all conditions."""
    mask = np.ones(len(zoo), bool)
    for condition in conditions:
        mask &= meets(zoo, condition)
    rows = np.flatnonzero(mask)
    return rows if split is None else np.intersect1d(rows, zoo.split(split))
