"""Monomial-NFN: equivariant to permutations and to scalings or sign flips of the units."""

from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import unknown
from weightspace.layers import (
    Canonical,
    EquivariantLinear,
    FourierFeatures,
    InvariantPool,
    ParameterScale,
    permutation_spec,
    suited_nonlinearity,
)
from weightspace.models.construction import remember
from weightspace.models.readout import Edit, Invariant, Readout, head
from weightspace.models.trunk import permutation_trunk
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures

__all__ = ["MonomialNFN"]


class MonomialNFN(nn.Module):
    """Monomial neural functional: scalars of the units are respected, then divided out, then units are pooled.

    Scale, monomial equivariant linear layers with a non-linearity that suits the symmetry, then (for an invariant
    answer) the canonical form of every entry, Fourier features of it, permutation-equivariant layers, pooling, head.

    Args:
        spec: space of the networks with its full symmetry.
        readout: `Invariant(outputs)` or `Edit()`.
        stem: feature channels of each monomial layer.
        trunk: feature channels of each permutation-equivariant layer behind the canonical form; unused by `Edit`.
        fourier: number of random frequencies for the canonical form; 0 takes it as it is; unused by `Edit`.

    Shapes:
        Features with one channel to `(batch, outputs)`, or to features with one channel.

    Symmetry:
        Invariant (with `Edit`: equivariant) to the spec's whole group.

    References:
        Tran et al., "Monomial Matrix Group Equivariant Neural Functional Networks", NeurIPS 2024, sections 5 and 6.

    Example:
        >>> from weightspace.spec import Sine, spec_of
        >>> from weightspace.testing import invariance_error
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), Sine(), nn.Linear(4, 4), Sine(), nn.Linear(4, 1)))
        >>> invariance_error(MonomialNFN(spec, Invariant(10), stem=(8,), trunk=(8,)), spec) < 1e-9
        True
    """

    @remember
    def __init__(
        self,
        spec: NetworkSpec,
        readout: Readout,
        *,
        stem: tuple[int, ...] = (32, 32),
        trunk: tuple[int, ...] = (32, 32),
        fourier: int = 0,
    ) -> None:
        super().__init__()
        self.readout = readout
        self.norm = ParameterScale(spec)
        self.stem = nn.Sequential()
        for before, behind in zip((1, *stem), stem, strict=False):
            self.stem += nn.Sequential(EquivariantLinear(spec, before, behind), suited_nonlinearity(spec, behind))
        width = (1, *stem)[-1]
        if isinstance(readout, Edit):
            self.change = EquivariantLinear(spec, width, 1)
            self.step = nn.Parameter(torch.tensor(readout.initial))
        else:
            space = permutation_spec(spec)
            self.trunk = nn.Sequential(Canonical(spec))
            if fourier:
                self.trunk.append(FourierFeatures(space, width, fourier))
            widths = (2 * fourier or width, *trunk)
            self.trunk += permutation_trunk(space, widths)
            self.pool = InvariantPool(space, widths[-1])
            self.head = head(self.pool.width, readout)

    @classmethod
    def preset(cls, name: str, spec: NetworkSpec, readout: Readout) -> "MonomialNFN":
        """The model in a named size.

        `demo` is for SIRENs and minutes. `cnn-zoo-relu` and `cnn-zoo-tanh` are the published design for predicting how
        well small CNNs generalise: three monomial layers of 16, 16 and 5 channels that are pooled at once; its head has
        `Invariant(1, hidden=200)`. In front of the head stands a batch normalisation, where the published model has
        an affine map of every channel.

        `siren-classify` is the published design for what a SIREN shows: monomial layers of 64, 64 and 1 channels, then
        `HNP` of that name on the absolute values; its head has `Invariant(10, hidden=1000, dropout=0.1)`. Behind each
        monomial layer stands tanh, where the published model has sine, and nothing behind the last. The one channel is
        for signs: of a scale nothing would be left.

        `siren-edit` takes an `Edit()`. The published one ends in layers that respect permutations only, and does not
        commute with signs; here three monomial layers of their 128 channels stand in their place.

        Raises:
            UnknownNameError: another name.
        """
        zoo: dict[str, Any] = {"stem": (16, 16, 5), "trunk": ()}
        sizes: dict[str, dict[str, Any]] = {
            "demo": {"stem": (8,), "trunk": (32,)},
            "cnn-zoo-relu": zoo,
            "cnn-zoo-tanh": zoo,
            "siren-classify": {"stem": (64, 64, 1), "trunk": (256, 256, 256), "fourier": 128},
            "siren-edit": {"stem": (128, 128, 128)},
        }
        if name not in sizes:
            raise unknown("preset of MonomialNFN", name, sizes)
        return cls(spec, readout, **sizes[name])

    def forward(self, x: WeightFeatures) -> Tensor | WeightFeatures:
        """Answer for a batch of networks."""
        x.expect(self.norm.spec, channels=1)
        features = self.stem(self.norm(x))
        if isinstance(self.readout, Invariant):
            return self.head(self.pool(self.trunk(features)))
        return x + self.norm.inverse(self.change(features).map(lambda t: self.step * t))
