"""Finite groups by rule and by table: cyclic, dihedral, and any table that satisfies the axioms."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from weightspace.errors import GroupError
from weightspace.groups.group import Group, digest

__all__ = ["Cyclic", "Dihedral", "FiniteGroup", "cyclic", "dihedral"]


class Cyclic(Group):
    """The integers modulo `order`, see :func:`cyclic`."""

    def __init__(self, order: int):
        if order < 1:
            raise GroupError(f"cyclic({order}): a group has at least one element")
        self.order = order
        self.generators = (1,) if order > 1 else ()

    def __repr__(self) -> str:
        return f"cyclic({self.order})"

    @property
    def key(self) -> Hashable:
        """The order."""
        return self.order

    def _multiply(self, a: Tensor, b: Tensor) -> Tensor:
        return (a + b) % self.order

    def _inverse(self, a: Tensor) -> Tensor:
        return -a % self.order


class Dihedral(Group):
    """Rotations and reflections of a polygon, see :func:`dihedral`."""

    def __init__(self, corners: int):
        if corners < 1:
            raise GroupError(f"dihedral({corners}): a polygon has at least one corner")
        self.corners = corners
        self.order = 2 * corners
        self.generators = (1, corners) if corners > 1 else (1,)

    def __repr__(self) -> str:
        return f"dihedral({self.corners})"

    @property
    def key(self) -> Hashable:
        """The number of corners."""
        return self.corners

    def _multiply(self, a: Tensor, b: Tensor) -> Tensor:
        # s^p r^i s^q r^j = s^(p+q) r^(j+i) or, where q = 1 turns the first rotation over, r^(j-i).
        (p, i), (q, j) = self._parts(a), self._parts(b)
        return (p + q) % 2 * self.corners + (j + (1 - 2 * q) * i) % self.corners

    def _inverse(self, a: Tensor) -> Tensor:
        p, i = self._parts(a)
        return torch.where(p == 1, a, -i % self.corners)

    def _parts(self, a: Tensor) -> tuple[Tensor, Tensor]:
        return a // self.corners, a % self.corners


class FiniteGroup(Group):
    """The group of a table: `table[a, b]` is the product `a b`.

    The axioms are checked at birth: every row and column has each element once, one element is neutral, and the
    product is associative. Associativity is checked for generators in the middle, which is enough (Light's test).

    Args:
        table: a square of integers.

    Raises:
        GroupError: with the failing row, column or triple.

    Example:
        >>> klein = FiniteGroup([[0, 1, 2, 3], [1, 0, 3, 2], [2, 3, 0, 1], [3, 2, 1, 0]])
        >>> klein.multiply(1, 2), klein.is_abelian
        (3, True)
        >>> FiniteGroup([[0, 1, 2], [1, 0, 2], [2, 2, 0]])
        Traceback (most recent call last):
        ...
        weightspace.errors.GroupError: no group: row 2 of the table does not have every element once: [2, 2, 0]
    """

    def __init__(self, table: Tensor | Sequence[Sequence[int]]):
        products = _square(table)
        self._table, self._key = products, digest(products)
        self.order = len(products)
        self.identity = _neutral(products)
        self.generators = _generators(products, self.identity)
        _check_associative(products, self.generators)
        self._inverses = (products == self.identity).int().argmax(1)

    def __repr__(self) -> str:
        return f"FiniteGroup(<table {self.order} x {self.order}>)"

    @property
    def key(self) -> Hashable:
        """The table."""
        return self._key

    def _multiply(self, a: Tensor, b: Tensor) -> Tensor:
        return self._table[a, b]

    def _inverse(self, a: Tensor) -> Tensor:
        return self._inverses[a]


def _square(table: Tensor | Sequence[Sequence[int]]) -> Tensor:
    products = torch.as_tensor(table)
    if products.ndim != 2 or products.shape[0] != products.shape[1] or not len(products):
        raise GroupError(f"a table of products is square and not empty, not of shape {tuple(products.shape)}")
    if products.is_floating_point() or products.dtype == torch.bool:
        raise GroupError(f"a table of products holds integers, not {products.dtype}")
    products = products.to("cpu", torch.int64).contiguous().clone()
    for kind, lines in (("row", products), ("column", products.T)):
        wrong = (lines.sort(1).values != torch.arange(len(products))).any(1).nonzero()
        if len(wrong):
            line = int(wrong[0])
            raise GroupError(
                f"no group: {kind} {line} of the table does not have every element once: {lines[line].tolist()}"
            )
    return products


def _neutral(products: Tensor) -> int:
    numbers = torch.arange(len(products))
    found = ((products == numbers).all(1) & (numbers == products.T).all(1)).nonzero()
    if not len(found):
        raise GroupError("no group: no element of the table is neutral on both sides")
    return int(found[0])


def _generators(products: Tensor, identity: int) -> tuple[int, ...]:
    """Elements by which all are made: greedily, each one that those ahead of it do not make."""
    made = torch.zeros(len(products), dtype=torch.bool)
    made[identity] = True
    chosen: list[int] = []
    while not made.all():
        chosen.append(int((~made).nonzero()[0]))
        made[chosen[-1]] = True
        size = 0
        while size != int(made.sum()):
            size = int(made.sum())
            held = made.nonzero().flatten()
            made[products[held][:, chosen].flatten()] = True
    return tuple(chosen)


def _check_associative(products: Tensor, generators: tuple[int, ...]) -> None:
    for g in generators:
        wrong = (products[products[:, g]] != products[:, products[g]]).nonzero()
        if len(wrong):
            a, b = wrong[0].tolist()
            left, right = int(products[products[a, g], b]), int(products[a, products[g, b]])
            raise GroupError(f"no group: ({a} {g}) {b} = {left}, but {a} ({g} {b}) = {right}")


def cyclic(order: int) -> Cyclic:
    """The integers modulo `order` under addition: translations of a ring of `order` places.

    Raises:
        GroupError: for an order below 1.

    Example:
        >>> cyclic(5).multiply(3, 4)
        2
    """
    return Cyclic(order)


def dihedral(corners: int) -> Dihedral:
    r"""Rotations :math:`r^i` (numbers `0..corners-1`) and reflections :math:`s r^i` (`corners..2 corners-1`).

    :math:`r^n = s^2 = 1` and :math:`s r s = r^{-1}` for `n = corners`.

    Raises:
        GroupError: for fewer corners than 1.

    Example:
        >>> square = dihedral(4)
        >>> square.order, square.is_abelian
        (8, False)
        >>> square.multiply(4, 1), square.multiply(1, 4)  # s r and r s = s r^3
        (5, 7)
    """
    return Dihedral(corners)
