"""Group matrices: structured linear maps on signals over finite groups (floor 2)."""

from weightspace.matrices.convolution import Convolution, Plan
from weightspace.matrices.operator import GroupMatrix, kron, multiply

__all__ = ["Convolution", "GroupMatrix", "Plan", "kron", "multiply"]
