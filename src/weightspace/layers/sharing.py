"""Coefficients that belong to what a parameter is: one of a network, or one of its kind in any network."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import pi

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightspace.errors import ShapeError, SpecError
from weightspace.layers.graph import Edges, Graph
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures

__all__ = ["DepthCode", "GraphScale", "Graphs", "Maps"]

BANDS = 4


class Graphs:
    """The graphs of the specs that a model reads.

    Args:
        specs: one spec, whose networks alone are read then, or several: coefficients are shared by what parameters and
            places are, and networks of any spec made of the same are read.
        space: from a spec to the same networks with the symmetry that the model respects.

    Raises:
        SpecError: no specs, or one without places, as those that are written by hand.
    """

    def __init__(self, specs: NetworkSpec | Sequence[NetworkSpec], space: Callable[[NetworkSpec], NetworkSpec]) -> None:
        self.shared = not isinstance(specs, NetworkSpec)
        self.specs = tuple(specs) if not isinstance(specs, NetworkSpec) else (specs,)
        if not self.specs:
            raise SpecError("the list of specs is empty; expected at least one space of networks.")
        self._space = space
        self._graphs = {spec: self._graph(spec) for spec in self.specs}
        self.known = frozenset(kind for graph in self for kind in _kinds(graph))

    def __iter__(self) -> Iterator[Graph]:
        """The graphs of the specs that were given."""
        return (self._graphs[spec] for spec in self.specs)

    def of(self, x: WeightFeatures) -> Graph:
        """The graph of these networks.

        Raises:
            ShapeError: networks of another space, where one was given.
            SpecError: networks with parameters or places of a kind that none of the given specs has.
        """
        if not self.shared:
            x.expect(self.specs[0], channels=1)
        x.expect(x.spec, channels=1)
        if x.spec not in self._graphs:
            graph = self._graph(x.spec)
            strange = sorted(_kinds(graph) - self.known)
            if strange:
                raise SpecError(
                    f"these networks have {', '.join(strange)}, which none of the {len(self.specs)} specs has that "
                    f"this model was built for; these have {', '.join(sorted(self.known))}. "
                    "Remedy: add a spec that has it to the list and train again."
                )
            self._graphs[x.spec] = graph
        return self._graphs[x.spec]

    def _graph(self, spec: NetworkSpec) -> Graph:
        if not spec.places:
            raise SpecError("this spec has no places and wires, so its networks have no graph; read it with spec_of.")
        return Graph(self._space(spec), shared=self.shared)


def _kinds(graph: Graph) -> set[str]:
    """What there have to be coefficients for, in words."""
    (step,) = graph.steps(1, [], [], back=True)
    params = {f"parameters of the kind {label!r}" for label in graph.labels.values()}
    places = {f"places of the kind {v.label!r}" for v in graph.vertices.values()}
    heard = {f"units of the kind {v.kind!r} that hear {' and '.join(ways)}" for v, ways in step.heard}
    senders = {(wire.ends(back=way == "back")[0].kind, way) for way, wires in step.ways.items() for wire in wires}
    return params | places | heard | {f"units of the kind {kind!r} that send {way}" for kind, way in senders}


class GraphScale(nn.Module):
    """Every parameter divided by its root mean square over the training networks, times the root of its fan-in.

    One number for all entries of a parameter commutes with every symmetry. Times the root of the fan-in, weights of
    wide and narrow networks, drawn alike, have the same size, so that parameters of one kind can share the number.

    Args:
        graphs: the graphs.

    Shapes:
        Unchanged.

    Symmetry:
        `layer(act(g, x)) == act(g, layer(x))`.
    """

    rms: Tensor

    def __init__(self, graphs: Graphs) -> None:
        super().__init__()
        self.graphs = graphs
        labels = dict.fromkeys(label for graph in graphs for label in graph.labels.values())
        self.rows = {label: row for row, label in enumerate(labels)}
        self.register_buffer("rms", torch.ones(len(labels)))

    def fit(self, x: WeightFeatures | Iterable[WeightFeatures]) -> "GraphScale":
        """Take the scales of the training networks. A parameter that is always zero keeps scale one.

        Raises:
            ShapeError: no networks, networks of another space, or numbers that are not finite.
        """
        sums = torch.zeros(2, len(self.rms), dtype=torch.float64)
        for features in [x] if isinstance(x, WeightFeatures) else x:
            graph = self.graphs.of(features)
            for (name, tensor), label in zip(features.items(), graph.labels.values(), strict=True):
                squares = tensor.double().square().sum().cpu() * graph.fans.get(name, 1)
                sums[:, self.rows[label]] += torch.stack([squares, torch.tensor(float(tensor.numel()))])
        rms = (sums[0] / sums[1]).sqrt()
        if not rms.isfinite().all():
            raise ShapeError(f"cannot take scales from these networks: their root mean squares are {rms.tolist()}.")
        self.rms.copy_(torch.where(rms == 0, torch.ones_like(rms), rms))
        return self

    def forward(self, x: WeightFeatures) -> WeightFeatures:
        """Divide by the scales."""
        return self._times(x, self.rms.reciprocal())

    def inverse(self, x: WeightFeatures) -> WeightFeatures:
        """Multiply by the scales: from the model's units back to those of the weights."""
        return self._times(x, self.rms)

    def _times(self, x: WeightFeatures, scales: Tensor) -> WeightFeatures:
        rows = (self.rows[label] for label in self.graphs.of(x).labels.values())
        return WeightFeatures(x.spec, [t * scales[row].to(x.dtype) for t, row in zip(x.tensors, rows, strict=True)])


class DepthCode(nn.Module):
    r"""One factor per channel for a depth between 0 and 1: :math:`1 + A [\sin k \pi t, \cos k \pi t]_{k=1..4}`.

    Args:
        channels: feature channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.randn(channels, 2 * BANDS) / BANDS)

    def forward(self, depth: float) -> Tensor:
        """The factors, `(channels,)`."""
        angles = pi * depth * torch.arange(1, BANDS + 1, device=self.mix.device, dtype=self.mix.dtype)
        return 1 + self.mix @ torch.cat([angles.sin(), angles.cos()])


class Maps(nn.Module):
    """Linear maps from the numbers on edges to channels: one for each label, turned by depth where it is shared.

    Args:
        wires: all wires to be read, of all graphs.
        channels: feature channels.
        shift: whether a vector is added where no scalar acts.
        fourier: so many random frequencies of every number are read in its place; for edges that no scalar acts on.

    Shapes:
        `(batch, *unit legs, width)` to `(batch, *unit legs, channels)`.
    """

    frequencies: Tensor

    def __init__(self, wires: Iterable[Edges], channels: int, *, shift: bool = False, fourier: int = 0) -> None:
        super().__init__()
        every = {wire.label: wire for wire in wires}
        # A sine and a cosine for every frequency, in cycles per root mean square: as published, of deviation three.
        self.register_buffer("frequencies", 3 * torch.randn(fourier))
        widths = {label: wire.width * max(2 * fourier, 1) for label, wire in every.items()}
        self.weight = nn.ParameterDict({n: torch.randn(width, channels) * width**-0.5 for n, width in widths.items()})
        free = [label for label, wire in every.items() if shift and not wire.factors]
        self.shift = nn.ParameterDict({label: torch.empty(channels).uniform_(-1, 1) for label in free})
        deep = any(wire.target.depth is not None for wire in every.values())
        self.depth = DepthCode(channels) if deep else None

    def matrix(self, wire: Edges) -> Tensor:
        """The map of one wire, `(width, channels)`."""
        weight = self.weight[wire.label]
        return weight if self.depth is None else weight * self.depth(wire.target.depth)

    def constant(self, wire: Edges) -> Tensor | None:
        """What is added behind the map of one wire, if anything is."""
        return self.shift.get(wire.label)

    def forward(self, wire: Edges, values: Tensor) -> Tensor:
        """Read the numbers on the edges of one wire."""
        if len(self.frequencies):
            angles = 2 * pi * (values.unsqueeze(-1) * self.frequencies).flatten(-2)
            values = torch.cat([angles.sin(), angles.cos()], -1)
        return F.linear(values, self.matrix(wire).T, self.constant(wire))
