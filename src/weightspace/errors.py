"""The whole list of errors that the package raises on purpose.

Each says which thing is wrong, its value, what was expected and the remedy. The command line prints the text of
any :class:`WeightspaceError` without a traceback and exits with code 2; every other exception is a bug.
"""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "DataError",
    "FormatError",
    "GroupError",
    "ShapeError",
    "SingularError",
    "SpecError",
    "StorageError",
    "SymmetryError",
    "TrainingError",
    "UnknownNameError",
    "WeightspaceError",
    "unknown",
]


class WeightspaceError(Exception):
    """Something the caller can put right: a wrong argument, file, network or environment."""


class SpecError(WeightspaceError):
    """A module or a description of a weight space that cannot be read or contradicts itself."""


class SymmetryError(WeightspaceError):
    """An operation that would break the symmetry it is asked to respect."""


class ShapeError(WeightspaceError):
    """A tensor whose shape does not fit the weight space it is said to lie in."""


class GroupError(WeightspaceError):
    """A table, action or set of elements without the structure that it is said to have."""


class SingularError(WeightspaceError):
    """A matrix without an inverse where one is asked for."""


class FormatError(WeightspaceError):
    """A file or folder on disk that is damaged, incomplete or of another kind or version."""


class StorageError(WeightspaceError):
    """A file or folder that cannot be written: a full disk, a missing permission, an impossible path."""


class DataError(WeightspaceError):
    """Data that could not be had, or that is not what it claims to be."""


class TrainingError(WeightspaceError):
    """A training run that cannot start or cannot go on."""


class UnknownNameError(WeightspaceError):
    """A name that does not exist; the message offers the nearest one that does."""


def unknown(kind: str, name: object, valid: Iterable[str]) -> UnknownNameError:
    """An error for a name that is not among the valid ones, ready to be raised.

    Args:
        kind: what the name names, as it should read in a sentence ("data set", "split").
        name: the name that was given.
        valid: every name that would have been right.

    Example:
        >>> print(unknown("split", "trian", ["train", "val", "test"]))
        unknown split 'trian': did you mean "train"? Valid names: test, train, val.
        >>> print(unknown("model", "flatmlp", ["FlatMLP", "NP"]))
        unknown model 'flatmlp': did you mean "FlatMLP"? Valid names: FlatMLP, NP.
    """
    names = sorted(valid)
    lowered = {name.lower(): name for name in names}
    near = get_close_matches(str(name).lower(), lowered, n=1)
    hint = f' did you mean "{lowered[near[0]]}"?' if near else ""
    return UnknownNameError(f"unknown {kind} {name!r}:{hint} Valid names: {', '.join(names)}.")
