"""Laws of symmetry for functions on weights, measured and asserted over random networks and group elements."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from weightspace.spec import NetworkSpec
from weightspace.testing.orbit import conditioning_of, orbit_deviation, orbit_error, tolerance_of
from weightspace.weights import Element, WeightFeatures, act, sample_element

__all__ = ["assert_equivariant", "assert_invariant", "equivariance_error", "invariance_error", "random_features"]

PullBack = Callable[[Element, Any], Any]


def random_features(
    spec: NetworkSpec, batch: int, channels: int = 1, *, generator: torch.Generator | None = None
) -> WeightFeatures:
    """Features with independent standard normal entries in float64; of variances, which are positive, the magnitudes.

    Example:
        >>> from weightspace.spec import spec_of
        >>> random_features(spec_of(nn.Linear(2, 3)), batch=4, channels=5)["bias"].shape
        torch.Size([4, 3, 5])
    """
    tensors = []
    for param in spec.params:
        shape = (batch, *spec.shape(param.name), channels)
        entries = torch.randn(shape, generator=generator, dtype=torch.float64)
        tensors.append(entries.abs() if param.role == "variance" else entries)
    return WeightFeatures(spec, tensors)


def equivariance_error(
    f: Callable[[WeightFeatures], WeightFeatures],
    spec: NetworkSpec,
    *,
    channels: int = 1,
    batch: int = 4,
    log_scale: float = 4.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> float:
    """How far `f` is from `f(g x) = g f(x)`, over random features and group elements.

    Half of the elements are log-uniform, half scale by powers of two.

    Args:
        f: a function or module from features of `spec` to features of the same free axes. A module is copied,
            turned to `dtype` and put into evaluation mode.
        spec: the space of the inputs; its group is the one that is tested.
        channels: feature channels of the inputs.
        batch: networks (and group elements) per draw.
        log_scale: positive scales reach from `10**-log_scale` to `10**log_scale`.
        seed: of all draws.
        dtype: type of the features' numbers.

    Example:
        >>> from weightspace.spec import Sine, spec_of
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), Sine(30.0), nn.Linear(4, 1)))
        >>> equivariance_error(lambda x: x.map(torch.tanh), spec) < 1e-12
        True
        >>> equivariance_error(lambda x: x.map(torch.relu), spec) > 0.1
        True
    """
    return _Draws(spec, channels, batch, log_scale, seed, dtype).worst(f, _back)


def invariance_error(
    f: Callable[[WeightFeatures], Any],
    spec: NetworkSpec,
    *,
    channels: int = 1,
    batch: int = 4,
    log_scale: float = 4.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> float:
    """How far `f` is from `f(g x) = f(x)`; arguments as for `equivariance_error`.

    Example:
        >>> from weightspace.spec import spec_of
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 1)))
        >>> invariance_error(lambda x: x["0.bias"].sum(1), spec) < 1e-12
        True
    """
    return _Draws(spec, channels, batch, log_scale, seed, dtype).worst(f, _stay)


def assert_equivariant(
    f: Callable[[WeightFeatures], WeightFeatures],
    spec: NetworkSpec,
    *,
    channels: int = 1,
    batch: int = 4,
    log_scale: float = 4.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    tolerance: float | None = None,
) -> None:
    """Assert `f(g x) = g f(x)`; arguments as for `equivariance_error`.

    Args:
        f: the function or module under test.
        spec: the space of the inputs; its group is the one that is tested.
        channels: feature channels of the inputs.
        batch: networks (and group elements) per draw.
        log_scale: positive scales reach from `10**-log_scale` to `10**log_scale`.
        seed: of all draws.
        dtype: type of the features' numbers.
        tolerance: the largest error that passes; `None` takes `tolerance_of` the dtype at the conditioning of `f`.

    Raises:
        AssertionError: a larger error; the message tells it, the tolerance, the worst parameter and the seed.

    Example:
        >>> from weightspace.spec import Sine, spec_of
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), Sine(30.0), nn.Linear(4, 1)))
        >>> assert_equivariant(lambda x: x.map(torch.tanh), spec)
        >>> assert_equivariant(lambda x: x.map(torch.relu), spec)
        Traceback (most recent call last):
        ...
        AssertionError: not equivariant: error ... at the output['0.weight'], ... > tolerance ... (..., seed 0)
    """
    _Draws(spec, channels, batch, log_scale, seed, dtype).hold("not equivariant", f, _back, tolerance)


def assert_invariant(
    f: Callable[[WeightFeatures], Any],
    spec: NetworkSpec,
    *,
    channels: int = 1,
    batch: int = 4,
    log_scale: float = 4.0,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
    tolerance: float | None = None,
) -> None:
    """Assert `f(g x) = f(x)`; arguments and errors as for `assert_equivariant`.

    Example:
        >>> from weightspace.spec import spec_of
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 1)))
        >>> assert_invariant(lambda x: x["0.bias"].sum(1), spec)
    """
    _Draws(spec, channels, batch, log_scale, seed, dtype).hold("not invariant", f, _stay, tolerance)


def _back(g: Element, y: WeightFeatures) -> WeightFeatures:
    return act(g.inverse(), y)


def _stay(_g: Element, y: Any) -> Any:
    return y


@dataclass(frozen=True)
class _Draws:
    """Random features with random elements that act on them, and what a function makes of both."""

    spec: NetworkSpec
    channels: int
    batch: int
    log_scale: float
    seed: int
    dtype: torch.dtype

    def __iter__(self) -> Iterator[tuple[str, Element, WeightFeatures]]:
        generator = torch.Generator().manual_seed(self.seed)
        for name, powers_of_two in (("log-uniform scales", False), ("scales that are powers of two", True)):
            x = random_features(self.spec, self.batch, self.channels, generator=generator).to(self.dtype)
            g = sample_element(
                self.spec, self.batch, generator=generator, log_scale=self.log_scale, powers_of_two=powers_of_two
            )
            yield name, g, x

    def worst(self, f: Callable[[WeightFeatures], Any], pull_back: PullBack) -> float:
        """The largest error over all draws."""
        f = self._prepared(f)
        return max(orbit_error(f, partial(act, g), partial(pull_back, g), x) for _, g, x in self)

    def hold(self, complaint: str, f: Callable[[WeightFeatures], Any], pull_back: PullBack, most: float | None) -> None:
        """Raise `AssertionError` where the error of a draw is larger than its tolerance."""
        f = self._prepared(f)
        for name, g, x in self:
            found = orbit_deviation(f, partial(act, g), partial(pull_back, g), x)
            conditioning = 1.0 if most is not None else conditioning_of(f, x, self.dtype, seed=self.seed)
            tolerance = tolerance_of(self.dtype, conditioning) if most is None else most
            if not found.error <= tolerance:
                raise AssertionError(
                    f"{complaint}: error {found.error:.2g} at {found.where} > tolerance {tolerance:.2g} ({name}, "
                    f"{self.dtype}, conditioning {conditioning:.2g}, seed {self.seed})"
                )

    def _prepared(self, f: Callable[[WeightFeatures], Any]) -> Callable[[WeightFeatures], Any]:
        return copy.deepcopy(f).to(self.dtype).eval() if isinstance(f, nn.Module) else f
