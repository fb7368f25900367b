"""Group matrices: structured linear maps on signals over finite groups (floor 2)."""

from weightspace.matrices.baselines import LowDisplacementRank, Operators
from weightspace.matrices.convolution import Convolution, Plan
from weightspace.matrices.displacement import (
    Displacement,
    LowRankGroupMatrix,
    ModulatedGroupMatrix,
    Norm,
    approximate,
    approximate_low_rank,
    commutator_norm,
    coordinates,
    displacement_rank,
    distance,
    from_coordinates,
    project,
)
from weightspace.matrices.operator import GroupMatrix, kron, multiply

__all__ = [
    "Convolution",
    "Displacement",
    "GroupMatrix",
    "LowDisplacementRank",
    "LowRankGroupMatrix",
    "ModulatedGroupMatrix",
    "Norm",
    "Operators",
    "Plan",
    "approximate",
    "approximate_low_rank",
    "commutator_norm",
    "coordinates",
    "displacement_rank",
    "distance",
    "from_coordinates",
    "kron",
    "multiply",
    "project",
]
