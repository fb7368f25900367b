"""The tracer: what every operation demands of the units it meets.

It walks the network's graph with a `Value` for every tensor. Units that an operation pairs become one set of units,
sets that it reads in parts are taken apart, and how tensors scale gives equations. What an operation would be changed
by is frozen. Taking apart can come late in the graph, so the walk is repeated until nothing new is learnt; the
equations of the last walk are the ones that count.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from weightspace.spec.trace.atom import Atom, Forest
from weightspace.spec.trace.form import NOTHING, System
from weightspace.spec.trace.value import PLAIN, Dim, Mark, Part, Slot, Value, fixed, part_size

__all__ = ["End", "OpenPlace", "OpenWire", "Tracer"]


@dataclass
class OpenPlace:
    """A vertex set whose axis gets its name later."""

    leaf: Atom | None
    mark: Mark
    activation: str = "identity"
    constants: tuple[tuple[str, float], ...] = ()
    merge: str = "sum"


@dataclass(frozen=True)
class OpenWire:
    """A parameter between places, before it is known which block of it this is."""

    param: str | None
    source: str | None
    target: str
    ends: tuple["End", ...]


@dataclass(frozen=True)
class End:
    """Units of a parameter at one end of a wire, with the mark that tells its block from others."""

    leaf: Atom
    mark: Mark
    place: str | None = None


@dataclass
class Tracer:
    """One walk through a graph. The forest and the decisions outlive it; equations, places and wires do not.

    Args:
        forest: all sets of units.
        unpacked: dimensions made by a reshape, as `(operation, dimension)`, that count tensors packed into one.
    """

    forest: Forest
    unpacked: set[tuple[str, int]]
    wanted: set[tuple[str, int]] = field(default_factory=set)
    positive: System = field(default_factory=System)
    sign: System = field(default_factory=lambda: System(2))
    places: dict[str, OpenPlace] = field(default_factory=dict)
    wires: list[OpenWire] = field(default_factory=list)
    doubts: dict[str, str] = field(default_factory=dict)
    node: str = ""
    where: str = ""
    roles: dict[str, str] = field(default_factory=dict)
    hints: dict[tuple[str, int], str] = field(default_factory=dict)

    def play(self, role: str, *values: Value | None) -> None:
        """Note what parameters do in the network; what is said first stays."""
        for value in values:
            if value is not None and value.param is not None:
                self.roles.setdefault(value.param, role)

    # ---- marks

    def unknown(self, leaf: Atom) -> Mark:
        """A mark of which nothing is known yet: a parameter's index may scale as it likes."""
        if self.forest.frozen(leaf) is not None:
            return PLAIN
        return Mark({self.positive.unknown(): Fraction(1)}, {self.sign.unknown(): Fraction(1)})

    def times(self, a: Mark, b: Mark) -> Mark:
        """How a product scales."""
        positive, sign = self.positive.sum((a.positive, 1), (b.positive, 1)), self.sign.sum((a.sign, 1), (b.sign, 1))
        return Mark(positive, sign, a.place or b.place)

    def over(self, a: Mark, b: Mark) -> Mark:
        """How a quotient scales."""
        positive, sign = self.positive.sum((a.positive, 1), (b.positive, -1)), self.sign.sum((a.sign, 1), (b.sign, 1))
        return Mark(positive, sign, a.place or b.place)

    def equal(self, a: Mark, b: Mark) -> Mark:
        """How a sum scales: both terms alike."""
        self.positive.demand(self.positive.sum((a.positive, 1), (b.positive, -1)))
        self.sign.demand(self.sign.sum((a.sign, 1), (b.sign, 1)))
        return replace(a, place=a.place or b.place)

    def power(self, mark: Mark, positive: Fraction | int | None, sign: int | None) -> Mark:
        """How a function of one number scales: `None` lets no such factor in, else it leaves with this power."""
        if positive is None:
            self.positive.demand(mark.positive)
        if sign is None:
            self.sign.demand(mark.sign)
        out = self.positive.sum((mark.positive, positive)) if positive else NOTHING
        return Mark(out, self.sign.sum((mark.sign, sign)) if sign else NOTHING, mark.place)

    def unscaled(self, mark: Mark) -> Mark:
        """No factor may enter."""
        return self.power(mark, None, None)

    # ---- resolving and freezing

    def resolve(self, dim: Dim) -> Dim:
        """The dimension in terms of what is known now: whole sets of units, in rows of products."""
        parts = [part for old in dim for part in self._resolve_part(old)]
        if len(parts) > 1 and all(self.is_fixed(slot) and not slot.uniform for part in parts for slot in part):
            return fixed(sum(part_size(part) for part in parts))
        return tuple(parts)

    def _resolve_part(self, part: Part) -> list[Part]:
        rows: list[Part] = [()]
        for position, slot in enumerate(part):
            found = self._parts(slot)
            if len(found) == 1:
                rows = [row + found[0] for row in rows]
            elif position == 0 or rows == [()]:
                rows = found
            else:  # a row of sets inside a product: it stays one slot
                rows = [(*row, slot) for row in rows]
        return [self._joined(row) for row in rows]

    def _joined(self, part: Part) -> Part:
        """The product with neighbouring positions as one slot."""
        out: list[Slot] = []
        for slot in part:
            plain = self.is_fixed(slot) and not slot.stack
            if plain and out and self.is_fixed(out[-1]) and not out[-1].stack:
                place = next((m.place for s in (out[-1], slot) for m in s.marks if m.place), None)
                out[-1] = Slot(out[-1].size * slot.size, None, (Mark(place=place),))
            else:
                out.append(slot)
        return tuple(out)

    def _parts(self, slot: Slot) -> list[Part]:
        if slot.atom is None:
            return [() if slot.size == 1 and not slot.stack else (slot,)]
        atom = self.forest.find(slot.atom)
        marks, frozen = self.marks(slot), self.forest.frozen(atom) is not None
        if frozen and (len(marks) > 1 or marks[0].positive or marks[0].sign):
            marks = (Mark(place=next((mark.place for mark in marks if mark.place), None)),)
        if frozen or atom.join is None:
            known = slot.atom is atom and slot.marks is marks
            return [(slot if known else replace(slot, atom=atom, marks=marks),)]
        pieces, taken = [], 0
        for part in atom.parts:
            count = self.forest.count(part)
            pieces.append(Slot(part.size, part, marks[taken : taken + count]))
            taken += count
        if atom.join.value == "product":
            return self._resolve_part(tuple(pieces))
        return [found for piece in pieces for found in self._parts(piece)]

    def marks(self, slot: Slot) -> tuple[Mark, ...]:
        """One mark for each leaf of the slot's atom."""
        if slot.atom is None:
            return (slot.marks or (PLAIN,))[:1]
        count = self.forest.count(slot.atom)
        # A set that was taken apart since: this walk only learns that, and its equations do not count.
        return slot.marks if len(slot.marks) == count else ((slot.marks or (PLAIN,))[0],) * count

    def is_fixed(self, slot: Slot) -> bool:
        """Whether nothing may move along this slot."""
        if slot.atom is None:
            return not slot.uniform
        return self.forest.frozen(slot.atom) is not None

    def is_free(self, slot: Slot | None) -> bool:
        """Whether units stand along this slot that may move."""
        return slot is not None and slot.atom is not None and not self.is_fixed(slot)

    def slots(self, dims: Iterable[Dim]) -> list[Slot]:
        """All slots of some dimensions."""
        return [slot for dim in dims for part in self.resolve(dim) for slot in part]

    def freeze(self, dims: Iterable[Dim], reason: str) -> None:
        """Let nothing move along these dimensions."""
        for slot in self.slots(dims):
            if self.is_free(slot) and slot.atom is not None:
                self.forest.freeze(slot.atom, f"{reason} ({self.where})" if self.where else reason)

    def doubt(self, reason: str) -> None:
        """Note that an operation was not understood."""
        self.doubts.setdefault(f"{self.node}: {reason}", self.where)

    def unscale(self, dims: Iterable[Dim]) -> None:
        """Let nothing scale along these dimensions."""
        for slot in self.slots(dims):
            for mark in self.marks(slot):
                self.unscaled(mark)

    def mapped(self, dim: Dim, change: Callable[[Mark], Mark]) -> Dim:
        """The dimension with every mark changed."""
        return tuple(
            tuple(replace(slot, marks=tuple(change(mark) for mark in self.marks(slot))) for slot in part)
            for part in self.resolve(dim)
        )

    def mix(self, value: Value, along: Iterable[int]) -> None:
        """Entries along some dimensions are mixed: what nests in these, and stands along others, does so no longer."""
        chosen = set(along)
        gone, kept = (
            [leaf for slot in self.slots(dims) for leaf in self.free_leaves(slot)]
            for dims in (
                [dim for d, dim in enumerate(value.dims) if d in chosen],
                [dim for d, dim in enumerate(value.dims) if d not in chosen],
            )
        )
        for leaf in kept:
            if self.forest.outer(leaf) in gone:
                self.forest.flatten(leaf)

    def free_leaves(self, slot: Slot | None) -> list[Atom]:
        """The leaves of a slot that may move."""
        if slot is None or slot.atom is None:
            return []
        return [leaf for leaf in self.forest.leaves(slot.atom) if leaf.frozen is None]

    def ends(self, slot: Slot | None, own: Slot | None = None) -> list[End]:
        """The places at which a slot's units stand, with the units as the parameter that meets them has them."""
        own = slot if own is None else own
        if slot is None or own is None:
            return []
        leaves, marks, owns = self.own_leaves(own), self.leaf_marks(slot), self.leaf_marks(own)
        marks = marks if len(marks) == len(leaves) else marks[:1] * len(leaves)
        found = zip(marks, leaves, owns, strict=False)
        return [End(leaf, mine, mark.place) for mark, leaf, mine in found if mark.place is not None]

    def at_new_place(self, dim: Dim, param: str | None, ends: Sequence[End]) -> Dim:
        """The dimension as a new place, into which a parameter leads from others."""
        return self.replaced(dim, lambda mark, leaf: self.open(mark, leaf, param, ends))

    def own_leaves(self, slot: Slot) -> list[Atom]:
        """The leaves of a slot; a frozen set counts as one."""
        if slot.atom is None:
            return []
        return [self.forest.find(slot.atom)] if self.is_fixed(slot) else list(self.forest.leaves(slot.atom))

    def leaf_marks(self, slot: Slot) -> tuple[Mark, ...]:
        """The marks that go with `own_leaves`."""
        return self.marks(slot)[:1] if self.is_fixed(slot) else self.marks(slot)

    def replaced(
        self, dim: Dim, change: Callable[[Mark, Atom], Mark], outer: Callable[[Mark], Mark] = lambda mark: mark
    ) -> Dim:
        """The dimension with its marks changed: those of the innermost units, and by `outer` those that own others."""
        resolved = self.resolve(dim)
        leaves = [leaf for part in resolved for slot in part for leaf in self.own_leaves(slot)]
        owners = {id(owner) for leaf in leaves if (owner := self.forest.outer(leaf)) is not None}

        def changed(slot: Slot) -> Slot:
            pairs = zip(self.leaf_marks(slot), self.own_leaves(slot), strict=False)
            marks = tuple(outer(m) if id(leaf) in owners else change(m, leaf) for m, leaf in pairs)
            return replace(slot, marks=marks or slot.marks)

        return tuple(tuple(changed(slot) for slot in part) for part in resolved)

    # ---- places and wires

    def open(
        self,
        mark: Mark,
        leaf: Atom,
        param: str | None,
        ends: Sequence[End],
        merge: str = "sum",
        onto: Mark | None = None,
    ) -> Mark:
        """The mark of a new place, with wires into it from other places (or from nowhere).

        `mark` is how the parameter has the units; where the place has them otherwise, `onto` says how.
        """
        name = self.node if self.node not in self.places else f"{self.node}:{len(self.places)}"
        placed = replace(onto or mark, place=name)
        self.places[name] = OpenPlace(leaf, placed, merge=merge)
        for end in ends:
            self.wire(param, end, name, End(leaf, mark))
        if not ends and param is not None:
            self.wire(param, None, name, End(leaf, mark))
        return placed

    def wire(self, param: str | None, source: End | None, target: str, end: End) -> None:
        """Record that a parameter leads into a place. The inputs' units are those that the first parameter reads."""
        if source is None:
            self.wires.append(OpenWire(param, None, target, (end,)))
            return
        place = self.places.get(str(source.place))
        if place is not None and place.leaf is None:
            place.leaf = source.leaf
        self.wires.append(OpenWire(param, source.place, target, (end, source)))
