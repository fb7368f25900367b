"""Which links inside a zoo's folder are followed: those that stay there, or in the blobs of the hub's own cache."""

import os
import stat
from pathlib import Path

from weightspace.errors import FormatError

__all__ = ["check_inside"]


def check_inside(root: Path, path: Path) -> None:
    """Refuses a link out of a zoo's folder, and what is neither a file nor a folder.

    The cache of the Hugging Face hub keeps a snapshot as links to blobs beside it::

        datasets--owner--name/blobs/5891b5b522d5df08...
        datasets--owner--name/snapshots/<revision>/zoo.json -> ../../blobs/5891b5b522d5df08...

    A zoo that lies in such a snapshot may link to the blobs of that repository, and to nothing else.

    Args:
        root: the zoo's folder; a link in its own path is the user's word.
        path: a file or folder in it.

    Raises:
        FormatError: a link that leads elsewhere, or something like a pipe, which would never end to be read.
        OSError: nothing there, or a loop of links.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp())
        >>> (root / "zoo.json").symlink_to("/etc/hostname")
        >>> check_inside(root, root / "zoo.json")
        Traceback (most recent call last):
        weightspace.errors.FormatError: .../zoo.json is a link to /etc/hostname, out of the zoo; it was not read...
    """
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        # Path.resolve has an error of its own for loops, which is no OSError.
        real = Path(os.path.realpath(path, strict=True))
        if not any(real.is_relative_to(place) for place in _allowed(root.resolve())):
            raise FormatError(
                f"{path} is a link to {real}, out of the zoo; it was not read. Remedy: copy what it leads to into its "
                "place. Links are followed within the zoo's folder and in snapshots of the Hugging Face hub's cache."
            )
        mode = real.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise FormatError(f"{path} is no plain file. Remedy: remove it.")


def _allowed(root: Path) -> list[Path]:
    """The folders that a link may lead to."""
    for folder in (root, *root.parents):
        repository = folder.parent.parent
        if folder.parent.name == "snapshots" and repository.name.startswith(("datasets--", "models--")):
            return [root, repository / "blobs"]
    return [root]
