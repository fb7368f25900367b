"""Batches made ready ahead of their steps, so that no step waits for the disk."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

__all__ = ["Feed", "feeding"]

AHEAD = 2
"""Batches that lie ready."""

Batch = TypeVar("Batch")


class Feed(Generic[Batch]):
    """The batches of steps one after the other, read by a thread while others are computed.

    Args:
        read: gives the batch of a step; called in order, by one thread.
        steps: the numbers of the steps.
        pool: the thread; None reads each batch when its step asks for it.

    Attributes:
        waited: seconds that steps have waited for batches.
    """

    def __init__(self, read: Callable[[int], Batch], steps: range, pool: ThreadPoolExecutor | None) -> None:
        self._read, self._left, self._pool = read, iter(steps), pool
        self._ready: deque[Future[Batch]] = deque()
        self.waited = 0.0

    def __next__(self) -> Batch:
        begin = time.perf_counter()
        batch = self._read(next(self._left)) if self._pool is None else self._fetch(self._pool)
        self.waited += time.perf_counter() - begin
        return batch

    def _fetch(self, pool: ThreadPoolExecutor) -> Batch:
        while len(self._ready) <= AHEAD and (step := next(self._left, None)) is not None:
            self._ready.append(pool.submit(self._read, step))
        if not self._ready:
            raise StopIteration
        return self._ready.popleft().result()

    def __iter__(self) -> "Feed[Batch]":
        return self


@contextmanager
def feeding(read: Callable[[int], Batch], steps: range, *, ahead: bool) -> Iterator[Feed[Batch]]:
    """A feed for as long as the block runs.

    Args:
        read: gives the batch of a step.
        steps: the numbers of the steps.
        ahead: whether a thread reads ahead. Where data is in memory, handing it over takes longer than reading it.

    Example:
        >>> with feeding(lambda step: (step, -step), range(3), ahead=True) as feed:
        ...     list(feed)
        [(0, 0), (1, -1), (2, -2)]
    """
    if not ahead:
        yield Feed(read, steps, None)
        return
    pool = ThreadPoolExecutor(1, "weightspace-feed")
    try:
        yield Feed(read, steps, pool)
    finally:
        pool.shutdown(cancel_futures=True)
