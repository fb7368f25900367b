"""``weightspace zoo append``: the networks of zoos behind those of another."""

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from weightspace.cli.bar import bars
from weightspace.cli.zoo.info import size
from weightspace.zoo import MergeSettings, open_zoo
from weightspace.zoo import append as appended

__all__ = ["append"]


def append(
    zoo: Path,
    /,
    *others: Path,
    settings: Annotated[MergeSettings, Parameter(name="*")] = MergeSettings(),  # noqa: B008 - frozen
) -> None:
    """Add the networks of zoos to another, behind its own, which are not touched; go on where it stopped.

    Args:
        zoo: folder of the zoo that grows.
        others: folders of the zoos that are added.
        settings: what becomes of what they have in common; columns and type are those of the zoo that grows.
    """
    made = open_zoo(zoo)
    with bars() as report:

        def tell(other: Path, done: int, total: int) -> None:
            report(f"Appending {other}", done, total, "")

        for other in others:
            made = appended(zoo, open_zoo(other), settings, progress=partial(tell, other))
    print(f"{zoo}: {size(made)} networks of {made.spec.numel:,} parameters.")
