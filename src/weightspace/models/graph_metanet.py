"""Graph metanetworks for permutations alone, and one behind a gauge: what scaling symmetry is compared with."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from weightspace.errors import unknown
from weightspace.gauge.scale import balance
from weightspace.models.construction import remember
from weightspace.models.readout import Readout
from weightspace.models.scalegmn import ScaleGMN
from weightspace.spec import PERMUTATION, NetworkSpec
from weightspace.weights import WeightFeatures, act

__all__ = ["GMN", "NGGNN", "GaugeGMN"]


class GMN(ScaleGMN):
    """Graph metanetwork that respects permutations: `ScaleGMN` where no scalar acts, and all its blocks are networks.

    What scaling symmetry adds is the difference to `ScaleGMN`; arguments and shapes are the same.

    Symmetry:
        Invariant (with `Edit`: equivariant) to permutations of units.

    References:
        Lim et al., "Graph Metanetworks for Processing Diverse Neural Architectures", ICLR 2024, with the dense messages
        and the vertices of Kalogeropoulos et al., NeurIPS 2024.

    Example:
        >>> from torch import nn
        >>> from weightspace.models import Invariant
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
        >>> from torch import nn
        >>> from weightspace.models import Invariant
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import invariance_error
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1)))
        >>> invariance_error(GaugeGMN(spec, Invariant(10), channels=8), spec) < 1e-6
        True
    """

    def _answer(self, x: WeightFeatures, signals: Mapping[str, Tensor] | None) -> Tensor | WeightFeatures:
        g = balance(x.map(torch.Tensor.detach))
        y = super()._answer(act(g, x), signals)
        return act(g.inverse(), y) if isinstance(y, WeightFeatures) else y


class NGGNN(GMN):
    """Neural graphs: Fourier features of weights and biases, messages modulated by edges, told by four moments.

    Args:
        spec: space of the networks, or several, see `ScaleGMN`.
        readout: `Invariant(outputs)` or `Edit()`.
        channels: feature channels of vertices and edges.
        rounds: rounds of messages.
        bidirectional: whether messages run back too, along edges of their own.
        fourier: random frequencies of every weight and bias; 0 reads the number itself.
        reads: "all" or "ends", see `ScaleGMN`.
        dropout: share of the vertices' new channels that are dropped while training.

    Symmetry:
        Invariant (with `Edit`: equivariant) to permutations of units.

    References:
        Kofinas et al., "Graph Neural Networks for Learning Equivariant Representations of Neural Networks", ICLR 2024:
        NG-GNN without probes of the function. Theirs adds what edges lead back to each edge; here the way back has
        messages of its own.

    Example:
        >>> from torch import nn
        >>> from weightspace.models import Invariant
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import invariance_error
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 1)))
        >>> invariance_error(NGGNN(spec, Invariant(10), channels=8), spec) < 1e-9
        True
    """

    @remember
    def __init__(
        self,
        spec: NetworkSpec | Sequence[NetworkSpec],
        readout: Readout,
        *,
        channels: int = 32,
        rounds: int = 4,
        bidirectional: bool = False,
        fourier: int = 64,
        reads: str = "ends",
        dropout: float = 0.0,
    ) -> None:
        sizes: dict[str, Any] = {"channels": channels, "rounds": rounds, "dropout": dropout}
        options: dict[str, Any] = {"bidirectional": bidirectional, "messages": "modulated", "reads": reads}
        super().__init__(spec, readout, fourier=fourier, **sizes, **options)

    @classmethod
    def preset(cls, name: str, spec: NetworkSpec | Sequence[NetworkSpec], readout: Readout) -> "NGGNN":
        """The model in a named size: `demo`, or `published`.

        Raises:
            UnknownNameError: another name.
        """
        sizes: dict[str, dict[str, Any]] = {
            "demo": {"channels": 8, "rounds": 2, "bidirectional": True, "fourier": 8, "reads": "all"},
            "published": {"channels": 32, "rounds": 4, "bidirectional": True, "dropout": 0.2},
        }
        if name not in sizes:
            raise unknown("preset of NGGNN", name, sizes)
        return cls(spec, readout, **sizes[name])
