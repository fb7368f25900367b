"""How strongly each unit is driven: a norm per unit, in computation order, that follows the unit's factors exactly."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from weightspace.errors import ShapeError, unknown
from weightspace.gauge.leg import block_shape, factor_positions, laid, leg_dims, nest
from weightspace.spec import Factor, NetworkSpec, Place, Wire
from weightspace.weights import WeightFeatures

__all__ = ["gauge_norms", "wire_ends"]


def gauge_norms(x: WeightFeatures, inputs: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    r"""One norm per unit of every place: what reaches the unit when independent unit signals enter the network.

    With :math:`c_s` the norms at the place where a wire begins and :math:`W` the parameter it carries,

    .. math:: c_t^2 = \sum_{\text{wires } s \to t} \sum |W|^2 (c_s^{p})^2 + \sum_{\text{biases}} |b|^2,

    where the inner sum runs over the source's units, kernel entries, positions and channels. A wire without a
    parameter adds :math:`c_s^2` (residual sums) or multiplies (gates), a gain works unit by unit, and the gain and
    shift of a normalisation that forgets the scale of its input come from nowhere. The exponent :math:`p` is one,
    except behind an activation that turns a factor `d` into `d^p`; it is read off the powers of the spec. A wire that
    closes a loop carries nothing. Places that nothing leads to are inputs and have norm one, or zero where a positive
    factor acts on them, which no other number follows.

    Every sum of squares has its largest term divided out first, so that nothing leaves the range of float32 with
    factors from `1e-10` to `1e10`. The norm of a unit that nothing reaches is zero, with gradient zero.

    Args:
        x: the networks, in any number of channels.
        inputs: norms of input places to use in place of one, such as the root mean square of each input, by name:
            `(units,)` or `(batch, units)`.

    Returns:
        By name of the place, in computation order, `(batch, *outer, units)`; empty for a spec without places.

    Symmetry:
        At each place `gauge_norms(act(g, x))` is `gauge_norms(x)` with the units moved by `g` and multiplied by the
        positive factors of `g` to the place's powers.

    Raises:
        UnknownNameError: inputs for a place that does not exist.
        ShapeError: inputs that do not fit the place's units.

    Example:
        >>> from weightspace.spec import spec_of
        >>> spec = spec_of(torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.ReLU(), torch.nn.Linear(1, 1)))
        >>> weights = [
        ...     torch.tensor([[[[3e-30], [4e-30]]]]),
        ...     torch.zeros(1, 1, 1),
        ...     torch.ones(1, 1, 1, 1),
        ...     torch.ones(1, 1, 1),
        ... ]
        >>> gauge_norms(WeightFeatures(spec, weights))["0"]
        tensor([[5.0000e-30]])

    References:
        The norms make any permutation-equivariant model equivariant under scales; Kalogeropoulos et al., "Scale
        Equivariant Graph Metanetworks", NeurIPS 2024, divide by norms of features in the same way.
    """
    places = {place.name: place for place in x.spec.places}
    given = inputs or {}
    for name in given:
        if name not in places:
            raise unknown("place", name, places)
    norms: dict[str, Tensor] = {}
    for place in x.spec.places:
        wires = [w for w in x.spec.wires if w.target == place.name and (w.source is None or w.source in norms)]
        if place.name in given:
            norms[place.name] = _given(x, place, given[place.name])
        elif not any(wire.param or wire.source for wire in wires):
            acts = any(place.powers[f] for f in factor_positions(x.spec.axis(place.axis), Factor.POSITIVE))
            shape = (len(x), *block_shape(x.spec, place.axis))
            norms[place.name] = x.tensors[0].new_zeros(shape) if acts else x.tensors[0].new_ones(shape)
        else:
            norms[place.name] = _merged(x, place, [wire for wire in wires if wire.param or wire.source], norms)
    return norms


def _merged(x: WeightFeatures, place: Place, wires: list[Wire], norms: Mapping[str, Tensor]) -> Tensor:
    """The norms of a place from all that is carried into it."""
    if place.merge == "sum":
        return _length(torch.stack([_carried(x, wire, norms) for wire in wires]), (0,))
    sources = [source for wire in wires for source in x.spec.places if source.name == wire.source]
    axes = {source.axis for source in sources}
    if len(axes) == 1 and all(wire.param is None for wire in wires):
        # Factors may cancel between two sources (queries and keys), so the product comes ahead of any sum.
        product = torch.stack([_leaving(x.spec, source, norms) for source in sources]).prod(0)
        return _moved_over(x.spec, product, axes.pop(), place.axis)
    return torch.stack([_carried(x, wire, norms) for wire in wires]).prod(0)


def _given(x: WeightFeatures, place: Place, values: Tensor) -> Tensor:
    shape = (len(x), *block_shape(x.spec, place.axis))
    if tuple(values.shape) not in (shape, shape[1:]):
        raise ShapeError(
            f"inputs of place {place.name!r} have shape {tuple(values.shape)}; expected {shape[1:]} or {shape}."
        )
    return values.to(x.tensors[0]).abs().expand(shape)


def _length(values: Tensor, dims: Sequence[int]) -> Tensor:
    """Root of the sum of squares over some dimensions: the largest divided out, zeros masked ahead of the root."""
    dims = tuple(dims)
    if not dims:
        return values.abs()
    largest = values.detach().abs().amax(dims, keepdim=True)
    dead = largest == 0
    scale = torch.where(dead, torch.ones_like(largest), largest)
    squares = (values / scale).square().sum(dims, keepdim=True)
    length = (squares + dead).sqrt() * scale
    return torch.where(dead, torch.zeros_like(length), length).squeeze(dims)


def _carried(x: WeightFeatures, wire: Wire, norms: Mapping[str, Tensor]) -> Tensor:
    """The norm that one wire brings to each unit of its target. Shape `(batch, *outer, units)`."""
    spec = x.spec
    places = {place.name: place for place in spec.places}
    axis = places[wire.target].axis
    if wire.param is None:
        assert wire.source is not None
        return _moved_over(spec, _leaving(spec, places[wire.source], norms), places[wire.source].axis, axis)
    param, values = spec.param(wire.param), x[wire.param]
    target, source = wire_ends(spec, wire)
    dims = () if target is None else leg_dims(spec, param, target)
    rest = None
    if wire.source is not None:
        leaving = _leaving(spec, places[wire.source], norms)
        if source is not None:
            values = values * laid(leaving, leg_dims(spec, param, source), values.ndim)
        else:
            rest = _moved_over(spec, leaving, places[wire.source].axis, axis)
    norm = _length(values, [dim for dim in range(1, values.ndim) if dim not in dims])
    if target is None:
        norm = norm.reshape(len(x), *(1 for _ in block_shape(spec, axis)))
    return (norm if rest is None else norm * rest).expand(len(x), *block_shape(spec, axis))


def wire_ends(spec: NetworkSpec, wire: Wire) -> tuple[int | None, int | None]:
    """Which legs of a wire's parameter stand for its target and for its source; `None` where no leg of its own does."""
    places = {place.name: place for place in spec.places}
    names = [leg.axis for leg in spec.param(wire.param or "").legs]
    axis = places[wire.target].axis
    target = names.index(axis) if axis in names else None
    if wire.source is None:
        return target, None
    source_axis = places[wire.source].axis
    return target, next((i for i, name in enumerate(names) if name == source_axis and i != target), None)


def _moved_over(spec: NetworkSpec, norms: Tensor, source: str, target: str) -> Tensor:
    """Norms carried from the units of one axis to those of another: together, but for the outer units they share."""
    shape, outer = block_shape(spec, target), zip(nest(spec, source), nest(spec, target), strict=False)
    shared = len([1 for a, b in outer if a == b])
    together = _length(norms, range(shared + 1, norms.ndim))
    return together.reshape(*together.shape, *(1 for _ in shape[shared:])).expand(len(norms), *shape)


def _leaving(spec: NetworkSpec, place: Place, norms: Mapping[str, Tensor]) -> Tensor:
    """The norms behind a place's activation."""
    power, ahead = _exit_power(spec, place), norms[place.name]
    if power == 1:
        return ahead
    if power == 0:
        return torch.ones_like(ahead)
    dead = ahead == 0
    return torch.where(dead, torch.zeros_like(ahead), torch.where(dead, torch.ones_like(ahead), ahead) ** power)


def _exit_power(spec: NetworkSpec, place: Place) -> float:
    """By which power a positive factor leaves a place, as what comes behind it must undo; one where none passes.

    Read off the powers and not off the table of activations, so that the law holds for every spec that is right.
    """
    acting = [f for f in factor_positions(spec.axis(place.axis), Factor.POSITIVE) if place.powers[f]]
    for wire in spec.wires:
        if acting and wire.source == place.name:
            behind = _power_behind(spec, wire, place, acting[0])
            if behind is not None:
                return behind / place.powers[acting[0]]
    return 1.0


def _power_behind(spec: NetworkSpec, wire: Wire, place: Place, factor: int) -> float | None:
    """The power with which one factor of a place's axis arrives at the beginning of a wire, where the wire tells."""
    target = next(other for other in spec.places if other.name == wire.target)
    arriving = target.powers[factor] if target.axis == place.axis else None
    if wire.param is not None:
        into, out_of = wire_ends(spec, wire)
        legs = spec.param(wire.param).legs
        if out_of is not None:
            return -legs[out_of].powers[factor]
        if into is not None and arriving is not None:
            return arriving - legs[into].powers[factor]
    if arriving is None or wire.param is not None or target.merge == "sum":
        return arriving
    sources = [p for w in spec.wires if w.target == target.name for p in spec.places if p.name == w.source]
    together = sum(source.powers[factor] for source in sources if source.axis == place.axis)
    return arriving * place.powers[factor] / together if together else None
