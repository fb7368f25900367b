"""``weightspace zoo export``: a zoo as Parquet files with a column of weights."""

from pathlib import Path

from weightspace.cli.bar import bars
from weightspace.zoo import export as exported
from weightspace.zoo import open_zoo

__all__ = ["export"]


def export(zoo: Path, dest: Path, /, *, license: str | None = None) -> None:
    """Write a zoo as a data set that the Hugging Face hub shows and datasets.load_dataset loads; go on with one.

    Args:
        zoo: folder of the zoo.
        dest: folder of the data set.
        license: as the hub names licences, such as cc-by-4.0.
    """
    source = open_zoo(zoo)
    with bars() as report:
        exported(source, dest, license=license, progress=lambda done, total: report("Exporting", done, total, ""))
    print(f"{dest}: {len(source):,} networks with their weights.")
