"""From networks to graphs with features, and from those to answers and to changes of networks."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightspace.gauge import gauge_norms
from weightspace.layers.gated import Invariants
from weightspace.layers.graph import Graph, Step
from weightspace.layers.invariant import acting_factors
from weightspace.layers.message import State, kind, laid
from weightspace.spec import Factor, NetworkSpec
from weightspace.weights import WeightFeatures

__all__ = ["EdgeStart", "GraphChange", "GraphPool", "GraphStart"]


def free_of_scalars(spec: NetworkSpec, param: str) -> bool:
    """Whether no scalar acts on a parameter."""
    return not acting_factors(spec, spec.param(param))


class EdgeStart(nn.ModuleDict):
    """Features of edges from the weights: each parameter by a linear map of its own.

    Args:
        graph: the graph.
        params: the parameters.
        channels: feature channels.
    """

    def __init__(self, graph: Graph, params: Sequence[str], channels: int) -> None:
        free = {name: free_of_scalars(graph.spec, name) for name in params}
        super().__init__({str(i): _read(graph, name, channels, bias=free[name]) for i, name in enumerate(params)})
        self.params = list(params)

    def forward(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Folded weights by parameter to edges by parameter."""
        return {name: self[str(row)](weights[name]) for row, name in enumerate(self.params)}


def _read(graph: Graph, param: str, channels: int, *, bias: bool) -> nn.Linear:
    layer = nn.Linear(graph.width(param), channels, bias=bias)
    nn.init.normal_(layer.weight, std=graph.width(param) ** -0.5)
    return layer


class GraphStart(nn.Module):
    """Features of vertices and edges from the weights.

    Vertices begin with their biases; where no scalar acts a vector is added, one for each unit of inputs and outputs
    and one for all units of other places. A backward edge is multiplied by :math:`(c_s / c_t)^2`, where `c` are the
    gauge norms at its ends, so that it follows the scalars of the way back.

    Args:
        graph: the graph.
        channels: feature channels.
        step: what the first round of messages does.
        linear: whether straight wires carry linear messages, which read the weights as they are.

    Shapes:
        Features with one channel to a `State`.

    References:
        Kalogeropoulos et al., "Scale Equivariant Graph Metanetworks", NeurIPS 2024, section 5: initialisation and
        positional encodings. The backward edges are ours.
    """

    def __init__(self, graph: Graph, channels: int, step: Step, *, linear: bool) -> None:
        super().__init__()
        self.graph = graph
        wires = {str(wire.param): wire for wire in reversed(graph.wires) if wire.param is not None}
        self.turned = {name: wire for name, wire in wires.items() if name in step.read_back}
        gated = [n for n, wire in wires.items() if n in step.read_edges and not (linear and wire.straight)]
        self.edge = EdgeStart(graph, gated, channels)
        self.back = EdgeStart(graph, [] if linear else list(self.turned), channels)
        self.bias = nn.ModuleList(_read(graph, str(bias.param), channels, bias=False) for bias in graph.biases)
        gates = {str(i): b for i, b in enumerate(graph.biases) if not b.straight}
        self.gate = nn.ModuleDict(
            {
                i: Invariants([channels], channels, acting_factors(graph.spec, graph.spec.param(str(b.param))))
                for i, b in gates.items()
            }
        )
        still = [v for v in graph.vertices.values() if not v.factors and v.name in step.read]
        self.place = nn.ParameterList(
            torch.randn(1, *(v.shape if v.fixed else [1] * len(v.shape)), channels) for v in still
        )
        self.still = {v.name: row for row, v in enumerate(still)}
        self.channels = channels

    def forward(self, x: WeightFeatures) -> State:
        """Begin."""
        graph = self.graph
        vertices = {name: self._begin(name, x) for name in graph.vertices}
        gates: list[tuple[str, Tensor]] = []
        for row, (bias, read) in enumerate(zip(graph.biases, self.bias, strict=True)):
            values = read(graph.fold(str(bias.param), x[str(bias.param)]))
            if bias.straight:
                vertices[bias.target] = vertices[bias.target] + values
            else:
                gates.append((bias.target, 2 * self.gate[str(row)](values).sigmoid()))
        for name, gate in gates:
            vertices[name] = vertices[name] * gate
        weights = {
            str(wire.param): graph.fold(str(wire.param), x[str(wire.param)]) for wire in graph.wires if wire.param
        }
        ratios = self._ratios(x)
        # Twice in turn: the square of a ratio can be too large for float32 where the product is not.
        weights_back = {name: weights[name] * ratio * ratio for name, ratio in ratios.items()}
        back = {name: edge * ratios[name] * ratios[name] for name, edge in self.back(weights).items()}
        return State(vertices, self.edge(weights), back, weights, weights_back)

    def _begin(self, name: str, x: WeightFeatures) -> Tensor:
        shape = (len(x), *self.graph.vertices[name].shape, self.channels)
        if name in self.still:
            return self.place[self.still[name]].expand(shape)
        return x.tensors[0].new_zeros(shape)

    def _ratios(self, x: WeightFeatures) -> Mapping[str, Tensor]:
        """By parameter, the source's gauge norms over the target's; one where no scale acts."""
        scaled = {name for name, v in self.graph.vertices.items() if Factor.POSITIVE in v.factors}
        ends = {str(end) for wire in self.turned.values() for end in (wire.source, wire.target)}
        norms = gauge_norms(x) if scaled & ends else {}
        out = {}
        for name, wire in self.turned.items():
            ratio = x.tensors[0].new_ones(1)
            ndim = len(self.graph.kept[name]) + 2
            if wire.source in scaled:
                ratio = laid(norms[str(wire.source)].unsqueeze(-1), wire.source_dims, ndim)
            if wire.target in scaled:
                below = laid(norms[wire.target].unsqueeze(-1), wire.target_dims, ndim)
                dead = below == 0
                ratio = torch.where(dead, torch.zeros_like(below), ratio / torch.where(dead, 1, below))
            out[name] = ratio
        return out


class GraphPool(nn.Module):
    """One vector per network: the vertices of inputs and outputs side by side, means of the invariants of all others.

    Args:
        graph: the graph.
        channels: feature channels.
        places: which places are read.
        form: how signs are removed, see `layers.gated.Invariants`.

    Shapes:
        A `State` to `(batch, width)`.
    """

    def __init__(self, graph: Graph, channels: int, places: Sequence[str], form: str) -> None:
        super().__init__()
        self.graph, self.places = graph, list(places)
        self.ends = {*graph.inputs, *graph.outputs}
        hidden = [graph.vertices[name] for name in places if name not in self.ends]
        factors = {kind(v): v.factors for v in hidden}
        self.read = nn.ModuleDict({name: Invariants([channels], channels, f, form) for name, f in factors.items()})
        units = (torch.Size(graph.vertices[n].shape).numel() if n in self.ends else 1 for n in self.places)
        self.width = channels * sum(units)

    def forward(self, state: State) -> Float[Tensor, "batch width"]:
        """Read."""
        return torch.cat([self._of(name, state.vertices[name]) for name in self.places], 1)

    def _of(self, name: str, x: Tensor) -> Tensor:
        if name in self.ends:
            return x.flatten(1)
        return self.read[kind(self.graph.vertices[name])](x).flatten(1, -2).mean(1)


class GraphChange(nn.Module):
    """A change for every parameter: of weights from their edges, of biases from their vertices.

    Parameters in no wire get none, nor do those whose scalars are not those of their vertex.

    Args:
        graph: the graph.
        channels: feature channels.

    Shapes:
        A `State` to features with one channel.
    """

    def __init__(self, graph: Graph, channels: int) -> None:
        super().__init__()
        self.graph = graph
        self.params = list(dict.fromkeys(str(wire.param) for wire in graph.wires if wire.param is not None))
        self.biases = {str(bias.param): bias for bias in graph.biases if bias.straight}
        self.places = list(dict.fromkeys(bias.target for bias in self.biases.values()))
        named = [*self.params, *self.biases]
        self.write = nn.ModuleList(
            nn.Linear(channels, graph.width(name), bias=free_of_scalars(graph.spec, name)) for name in named
        )

    def forward(self, state: State) -> WeightFeatures:
        """The change."""
        out, spec = {}, self.graph.spec
        for name, write in zip([*self.params, *self.biases], self.write, strict=True):
            features = state.edges[name] if name in self.params else state.vertices[self.biases[name].target]
            out[name] = self.graph.unfold(name, write(features))
        like = next(iter(state.vertices.values()))
        for param in spec.params:
            if param.name not in out:
                out[param.name] = like.new_zeros(len(like), *spec.shape(param.name), 1)
        return WeightFeatures(spec, out)
