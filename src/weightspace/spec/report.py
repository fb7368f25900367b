"""A spec in words: what a reader wants to know of a weight space."""

from collections.abc import Iterator
from math import lgamma, log, prod

from weightspace.spec.certificate import certify
from weightspace.spec.network import Axis, Factor, NetworkSpec, ParamSpec

__all__ = ["factor_count", "log10_permutations", "report_of", "symmetric_share"]


def report_of(spec: NetworkSpec, *, verify: bool = False) -> str:
    """One line per axis, parameter and note, below the size of the group."""
    lines = [_summary(spec)]
    lines += [_axis_line(spec, axis) for axis in spec.axes]
    lines += [_param_line(param) for param in spec.params]
    lines += [f"note on {note.subject}: {note.reason}" for note in spec.notes]
    return "\n".join(lines + ([str(certify(spec))] if verify else []))


def _summary(spec: NetworkSpec) -> str:
    signs, scales = (factor_count(spec, kind) for kind in (Factor.SIGN, Factor.POSITIVE))
    return (
        f"{spec.numel:,} parameters in {len(spec.params)} blocks, {symmetric_share(spec):.0%} of them with a symmetry\n"
        f"group: 10^{log10_permutations(spec):.1f} permutations, {scales} positive scales, {signs} signs"
    )


def _axis_line(spec: NetworkSpec, axis: Axis) -> str:
    acts = dict.fromkeys(p.activation for p in spec.places if p.axis == axis.name and p.activation != "identity")
    within = "" if axis.within is None else f" in each of {axis.within}"
    units = "unit" if axis.size == 1 else "units"
    return (
        f"axis {axis.name}: {axis.size} {units}{within}, {axis.symmetry!r}{f' ({chr(44).join(acts)})' if acts else ''}"
    )


def _param_line(param: ParamSpec) -> str:
    legs = " x ".join(f"{leg.axis}{list(leg.powers) if leg.powers else ''}" for leg in param.legs)
    return f"{param.role} {param.name}: {legs or 'one number'}"


def _copies(spec: NetworkSpec, axis: Axis) -> Iterator[int]:
    """Sizes of the axes that one is nested in: it has a set of units for each of their units."""
    while axis.within is not None:
        axis = spec.axis(axis.within)
        yield axis.size


def log10_permutations(spec: NetworkSpec) -> float:
    """Decimal logarithm of the number of ways to reorder the units.

    Example:
        >>> from torch import nn
        >>> from weightspace.spec import spec_of
        >>> round(log10_permutations(spec_of(nn.Sequential(nn.Linear(2, 10), nn.Tanh(), nn.Linear(10, 1)))), 2)
        6.56
    """
    return sum(prod(_copies(spec, axis)) * lgamma(axis.size + 1) / log(10) for axis in spec.free_axes)


def factor_count(spec: NetworkSpec, kind: Factor) -> int:
    """How many scalars of a kind may be chosen: one per unit and factor."""
    return sum(
        prod(_copies(spec, axis)) * axis.size * sum(factor is kind for factor in axis.symmetry.factors)
        for axis in spec.free_axes
    )


def symmetric_share(spec: NetworkSpec) -> float:
    """Share of the parameters (as numbers) that some symmetry moves."""
    free = {axis.name for axis in spec.free_axes}
    moved = sum(prod(spec.shape(p.name)) for p in spec.params if any(leg.axis in free for leg in p.legs))
    return moved / spec.numel if spec.numel else 0.0
