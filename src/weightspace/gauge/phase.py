"""Phases of sine units: `sin(x + pi) = -sin(x)`, so biases are only known up to multiples of `pi / omega`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

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
        biases: those among them that are added as they are; the first takes the shift.
    """

    name: str
    axis: str
    step: float
    params: tuple[str, ...]
    biases: tuple[str, ...]


def fold_phases(x: WeightFeatures) -> WeightFeatures:
    r"""The networks with all phases of sine units between `-pi/2` and `pi/2`, and the same functions.

    A unit computes :math:`\sin(\omega (w z + b))`, with the frequency of its own place. With `k` the integer nearest
    to :math:`\omega b / \pi` its bias becomes :math:`b - k \pi / \omega`, and for odd `k` everything that comes into
    the unit changes sign. What leaves it is untouched, so units may share their axis with others, as on a residual
    stream.

    A place is left as it is where this would not be right, or cannot be told to be: it has no bias, something without a
    parameter comes in (a residual sum), a parameter that leads into it is used elsewhere too, or the spec does not
    tell the frequency. So are cosines, which are even: nothing that comes in could make up for half a turn.

    The fold jumps. Phases of exactly half a turn either way are two spellings of one unit, :math:`(w, b)` and
    :math:`(-w, -b)`, and each keeps its own; a little beyond, a unit is spelt by the other one. Between the jumps the
    gradient is one for biases, and one or minus one for what comes in. `PhaseView` has no such seam.

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
    folded = dict(shift_phases(x, phases(x)).items())
    for place in sine_places(x.spec):
        if len(place.biases) == 1:  # rounding can leave a phase beyond half a turn, which a second fold would turn
            half, name = abs(place.step) / 2, place.biases[0]
            folded[name] = folded[name].clamp(-half, half)
    return WeightFeatures(x.spec, folded)


def phases(x: WeightFeatures) -> dict[str, Tensor]:
    """How many half turns the biases of each sine place are away from zero: `(batch, *outer, units, channels)`.

    Only places whose phases may be shifted are listed: every wire into them carries a parameter of its own, at
    least one of them a bias, no positive factor acts, and the frequency is known.
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


@lru_cache(maxsize=64)
def sine_places(spec: NetworkSpec) -> tuple[SinePlace, ...]:
    """The places of sine units whose phases may be shifted.

    Example:
        >>> from weightspace.spec import Sine, spec_of
        >>> network = torch.nn.Sequential(torch.nn.Linear(2, 8), Sine(30.0), torch.nn.Linear(8, 1))
        >>> [(place.name, place.params, place.biases) for place in sine_places(spec_of(network))]
        [('0', ('0.weight', '0.bias'), ('0.bias',))]
    """
    found = (_shiftable(spec, place) for place in spec.places if place.activation == "sine")
    return tuple(place for place in found if place is not None)


def _shiftable(spec: NetworkSpec, place: Place) -> SinePlace | None:
    """The place as one whose phases can be shifted, where it is."""
    wires = [wire for wire in spec.wires if wire.target == place.name]
    params = tuple(wire.param for wire in wires if wire.param is not None)
    owned = all(wire.target == place.name for wire in spec.wires if wire.param in params)
    factors = spec.axis(place.axis).symmetry.factors
    scaled = any(p for f, p in zip(factors, place.powers, strict=True) if f is Factor.POSITIVE)
    outlines = {param: [leg.axis for leg in spec.param(param).legs] for param in params}
    plain = [axis.name for axis in nest(spec, place.axis)]
    added = [w.param for w in wires if w.param is not None and w.source is None and spec.param(w.param).role != "gain"]
    biases = tuple(name for name in added if outlines[name] == plain)
    omega = dict(place.constants).get("omega", 0.0)
    whole = len(params) == len(wires) == len(outlines) and all(place.axis in legs for legs in outlines.values())
    if not (biases and whole and owned and omega) or scaled or place.merge != "sum":
        return None
    return SinePlace(place.name, place.axis, math.pi / omega, params, biases)
