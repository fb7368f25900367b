"""Networks of one zoo or of several: which there are, of which weight spaces, and what they are called together."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from weightspace.spec import NetworkSpec
from weightspace.zoo import Zoo, open_zoo, open_zoos
from weightspace.zoo.collection import COLLECTION_FILE

__all__ = ["Space", "checksum_of", "is_collection", "open_all", "place_of", "short", "space_of", "zoos_of"]

Space = NetworkSpec | tuple[NetworkSpec, ...]
"""What a model is built for: the spec of one zoo, or the specs of several, each once."""


def zoos_of(zoo: Zoo | Sequence[Zoo]) -> tuple[Zoo, ...]:
    """A zoo, or several, as several."""
    return (zoo,) if isinstance(zoo, Zoo) else tuple(zoo)


def is_collection(path: Path) -> bool:
    """Whether a folder holds several zoos."""
    return (path / COLLECTION_FILE).is_file()


def open_all(path: Path) -> tuple[Zoo, ...]:
    """The zoo in a folder, or the zoos of the collection in it.

    Raises:
        FormatError: neither is there, or what is there is damaged.
    """
    return tuple(open_zoos(path)) if is_collection(path) else (open_zoo(path),)


def space_of(zoos: Sequence[Zoo]) -> Space:
    """What a model has to read."""
    return zoos[0].spec if len(zoos) == 1 else tuple(dict.fromkeys(zoo.spec for zoo in zoos))


def checksum_of(zoos: Sequence[Zoo]) -> str:
    """What tells the data of a run from others, as `training.Splits.of` has it."""
    return " ".join(zoo.checksum for zoo in zoos)


def short(checksum: str, digits: int = 12) -> str:
    """The first digits of a zoo's checksum; those of several zoos together are not those of the first of them.

    Example:
        >>> short("0123456789abcdef", 8), short("0123456789abcdef 0123", 8)
        ('01234567', 'e40bb16d')
    """
    return (hashlib.sha256(checksum.encode()).hexdigest() if " " in checksum else checksum)[:digits]


def place_of(zoos: Sequence[Zoo]) -> str:
    """Where they lie, in words."""
    return ", ".join(str(zoo.path.resolve()) for zoo in zoos)
