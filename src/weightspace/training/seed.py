"""Where chance comes from: independent generators named by what they are for, and the order of batches."""

import hashlib

import torch
from torch import Tensor

from weightspace.errors import TrainingError

__all__ = ["Order", "generator", "seed_for"]


def seed_for(seed: int, purpose: str) -> int:
    """A 63-bit seed for one purpose: the same for the same pair, unrelated for any other.

    Args:
        seed: the seed of the run.
        purpose: what the numbers are for ("dropout", "order/3").

    Example:
        >>> seed_for(0, "dropout") == seed_for(0, "dropout"), seed_for(0, "dropout") == seed_for(1, "dropout")
        (True, False)
    """
    digest = hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """A random generator for one purpose, independent of those for all other seeds and purposes.

    Args:
        seed: the seed of the run.
        purpose: what the numbers are for.
        device: where they are drawn.

    Example:
        >>> one, two = generator(0, "noise"), generator(0, "noise")
        >>> bool(torch.rand(3, generator=one).equal(torch.rand(3, generator=two)))
        True
    """
    return torch.Generator(device).manual_seed(seed_for(seed, purpose))


class Order:
    """The items of every batch: a fresh permutation each epoch, a function of the seed and the step alone.

    Step `s` takes batch `s mod n` of epoch `s // n`, with `n = count // batch` batches in an epoch. All batches are
    full: what is left over at the end of a permutation waits for a later epoch, which shuffles anew.

    Args:
        count: the number of items.
        batch: the items in a batch.
        seed: the seed of the run.
        views: for each row the number of the item that it is a view of, shape `(rows,)`; an epoch then goes over
            items, and takes a view of each at random. None: every item is one row.

    Raises:
        TrainingError: when a batch is larger than the data.

    Example:
        >>> order = Order(count=6, batch=2, seed=0)
        >>> torch.cat([order.rows(step) for step in range(3)]).sort().values
        tensor([0, 1, 2, 3, 4, 5])
    """

    def __init__(self, count: int, batch: int, seed: int, views: Tensor | None = None) -> None:
        self._views = None if views is None else _Views(views)
        count = count if self._views is None else len(self._views)
        if batch > count:
            raise TrainingError(
                f"batch is {batch}, but the training split has {count} items: set batch to {count} or less."
            )
        self._count, self._batch, self._seed = count, batch, seed
        self._epoch, self._permutation = -1, torch.empty(0, dtype=torch.int64)

    def rows(self, step: int) -> Tensor:
        """The items of the batch of one step. Shape `(batch,)`, int64."""
        epoch, place = divmod(step, self._count // self._batch)
        if epoch != self._epoch:
            chance = generator(self._seed, f"order/{epoch}")
            self._epoch, self._permutation = epoch, torch.randperm(self._count, generator=chance)
            if self._views is not None:
                self._permutation = self._views.chosen(self._permutation, chance)
        return self._permutation[place * self._batch : (place + 1) * self._batch]


class _Views:
    """Rows grouped by the item that they are views of."""

    def __init__(self, views: Tensor) -> None:
        self._rows = views.argsort(stable=True)
        self._counts = views[self._rows].unique_consecutive(return_counts=True)[1]
        self._starts = self._counts.cumsum(0) - self._counts

    def __len__(self) -> int:
        return len(self._counts)

    def chosen(self, items: Tensor, chance: torch.Generator) -> Tensor:
        """One row of each of these items."""
        counts = self._counts[items]
        places = (torch.rand(len(items), generator=chance, dtype=torch.float64) * counts).long()
        return self._rows[self._starts[items] + places.clamp_max(counts - 1)]
