"""Laws of symmetry, measured: how far a function is from respecting a group.

The error of a law is measured after pulling back: with `f(g x)` brought back by the inverse of `g`, it is
`max |g^-1 f(g x) - f(x)| / max |f(x)|`, the largest over all parameters. Norms of `f(g x) - g f(x)` would hide
everything but the entries that `g` makes largest.
"""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from weightspace.errors import ShapeError
from weightspace.spec import NetworkSpec
from weightspace.weights import Element, WeightFeatures, act, features_of, sample_element

__all__ = ["equivariance_error", "function_error", "invariance_error", "orbit_error", "random_features"]

X = TypeVar("X")


def orbit_error(f: Callable[[X], Any], move: Callable[[X], X], pull_back: Callable[[Any], Any], sample: X) -> float:
    """The error of the law `pull_back(f(move(x))) = f(x)` at one sample, for any group and any tensors.

    Args:
        f: the function under test; returns a tensor or a pytree of tensors.
        move: a group element acting on inputs.
        pull_back: the inverse of the same element acting on outputs (the identity for an invariant function).
        sample: the input.

    Returns:
        The largest relative error over the output's tensors; infinite where something is not finite.

    Example:
        >>> orbit_error(torch.relu, lambda x: -x, lambda y: -y, torch.tensor([1.0, -2.0]))
        2.0
    """
    with torch.no_grad():
        plain, moved = pytree.tree_leaves(f(sample)), pytree.tree_leaves(pull_back(f(move(sample))))
    return max(_relative(a, b) for a, b in zip(plain, moved, strict=True))


def _relative(expected: Tensor, actual: Tensor) -> float:
    if expected.shape != actual.shape:
        raise ShapeError(f"the function gave shape {tuple(expected.shape)} first and {tuple(actual.shape)} when moved.")
    if expected.numel() == 0:
        return 0.0
    size, difference = expected.abs().max().item(), (actual - expected).abs().max().item()
    if difference == 0.0:
        return 0.0
    error = difference / size if size else float("inf")
    return error if error == error else float("inf")


def random_features(
    spec: NetworkSpec, batch: int, channels: int = 1, *, generator: torch.Generator | None = None
) -> WeightFeatures:
    """Features with independent standard normal entries in float64.

    Example:
        >>> from weightspace.spec import spec_of
        >>> random_features(spec_of(nn.Linear(2, 3)), batch=4, channels=5)["bias"].shape
        torch.Size([4, 3, 5])
    """
    shapes = [(batch, *spec.shape(param.name), channels) for param in spec.params]
    return WeightFeatures(spec, [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes])


def equivariance_error(
    f: Callable[[WeightFeatures], WeightFeatures],
    spec: NetworkSpec,
    *,
    channels: int = 1,
    batch: int = 4,
    log_scale: float = 4.0,
    seed: int = 0,
) -> float:
    """How far `f` is from `f(g x) = g f(x)`, over random features and group elements in float64.

    Half of the elements are log-uniform, half scale by powers of two.

    Args:
        f: a function or module from features of `spec` to features of the same free axes. A module is copied,
            turned to float64 and put into evaluation mode.
        spec: the space of the inputs; its group is the one that is tested.
        channels: feature channels of the inputs.
        batch: networks (and group elements) per draw.
        log_scale: positive scales reach from `10**-log_scale` to `10**log_scale`.
        seed: of all draws.

    Example:
        >>> from weightspace.spec import Sine, spec_of
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), Sine(30.0), nn.Linear(4, 1)))
        >>> equivariance_error(lambda x: x.map(torch.tanh), spec) < 1e-12
        True
        >>> equivariance_error(lambda x: x.map(torch.relu), spec) > 0.1
        True
    """
    return _worst(f, spec, lambda g, y: act(g.inverse(), y), channels, batch, log_scale, seed)


def invariance_error(
    f: Callable[[WeightFeatures], Any],
    spec: NetworkSpec,
    *,
    channels: int = 1,
    batch: int = 4,
    log_scale: float = 4.0,
    seed: int = 0,
) -> float:
    """How far `f` is from `f(g x) = f(x)`; arguments as for `equivariance_error`.

    Example:
        >>> from weightspace.spec import spec_of
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 1)))
        >>> invariance_error(lambda x: x["0.bias"].sum(1), spec) < 1e-12
        True
    """
    return _worst(f, spec, lambda _g, y: y, channels, batch, log_scale, seed)


def _worst(
    f: Callable[[WeightFeatures], Any],
    spec: NetworkSpec,
    pull_back: Callable[[Element, Any], Any],
    channels: int,
    batch: int,
    log_scale: float,
    seed: int,
) -> float:
    if isinstance(f, nn.Module):
        f = copy.deepcopy(f).double().eval()
    generator = torch.Generator().manual_seed(seed)
    errors = []
    for powers_of_two in (False, True):
        x = random_features(spec, batch, channels, generator=generator)
        g = sample_element(spec, batch, generator=generator, log_scale=log_scale, powers_of_two=powers_of_two)
        errors.append(orbit_error(f, partial(act, g), partial(pull_back, g), x))
    return max(errors)


def function_error(
    module: nn.Module,
    spec: NetworkSpec,
    example_inputs: tuple[Tensor, ...],
    *,
    elements: int = 4,
    log_scale: float = 2.0,
    seed: int = 0,
) -> float:
    """How much a network's function changes when its weights are moved by random elements of the spec's group.

    The inputs are the examples and multiples of them over six decades, so that bounded activations are driven beyond
    their bounds. Everything runs in float64 on copies; the module is not changed.

    Args:
        module: the network.
        spec: the description under test; it is right if the error is of the order of rounding.
        example_inputs: what the module is called with.
        elements: how many group elements are tried.
        log_scale: positive scales reach from `10**-log_scale` to `10**log_scale`.
        seed: of the group elements.

    Raises:
        ShapeError: the spec describes another architecture than the module has.

    Example:
        >>> from weightspace.spec import spec_of
        >>> module = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
        >>> function_error(module, spec_of(module), (torch.randn(5, 2),)) < 1e-9
        True
    """
    if not example_inputs:
        raise ShapeError("function_error needs at least one example input to call the module with.")
    module = copy.deepcopy(module).double().eval()
    inputs = [tuple(x.double() * 10.0**decade for x in example_inputs) for decade in range(-3, 4)]
    g = sample_element(spec, elements, generator=torch.Generator().manual_seed(seed), log_scale=log_scale)
    moved = act(g, features_of(spec, module)).to_modules(module)
    with torch.no_grad():
        return max(_relative(module(*x), twin(*x)) for twin in moved for x in inputs)
