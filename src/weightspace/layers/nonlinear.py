"""Non-linearities that suit the symmetry of every parameter they touch."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.errors import SymmetryError, unknown
from weightspace.layers.invariant import acting_factors, canonical
from weightspace.spec import Factor, NetworkSpec
from weightspace.weights import WeightFeatures

__all__ = ["POINTWISE", "Gate", "Pointwise", "suited_nonlinearity"]


@dataclass(frozen=True)
class PointwiseFunction:
    """A function of one number with the factors that pass through it: `f(d x) = d f(x)`."""

    function: Callable[[Tensor], Tensor]
    passes: frozenset[Factor]


HOMOGENEOUS, ODD, NEITHER = frozenset({Factor.POSITIVE}), frozenset({Factor.SIGN}), frozenset[Factor]()
POINTWISE: Mapping[str, PointwiseFunction] = {
    "relu": PointwiseFunction(F.relu, HOMOGENEOUS),
    "leaky_relu": PointwiseFunction(F.leaky_relu, HOMOGENEOUS),
    "tanh": PointwiseFunction(torch.tanh, ODD),
    "sin": PointwiseFunction(torch.sin, ODD),
    "gelu": PointwiseFunction(F.gelu, NEITHER),
    "silu": PointwiseFunction(F.silu, NEITHER),
}


class Pointwise(nn.Module):
    """One function applied to every number.

    Args:
        spec: space of the features.
        name: a key of `POINTWISE`. On entries that scale it must be positively homogeneous, on entries that change
            sign it must be odd, elsewhere anything goes.

    Shapes:
        Unchanged.

    Symmetry:
        `layer(act(g, x)) == act(g, layer(x))`.

    Raises:
        SymmetryError: the function does not suit some parameter of the spec.
        UnknownNameError: no function of this name.

    Example:
        >>> from weightspace.spec import spec_of
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)))
        >>> Pointwise(spec, "tanh")
        Pointwise(tanh)
        >>> Pointwise(spec, "relu")
        Traceback (most recent call last):
        weightspace.errors.SymmetryError: relu does not suit parameter '0.weight', whose entries change sign...
    """

    def __init__(self, spec: NetworkSpec, name: str) -> None:
        super().__init__()
        if name not in POINTWISE:
            raise unknown("non-linearity", name, POINTWISE)
        for param in spec.params:
            blocked = acting_factors(spec, param) - POINTWISE[name].passes
            if blocked:
                verbs = {Factor.SIGN: "change sign", Factor.POSITIVE: "scale"}
                remedy = "an odd function or Gate" if Factor.SIGN in blocked else "a homogeneous function or Gate"
                raise SymmetryError(
                    f"{name} does not suit parameter {param.name!r}, whose entries "
                    f"{' and '.join(verbs[f] for f in sorted(blocked))}; take {remedy}."
                )
        self.spec, self.name = spec, name

    def forward(self, x: WeightFeatures) -> WeightFeatures:
        """Apply the function."""
        x.expect(self.spec)
        return x.map(POINTWISE[self.name].function)

    def extra_repr(self) -> str:
        """The name, for `print(layer)`."""
        return self.name


class Gate(nn.Module):
    r"""Every entry multiplied by a function of its own invariants: :math:`y = x \odot 2\sigma(A\,c(x) + a)`.

    `c` is the canonical form of the entry's channel vector under the factors that act on it (`layers.invariant`), so
    the gate changes under no symmetry and the product transforms as `x` does. Suits every parameter, also those
    whose entries both scale and change sign, for which no pointwise function is left but the identity.

    Args:
        spec: space of the features.
        channels: feature channels.

    Shapes:
        Unchanged.

    Symmetry:
        `layer(act(g, x)) == act(g, layer(x))`.

    References:
        Kalogeropoulos et al., "Scale Equivariant Graph Metanetworks", NeurIPS 2024: a linear map times an invariant.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import equivariance_error
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)))
        >>> equivariance_error(Gate(spec, 3), spec, channels=3) < 1e-12
        True
    """

    def __init__(self, spec: NetworkSpec, channels: int) -> None:
        super().__init__()
        self.spec = spec
        self.factors = [acting_factors(spec, param) for param in spec.params]
        self.gates = nn.ModuleList(nn.Linear(channels, channels) for _ in spec.params)

    def forward(self, x: WeightFeatures) -> WeightFeatures:
        """Apply the gate."""
        x.expect(self.spec)
        rows = zip(x.tensors, self.gates, self.factors, strict=True)
        return WeightFeatures(x.spec, [t * 2 * torch.sigmoid(gate(canonical(t, f))) for t, gate, f in rows])


def suited_nonlinearity(spec: NetworkSpec, channels: int) -> nn.Module:
    """A non-linearity that suits every parameter: ReLU for scales, tanh for signs, a gate where both occur.

    Example:
        >>> from weightspace.spec import Sine, spec_of
        >>> suited_nonlinearity(spec_of(nn.Sequential(nn.Linear(2, 4), Sine(), nn.Linear(4, 1))), channels=8)
        Pointwise(tanh)
    """
    kinds = frozenset().union(*(acting_factors(spec, param) for param in spec.params))
    if kinds == ODD:
        return Pointwise(spec, "tanh")
    return Pointwise(spec, "relu") if kinds <= HOMOGENEOUS else Gate(spec, channels)
