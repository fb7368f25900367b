"""Rounds of messages on a network's own graph, which follow the scalars of its units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log, prod, sqrt

import torch
from torch import Tensor, nn

from weightspace.layers.block import blockwise, summed
from weightspace.layers.edge import EdgeFeatures, edges_updated, formed, message_sums
from weightspace.layers.gated import Gated, Invariants
from weightspace.layers.graph import Edges, Step, Vertices
from weightspace.layers.sharing import Maps

__all__ = [
    "EdgeUpdate",
    "GatedMessages",
    "LinearMessages",
    "MessageRound",
    "ModulatedMessages",
    "RoundaboutMessages",
    "State",
    "laid",
]


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
    edges: dict[str, EdgeFeatures]
    back: dict[str, EdgeFeatures]
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


class Messages(nn.Module):
    """What the edges of one direction bring to their receivers, added up; what is brought is for others to say.

    Args:
        wires: all wires along which messages may run.
        back: whether they run from target to source.
    """

    def __init__(self, wires: Sequence[Edges], *, back: bool) -> None:
        super().__init__()
        self.back = back
        self.senders, self.receivers = (
            {end.kind: end for end in ends} for ends in zip(*map(self.ends, wires), strict=True)
        )

    def ends(self, wire: Edges) -> tuple[Vertices, Vertices]:
        """Where messages come from and where they go to."""
        return wire.ends(back=self.back)

    def forward(self, state: State, wires: Sequence[Edges]) -> dict[str, Tensor]:
        """By place, the sum of all messages to it along these wires, over the root of their number."""
        senders = {source.name: source for source, _ in map(self.ends, wires)}
        sent = {name: self.sent(vertices, state) for name, vertices in senders.items()}
        sums: dict[str, list[Tensor]] = {}
        for wire in wires:
            source, target = self.ends(wire)
            sums.setdefault(target.name, []).append(self.message(wire, sent[source.name], state))
        return {name: sum(parts[1:], parts[0]) / sqrt(len(parts)) for name, parts in sums.items()}

    def sent(self, vertices: Vertices, state: State) -> Tensor:
        """What the vertices of a place say, the same to all."""
        raise NotImplementedError

    def message(self, wire: Edges, sent: Tensor, state: State) -> Tensor:
        """What one wire brings to the vertices that it leads to."""
        raise NotImplementedError


class GatedMessages(Messages):
    r"""Messages along straight wires: `Gated` of the receiver and of :math:`\Gamma_e e \odot \Gamma_v x`.

    An edge times what it comes from follows the scalars of what it leads to.

    Args:
        wires: all wires along which messages may run, all straight.
        back: whether they run from target to source.
        channels: feature channels.
        receiver: whether messages see the receiver.
        form: how signs are removed, see `Invariants`.
    """

    lean = False
    """Whether messages are computed in blocks, and again for gradients, instead of being kept."""

    def __init__(self, wires: Sequence[Edges], *, back: bool, channels: int, receiver: bool, form: str) -> None:
        super().__init__(wires, back=back)
        self.receiver = receiver
        self.vertex = nn.Linear(channels, channels, bias=False)
        self.edge = nn.Linear(channels, channels, bias=False) if any(wire.param for wire in wires) else None
        widths = [channels] * (1 + receiver)
        self.gates = nn.ModuleDict(
            {name: Gated(widths, channels, v.factors, form) for name, v in self.receivers.items()}
        )

    def sent(self, vertices: Vertices, state: State) -> Tensor:
        """The vertices' channels, mixed."""
        return self.vertex(state.vertices[vertices.name])

    def message(self, wire: Edges, sent: Tensor, state: State) -> Tensor:
        """Edge by edge, then added up."""
        target = self.ends(wire)[1]
        dims, to = wire.dims(back=self.back)
        edge = None if wire.param is None else (state.back if self.back else state.edges)[wire.param]
        receiver = laid(state.vertices[target.name], to, wire.ndim) if self.receiver else None
        gate = self.gates[target.kind]
        assert isinstance(gate, Gated)
        return message_sums(gate, self.edge, laid(sent, dims, wire.ndim), edge, receiver, to, lean=self.lean)


class RoundaboutMessages(Messages):
    """Messages along wires that are not straight: the receiver gated by invariants of the edge and of the sender.

    Args:
        wires: all wires along which messages may run.
        channels: feature channels.
        form: how signs are removed, see `Invariants`.
    """

    def __init__(self, wires: Sequence[Edges], *, channels: int, form: str) -> None:
        super().__init__(wires, back=False)
        self.linear = nn.ModuleDict({name: nn.Linear(channels, channels, bias=False) for name in self.receivers})
        self.gates = nn.ModuleDict({name: Invariants([2 * channels], channels, frozenset()) for name in self.receivers})
        edges = {_acting(wire): wire.factors for wire in wires if wire.param is not None}
        seen = {**{name: v.factors for name, v in self.senders.items()}, **edges}
        self.seen = nn.ModuleDict({name: Invariants([channels], channels, f, form) for name, f in seen.items()})

    def sent(self, vertices: Vertices, state: State) -> Tensor:
        """The vertices' invariants."""
        return self.seen[vertices.kind](state.vertices[vertices.name])

    def message(self, wire: Edges, sent: Tensor, state: State) -> Tensor:
        """The receiver, gated by all that come to it."""
        target = self.ends(wire)[1]
        dims, to = wire.dims(back=self.back)
        sent = laid(sent, dims, wire.ndim)
        edge = torch.zeros_like(sent)
        if wire.param is not None:
            edge = self.seen[_acting(wire)](formed(state.edges[wire.param]))
        gate = self.gates[target.kind](torch.cat(torch.broadcast_tensors(sent, edge), -1))
        x = state.vertices[target.name]
        return self.linear[target.kind](x) * (gathered(gate, to) if to else laid(gate, (), x.ndim))


def _acting(wire: Edges) -> str:
    return "_".join(["edge", *sorted(wire.factors)])


class LinearMessages(Messages):
    r"""Messages without a gate along edges that stay the weights: sums of :math:`\Gamma_e w \odot \Gamma_v x`.

    Added up before the channels are mixed, they are matrix products of the weights with the vertices: nothing as large
    as the edges times the channels is ever formed.

    Args:
        wires: all wires along which messages may run, all straight.
        back: whether they run from target to source.
        channels: feature channels.
    """

    def __init__(self, wires: Sequence[Edges], *, back: bool, channels: int) -> None:
        super().__init__(wires, back=back)
        self.vertex = nn.Linear(channels, channels, bias=False)
        self.edge = Maps(wires, channels)

    def sent(self, vertices: Vertices, state: State) -> Tensor:
        """The vertices' channels, mixed."""
        return self.vertex(state.vertices[vertices.name])

    def message(self, wire: Edges, sent: Tensor, state: State) -> Tensor:
        """Weights times vertices, then the mixing."""
        mix = self.edge.matrix(wire)
        if wire.param is None:
            return sent * mix[0]
        dims, to = wire.dims(back=self.back)
        letters = "bcdefgh"[: wire.ndim - 2]
        sending, receiving = ("".join(letters[dim - 1] for dim in which) for which in (dims, to))
        edges = (state.weights_back if self.back else state.weights)[wire.param]
        sums = torch.einsum(f"a{letters}w,a{sending}z->a{receiving}wz", edges, sent)
        return (sums * mix).sum(-2) / sqrt(
            prod([size for leg, size in enumerate(edges.shape[1:-1]) if leg + 1 not in to])
        )


class ModulatedMessages(Messages):
    r"""Messages :math:`\Gamma_e e \odot \Gamma_v x + \Gamma_s e`, told by their mean, deviation and extremes.

    Each of the four is read as it is and times the logarithm of the number of messages. Only where no scalar acts.

    Args:
        wires: all wires along which messages may run.
        back: whether they run from target to source.
        channels: feature channels.

    References:
        Kofinas et al., "Graph Neural Networks for Learning Equivariant Representations of Neural Networks", ICLR 2024,
        with the aggregation of Corso et al., "Principal Neighbourhood Aggregation for Graph Nets", NeurIPS 2020.
    """

    def __init__(self, wires: Sequence[Edges], *, back: bool, channels: int) -> None:
        super().__init__(wires, back=back)
        self.vertex = nn.Linear(channels, channels)
        self.edge = nn.Linear(channels, 2 * channels) if any(wire.param for wire in wires) else None
        self.told = nn.Linear(8 * channels, channels)

    def sent(self, vertices: Vertices, state: State) -> Tensor:
        """The vertices' channels, mixed."""
        return self.vertex(state.vertices[vertices.name])

    def message(self, wire: Edges, sent: Tensor, state: State) -> Tensor:
        """Edge by edge, then in four numbers."""
        dims, to = wire.dims(back=self.back)
        messages = laid(sent, dims, wire.ndim)
        if wire.param is not None and self.edge is not None:
            gate, shift = self.edge(formed((state.back if self.back else state.edges)[wire.param])).chunk(2, -1)
            messages = messages * gate + shift
        others = tuple(dim for dim in range(1, messages.ndim - 1) if dim not in to)
        told = torch.cat(_moments(messages, others), -1)
        count = prod([messages.shape[dim] for dim in others])
        heard = self.told(torch.cat([told, log(count + 1) * told], -1))
        # Where no dimension of the edges is the receivers', all of them hear the same.
        return heard if to else heard.reshape(len(heard), *(1 for _ in self.ends(wire)[1].shape), -1)


def _moments(x: Tensor, dims: tuple[int, ...]) -> list[Tensor]:
    """Mean, standard deviation, least and largest."""
    if not dims:
        return [x, torch.zeros_like(x), x, x]
    mean = x.mean(dims)
    # The root of zero has no gradient.
    deviation = ((x.square().mean(dims) - mean.square()).clamp_min(0) + 1e-5).sqrt()
    return [mean, deviation, x.amin(dims), x.amax(dims)]


def gathered(messages: Tensor, to: Sequence[int]) -> Tensor:
    """Messages added up at their receivers, over the root of their number."""
    others = [dim for dim in range(1, messages.ndim - 1) if dim not in to]
    return summed(messages, others) / sqrt(prod([messages.shape[dim] for dim in others]))


class EdgeUpdate(nn.Module):
    r"""Edges gated by invariants of the vertices at their ends: :math:`\Gamma e \odot \phi(c(x_s), c(x_t))`.

    Edges that no scalar acts on are answered by a network of all three.

    Args:
        wires: a wire for each parameter that may be updated.
        back: whether the edges lead from target to source.
        channels: feature channels.
        form: how signs are removed, see `Invariants`.
    """

    lean = False
    """Whether what is inside is computed in blocks, and again for gradients, instead of being kept."""

    def __init__(self, wires: Sequence[Edges], *, back: bool, channels: int, form: str) -> None:
        super().__init__()
        self.back = back
        kinds = {bool(wire.factors) for wire in wires}
        self.linear = nn.Linear(channels, channels, bias=False) if True in kinds else None
        self.free = nn.Linear(channels, channels, bias=False) if False in kinds else None
        self.answer = nn.ModuleDict()
        for name in ("gate" if acts else "free" for acts in sorted(kinds)):
            self.answer[name] = nn.Sequential(nn.LayerNorm(channels), nn.SiLU(), nn.Linear(channels, channels))
        ends = {end.kind: end.factors for wire in wires for end in wire.ends(back=back)}
        self.ends = nn.ModuleDict({name: Invariants([channels], 2 * channels, f, form) for name, f in ends.items()})

    def forward(self, state: State, wires: Sequence[Edges]) -> dict[str, Tensor]:
        """The edges of these wires, by parameter."""
        every = {end.name: end for wire in wires for end in wire.ends(back=self.back)}
        seen = {name: self._seen(end, state.vertices[name]).chunk(2, -1) for name, end in every.items()}
        edges = state.back if self.back else state.edges
        return {str(wire.param): self._updated(wire, edges[str(wire.param)], seen) for wire in wires}

    def _seen(self, vertices: Vertices, x: Tensor) -> Tensor:
        read = self.ends[vertices.kind]
        return blockwise(read, [read], [x]) if self.lean else read(x)

    def _updated(self, wire: Edges, edge: EdgeFeatures, seen: Mapping[str, tuple[Tensor, ...]]) -> Tensor:
        both = zip(wire.ends(back=self.back), wire.dims(back=self.back), strict=True)
        ends = [laid(seen[end.name][side], dims, edge.ndim) for side, (end, dims) in enumerate(both)]
        acts = bool(wire.factors)
        mix, answer = (self.linear, self.answer["gate"]) if acts else (self.free, self.answer["free"])
        assert mix is not None
        return edges_updated(mix, answer, edge, ends, gated=acts, lean=self.lean)


class MessageRound(nn.Module):
    """One round: messages along all edges, then vertices, then edges, all from what was there before.

    Args:
        steps: what has to be done, for each graph that has to be read.
        channels: feature channels.
        messages: "gated", "sent" (gated without the receiver), "linear" (see `LinearMessages`) or "modulated" (see
            `ModulatedMessages`).
        form: how signs are removed, see `layers.gated.Invariants`.
        skip: whether vertices are added to what they were.
        dropout: share of the vertices' channels that are dropped while training.

    References:
        Kalogeropoulos et al., "Scale Equivariant Graph Metanetworks", NeurIPS 2024, section 5 and appendix A.2.
    """

    lean = False
    """Whether what is inside of updates is computed again for gradients, instead of being kept."""

    def __init__(
        self, steps: Sequence[Step], channels: int, *, messages: str, form: str, skip: bool, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.skip, self.drop = skip, nn.Dropout(dropout)
        ways = dict.fromkeys(way for step in steps for way in step.ways)
        self.messages = nn.ModuleDict()
        for way in ways:
            wires = [wire for step in steps for wire in step.ways.get(way, ())]
            self.messages[way] = _messages(way, wires, channels, messages, form)
        self.vertex = nn.ModuleDict()
        for vertices, heard in (pair for step in steps for pair in step.heard):
            if self._key(vertices, heard) not in self.vertex:
                widths = [channels] * (1 + len(heard))
                self.vertex[self._key(vertices, heard)] = Gated(widths, channels, vertices.factors, form)
        self.edge, self.back = (
            EdgeUpdate(wires, back=back, channels=channels, form=form) if wires else None
            for wires, back in (
                ([w for s in steps for w in s.edges], False),
                ([w for s in steps for w in s.turned], True),
            )
        )

    def _key(self, vertices: Vertices, heard: Sequence[str]) -> str:
        """Vertices share an update with others of their kind that hear from the same directions."""
        return "_".join([vertices.kind, *heard])

    def forward(self, state: State, step: Step) -> State:
        """One round."""
        sums = {way: self.messages[way](state, wires) for way, wires in step.ways.items()}
        vertices = dict(state.vertices)
        for place, heard in step.heard:
            x, update = state.vertices[place.name], self.vertex[self._key(place, heard)]
            parts = [x, *(sums[way][place.name] for way in heard)]
            new = self.drop(blockwise(update, [update], parts) if self.lean else update(*parts))
            vertices[place.name] = x + new if self.skip else new
        edges = {**state.edges, **self.edge(state, step.edges)} if self.edge and step.edges else state.edges
        back = {**state.back, **self.back(state, step.turned)} if self.back and step.turned else state.back
        return replace(state, vertices=vertices, edges=edges, back=back)


def _messages(way: str, wires: Sequence[Edges], channels: int, messages: str, form: str) -> Messages:
    if messages == "modulated":
        return ModulatedMessages(wires, back=way == "back", channels=channels)
    if way == "around":
        return RoundaboutMessages(wires, channels=channels, form=form)
    if messages == "linear":
        return LinearMessages(wires, back=way == "back", channels=channels)
    return GatedMessages(wires, back=way == "back", channels=channels, receiver=messages == "gated", form=form)
