"""Groups: how units may be moved and scaled, and the partitions behind what commutes with that (floor 1)."""

from weightspace.groups.monomial import Monomial
from weightspace.groups.partition import set_partitions

__all__ = ["Monomial", "set_partitions"]
