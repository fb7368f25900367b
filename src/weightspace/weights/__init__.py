"""Networks as data: features, the group's action on them, and the way from files and modules and back (floor 3)."""

from weightspace.weights.action import Element, act, identity, sample_element
from weightspace.weights.features import WeightFeatures, flatten, unflatten
from weightspace.weights.source import Reading, Source, read_source
from weightspace.weights.stack import features_of

__all__ = [
    "Element",
    "Reading",
    "Source",
    "WeightFeatures",
    "act",
    "features_of",
    "flatten",
    "identity",
    "read_source",
    "sample_element",
    "unflatten",
]
