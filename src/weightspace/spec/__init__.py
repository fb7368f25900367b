"""What a network's parameters are and how they transform (floor 2, no tensors)."""

from weightspace.spec.activations import ACTIVATIONS, Activation, Sine, activation_of, activation_of_operation
from weightspace.spec.element import Element, identity, sample_element
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
    Note,
    ParamSpec,
    Place,
    Symmetry,
    View,
    Wire,
)
from weightspace.spec.registration import register_activation, registered_activations

__all__ = [
    "ACTIVATIONS",
    "FIXED",
    "NONZERO",
    "PERMUTATION",
    "POSITIVE",
    "SIGN",
    "Activation",
    "Axis",
    "Element",
    "Factor",
    "Leg",
    "NetworkSpec",
    "Note",
    "ParamSpec",
    "Place",
    "Sine",
    "Symmetry",
    "View",
    "Wire",
    "activation_of",
    "activation_of_operation",
    "identity",
    "register_activation",
    "registered_activations",
    "sample_element",
    "spec_of",
]
