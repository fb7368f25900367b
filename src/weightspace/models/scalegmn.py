"""ScaleGMN: messages on the network's own graph that follow permutations, scalings and sign flips of its units."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import SpecError, WeightspaceError, unknown
from weightspace.gauge.scale import balance
from weightspace.layers import ParameterScale
from weightspace.layers.graph import Graph
from weightspace.layers.graph_ends import EdgeStart, GraphChange, GraphPool, GraphStart
from weightspace.layers.message import EdgeUpdate, GatedMessages, MessageRound
from weightspace.models.construction import remember
from weightspace.models.readout import Edit, Invariant, Readout, head
from weightspace.spec import PERMUTATION, NetworkSpec
from weightspace.weights import WeightFeatures, act

__all__ = ["GMN", "GaugeGMN", "ScaleGMN"]

MESSAGES = ("gated", "sent", "linear")


class ScaleGMN(nn.Module):
    """Scale-equivariant graph metanetwork, forward or in both directions.

    Units are vertices that carry their biases, weights are edges. In each round a unit hears from those that lead to
    it, with `bidirectional` also from those that it leads to, and every feature follows the scalars of its unit or
    weight. Inputs and outputs keep a vector for each unit.

    A backward edge begins as :math:`w_{ij} (c_j / c_i)^2`, where `c` are the gauge norms of the units: it follows the
    scalars of the way back as :math:`1 / w_{ij}` would, and is zero where the weight is.

    Args:
        spec: space of the networks with its full symmetry.
        readout: `Invariant(outputs)` or `Edit()`.
        channels: feature channels of vertices and edges.
        rounds: rounds of messages. Forward, the first layer's weights reach the outputs in as many rounds as there
            are layers.
        bidirectional: whether messages run back too, along edges of their own.
        messages: "gated", as in the paper; "sent", which do not see the unit that they go to, as in its code; or
            "linear", which have no gate and run along the weights as they are: matrix products, far cheaper.
        form: how signs are removed: "symmetrised", "absolute" or "product", see `layers.gated.Invariants`.
        skip: whether a round adds to the vertices instead of replacing them.

    Shapes:
        Features with one channel to `(batch, outputs)`, or to features with one channel.

    Symmetry:
        Invariant (with `Edit`: equivariant) to the spec's whole group.

    Raises:
        SpecError: a spec without places, as one written by hand.
        WeightspaceError: no channels or no rounds.
        UnknownNameError: other messages, or another form.

    References:
        Kalogeropoulos et al., "Scale Equivariant Graph Metanetworks", NeurIPS 2024. Their code's backward edges are the
        weights themselves, which for scales is not equivariant.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import invariance_error
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)))
        >>> model = ScaleGMN(spec, Invariant(10), channels=8, rounds=3, bidirectional=True)
        >>> invariance_error(model, spec) < 1e-9
        True
    """

    @remember
    def __init__(
        self,
        spec: NetworkSpec,
        readout: Readout,
        *,
        channels: int = 32,
        rounds: int = 3,
        bidirectional: bool = False,
        messages: str = "gated",
        form: str = "symmetrised",
        skip: bool = True,
    ) -> None:
        super().__init__()
        if not spec.places:
            raise SpecError("this spec has no places and wires, so its networks have no graph; read it with spec_of.")
        if channels < 1 or rounds < 1:
            raise WeightspaceError(f"channels is {channels} and rounds is {rounds}; expected at least one of each.")
        if messages not in MESSAGES:
            raise unknown("kind of messages", messages, MESSAGES)
        self.readout = readout
        self.norm = ParameterScale(spec)
        self.space = self._space(spec)
        self.graph = graph = Graph(self.space)
        linear = messages == "linear"
        if isinstance(readout, Edit):
            self.change = GraphChange(graph, channels)
            self.step = nn.Parameter(torch.tensor(readout.initial))
            (last,) = graph.steps(1, self.change.places, self.change.params, back=False)
            self.lift = EdgeStart(graph, self.change.params, channels) if linear else None
            self.last = EdgeUpdate(graph, last.edges, back=False, channels=channels, form=form) if linear else None
            ends = [str(end) for wire in last.edges for end in (wire.source, wire.target)] if linear else []
            places, params = [*self.change.places, *ends], [] if linear else self.change.params
        else:
            places, params = [name for name in graph.vertices if name not in graph.inputs or bidirectional], []
            self.pool = GraphPool(graph, channels, places, form)
            self.head = head(self.pool.width, readout)
        steps = graph.steps(rounds, places, params, back=bidirectional, updating=not linear)
        self.start = GraphStart(graph, channels, steps[0], linear=linear)
        self.rounds = nn.Sequential(
            *(MessageRound(graph, channels, step, messages=messages, form=form, skip=skip) for step in steps)
        )

    def save_memory(self, lean: bool = True) -> "ScaleGMN":
        """Compute what belongs to edges in blocks, and again for gradients, instead of keeping it; returns the model.

        The same answers for less memory and more time (docs/guide/speed.md). Linear messages have nothing to keep.
        """
        for module in self.modules():
            if isinstance(module, GatedMessages | EdgeUpdate):
                module.lean = lean
        return self

    def _space(self, spec: NetworkSpec) -> NetworkSpec:
        """The networks with the symmetry that this model respects."""
        return spec

    @classmethod
    def preset(cls, name: str, spec: NetworkSpec, readout: Readout) -> "ScaleGMN":
        """The model in a named size. Raises `UnknownNameError` for other names than `demo`."""
        sizes: dict[str, dict[str, Any]] = {
            "demo": {"channels": 8, "rounds": 2, "bidirectional": True, "messages": "linear", "form": "product"}
        }
        if name not in sizes:
            raise unknown(f"preset of {cls.__name__}", name, sizes)
        return cls(spec, readout, **sizes[name])

    def forward(self, x: WeightFeatures) -> Tensor | WeightFeatures:
        """Answer for a batch of networks."""
        x.expect(self.norm.spec, channels=1)
        state = self.rounds(self.start(WeightFeatures(self.space, self.norm(x).tensors)))
        if isinstance(self.readout, Invariant):
            return self.head(self.pool(state))
        if self.lift is not None and self.last is not None:
            state = replace(state, edges=self.lift(state.weights))
            state = replace(state, edges=self.last(state))
        change = self.change(state).map(lambda t: self.step * t)
        return x + self.norm.inverse(WeightFeatures(x.spec, change.tensors))


class GMN(ScaleGMN):
    """Graph metanetwork that respects permutations: `ScaleGMN` where no scalar acts, and all its blocks are networks.

    What scaling symmetry adds is the difference to `ScaleGMN`; arguments and shapes are the same.

    Symmetry:
        Invariant (with `Edit`: equivariant) to permutations of units.

    References:
        Lim et al., "Graph Metanetworks for Processing Diverse Neural Architectures", ICLR 2024, with the dense messages
        and the vertices of Kalogeropoulos et al., NeurIPS 2024.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import invariance_error
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 1)))
        >>> invariance_error(GMN(spec, Invariant(10), channels=8), spec) < 1e-9
        True
    """

    def _space(self, spec: NetworkSpec) -> NetworkSpec:
        return spec.with_symmetry(PERMUTATION)


class GaugeGMN(GMN):
    """`GMN` behind a gauge: networks are balanced going in, and what comes out is brought back.

    The cheapest way to respect positive scales: every member of an orbit is brought to the same network
    (`gauge.balance`) and all that a permutation model may do is allowed. Signs are not respected. No gradient runs
    through the choice of the gauge.

    Symmetry:
        Invariant (with `Edit`: equivariant) to permutations and positive scales of units.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import invariance_error
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1)))
        >>> invariance_error(GaugeGMN(spec, Invariant(10), channels=8), spec) < 1e-6
        True
    """

    def forward(self, x: WeightFeatures) -> Tensor | WeightFeatures:
        """Answer for a batch of networks."""
        x.expect(self.norm.spec, channels=1)
        g = balance(x.map(torch.Tensor.detach))
        y = super().forward(act(g, x))
        return act(g.inverse(), y) if isinstance(y, WeightFeatures) else y
