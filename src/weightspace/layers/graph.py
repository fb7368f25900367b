"""The network's own graph: units are vertices, parameters are edges, all in plain dense tensors."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod, sqrt

from torch import Tensor

from weightspace.gauge.leg import block_shape, leg_dims
from weightspace.gauge.norm import wire_ends
from weightspace.layers.invariant import acting_factors
from weightspace.spec import Factor, NetworkSpec, Place, Wire

__all__ = ["Edges", "Graph", "Step", "Vertices"]


@dataclass(frozen=True)
class Vertices:
    """The units of one place.

    Args:
        name: the place.
        shape: `(*outer, units)`.
        factors: which kinds of scalar act on them.
        fixed: whether each unit can be told from the others (inputs and outputs).
        label: which places share the vectors that they begin with.
        depth: where the place stands between inputs (0) and outputs (1); `None` where labels tell places apart.
    """

    name: str
    shape: tuple[int, ...]
    factors: frozenset[Factor]
    fixed: bool
    label: str
    depth: float | None

    @property
    def kind(self) -> str:
        """Which vertices share the coefficients of a round: the ends, and hidden units by what acts on them."""
        return "ends" if self.fixed else "_".join(["hidden", *sorted(self.factors)])


@dataclass(frozen=True)
class Edges:
    """What one wire connects. Tensors of edges are laid out as their parameter, kernels folded into channels.

    Args:
        target: the units the wire leads to.
        source: the units it leads from; `None` where it comes from nowhere (a bias).
        param: name of the parameter; `None` for a wire without one, whose edges lead from each unit to itself.
        target_dims: dimensions of the target's units in a tensor of edges.
        source_dims: those of the source's units; `()` where every edge sees the mean over them.
        straight: whether an edge times what it comes from follows the same scalars as what it leads to.
        ndim: dimensions of a tensor of edges, batch and channels included.
        width: how many numbers stand on one edge: the kernel's entries.
        factors: which kinds of scalar act on the edges.
        label: which edges share the linear maps that read and write them.
    """

    target: Vertices
    source: Vertices | None
    param: str | None
    target_dims: tuple[int, ...]
    source_dims: tuple[int, ...]
    straight: bool
    ndim: int
    width: int
    factors: frozenset[Factor]
    label: str

    def ends(self, *, back: bool) -> tuple[Vertices, Vertices]:
        """Where messages come from and where they go to: from target to source if `back`."""
        assert self.source is not None
        return (self.target, self.source) if back else (self.source, self.target)

    def dims(self, *, back: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Dimensions of senders and of receivers in a tensor of edges."""
        return (self.target_dims, self.source_dims) if back else (self.source_dims, self.target_dims)


@dataclass(frozen=True)
class Step:
    """What one round of messages has to do so that nothing is computed that is never read.

    Args:
        wires: wires along which messages run.
        back: wires along which they run from target to source.
        updated: vertices that are updated.
        edges: a wire for each parameter whose edges are updated.
        turned: the same for backward edges.
        read: places whose vertices count ahead of the round.
        read_edges: parameters whose edges count ahead of it.
        read_back: parameters whose backward edges do.
    """

    wires: tuple[Edges, ...]
    back: tuple[Edges, ...]
    updated: tuple[Vertices, ...]
    edges: tuple[Edges, ...]
    turned: tuple[Edges, ...]
    read: frozenset[str]
    read_edges: frozenset[str]
    read_back: frozenset[str]

    @cached_property
    def ways(self) -> dict[str, tuple[Edges, ...]]:
        """The wires that messages run along: straight ones forward, those on the way back, and all others."""
        straight, others = (tuple(w for w in self.wires if w.straight == which) for which in (True, False))
        ways = {"ahead": straight, "back": self.back, "around": others}
        return {way: wires for way, wires in ways.items() if wires}

    @cached_property
    def heard(self) -> tuple[tuple[Vertices, tuple[str, ...]], ...]:
        """What is updated, and the ways on which messages come to it."""
        reached = {way: {w.ends(back=way == "back")[1].name for w in wires} for way, wires in self.ways.items()}
        return tuple((v, tuple(way for way, names in reached.items() if v.name in names)) for v in self.updated)


class Graph:
    """Vertices and edges of a spec, worked out once.

    Edges stand in two groups: `biases`, which come from nowhere, and `wires`. A parameter of one leg that no wire
    carries, as the running statistics of a normalisation, counts as a bias of the first place on its axis. What is left
    over is `unread`.

    Args:
        spec: the networks.
        shared: whether coefficients are shared by what parameters and places are, so that they fit other networks too,
            instead of by which one of this spec they are.
    """

    def __init__(self, spec: NetworkSpec, *, shared: bool = False) -> None:
        self.spec, self.shared = spec, shared
        self.places = {place.name: place for place in spec.places}
        wires = [wire for wire in spec.wires if wire.param is not None or wire.source is not None]
        entered = {wire.target for wire in wires if wire.source is not None}
        left = {wire.source for wire in wires}
        fixed = [place.name for place in spec.places if not spec.axis(place.axis).symmetry.permutes]
        self.inputs = [name for name in fixed if name not in entered]
        self.outputs = [name for name in fixed if name in entered and name not in left]
        self.kept = {param.name: self._unit_legs(param.name) for param in spec.params}
        self.labels = {param.name: self._label(row, param.name) for row, param in enumerate(spec.params)}
        depths = self._depths(wires) if shared else {}
        self.vertices = {place.name: self._vertices(place, depths.get(place.name)) for place in spec.places}
        every = [self._edges(wire) for wire in (*wires, *self._loose(wires))]
        self.biases = [edges for edges in every if edges.source is None]
        self.wires = [edges for edges in every if edges.source is not None]
        read = {edges.param for edges in every}
        self.unread = tuple(param.name for param in spec.params if param.name not in read)
        self.fans = {str(wire.param): self._fan(wire) for wire in reversed(self.wires) if wire.param is not None}

    def steps(
        self, rounds: int, places: Sequence[str], params: Sequence[str], *, back: bool, updating: bool = True
    ) -> list[Step]:
        """What each round has to do if at the end the vertices of these places and the edges of these parameters count.

        With `shared`, all there is to do: what another network needs cannot be told from this one.

        Args:
            rounds: how many rounds.
            places: places that are read.
            params: parameters whose edges are read.
            back: whether messages also run from target to source, along straight wires.
            updating: whether edges are updated too.
        """
        if self.shared:
            more = [number < rounds - 1 for number in range(rounds)]
            return [self._everything(back, updating and (m or bool(params)), updating and m) for m in more]
        by_param = {str(wire.param): wire for wire in reversed(self.wires) if wire.param is not None}
        ways = {name: wire for name, wire in by_param.items() if back and wire.straight}
        vertices, edges, turned = set(places), set(params), set[str]()
        steps: list[Step] = []
        for live in reversed(self._live(rounds, back=back)):
            told = [w for w in self.wires if w.ends(back=not w.straight)[0].name in live]
            wires = tuple(wire for wire in told if wire.target.name in vertices)
            returning = tuple(
                w for w in self.wires if back and w.straight and _source(w) in vertices and w.target.name in live
            )
            heard = {w.target.name for w in wires} | {_source(w) for w in returning} | live
            updated = tuple(
                v for n, v in self.vertices.items() if n in vertices & heard and (back or n not in self.inputs)
            )
            renewed = tuple(wire for name, wire in by_param.items() if updating and name in edges)
            renewed_back = tuple(wire for name, wire in ways.items() if updating and name in turned)
            ends = [*wires, *returning, *renewed, *renewed_back]
            vertices |= {end.name for wire in ends for end in wire.ends(back=False)}
            edges |= {str(wire.param) for wire in wires if wire.param is not None}
            turned |= {str(wire.param) for wire in returning if wire.param is not None}
            read = frozenset(vertices), frozenset(edges), frozenset(turned)
            steps.append(Step(wires, returning, updated, renewed, renewed_back, *read))
        return steps[::-1]

    def _everything(self, back: bool, updating: bool, turning: bool) -> Step:
        straight = tuple(wire for wire in self.wires if back and wire.straight)
        updated = tuple(v for name, v in self.vertices.items() if back or name not in self.inputs)
        every = {str(wire.param): wire for wire in reversed(self.wires) if wire.param is not None}
        ways = {name: wire for name, wire in every.items() if back and wire.straight}
        renewed, turned = tuple(every.values()) if updating else (), tuple(ways.values()) if turning else ()
        read = frozenset(self.vertices), frozenset(every), frozenset(ways)
        return Step(tuple(self.wires), straight, updated, renewed, turned, *read)

    def _live(self, rounds: int, *, back: bool) -> list[set[str]]:
        """For each round the places whose vertices are not all zero ahead of it, as those are that have no bias."""
        biased = {bias.target.name for bias in self.biases if bias.straight}
        live = {name for name, v in self.vertices.items() if name in biased or not v.factors}
        ahead = []
        for _ in range(rounds):
            ahead.append(set(live))
            ways = [(_source(w), w.target.name) for w in self.wires if w.straight]
            ways += [way[::-1] for way in ways] if back else []
            live |= {target for source, target in ways if source in ahead[-1]}
        return ahead

    def fold(self, param: str, values: Tensor) -> Tensor:
        """A parameter `(batch, *legs, 1)` as edges `(batch, *unit legs, width)`, times the root of its fan-in.

        Weights that add up at a unit are the smaller the more they are; times the root of their number they are not.
        """
        order = [0, *(leg + 1 for leg in self.kept[param])]
        rest = [dim for dim in range(1, values.ndim) if dim not in order]
        edges = values.permute(*order, *rest).flatten(len(order))
        return edges * sqrt(self.fans[param]) if self.fans.get(param, 1) != 1 else edges

    def unfold(self, param: str, edges: Tensor) -> Tensor:
        """The way back from `fold`."""
        kept, shape = self.kept[param], self.spec.shape(param)
        rest = [leg for leg in range(len(shape)) if leg not in kept]
        values = edges.unflatten(-1, (*(shape[leg] for leg in rest), 1)) / sqrt(self.fans.get(param, 1))
        order = [0, *(leg + 1 for leg in (*kept, *rest))]
        return values.permute(*(order.index(dim) for dim in range(len(order))), len(order))

    def _vertices(self, place: Place, depth: float | None) -> Vertices:
        symmetry = self.spec.axis(place.axis).symmetry
        acting = frozenset(f for f, power in zip(symmetry.factors, place.powers, strict=True) if power)
        shape, fixed = block_shape(self.spec, place.axis), not symmetry.permutes
        label = str(list(self.places).index(place.name))
        if self.shared:
            end = "input" if place.name in self.inputs else "output" if place.name in self.outputs else "inner"
            label = " ".join([end, "x".join(map(str, shape))]) if fixed else "hidden"
        return Vertices(place.name, shape, acting, fixed, label, depth)

    def _label(self, row: int, param: str) -> str:
        """Which parameters share coefficients: with `shared` those of one role, kernel and kind of scalar."""
        if not self.shared:
            return str(row)
        shape, kept = self.spec.shape(param), self.kept[param]
        kernel = "x".join(str(size) for leg, size in enumerate(shape) if leg not in kept)
        acting = acting_factors(self.spec, self.spec.param(param))
        return " ".join(filter(None, [self.spec.param(param).role, kernel, *sorted(acting)]))

    def _depths(self, wires: Sequence[Wire]) -> dict[str, float]:
        """The longest way from the inputs to each place, counted in parameters, over the longest of all."""
        depths: dict[str, int] = {}
        for place in self.places:
            into = [w for w in wires if w.target == place and w.source in depths]
            depths[place] = max((depths[str(w.source)] + (w.param is not None) for w in into), default=0)
        longest = max(depths.values(), default=0)
        return {place: depth / max(longest, 1) for place, depth in depths.items()}

    def _fan(self, wire: Edges) -> int:
        """How many edges add up at one unit."""
        sizes = [self.spec.shape(str(wire.param))[leg] for leg in self.kept[str(wire.param)]]
        return prod(size for dim, size in enumerate(sizes, start=1) if dim not in wire.target_dims)

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
        to, of = (None, None) if wire.param is None else wire_ends(self.spec, wire)
        units = self.vertices[target.name]
        # A wire without a parameter leads from each unit to itself.
        target_dims = tuple(range(1, len(units.shape) + 1)) if wire.param is None else self._dims(wire.param, to)
        own = of is None and source is not None and source.axis == target.axis
        return Edges(
            target=units,
            source=None if source is None else self.vertices[source.name],
            param=wire.param,
            target_dims=target_dims,
            source_dims=target_dims if own else self._dims(wire.param, of),
            straight=self._straight(wire, to, of),
            ndim=2 + len(target_dims if wire.param is None else self.kept[wire.param]),
            width=1 if wire.param is None else self._width(wire.param),
            factors=frozenset() if wire.param is None else acting_factors(self.spec, self.spec.param(wire.param)),
            label=self._joining(wire) if wire.param is None else self.labels[wire.param],
        )

    def _joining(self, wire: Wire) -> str:
        """The label of a wire without a parameter."""
        ends = (self.vertices[str(end)].label for end in (wire.target, wire.source))
        return "no parameter" if self.shared else " from ".join(ends)

    def _width(self, param: str) -> int:
        return prod(size for leg, size in enumerate(self.spec.shape(param)) if leg not in self.kept[param])

    def _dims(self, param: str | None, leg: int | None) -> tuple[int, ...]:
        """Where a leg's units, with those that they lie within, stand in a tensor of edges."""
        if param is None or leg is None:
            return ()
        places = {kept + 1: number + 1 for number, kept in enumerate(self.kept[param])}
        return tuple(places[dim] for dim in leg_dims(self.spec, self.spec.param(param), leg))

    def _straight(self, wire: Wire, to: int | None, of: int | None) -> bool:
        """Whether the scalars of a parameter's legs and of its source's units make those of its target's units."""
        target, source = self.places[wire.target], self.places.get(wire.source or "")
        if wire.param is None:
            return source is not None and source.axis == target.axis and source.powers == target.powers
        legs = self.spec.param(wire.param).legs
        ends = {target.axis, *([source.axis] if source is not None and of is not None else [])}
        others = [leg for row, leg in enumerate(legs) if row not in (to, of) and leg.axis not in ends]
        if to is None or any(any(leg.powers) for leg in others):
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


def _source(wire: Edges) -> str:
    return wire.ends(back=False)[0].name
