"""Layers on features of networks; each takes a spec first and channel counts next (floor 5)."""

from weightspace.layers.encode import FourierFeatures, PositionEncoding
from weightspace.layers.invariant import Canonical, acting_factors, canonical, permutation_spec
from weightspace.layers.linear import EquivariantLinear, Term
from weightspace.layers.nonlinear import POINTWISE, Gate, Pointwise, suited_nonlinearity
from weightspace.layers.norm import ParameterScale
from weightspace.layers.pool import InvariantPool

__all__ = [
    "POINTWISE",
    "Canonical",
    "EquivariantLinear",
    "FourierFeatures",
    "Gate",
    "InvariantPool",
    "ParameterScale",
    "Pointwise",
    "PositionEncoding",
    "Term",
    "acting_factors",
    "canonical",
    "permutation_spec",
    "suited_nonlinearity",
]
