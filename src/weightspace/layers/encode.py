"""Encodings of numbers and of positions, for features on which no scalar acts."""

import math

import torch
from torch import Tensor, nn

from weightspace.errors import SymmetryError
from weightspace.layers.invariant import acting_factors
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures

__all__ = ["FourierFeatures", "PositionEncoding"]


class FourierFeatures(nn.Module):
    r"""Random Fourier features of the channels: :math:`x \mapsto [\sin 2\pi Bx, \cos 2\pi Bx]`, `B` Gaussian and fixed.

    Args:
        spec: space of the features; neither scalars nor signs may act on them (the cosine is even).
        channels: feature channels of the input.
        count: rows of `B`; the output has `2 * count` channels.
        scale: standard deviation of the entries of `B`, in cycles per unit of input.

    Symmetry:
        `layer(act(g, x)) == act(g, layer(x))` for permutations.

    Raises:
        SymmetryError: the entries of a parameter scale or change sign.

    References:
        Tancik et al., "Fourier Features Let Networks Learn High Frequency Functions", NeurIPS 2020, equation 5.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import random_features
        >>> spec = spec_of(nn.Linear(2, 3))
        >>> FourierFeatures(spec, channels=1, count=8)(random_features(spec, 2).to(torch.float32)).channels
        16
    """

    frequencies: Tensor

    def __init__(self, spec: NetworkSpec, channels: int, count: int, scale: float = 1.0) -> None:
        super().__init__()
        _refuse_scalars(spec, "Fourier features")
        self.spec, self.channels_out = spec, 2 * count
        self.register_buffer("frequencies", torch.randn(count, channels) * scale)

    def forward(self, x: WeightFeatures) -> WeightFeatures:
        """Encode."""
        x.expect(self.spec)
        return x.map(self._encode)

    def _encode(self, x: Tensor) -> Tensor:
        angles = 2 * math.pi * nn.functional.linear(x, self.frequencies)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class PositionEncoding(nn.Module):
    r"""Channels that say which unit of some axes an entry belongs to, so that those units can be told apart.

    For each axis the channels :math:`p, \sin 2^k \pi p, \cos 2^k \pi p` with `p` running from -1 to 1 over the
    units and `k` from 0 to `bands - 1` are appended to every parameter with a leg on it, and zeros to the others.

    Args:
        spec: space of the features.
        axes: names of the axes to encode. Permuting their units is a symmetry no longer; all other symmetries stay.
        bands: number of frequencies.

    Symmetry:
        `layer(act(g, x)) == act(g, layer(x))` for elements that leave the encoded axes alone.

    References:
        Zhou et al., "Permutation Equivariant Neural Functionals", NeurIPS 2023, appendix: encoding of inputs and
        outputs for the layer that permutes them too.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import random_features
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 1)))
        >>> encode = PositionEncoding(spec, ("input", "2"), bands=3)
        >>> encode.channels_added, encode(random_features(spec, batch=2)).channels
        (14, 15)
    """

    def __init__(self, spec: NetworkSpec, axes: tuple[str, ...], bands: int = 3) -> None:
        super().__init__()
        _refuse_scalars(spec, "position encodings")
        self.spec = spec
        self.channels_added = len(axes) * (2 * bands + 1)
        for number, param in enumerate(spec.params):
            columns = [self._columns(spec, param.name, axis, bands) for axis in axes]
            self.register_buffer(f"code{number}", torch.cat(columns, dim=-1), persistent=False)

    @staticmethod
    def _columns(spec: NetworkSpec, name: str, axis: str, bands: int) -> Tensor:
        shape = spec.shape(name)
        legs = [i for i, leg in enumerate(spec.param(name).legs) if leg.axis == axis]
        size = spec.axis(axis).size
        position = torch.linspace(-1, 1, size) if size > 1 else torch.zeros(1)
        angles = math.pi * position[:, None] * 2.0 ** torch.arange(bands)
        code = torch.cat([position[:, None], angles.sin(), angles.cos()], dim=-1)
        out = torch.zeros(1, *shape, code.shape[-1])
        for leg in legs:
            out = out + code.reshape([size if i == leg else 1 for i in range(len(shape))] + [-1])
        return out

    def forward(self, x: WeightFeatures) -> WeightFeatures:
        """Append the position channels."""
        x.expect(self.spec)
        codes = [self.get_buffer(f"code{number}").to(x.dtype) for number in range(len(x.tensors))]
        pairs = zip(x.tensors, codes, strict=True)
        return WeightFeatures(x.spec, [torch.cat([t, c.expand(len(x), *c.shape[1:])], dim=-1) for t, c in pairs])


def _refuse_scalars(spec: NetworkSpec, what: str) -> None:
    for param in spec.params:
        if acting_factors(spec, param):
            raise SymmetryError(
                f"{what} would break the symmetry of {param.name!r}, whose entries scale or change sign; "
                "put Canonical in front or use the permutation-only spec."
            )
