"""Keeping freed memory for the next tensors."""

import ctypes
import sys

__all__ = ["keep_freed_memory"]

# Options of glibc's mallopt: how much free memory at the end of the heap goes back, and how many blocks lie outside it.
TRIM_THRESHOLD, MMAP_MAX = -1, -4


def keep_freed_memory() -> bool:
    """Let this process keep memory that it frees, for the next tensors, instead of giving it back to the system.

    By default glibc asks the system for every tensor above 32 MiB and gives it back at once, so that each is zeroed
    page by page before it is used; that can take longer than the computation (docs/guide/speed.md has figures). The
    process then holds as much memory as it ever needed. The command line does this; a program may, before its first
    large tensor.

    Returns:
        Whether it was done: on Linux with glibc. Elsewhere nothing is changed.

    Example:
        >>> keep_freed_memory() or sys.platform != "linux"
        True
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and mallopt(MMAP_MAX, 0) == 1 and mallopt(TRIM_THRESHOLD, 2**31 - 1) == 1
