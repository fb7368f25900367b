"""A transformer whose tokens are units."""

from math import prod

import torch
from torch import Tensor, nn

from weightspace.errors import SymmetryError, WeightspaceError, unknown
from weightspace.gauge.leg import leg_dims, nest
from weightspace.layers import ParameterScale
from weightspace.models.construction import remember
from weightspace.models.readout import Edit, Readout, head
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures

__all__ = ["NeuronTransformer"]


class NeuronTransformer(nn.Module):
    r"""A transformer on units: of each its incoming weights, bias and outgoing weights, as one token.

    Every axis of units has a linear map of its own from what a unit sees, the entries of all parameters in its row or
    column, to a token; blocks of attention, the mean over tokens and a perceptron follow. Units of hidden layers are
    told apart by a learnt vector each: of networks that started from the same weights, a unit is the same in all.

    Args:
        spec: space of the networks; of its symmetries only the permutations are used, and those by
            `positions=False` alone.
        readout: `Invariant(outputs)`; the mean over tokens cannot be turned back into a network.
        positions: whether hidden units are told apart, by vectors and by the order of the entries in a token. `False`
            gives them one vector for all, and sorts the entries that run along other hidden units.
        width: numbers in a token.
        layers: blocks of attention.
        heads: of attention; they share the width.
        hidden: units between the two layers of each block's perceptron.

    Shapes:
        Features with one channel to `(batch, outputs)`.

    Symmetry:
        None; with `positions=False` invariant to permutations of hidden units.

    Raises:
        SymmetryError: asked to edit.
        WeightspaceError: a size below 1, or a width that the heads cannot share.

    References:
        Vaswani et al., "Attention Is All You Need", NeurIPS 2017, section 3, with the normalisations ahead of
        attention and perceptron.
        Gielisse and van Gemert, "End-to-End Implicit Neural Representations for Classification", CVPR 2025: neurons
        of networks with a shared start as tokens, there their incoming weights and bias.

    Example:
        >>> from weightspace.models import Invariant
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import invariance_error
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 1)))
        >>> invariance_error(NeuronTransformer(spec, Invariant(10), positions=False), spec) < 1e-9
        True
        >>> invariance_error(NeuronTransformer(spec, Invariant(10)), spec) < 1e-9
        False
    """

    @remember
    def __init__(
        self,
        spec: NetworkSpec,
        readout: Readout,
        *,
        positions: bool = True,
        width: int = 64,
        layers: int = 2,
        heads: int = 4,
        hidden: int = 128,
    ) -> None:
        super().__init__()
        if isinstance(readout, Edit):
            raise SymmetryError(
                "NeuronTransformer keeps a mean over units only and cannot give back a network; use FlatMLP, NP or "
                "MonomialNFN."
            )
        if min(width, layers, heads, hidden) < 1 or width % heads:
            raise WeightspaceError(
                f"width={width}, layers={layers}, heads={heads}, hidden={hidden}; expected at least 1 of each, and a "
                "width that is a multiple of the heads."
            )
        self.norm = ParameterScale(spec)
        self.positions = positions
        free = [axis.name for axis in spec.free_axes]
        self.free_dims = [[i + 1 for i, leg in enumerate(p.legs) if leg.axis in free] for p in spec.params]
        views = {name: _seen_from(spec, name) for name in _axes_of_units(spec)}
        self.views = {name: seen for name, seen in views.items() if seen}
        told = {row for seen in self.views.values() for row, _ in seen}
        self.rest = [row for row in range(len(spec.params)) if row not in told]
        self.places = nn.ParameterList(0.1 * torch.randn(*self._told_apart(spec, name), width) for name in self.views)
        sizes = [prod(spec.shape(param.name)) for param in spec.params]
        units = [prod(axis.size for axis in nest(spec, name)) for name in self.views]
        seen = [sum(sizes[row] for row, _ in view) // n for view, n in zip(self.views.values(), units, strict=True)]
        self.embed = nn.ModuleList(nn.Linear(numbers, width) for numbers in (*seen, *(sizes[row] for row in self.rest)))
        block = nn.TransformerEncoderLayer(width, heads, hidden, dropout=0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = head(width, readout)

    @classmethod
    def preset(cls, name: str, spec: NetworkSpec, readout: Readout) -> "NeuronTransformer":
        """The model in a named size. Raises `UnknownNameError` for other names than `demo`."""
        if name != "demo":
            raise unknown("preset of NeuronTransformer", name, ["demo"])
        return cls(spec, readout)

    def forward(self, x: WeightFeatures) -> Tensor:
        """Answer for a batch of networks."""
        x.expect(self.norm.spec, channels=1)
        return self.head(self.blocks(self._tokens(self.norm(x).tensors)).mean(1))

    def _tokens(self, tensors: tuple[Tensor, ...]) -> Tensor:
        """One for each unit, `(batch, unit, width)`, and one for each parameter that no unit sees."""
        rows = [torch.cat([self._seen(tensors[row], row, dims) for row, dims in v], -1) for v in self.views.values()]
        rest = [tensors[row].flatten(1)[:, None] for row in self.rest]
        tokens = [embed(entries) for embed, entries in zip(self.embed, (*rows, *rest), strict=True)]
        shapes = [[axis.size for axis in nest(self.norm.spec, name)] for name in self.views]
        places = [place.expand(*shape, -1).flatten(0, -2) for place, shape in zip(self.places, shapes, strict=True)]
        return torch.cat([*(t + p for t, p in zip(tokens, places, strict=False)), *tokens[len(places) :]], 1)

    def _seen(self, tensor: Tensor, row: int, dims: tuple[int, ...]) -> Tensor:
        """What the units along some dimensions see of a parameter: `(batch, units, entries)`."""
        others = [dim for dim in range(1, tensor.ndim) if dim not in dims]
        free = [] if self.positions else [dim for dim in others if dim in self.free_dims[row]]
        kept = [dim for dim in others if dim not in free]
        shape = [prod(tensor.shape[dim] for dim in group) for group in (dims, kept, free)]
        entries = tensor.permute(0, *dims, *kept, *free).reshape(len(tensor), *shape)
        return (entries.sort(3).values if free else entries).flatten(2)

    def _told_apart(self, spec: NetworkSpec, name: str) -> list[int]:
        """The units of an axis that have a vector of their own, within each of the axes around it."""
        return [axis.size if self.positions or not axis.symmetry.permutes else 1 for axis in nest(spec, name)]


def _axes_of_units(spec: NetworkSpec) -> list[str]:
    """All axes but those of kernels, as far as the spec tells: units that may be moved, and those of places."""
    places = {place.axis for place in spec.places}
    return [axis.name for axis in spec.axes if axis.symmetry.permutes or axis.name in places]


def _seen_from(spec: NetworkSpec, name: str) -> list[tuple[int, tuple[int, ...]]]:
    """The parameters with a leg on an axis: each with the dimensions of that leg."""
    legs = [(row, param, i, leg.axis) for row, param in enumerate(spec.params) for i, leg in enumerate(param.legs)]
    return [(row, leg_dims(spec, param, i)) for row, param, i, axis in legs if axis == name]
