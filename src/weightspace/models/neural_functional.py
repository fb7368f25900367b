"""Neural functionals that respect permutations only: NP and HNP."""

from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import unknown
from weightspace.layers import EquivariantLinear, InvariantPool, ParameterScale, PositionEncoding
from weightspace.layers.encode import FourierFeatures
from weightspace.models.construction import remember
from weightspace.models.readout import Edit, Invariant, Readout, head
from weightspace.models.trunk import permutation_trunk
from weightspace.spec import PERMUTATION, NetworkSpec
from weightspace.weights import WeightFeatures

__all__ = ["HNP", "NP"]


class HNP(nn.Module):
    """Permutation-equivariant functional whose inputs and outputs stay in their places.

    Scale, Fourier features of the weights, equivariant linear layers with ReLU, pooling, head. Hidden units may be
    permuted; scalings and sign flips that leave the network's function alone change this model's answer.

    Args:
        spec: space of the networks; only its permutations are used.
        readout: `Invariant(outputs)` or `Edit()`.
        channels: feature channels of each hidden layer.
        fourier: number of random frequencies for the weights; 0 takes the weights as they are.

    Shapes:
        Features with one channel to `(batch, outputs)`, or to features with one channel.

    Symmetry:
        Invariant (with `Edit`: equivariant) to permutations of hidden units.

    References:
        Zhou et al., "Permutation Equivariant Neural Functionals", NeurIPS 2023, section 3 (HNP).

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import invariance_error
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 1)))
        >>> invariance_error(HNP(spec, Invariant(10), channels=(8, 8)), spec) < 1e-9
        True
    """

    @remember
    def __init__(
        self,
        spec: NetworkSpec,
        readout: Readout,
        *,
        channels: tuple[int, ...] = (32, 32, 32),
        fourier: int = 16,
    ) -> None:
        super().__init__()
        self.readout = readout
        self.norm = ParameterScale(spec)
        self.space = self._space(spec)
        self.encode = self._encoding(spec)
        width = 1 + (self.encode.channels_added if self.encode else 0)
        self.fourier = FourierFeatures(self.space, width, fourier) if fourier else None
        widths = (2 * fourier or width, *channels)
        self.trunk = permutation_trunk(self.space, widths)
        if isinstance(readout, Edit):
            self.change = EquivariantLinear(self.space, widths[-1], 1)
            self.step = nn.Parameter(torch.tensor(readout.initial))
        else:
            self.pool = InvariantPool(self.space, widths[-1])
            self.head = head(self.pool.width, readout)

    def _space(self, spec: NetworkSpec) -> NetworkSpec:
        """The networks with the permutations this model respects."""
        return spec.with_symmetry(PERMUTATION)

    def _encoding(self, spec: NetworkSpec) -> PositionEncoding | None:
        """What tells units apart that the layers treat alike."""
        return None

    @classmethod
    def preset(cls, name: str, spec: NetworkSpec, readout: Readout) -> "HNP":
        """The model in a named size.

        `demo` is for SIRENs and minutes. The others are the published designs: `cnn-zoo` for how well small CNNs
        generalise (16, 16 and 5 channels; its head has `Invariant(1, hidden=1000)`), `siren-classify` for what a SIREN
        shows (three layers of 256 channels behind 128 frequencies; `Invariant(10, hidden=1000, dropout=0.1)`), and
        `siren-edit` for editing it (three of 128).

        Every coefficient counts once, where the published layers write some maps twice and `HNP` leaves one out.
        Frequencies are drawn for weights at unit scale. `NP` encodes positions in front of them instead of behind them,
        and pools over inputs and outputs too. A batch normalisation stands in front of the head.

        Raises:
            UnknownNameError: another name.
        """
        sizes: dict[str, dict[str, Any]] = {
            "demo": {"channels": (32, 32), "fourier": 16},
            "cnn-zoo": {"channels": (16, 16, 5), "fourier": 0},
            "siren-classify": {"channels": (256, 256, 256), "fourier": 128},
            "siren-edit": {"channels": (128, 128, 128), "fourier": 128},
        }
        if name not in sizes:
            raise unknown(f"preset of {cls.__name__}", name, sizes)
        return cls(spec, readout, **sizes[name])

    def forward(self, x: WeightFeatures) -> Tensor | WeightFeatures:
        """Answer for a batch of networks."""
        x.expect(self.norm.spec, channels=1)
        features = WeightFeatures(self.space, self.norm(x).tensors)
        if self.encode is not None:
            features = self.encode(features)
        if self.fourier is not None:
            features = self.fourier(features)
        features = self.trunk(features)
        if isinstance(self.readout, Invariant):
            return self.head(self.pool(features))
        change = WeightFeatures(x.spec, self.change(features).map(lambda t: self.step * t).tensors)
        return x + self.norm.inverse(change)


class NP(HNP):
    """Permutation-equivariant functional that permutes inputs and outputs too and tells them apart by an encoding.

    Fewer parameters than `HNP`, since inputs share their coefficients, and outputs theirs. Arguments, shapes and
    symmetry as for `HNP`.

    References:
        Zhou et al., "Permutation Equivariant Neural Functionals", NeurIPS 2023, section 3 (NP) and its appendix on
        encodings of inputs and outputs.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import invariance_error
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 1)))
        >>> invariance_error(NP(spec, Invariant(10), channels=(8, 8)), spec) < 1e-9
        True
    """

    def _space(self, spec: NetworkSpec) -> NetworkSpec:
        places = (place.axis for place in spec.places)
        return spec.with_symmetry(PERMUTATION, axes=tuple(dict.fromkeys((*(a.name for a in spec.free_axes), *places))))

    def _encoding(self, spec: NetworkSpec) -> PositionEncoding | None:
        fixed = [axis.name for axis in spec.axes if not axis.symmetry.permutes]
        ends = tuple(axis for axis in dict.fromkeys(place.axis for place in spec.places) if axis in fixed)
        return PositionEncoding(self.space, ends) if ends else None
