"""Layers on features of networks; each takes a spec first and channel counts next (floor 5)."""

from weightspace.layers.encode import FourierFeatures, PositionEncoding
from weightspace.layers.gated import Gated, Invariants
from weightspace.layers.invariant import Canonical, acting_factors, canonical, permutation_spec
from weightspace.layers.linear import EquivariantLinear, Term
from weightspace.layers.nonlinear import POINTWISE, Gate, Pointwise, Suited, suited_nonlinearity
from weightspace.layers.norm import ParameterScale
from weightspace.layers.polynomial import PathInvariants, PathProducts
from weightspace.layers.pool import InvariantPool
from weightspace.layers.relax import Relaxed
from weightspace.layers.wiring import dense_spec

__all__ = [
    "POINTWISE",
    "Canonical",
    "EquivariantLinear",
    "FourierFeatures",
    "Gate",
    "Gated",
    "InvariantPool",
    "Invariants",
    "ParameterScale",
    "PathInvariants",
    "PathProducts",
    "Pointwise",
    "PositionEncoding",
    "Relaxed",
    "Suited",
    "Term",
    "acting_factors",
    "canonical",
    "dense_spec",
    "permutation_spec",
    "suited_nonlinearity",
]
