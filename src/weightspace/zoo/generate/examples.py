"""What networks of a zoo learn from and are asked about: tensors in parts, and how they are changed while training."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from weightspace.errors import DataError

__all__ = ["Augment", "Examples", "Pair"]

Pair = tuple[Tensor, Tensor]
"""Inputs and targets, ``(example, ...)`` each."""


@dataclass(frozen=True)
class Augment:
    """How training inputs are changed before they are shown.

    Args:
        function: takes the inputs of a batch ``(example, ...)`` and uniform random numbers ``(example, numbers)`` from
            0 to below 1, and gives the inputs to show, of the same shape. It is run under `torch.func.vmap`, so it must
            not draw numbers itself, write in place, or branch on values.
        numbers: random numbers per example that it needs.

    Raises:
        DataError: fewer than one number.

    Example:
        >>> flip = Augment(lambda x, u: torch.where(u[:, :1] < 0.5, x, x.flip(1)), numbers=1)
        >>> flip.function(torch.tensor([[1, 2], [1, 2]]), torch.tensor([[0.1], [0.9]]))
        tensor([[1, 2],
                [2, 1]])
    """

    function: Callable[[Tensor, Tensor], Tensor]
    numbers: int

    def __post_init__(self) -> None:
        if self.numbers < 1:
            raise DataError(f"numbers is {self.numbers}; expected at least 1 random number per example.")


@dataclass(frozen=True, eq=False)
class Examples:
    """A supervised problem.

    Args:
        train: inputs and targets that networks learn from.
        validation: those that early stopping asks; told in the zoo's table as well.
        test: those that are only told in the table.
        augment: changes training inputs, at every step anew; nothing else is augmented.
        name: of the data, for the zoo's manifest.

    Shapes:
        inputs, targets: ``(example, ...)``, alike in all parts but for the number of examples.

    Raises:
        DataError: no examples, unequal numbers of inputs and targets, parts that do not fit together, or numbers that
            are not finite.

    Example:
        >>> data = Examples((torch.zeros(5, 2), torch.zeros(5)), test=(torch.zeros(3, 2), torch.zeros(3)), name="zeros")
        >>> list(data.parts), len(data)
        (['train', 'test'], 5)
    """

    train: Pair
    validation: Pair | None = None
    test: Pair | None = None
    augment: Augment | None = None
    name: str = "examples"

    def __post_init__(self) -> None:
        kinds = [(value.shape[1:], value.dtype) for value in self.train]
        for part, pair in self.parts.items():
            if len(pair[0]) != len(pair[1]) or not len(pair[0]):
                raise DataError(
                    f"{part} has {len(pair[0])} inputs and {len(pair[1])} targets; "
                    f"expected as many of both, at least one."
                )
            for word, value, (shape, dtype) in zip(("inputs", "targets"), pair, kinds, strict=True):
                if value.shape[1:] != shape or value.dtype != dtype:
                    raise DataError(
                        f"{word} of {part} are {value.dtype} of shape {tuple(value.shape[1:])} per example; those of "
                        f"train are {dtype} of shape {tuple(shape)}. Expected the same."
                    )
                if value.is_floating_point() and not value.isfinite().all():
                    raise DataError(
                        f"{word} of {part} hold values that are not finite. Remedy: leave such examples out."
                    )

    def __len__(self) -> int:
        return len(self.train[0])

    @property
    def parts(self) -> dict[str, Pair]:
        """The parts that there are, by name."""
        given = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: pair for name, pair in given.items() if pair is not None}

    @property
    def checksum(self) -> str:
        """sha256 (hex) over all parts: names, types, shapes and values."""
        digest = hashlib.sha256()
        for name, pair in self.parts.items():
            for value in pair:
                digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
                digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()
