"""An order of the units that does not depend on how they were ordered before."""

import torch
from torch import Tensor

from weightspace.gauge.leg import block_shape, laid, leg_dims, only
from weightspace.groups import Monomial
from weightspace.spec import NetworkSpec, ParamSpec
from weightspace.weights import Element, WeightFeatures

__all__ = ["colours", "order_units"]

GOLDEN = (5**0.5 - 1) / 2
ROUNDS = 3


def order_units(x: WeightFeatures) -> Element:
    """The permutations that put the units of every free axis into the order of their colours.

    Units of a nested axis are ordered within each outer unit, and these as whole blocks. Units of equal colour keep
    their order: as a rule they are copies of each other, such as dead units, and then it makes no difference.

    Symmetry:
        `act(order_units(act(p, x)), act(p, x)) == act(order_units(x), x)` for permutations `p`, where no two units
        that differ have equal colours.
    """
    ranked, batch = colours(x), len(x)
    order = only(x.spec, batch, {})
    for axis in reversed(order.axes):
        perm = ranked[axis.name].argsort(dim=-1, stable=True)
        scale = x.tensors[0].new_ones(batch, len(axis.symmetry.factors), *perm.shape[1:])
        order = only(x.spec, batch, {axis.name: Monomial(perm, scale)}) @ order
    return order


def colours(x: WeightFeatures) -> dict[str, Tensor]:
    """A number per unit that says how the unit is joined to all others, whatever their order.

    Units of fixed axes have colours by their index. A free unit begins with one and becomes, some rounds long, the
    sum of the entries that have it as an index, each times the colours of its other indices: the refinement of
    Weisfeiler and Leman with numbers for colours.

    Shapes:
        By axis `(batch, *outer, units)`, between 0.5 and 1.5.

    References:
        Weisfeiler and Leman, "The reduction of a graph to canonical form", 1968.
    """
    spec, shades = x.spec, {}
    entries = [_entry(tensor) for tensor in x.tensors]
    for axis in spec.axes:
        shape = block_shape(spec, axis.name)
        index = torch.arange(axis.size, dtype=torch.float64, device=x.device)
        start = torch.ones_like(index) if axis.symmetry.permutes else 0.5 + (GOLDEN * (index + 1)) % 1
        shades[axis.name] = start.expand(len(x), *shape)
    for _ in range(ROUNDS):
        shades = _refined(spec, entries, shades)
    return shades


def _entry(tensor: Tensor) -> Tensor:
    """One number per entry, of magnitude at most two; neither odd nor even, so that few sums vanish by accident."""
    tensor = tensor.to(torch.float64)
    largest = tensor.abs().amax(tuple(range(1, tensor.ndim)), keepdim=True)
    scaled = tensor / torch.where(largest > 0, largest, torch.ones_like(largest))
    weights = 0.5 + (GOLDEN * torch.arange(1, tensor.shape[-1] + 1, device=tensor.device, dtype=torch.float64)) % 1
    return ((scaled + scaled.square() * GOLDEN) * weights / weights.sum()).sum(-1)


def _refined(spec: NetworkSpec, entries: list[Tensor], shades: dict[str, Tensor]) -> dict[str, Tensor]:
    """The colours after one more round."""
    sums = {axis.name: torch.zeros_like(shades[axis.name]) for axis in spec.free_axes}
    count = 0
    for param, values in zip(spec.params, entries, strict=True):
        for position, leg in enumerate(param.legs):
            count += 1
            if leg.axis in sums:
                message = _message(spec, param, values, position, shades)
                sums[leg.axis] = sums[leg.axis] + (0.5 + (GOLDEN * count) % 1) * message
    return {**shades, **{name: 1 + _within_one(total) / 2 for name, total in sums.items()}}


def _message(spec: NetworkSpec, param: ParamSpec, values: Tensor, position: int, shades: dict[str, Tensor]) -> Tensor:
    """What one leg's units hear from a parameter, the largest of them of magnitude one."""
    own = leg_dims(spec, param, position)
    for other, leg in enumerate(param.legs):
        if other != position:
            values = values * laid(shades[leg.axis], leg_dims(spec, param, other), values.ndim)
    rest = tuple(dim for dim in range(1, values.ndim) if dim not in own)
    return _within_one(values.sum(rest) if rest else values)


def _within_one(values: Tensor) -> Tensor:
    largest = values.abs().amax(tuple(range(1, values.ndim)), keepdim=True)
    return values / torch.where(largest > 0, largest, torch.ones_like(largest))
