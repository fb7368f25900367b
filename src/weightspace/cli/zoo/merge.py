"""``weightspace zoo merge``: the networks of several zoos in a new one."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from weightspace.cli.bar import bars
from weightspace.cli.zoo.info import size
from weightspace.zoo import MergeSettings, open_zoo
from weightspace.zoo import merge as merged

__all__ = ["merge"]


def merge(
    *zoos: Path,
    out: Path,
    settings: Annotated[MergeSettings, Parameter(name="*")] = MergeSettings(),  # noqa: B008 - frozen
) -> None:
    """Write the networks of several zoos of one weight space to a new zoo; go on with the one that is there.

    Splits are kept, networks are numbered anew, and the manifest says where each comes from.

    Args:
        zoos: folders of two or more zoos.
        out: folder of the new one.
        settings: what becomes of what they have in common.
    """
    with bars() as report:
        sources = [open_zoo(path) for path in zoos]
        made = merged(sources, out, settings, progress=lambda done, total: report("Merging", done, total, ""))
    print(f"{out}: {size(made)} networks of {made.spec.numel:,} parameters from {len(sources)} zoos.")
