"""One writer at a time: a lock on the zoo's folder, which the operating system gives back when the process ends."""

import errno
import fcntl
import os
import weakref
from pathlib import Path

from weightspace.errors import StorageError

__all__ = ["hold"]

# Locks of this process by folder: the handle, and how many hold it. Writers in one process do not exclude each other.
_HELD: dict[tuple[int, int], tuple[int, int]] = {}
# File systems without locks, some network drives among them, are written to without.
_BUSY = {errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES}


def hold(owner: object, folder: Path) -> None:
    """Keeps other processes from writing to a folder for as long as the owner lives.

    Nothing is written for it, and a process that is killed leaves no trace.

    Raises:
        StorageError: another process writes there.

    Example:
        >>> import tempfile
        >>> class Writer: ...
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     hold(Writer(), Path(folder))
    """
    place = folder.stat()
    key = (place.st_dev, place.st_ino)
    handle, holders = _HELD.get(key, (-1, 0))
    if not holders:
        handle = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as failure:
            if failure.errno in _BUSY:
                os.close(handle)
                raise StorageError(
                    f"another process is writing to {folder}; nothing was touched. "
                    f"Remedy: wait until it is done, or end it, then run the same again."
                ) from failure
    _HELD[key] = (handle, holders + 1)
    weakref.finalize(owner, _release, key)


def _release(key: tuple[int, int]) -> None:
    handle, holders = _HELD.pop(key)
    if holders > 1:
        _HELD[key] = (handle, holders - 1)
    else:
        os.close(handle)
