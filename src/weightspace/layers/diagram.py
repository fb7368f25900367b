r"""The one rule: which linear maps between parameters respect the symmetries of a weight space.

A basis of the equivariant linear maps from one parameter to another is given by, for each free axis, every partition
of all its legs (source and target together) into at most `size` blocks such that in each block the target powers minus
the source powers sum to zero for every factor (signs modulo two). A block shares one index: a block of source legs
only is a diagonal sum, of target legs only a diagonal spread, of both a diagonal that is carried over. Legs of a
nested axis may share a block only where their outer legs do.

Each such map factors through what it carries over, its *type*: a :class:`Half` on the source side reduces the
parameter to a tensor with one index per carried block, a half on the target side spreads such a tensor. Halves of
equal type combine freely (a type with interchangeable blocks has one source half per ordering), so all maps of one
type are one matrix product over channels.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations, product
from math import prod

from weightspace.groups import set_partitions
from weightspace.spec import Factor, NetworkSpec, ParamSpec

__all__ = ["Block", "Carried", "Half", "constants", "fits", "source_halves", "target_halves"]


@dataclass(frozen=True, order=True)
class Carried:
    """One carried index: its axis, its net powers, and which carried index before it is its outer one (or -1)."""

    axis: str
    powers: tuple[int, ...]
    outer: int


@dataclass(frozen=True)
class Block:
    """Legs of one parameter that share one index.

    Args:
        axis: the axis the index runs over.
        legs: positions of the legs.
        powers: the legs' powers summed per factor, signs modulo two.
        outer: legs of the block that a nested block lies in.
    """

    axis: str
    legs: tuple[int, ...]
    powers: tuple[int, ...]
    outer: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)  # compared by identity: two halves of one parameter may look alike
class Half:
    """One side of an equivariant map: a parameter with its legs in blocks, some carried, the others closed.

    Args:
        param: name of the parameter.
        carried: blocks that are carried over, in the order of the type.
        closed: blocks that are summed (source side) or spread over (target side).
        fixed: positions of the legs on fixed axes, which mix freely.
        type: what is carried; halves of equal type combine.
    """

    param: str
    carried: tuple[Block, ...]
    closed: tuple[Block, ...]
    fixed: tuple[int, ...]
    type: tuple[Carried, ...]

    @property
    def letters(self) -> dict[int, str]:
        """A letter per leg, the same for legs of one block, in the manner of einsum."""
        groups = [block.legs for block in (*self.carried, *self.closed)] + [(leg,) for leg in self.fixed]
        return {leg: chr(ord("d") + number) for number, legs in enumerate(groups) for leg in legs}

    @property
    def param_letters(self) -> str:
        """Letters of the parameter's legs in order."""
        return "".join(self.letters[leg] for leg in sorted(self.letters))

    @property
    def carried_letters(self) -> str:
        """Letters of what is carried over, in the order of the type."""
        return "".join(self.letters[block.legs[0]] for block in self.carried)

    @property
    def fixed_letters(self) -> str:
        """Letters of the fixed legs."""
        return "".join(self.letters[leg] for leg in self.fixed)

    def fixed_size(self, spec: NetworkSpec) -> int:
        """How many combinations of fixed indices there are."""
        return prod(self.fixed_shape(spec))

    def fixed_shape(self, spec: NetworkSpec) -> tuple[int, ...]:
        """Sizes of the fixed legs."""
        return tuple(spec.shape(self.param)[leg] for leg in self.fixed)

    def closed_size(self, spec: NetworkSpec) -> int:
        """Over how many index combinations the closed blocks sum."""
        return prod(spec.axis(block.axis).size for block in self.closed)


def source_halves(spec: NetworkSpec, param: ParamSpec) -> list[Half]:
    """Every way to reduce a parameter; interchangeable carried blocks in every order."""
    return [half for pattern in _patterns(spec, param) for half in _orderings(spec, param, pattern)]


def target_halves(spec: NetworkSpec, param: ParamSpec) -> list[Half]:
    """Every way to spread over a parameter; interchangeable carried blocks in one order."""
    return [_orderings(spec, param, pattern)[0] for pattern in _patterns(spec, param)]


def constants(spec: NetworkSpec, half: Half) -> bool:
    """Whether a target half can spread a constant: nothing is carried."""
    return not half.carried and fits(spec, half)


def fits(spec: NetworkSpec, *halves: Half) -> bool:
    """Whether the joined partition has at most as many blocks on each axis (in each outer unit) as there are units."""
    counts: Counter[tuple[str, tuple[object, ...]]] = Counter(
        (index.axis, ("carried", index.outer)) for index in halves[0].type
    )
    for side, half in enumerate(halves):
        counts.update((block.axis, _outer_key(half, block, side)) for block in half.closed)
    return all(count <= spec.axis(axis).size for (axis, _), count in counts.items())


def _outer_key(half: Half, block: Block, side: int) -> tuple[object, ...]:
    """Which outer unit a closed block lies in: a carried index, or a closed block of the same side."""
    if not block.outer:
        return ("carried", -1)
    position = next((i for i, outer in enumerate(half.carried) if outer.legs == block.outer), None)
    return ("carried", position) if position is not None else ("closed", side, block.outer)


def _patterns(spec: NetworkSpec, param: ParamSpec) -> Iterator[tuple[tuple[Block, ...], tuple[Block, ...]]]:
    """Every (carried, closed) choice of blocks for the free legs of a parameter."""
    for blocks in _blockings(spec, param):
        for keep in product((True, False), repeat=len(blocks)):
            carried = tuple(block for block, kept in zip(blocks, keep, strict=True) if kept)
            closed = tuple(block for block, kept in zip(blocks, keep, strict=True) if not kept)
            kept_legs = {block.legs for block in carried}
            nested_well = all(not block.outer or block.outer in kept_legs for block in carried)
            if nested_well and not any(any(block.powers) for block in closed):
                yield carried, closed


def _blockings(spec: NetworkSpec, param: ParamSpec) -> Iterator[tuple[Block, ...]]:
    """Every division of the free legs into blocks, outer axes first; nested legs only within one outer block."""
    free = [axis for axis in spec.axes if axis.symmetry.permutes and any(leg.axis == axis.name for leg in param.legs)]
    depths = {axis.name: _depth(spec, axis.name) for axis in free}

    def extend(remaining: list[str], blocks: tuple[Block, ...]) -> Iterator[tuple[Block, ...]]:
        if not remaining:
            yield blocks
            return
        for divided in product(*(set_partitions(group) for group in _groups(spec, param, remaining[0], blocks))):
            new = tuple(_block(spec, param, legs, blocks) for partition in divided for legs in partition)
            yield from extend(remaining[1:], blocks + new)

    return extend(sorted(depths, key=lambda name: depths[name]), ())


def _depth(spec: NetworkSpec, name: str) -> int:
    outer = spec.axis(name).within
    return 0 if outer is None else 1 + _depth(spec, outer)


def _outer_leg(spec: NetworkSpec, param: ParamSpec, leg: int) -> int | None:
    """Position of the outer leg of a nested leg: the nearest one on the outer axis to its left."""
    outer = spec.axis(param.legs[leg].axis).within
    if outer is None or not spec.axis(outer).symmetry.permutes:
        return None
    return max(i for i in range(leg) if param.legs[i].axis == outer)


def _groups(spec: NetworkSpec, param: ParamSpec, axis: str, blocks: tuple[Block, ...]) -> list[tuple[int, ...]]:
    """The legs of an axis that may share blocks: all of them, or those in one outer block."""
    legs = tuple(i for i, leg in enumerate(param.legs) if leg.axis == axis)
    outers = {leg: _outer_leg(spec, param, leg) for leg in legs}
    if all(outer is None for outer in outers.values()):
        return [legs]
    groups = [tuple(leg for leg in legs if outers[leg] in block.legs) for block in blocks]
    return [group for group in groups if group]


def _block(spec: NetworkSpec, param: ParamSpec, legs: tuple[int, ...], blocks: tuple[Block, ...]) -> Block:
    factors = spec.axis(param.legs[legs[0]].axis).symmetry.factors
    sums = [sum(powers) for powers in zip(*(param.legs[leg].powers for leg in legs), strict=True)]
    powers = tuple(p % 2 if f is Factor.SIGN else p for p, f in zip(sums, factors, strict=True))
    outer_leg = _outer_leg(spec, param, legs[0])
    outer = next((block.legs for block in blocks if outer_leg in block.legs), ())
    return Block(param.legs[legs[0]].axis, legs, powers, outer)


def _orderings(spec: NetworkSpec, param: ParamSpec, pattern: tuple[tuple[Block, ...], tuple[Block, ...]]) -> list[Half]:
    """The halves of a pattern, one for each order of the carried blocks that gives the least type."""
    carried, closed = pattern
    fixed = tuple(i for i, leg in enumerate(param.legs) if not spec.axis(leg.axis).symmetry.permutes)
    typed = [(_type(order), order) for order in permutations(carried) if _outer_first(order)]
    least = min(kind for kind, _ in typed)
    return [Half(param.name, order, closed, fixed, kind) for kind, order in typed if kind == least]


def _outer_first(order: tuple[Block, ...]) -> bool:
    return all(not b.outer or b.outer in [before.legs for before in order[:i]] for i, b in enumerate(order))


def _type(order: tuple[Block, ...]) -> tuple[Carried, ...]:
    position = {block.legs: i for i, block in enumerate(order)}
    return tuple(Carried(block.axis, block.powers, position[block.outer] if block.outer else -1) for block in order)
