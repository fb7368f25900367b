"""Rounds of messages on a network's own graph, which follow the scalars of its units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod, sqrt

import torch
from torch import Tensor, nn

from weightspace.layers.gated import Gated, Invariants
from weightspace.layers.graph import Edges, Graph, Step, Vertices
from weightspace.layers.invariant import acting_factors
from weightspace.spec import Factor

__all__ = ["MessageRound", "State", "laid"]


@dataclass(frozen=True)
class State:
    """Features of a batch of graphs.

    Args:
        vertices: by place, `(batch, *outer, units, channels)`.
        edges: by parameter, `(batch, *unit legs, channels)`; they follow the scalars of the parameter.
        back: the same, but they lead from a wire's target to its source, and follow the scalars of that way.
        weights: by parameter, what linear messages read: its numbers as they are.
        weights_back: the same on the way back.
    """

    vertices: dict[str, Tensor]
    edges: dict[str, Tensor]
    back: dict[str, Tensor]
    weights: dict[str, Tensor]
    weights_back: dict[str, Tensor]


def laid(values: Tensor, dims: Sequence[int], ndim: int) -> Tensor:
    """Features of vertices beside a tensor of edges of `ndim` dimensions. With no `dims`, their mean."""
    if not dims:
        values = values.flatten(1, -2).mean(1)
    shape = [1] * ndim
    shape[0], shape[-1] = len(values), values.shape[-1]
    for position, dim in enumerate(dims, start=1):
        shape[dim] = values.shape[position]
    return values.reshape(shape)


def kind(vertices: Vertices) -> str:
    """Which vertices share the coefficients of a round: the ends, and hidden units by what acts on them."""
    return "ends" if vertices.fixed else "_".join(["hidden", *sorted(vertices.factors)])


class Messages(nn.Module):
    r"""What the edges of one direction bring to their targets, added up.

    Along a straight wire an edge times what it comes from follows the target's scalars, and the message is
    `Gated` of the receiver and of :math:`\Gamma_e e \odot \Gamma_v x`. Along any other wire the receiver itself is
    gated, by invariants of the edge and of what it comes from.

    Args:
        graph: the graph.
        wires: the wires along which messages run.
        back: whether they run from target to source.
        channels: feature channels.
        receiver: whether messages see the receiver; along wires that are not straight they always do.
        form: how signs are removed, see `Invariants`.
    """

    def __init__(
        self, graph: Graph, wires: Sequence[Edges], *, back: bool, channels: int, receiver: bool, form: str
    ) -> None:
        super().__init__()
        self.graph, self.wires, self.back, self.receiver = graph, list(wires), back, receiver
        straight = [wire for wire in self.wires if wire.straight]
        around = [wire for wire in self.wires if not wire.straight]
        self.vertex = nn.Linear(channels, channels, bias=False) if straight else None
        self.edge = nn.Linear(channels, channels, bias=False) if any(wire.param for wire in straight) else None
        widths = [channels] * (1 + receiver)
        self.straight = nn.ModuleDict(
            {name: Gated(widths, channels, factors, form) for name, factors in self._kinds(straight).items()}
        )
        self.around = nn.ModuleDict({name: nn.Linear(channels, channels, bias=False) for name in self._kinds(around)})
        self.gates = nn.ModuleDict(
            {name: Invariants([2 * channels], channels, frozenset()) for name in self._kinds(around)}
        )
        sources = {kind(self._ends(wire)[0]): self._ends(wire)[0].factors for wire in around}
        self.seen = nn.ModuleDict({name: Invariants([channels], channels, f, form) for name, f in sources.items()})
        params = dict.fromkeys(str(wire.param) for wire in around if wire.param)
        self.edge_factors = {name: acting_factors(graph.spec, graph.spec.param(name)) for name in params}
        kinds = {"_".join(["edge", *sorted(f)]): f for f in self.edge_factors.values()}
        self.seen_edges = nn.ModuleDict({name: Invariants([channels], channels, f, form) for name, f in kinds.items()})

    def _ends(self, wire: Edges) -> tuple[Vertices, Vertices]:
        """Where messages come from and where they go to."""
        ends = self.graph.vertices[str(wire.source)], self.graph.vertices[wire.target]
        return ends[::-1] if self.back else ends

    def _kinds(self, wires: Sequence[Edges]) -> dict[str, frozenset[Factor]]:
        ends = [self._ends(wire)[1] for wire in wires]
        return {kind(end): frozenset() if end.fixed else end.factors for end in ends}

    def forward(self, state: State) -> dict[str, Tensor]:
        """By place, the sum of all messages to it, over the root of their number."""
        moved: dict[str, Tensor] = {}
        sums: dict[str, list[Tensor]] = {}
        for wire in self.wires:
            source, target = self._ends(wire)
            if wire.straight and source.name not in moved:
                assert self.vertex is not None
                moved[source.name] = self.vertex(state.vertices[source.name])
            message = self._straight(wire, state, moved) if wire.straight else self._around(wire, state)
            sums.setdefault(target.name, []).append(message)
        return {name: sum(parts[1:], parts[0]) / sqrt(len(parts)) for name, parts in sums.items()}

    def _layout(self, wire: Edges) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """Dimensions of sender and receiver in a tensor of edges, and the number of its dimensions."""
        dims = (wire.target_dims, wire.source_dims) if self.back else (wire.source_dims, wire.target_dims)
        legs = len(wire.target_dims) if wire.param is None else len(self.graph.kept[wire.param])
        return *dims, legs + 2

    def _straight(self, wire: Edges, state: State, moved: Mapping[str, Tensor]) -> Tensor:
        source, target = self._ends(wire)
        dims, to, ndim = self._layout(wire)
        sent = laid(moved[source.name], dims, ndim)
        if wire.param is not None:
            assert self.edge is not None
            sent = sent * self.edge((state.back if self.back else state.edges)[wire.param])
        parts = [laid(state.vertices[target.name], to, ndim), sent] if self.receiver else [sent]
        return _gathered(self.straight[kind(target)](*parts), to)

    def _around(self, wire: Edges, state: State) -> Tensor:
        source, target = self._ends(wire)
        dims, to, ndim = self._layout(wire)
        sent = laid(self.seen[kind(source)](state.vertices[source.name]), dims, ndim)
        edge = torch.zeros_like(sent)
        if wire.param is not None:
            name = "_".join(["edge", *sorted(self.edge_factors[wire.param])])
            edge = self.seen_edges[name](state.edges[wire.param])
        gate = self.gates[kind(target)](torch.cat(torch.broadcast_tensors(sent, edge), -1))
        x = state.vertices[target.name]
        return self.around[kind(target)](x) * (_gathered(gate, to) if to else laid(gate, (), x.ndim))


def _receivers(wires: Sequence[Edges], *, back: bool) -> set[str]:
    """The places that messages along these wires go to."""
    return {str(wire.source if back else wire.target) for wire in wires}


def _gathered(messages: Tensor, to: Sequence[int]) -> Tensor:
    """Messages added up at their receivers, over the root of their number."""
    others = [dim for dim in range(1, messages.ndim - 1) if dim not in to]
    if not others:
        return messages
    return messages.sum(others) / sqrt(prod(messages.shape[dim] for dim in others))


class LinearMessages(nn.Module):
    r"""Messages without a gate along edges that stay the weights: sums of :math:`\Gamma_e w \odot \Gamma_v x`.

    Added up before the channels are mixed, they are matrix products of the weights with the vertices: nothing as large
    as the edges times the channels is ever formed. Runs along straight wires alone.

    Args:
        graph: the graph.
        wires: the wires along which messages run, all straight.
        back: whether they run from target to source.
        channels: feature channels.
    """

    def __init__(self, graph: Graph, wires: Sequence[Edges], *, back: bool, channels: int) -> None:
        super().__init__()
        self.graph, self.wires, self.back = graph, list(wires), back
        self.vertex = nn.Linear(channels, channels, bias=False)
        widths = [1 if wire.param is None else graph.width(wire.param) for wire in self.wires]
        self.edge = nn.ParameterList(torch.randn(width, channels) / sqrt(width) for width in widths)
        self.formulas = [self._formula(wire) for wire in self.wires]

    def _formula(self, wire: Edges) -> str:
        """What `torch.einsum` does: weights by sending vertices, summed over these."""
        if wire.param is None:
            return ""
        letters = "bcdefgh"[: len(self.graph.kept[wire.param])]
        source, target = ("".join(letters[dim - 1] for dim in dims) for dims in (wire.source_dims, wire.target_dims))
        sent, to = (target, source) if self.back else (source, target)
        return f"a{letters}w,a{sent}z->a{to}wz"

    def forward(self, state: State) -> dict[str, Tensor]:
        """By place, the sum of all messages to it, over the root of their number."""
        names = dict.fromkeys(str(wire.target if self.back else wire.source) for wire in self.wires)
        moved = {name: self.vertex(state.vertices[name]) for name in names}
        sums: dict[str, list[Tensor]] = {}
        for wire, formula, mix in zip(self.wires, self.formulas, self.edge, strict=True):
            source, target = (wire.target, wire.source) if self.back else (wire.source, wire.target)
            sent = moved[str(source)]
            if wire.param is None:
                message = sent * mix[0]
            else:
                edges = (state.weights_back if self.back else state.weights)[wire.param]
                count = prod(edges.shape[1:-1]) // prod(self.graph.vertices[str(target)].shape)
                message = (torch.einsum(formula, edges, sent) * mix).sum(-2) / sqrt(count)
            sums.setdefault(str(target), []).append(message)
        return {name: sum(parts[1:], parts[0]) / sqrt(len(parts)) for name, parts in sums.items()}


class EdgeUpdate(nn.Module):
    r"""Edges gated by invariants of the vertices at their ends: :math:`\Gamma e \odot \phi(c(x_s), c(x_t))`.

    Edges that no scalar acts on are answered by a network of all three.

    Args:
        graph: the graph.
        wires: one wire for each parameter to update.
        back: whether the edges lead from target to source.
        channels: feature channels.
        form: how signs are removed, see `Invariants`.
    """

    def __init__(self, graph: Graph, wires: Sequence[Edges], *, back: bool, channels: int, form: str) -> None:
        super().__init__()
        self.graph, self.wires, self.back = graph, list(wires), back
        self.factors = {str(w.param): acting_factors(graph.spec, graph.spec.param(str(w.param))) for w in self.wires}
        kinds = {bool(factors) for factors in self.factors.values()}
        self.linear = nn.Linear(channels, channels, bias=False) if True in kinds else None
        self.free = nn.Linear(channels, channels, bias=False) if False in kinds else None
        self.ends = nn.ModuleDict()
        self.answer = nn.ModuleDict()
        for name in ("gate" if acts else "free" for acts in kinds):
            self.answer[name] = nn.Sequential(nn.LayerNorm(channels), nn.SiLU(), nn.Linear(channels, channels))
        ends = {v.name: v for wire in self.wires for v in self._ends(wire)}
        for name, factors in {kind(v): v.factors for v in ends.values()}.items():
            self.ends[name] = Invariants([channels], 2 * channels, factors, form)

    def _ends(self, wire: Edges) -> tuple[Vertices, Vertices]:
        ends = self.graph.vertices[str(wire.source)], self.graph.vertices[wire.target]
        return ends[::-1] if self.back else ends

    def forward(self, state: State) -> dict[str, Tensor]:
        """The edges by parameter."""
        names = dict.fromkeys(v.name for wire in self.wires for v in self._ends(wire))
        seen = {n: self.ends[kind(self.graph.vertices[n])](state.vertices[n]).chunk(2, -1) for n in names}
        edges = state.back if self.back else state.edges
        return {str(wire.param): self._updated(wire, edges[str(wire.param)], seen) for wire in self.wires}

    def _updated(self, wire: Edges, edge: Tensor, seen: Mapping[str, tuple[Tensor, ...]]) -> Tensor:
        source, target = self._ends(wire)
        dims = (wire.target_dims, wire.source_dims) if self.back else (wire.source_dims, wire.target_dims)
        read = laid(seen[source.name][0], dims[0], edge.ndim) + laid(seen[target.name][1], dims[1], edge.ndim)
        if self.factors[str(wire.param)]:
            assert self.linear is not None
            return self.linear(edge) * self.answer["gate"](read)
        assert self.free is not None
        return self.answer["free"](read + self.free(edge))


class MessageRound(nn.Module):
    """One round: messages along all edges, then vertices, then edges, all from what was there before.

    Args:
        graph: the graph.
        channels: feature channels.
        step: what has to be done.
        messages: "gated", "sent" (gated without the receiver) or "linear" (see `LinearMessages`).
        form: how signs are removed, see `layers.gated.Invariants`.
        skip: whether vertices are added to what they were.

    References:
        Kalogeropoulos et al., "Scale Equivariant Graph Metanetworks", NeurIPS 2024, section 5 and appendix A.2.
    """

    def __init__(
        self,
        graph: Graph,
        channels: int,
        step: Step,
        *,
        messages: str,
        form: str,
        skip: bool,
    ) -> None:
        super().__init__()
        self.graph, self.updated, self.skip = graph, step.updated, skip
        self.messages, reached = nn.ModuleList(), list[set[str]]()
        for wires, back in ((step.wires, False), (step.back, True)):
            linear = [wire for wire in wires if wire.straight and messages == "linear"]
            gated = [wire for wire in wires if wire not in linear]
            if linear:
                self.messages.append(LinearMessages(graph, linear, back=back, channels=channels))
                reached.append(_receivers(linear, back=back))
            if gated:
                receiver = messages == "gated"
                part = Messages(graph, gated, back=back, channels=channels, receiver=receiver, form=form)
                self.messages.append(part)
                reached.append(_receivers(gated, back=back))
        self.reached = [[each for each, places in enumerate(reached) if name in places] for name in self.updated]
        self.vertex = nn.ModuleDict()
        for name, heard in zip(self.updated, self.reached, strict=True):
            key, factors = self._key(name, heard), graph.vertices[name].factors
            if key not in self.vertex:
                self.vertex[key] = Gated([channels] * (1 + len(heard)), channels, factors, form)
        self.edge, self.back = (
            EdgeUpdate(graph, which, back=turned, channels=channels, form=form) if which else None
            for which, turned in ((step.edges, False), (step.turned, True))
        )

    def _key(self, name: str, reached: Sequence[int]) -> str:
        """Vertices share an update with others of their kind that hear from the same directions."""
        return "_".join([kind(self.graph.vertices[name]), *map(str, reached)])

    def forward(self, state: State) -> State:
        """One round."""
        heard = [messages(state) for messages in self.messages]
        vertices = dict(state.vertices)
        for name, reached in zip(self.updated, self.reached, strict=True):
            x = state.vertices[name]
            new = self.vertex[self._key(name, reached)](x, *(heard[each][name] for each in reached))
            vertices[name] = x + new if self.skip else new
        edges = state.edges if self.edge is None else {**state.edges, **self.edge(state)}
        back = state.back if self.back is None else {**state.back, **self.back(state)}
        return replace(state, vertices=vertices, edges=edges, back=back)
