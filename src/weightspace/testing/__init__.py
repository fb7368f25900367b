"""The public test kit: errors of symmetry laws for any function on weights (floor 4)."""

from weightspace.testing.law import (
    equivariance_error,
    function_error,
    invariance_error,
    orbit_error,
    random_features,
)

__all__ = ["equivariance_error", "function_error", "invariance_error", "orbit_error", "random_features"]
