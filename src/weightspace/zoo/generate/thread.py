"""Work cut into parts, each on a thread of its own, with torch held to one thread per operation meanwhile."""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import TypeVar

import torch

__all__ = ["one_thread_per_operation", "side_by_side"]

Part = TypeVar("Part")
Made = TypeVar("Made")


def side_by_side(
    make: Callable[[Event, Part], Made], parts: Iterable[Part], *, threads: int
) -> Generator[Made, None, None]:
    """The results of all parts, in order, as they come.

    Args:
        make: told by the event that nobody waits for its result any more.
        parts: what each call is given.
        threads: how many calls run at a time.
    """
    stop = Event()
    with ThreadPoolExecutor(threads) as pool:
        try:
            yield from pool.map(lambda part: make(stop, part), parts)
        finally:
            # An interrupt leaves no thread working on what nobody waits for.
            stop.set()


@contextmanager
def one_thread_per_operation() -> Iterator[int]:
    """Holds torch to one thread per operation; gives the number of threads that it had before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)
