"""What each operation demands, one file per kind of operation. `RULES` finds them by the operation's name."""

from weightspace.spec.trace.rule import contraction, normalisation, pointwise, rearrangement, recurrence, reduction
from weightspace.spec.trace.rule.pointwise import activate
from weightspace.spec.trace.rule.registry import PACKED, RULES, Rule, not_understood

__all__ = [
    "PACKED",
    "RULES",
    "Rule",
    "activate",
    "contraction",
    "normalisation",
    "not_understood",
    "pointwise",
    "rearrangement",
    "recurrence",
    "reduction",
]
