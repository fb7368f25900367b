"""From features of networks to one vector per network."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightspace.errors import SymmetryError
from weightspace.layers.invariant import acting_factors
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures

__all__ = ["InvariantPool"]


class InvariantPool(nn.Module):
    """Means over all free units; fixed indices (inputs, outputs, kernel positions) and channels are kept.

    Args:
        spec: space of the features; no scalar may act on any parameter (see `Canonical`).
        channels: feature channels.

    Shapes:
        Features to `(batch, width)`, with `width` the channels times the number of fixed indices of all parameters.

    Symmetry:
        `layer(act(g, x)) == layer(x)`.

    Raises:
        SymmetryError: entries of a parameter scale or change sign, so that their mean would not be invariant.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import random_features
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 1)))
        >>> pool = InvariantPool(spec, channels=3)
        >>> pool.width, pool(random_features(spec, batch=5, channels=3)).shape
        (15, torch.Size([5, 15]))
    """

    def __init__(self, spec: NetworkSpec, channels: int) -> None:
        super().__init__()
        self.spec = spec
        scaled = [param.name for param in spec.params if acting_factors(spec, param)]
        if scaled:
            raise SymmetryError(
                f"entries of {scaled} scale or change sign: their mean is not invariant. Put Canonical in front."
            )
        free = {axis.name for axis in spec.free_axes}
        self.dims = [[i + 1 for i, leg in enumerate(param.legs) if leg.axis in free] for param in spec.params]
        fixed = [[spec.axis(leg.axis).size for leg in param.legs if leg.axis not in free] for param in spec.params]
        self.width = channels * sum(torch.Size(sizes).numel() for sizes in fixed)

    def forward(self, x: WeightFeatures) -> Float[Tensor, "batch width"]:
        """Pool."""
        x.expect(self.spec)
        pairs = zip(x.tensors, self.dims, strict=True)
        return torch.cat([(t.mean(dims) if dims else t).flatten(1) for t, dims in pairs], dim=1)
