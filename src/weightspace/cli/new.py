"""Files that a verb is about to write."""

from pathlib import Path

from weightspace.errors import FormatError

__all__ = ["check_new"]


def check_new(out: Path, *, force: bool) -> None:
    """Refuse a file that is there, or a folder, ahead of all work.

    Raises:
        FormatError: what is there, and the remedy.
    """
    if out.is_dir():
        raise FormatError(f"{out} is a folder. Remedy: give the name of a file.")
    if out.exists() and not force:
        raise FormatError(f"{out} exists. Remedy: give another name, or --force to write over it.")
