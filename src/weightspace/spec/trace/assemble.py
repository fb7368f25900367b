"""From what the tracer found to the spec: axes, blocks of parameters with their powers, places and wires."""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from weightspace.spec.network import FIXED, Axis, Factor, Leg, NetworkSpec, Note, ParamSpec, Place, Symmetry, View, Wire
from weightspace.spec.trace.atom import Atom, Join
from weightspace.spec.trace.factor import Coordinates
from weightspace.spec.trace.rule.contraction import KERNEL
from weightspace.spec.trace.rule.rearrangement import ENTRY
from weightspace.spec.trace.tracer import End, OpenPlace
from weightspace.spec.trace.value import Mark
from weightspace.spec.trace.walk import INPUT, OUTPUT, Solution

__all__ = ["assemble"]

EXPECTED = (INPUT, OUTPUT, KERNEL, ENTRY)


@dataclass(frozen=True)
class _Digit:
    """One leg of a block: its units, how they scale, and the step it takes in the stored tensor."""

    leaf: Atom
    mark: Mark
    stride: int
    dim: int


@dataclass(frozen=True)
class _Block:
    """One block of a stored tensor."""

    key: str
    name: str
    offset: int
    digits: tuple[_Digit, ...]
    whole: bool


@dataclass
class _Factors:
    """The factors of one axis, of both kinds."""

    signs: Coordinates
    positives: Coordinates


def assemble(solution: Solution) -> NetworkSpec:
    """The spec of a network that was walked through."""
    return _Assembly(solution).spec()


class _Assembly:
    def __init__(self, solution: Solution) -> None:
        self.solution = solution
        self.forest, self.t = solution.forest, solution.tracer
        self.blocks = [block for key in solution.network.shapes for block in self._blocks(key)]
        self.places = {name: place for name, place in self.t.places.items() if place.leaf is not None}
        self.factors = self._all_factors()
        self._drop_repeated()
        self.names = self._all_names()
        self.place_names = self._all_place_names()

    # ---- blocks

    def _blocks(self, key: str) -> Iterator[_Block]:
        """The blocks of one stored tensor: one for every choice of parts along its dimensions."""
        shape = self.solution.network.shapes[key]
        rows = []
        for dim, (atom, marks) in enumerate(zip(self.solution.atoms[key], self.solution.marks[key], strict=True)):
            step = prod(shape[dim + 1 :])
            rows.append([(o, ds) for o, ds in self._alternatives(atom, iter(marks), step, dim)])
        choices = list(product(*rows))
        for number, choice in enumerate(choices):
            digits = self._nested_last([digit for _, ds in choice for digit in ds])
            sizes = [digit.leaf.size for digit in digits]
            in_order = [digit.stride for digit in digits] == [prod(sizes[i + 1 :]) for i in range(len(sizes))]
            name = key if len(choices) == 1 else f"{key}[{number}]"
            yield _Block(key, name, sum(o for o, _ in choice), tuple(digits), len(choices) == 1 and in_order)

    def _alternatives(
        self, atom: Atom, marks: Iterator[Mark], step: int, dim: int
    ) -> list[tuple[int, tuple[_Digit, ...]]]:
        """Offset and legs of every block along one dimension. A set that is frozen throughout stays whole."""
        atom = self.forest.find(atom)
        if atom.join is None or self.forest.frozen(atom) is not None:
            own = [next(marks) for _ in self.forest.leaves(atom)]
            return [(0, (_Digit(atom, own[0], step, dim),))]
        first, second = atom.parts
        if atom.join is Join.CONCAT:
            ahead = self._alternatives(first, marks, step, dim)
            return ahead + [(o + first.size * step, ds) for o, ds in self._alternatives(second, marks, step, dim)]
        outer = self._alternatives(first, marks, step * second.size, dim)
        inner = self._alternatives(second, marks, step, dim)
        return [(o + i, (*ds, *es)) for o, ds in outer for i, es in inner]

    def _nested_last(self, digits: list[_Digit]) -> list[_Digit]:
        """The legs with every nested one behind the one it nests in; of several pairs, each stays together."""
        out: list[_Digit] = []
        waiting = list(digits)
        while waiting:
            ready = next((d for d in waiting if self._is_ready(d, out, waiting)), waiting[0])
            waiting.remove(ready)
            out.append(ready)
        return out

    def _is_ready(self, digit: _Digit, placed: Sequence[_Digit], waiting: Sequence[_Digit]) -> bool:
        outer = self._outer(digit.leaf)
        if outer is None or all(d.leaf is not outer for d in waiting):
            return True
        return sum(d.leaf is outer for d in placed) > sum(d.leaf is digit.leaf for d in placed)

    def _outer(self, leaf: Atom) -> Atom | None:
        return None if leaf.join is not None or leaf.frozen else self.forest.outer(leaf)

    def _frozen(self, leaf: Atom) -> str | None:
        return self.forest.frozen(leaf)

    def _leaf(self, place: OpenPlace) -> Atom:
        assert place.leaf is not None  # places without units were left out
        return self.forest.find(place.leaf)

    def _uses(self) -> Iterator[tuple[Atom, Mark]]:
        """Every use of a set of units, by a parameter or a place."""
        for block in self.blocks:
            yield from ((digit.leaf, digit.mark) for digit in block.digits)
        yield from ((self._leaf(place), place.mark) for place in self.places.values())

    # ---- factors

    def _all_factors(self) -> dict[int, _Factors]:
        """The factors of every free set, from all of its uses: the places first, as they come in the computation."""
        uses: dict[int, list[Mark]] = {}
        places = [(self._leaf(place), place.mark) for place in self.places.values()]
        for leaf, mark in [*places, *self._uses()]:
            if self._frozen(leaf) is None:
                uses.setdefault(id(leaf), []).append(mark)
        return {
            key: _Factors(
                Coordinates(self.t.sign, [mark.sign for mark in marks]),
                Coordinates(self.t.positive, [mark.positive for mark in marks]),
            )
            for key, marks in uses.items()
        }

    def _drop_repeated(self) -> None:
        """Leave out the factors of an outer set that those of the sets inside of it can stand for."""
        nested: dict[int, dict[int, Atom]] = {}
        for leaf, _ in self._uses():
            outer = None if self._frozen(leaf) is not None else self._outer(leaf)
            if outer is not None:
                nested.setdefault(id(outer), {})[id(leaf)] = leaf
        for key, inner in nested.items():
            own, uses = self.factors[key], list(self._together(key, inner))
            own.signs.drop_repeated(
                [(d.mark.sign, [(self.factors[id(i.leaf)].signs, i.mark.sign) for i in inside]) for d, inside in uses]
            )
            own.positives.drop_repeated(
                [
                    (d.mark.positive, [(self.factors[id(i.leaf)].positives, i.mark.positive) for i in inside])
                    for d, inside in uses
                ]
            )

    def _together(self, outer: int, inner: Container[int]) -> Iterator[tuple[_Digit, list[_Digit]]]:
        """Every leg of an outer set, with the legs of the sets inside of it that stand with it in its block."""
        for block in self.blocks:
            own = [digit for digit in block.digits if id(digit.leaf) == outer]
            inside: list[list[_Digit]] = [[] for _ in own]
            counts: dict[int, int] = {}
            for digit in block.digits:
                if id(digit.leaf) in inner:
                    which = counts.get(id(digit.leaf), 0)
                    counts[id(digit.leaf)] = which + 1
                    inside[min(which, len(own) - 1)].append(digit)
            yield from zip(own, inside, strict=True)

    def _powers(self, leaf: Atom, mark: Mark) -> tuple[int, ...]:
        """The powers of a leg or place on some units."""
        if self._frozen(leaf) is not None:
            return ()
        own = self.factors[id(leaf)]
        return (*own.signs.powers(mark.sign), *own.positives.powers(mark.positive))

    # ---- names

    def _all_names(self) -> dict[int, str]:
        """A name for every set of units: of the inputs, of the module whose parameter leads to it, or of its spot."""
        named: dict[int, str] = {}
        counts: dict[str, int] = {}
        for leaf, text in self._proposals():
            if id(leaf) not in named:
                counts[text] = counts.get(text, 0) + 1
                named[id(leaf)] = text if counts[text] == 1 else f"{text}:{counts[text]}"
        return named

    def _proposals(self) -> Iterator[tuple[Atom, str]]:
        """Names for sets of units, the better ones first."""
        for name in self.solution.network.inputs:
            if name in self.places:
                yield self._leaf(self.places[name]), name
        for wire in self.t.wires:
            if wire.param is not None:
                yield self.forest.find(wire.ends[0].leaf), _parent(wire.param) or "output"
        for block in self.blocks:
            for digit in block.digits:
                yield digit.leaf, f"{_parent(block.key) or 'output'}.{self._spot(block, digit)}"
        for name, place in self.places.items():
            yield self._leaf(place), name

    def _spot(self, block: _Block, digit: _Digit) -> str:
        """What to call units that nothing leads to, by where they stand."""
        hint = self.t.hints.get((block.key, digit.dim))
        if hint is not None:
            return hint
        if sum(other.dim == digit.dim for other in block.digits) == 1:
            return f"dim{digit.dim}"
        return "position" if self._frozen(digit.leaf) else "outer"

    # ---- the whole

    def spec(self) -> NetworkSpec:
        """The finished spec."""
        inputs = [self._leaf(self.places[n]) for n in self.solution.network.inputs if n in self.places]
        uses = {id(leaf): leaf for leaf in [*inputs, *(leaf for leaf, _ in self._uses())]}
        axes = [self._axis(leaf) for leaf in uses.values()]
        known = {axis.name for axis in axes}
        axes = [a if a.within is None or a.within in known else Axis(a.name, a.size, a.symmetry) for a in axes]
        params = tuple(self._param(block) for block in self.blocks)
        places = tuple(self._place(name, place) for name, place in self.places.items())
        ordered = _outer_first(axes)
        return NetworkSpec(ordered, params, places, tuple(self._wires()), tuple(self._notes(uses)))

    def _axis(self, leaf: Atom) -> Axis:
        name = self.names[id(leaf)]
        if self._frozen(leaf) is not None:
            return Axis(name, leaf.size, FIXED)
        own, outer = self.factors[id(leaf)], self._outer(leaf)
        factors = (Factor.SIGN,) * len(own.signs.kept) + (Factor.POSITIVE,) * len(own.positives.kept)
        return Axis(name, leaf.size, Symmetry(True, factors), self.names.get(id(outer)) if outer is not None else None)

    def _param(self, block: _Block) -> ParamSpec:
        legs = tuple(Leg(self.names[id(d.leaf)], self._powers(d.leaf, d.mark)) for d in block.digits)
        shape = self.solution.network.shapes[block.key]
        sizes = tuple(digit.leaf.size for digit in block.digits)
        stored = None if block.whole and sizes == shape else shape
        strides = None if block.whole else tuple(digit.stride for digit in block.digits)
        role = self.t.roles.get(block.key, "weight")
        return ParamSpec(block.name, legs, role, View(block.key, stored, block.offset, strides))

    def _place(self, name: str, place: OpenPlace) -> Place:
        leaf = self._leaf(place)
        powers = self._powers(leaf, place.mark)
        return Place(
            self.place_names[name], self.names[id(leaf)], place.activation, place.constants, powers, place.merge
        )

    def _all_place_names(self) -> dict[str, str]:
        """A place is called as its axis where it is the first on it."""
        names: dict[str, str] = {}
        first: set[str] = set()
        for key, place in self.places.items():
            axis = self.names[id(self._leaf(place))]
            names[key] = axis if axis not in first else f"{axis}@{key}"
            first.add(axis)
        return names

    def _wires(self) -> Iterator[Wire]:
        names = self.place_names
        seen: dict[Wire, None] = {}
        for wire in self.t.wires:
            if wire.target in names and (wire.source is None or wire.source in names):
                source = None if wire.source is None else names[wire.source]
                for param in [None] if wire.param is None else self._blocks_of(wire.param, wire.ends):
                    seen.setdefault(Wire(param, source, names[wire.target]))
        yield from seen

    def _blocks_of(self, key: str, ends: Sequence[End]) -> list[str]:
        """The blocks of a stored tensor with legs on some units; marks decide where several have them."""
        leaves = {id(self.forest.find(end.leaf)) for end in ends}
        found = [b for b in self.blocks if b.key == key and leaves <= {id(d.leaf) for d in b.digits}]
        exact = [b for b in found if all(self._has(b, end) for end in ends)]
        return [block.name for block in exact or found]

    def _has(self, block: _Block, end: End) -> bool:
        leaf = self.forest.find(end.leaf)
        return any(
            d.leaf is leaf and d.mark.positive == end.mark.positive and d.mark.sign == end.mark.sign
            for d in block.digits
        )

    def _notes(self, uses: Mapping[int, Atom]) -> Iterator[Note]:
        for leaf in uses.values():
            reason = self._frozen(leaf)
            if reason is not None and leaf.size > 1 and not self._is_expected(leaf, reason):
                yield Note(f"axis {self.names[id(leaf)]}", f"fixed: {reason}")
            elif reason is None and self._linear_only(leaf):
                yield Note(
                    f"axis {self.names[id(leaf)]}",
                    "stands between linear maps alone: any invertible matrix would do, and only monomial ones are used",
                )
        for what, where in self.t.doubts.items():
            yield Note(where or "the network", what)

    def _is_expected(self, leaf: Atom, reason: str) -> bool:
        """Whether a fixed set is nothing to tell: of inputs, outputs or kernels, or positions that free units own."""
        return reason.startswith(EXPECTED) or any(
            digit.leaf is leaf and other.dim == digit.dim and self._frozen(other.leaf) is None
            for block in self.blocks
            for digit in block.digits
            for other in block.digits
        )

    def _linear_only(self, leaf: Atom) -> bool:
        """Whether nothing but linear maps touches some units, each leading to them or away from them."""
        own = self.factors[id(leaf)]
        if (len(own.signs.kept), len(own.positives.kept)) != (1, 1) or leaf.size == 1:
            return False
        if any(self._outer(other) is leaf for other, _ in self._uses()):
            return False
        places = [place for place in self.places.values() if self._leaf(place) is leaf]
        touching = [block for block in self.blocks if any(digit.leaf is leaf for digit in block.digits)]
        return all(place.activation == "identity" and place.merge == "sum" for place in places) and all(
            self.t.roles.get(block.key, "weight") in ("weight", "bias")
            and sum(digit.leaf is leaf for digit in block.digits) == 1
            for block in touching
        )


def _parent(key: str) -> str:
    return key.rpartition(".")[0]


def _outer_first(axes: Sequence[Axis]) -> tuple[Axis, ...]:
    """The axes in order, each behind the one it nests in."""
    by_name = {axis.name: axis for axis in axes}
    out: dict[str, Axis] = {}

    def put(axis: Axis) -> None:
        if axis.within is not None and axis.within not in out:
            put(by_name[axis.within])
        out.setdefault(axis.name, axis)

    for axis in axes:
        put(axis)
    return tuple(out.values())
