"""Partitions of sets, the diagrams by which equivariant linear maps are indexed."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

__all__ = ["set_partitions"]

T = TypeVar("T")


def set_partitions(items: Sequence[T]) -> Iterator[tuple[tuple[T, ...], ...]]:
    """Every way to divide items into non-empty blocks. The number of ways is the Bell number: 1, 1, 2, 5, 15, ...

    Example:
        >>> list(set_partitions("ab"))
        [(('a', 'b'),), (('a',), ('b',))]
        >>> [len(list(set_partitions(range(n)))) for n in range(6)]
        [1, 1, 2, 5, 15, 52]
    """
    if not items:
        yield ()
        return
    first, rest = items[0], items[1:]
    for partition in set_partitions(rest):
        for position, block in enumerate(partition):
            yield (*partition[:position], (first, *block), *partition[position + 1 :])
        yield ((first,), *partition)
