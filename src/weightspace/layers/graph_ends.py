"""From networks to graphs with features, and from those to answers and to changes of networks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod, sqrt

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightspace.errors import ShapeError, SpecError
from weightspace.gauge import gauge_norms
from weightspace.layers.edge import EdgeFeatures, Unread, formed
from weightspace.layers.gated import Invariants
from weightspace.layers.graph import Edges, Graph, Step, Vertices
from weightspace.layers.message import State, laid
from weightspace.layers.sharing import DepthCode, Maps
from weightspace.spec import Factor
from weightspace.weights import WeightFeatures

__all__ = ["GraphChange", "GraphPool", "GraphStart"]

# Letters of the dimensions of edges in an einsum: `a` is the batch, `w` and `z` are numbers on an edge and channels.
LETTERS = "abcdefgh"


class GraphStart(nn.Module):
    """Features of vertices and edges from the weights.

    Vertices begin with their biases; where no scalar acts a vector is added, one for each unit of inputs and outputs
    and one for all units of other places. A backward edge is multiplied by :math:`(c_s / c_t)^2`, where `c` are the
    gauge norms at its ends, so that it follows the scalars of the way back.

    Args:
        graphs: the graphs.
        steps: what the first round of messages does on each.
        channels: feature channels.
        linear: whether straight wires carry linear messages, which read the weights as they are.
        signals: how many numbers stand at each unit of a place, besides the weights.
        fourier: random frequencies of every weight and bias that are read in its place, where no scalar acts.

    Shapes:
        Features with one channel, and signals `(batch, *outer, units, numbers)` by place, to a `State`.

    Raises:
        ShapeError: when called, signals of other places or shapes than those that were announced.

    References:
        Kalogeropoulos et al., "Scale Equivariant Graph Metanetworks", NeurIPS 2024, section 5: initialisation and
        positional encodings. The backward edges are ours.
    """

    def __init__(
        self,
        graphs: Sequence[Graph],
        steps: Sequence[Step],
        channels: int,
        *,
        linear: bool,
        signals: Mapping[str, int] | None = None,
        fourier: int = 0,
    ) -> None:
        super().__init__()
        self.linear, self.channels = linear, channels
        pairs = list(zip(graphs, steps, strict=True))
        self.edge = Maps((wire for pair in pairs for wire in self._read(*pair)), channels, shift=True, fourier=fourier)
        turned = (wire for pair in pairs for wire in self._turned(*pair) if not linear)
        self.back = Maps(turned, channels, fourier=fourier)
        biases = [bias for graph in graphs for bias in graph.biases]
        self.bias = Maps(biases, channels, fourier=fourier)
        self.gate = nn.ModuleDict(
            {bias.label: Invariants([channels], channels, bias.factors) for bias in biases if not bias.straight}
        )
        still = {
            v.label: v
            for graph, step in pairs
            for v in graph.vertices.values()
            if not v.factors and v.name in step.read
        }
        self.place = nn.ParameterDict(
            {label: torch.randn(*(v.shape if v.fixed else ()), channels) for label, v in still.items()}
        )
        deep = any(v.depth is not None and not v.fixed for v in still.values())
        self.depth = DepthCode(channels) if deep else None
        self.signal = nn.ModuleDict(
            {_key(place): nn.Linear(numbers, channels, bias=False) for place, numbers in (signals or {}).items()}
        )

    def _read(self, graph: Graph, step: Step) -> list[Edges]:
        """A wire for every parameter whose edges are asked for."""
        wires = {wire.param: wire for wire in reversed(graph.wires) if wire.param in step.read_edges}
        return [wire for wire in wires.values() if not (self.linear and wire.straight)]

    def _turned(self, graph: Graph, step: Step) -> list[Edges]:
        """The same for backward edges."""
        wires = {wire.param: wire for wire in reversed(graph.wires) if wire.param in step.read_back}
        return list(wires.values())

    def forward(
        self, graph: Graph, step: Step, x: WeightFeatures, signals: Mapping[str, Tensor] | None = None
    ) -> State:
        """Begin."""
        vertices = {name: self._begin(v, x) for name, v in graph.vertices.items()}
        self._add_signals(vertices, signals or {})
        self._add_biases(graph, x, vertices)
        weights = {str(w.param): graph.fold(str(w.param), x[str(w.param)]) for w in graph.wires if w.param}
        ways = self._turned(graph, step)
        norms = _norms(graph, x) if ways else {}
        ratios = {str(wire.param): _ratio(wire, norms, x) for wire in ways}
        # Twice in turn: the square of a ratio can be too large for float32 where the product is not.
        weights_back = {name: weights[name] * ratio * ratio for name, ratio in ratios.items()}
        edges = {str(wire.param): _begun(self.edge, wire, weights) for wire in self._read(graph, step)}
        back = {} if self.linear else {str(wire.param): _begun(self.back, wire, weights_back) for wire in ways}
        return State(vertices, edges, back, weights, weights_back)

    def _begin(self, vertices: Vertices, x: WeightFeatures) -> Tensor:
        shape = (len(x), *vertices.shape, self.channels)
        if vertices.factors or vertices.label not in self.place:
            return x.tensors[0].new_zeros(shape)
        place = self.place[vertices.label]
        if self.depth is not None and not vertices.fixed:
            place = place * self.depth(vertices.depth)
        return place.expand(shape)

    def _add_signals(self, vertices: dict[str, Tensor], signals: Mapping[str, Tensor]) -> None:
        wanted = {name: (*vertices[name].shape[:-1], read.in_features) for name, read in self._readers(vertices)}
        given = {name: tuple(numbers.shape) for name, numbers in signals.items()}
        if given != wanted:
            raise ShapeError(
                f"signals by place have the shapes {given}; expected {wanted}, as the model was built for."
            )
        for name, read in self._readers(signals):
            vertices[name] = vertices[name] + read(signals[name])

    def _readers(self, places: Iterable[str]) -> Iterator[tuple[str, nn.Linear]]:
        for name in places:
            if _key(name) in self.signal:
                read = self.signal[_key(name)]
                assert isinstance(read, nn.Linear)
                yield name, read

    def _add_biases(self, graph: Graph, x: WeightFeatures, vertices: dict[str, Tensor]) -> None:
        gates: list[tuple[str, Tensor]] = []
        for bias in graph.biases:
            name, values = bias.target.name, self.bias(bias, graph.fold(str(bias.param), x[str(bias.param)]))
            if bias.straight:
                vertices[name] = vertices[name] + values
            else:
                gates.append((name, 2 * self.gate[bias.label](values).sigmoid()))
        for name, gate in gates:
            vertices[name] = vertices[name] * gate


def _begun(maps: Maps, wire: Edges, weights: Mapping[str, Tensor]) -> EdgeFeatures:
    """The edges of a wire, which wait to be read where they are a linear map of its weights."""
    values = weights[str(wire.param)]
    return maps(wire, values) if len(maps.frequencies) else Unread(values, maps, wire)


def _norms(graph: Graph, x: WeightFeatures) -> Mapping[str, Tensor]:
    """Gauge norms of the units that a scale acts on."""
    scaled = {name for name, v in graph.vertices.items() if Factor.POSITIVE in v.factors}
    return {name: norm for name, norm in gauge_norms(x).items() if name in scaled} if scaled else {}


def _ratio(wire: Edges, norms: Mapping[str, Tensor], x: WeightFeatures) -> Tensor:
    """The source's gauge norms over the target's, one where no scale acts, beside the edges of a wire."""
    source, target = wire.ends(back=False)
    ratio = x.tensors[0].new_ones(1)
    if source.name in norms:
        ratio = laid(norms[source.name].unsqueeze(-1), wire.source_dims, wire.ndim)
    if target.name in norms:
        ratio = over(ratio, laid(norms[target.name].unsqueeze(-1), wire.target_dims, wire.ndim))
    return ratio


def over(x: Tensor, norms: Tensor) -> Tensor:
    """Divided by norms, and zero where these are."""
    dead = norms == 0
    return torch.where(dead, torch.zeros_like(norms), x / torch.where(dead, 1, norms))


def _key(place: str) -> str:
    """A place's name as the name of a module, which has no dots."""
    return place.replace(".", "/")


class GraphPool(nn.Module):
    """One vector per network: the vertices of inputs and outputs side by side, means of the invariants of all others.

    Where coefficients are shared, outputs alone stand side by side, all inputs have one mean and all others another.

    Args:
        graphs: the graphs.
        places: names of the places that are read, for each graph.
        channels: feature channels.
        form: how signs are removed, see `layers.gated.Invariants`.

    Shapes:
        A `State` to `(batch, width)`.

    Raises:
        SpecError: graphs that share coefficients and have different numbers of outputs.
    """

    def __init__(self, graphs: Sequence[Graph], places: Sequence[Sequence[str]], channels: int, form: str) -> None:
        super().__init__()
        pairs = list(zip(graphs, places, strict=True))
        read = [graph.vertices[name] for graph, names in pairs for name in names if name not in _ends(graph)]
        factors = {v.kind: v.factors for v in read}
        self.read = nn.ModuleDict({name: Invariants([channels], channels, f, form) for name, f in factors.items()})
        units = [
            sum(prod(graph.vertices[group[0]].shape) if aside else 1 for group, aside in _groups(graph, names))
            for graph, names in pairs
        ]
        if len(set(units)) > 1:
            counts = sorted({sum(prod(graph.vertices[name].shape) for name in graph.outputs) for graph in graphs})
            raise SpecError(
                f"the networks have {' and '.join(map(str, counts))} outputs, which are read side by side; expected as "
                "many in all. Remedy: a model for each number of outputs."
            )
        self.channels, self.width = channels, channels * units[0]

    def forward(self, graph: Graph, places: Sequence[str], state: State) -> Float[Tensor, "batch width"]:
        """Read."""
        parts = []
        for group, aside in _groups(graph, places):
            if aside:
                parts.append(state.vertices[group[0]].flatten(1))
            else:
                means = [self._mean(graph.vertices[name], state) for name in group]
                parts.append(torch.stack(means).mean(0) if means else _nothing(state, self.channels))
        return torch.cat(parts, 1)

    def _mean(self, vertices: Vertices, state: State) -> Tensor:
        x = state.vertices[vertices.name]
        if not vertices.fixed:
            x = self.read[vertices.kind](x)
        return x.flatten(1, -2).mean(1)


def _ends(graph: Graph) -> set[str]:
    return {*graph.inputs, *graph.outputs}


def _groups(graph: Graph, places: Sequence[str]) -> list[tuple[list[str], bool]]:
    """Which places have one mean together, or stand as they are, side by side."""
    if not graph.shared:
        return [([name], name in _ends(graph)) for name in places]
    outputs = [([name], True) for name in places if name in graph.outputs]
    inputs = [name for name in places if name in graph.inputs]
    return [*outputs, (inputs, False), ([name for name in places if name not in _ends(graph)], False)]


def _nothing(state: State, channels: int) -> Tensor:
    like = next(iter(state.vertices.values()))
    return like.new_zeros(len(like), channels)


class GraphChange(nn.Module):
    r"""A change for every parameter: of biases from their vertices, of weights from their edges and from both ends.

    An edge's features are multiples of its weight, which cannot move away from zero; a gradient is a product of what
    stands at both ends. So a straight wire from `s` to `t` is also changed by
    :math:`\sum_k (A x_t)_k (B x_s / c_s^2)_k M_k`, where `c` are gauge norms (one where no scale acts): it follows
    the scalars of the weight, and is a product of matrices. Parameters in no wire get no change, nor do those whose
    scalars are not those of their vertex.

    Args:
        graphs: the graphs.
        channels: feature channels.

    Shapes:
        A `State`, and the features that it began with, to features with one channel.
    """

    def __init__(self, graphs: Sequence[Graph], channels: int) -> None:
        super().__init__()
        written = {wire.label: wire for graph in graphs for wire in self.written(graph).values()}
        self.write = nn.ModuleDict(
            {label: nn.Linear(channels, wire.width, bias=not wire.factors) for label, wire in written.items()}
        )
        self.target, self.source = (nn.Linear(channels, channels, bias=False) for _ in range(2))
        self.product = Maps((wire for wire in written.values() if wire.source and wire.straight), channels)
        deep = any(wire.target.depth is not None for wire in written.values())
        self.depth = DepthCode(channels) if deep else None

    def written(self, graph: Graph) -> dict[str, Edges]:
        """By parameter, the wire or the bias that is read."""
        wires = {str(wire.param): wire for wire in reversed(graph.wires) if wire.param is not None}
        biases = {str(bias.param): bias for bias in graph.biases if bias.straight}
        return {**biases, **wires}

    def places(self, graph: Graph) -> list[str]:
        """Places whose vertices are read."""
        ends = [wire.ends(back=False) if wire.source else (wire.target,) for wire in self.written(graph).values()]
        return list(dict.fromkeys(end.name for pair in ends for end in pair))

    def params(self, graph: Graph) -> list[str]:
        """Parameters whose edges are read."""
        return [name for name, wire in self.written(graph).items() if wire.source is not None]

    def forward(self, graph: Graph, state: State, x: WeightFeatures) -> WeightFeatures:
        """The change."""
        written, norms = self.written(graph), _norms(graph, x)
        out = {name: torch.zeros_like(values) for name, values in x.items() if name not in written}
        for name, wire in written.items():
            features = state.vertices[wire.target.name] if wire.source is None else formed(state.edges[name])
            if self.depth is not None:
                features = features * self.depth(wire.target.depth)
            change = self.write[wire.label](features)
            if wire.source is not None and wire.straight:
                change = change + self._products(wire, state, norms)
            out[name] = graph.unfold(name, change)
        return WeightFeatures(graph.spec, out)

    def _products(self, wire: Edges, state: State, norms: Mapping[str, Tensor]) -> Tensor:
        """What both ends make of a wire, each side of it no larger than its vertices."""
        source, target = wire.ends(back=False)
        x, y = self.source(state.vertices[source.name]), self.target(state.vertices[target.name])
        if source.name in norms:
            below = norms[source.name].unsqueeze(-1)
            x = over(over(x, below), below)
        if not wire.source_dims:
            x = x.flatten(1, -2).mean(1)
        dims = [dim for dim in range(1, wire.ndim - 1) if dim in (*wire.target_dims, *wire.source_dims)]
        to, of, both = ("".join(LETTERS[dim] for dim in which) for which in (wire.target_dims, wire.source_dims, dims))
        turned = torch.einsum(f"a{to}z,wz->a{to}wz", y, self.product.matrix(wire))
        products = torch.einsum(f"a{to}wz,a{of}z->a{both}w", turned, x) / sqrt(y.shape[-1])
        shape = [products.shape[1 + dims.index(dim)] if dim in dims else 1 for dim in range(1, wire.ndim - 1)]
        return products.reshape(len(products), *shape, -1)
