"""Rows of a zoo in parts that fit into memory, whatever the size of its networks."""

from collections.abc import Iterator

import numpy as np

from weightspace.spec import NetworkSpec

__all__ = ["chunks"]

MOST, NUMBERS = 1024, 2**26
"""The most networks in a part, and the most numbers: 256 MiB in single precision."""


def chunks(rows: np.ndarray, spec: NetworkSpec) -> Iterator[np.ndarray]:
    """The rows in order, in parts.

    Args:
        rows: numbers of networks.
        spec: their space.

    Example:
        >>> import torch
        >>> from weightspace.spec import spec_of
        >>> [len(part) for part in chunks(np.arange(2500), spec_of(torch.nn.Linear(2, 3)))]
        [1024, 1024, 452]
        >>> [len(part) for part in chunks(np.arange(5), spec_of(torch.nn.Linear(8192, 4095)))]
        [2, 2, 1]
    """
    size = max(1, min(MOST, NUMBERS // max(spec.numel, 1)))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
