"""Layers that may tell units apart by their position: exact for scalars, as permutable as the data allow."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightspace.errors import WeightspaceError
from weightspace.layers.linear import EquivariantLinear
from weightspace.spec import NetworkSpec, ParamSpec
from weightspace.weights import WeightFeatures

__all__ = ["Relaxed"]


class UnitWeights(nn.Module):
    """Numbers for the entries of a parameter in every bank: sums of one per unit of each free axis, zero at first."""

    def __init__(self, spec: NetworkSpec, param: ParamSpec, rank: int) -> None:
        super().__init__()
        sizes = spec.shape(param.name)
        permuted = [spec.axis(leg.axis).symmetry.permutes for leg in param.legs]
        self.free = tuple(place for place, size in enumerate(sizes) if permuted[place] and size > 1)
        self.dims = len(sizes)
        self.sums = nn.ParameterList(torch.zeros(rank, sizes[place]) for place in self.free)

    def forward(self) -> Float[Tensor, "rank ..."]:
        """The numbers, in a shape that multiplies `(rank, *axes)`."""
        total = self.sums[0].new_zeros(len(self.sums[0]), *[1] * self.dims)
        for place, numbers in zip(self.free, self.sums, strict=True):
            shape = [1] * self.dims
            shape[place] = -1
            total = total + numbers.reshape(len(numbers), *shape)
        return total


class Relaxed(nn.Module):
    r"""A linear layer that may weigh units by their position: :math:`y = L x + \sum_{i=1}^r p_i \odot L_i x`.

    All :math:`L_i` are equivariant layers like the given one, and :math:`p_i` are numbers for the entries of what comes
    out: for each parameter the sum of one number per unit along each of its permutable axes. They start at zero, and
    the layer as the one given. This is to a weight-space layer what :class:`weightspace.matrices.ModulatedGroupConv` is
    to a convolution, for networks whose units are not quite interchangeable: trained from one initialisation, or
    aligned.

    Shapes:
        Those of the layer.

    Symmetry:
        Scales and sign flips of units are followed exactly, whatever the numbers are: to weigh entries commutes with
        scaling them. Permutations are followed as far as `spread` is zero.

    Args:
        layer: the equivariant layer.
        rank: how many weighed layers are added.

    Raises:
        WeightspaceError: for a negative rank.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import equivariance_error
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)))
        >>> layer = Relaxed(EquivariantLinear(spec, 1, 8), rank=2)
        >>> equivariance_error(layer, spec) < 1e-12, layer.spread().item()
        (True, 0.0)
    """

    def __init__(self, layer: EquivariantLinear, rank: int = 1) -> None:
        super().__init__()
        if rank < 0:
            raise WeightspaceError(f"a rank of {rank}: expected 0 or more")
        self.layer, self.rank = layer, rank
        spec = layer.spec_out
        self.banks: EquivariantLinear | None = None
        if rank:
            self.banks = EquivariantLinear(
                layer.spec, layer.channels_in, rank * layer.channels_out, spec_out=spec, bias=False
            )
        made = {str(i): UnitWeights(spec, param, rank) for i, param in enumerate(spec.params) if rank}
        self.positions = nn.ModuleDict({name: weights for name, weights in made.items() if weights.free})

    def forward(self, x: WeightFeatures) -> WeightFeatures:
        """Apply the layer. Raises `ShapeError` for features of another space or channel count."""
        y = self.layer(x)
        if self.banks is None:
            return y
        added = [
            self._weighed(str(i), kept, found)
            for i, (kept, found) in enumerate(zip(y.tensors, self.banks(x).tensors, strict=True))
        ]
        return WeightFeatures(y.spec, added)

    def _weighed(self, name: str, kept: Tensor, found: Tensor) -> Tensor:
        if name not in self.positions:
            return kept
        parts = found.unflatten(-1, (self.rank, -1)).movedim(-2, 0)
        weights = self.positions[name]()
        # (rank, batch, *axes, channels) times (rank, 1, *axes, 1).
        return kept + (parts * weights[:, None, ..., None]).sum(0)

    def spread(self) -> Float[Tensor, ""]:
        """The sum of squares by which positions differ from their means, zero for an exact layer; a term for a loss."""
        numbers = list(self.positions.parameters())
        if not numbers:
            return next(self.layer.parameters()).new_zeros(())
        return torch.stack([(p - p.mean(1, keepdim=True)).square().sum() for p in numbers]).sum()
