"""Non-linearities that suit the symmetry of every parameter they touch."""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.errors import SymmetryError, unknown
from weightspace.layers.invariant import acting_factors, canonical
from weightspace.spec import Factor, NetworkSpec
from weightspace.weights import WeightFeatures

__all__ = ["POINTWISE", "Gate", "Pointwise", "Suited", "suited_nonlinearity"]


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
        return WeightFeatures(x.spec, [_gated(tensor, gate, factors) for tensor, gate, factors in rows])


def _gated(x: Tensor, gate: nn.Module, factors: Set[Factor]) -> Tensor:
    return x * 2 * torch.sigmoid(gate(canonical(x, factors)))


class Suited(nn.Module):
    """On every parameter the function that suits it: ReLU where entries scale or are free, tanh where they change sign.

    Where both act on one entry, as on the weights between ReLU and tanh units, no pointwise function is left but the
    identity; such parameters alone are gated by their own invariants (`Gate`).

    Args:
        spec: space of the features.
        channels: feature channels.

    Shapes:
        Unchanged.

    Symmetry:
        `layer(act(g, x)) == act(g, layer(x))`.

    Example:
        >>> from weightspace.spec import spec_of
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)))
        >>> Suited(spec, 3)
        Suited(
          0.weight: relu, 0.bias: relu, 2.weight: gate, 2.bias: tanh, 4.weight: tanh, 4.bias: relu
          (gates): ModuleDict(
            (2): Linear(in_features=3, out_features=3, bias=True)
          )
        )
    """

    def __init__(self, spec: NetworkSpec, channels: int) -> None:
        super().__init__()
        self.spec = spec
        self.factors = [acting_factors(spec, param) for param in spec.params]
        self.names = [
            next((name for name in ("relu", "tanh") if factors <= POINTWISE[name].passes), "gate")
            for factors in self.factors
        ]
        gated = [str(row) for row, name in enumerate(self.names) if name == "gate"]
        self.gates = nn.ModuleDict({row: nn.Linear(channels, channels) for row in gated})

    def forward(self, x: WeightFeatures) -> WeightFeatures:
        """Apply to each parameter what suits it."""
        x.expect(self.spec)
        return WeightFeatures(x.spec, [self._apply_to(row, tensor) for row, tensor in enumerate(x.tensors)])

    def _apply_to(self, row: int, x: Tensor) -> Tensor:
        name = self.names[row]
        return _gated(x, self.gates[str(row)], self.factors[row]) if name == "gate" else POINTWISE[name].function(x)

    def extra_repr(self) -> str:
        """What each parameter gets, for `print(layer)`."""
        return ", ".join(f"{param.name}: {name}" for param, name in zip(self.spec.params, self.names, strict=True))


def suited_nonlinearity(spec: NetworkSpec, channels: int) -> nn.Module:
    """A non-linearity that suits every parameter: one function for all where there is one, else each its own.

    Example:
        >>> from weightspace.spec import Sine, spec_of
        >>> suited_nonlinearity(spec_of(nn.Sequential(nn.Linear(2, 4), Sine(), nn.Linear(4, 1))), channels=8)
        Pointwise(tanh)
    """
    kinds = frozenset().union(*(acting_factors(spec, param) for param in spec.params))
    if kinds == ODD:
        return Pointwise(spec, "tanh")
    return Pointwise(spec, "relu") if kinds <= HOMOGENEOUS else Suited(spec, channels)
