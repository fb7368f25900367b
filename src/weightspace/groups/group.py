"""What every finite group can do: multiply and invert elements, which are integers."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Hashable
from functools import cached_property
from typing import overload

import torch
from jaxtyping import Int
from torch import Tensor

from weightspace.errors import GroupError

__all__ = ["Group", "digest"]

LARGEST_TABLE = 4096


class Group(ABC):
    """A finite group. Its elements are the integers `0..order-1`, one by one or as integer tensors.

    Two groups are equal if they were made in the same way, so that their elements mean the same.

    Symmetry:
        `multiply` is associative, `identity` is neutral on both sides, `inverse` undoes an element from both sides.

    Example:
        >>> from weightspace.groups import cyclic, dihedral
        >>> cyclic(6).multiply(4, 5), cyclic(6).inverse(2)
        (3, 4)
        >>> dihedral(3).multiply(torch.arange(6), 3)
        tensor([3, 5, 4, 0, 2, 1])
    """

    order: int
    generators: tuple[int, ...]
    identity: int = 0

    @property
    @abstractmethod
    def key(self) -> Hashable:
        """What tells this group from others of its class."""

    @abstractmethod
    def _multiply(self, a: Tensor, b: Tensor) -> Tensor: ...

    @abstractmethod
    def _inverse(self, a: Tensor) -> Tensor: ...

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and isinstance(other, Group) and self.key == other.key

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.key))

    def __len__(self) -> int:
        return self.order

    @property
    def elements(self) -> Int[Tensor, " order"]:
        """All elements in their order."""
        return torch.arange(self.order)

    @overload
    def multiply(self, a: int, b: int) -> int: ...
    @overload
    def multiply(self, a: Tensor, b: Tensor | int) -> Tensor: ...
    @overload
    def multiply(self, a: int, b: Tensor) -> Tensor: ...

    def multiply(self, a: Tensor | int, b: Tensor | int) -> Tensor | int:
        """The product `a b`. Tensors broadcast; two integers give an integer.

        Raises:
            GroupError: for a number that is no element.
        """
        product = self._multiply(self._checked(a), self._checked(b))
        return int(product) if isinstance(a, int) and isinstance(b, int) else product

    @overload
    def inverse(self, a: int) -> int: ...
    @overload
    def inverse(self, a: Tensor) -> Tensor: ...

    def inverse(self, a: Tensor | int) -> Tensor | int:
        """The element that undoes `a`.

        Raises:
            GroupError: for a number that is no element.
        """
        back = self._inverse(self._checked(a))
        return int(back) if isinstance(a, int) else back

    def conjugate(self, a: Tensor, by: Tensor) -> Tensor:
        """The element `b a b^-1` for `b = by`. Tensors broadcast."""
        by = self._checked(by)
        return self._multiply(self._multiply(by, self._checked(a)), self._inverse(by))

    def table(self) -> Int[Tensor, "order order"]:
        """The whole table of products, for groups of at most 4096 elements.

        Raises:
            GroupError: for larger groups, whose table would not be of use.
        """
        if self.order > LARGEST_TABLE:
            raise GroupError(f"the table of {self!r} would have {self.order}^2 entries: use multiply")
        return self._multiply(self.elements[:, None], self.elements[None])

    @cached_property
    def is_abelian(self) -> bool:
        """Whether all elements commute; generators tell."""
        made = torch.tensor(self.generators, dtype=torch.int64)
        return bool((self._multiply(made[:, None], made) == self._multiply(made, made[:, None])).all())

    def _checked(self, a: Tensor | int) -> Tensor:
        found = torch.as_tensor(a)
        if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
            raise GroupError(f"elements of {self!r} are integers, not {found.dtype}")
        wrong = found[(found < 0) | (found >= self.order)]
        if wrong.numel():
            raise GroupError(f"{int(wrong[0])} is no element of {self!r}: elements are 0 to {self.order - 1}")
        return found.to(torch.int64)


def digest(numbers: Tensor) -> bytes:
    """A short name for a tensor of integers, so that groups made from many are compared at once."""
    return hashlib.sha256(numbers.contiguous().numpy().tobytes()).digest()
