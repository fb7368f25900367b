"""What a network's parameters are and how they transform (floor 2, no tensors)."""

from weightspace.spec.activation import ACTIVATIONS, Activation, Sine, activation_of
from weightspace.spec.extract import spec_of
from weightspace.spec.network import (
    FIXED,
    NONZERO,
    PERMUTATION,
    POSITIVE,
    SIGN,
    Axis,
    Factor,
    Leg,
    NetworkSpec,
    ParamSpec,
    Place,
    Symmetry,
    View,
    Wire,
)

__all__ = [
    "ACTIVATIONS",
    "FIXED",
    "NONZERO",
    "PERMUTATION",
    "POSITIVE",
    "SIGN",
    "Activation",
    "Axis",
    "Factor",
    "Leg",
    "NetworkSpec",
    "ParamSpec",
    "Place",
    "Sine",
    "Symmetry",
    "View",
    "Wire",
    "activation_of",
    "spec_of",
]
