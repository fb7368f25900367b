"""The public test kit: errors of symmetry laws for any function on weights or signals (floor 4).

Its names are loaded when they are asked for, so that pytest can load the plugin at its start without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weightspace.testing.function import assert_function_preserved, function_changes, function_error
    from weightspace.testing.law import (
        assert_equivariant,
        assert_invariant,
        equivariance_error,
        invariance_error,
        random_features,
    )
    from weightspace.testing.network import Blueprint, Layer, random_module
    from weightspace.testing.orbit import assert_orbit, orbit_error, tolerance_of
    from weightspace.testing.signal import signal_error

__all__ = [
    "Blueprint",
    "Layer",
    "assert_equivariant",
    "assert_function_preserved",
    "assert_invariant",
    "assert_orbit",
    "equivariance_error",
    "function_changes",
    "function_error",
    "invariance_error",
    "orbit_error",
    "random_features",
    "random_module",
    "signal_error",
    "tolerance_of",
]

_FILES = {
    "function": ("assert_function_preserved", "function_changes", "function_error"),
    "law": ("assert_equivariant", "assert_invariant", "equivariance_error", "invariance_error", "random_features"),
    "network": ("Blueprint", "Layer", "random_module"),
    "orbit": ("assert_orbit", "orbit_error", "tolerance_of"),
    "signal": ("signal_error",),
}


def __getattr__(name: str) -> Any:
    for file, names in _FILES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{file}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
