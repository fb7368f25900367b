"""Groups of permutations, from generators."""

from collections.abc import Hashable, Sequence

import torch
from jaxtyping import Int
from torch import Tensor

from weightspace.errors import GroupError
from weightspace.groups.group import Group, digest

__all__ = ["PermutationGroup", "from_permutations", "symmetric"]

MOST_ELEMENTS = 1_000_000


class PermutationGroup(Group):
    """All products of given permutations, see :func:`from_permutations`.

    An element is found by where it sends a *base*: points that only the identity leaves all in place.
    """

    def __init__(self, generators: Int[Tensor, "generators points"]):
        self.permutations = _closure(generators)
        self.order, self.points = self.permutations.shape
        self._key = digest(self.permutations)
        self._base = _base(self.permutations)
        # Any odd-looking numbers will do: what matters is that no two elements share a code, which is checked.
        drawn = torch.Generator().manual_seed(0)
        self._digits = torch.randint(1, 2**62, (len(self._base),), generator=drawn)
        self._codes, self._numbers = self._code(self.permutations[:, self._base]).sort()
        assert (self._codes[1:] != self._codes[:-1]).all()
        self.generators = tuple(dict.fromkeys(g for g in self.number(generators).tolist() if g))

    def __repr__(self) -> str:
        return f"from_permutations({self.permutations[list(self.generators)].tolist()})"

    @property
    def key(self) -> Hashable:
        """The permutations in their order."""
        return self.points, self._key

    def number(self, permutations: Int[Tensor, "*batch points"]) -> Int[Tensor, "*batch"]:
        """The numbers of permutations.

        Raises:
            GroupError: for a permutation that is not in the group.
        """
        found = self._find(permutations[..., self._base])
        wrong = (self.permutations[found] != permutations).any(-1)
        if wrong.any():
            raise GroupError(f"the permutation {permutations[wrong][0].tolist()} is not in {self!r}")
        return found

    def _code(self, images: Tensor) -> Tensor:
        return (images * self._digits).sum(-1)

    def _find(self, images: Tensor) -> Tensor:
        place = torch.searchsorted(self._codes, self._code(images))
        return self._numbers[place.clamp_max(self.order - 1)]

    def _multiply(self, a: Tensor, b: Tensor) -> Tensor:
        a, b = torch.broadcast_tensors(a, b)
        return self._find(self.permutations[a[..., None], self.permutations[b][..., self._base]])

    def _inverse(self, a: Tensor) -> Tensor:
        return self._find(self.permutations[a].argsort(-1)[..., self._base])


def _closure(generators: Tensor) -> Tensor:
    """All products, in order of word length, then lexicographic: the identity stands first."""
    points = generators.shape[1]
    frontier = torch.arange(points)[None]
    found, known = [frontier], {frontier.numpy().tobytes()}
    while len(frontier):
        products = torch.cat(
            [row[None].expand_as(frontier).gather(1, frontier) for row in generators] or [frontier[:0]]
        )
        fresh = []
        for row in products.unique(dim=0):
            word = row.numpy().tobytes()
            if word not in known:
                known.add(word)
                fresh.append(row)
        if len(known) > MOST_ELEMENTS:
            raise GroupError(f"these permutations make more than {MOST_ELEMENTS} elements, too many to list")
        frontier = torch.stack(fresh) if fresh else frontier[:0]
        found.append(frontier)
    return torch.cat(found)


def _base(permutations: Tensor) -> Tensor:
    """Points that only the identity leaves all in place, each of which tells more elements apart."""
    base: list[int] = []
    kinds = torch.zeros(len(permutations), dtype=torch.int64)
    for point in range(permutations.shape[1]):
        finer = (kinds * permutations.shape[1] + permutations[:, point]).unique(return_inverse=True)[1]
        if finer.max() > kinds.max():
            base.append(point)
            kinds = finer
        if kinds.max() + 1 == len(permutations):
            break
    return torch.tensor(base, dtype=torch.int64)


def from_permutations(generators: Tensor | Sequence[Sequence[int]]) -> PermutationGroup:
    """The group that permutations make. `p` sends point `i` to `p[i]`, and `a b` means first `b`, then `a`.

    Elements are numbered by the length of the shortest word in the generators, the identity is 0. The group holds one
    row per element, never a table of products.

    Raises:
        GroupError: for a row that is no permutation, and for more than a million elements.

    Example:
        >>> turns = from_permutations([[1, 2, 3, 0], [0, 3, 2, 1]])  # a quarter turn and a flip of a square
        >>> turns.order
        8
        >>> turns.permutations[turns.multiply(*turns.generators)]
        tensor([1, 0, 3, 2])
    """
    rows = torch.as_tensor(generators).to("cpu", torch.int64)
    if rows.ndim != 2 or not rows.shape[1]:
        raise GroupError(f"generators are rows of at least one point, not of shape {tuple(rows.shape)}")
    wrong = (rows.sort(1).values != torch.arange(rows.shape[1])).any(1).nonzero()
    if len(wrong):
        raise GroupError(f"generator {int(wrong[0])} is no permutation: {rows[int(wrong[0])].tolist()}")
    return PermutationGroup(rows)


def symmetric(points: int) -> PermutationGroup:
    """All permutations of a number of points, at most nine.

    Raises:
        GroupError: for fewer than 1 or more than 9 points.

    Example:
        >>> [symmetric(n).order for n in (1, 2, 3, 4)]
        [1, 2, 6, 24]
    """
    if not 1 <= points <= 9:
        raise GroupError(f"symmetric({points}): from 1 to 9 points, since elements are listed")
    start = list(range(points))
    swap, turn = [*start[1:2], 0, *start[2:]], [*start[1:], 0]
    return from_permutations([swap[:points], turn] if points > 2 else [turn])
