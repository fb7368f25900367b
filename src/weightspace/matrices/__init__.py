"""Group matrices: structured linear maps on signals over finite groups (floor 2)."""

from weightspace.matrices.baselines import LowDisplacementRank, Operators
from weightspace.matrices.conv import GroupConv, Mixing
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
from weightspace.matrices.gmcnn import GMCNN, GainConv, GMCNNDynamics, GroupBlock, RollOut, roll_out
from weightspace.matrices.operator import GroupMatrix, kron, multiply
from weightspace.matrices.pool import CosetLift, CosetPool, GroupPool, GroupUnpool, Pooling
from weightspace.matrices.relax import (
    LowRankGroupConv,
    ModulatedGroupConv,
    Positions,
    RelaxedConv,
    asymmetry,
    penalty,
)
from weightspace.matrices.unet import GroupUNet

__all__ = [
    "GMCNN",
    "Convolution",
    "CosetLift",
    "CosetPool",
    "Displacement",
    "GMCNNDynamics",
    "GainConv",
    "GroupBlock",
    "GroupConv",
    "GroupMatrix",
    "GroupPool",
    "GroupUNet",
    "GroupUnpool",
    "LowDisplacementRank",
    "LowRankGroupConv",
    "LowRankGroupMatrix",
    "Mixing",
    "ModulatedGroupConv",
    "ModulatedGroupMatrix",
    "Norm",
    "Operators",
    "Plan",
    "Pooling",
    "Positions",
    "RelaxedConv",
    "RollOut",
    "approximate",
    "approximate_low_rank",
    "asymmetry",
    "commutator_norm",
    "coordinates",
    "displacement_rank",
    "distance",
    "from_coordinates",
    "kron",
    "multiply",
    "penalty",
    "project",
    "roll_out",
]
