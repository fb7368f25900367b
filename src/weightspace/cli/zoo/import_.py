"""``weightspace zoo import``: a zoo of networks that somebody else trained."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from weightspace.cli.bar import bars
from weightspace.cli.zoo.info import quality, size
from weightspace.zoo import write_card
from weightspace.zoo.readers import ImportSettings, import_zoo

__all__ = ["import_"]


def import_(
    format: str,
    source: Path,
    dest: Path,
    /,
    *,
    settings: Annotated[ImportSettings, Parameter(name="*")] = ImportSettings(),  # noqa: B008 - frozen
) -> None:
    """Read networks that are stored in another format into a zoo; go on with the one that is there.

    Of files only tensors are read: nothing in them is run. A module is code, and runs.

    Args:
        format: small-cnn-zoo, nfn-siren, dws-siren, state-dicts, safetensors or peft.
        source: the folder that holds the networks, its archive unpacked.
        dest: folder of the zoo.
        settings: what the format leaves open.
    """
    with bars() as report:
        zoo = import_zoo(
            format, source, dest, settings, progress=lambda done, total: report(f"Reading {format}", done, total, "")
        )
    write_card(zoo)
    told = quality(zoo)
    print(f"{dest}: {size(zoo)} networks of {zoo.spec.numel:,} parameters{', ' + told if told else ''}.")
    for note in zoo.manifest.source.get("notes", ()):
        print(f"note on {note}")
