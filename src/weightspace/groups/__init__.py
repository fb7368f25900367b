"""Finite groups, how units may be moved and scaled, and what commutes with that (floor 1)."""

from weightspace.groups.action import Action, direct_sum, natural, quotient, regular, table_action, tensor_product
from weightspace.groups.finite import Cyclic, Dihedral, FiniteGroup, cyclic, dihedral
from weightspace.groups.frame import Frame, ball, box, frame
from weightspace.groups.group import Group
from weightspace.groups.lattice import p4, p4m, point_group, turn_matrices
from weightspace.groups.monomial import Monomial
from weightspace.groups.partition import set_partitions
from weightspace.groups.pattern import Pattern, tied_pattern
from weightspace.groups.permutation import PermutationGroup, from_permutations, symmetric
from weightspace.groups.product import DirectProduct, SemidirectProduct, direct_product, semidirect_product
from weightspace.groups.subgroup import Cosets, Subgroup, left_cosets, right_cosets, subgroup

__all__ = [
    "Action",
    "Cosets",
    "Cyclic",
    "Dihedral",
    "DirectProduct",
    "FiniteGroup",
    "Frame",
    "Group",
    "Monomial",
    "Pattern",
    "PermutationGroup",
    "SemidirectProduct",
    "Subgroup",
    "ball",
    "box",
    "cyclic",
    "dihedral",
    "direct_product",
    "direct_sum",
    "frame",
    "from_permutations",
    "left_cosets",
    "natural",
    "p4",
    "p4m",
    "point_group",
    "quotient",
    "regular",
    "right_cosets",
    "semidirect_product",
    "set_partitions",
    "subgroup",
    "symmetric",
    "table_action",
    "tensor_product",
    "tied_pattern",
    "turn_matrices",
]
