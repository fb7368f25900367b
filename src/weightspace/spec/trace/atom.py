"""Sets of units, merged where the network pairs them and taken apart where it reads them in parts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum

__all__ = ["Atom", "Forest", "Join"]


class Join(Enum):
    """How the parts of a set of units make up the whole."""

    PRODUCT = "product"  # unit = (outer, inner): heads and their dimensions
    CONCAT = "concat"  # first the units of one part, then those of the next


@dataclass(eq=False)
class Atom:
    """A set of units: whole, or made up of parts. Atoms that turn out to be the same set point to one of them.

    Args:
        size: number of units.
        name: how the axis will be called; the first name that is proposed stays.
        frozen: why the units may not move; `None` while they may.
        outers: the sets of whose units each owns a set like this one. It nests in them only where they all turn
            out to be one.
        flat: whether the units were found not to belong to their outer ones.
        view: the operation that first told this set from a larger one, with the dimension it became.
    """

    size: int
    name: str | None = None
    frozen: str | None = None
    outers: list["Atom"] = field(default_factory=list)
    flat: bool = False
    view: tuple[str, int] | None = None
    same: "Atom | None" = None
    join: Join | None = None
    parts: tuple["Atom", ...] = ()


class Forest:
    """All atoms of a network. `changes` counts what was learnt; nothing is ever unlearnt."""

    def __init__(self) -> None:
        self.changes = 0

    def find(self, atom: Atom) -> Atom:
        """The atom that stands for this set."""
        while atom.same is not None:
            if atom.same.same is not None:
                atom.same = atom.same.same
            atom = atom.same
        return atom

    def leaves(self, atom: Atom) -> Iterator[Atom]:
        """The parts that are not made up of parts, in order."""
        atom = self.find(atom)
        if atom.join is None:
            yield atom
        for part in atom.parts:
            yield from self.leaves(part)

    def frozen(self, atom: Atom) -> str | None:
        """Why no unit of the set may move; `None` where one may."""
        atom = self.find(atom)
        if atom.join is None:
            return atom.frozen
        reasons = [leaf.frozen for leaf in self.leaves(atom)]
        return None if None in reasons else reasons[0]

    def count(self, atom: Atom) -> int:
        """How many leaves there are."""
        atom = self.find(atom)
        return 1 if atom.join is None else sum(self.count(part) for part in atom.parts)

    def freeze(self, atom: Atom, reason: str) -> None:
        """Let no unit of the set move."""
        for leaf in list(self.leaves(atom)):
            if leaf.frozen is None:
                leaf.frozen = reason
                self.changes += 1

    def product(self, atom: Atom, inner: int, view: tuple[str, int] | None) -> None:
        """Take a whole set apart into outer units that own `inner` units each."""
        first, second = Atom(atom.size // inner, frozen=atom.frozen), Atom(inner, frozen=atom.frozen)
        first.outers, first.flat, second.outers = atom.outers, atom.flat, [first]
        if view is not None:
            first.view, second.view = (view[0], view[1] - 1), view
        self._split(atom, Join.PRODUCT, (first, second))

    def concat(self, atom: Atom, at: int) -> None:
        """Take a whole set apart into its first `at` units and the rest."""
        sizes = (at, atom.size - at)
        parts = tuple(Atom(n, frozen=atom.frozen, outers=list(atom.outers), flat=atom.flat) for n in sizes)
        self._split(atom, Join.CONCAT, parts)

    def _split(self, atom: Atom, join: Join, parts: tuple[Atom, ...]) -> None:
        atom.join, atom.parts = join, parts
        self.changes += 1

    def merge(self, a: Atom, b: Atom, reason: str) -> None:
        """Let two sets of one size be the same, unit by unit; where their parts do not fit, let none move."""
        a, b = self.find(a), self.find(b)
        if a is b:
            return
        if a.join is not None and b.join is not None:
            self._merge_parts(a, b, reason)
            return
        if a.join is None:
            a, b = b, a
        if b in self.leaves(a) and a.join is not None:
            self.freeze(a, reason)  # a set that contains itself: paired with a part of it, moved
            return
        if b.frozen is not None:
            self.freeze(a, b.frozen)
        elif a.join is None and a.frozen is not None:
            self.freeze(b, a.frozen)
        b.same = a
        a.name = a.name or b.name
        for leaf in self.leaves(a) if a.join is Join.CONCAT else [next(self.leaves(a))]:
            leaf.outers.extend(b.outers)
            leaf.flat |= b.flat
        self.changes += 1

    def _merge_parts(self, a: Atom, b: Atom, reason: str) -> None:
        if a.join is b.join and [p.size for p in a.parts] == [p.size for p in b.parts]:
            b.same = a
            a.name = a.name or b.name
            for first, second in zip(a.parts, b.parts, strict=True):
                self.merge(first, second, reason)
            self.changes += 1
        elif self.frozen(a) is None or self.frozen(b) is None:
            self.freeze(a, reason)
            self.freeze(b, reason)

    def outer(self, leaf: Atom) -> Atom | None:
        """The set in whose units this one nests, if it does in one alone that may move."""
        if leaf.flat or not leaf.outers:
            return None
        found = {id(last): last for last in (list(self.leaves(outer))[-1] for outer in leaf.outers)}
        # Of several, the one that the others nest in: heads that share keys nest in groups of heads.
        shared = [one for one in found.values() if all(self._nests_in(other, one) for other in found.values())]
        concat = any(self.find(outer).join is Join.CONCAT for outer in leaf.outers)
        if concat or not shared or self._nests_in(shared[0], leaf):
            self.flatten(leaf)
            return None
        return None if shared[0].frozen else shared[0]

    def _nests_in(self, leaf: Atom, outer: Atom) -> bool:
        """Whether a set is another one, or nests in it at some remove."""
        waiting, seen = [leaf], {id(leaf)}
        while waiting:
            one = waiting.pop()
            if one is outer:
                return True
            owners = [] if one.flat else [list(self.leaves(owner))[-1] for owner in one.outers]
            waiting += [owner for owner in owners if id(owner) not in seen]
            seen |= {id(owner) for owner in owners}
        return False

    def flatten(self, leaf: Atom) -> None:
        """Let the units of all outer ones move together."""
        if not leaf.flat:
            leaf.flat = True
            self.changes += 1

    def check_nesting(self, rows: Sequence[Sequence[Atom]], *others: Sequence[Sequence[Atom]]) -> None:
        """Flatten what occurs without the set it nests in: in its own row, or else once in all rows.

        Where tensors are paired, `others` are the rows of each: the sets must stand in the same spot in all of them.
        """
        for number, row in enumerate(rows):
            for leaf in row:
                outer = self.outer(leaf)
                if outer is None:
                    continue
                spots = {self._spot(outer, number, some) for some in (rows, *others)}
                if len(spots) > 1 or None in spots:
                    self.flatten(leaf)

    def _spot(self, outer: Atom, number: int, rows: Sequence[Sequence[Atom]]) -> str | None:
        """Where a set stands: in the row of this number, else in one of them all; `None` where that is not clear."""
        if rows[number].count(outer) == 1:
            return "own row"
        return "other row" if sum(row.count(outer) for row in rows) == 1 else None
