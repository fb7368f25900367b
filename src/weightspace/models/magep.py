"""MAGEP-NFN: equivariant polynomials of the weights, along the network's paths."""

import torch
from torch import Tensor, nn

from weightspace.errors import unknown
from weightspace.layers import (
    EquivariantLinear,
    ParameterScale,
    PathInvariants,
    PathProducts,
    dense_spec,
    suited_nonlinearity,
)
from weightspace.models.construction import remember
from weightspace.models.readout import Edit, Invariant, Readout, head
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures

__all__ = ["MAGEPNFN"]


class MAGEPNFN(nn.Module):
    r"""Polynomial neural functional: weights of layers far apart meet in products along the network's paths.

    Scale, one linear layer that reads kernels into channels, polynomial layers with a non-linearity that suits the
    symmetry behind each, then invariant polynomials and a head, or a linear layer back to the weights. Nothing has to
    be divided out, so signs and scales stay told apart to the end.

    Args:
        spec: space of the networks with its full symmetry; its wires must lead from inputs to outputs.
        readout: `Invariant(outputs)` or `Edit()`.
        channels: feature channels behind the linear layer and behind each polynomial layer.
        invariants: how many invariant polynomials the head reads; unused by `Edit`.
        compress: whether the head reads :math:`\operatorname{arsinh}` of them. A product along all layers is as large
            as the product of their weights: over a zoo of ReLU CNNs with initial scales from 0.001 to 0.5 the
            polynomials reached from 1e-4 to 1e11, and of such numbers a head sees the few largest alone.

    Shapes:
        Features with one channel to `(batch, outputs)`, or to features with one channel.

    Symmetry:
        Invariant (with `Edit`: equivariant) to the spec's whole group.

    Raises:
        SpecError: a spec without a path from inputs to outputs.

    References:
        Tran et al., "Equivariant Polynomial Functional Networks", ICML 2025. Their couplings stay as drawn and their
        biases share one coefficient for all paths; here both are trained, each on its own.

    Example:
        >>> from weightspace.spec import Sine, spec_of
        >>> from weightspace.testing import invariance_error
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), Sine(), nn.Linear(4, 4), Sine(), nn.Linear(4, 1)))
        >>> invariance_error(MAGEPNFN(spec, Invariant(10), channels=(8, 8), invariants=8), spec) < 1e-9
        True
    """

    @remember
    def __init__(
        self,
        spec: NetworkSpec,
        readout: Readout,
        *,
        channels: tuple[int, ...] = (32, 32),
        invariants: int = 64,
        compress: bool = False,
    ) -> None:
        super().__init__()
        self.readout, self.compress = readout, compress
        self.norm = ParameterScale(spec)
        space = dense_spec(spec)
        first, last = channels[0], channels[-1]
        self.read = nn.Sequential(EquivariantLinear(spec, 1, first, spec_out=space), suited_nonlinearity(space, first))
        self.polynomials = nn.Sequential()
        for before, behind in zip(channels, channels[1:], strict=False):
            self.polynomials += nn.Sequential(PathProducts(space, before, behind), suited_nonlinearity(space, behind))
        if isinstance(readout, Edit):
            self.change = EquivariantLinear(space, last, 1, spec_out=spec)
            self.step = nn.Parameter(torch.tensor(readout.initial))
        else:
            self.invariants = PathInvariants(space, last, invariants)
            self.head = head(invariants, readout)

    @classmethod
    def preset(cls, name: str, spec: NetworkSpec, readout: Readout) -> "MAGEPNFN":
        """The model in a named size.

        `demo` is for SIRENs and minutes. `cnn-zoo-relu` and `cnn-zoo-tanh` are the published design for predicting how
        well small CNNs generalise: one linear and two polynomial layers of 20 channels, 20 invariants; its head has
        `Invariant(1, hidden=500)`.

        `siren-classify`, with `Invariant(10, hidden=1000, dropout=0.1)`, and `siren-edit`, with `Edit()`, are those for
        what a SIREN shows and for editing it: one linear and three polynomial layers of 128 channels, 128 invariants.
        The published ones begin with Fourier features, whose cosines are even and break the symmetry to signs, and the
        latter has ReLU behind its layers; here there are no such features, and tanh.

        Raises:
            UnknownNameError: another name.
        """
        sizes: dict[str, tuple[tuple[int, ...], int]] = {
            "demo": ((8, 8), 64),
            **dict.fromkeys(("cnn-zoo-relu", "cnn-zoo-tanh"), ((20, 20, 20), 20)),
            **dict.fromkeys(("siren-classify", "siren-edit"), ((128, 128, 128, 128), 128)),
        }
        if name not in sizes:
            raise unknown("preset of MAGEPNFN", name, sizes)
        channels, invariants = sizes[name]
        return cls(spec, readout, channels=channels, invariants=invariants)

    def forward(self, x: WeightFeatures) -> Tensor | WeightFeatures:
        """Answer for a batch of networks."""
        x.expect(self.norm.spec, channels=1)
        features = self.polynomials(self.read(self.norm(x)))
        if isinstance(self.readout, Invariant):
            found = self.invariants(features)
            return self.head(found.arcsinh() if self.compress else found)
        return x + self.norm.inverse(self.change(features).map(lambda t: self.step * t))
