"""Bringing networks into the same gauge: norms, canonical forms, alignment, equality, interpolation (floor 4)."""

from weightspace.gauge.align import Aligned, align, align_activations
from weightspace.gauge.canonical import canonical_element, canonicalise
from weightspace.gauge.family import families
from weightspace.gauge.interpolate import BarrierCurve, barrier_curve, interpolate, recalibrate
from weightspace.gauge.norm import gauge_norms
from weightspace.gauge.phase import fold_phases
from weightspace.gauge.phase_view import PhaseView
from weightspace.gauge.same import Sameness, same

__all__ = [
    "Aligned",
    "BarrierCurve",
    "PhaseView",
    "Sameness",
    "align",
    "align_activations",
    "barrier_curve",
    "canonical_element",
    "canonicalise",
    "families",
    "fold_phases",
    "gauge_norms",
    "interpolate",
    "recalibrate",
    "same",
]
