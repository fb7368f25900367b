"""What every result is compared with: networks on flat weights, on their statistics, and on units one by one."""

from math import prod

import torch
from torch import Tensor, nn

from weightspace.errors import SymmetryError, unknown
from weightspace.gauge.leg import leg_dims
from weightspace.layers import ParameterScale
from weightspace.models.construction import remember
from weightspace.models.readout import Edit, Invariant, Readout, head
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures, flatten, unflatten

__all__ = ["DeepSets", "FlatMLP", "StatNN"]


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


class DeepSets(nn.Module):
    """A network that reads units one by one, and the mean of what it says of them.

    Of a unit it sees, for each parameter with a leg on its axis, the mean and the root mean square of its entries over
    all other units; inputs, outputs and kernel positions are kept apart. No unit sees another.

    Args:
        spec: space of the networks; only its permutations are used.
        readout: `Invariant(outputs)`; means over units cannot be turned back into a network.
        hidden: width of the network that reads units.

    Shapes:
        Features with one channel to `(batch, outputs)`.

    Symmetry:
        Invariant to permutations of hidden units.

    Raises:
        SymmetryError: asked to edit.

    References:
        Zaheer et al., "Deep Sets", NeurIPS 2017, theorem 2.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import invariance_error
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 1)))
        >>> invariance_error(DeepSets(spec, Invariant(10)), spec) < 1e-9
        True
    """

    @remember
    def __init__(self, spec: NetworkSpec, readout: Readout, *, hidden: int = 64) -> None:
        super().__init__()
        if isinstance(readout, Edit):
            raise SymmetryError(
                "DeepSets keeps means over units only and cannot give back a network; use FlatMLP, NP or MonomialNFN."
            )
        self.norm = ParameterScale(spec)
        free = [axis.name for axis in spec.free_axes]
        self.free_dims = [[i + 1 for i, leg in enumerate(p.legs) if leg.axis in free] for p in spec.params]
        legs = [(row, p, i, leg.axis) for row, p in enumerate(spec.params) for i, leg in enumerate(p.legs)]
        views = [[(row, leg_dims(spec, p, i)) for row, p, i, axis in legs if axis == name] for name in free]
        self.views = [seen for seen in views if seen]
        self.rest = [row for row, dims in enumerate(self.free_dims) if not dims]
        fixed = [
            prod(size for leg, size in enumerate(spec.shape(p.name)) if leg + 1 not in dims)
            for p, dims in zip(spec.params, self.free_dims, strict=True)
        ]
        widths = [2 * sum(fixed[row] for row, _ in seen) for seen in self.views]
        self.read = nn.ModuleList(
            nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()) for width in widths
        )
        self.head = head(hidden * len(self.views) + sum(fixed[row] for row in self.rest), readout)

    @classmethod
    def preset(cls, name: str, spec: NetworkSpec, readout: Readout) -> "DeepSets":
        """The model in a named size. Raises `UnknownNameError` for other names than `demo`."""
        if name != "demo":
            raise unknown("preset of DeepSets", name, ["demo"])
        return cls(spec, readout)

    def forward(self, x: WeightFeatures) -> Tensor:
        """Answer for a batch of networks."""
        x.expect(self.norm.spec, channels=1)
        tensors = self.norm(x).tensors
        units = [torch.cat([self._seen(tensors[row], row, dims) for row, dims in views], -1) for views in self.views]
        means = [read(tokens).mean(1) for read, tokens in zip(self.read, units, strict=True)]
        return self.head(torch.cat([*means, *(tensors[row].flatten(1) for row in self.rest)], 1))

    def _seen(self, tensor: Tensor, row: int, dims: tuple[int, ...]) -> Tensor:
        """What the units along some dimensions see of a parameter: `(batch, units, 2 * fixed)`."""
        others = [dim for dim in self.free_dims[row] if dim not in dims]
        fixed = [dim for dim in range(1, tensor.ndim) if dim not in self.free_dims[row]]
        shape = [prod(tensor.shape[dim] for dim in group) for group in (dims, others, fixed)]
        entries = tensor.permute(0, *dims, *others, *fixed).reshape(len(tensor), *shape)
        square = entries.square().mean(2)
        # Zeros get root one before the root, whose gradient at zero is infinite.
        root = torch.where(square == 0, torch.zeros_like(square), (square + (square == 0)).sqrt())
        return torch.cat([entries.mean(2), root], -1)
