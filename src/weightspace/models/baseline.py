"""What every result is compared with: networks on flat weights and on their statistics."""

import torch
from torch import Tensor, nn

from weightspace.errors import SymmetryError, unknown
from weightspace.layers import ParameterScale
from weightspace.models.construction import remember
from weightspace.models.readout import Edit, Invariant, Readout, head
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures, flatten, unflatten

__all__ = ["FlatMLP", "StatNN"]


class FlatMLP(nn.Module):
    """A multilayer perceptron on all weights in a row: knows no symmetry.

    Args:
        spec: space of the networks.
        readout: `Invariant(outputs)` or `Edit()`.
        hidden: width of the hidden layer in front of the head.

    Shapes:
        Features with one channel to `(batch, outputs)`, or to features with one channel.

    Symmetry:
        None.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import random_features
        >>> spec = spec_of(nn.Linear(2, 3))
        >>> FlatMLP(spec, Invariant(10))(random_features(spec, 5).to(torch.float32)).shape
        torch.Size([5, 10])
    """

    @remember
    def __init__(self, spec: NetworkSpec, readout: Readout, *, hidden: int = 512) -> None:
        super().__init__()
        self.readout = readout
        self.norm = ParameterScale(spec)
        outputs = spec.numel if isinstance(readout, Edit) else readout.outputs
        last = Invariant(outputs) if isinstance(readout, Edit) else readout
        self.body = nn.Sequential(nn.Linear(spec.numel, hidden), nn.ReLU(), head(hidden, last))
        if isinstance(readout, Edit):
            self.step = nn.Parameter(torch.tensor(readout.initial))

    @classmethod
    def preset(cls, name: str, spec: NetworkSpec, readout: Readout) -> "FlatMLP":
        """The model in a named size. Raises `UnknownNameError` for other names than `demo`."""
        if name != "demo":
            raise unknown("preset of FlatMLP", name, ["demo"])
        return cls(spec, readout)

    def forward(self, x: WeightFeatures) -> Tensor | WeightFeatures:
        """Answer for a batch of networks."""
        x.expect(self.norm.spec, channels=1)
        out = self.body(flatten(self.norm(x)))
        return x + self.norm.inverse(unflatten(x.spec, self.step * out)) if isinstance(self.readout, Edit) else out


class StatNN(nn.Module):
    """A multilayer perceptron on seven statistics of each parameter: mean, variance and five quantiles.

    Args:
        spec: space of the networks.
        readout: `Invariant(outputs)`; statistics cannot be turned back into a network.

    Shapes:
        Features with one channel to `(batch, outputs)`.

    Symmetry:
        Invariant to permutations of all units, hidden or not; not to scalings or sign flips.

    Raises:
        SymmetryError: asked to edit.

    References:
        Unterthiner et al., "Predicting Neural Network Accuracy from Weights", 2020, section 4.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import invariance_error
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 1)))
        >>> invariance_error(StatNN(spec, Invariant(10)), spec) < 1e-9
        True
    """

    QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)

    @remember
    def __init__(self, spec: NetworkSpec, readout: Readout) -> None:
        super().__init__()
        if isinstance(readout, Edit):
            raise SymmetryError(
                "StatNN keeps statistics only and cannot give back a network; use FlatMLP, NP or MonomialNFN."
            )
        self.norm = ParameterScale(spec)
        self.head = head((2 + len(self.QUANTILES)) * len(spec.params), readout)

    @classmethod
    def preset(cls, name: str, spec: NetworkSpec, readout: Readout) -> "StatNN":
        """The model in a named size. Raises `UnknownNameError` for other names than `demo`."""
        if name != "demo":
            raise unknown("preset of StatNN", name, ["demo"])
        return cls(spec, readout)

    def forward(self, x: WeightFeatures) -> Tensor:
        """Answer for a batch of networks."""
        x.expect(self.norm.spec, channels=1)
        return self.head(torch.cat([self._statistics(tensor.flatten(1)) for tensor in self.norm(x).tensors], dim=1))

    def _statistics(self, rows: Tensor) -> Tensor:
        quantiles = torch.quantile(rows, torch.tensor(self.QUANTILES, dtype=rows.dtype, device=rows.device), dim=1)
        variance = rows.var(dim=1, correction=0)
        return torch.cat([torch.stack([rows.mean(1), variance], dim=1), quantiles.T], dim=1)
