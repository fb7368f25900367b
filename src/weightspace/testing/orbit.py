"""The core of the kit: one law at one sample, for any group that acts on any tensors, and how much rounding it is due.

The error of a law is measured after pulling back: with `f(g x)` brought back by the inverse of `g`, it is
`max |g^-1 f(g x) - f(x)| / max |f(x)|`, the largest over all tensors. Norms of `f(g x) - g f(x)` would hide everything
but the entries that `g` makes largest.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from weightspace.errors import ShapeError
from weightspace.weights import WeightFeatures

__all__ = [
    "Deviation",
    "assert_orbit",
    "conditioning_of",
    "deviation",
    "orbit_deviation",
    "orbit_error",
    "tensors_of",
    "tolerance_of",
]

X = TypeVar("X")
MEANINGLESS = 1e-2  # A larger tolerance would let faults pass: where rounding reaches it, a check tells nothing.
STEP = 8  # Conditioning is measured by perturbations of so many units of rounding, each entry on its own.


@dataclass(frozen=True)
class Deviation:
    """How far two answers are apart.

    Args:
        error: the largest difference within one tensor over its largest entry, the largest over all tensors.
        where: the tensor and the entry where it was found.
    """

    error: float
    where: str = "nowhere"


def orbit_error(f: Callable[[X], Any], move: Callable[[X], X], pull_back: Callable[[Any], Any], sample: X) -> float:
    """The error of the law `pull_back(f(move(x))) = f(x)` at one sample, for any group and any tensors.

    Args:
        f: the function under test; returns a tensor, or tensors in tuples, lists, mappings, dataclasses or pytrees.
        move: a group element acting on inputs.
        pull_back: the inverse of the same element acting on outputs (the identity for an invariant function).
        sample: the input.

    Returns:
        The largest relative error over the output's tensors; infinite where something is not finite.

    Raises:
        ShapeError: no tensors in the output, or others when moved.

    Example:
        >>> orbit_error(torch.relu, lambda x: -x, lambda y: -y, torch.tensor([1.0, -2.0]))
        2.0
    """
    return orbit_deviation(f, move, pull_back, sample).error


def orbit_deviation(
    f: Callable[[X], Any], move: Callable[[X], X], pull_back: Callable[[Any], Any], sample: X
) -> Deviation:
    """What `orbit_error` measures, with the place of the largest error."""
    with torch.no_grad():
        return deviation(f(sample), pull_back(f(move(sample))))


def assert_orbit(
    f: Callable[[X], Any],
    move: Callable[[X], X],
    pull_back: Callable[[Any], Any],
    sample: X,
    *,
    seed: int = 0,
    tolerance: float | None = None,
) -> None:
    """Assert the law `pull_back(f(move(x))) = f(x)` at one sample; arguments as for `orbit_error`.

    Args:
        f: the function under test.
        move: a group element acting on inputs.
        pull_back: the inverse of the same element acting on outputs.
        sample: the input.
        seed: of the perturbations by which the conditioning of `f` is measured.
        tolerance: the largest error that passes; `None` takes `tolerance_of` the narrowest type of floating-point
            numbers among the inputs and outputs, at the conditioning that `f` has here.

    Raises:
        AssertionError: a larger error; the message tells it, the tolerance and the worst tensor.

    Example:
        >>> rows, flip = torch.randn(4, 3), lambda x: x.flip(0)
        >>> assert_orbit(lambda x: x - x.mean(0), flip, flip, rows)
        >>> assert_orbit(lambda x: x.cumsum(0), flip, flip, rows)
        Traceback (most recent call last):
        ...
        AssertionError: the law does not hold: error ... at the output...
    """
    found = orbit_deviation(f, move, pull_back, sample)
    if tolerance is None:
        dtype = _narrowest([*tensors_of(sample).values(), *tensors_of(f(sample)).values()])
        tolerance = tolerance_of(dtype, conditioning_of(f, sample, dtype, seed=seed))
    if not found.error <= tolerance:
        raise AssertionError(
            f"the law does not hold: error {found.error:.2g} at {found.where} > tolerance {tolerance:.2g} (seed {seed})"
        )


def tolerance_of(dtype: torch.dtype, conditioning: float = 1.0) -> float:
    r"""The error that rounding alone may cause: :math:`4\,\epsilon^{3/4}` times the conditioning, at most 1e-2.

    A law that holds exactly for real numbers holds for floating-point numbers up to the rounding of each step, which
    is of the order of :math:`\epsilon` (the distance from one to the next larger number), and is enlarged by the
    conditioning of the function: the relative change of its output per relative change of its input. What is allowed
    beyond that, :math:`4\,\epsilon^{-1/4}`, is a quarter of the digits and two bits for the steps in between: 33,000
    times :math:`\epsilon` in float64, 220 times in float32, 13 times in bfloat16. Faults are far larger: a wrong power,
    a wrong sign or a missed tie gives errors of the order of one.

    Where the product is more than 1e-2 (and more than the first factor) it is cut there: a check that lets more pass
    could not tell right from wrong.

    Args:
        dtype: a type of floating-point numbers.
        conditioning: what `conditioning_of` measures; less than one counts as one.

    Example:
        >>> [f"{tolerance_of(dtype):.1e}" for dtype in (torch.float64, torch.float32, torch.bfloat16)]
        ['7.3e-12', '2.6e-05', '1.1e-01']
        >>> f"{tolerance_of(torch.float64, conditioning=100):.1e}"
        '7.3e-10'
    """
    plain = 4 * torch.finfo(dtype).eps ** 0.75
    return min(max(plain, MEANINGLESS), plain * max(1.0, conditioning))


def conditioning_of(f: Callable[[X], Any], sample: X, dtype: torch.dtype, *, seed: int = 0) -> float:
    """The relative change of a function's output per relative change of every entry of its input.

    Each entry is changed at random by a few units of rounding, which the output shows enlarged.

    Args:
        f: a function from pytrees of tensors.
        sample: where it is measured; integers in it stay as they are.
        dtype: whose rounding is meant.
        seed: of the changes.

    Example:
        >>> x = torch.rand(100, dtype=torch.float64)
        >>> 0.1 < conditioning_of(lambda x: 3 * x, x, torch.float64) < 2
        True
        >>> conditioning_of(lambda x: torch.sin(1e4 * x), x, torch.float64) > 1e3
        True
    """
    generator, step = torch.Generator().manual_seed(seed), STEP * torch.finfo(dtype).eps

    def perturb(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not leaf.is_floating_point():
            return leaf
        noise = 2 * torch.rand(leaf.shape, generator=generator, dtype=torch.float64) - 1
        return (leaf.double() * (1 + step * noise.to(leaf.device))).to(leaf.dtype)

    with torch.no_grad():
        return deviation(f(sample), f(pytree.tree_map(perturb, sample))).error / step


def deviation(expected: Any, actual: Any) -> Deviation:
    """How far one answer is from another, both made of equal tensors in equal places.

    Raises:
        ShapeError: no tensors, or other ones in the second answer.
    """
    left, right = tensors_of(expected), tensors_of(actual)
    if not left:
        raise ShapeError(
            f"the function gave {type(expected).__name__} without any tensor; there is nothing to compare."
        )
    if list(left) != list(right):
        raise ShapeError(f"the function gave {list(left)} first and {list(right)} when moved.")
    return max((_apart(name, left[name], right[name]) for name in left), key=lambda found: found.error)


def _apart(name: str, expected: Tensor, actual: Tensor) -> Deviation:
    if expected.shape != actual.shape:
        raise ShapeError(f"the function gave shape {tuple(expected.shape)} first and {tuple(actual.shape)} when moved.")
    if expected.numel() == 0 or torch.equal(expected, actual) and bool(expected.isfinite().all()):
        return Deviation(0.0)
    wide = torch.promote_types(expected.dtype, torch.float64)
    differences = (actual.to(wide) - expected.to(wide)).abs()
    worst = int(differences.nan_to_num(torch.inf).argmax())
    entry = tuple(int(i) for i in torch.unravel_index(torch.tensor(worst), differences.shape))
    size, difference = expected.to(wide).abs().max().item(), differences.max().item()
    error = difference / size if size else float("inf")
    return Deviation(error if error == error else float("inf"), f"{name}, entry {entry}" if entry else name)


def tensors_of(answer: Any) -> dict[str, Tensor]:
    """Every tensor of an answer by where it stands, in order.

    Raises:
        ShapeError: something that is neither a tensor or number nor holds any in a way that can be looked into.
    """
    return dict(_walk(answer, "the output"))


def _walk(value: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, float | complex):
        yield path, torch.tensor(value, dtype=torch.complex128 if isinstance(value, complex) else torch.float64)
    elif value is not None and not isinstance(value, str | bytes | int):
        for name, child in _children(value):
            yield from _walk(child, f"{path}{name}")


def _children(value: Any) -> list[tuple[str, Any]]:
    """The parts of a container with their names as Python would write them."""
    if isinstance(value, WeightFeatures):
        return [(f"[{name!r}]", tensor) for name, tensor in value.items()]
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", child) for key, child in value.items()]
    if is_dataclass(value):
        return [(f".{field.name}", getattr(value, field.name)) for field in fields(value)]
    parts = value if isinstance(value, Sequence) else pytree.tree_leaves(value)
    if len(parts) == 1 and parts[0] is value:
        raise ShapeError(
            f"the function gave a {type(value).__name__}, which cannot be looked into; return tensors, or tensors in "
            "tuples, lists, mappings or dataclasses, or register the class as a pytree."
        )
    return [(f"[{number}]", child) for number, child in enumerate(parts)]


def _narrowest(tensors: Sequence[Tensor]) -> torch.dtype:
    """The type with the fewest digits among the floating-point ones, and float64 where there is none."""
    dtypes = [tensor.dtype for tensor in tensors if tensor.is_floating_point()]
    return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps, default=torch.float64)
