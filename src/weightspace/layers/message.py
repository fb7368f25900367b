"""Rounds of messages on a network's own graph, which follow the scalars of its units."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod, sqrt

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from weightspace.layers.gated import Gated, Invariants
from weightspace.layers.graph import Edges, Graph, Step, Vertices
from weightspace.layers.invariant import acting_factors

__all__ = ["EdgeUpdate", "GatedMessages", "LinearMessages", "MessageRound", "RoundaboutMessages", "State", "laid"]

# Into how many blocks edges are divided where memory is short.
BLOCKS = 8


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
    """What the edges of one direction bring to their receivers, added up; what is brought is for others to say.

    Args:
        graph: the graph.
        wires: the wires along which messages run.
        back: whether they run from target to source.
    """

    def __init__(self, graph: Graph, wires: Sequence[Edges], *, back: bool) -> None:
        super().__init__()
        self.graph, self.wires, self.back = graph, list(wires), back

    def ends(self, wire: Edges) -> tuple[Vertices, Vertices]:
        """Where messages come from and where they go to."""
        ends = self.graph.vertices[str(wire.source)], self.graph.vertices[wire.target]
        return ends[::-1] if self.back else ends

    def layout(self, wire: Edges) -> tuple[tuple[int, ...], tuple[int, ...], int]:
        """Dimensions of senders and receivers in a tensor of edges, and the number of its dimensions."""
        dims = (wire.target_dims, wire.source_dims) if self.back else (wire.source_dims, wire.target_dims)
        legs = len(wire.target_dims) if wire.param is None else len(self.graph.kept[wire.param])
        return *dims, legs + 2

    def receivers(self) -> dict[str, Vertices]:
        """Where messages go to, by kind: the ends have none that scalars act on."""
        return {kind(self.ends(wire)[1]): self.ends(wire)[1] for wire in self.wires}

    def forward(self, state: State) -> dict[str, Tensor]:
        """By place, the sum of all messages to it, over the root of their number."""
        names = dict.fromkeys(self.ends(wire)[0].name for wire in self.wires)
        sent = {name: self.sent(name, state) for name in names}
        sums: dict[str, list[Tensor]] = {}
        for wire in self.wires:
            source, target = self.ends(wire)
            sums.setdefault(target.name, []).append(self.message(wire, sent[source.name], state))
        return {name: sum(parts[1:], parts[0]) / sqrt(len(parts)) for name, parts in sums.items()}

    def sent(self, name: str, state: State) -> Tensor:
        """What the vertices of a place say, the same to all."""
        raise NotImplementedError

    def message(self, wire: Edges, sent: Tensor, state: State) -> Tensor:
        """What one wire brings to the vertices that it leads to."""
        raise NotImplementedError


class GatedMessages(Messages):
    r"""Messages along straight wires: `Gated` of the receiver and of :math:`\Gamma_e e \odot \Gamma_v x`.

    An edge times what it comes from follows the scalars of what it leads to.

    Args:
        graph: the graph.
        wires: the wires along which messages run, all straight.
        back: whether they run from target to source.
        channels: feature channels.
        receiver: whether messages see the receiver.
        form: how signs are removed, see `Invariants`.
    """

    lean = False
    """Whether messages are computed in blocks, and again for gradients, instead of being kept."""

    def __init__(
        self, graph: Graph, wires: Sequence[Edges], *, back: bool, channels: int, receiver: bool, form: str
    ) -> None:
        super().__init__(graph, wires, back=back)
        self.receiver = receiver
        self.vertex = nn.Linear(channels, channels, bias=False)
        self.edge = nn.Linear(channels, channels, bias=False) if any(wire.param for wire in wires) else None
        widths = [channels] * (1 + receiver)
        self.gates = nn.ModuleDict(
            {name: Gated(widths, channels, v.factors, form) for name, v in self.receivers().items()}
        )

    def sent(self, name: str, state: State) -> Tensor:
        """The vertices' channels, mixed."""
        return self.vertex(state.vertices[name])

    def message(self, wire: Edges, sent: Tensor, state: State) -> Tensor:
        """Edge by edge, then added up."""
        target = self.ends(wire)[1]
        dims, to, ndim = self.layout(wire)
        parts = [laid(sent, dims, ndim)]
        if wire.param is not None:
            parts.append((state.back if self.back else state.edges)[wire.param])
        if self.receiver:
            parts.append(laid(state.vertices[target.name], to, ndim))

        def summed(*parts: Tensor) -> Tensor:
            return gathered(self._edge_by_edge(kind(target), parts, wire.param is not None), to)

        return in_blocks(summed, to[0], *parts) if self.lean else summed(*parts)

    def _edge_by_edge(self, name: str, parts: Sequence[Tensor], weighted: bool) -> Tensor:
        product = parts[0] * self.edge(parts[1]) if self.edge is not None and weighted else parts[0]
        return self.gates[name](parts[-1], product) if self.receiver else self.gates[name](product)


class RoundaboutMessages(Messages):
    """Messages along wires that are not straight: the receiver gated by invariants of the edge and of the sender.

    Args:
        graph: the graph.
        wires: the wires along which messages run.
        channels: feature channels.
        form: how signs are removed, see `Invariants`.
    """

    def __init__(self, graph: Graph, wires: Sequence[Edges], *, channels: int, form: str) -> None:
        super().__init__(graph, wires, back=False)
        self.linear = nn.ModuleDict({name: nn.Linear(channels, channels, bias=False) for name in self.receivers()})
        self.gates = nn.ModuleDict(
            {name: Invariants([2 * channels], channels, frozenset()) for name in self.receivers()}
        )
        params = dict.fromkeys(wire.param for wire in wires if wire.param is not None)
        self.factors = {name: acting_factors(graph.spec, graph.spec.param(name)) for name in params}
        vertices = {kind(self.ends(wire)[0]): self.ends(wire)[0].factors for wire in wires}
        edges = {"_".join(["edge", *sorted(factors)]): factors for factors in self.factors.values()}
        self.seen = nn.ModuleDict(
            {name: Invariants([channels], channels, factors, form) for name, factors in {**vertices, **edges}.items()}
        )

    def sent(self, name: str, state: State) -> Tensor:
        """The vertices' invariants."""
        return self.seen[kind(self.graph.vertices[name])](state.vertices[name])

    def message(self, wire: Edges, sent: Tensor, state: State) -> Tensor:
        """The receiver, gated by all that come to it."""
        target = self.ends(wire)[1]
        dims, to, ndim = self.layout(wire)
        sent = laid(sent, dims, ndim)
        edge = torch.zeros_like(sent)
        if wire.param is not None:
            edge = self.seen["_".join(["edge", *sorted(self.factors[wire.param])])](state.edges[wire.param])
        gate = self.gates[kind(target)](torch.cat(torch.broadcast_tensors(sent, edge), -1))
        x = state.vertices[target.name]
        return self.linear[kind(target)](x) * (gathered(gate, to) if to else laid(gate, (), x.ndim))


class LinearMessages(Messages):
    r"""Messages without a gate along edges that stay the weights: sums of :math:`\Gamma_e w \odot \Gamma_v x`.

    Added up before the channels are mixed, they are matrix products of the weights with the vertices: nothing as large
    as the edges times the channels is ever formed.

    Args:
        graph: the graph.
        wires: the wires along which messages run, all straight.
        back: whether they run from target to source.
        channels: feature channels.
    """

    def __init__(self, graph: Graph, wires: Sequence[Edges], *, back: bool, channels: int) -> None:
        super().__init__(graph, wires, back=back)
        self.vertex = nn.Linear(channels, channels, bias=False)
        widths = [1 if wire.param is None else graph.width(wire.param) for wire in self.wires]
        self.edge = nn.ParameterList(torch.randn(width, channels) / sqrt(width) for width in widths)

    def sent(self, name: str, state: State) -> Tensor:
        """The vertices' channels, mixed."""
        return self.vertex(state.vertices[name])

    def message(self, wire: Edges, sent: Tensor, state: State) -> Tensor:
        """Weights times vertices, then the mixing."""
        mix = self.edge[self.wires.index(wire)]
        if wire.param is None:
            return sent * mix[0]
        dims, to, ndim = self.layout(wire)
        letters = "bcdefgh"[: ndim - 2]
        sending, receiving = ("".join(letters[dim - 1] for dim in which) for which in (dims, to))
        edges = (state.weights_back if self.back else state.weights)[wire.param]
        sums = torch.einsum(f"a{letters}w,a{sending}z->a{receiving}wz", edges, sent)
        return (sums * mix).sum(-2) / sqrt(
            prod(size for leg, size in enumerate(edges.shape[1:-1]) if leg + 1 not in to)
        )


def in_blocks(function: Callable[..., Tensor], dim: int, *parts: Tensor) -> Tensor:
    """A function of blocks along a dimension, each computed again for gradients instead of being kept.

    The dimension is the first behind the batch in what the function gives.
    """
    count = min(max(part.shape[dim] for part in parts), BLOCKS)
    split = [part.tensor_split(count, dim) if part.shape[dim] > 1 else [part] * count for part in parts]
    blocks = zip(*split, strict=True)
    return torch.cat([checkpoint(function, *block, use_reentrant=False) for block in blocks], 1)


def gathered(messages: Tensor, to: Sequence[int]) -> Tensor:
    """Messages added up at their receivers, over the root of their number."""
    others = [dim for dim in range(1, messages.ndim - 1) if dim not in to]
    if not others:
        return messages
    return messages.sum(others) / sqrt(prod(messages.shape[dim] for dim in others))


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

    lean = False
    """Whether what is inside is computed in blocks, and again for gradients, instead of being kept."""

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
        ends = laid(seen[source.name][0], dims[0], edge.ndim), laid(seen[target.name][1], dims[1], edge.ndim)
        function = self._gated if self.factors[str(wire.param)] else self._answered
        return in_blocks(function, 1, edge, *ends) if self.lean else function(edge, *ends)

    def _gated(self, edge: Tensor, one: Tensor, other: Tensor) -> Tensor:
        assert self.linear is not None
        return self.linear(edge) * self.answer["gate"](one + other)

    def _answered(self, edge: Tensor, one: Tensor, other: Tensor) -> Tensor:
        assert self.free is not None
        return self.answer["free"](one + other + self.free(edge))


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
        parts = [*self._messages(step, channels, messages, form)]
        self.messages = nn.ModuleList(parts)
        reached = [{part.ends(wire)[1].name for wire in part.wires} for part in parts]
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

    def _messages(self, step: Step, channels: int, messages: str, form: str) -> Iterator[Messages]:
        """Along straight wires in both directions, and along the others."""
        for wires, back in ((step.wires, False), (step.back, True)):
            straight = [wire for wire in wires if wire.straight]
            if straight and messages == "linear":
                yield LinearMessages(self.graph, straight, back=back, channels=channels)
            elif straight:
                receiver = messages == "gated"
                yield GatedMessages(self.graph, straight, back=back, channels=channels, receiver=receiver, form=form)
        others = [wire for wire in step.wires if not wire.straight]
        if others:
            yield RoundaboutMessages(self.graph, others, channels=channels, form=form)

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
