"""Whether two networks are one network written twice."""

from dataclasses import dataclass

import torch

from weightspace.errors import DataError, ShapeError
from weightspace.gauge.align import align
from weightspace.gauge.canonical import canonical_element
from weightspace.gauge.phase import fold_phases
from weightspace.weights import Element, WeightFeatures, act

__all__ = ["Sameness", "rounding", "same"]


@dataclass(frozen=True, eq=False)
class Sameness:
    """The answer of `same`; true where the networks are equal modulo their symmetries.

    Args:
        equal: whether they are.
        element: what moves the first onto the second, where they are equal; phases of sine units come on top.
        distance: the largest difference of two entries relative to the largest entry of their parameter, with both
            networks in one gauge. For networks that are not equal it is the least that was found.
    """

    equal: bool
    element: Element | None
    distance: float

    def __bool__(self) -> bool:
        return self.equal


def same(a: WeightFeatures, b: WeightFeatures, tolerance: float | None = None) -> Sameness:
    """Are two networks equal up to the order of units, scales, signs, and phases of sine units?

    Both are brought to their canonical form. Where the forms differ, because of ties or because the networks do, one
    is aligned to the other. A yes is proved by the group element that comes with it. A no is sure in general position;
    networks with symmetries of their own, whose units tie, may be equal unnoticed.

    Args:
        a: one network.
        b: another of the same space.
        tolerance: the largest relative difference that counts as rounding; `None` takes `eps ** (2 / 3)` of the
            coarser of both types: 4e-11 for float64, 2e-5 for float32.

    Raises:
        ShapeError: networks of different spaces, more than one at a time, or entries that are not finite.
        DataError: a tolerance that is negative or no number.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.weights import features_of, sample_element
        >>> network = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        >>> x = features_of(spec_of(network), network)
        >>> same(x, act(sample_element(x.spec, 1, log_scale=6), x)).equal
        True
        >>> answer = same(x, x.map(lambda tensor: 1.01 * tensor))
        >>> answer.equal, answer.element, round(answer.distance, 3)
        (False, None, 0.02)
    """
    if a.spec != b.spec or a.channels != b.channels:
        raise ShapeError(
            f"a network of a space of {a.spec.numel} parameters and one of {b.spec.numel} are of different "
            "architecture; only networks of one space can be equal modulo its symmetries."
        )
    if len(a) != 1 or len(b) != 1:
        raise ShapeError(f"same compares one network with one other, not {len(a)} with {len(b)}; index the batch.")
    tolerance = rounding(tolerance, a, b)
    with torch.no_grad():
        answer = _canonically(a, b, tolerance)
        return answer if answer.equal else _aligned(a, b, tolerance, answer.distance)


def rounding(tolerance: float | None, *networks: WeightFeatures) -> float:
    """The largest relative difference that counts as rounding: as told, or that of the coarsest type.

    Raises:
        DataError: a tolerance that is negative or no number, which nothing could meet.

    Example:
        >>> rounding(1e-3)
        0.001
    """
    if tolerance is None:
        return float(max(torch.finfo(x.dtype).eps for x in networks) ** (2 / 3))
    if not tolerance >= 0:
        raise DataError(f"tolerance is {tolerance:g}; expected zero or more, such as 1e-5.")
    return tolerance


def _canonically(a: WeightFeatures, b: WeightFeatures, tolerance: float) -> Sameness:
    """The answer of the canonical forms."""
    forms = [canonical_element(x) for x in (a, b)]
    distance = _apart(*(act(g, fold_phases(x.to(torch.float64))) for g, x in zip(forms, (a, b), strict=True)))
    equal = distance <= tolerance
    return Sameness(equal, forms[1].inverse() @ forms[0] if equal else None, distance)


def _aligned(a: WeightFeatures, b: WeightFeatures, tolerance: float, known: float) -> Sameness:
    """The answer of an alignment, seen in the canonical gauge of the second network."""
    found, form = align(a.to(torch.float64), b.to(torch.float64)), canonical_element(b)
    moved = (act(form, found.features), act(form, b.to(torch.float64)))
    distance = _apart(*moved)
    equal = distance <= tolerance
    return Sameness(equal, found.element if equal else None, min(distance, known))


def _apart(a: WeightFeatures, b: WeightFeatures) -> float:
    distance = 0.0
    for p, q in zip(a.tensors, b.tensors, strict=True):
        size = max(p.abs().max().item(), q.abs().max().item())
        distance = max(distance, (p - q).abs().max().item() / size if size else 0.0)
    return distance
