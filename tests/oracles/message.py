"""ScaleGMN as its code computes it: features gathered for every edge, every map applied per edge, sums scattered.

With the coefficients of a model of ours, on networks whose wires all carry a matrix. Where vertices of several kinds
have coefficients of their own, every branch is computed for all rows and then picked from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from weightspace.layers.edge import formed
from weightspace.layers.graph import Edges, Step
from weightspace.layers.message import EdgeUpdate, GatedMessages, MessageRound, State
from weightspace.models import ScaleGMN
from weightspace.weights import WeightFeatures


@dataclass
class Flat:
    """All vertices `(batch, vertices, channels)` and all edges `(batch, edges, channels)` of a batch of graphs."""

    x: Tensor
    e: Tensor
    back: Tensor | None


class Gathered:
    """A model of ours, computed edge by edge."""

    def __init__(self, model: ScaleGMN) -> None:
        self.model, (self.plan,) = model, model.plans.values()
        self.graph = self.plan.graph
        sizes = [prod(v.shape) for v in self.graph.vertices.values()]
        self.places, self.first = list(self.graph.vertices), dict(zip(self.graph.vertices, _starts(sizes), strict=True))
        self.size = dict(zip(self.places, sizes, strict=True))
        self.kinds = [v.kind for v in self.graph.vertices.values()]
        self.rows = torch.tensor([k for k, n in enumerate(sizes) for _ in range(n)])
        self.source, self.target = (torch.cat(ends) for ends in zip(*map(self._ends, self.graph.wires), strict=True))
        self.edge_sizes = [len(self._ends(wire)[0]) for wire in self.graph.wires]

    def _ends(self, wire: Edges) -> tuple[Tensor, Tensor]:
        """Indices of the source and the target of every edge, in the order of the parameter's entries."""
        source, target = (end.name for end in wire.ends(back=False))
        shape = [self.size[target], self.size[source]]
        order = (0, 1) if wire.target_dims < wire.source_dims else (1, 0)
        grid = torch.cartesian_prod(*(torch.arange(shape[i]) for i in order))
        to, of = (grid[:, order.index(i)] for i in (0, 1))
        return of + self.first[source], to + self.first[target]

    def __call__(self, x: WeightFeatures) -> Tensor:
        first = self.plan.steps[0]
        state = self.model.start(self.graph, first, WeightFeatures(self.graph.spec, self.model.norm(x).tensors))
        params = [str(wire.param) for wire in self.graph.wires]
        flat = Flat(
            torch.cat([state.vertices[name].flatten(1, -2) for name in self.places], 1),
            torch.cat([formed(state.edges[name]).flatten(1, -2) for name in params], 1),
            torch.cat([formed(state.back[name]).flatten(1, -2) for name in params], 1) if state.back else None,
        )
        for layer, step in zip(self.model.rounds, self.plan.steps, strict=True):
            flat = self._round(layer, step, flat)
        ends = torch.split(flat.x, [self.size[name] for name in self.places], 1)
        vertices = {
            name: part.unflatten(1, self.graph.vertices[name].shape)
            for name, part in zip(self.places, ends, strict=True)
        }
        return self.model.head(self.model.pool(self.graph, self.plan.places, State(vertices, {}, {}, {}, {})))

    def _round(self, layer: MessageRound, step: Step, flat: Flat) -> Flat:
        sums = {way: self._messages(messages, flat) for way, messages in layer.messages.items()}
        new = flat.x.clone()
        for place, heard in step.heard:
            every = layer.vertex[layer._key(place, heard)](flat.x, *(sums[way] for way in heard))
            mask = (self.rows == self.places.index(place.name))[None, :, None]
            new = torch.where(mask, flat.x + every if layer.skip else every, new)
        e = flat.e if layer.edge is None else self._edges(layer.edge, step.edges, flat.x, flat.e)
        back = flat.back if layer.back is None else self._edges(layer.back, step.turned, flat.x, flat.back)
        return Flat(new, e, back)

    def _messages(self, layer: GatedMessages, flat: Flat) -> Tensor:
        source, target = (self.target, self.source) if layer.back else (self.source, self.target)
        sent = layer.vertex(flat.x[:, source]) * layer.edge(flat.back if layer.back else flat.e)
        parts = [flat.x[:, target], sent] if layer.receiver else [sent]
        total = torch.zeros_like(flat.x)
        kinds = self.rows[target]
        for name, gate in layer.gates.items():
            every = gate(*parts)
            picked = torch.tensor([self.kinds[k] == name for k in kinds.tolist()])[None, :, None]
            total = total.index_add(1, target, torch.where(picked, every, torch.zeros_like(every)))
        heard = torch.bincount(target, minlength=flat.x.shape[1]).clamp_min(1).to(total.dtype)
        return total / heard.sqrt()[None, :, None]

    def _edges(self, layer: EdgeUpdate, wires: Sequence[Edges], x: Tensor, e: Tensor) -> Tensor:
        source, target = (self.target, self.source) if layer.back else (self.source, self.target)
        updated = {str(wire.param) for wire in wires}
        read = torch.zeros_like(e)
        for end, half in ((source, 0), (target, 1)):
            gathered, kinds = x[:, end], self.rows[end]
            for name, seen in layer.ends.items():
                every = seen(gathered).chunk(2, -1)[half]
                picked = torch.tensor([self.kinds[k] == name for k in kinds.tolist()])[None, :, None]
                read = torch.where(picked, read + every, read)
        gated = layer.linear(e) * layer.answer["gate"](read)
        keep = [
            str(w.param) in updated for w, n in zip(self.graph.wires, self.edge_sizes, strict=True) for _ in range(n)
        ]
        return torch.where(torch.tensor(keep)[None, :, None], gated, e)


def _starts(sizes: list[int]) -> list[int]:
    return [sum(sizes[:i]) for i in range(len(sizes))]
