"""What a model learns from: items with their targets, in memory or on disk, of one weight space or of several."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from weightspace.errors import DataError
from weightspace.weights import WeightFeatures
from weightspace.zoo import Zoo

__all__ = ["Mixed", "Several", "Split", "Splits", "Stored"]

NAMES = ("train", "val", "test")


class Stored:
    """Networks of a zoo that stay on disk until some of them are asked for.

    Args:
        zoo: where they are.
        rows: which of them; all by default.
        prepare: what is done with every batch, such as `gauge.fold_phases`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from weightspace.zoo import load_images, open_zoo
        >>> from weightspace.zoo.generate import SirenSettings, make_siren_zoo
        >>> folder = Path(tempfile.mkdtemp()) / "zoo"
        >>> settings = SirenSettings(hidden=(4,), steps=2)
        >>> stored = Stored(make_siren_zoo(folder, load_images("digits"), settings, count=8))
        >>> len(stored), len(stored[torch.tensor([3, 1])])
        (8, 2)
    """

    def __init__(
        self,
        zoo: Zoo,
        rows: np.ndarray | None = None,
        prepare: Callable[[WeightFeatures], WeightFeatures] | None = None,
    ) -> None:
        self.zoo, self.rows, self._prepare = zoo, np.arange(len(zoo)) if rows is None else rows, prepare

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: slice | Tensor) -> WeightFeatures:
        read = self.zoo.features(self.rows[rows if isinstance(rows, slice) else rows.numpy()])
        return read if self._prepare is None else self._prepare(read)

    def map(self, prepare: Callable[[WeightFeatures], WeightFeatures]) -> "Stored":
        """The same networks, prepared as they are read."""
        before = self._prepare
        return Stored(self.zoo, self.rows, prepare if before is None else lambda x: prepare(before(x)))


class Several(list[WeightFeatures]):
    """A batch of networks of several weight spaces: features for each space, and their targets in the same order."""

    def to(self, device: torch.device) -> "Several":
        """The same on a device."""
        return Several(part.to(device) for part in self)


class Mixed:
    """Networks of several weight spaces, numbered one part after the other.

    Args:
        parts: the networks of each space: `WeightFeatures` or `Stored`.

    Example:
        >>> from torch import nn
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import random_features
        >>> small, large = (random_features(spec_of(nn.Linear(2, n)), 5) for n in (3, 4))
        >>> [len(part) for part in Mixed([small, large])[torch.tensor([0, 4, 5])]]
        [2, 1]
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = tuple(parts)
        self._ends = np.cumsum([len(part) for part in self.parts])

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, rows: slice | Tensor) -> Several:
        wanted = np.sort(np.arange(len(self))[rows if isinstance(rows, slice) else rows.numpy()])
        cuts = np.searchsorted(wanted, self._ends)
        starts = self._ends - [len(part) for part in self.parts]
        chosen = (
            (part, wanted[first:last] - start)
            for part, first, last, start in zip(self.parts, [0, *cuts[:-1]], cuts, starts, strict=True)
        )
        return Several(part[torch.from_numpy(local)] for part, local in chosen if len(local))

    def map(self, prepare: Callable[[WeightFeatures], WeightFeatures]) -> "Mixed":
        """The same networks, prepared."""
        return Mixed([mapped(part, prepare) for part in self.parts])


@dataclass(frozen=True, eq=False)
class Split:
    """The items of one split.

    Args:
        features: what the model is called with: anything that can be indexed by rows (a slice or an int64 tensor),
            has a length, and whose batches can be moved by `.to(device)`: a `WeightFeatures`, a tensor, `Stored`,
            `Mixed`.
        target: what the task compares the answer with. Shape `(items, ...)`.
        views: for each item the number of what it is one view of, shape `(items,)`; an epoch of training then takes one
            view of each at random. None: every item is read in every epoch.

    Raises:
        DataError: when they do not pair up.
    """

    features: Any
    target: Tensor
    views: Tensor | None = None

    def __post_init__(self) -> None:
        if self.target.ndim == 0 or len(self.features) != len(self.target):
            raise DataError(
                f"{len(self.features)} items with targets of shape {tuple(self.target.shape)}: "
                "expected one target for each item, along the first dimension."
            )
        if self.views is not None and self.views.shape != (len(self.target),):
            raise DataError(
                f"views have shape {tuple(self.views.shape)}: expected ({len(self.target)},), a number for each item."
            )

    def __len__(self) -> int:
        return len(self.target)

    @property
    def kept(self) -> bool:
        """Whether the features are in memory, so that reading them ahead gains nothing."""
        return not isinstance(self.features, Stored | Mixed)

    def batch(self, rows: slice | Tensor, device: torch.device) -> tuple[Any, Tensor]:
        """The features and targets of some rows, on a device. Rows of `Mixed` features come in ascending order."""
        if isinstance(self.features, Mixed) and isinstance(rows, Tensor):
            rows = rows.sort().values
        return self.features[rows].to(device), self.target[rows].to(device)

    def map(self, prepare: Callable[[Any], Any]) -> "Split":
        """The same items with their features prepared."""
        return replace(self, features=mapped(self.features, prepare))

    def chunks(self, rows: int = 4096) -> Iterator[Any]:
        """The features, so many at a time."""
        return (self.features[slice(at, at + rows)] for at in range(0, len(self), rows))


@dataclass(frozen=True, eq=False)
class Splits:
    """The data of a run: what is learnt from, what chooses the checkpoint, and what is looked at once, at the end.

    Raises:
        DataError: when a split is empty.
    """

    train: Split
    val: Split
    test: Split
    checksum: str = ""
    """Of the zoos that the items are from, so that other data is another run."""

    @classmethod
    def of(cls, zoo: Zoo | Sequence[Zoo], task: Any, *, stored: bool = False, views: str | None = None) -> "Splits":
        """The networks of a zoo in their splits, with the targets that the task reads off the zoo's table.

        Args:
            zoo: the networks; several zoos, each of a weight space of its own, make `Mixed` features.
            task: has a method `targets`.
            stored: leave the weights on disk and read batches of them, instead of reading all of them now.
            views: a column of integers, equal for networks that are views of one item, such as "image".

        Raises:
            DataError: a split is empty, an entry of the table is no target of the task, or `views` are no integers.
            UnknownNameError: a column that does not exist.
        """
        zoos = [zoo] if isinstance(zoo, Zoo) else list(zoo)
        parts = {name: _joined([_part(one, task, name, stored, views) for one in zoos]) for name in NAMES}
        return cls(parts["train"], parts["val"], parts["test"], " ".join(one.checksum for one in zoos))

    def map(self, prepare: Callable[[Any], Any]) -> "Splits":
        """The same items with their features prepared, such as by `gauge.fold_phases`."""
        return replace(self, **{name: getattr(self, name).map(prepare) for name in NAMES})

    def __post_init__(self) -> None:
        for name, size in self.sizes.items():
            if size == 0:
                raise DataError(
                    f"the {name} split is empty: expected at least one item. Use more data or other shares."
                )

    @property
    def sizes(self) -> dict[str, int]:
        """Items by split."""
        return {name: len(getattr(self, name)) for name in NAMES}


def mapped(features: Any, prepare: Callable[[Any], Any]) -> Any:
    """Features prepared: now where they are in memory, later where they are not."""
    return features.map(prepare) if isinstance(features, Stored | Mixed) else prepare(features)


def _part(zoo: Zoo, task: Any, name: str, stored: bool, views: str | None) -> Split:
    rows = zoo.split(name)
    features = Stored(zoo, rows) if stored else zoo.features(rows)
    return Split(features, task.targets(zoo, rows), None if views is None else _numbers(zoo, views, rows))


def _numbers(zoo: Zoo, column: str, rows: np.ndarray) -> Tensor:
    entries = zoo.column(column)[rows]
    if not np.issubdtype(entries.dtype, np.integer):
        raise DataError(
            f"column {column!r} of {zoo!r} holds {entries.dtype}: expected integers, one for all views of an item."
        )
    return torch.from_numpy(entries.astype(np.int64))


def _joined(parts: Sequence[Split]) -> Split:
    if len(parts) == 1:
        return parts[0]
    views = [part.views for part in parts if part.views is not None]
    return Split(
        Mixed([part.features for part in parts]),
        torch.cat([part.target for part in parts]),
        torch.cat(views) if views else None,
    )
