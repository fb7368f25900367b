"""Phases of sine units: `sin(x + pi) = -sin(x)`, so biases are only known up to multiples of `pi / omega`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from weightspace.gauge.leg import laid, leg_dims, nest
from weightspace.spec import Factor, NetworkSpec, Place
from weightspace.weights import WeightFeatures

__all__ = ["SinePlace", "fold_phases", "phases", "shift_phases", "sine_places"]


@dataclass(frozen=True)
class SinePlace:
    """A place of sine units whose phases may be shifted.

    Args:
        name: of the place.
        axis: of its units.
        step: how much the bias changes in half a turn, `pi / omega`.
        params: all that leads into it, and nowhere else.
        biases: those among them that come from nowhere; the first takes the shift.
    """

    name: str
    axis: str
    step: float
    params: tuple[str, ...]
    biases: tuple[str, ...]


def fold_phases(x: WeightFeatures) -> WeightFeatures:
    r"""The networks with all phases of sine units between `-pi/2` and `pi/2`, and the same functions.

    A unit computes :math:`\sin(\omega (w z + b))`. With `k` the integer nearest to :math:`\omega b / \pi` its bias
    becomes :math:`b - k \pi / \omega`, and for odd `k` everything that comes into the unit changes sign. What leaves
    it is untouched. Phases of exactly half a turn have two equal spellings and keep theirs.

    Symmetry:
        `fold_phases(act(g, x)) == act(g, fold_phases(x))`; folding twice changes nothing.

    Example:
        >>> from weightspace.spec import Sine, spec_of
        >>> spec = spec_of(torch.nn.Sequential(torch.nn.Linear(1, 1), Sine(2.0), torch.nn.Linear(1, 1)))
        >>> x = WeightFeatures(spec, [torch.ones(1, *spec.shape(param.name), 1) for param in spec.params])
        >>> {name: round(tensor.item(), 4) for name, tensor in fold_phases(x).items()}
        {'0.weight': -1.0, '0.bias': 0.5708, '2.weight': 1.0, '2.bias': 1.0}

    References:
        Kalogeropoulos et al., "Scale Equivariant Graph Metanetworks", NeurIPS 2024, on phases; the frequency `omega`
        belongs into the fold.
    """
    return shift_phases(x, phases(x))


def phases(x: WeightFeatures) -> dict[str, Tensor]:
    """How many half turns the biases of each sine place are away from zero: `(batch, *outer, units, channels)`.

    Only places whose phases may be shifted are listed: every wire into them carries a parameter of its own, at
    least one of them a bias, and no positive factor acts.
    """
    return {
        place.name: torch.round(sum(x[name] for name in place.biases) / place.step) for place in sine_places(x.spec)
    }


def shift_phases(x: WeightFeatures, turns: Mapping[str, Tensor], *, back: bool = False) -> WeightFeatures:
    """The networks with `turns` half turns taken from the phases of their sine units, or, going back, put in again."""
    tensors = dict(x.items())
    for place in sine_places(x.spec):
        if place.name not in turns:
            continue
        turn, first = turns[place.name], place.biases[0]
        sign = 1 - 2 * torch.remainder(turn, 2)
        if not back:
            tensors[first] = tensors[first] - turn * place.step
        for name in place.params:
            tensors[name] = tensors[name] * _at_target(x.spec, name, place.name, sign)
        if back:
            tensors[first] = tensors[first] + turn * place.step
    return WeightFeatures(x.spec, tensors)


def _at_target(spec: NetworkSpec, name: str, place: str, values: Tensor) -> Tensor:
    """Values per unit of a place, laid along the leg of a parameter that leads into it."""
    param = spec.param(name)
    axis = next(p.axis for p in spec.places if p.name == place)
    position = next(i for i, leg in enumerate(param.legs) if leg.axis == axis)
    channels = len(param.legs) + 1
    return laid(values, (*leg_dims(spec, param, position), channels), channels + 1)


def sine_places(spec: NetworkSpec) -> list[SinePlace]:
    """The places of sine units whose phases may be shifted."""
    found = (_shiftable(spec, place) for place in spec.places if place.activation == "sine")
    return [place for place in found if place is not None]


def _shiftable(spec: NetworkSpec, place: Place) -> SinePlace | None:
    """The place as one whose phases can be shifted, where it is."""
    wires = [wire for wire in spec.wires if wire.target == place.name]
    params = tuple(wire.param for wire in wires if wire.param is not None)
    owned = all(wire.target == place.name for wire in spec.wires if wire.param in params)
    factors = spec.axis(place.axis).symmetry.factors
    scaled = any(p for f, p in zip(factors, place.powers, strict=True) if f is Factor.POSITIVE)
    outlines = {param: [leg.axis for leg in spec.param(param).legs] for param in params}
    plain = [axis.name for axis in nest(spec, place.axis)]
    biases = tuple(w.param for w in wires if w.param is not None and w.source is None and outlines[w.param] == plain)
    whole = len(params) == len(wires) == len(outlines) and all(place.axis in legs for legs in outlines.values())
    if not (biases and whole and owned) or scaled or place.merge != "sum":
        return None
    step = math.pi / dict(place.constants).get("omega", 1.0)
    return SinePlace(place.name, place.axis, step, params, biases)
