"""The network's own graph: units are vertices, parameters are edges, all in plain dense tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from torch import Tensor

from weightspace.gauge.leg import block_shape, leg_dims
from weightspace.gauge.norm import wire_ends
from weightspace.spec import Factor, Leg, NetworkSpec, Place, Wire

__all__ = ["Edges", "Graph", "Step", "Vertices"]


@dataclass(frozen=True)
class Vertices:
    """The units of one place.

    Args:
        name: the place.
        shape: `(*outer, units)`.
        factors: which kinds of scalar act on them.
        fixed: whether each unit can be told from the others (inputs and outputs).
    """

    name: str
    shape: tuple[int, ...]
    factors: frozenset[Factor]
    fixed: bool


@dataclass(frozen=True)
class Edges:
    """What one wire connects. Tensors of edges are laid out as their parameter, kernels folded into channels.

    Args:
        target: the place the wire leads to.
        source: the place it leads from; `None` where it comes from nowhere (a bias).
        param: name of the parameter; `None` for a wire without one, whose edges lead from each unit to itself.
        target_dims: dimensions of the target's units in a tensor of edges.
        source_dims: those of the source's units; `()` where every edge sees the mean over them.
        straight: whether an edge times what it comes from follows the same scalars as what it leads to.
    """

    target: str
    source: str | None
    param: str | None
    target_dims: tuple[int, ...]
    source_dims: tuple[int, ...]
    straight: bool


@dataclass(frozen=True)
class Step:
    """What one round of messages has to do so that nothing is computed that is never read.

    Args:
        wires: wires along which messages run.
        back: wires along which they run from target to source.
        updated: places whose vertices are updated.
        edges: a wire for each parameter whose edges are updated.
        turned: the same for backward edges.
        read: places whose vertices count ahead of the round.
        read_edges: parameters whose edges count ahead of it.
        read_back: parameters whose backward edges do.
    """

    wires: tuple[Edges, ...]
    back: tuple[Edges, ...]
    updated: tuple[str, ...]
    edges: tuple[Edges, ...]
    turned: tuple[Edges, ...]
    read: frozenset[str]
    read_edges: frozenset[str]
    read_back: frozenset[str]


class Graph:
    """Vertices and edges of a spec, worked out once.

    Edges stand in two groups: `biases`, which come from nowhere, and `wires`. A parameter of one leg that no wire
    carries, as the running statistics of a normalisation, counts as a bias of the first place on its axis. What is left
    over is `unread`.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        self.spec = spec
        self.places = {place.name: place for place in spec.places}
        self.vertices = {name: self._vertices(place) for name, place in self.places.items()}
        self.kept = {param.name: self._unit_legs(param.name) for param in spec.params}
        wires = [wire for wire in spec.wires if wire.param is not None or wire.source is not None]
        every = [self._edges(wire) for wire in (*wires, *self._loose(wires))]
        self.biases = [edges for edges in every if edges.source is None]
        self.wires = [edges for edges in every if edges.source is not None]
        read = {edges.param for edges in every}
        self.unread = tuple(param.name for param in spec.params if param.name not in read)
        entered = {wire.target for wire in wires if wire.source is not None}
        left = {wire.source for wire in wires}
        self.inputs = [v.name for v in self.vertices.values() if v.fixed and v.name not in entered]
        self.outputs = [v.name for v in self.vertices.values() if v.fixed and v.name in entered and v.name not in left]

    def steps(
        self, rounds: int, places: Sequence[str], params: Sequence[str], *, back: bool, updating: bool = True
    ) -> list[Step]:
        """What each round has to do if at the end the vertices of these places and the edges of these parameters count.

        Args:
            rounds: how many rounds.
            places: places that are read.
            params: parameters whose edges are read.
            back: whether messages also run from target to source, along straight wires.
            updating: whether edges are updated too.
        """
        by_param = {str(wire.param): wire for wire in reversed(self.wires) if wire.param is not None}
        ways = {str(wire.param): wire for wire in reversed(self.wires) if back and wire.straight and wire.param}
        vertices, edges, turned = set(places), set(params), set[str]()
        steps: list[Step] = []
        for live in reversed(self._live(rounds, back=back)):
            told = [w for w in self.wires if (w.source if w.straight else w.target) in live]
            wires = tuple(wire for wire in told if wire.target in vertices)
            returning = tuple(
                w for w in self.wires if back and w.straight and w.source in vertices and w.target in live
            )
            heard = {wire.target for wire in wires} | {str(wire.source) for wire in returning} | live
            updated = tuple(n for n in self.vertices if n in vertices and n in heard and (back or n not in self.inputs))
            renewed = tuple(wire for name, wire in by_param.items() if updating and name in edges)
            renewed_back = tuple(wire for name, wire in ways.items() if updating and name in turned)
            ends = [*wires, *returning, *renewed, *renewed_back]
            vertices |= {str(end) for wire in ends for end in (wire.source, wire.target)}
            edges |= {str(wire.param) for wire in wires if wire.param is not None}
            turned |= {str(wire.param) for wire in returning if wire.param is not None}
            read = frozenset(vertices), frozenset(edges), frozenset(turned)
            steps.append(Step(wires, returning, updated, renewed, renewed_back, *read))
        return steps[::-1]

    def _live(self, rounds: int, *, back: bool) -> list[set[str]]:
        """For each round the places whose vertices are not all zero ahead of it, as those are that have no bias."""
        biased = {bias.target for bias in self.biases if bias.straight}
        live = {name for name, v in self.vertices.items() if name in biased or not v.factors}
        ahead = []
        for _ in range(rounds):
            ahead.append(set(live))
            ways = [(str(w.source), w.target) for w in self.wires if w.straight]
            ways += [way[::-1] for way in ways] if back else []
            live |= {target for source, target in ways if source in ahead[-1]}
        return ahead

    def width(self, param: str) -> int:
        """How many numbers stand on one edge: the kernel's entries."""
        return prod(size for leg, size in enumerate(self.spec.shape(param)) if leg not in self.kept[param])

    def fold(self, param: str, values: Tensor) -> Tensor:
        """A parameter `(batch, *legs, 1)` as edges `(batch, *unit legs, width)`."""
        order = [0, *(leg + 1 for leg in self.kept[param])]
        rest = [dim for dim in range(1, values.ndim) if dim not in order]
        return values.permute(*order, *rest).flatten(len(order))

    def unfold(self, param: str, edges: Tensor) -> Tensor:
        """The way back from `fold`."""
        kept, shape = self.kept[param], self.spec.shape(param)
        rest = [leg for leg in range(len(shape)) if leg not in kept]
        values = edges.unflatten(-1, (*(shape[leg] for leg in rest), 1))
        order = [0, *(leg + 1 for leg in (*kept, *rest))]
        return values.permute(*(order.index(dim) for dim in range(len(order))), len(order))

    def _vertices(self, place: Place) -> Vertices:
        symmetry = self.spec.axis(place.axis).symmetry
        acting = frozenset(f for f, power in zip(symmetry.factors, place.powers, strict=True) if power)
        return Vertices(place.name, block_shape(self.spec, place.axis), acting, not symmetry.permutes)

    def _unit_legs(self, param: str) -> tuple[int, ...]:
        """Positions of the legs whose units are vertices, or are permuted."""
        axes = {place.axis for place in self.spec.places} | {axis.name for axis in self.spec.free_axes}
        return tuple(i for i, leg in enumerate(self.spec.param(param).legs) if leg.axis in axes)

    def _loose(self, wires: Sequence[Wire]) -> list[Wire]:
        carried = {wire.param for wire in wires}
        first = {place.axis: place.name for place in reversed(self.spec.places)}
        lone = [p for p in self.spec.params if p.name not in carried and len(p.legs) == 1 and p.legs[0].axis in first]
        return [Wire(param.name, None, first[param.legs[0].axis]) for param in lone]

    def _edges(self, wire: Wire) -> Edges:
        target, source = self.places[wire.target], self.places.get(wire.source or "")
        if wire.param is None:
            dims = tuple(range(1, len(self.vertices[wire.target].shape) + 1))
            together = source is not None and source.axis == target.axis
            straight = together and source is not None and source.powers == target.powers
            return Edges(wire.target, wire.source, None, dims, dims if together else (), straight)
        to, of = wire_ends(self.spec, wire)
        target_dims = () if to is None else self._dims(wire.param, to)
        source_dims = () if of is None else self._dims(wire.param, of)
        if of is None and source is not None and source.axis == target.axis:
            source_dims = target_dims
        legs = self.spec.param(wire.param).legs
        straight = to is not None and self._straight(target, source, legs, to, of)
        return Edges(wire.target, wire.source, wire.param, target_dims, source_dims, straight)

    def _dims(self, param: str, leg: int) -> tuple[int, ...]:
        places = {kept + 1: number + 1 for number, kept in enumerate(self.kept[param])}
        return tuple(places[dim] for dim in leg_dims(self.spec, self.spec.param(param), leg))

    def _straight(self, target: Place, source: Place | None, legs: Sequence[Leg], to: int, of: int | None) -> bool:
        """Whether the scalars of a parameter's legs and of its source's units make those of its target's units."""
        ends = {target.axis, *([source.axis] if source is not None and of is not None else [])}
        if any(any(leg.powers) for i, leg in enumerate(legs) if i not in (to, of) and leg.axis not in ends):
            return False
        if source is None:
            return self._same(target, legs[to].powers)
        if of is None:
            together = source.axis == target.axis
            return together and self._same(target, self._sum(legs[to].powers, source.powers))
        return self._same(target, legs[to].powers) and not any(
            self._reduced(source, self._sum(legs[of].powers, source.powers))
        )

    def _sum(self, one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(a + b for a, b in zip(one, other, strict=True))

    def _same(self, place: Place, powers: tuple[int, ...]) -> bool:
        return self._reduced(place, powers) == self._reduced(place, place.powers)

    def _reduced(self, place: Place, powers: tuple[int, ...]) -> tuple[int, ...]:
        factors = self.spec.axis(place.axis).symmetry.factors
        return tuple(p % 2 if f is Factor.SIGN else p for p, f in zip(powers, factors, strict=True))
