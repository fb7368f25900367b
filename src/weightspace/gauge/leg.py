"""Where the units of an axis stand in a tensor, nested axes with the axes around them."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from weightspace.groups import Monomial
from weightspace.spec import Axis, Factor, NetworkSpec, ParamSpec
from weightspace.weights import Element, identity

__all__ = ["block_shape", "factor_positions", "laid", "leg_dims", "nest", "only", "scaling"]


def nest(spec: NetworkSpec, name: str) -> tuple[Axis, ...]:
    """The axes that an axis is nested in, outermost first, and the axis itself.

    Example:
        >>> from weightspace.spec import PERMUTATION
        >>> axes = (Axis("head", 3, PERMUTATION), Axis("unit", 4, PERMUTATION, within="head"))
        >>> [axis.name for axis in nest(NetworkSpec(axes, ()), "unit")]
        ['head', 'unit']
    """
    axis = spec.axis(name)
    return (axis,) if axis.within is None else (*nest(spec, axis.within), axis)


def block_shape(spec: NetworkSpec, name: str) -> tuple[int, ...]:
    """The sizes `(*outer, units)` of an axis with the axes it is nested in."""
    return tuple(axis.size for axis in nest(spec, name))


def leg_dims(spec: NetworkSpec, param: ParamSpec, position: int) -> tuple[int, ...]:
    """The dimensions `(*outer, units)` of one leg in a tensor `(batch, *axes, channels)`, ascending.

    The outer leg of a nested one is the nearest to the left.
    """
    axis = spec.axis(param.legs[position].axis)
    if axis.within is None:
        return (position + 1,)
    outer = max(i for i in range(position) if param.legs[i].axis == axis.within)
    return (*leg_dims(spec, param, outer), position + 1)


def laid(values: Tensor, dims: Sequence[int], ndim: int) -> Tensor:
    """Values `(batch, *outer, units)` as a tensor of `ndim` dimensions that broadcasts along all but `dims`.

    Example:
        >>> laid(torch.ones(7, 3), (2,), 4).shape
        torch.Size([7, 1, 3, 1])
    """
    shape = [1] * ndim
    shape[0] = len(values)
    for position, dim in enumerate(dims, start=1):
        shape[dim] = values.shape[position]
    return values.reshape(shape)


def factor_positions(axis: Axis, kind: Factor) -> list[int]:
    """Which of an axis's factors are of this kind.

    Example:
        >>> from weightspace.spec import NONZERO
        >>> factor_positions(Axis("hidden", 3, NONZERO), Factor.POSITIVE)
        [1]
    """
    return [position for position, factor in enumerate(axis.symmetry.factors) if factor is kind]


def only(spec: NetworkSpec, batch: int, parts: Mapping[str, Monomial]) -> Element:
    """The elements with the given parts that leave every other axis as it is, in main memory like every element."""
    still = identity(spec, batch)
    moved = {name: Monomial(part.perm.cpu(), part.scale.cpu()) for name, part in parts.items()}
    return Element(still.axes, {**still.parts, **moved})


def scaling(spec: NetworkSpec, kind: Factor, values: Mapping[str, Tensor], batch: int) -> Element:
    """The elements that move no unit and multiply by the given values.

    Args:
        spec: the space.
        kind: the factors that the values are for; all others are one.
        values: by axis, `(batch, factors of this kind, *outer, units)`.
        batch: how many elements.
    """
    parts = {}
    for name, value in values.items():
        axis, shape = spec.axis(name), block_shape(spec, name)
        scale = value.new_ones(batch, len(axis.symmetry.factors), *shape)
        scale[:, factor_positions(axis, kind)] = value
        units = torch.arange(axis.size, device=value.device).expand(batch, *shape)
        parts[name] = Monomial(units, scale)
    return only(spec, batch, parts)
