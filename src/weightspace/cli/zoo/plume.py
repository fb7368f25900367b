"""``weightspace zoo make plume``: smoke plumes, whose dynamics are symmetric up to a known degree."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from weightspace.cli.bar import bars
from weightspace.cli.zoo.info import size
from weightspace.zoo.generate import PlumeSettings, make_plumes
from weightspace.zoo.generate.plume import runs_of

__all__ = ["plume"]


def plume(
    *,
    out: Path,
    settings: Annotated[PlumeSettings, Parameter(name="*")] = PlumeSettings(),  # noqa: B008 - frozen
) -> None:
    """Simulate smoke plumes, many side by side, into a folder; go on with the one that is there.

    Args:
        out: folder of the set.
        settings: of the simulations.
    """
    count = len(runs_of(settings))
    with bars() as report:
        done = 0

        def advance(steps: int) -> None:
            nonlocal done
            done += steps
            report(f"Simulating {count} plumes", done, count * settings.total, "steps")

        made = make_plumes(out, settings, progress=advance)
    frames, _, height, width = made.manifest.shape
    print(f"{out}: {size(made)} {settings.kind} plumes, {frames} frames of {height} x {width} each.")
