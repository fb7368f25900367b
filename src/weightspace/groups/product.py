"""Products of groups, by the rules of their factors: no table of the whole is made."""

from collections.abc import Hashable
from math import prod

import torch
from jaxtyping import Int
from torch import Tensor

from weightspace.errors import GroupError
from weightspace.groups.finite import Cyclic
from weightspace.groups.group import Group, digest

__all__ = ["DirectProduct", "SemidirectProduct", "direct_product", "semidirect_product"]

LARGEST_SHOWN = 64


class DirectProduct(Group):
    """Pairs, triples, ... of elements, see :func:`direct_product`."""

    def __init__(self, factors: tuple[Group, ...]):
        self.factors = factors
        self.order = prod(factor.order for factor in factors)
        neutral = [torch.tensor(factor.identity) for factor in factors]
        self.identity = int(self.join(neutral))
        made = []
        for place, factor in enumerate(factors):
            for g in factor.generators:
                made.append(int(self.join([*neutral[:place], torch.tensor(g), *neutral[place + 1 :]])))
        self.generators = tuple(made)

    def __repr__(self) -> str:
        return f"direct_product({', '.join(map(repr, self.factors))})"

    @property
    def key(self) -> Hashable:
        """The factors."""
        return self.factors

    def split(self, a: Tensor) -> list[Tensor]:
        """The element of each factor."""
        parts = []
        for factor in reversed(self.factors):
            parts.append(a % factor.order)
            a = a // factor.order
        return parts[::-1]

    def join(self, parts: list[Tensor]) -> Tensor:
        """The number of the element with these parts, which broadcast; the last part runs fastest."""
        number = torch.zeros((), dtype=torch.int64)
        for factor, part in zip(self.factors, parts, strict=True):
            number = number * factor.order + part
        return number

    def _multiply(self, a: Tensor, b: Tensor) -> Tensor:
        pairs = zip(self.factors, self.split(a), self.split(b), strict=True)
        return self.join([factor._multiply(i, j) for factor, i, j in pairs])

    def _inverse(self, a: Tensor) -> Tensor:
        return self.join([factor._inverse(i) for factor, i in zip(self.factors, self.split(a), strict=True)])


class SemidirectProduct(Group):
    """Pairs with a twist, see :func:`semidirect_product`."""

    def __init__(self, normal: Group, acting: Group, action: Int[Tensor, "acting normal"]):
        self.normal, self.acting = normal, acting
        self._action = action.to("cpu", torch.int64).contiguous().clone()
        self._key = digest(self._action)
        _check_automorphisms(normal, acting, self._action)
        self.order = normal.order * acting.order
        self.identity = self._join(normal.identity, acting.identity)
        lifted = [self._join(g, acting.identity) for g in normal.generators]
        self.generators = (*lifted, *(self._join(normal.identity, h) for h in acting.generators))

    def __repr__(self) -> str:
        # The table of the motions of a picture would fill pages.
        whole = self._action.numel() <= LARGEST_SHOWN
        shown = self._action.tolist() if whole else f"an action of {' x '.join(map(str, self._action.shape))} images"
        return f"semidirect_product({self.normal!r}, {self.acting!r}, {shown})"

    @property
    def key(self) -> Hashable:
        """Both groups and the action."""
        return self.normal, self.acting, self._key

    def _join(self, g: int, h: int) -> int:
        return g + self.normal.order * h

    def _multiply(self, a: Tensor, b: Tensor) -> Tensor:
        size = self.normal.order
        h = a // size
        moved = self._action[h, b % size]
        return self.normal._multiply(a % size, moved) + size * self.acting._multiply(h, b // size)

    def _inverse(self, a: Tensor) -> Tensor:
        size = self.normal.order
        back = self.acting._inverse(a // size)
        return self._action[back, self.normal._inverse(a % size)] + size * back


def _check_automorphisms(normal: Group, acting: Group, action: Tensor) -> None:
    """A permutation that respects the product for each `h`, and products of `h` as compositions."""
    if tuple(action.shape) != (acting.order, normal.order):
        raise GroupError(
            f"the action has shape {tuple(action.shape)}, expected one row of {normal.order} images"
            f" for each of the {acting.order} elements of {acting!r}"
        )
    wrong = (action.sort(1).values != torch.arange(normal.order)).any(1).nonzero()
    if len(wrong):
        raise GroupError(f"element {int(wrong[0])} of {acting!r} does not permute {normal!r}")
    g = normal.elements
    for s in normal.generators:
        wrong = (
            action[:, normal._multiply(g, torch.tensor(s))] != normal._multiply(action, action[:, s, None])
        ).nonzero()
        if len(wrong):
            h, first = wrong[0].tolist()
            raise GroupError(
                f"element {h} of {acting!r} is no automorphism: it moves the product {first} {s} elsewhere"
            )
    h = acting.elements
    for s in acting.generators:
        wrong = (action[acting._multiply(h, torch.tensor(s))] != action[:, action[s]]).nonzero()
        if len(wrong):
            first, point = wrong[0].tolist()
            raise GroupError(f"no action: ({first} {s}) moves {point} not as {s} and then {first} do")


def direct_product(*groups: Group) -> Group:
    """Tuples of elements, multiplied part by part. `(a, b)` has the number `a * groups[1].order + b`.

    Products of products are flattened, one group is itself, and the product of none is trivial.

    Example:
        >>> from weightspace.groups import cyclic
        >>> torus = direct_product(cyclic(4), cyclic(3))
        >>> torus.order, torus.multiply(1 * 3 + 2, 3 * 3 + 2)
        (12, 1)
    """
    flat: list[Group] = []
    for group in groups:
        flat.extend(group.factors if isinstance(group, DirectProduct) else [group])
    if not flat:
        return Cyclic(1)
    return flat[0] if len(flat) == 1 else DirectProduct(tuple(flat))


def semidirect_product(normal: Group, acting: Group, action: Int[Tensor, "acting normal"]) -> SemidirectProduct:
    r"""Pairs with :math:`(g, h)(g', h') = (g\,\varphi_h(g'),\, h h')`. `(g, h)` has the number `g + normal.order * h`.

    Args:
        normal: the group of `g`, normal in the product.
        acting: the group of `h`.
        action: :math:`\varphi_h(g)` in row `h` and column `g`.

    Raises:
        GroupError: if some row is no automorphism, or rows do not compose as the elements of `acting`.

    Example:
        >>> from weightspace.groups import cyclic
        >>> powers = torch.tensor([1, 2, 4])  # 2 has order 3 modulo 7
        >>> g = semidirect_product(cyclic(7), cyclic(3), powers[:, None] * torch.arange(7) % 7)
        >>> g.order, g.is_abelian
        (21, False)
    """
    return SemidirectProduct(normal, acting, action)
