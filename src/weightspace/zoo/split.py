"""Splits that belong to an image and never change: a keyed hash of its number decides.

A permutation cut into three pieces moves images between the pieces as soon as the collection grows. A hash of each
number alone does not: what was a test image in a zoo of a thousand networks is one in a zoo of a million, and every
network fitted to the same image lies in the same split.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from weightspace.errors import DataError

__all__ = ["SPLITS", "assign"]

SPLITS = ("train", "val", "test")

# SplitMix64 (Steele, Lea, Flood 2014): a bijection of the 64-bit integers, so different numbers never share a hash.
_GOLDEN = 0x9E3779B97F4A7C15
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
_MASK = (1 << 64) - 1


def assign(
    ids: Sequence[int] | np.ndarray, *, seed: int = 0, fractions: Sequence[float] = (0.8, 0.1, 0.1)
) -> np.ndarray:
    r"""The split of each image, decided by its number and the seed alone.

    With :math:`h` the SplitMix64 hash of ``ids`` keyed by ``seed`` and :math:`u = h / 2^{64} \in [0, 1)`, an image is
    in ``train`` where :math:`u < f_1`, in ``val`` where :math:`f_1 \le u < f_1 + f_2` and in ``test`` otherwise.
    The fractions hold in expectation: of ``n`` images about ``n f ± sqrt(n f (1 - f))`` fall into a part.

    Shapes:
        ids: ``(n,)``; result: ``(n,)``.

    Args:
        ids: integer numbers of the images, repeated where several networks belong to one image.
        seed: another seed gives an independent split.
        fractions: expected shares of train, val and test; not negative, with sum 1.

    Raises:
        DataError: ids are not integers, or the fractions are not three shares of 1.

    Example:
        >>> assign(range(8)).tolist()
        ['train', 'train', 'train', 'train', 'train', 'val', 'test', 'train']
        >>> (assign(range(100))[:50] == assign(range(50))).all().item()
        True

    References:
        Guy Steele, Doug Lea, Christine Flood, *Fast splittable pseudorandom number generators*, 2014.
    """
    numbers = np.asarray(ids)
    if numbers.size and not np.issubdtype(numbers.dtype, np.integer):
        raise DataError(f"ids have type {numbers.dtype}; expected integers, one number per image.")
    shares = tuple(float(share) for share in fractions)
    if len(shares) != len(SPLITS) or not all(share >= 0 for share in shares) or not math.isclose(sum(shares), 1.0):
        raise DataError(f"fractions are {shares}; expected shares of train, val and test, none negative, with sum 1.")
    key = _mixed(np.array([(seed + _GOLDEN) & _MASK], dtype=np.uint64))
    hashed = _mixed(numbers.reshape(-1).astype(np.int64).view(np.uint64) ^ key)
    # 53 bits: exactly representable, so that no hash rounds up to 1.
    unit = (hashed >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return np.array(SPLITS)[np.searchsorted(_bounds(shares), unit, side="right")]


def _bounds(shares: Sequence[float]) -> npt.NDArray[np.float64]:
    """Upper ends of train and val; exactly 1 where nothing is left for the parts behind."""
    return np.array([1.0 - sum(shares[1:]), 1.0 - shares[2]])


def _mixed(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The SplitMix64 step of each state."""
    state = state + np.uint64(_GOLDEN)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(_MIX[0])
    state = (state ^ (state >> np.uint64(27))) * np.uint64(_MIX[1])
    return state ^ (state >> np.uint64(31))
