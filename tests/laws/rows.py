"""The rows of the battery for layers: a factory, the specs it takes, and the law it obeys."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from tests.laws.registry import SPECS
from torch import nn

from weightspace.layers import (
    Canonical,
    EquivariantLinear,
    FourierFeatures,
    Gate,
    InvariantPool,
    ParameterScale,
    PathInvariants,
    PathProducts,
    Pointwise,
    PositionEncoding,
    Relaxed,
    Suited,
    permutation_spec,
    suited_nonlinearity,
)
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures

CHANNELS = 2
ANY = ("relu", "siren", "gelu", "relu-tanh", "identity", "no-bias", "one-unit-sine", "one-layer", "cnn-relu")
HARD = ("heads-nonzero", "recurrent-sign", "residual-positive", "nested-twice", "two-factors")
PERMUTED = ("gelu", "one-unit", "all-permuted", "one-layer", "heads-permutation", "recurrent-permutation")


@dataclass(frozen=True)
class Row:
    """One kind of layer: how it is made, for which specs, and whether it is equivariant, invariant or canonical."""

    make: Callable[[NetworkSpec], nn.Module]
    specs: tuple[str, ...]
    law: str = "equivariant"


def scaled(spec: NetworkSpec) -> ParameterScale:
    layer = ParameterScale(spec)
    nn.init.uniform_(layer.rms, 0.1, 10)
    return layer


def ends(spec: NetworkSpec) -> PositionEncoding:
    fixed = [axis.name for axis in spec.axes if not axis.symmetry.permutes]
    return PositionEncoding(spec, tuple(fixed[:2]))


ROWS: Mapping[str, Row] = {
    "ParameterScale": Row(scaled, ANY + HARD),
    "relu": Row(lambda spec: Pointwise(spec, "relu"), ("relu", "gelu", "cnn-relu", "residual-positive", "two-factors")),
    "leaky_relu": Row(lambda spec: Pointwise(spec, "leaky_relu"), ("leaky", "relu-gelu", "no-bias")),
    "tanh": Row(lambda spec: Pointwise(spec, "tanh"), ("tanh", "siren", "gelu-tanh", "cnn-tanh", "recurrent-sign")),
    "sin": Row(lambda spec: Pointwise(spec, "sin"), ("siren", "one-unit-sine")),
    "gelu": Row(lambda spec: Pointwise(spec, "gelu"), PERMUTED),
    "Gate": Row(lambda spec: Gate(spec, CHANNELS), ANY + HARD),
    "Suited": Row(lambda spec: Suited(spec, CHANNELS), ANY + HARD),
    "suited_nonlinearity": Row(lambda spec: suited_nonlinearity(spec, CHANNELS), ANY + HARD),
    "EquivariantLinear": Row(lambda spec: EquivariantLinear(spec, CHANNELS, 3), ("relu", "siren", "heads-nonzero")),
    "Relaxed": Row(lambda spec: Relaxed(EquivariantLinear(spec, CHANNELS, 3), 2), ("relu", "siren", *HARD, "gelu")),
    "PathProducts": Row(lambda spec: PathProducts(spec, CHANNELS, 3), ("relu", "siren", "relu-tanh", "residual-norm")),
    "PathInvariants": Row(
        lambda spec: PathInvariants(spec, CHANNELS, 3), ("tanh", "gelu", "residual-norm"), "invariant"
    ),
    "FourierFeatures": Row(lambda spec: FourierFeatures(spec, CHANNELS, 4), PERMUTED),
    "PositionEncoding": Row(ends, ("gelu", "one-unit", "one-layer", "heads-permutation")),
    "Canonical": Row(Canonical, ANY + HARD, "canonical"),
    "InvariantPool": Row(lambda spec: InvariantPool(spec, CHANNELS), PERMUTED, "invariant"),
    "Canonical, InvariantPool": Row(
        lambda spec: nn.Sequential(Canonical(spec), InvariantPool(permutation_spec(spec), CHANNELS)),
        ANY + HARD,
        "invariant",
    ),
}
CASES = [(name, spec) for name, row in ROWS.items() for spec in row.specs]
FIRST = [(name, row.specs[0]) for name, row in ROWS.items()]


def layer_of(name: str, spec: str) -> nn.Module:
    """The row's layer with random coefficients, the same at every call, in float64."""
    torch.manual_seed(0)
    return ROWS[name].make(SPECS[spec]).double()


def leaves(y: WeightFeatures | torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The tensors of an answer."""
    return y.tensors if isinstance(y, WeightFeatures) else (y,)
