"""ScaleGMN: messages on the network's own graph that follow permutations, scalings and sign flips of its units."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import SymmetryError, WeightspaceError, unknown
from weightspace.layers.graph import Edges, Graph, Step
from weightspace.layers.graph_ends import GraphChange, GraphPool, GraphStart
from weightspace.layers.message import EdgeUpdate, GatedMessages, MessageRound
from weightspace.layers.sharing import Graphs, GraphScale, Maps
from weightspace.models.construction import remember
from weightspace.models.readout import Edit, Invariant, Readout, head
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures

__all__ = ["ScaleGMN"]

MESSAGES = ("gated", "sent", "linear", "modulated")
READS = ("all", "ends")

PUBLISHED: dict[str, Any] = {"channels": 128, "rounds": 4, "messages": "sent", "skip": False, "reads": "ends"}
BOTH: dict[str, Any] = {**PUBLISHED, "bidirectional": True}
PRESETS: Mapping[str, dict[str, Any]] = {
    "demo": {"channels": 16, "rounds": 3, "bidirectional": True, "messages": "linear", "form": "product"},
    "mnist": {**PUBLISHED, "skip": True, "dropout": 0.2},
    "mnist-both": {**BOTH, "dropout": 0.2},
    "fashion": {**PUBLISHED, "rounds": 2, "skip": True, "dropout": 0.2, "reads": "all"},
    "fashion-both": {**BOTH, "rounds": 2, "skip": True, "dropout": 0.2, "reads": "all"},
    "cifar": {**PUBLISHED, "channels": 64, "form": "absolute", "dropout": 0.2},
    "cifar-both": {**BOTH, "channels": 64, "form": "absolute", "dropout": 0.2},
    "cifar-augmented": {**PUBLISHED, "skip": True, "dropout": 0.1, "reads": "all"},
    "cifar-augmented-both": {**BOTH, "skip": True, "dropout": 0.2},
    "cnn-cifar-relu": PUBLISHED,
    "cnn-cifar-relu-both": BOTH,
    "cnn-cifar-tanh": {**PUBLISHED, "reads": "all"},
    "cnn-cifar-tanh-both": {**BOTH, "dropout": 0.2, "reads": "all"},
    "cnn-cifar-mixed": {**PUBLISHED, "form": "absolute", "dropout": 0.2},
    "cnn-cifar-mixed-both": {**BOTH, "rounds": 5, "skip": True, "dropout": 0.1},
    "cnn-svhn-relu": {**PUBLISHED, "channels": 64, "skip": True, "reads": "all"},
    "cnn-svhn-relu-both": {**BOTH, "channels": 64, "rounds": 3, "skip": True, "reads": "all"},
    "cnn-svhn-tanh": {**PUBLISHED, "channels": 64},
    "cnn-svhn-tanh-both": {**BOTH, "rounds": 3, "skip": True, "reads": "all"},
    "mnist-edit": {**PUBLISHED, "rounds": 10, "skip": True, "form": "absolute", "dropout": 0.1},
    "mnist-edit-both": {**BOTH, "rounds": 10, "skip": True, "form": "absolute", "dropout": 0.1},
}


@dataclass(frozen=True)
class Plan:
    """What a model computes on one graph.

    Args:
        graph: the graph.
        steps: what each round does.
        places: places whose vertices are read in the end.
        last: wires whose edges are updated once more for the answer, behind linear messages.
    """

    graph: Graph
    steps: tuple[Step, ...]
    places: tuple[str, ...]
    last: tuple[Edges, ...]


def _check(channels: int, rounds: int, messages: str, reads: str) -> None:
    if channels < 1 or rounds < 1:
        raise WeightspaceError(f"channels is {channels} and rounds is {rounds}; expected at least one of each.")
    if messages not in MESSAGES:
        raise unknown("kind of messages", messages, MESSAGES)
    if reads not in READS:
        raise unknown("choice of units that the answer is read from", reads, READS)


def _refuse_scalars(graphs: Sequence[Graph]) -> None:
    for graph in graphs:
        for wire in (*graph.wires, *graph.biases):
            if wire.factors:
                raise SymmetryError(
                    f"Fourier features and modulated messages would break the symmetry of {wire.param!r}, whose "
                    "entries scale or change sign; expected networks with permutations alone. Remedy: GMN or NGGNN."
                )


def _refuse_unknown(signals: Mapping[str, int], graphs: Sequence[Graph]) -> None:
    for place in signals:
        for graph in graphs:
            ends = [*graph.inputs, *graph.outputs]
            if place not in ends:
                raise unknown("input or output for signals", place, ends)


class ScaleGMN(nn.Module):
    """Scale-equivariant graph metanetwork, forward or in both directions.

    Units are vertices that carry their biases, weights are edges. In each round a unit hears from those that lead to
    it, with `bidirectional` also from those that it leads to, and every feature follows the scalars of its unit or
    weight. Inputs and outputs keep a vector for each unit.

    A backward edge begins as :math:`w_{ij} (c_j / c_i)^2`, where `c` are the gauge norms of the units: it follows the
    scalars of the way back as :math:`1 / w_{ij}` would, and is zero where the weight is.

    Args:
        spec: space of the networks with its full symmetry. Or several: coefficients are then shared by what parameters
            and places are, instead of by which one they are, and the model reads networks of all these spaces, and of
            others that are made of the same (kernels, activations, numbers of inputs and outputs).
        readout: `Invariant(outputs)` or `Edit()`.
        channels: feature channels of vertices and edges.
        rounds: rounds of messages. Forward, the first layer's weights reach the outputs in as many rounds as there
            are layers.
        bidirectional: whether messages run back too, along edges of their own.
        messages: "gated", as in the paper; "sent", which do not see the unit that they go to, as in its code; or
            "linear", which have no gate and run along the weights as they are: matrix products, far cheaper. Where no
            scalar acts also "modulated", those of neural graphs (see `NGGNN`).
        form: how signs are removed: "symmetrised", "absolute" or "product", see `layers.gated.Invariants`.
        skip: whether a round adds to the vertices instead of replacing them.
        dropout: share of the vertices' new channels that are dropped while training.
        reads: which units an invariant answer is read from: "all", or the "ends", which are outputs and, with
            `bidirectional`, inputs.
        signals: how many numbers stand at each unit of an input or output place, besides the weights.
        fourier: so many random frequencies of every weight and bias are read in its place; where no scalar acts.

    Shapes:
        Features with one channel to `(batch, outputs)`, or to features with one channel; a list of features, one for
        each space, to `(sum of batches, outputs)`, or to a list. Signals by place: `(batch, *outer, units, numbers)`.

    Symmetry:
        Invariant (with `Edit`: equivariant) to the spec's whole group.

    Raises:
        SpecError: a spec without places, as one written by hand; several specs with different numbers of outputs;
            when called, networks with parameters or places of a kind that no spec had.
        ShapeError: when called, networks of another space than the one spec's, or signals that were not announced.
        WeightspaceError: no channels or no rounds.
        SymmetryError: `fourier` or "modulated" messages where scalars act.
        UnknownNameError: other messages, another form, or signals where no inputs or outputs are.

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
        spec: NetworkSpec | Sequence[NetworkSpec],
        readout: Readout,
        *,
        channels: int = 32,
        rounds: int = 3,
        bidirectional: bool = False,
        messages: str = "gated",
        form: str = "symmetrised",
        skip: bool = True,
        dropout: float = 0.0,
        reads: str = "all",
        signals: Mapping[str, int] | None = None,
        fourier: int = 0,
    ) -> None:
        super().__init__()
        _check(channels, rounds, messages, reads)
        self.readout, self.reads = readout, reads
        self.bidirectional, self.linear = bidirectional, messages == "linear"
        self.graphs = Graphs(spec, self._space)
        graphs = list(self.graphs)
        if fourier or messages == "modulated":
            _refuse_scalars(graphs)
        _refuse_unknown(signals or {}, graphs)
        self.norm = GraphScale(self.graphs)
        if isinstance(readout, Edit):
            self.change = GraphChange(graphs, channels)
            self.step = nn.Parameter(torch.tensor(readout.initial))
        self.plans = {graph.spec: self._plan(graph, rounds) for graph in graphs}
        plans = list(self.plans.values())
        self._add_answer(channels, form)
        self.start = GraphStart(
            graphs, [p.steps[0] for p in plans], channels, linear=self.linear, signals=signals, fourier=fourier
        )
        self.rounds = nn.ModuleList(
            MessageRound(steps, channels, messages=messages, form=form, skip=skip, dropout=dropout)
            for steps in zip(*(plan.steps for plan in plans), strict=True)
        )

    def _add_answer(self, channels: int, form: str) -> None:
        """What stands behind the last round."""
        plans = list(self.plans.values())
        if isinstance(self.readout, Invariant):
            self.pool = GraphPool([plan.graph for plan in plans], [plan.places for plan in plans], channels, form)
            self.head = head(self.pool.width, self.readout)
        elif self.linear:
            wires = [wire for plan in plans for wire in plan.last]
            self.lift = Maps(wires, channels, shift=True)
            self.last = EdgeUpdate(wires, back=False, channels=channels, form=form)

    def _plan(self, graph: Graph, rounds: int) -> Plan:
        """What has to be done so that what is read is there, and nothing else."""
        if isinstance(self.readout, Invariant):
            read = graph.vertices if self.reads == "all" else [*graph.inputs, *graph.outputs]
            places = [name for name in read if name not in graph.inputs or self.bidirectional]
            steps = graph.steps(rounds, places, [], back=self.bidirectional, updating=not self.linear)
            return Plan(graph, tuple(steps), tuple(places), ())
        places, params = self.change.places(graph), self.change.params(graph)
        last: tuple[Edges, ...] = ()
        if self.linear:
            (step,) = graph.steps(1, places, params, back=False)
            places = list(dict.fromkeys([*places, *(end.name for wire in step.edges for end in wire.ends(back=False))]))
            params, last = [], step.edges
        steps = graph.steps(rounds, places, params, back=self.bidirectional, updating=not self.linear)
        return Plan(graph, tuple(steps), tuple(places), last)

    def save_memory(self, lean: bool = True) -> "ScaleGMN":
        """Compute rounds in blocks, and again for gradients, and keep what stands between them; returns the model.

        The same answers for less memory and more time (docs/guide/speed.md). Linear messages have little to keep;
        modulated ones, and those along wires that are not straight, are kept as before. Transforms of `torch.func` are
        refused by torch; what is compiled is compiled as if nothing was asked.
        """
        for module in self.modules():
            if isinstance(module, GatedMessages | EdgeUpdate | MessageRound):
                module.lean = lean
        return self

    def _space(self, spec: NetworkSpec) -> NetworkSpec:
        """The networks with the symmetry that this model respects."""
        return spec

    @classmethod
    def preset(cls, name: str, spec: NetworkSpec | Sequence[NetworkSpec], readout: Readout) -> "ScaleGMN":
        """The model in a named size: `demo`, or one of the published (docs/guide/messages.md has them all).

        Raises:
            UnknownNameError: another name.
        """
        if name not in PRESETS:
            raise unknown(f"preset of {cls.__name__}", name, PRESETS)
        return cls(spec, readout, **PRESETS[name])

    def forward(
        self, x: WeightFeatures | Sequence[WeightFeatures], signals: Mapping[str, Tensor] | None = None
    ) -> Tensor | WeightFeatures | list[WeightFeatures]:
        """Answer for a batch of networks, or for a list of batches, one for each kind of network."""
        answers = [self._answer(part, signals) for part in ([x] if isinstance(x, WeightFeatures) else x)]
        numbers = [answer for answer in answers if isinstance(answer, Tensor)]
        if numbers:
            # One head for all: it may look at the whole batch.
            return self.head(torch.cat(numbers))
        features = [y for y in answers if isinstance(y, WeightFeatures)]
        return features[0] if isinstance(x, WeightFeatures) else features

    def _answer(self, x: WeightFeatures, signals: Mapping[str, Tensor] | None) -> Tensor | WeightFeatures:
        graph = self.graphs.of(x)
        if graph.spec not in self.plans:
            self.plans[graph.spec] = self._plan(graph, len(self.rounds))
        plan = self.plans[graph.spec]
        features = WeightFeatures(graph.spec, self.norm(x).tensors)
        state = self.start(graph, plan.steps[0], features, signals)
        for step, messages in zip(plan.steps, self.rounds, strict=True):
            state = messages(state, step)
        if isinstance(self.readout, Invariant):
            return self.pool(graph, plan.places, state)
        if plan.last:
            edges = {str(wire.param): self.lift(wire, state.weights[str(wire.param)]) for wire in plan.last}
            state = replace(state, edges=self.last(replace(state, edges=edges), plan.last))
        change = self.change(graph, state, features).map(lambda t: self.step * t)
        return x + self.norm.inverse(WeightFeatures(x.spec, change.tensors))
