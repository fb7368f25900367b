r"""Phases of sine units as signs, so that matching sees no seam where phases are folded.

A sine unit is spelt anew by a sign `s`, which turns all that comes in and goes out, and by half turns `k`. With
:math:`u = (-1)^k`, all that comes in is multiplied by :math:`s u`, what goes out by `s`, the sine of the phase by `s`,
and its cosine by `u`. In place of the bias, which jumps, two parameters stand that merely change sign.
"""

import math
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from weightspace.gauge.leg import scaling
from weightspace.gauge.phase import SinePlace, shift_phases, sine_places
from weightspace.groups import Monomial
from weightspace.spec import Axis, Factor, Leg, NetworkSpec, ParamSpec, Place, Symmetry, Wire
from weightspace.weights import Element, WeightFeatures

__all__ = ["lift", "lifted_places", "lifted_spec", "lower", "turn"]


@lru_cache(maxsize=64)
def lifted_places(spec: NetworkSpec) -> tuple[SinePlace, ...]:
    """The sine places that are lifted: those that share their axis with no other, whose signs would multiply."""
    found = sine_places(spec)
    return tuple(place for place in found if [other.axis for other in found].count(place.axis) == 1)


@lru_cache(maxsize=64)
def lifted_spec(spec: NetworkSpec) -> NetworkSpec:
    """The space with one sign more on the axes of lifted places, and a sine and a cosine in place of their biases.

    Example:
        >>> from weightspace.spec import Sine, spec_of
        >>> network = torch.nn.Sequential(torch.nn.Linear(2, 8), Sine(30.0), torch.nn.Linear(8, 1))
        >>> [param.name for param in lifted_spec(spec_of(network)).params]
        ['0.weight', '0.bias sine', '0.bias cosine', '2.weight', '2.bias']
    """
    places = {place.axis: place for place in lifted_places(spec)}
    replaced = {place.biases[0]: place for place in places.values()}
    dropped = {name for place in places.values() for name in place.biases[1:]}
    params: list[ParamSpec] = []
    for param in spec.params:
        if param.name in replaced:
            params += _sine_and_cosine(param, replaced[param.name])
        elif param.name not in dropped:
            params.append(replace(param, legs=_longer(param, places)))
    wires: list[Wire] = []
    for wire in spec.wires:
        names = [f"{wire.param} sine", f"{wire.param} cosine"] if wire.param in replaced else [wire.param]
        wires += [replace(wire, param=name) for name in names if name not in dropped]
    return NetworkSpec(
        tuple(_with_sign(axis) if axis.name in places else axis for axis in spec.axes),
        tuple(params),
        tuple(_lifted_place(place, places) for place in spec.places),
        tuple(wires),
    )


def _with_sign(axis: Axis) -> Axis:
    return replace(axis, symmetry=Symmetry(True, (*axis.symmetry.factors, Factor.SIGN)))


def _lifted_place(place: Place, places: dict[str, SinePlace]) -> Place:
    if place.axis not in places:
        return place
    return replace(place, powers=(*place.powers, int(place.name == places[place.axis].name)))


def _longer(param: ParamSpec, places: dict[str, SinePlace]) -> tuple[Leg, ...]:
    """The legs with a power for the new sign: one on the first leg of what leads into the sine place."""
    legs, seen = [], set[str]()
    for leg in param.legs:
        if leg.axis in places:
            into = param.name in places[leg.axis].params and leg.axis not in seen
            seen.add(leg.axis)
            leg = replace(leg, powers=(*leg.powers, int(into)))
        legs.append(leg)
    return tuple(legs)


def _sine_and_cosine(param: ParamSpec, place: SinePlace) -> list[ParamSpec]:
    """The bias as two parameters: the sine with the bias's own powers, the cosine with the new sign alone."""
    sine = (*param.legs[:-1], replace(param.legs[-1], powers=(*param.legs[-1].powers, 0)))
    cosine = tuple(replace(leg, powers=(0,) * len(leg.powers)) for leg in param.legs[:-1])
    last = replace(param.legs[-1], powers=(*(0 for _ in param.legs[-1].powers), 1))
    return [
        replace(param, name=f"{param.name} sine", legs=sine),
        replace(param, name=f"{param.name} cosine", legs=(*cosine, last)),
    ]


def lift(x: WeightFeatures) -> WeightFeatures:
    """The networks with phases as signs; a unit of phase counts as much as one of what comes into the sine."""
    spec, places = lifted_spec(x.spec), lifted_places(x.spec)
    tensors = {name: tensor for name, tensor in x.items() if all(name not in place.biases for place in places)}
    for place in places:
        omega = math.pi / place.step
        phase = omega * sum((x[name] for name in place.biases), torch.zeros((), dtype=x.dtype, device=x.device))
        tensors[f"{place.biases[0]} sine"], tensors[f"{place.biases[0]} cosine"] = (
            phase.sin() / omega,
            phase.cos() / omega,
        )
    return WeightFeatures(spec, tensors)


def lower(spec: NetworkSpec, h: Element) -> tuple[Element, dict[str, Tensor]]:
    """An element of the lifted space as one of the space itself, and the signs that half turns bring on top.

    Returns:
        The element, and by place the signs `(batch, *outer, units)`, of the units as the element has moved them.
    """
    places = {place.axis: place.name for place in lifted_places(spec)}
    like = scaling(spec, Factor.SIGN, {}, len(h))
    parts = {
        name: Monomial(part.perm, part.scale[:, :-1] if name in places else part.scale)
        for name, part in h.parts.items()
    }
    return Element(like.axes, parts), {places[name]: h.parts[name].scale[:, -1] for name in places}


def turn(x: WeightFeatures, signs: dict[str, Tensor], near: WeightFeatures) -> WeightFeatures:
    """The networks with half turns of the given parities, as many as bring their phases nearest to those of others."""
    turns = {}
    for place in lifted_places(x.spec):
        sign = signs[place.name].unsqueeze(-1).to(x.tensors[0])
        odd = (1 - sign) / 2
        ours, theirs = (sum((f[name] for name in place.biases), torch.zeros(())) for f in (x, near))
        # Taking k half turns leaves the bias at sign * (ours - k * step); this is nearest to theirs.
        wanted = (ours - sign * theirs.to(ours)) / place.step
        turns[place.name] = 2 * torch.round((wanted - odd) / 2) + odd
    return shift_phases(x, turns)
