"""A constant scale per parameter, learnt from the training networks."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from weightspace.errors import ShapeError
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures

__all__ = ["ParameterScale"]


class ParameterScale(nn.Module):
    """Every parameter divided by its root mean square over the training networks.

    One number per parameter, the same for all its entries and all networks, commutes with every symmetry; per-entry
    statistics would not. The first layer of every model; the numbers are buffers and travel with its checkpoint.

    Args:
        spec: space of the features.

    Shapes:
        Unchanged.

    Symmetry:
        `layer(act(g, x)) == act(g, layer(x))`.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import random_features
        >>> spec = spec_of(nn.Linear(2, 3))
        >>> norm = ParameterScale(spec).fit(random_features(spec, batch=100).map(lambda t: 50 * t))
        >>> norm.rms.allclose(torch.full((2,), 50.0), rtol=0.1)
        True
    """

    rms: Tensor

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec = spec
        self.register_buffer("rms", torch.ones(len(spec.params)))

    def fit(self, x: WeightFeatures | Iterable[WeightFeatures]) -> "ParameterScale":
        """Take the scales of the training networks, all at once or part by part.

        A parameter that is always zero keeps scale one.

        Raises:
            ShapeError: no networks, networks of another space, or numbers that are not finite.
        """
        count, squares = 0, self.rms.new_zeros(len(self.rms), dtype=torch.float64)
        for part in [x] if isinstance(x, WeightFeatures) else x:
            part.expect(self.spec)
            count += len(part)
            squares += len(part) * torch.stack([tensor.double().square().mean() for tensor in part.tensors]).to(squares)
        rms = (squares / count).sqrt().to(self.rms)
        if not rms.isfinite().all():
            raise ShapeError(f"cannot take scales from {count} networks: their root mean squares are {rms.tolist()}.")
        self.rms.copy_(torch.where(rms == 0, torch.ones_like(rms), rms))
        return self

    def forward(self, x: WeightFeatures) -> WeightFeatures:
        """Divide by the scales."""
        x.expect(self.spec)
        return WeightFeatures(x.spec, [t / s for t, s in zip(x.tensors, self.rms.to(x.dtype), strict=True)])

    def inverse(self, x: WeightFeatures) -> WeightFeatures:
        """Multiply by the scales: from the model's units back to those of the weights."""
        return WeightFeatures(x.spec, [t * s for t, s in zip(x.tensors, self.rms.to(x.dtype), strict=True)])
