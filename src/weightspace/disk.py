"""Files that appear whole or not at all: everything that is written for good is written here."""

import errno
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from weightspace.errors import StorageError

__all__ = ["LEFTOVER", "staged", "sweep", "write_atomic", "writing"]

LEFTOVER = ".part"
"""How the names of files end that are not complete yet; they begin with a dot."""

_FULL = "free some space or choose a folder on another disk, then run the same again"
_FORBIDDEN = ("no permission", "choose a folder that you may write to, or change its permissions")
_BLOCKED = ("a part of that path is a file, not a folder", "choose another path")
_REFUSALS = {
    errno.ENOSPC: ("the disk is full", _FULL),
    errno.EDQUOT: ("the disk is full up to your quota", _FULL),
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: ("no permission, that file system is read-only", "choose a folder on another one"),
    errno.ENOTDIR: _BLOCKED,
    errno.EEXIST: _BLOCKED,
    errno.EISDIR: ("that is a folder", "give the name of a file"),
    errno.ENAMETOOLONG: ("that name is too long", "choose a shorter one"),
}


def write_atomic(path: str | Path, content: bytes) -> None:
    """Writes a file so that it is there in full or, after any failure, as it was before; missing folders are made.

    Raises:
        StorageError: the disk is full or may not be written; names the path, the bytes needed and the remedy.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "new" / "file"
        >>> write_atomic(file, b"all of it")
        >>> file.read_bytes()
        b'all of it'
    """
    with staged(path, content) as move:
        move()


@contextmanager
def staged(path: str | Path, content: bytes) -> Iterator[Callable[[], None]]:
    """The content on the disk in full, next to its place; a call of what this gives moves it there.

    For files that belong together: first all are written, then one after the other is moved. What is not moved by the
    end of the block is removed.

    Raises:
        StorageError: the disk is full or may not be written. Up to the first move nothing has changed.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with staged(folder / "data", b"1 2 3") as move_data, staged(folder / "index", b"3") as move_index:
        ...     move_data()
        ...     move_index()
        >>> sorted(file.name for file in folder.iterdir())
        ['data', 'index']
    """
    target = Path(path)
    part = target.parent / f".{target.name}.{secrets.token_hex(4)}{LEFTOVER}"

    def move() -> None:
        with writing(target):
            os.replace(part, target)
        _sync_folder(target.parent)

    try:
        with writing(target, len(content)):
            target.parent.mkdir(parents=True, exist_ok=True)
            _fill(part, content)
        yield move
    finally:
        _forget(part)


def sweep(folder: Path) -> None:
    """Removes the unfinished files that a killed run left in a folder.

    Raises:
        StorageError: they may not be removed.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / ".file.1f0c.part").write_bytes(b"half")
        >>> sweep(folder)
        >>> list(folder.iterdir())
        []
    """
    with writing(folder):
        for leftover in folder.glob(f".*{LEFTOVER}"):
            leftover.unlink(missing_ok=True)


@contextmanager
def writing(path: Path, needed: int | None = None) -> Iterator[None]:
    """Turns an operating system's refusal into an error that says what to do.

    Args:
        path: what is written, moved or removed in the block.
        needed: bytes to be written; given only where a failure leaves everything as it was.

    Raises:
        StorageError: in place of an OSError.

    Example:
        >>> with writing(Path("zoo"), needed=2000):
        ...     raise IsADirectoryError(errno.EISDIR, "Is a directory")
        Traceback (most recent call last):
        ...
        weightspace.errors.StorageError: cannot write zoo (2,000 bytes needed): that is a folder. What was there
        before is unharmed. Remedy: give the name of a file.
    """
    try:
        yield
    except OSError as failure:
        raise StorageError(_refusal(path, needed, failure)) from failure


def _refusal(path: Path, needed: int | None, failure: OSError) -> str:
    unknown = (failure.strerror or str(failure), "check the path and the disk, and that no other run uses it")
    reason, remedy = _REFUSALS.get(failure.errno or 0, unknown)
    if remedy is _FULL:
        with suppress(OSError):
            reason += f", {shutil.disk_usage(path.parent).free:,} bytes free"
    told = "" if needed is None else f" ({needed:,} bytes needed)"
    kept = "" if needed is None else " What was there before is unharmed."
    return f"cannot write {path}{told}: {reason}.{kept} Remedy: {remedy}."


def _fill(part: Path, content: bytes) -> None:
    try:
        with part.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        # At once, so that the error tells the room there is without the part.
        _forget(part)
        raise


def _forget(part: Path) -> None:
    # Where even the folder is out of reach, nothing was written into it either.
    with suppress(OSError):
        part.unlink()


def _sync_folder(folder: Path) -> None:
    """Makes a rename survive a power failure, where folders can be opened and synced; the file itself is in place."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
