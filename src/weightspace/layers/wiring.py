"""Along which wires of a network products of weights can run."""

from collections.abc import Mapping
from dataclasses import replace

from weightspace.errors import SpecError
from weightspace.spec import FIXED, Axis, Factor, Leg, NetworkSpec, View, Wire

__all__ = ["SOURCE", "TARGET", "Powers", "Wiring", "dense_spec"]

Powers = tuple[int, ...]
TARGET, SOURCE = "target", "source"


class Wiring:
    """The wires of a spec in computation order, and how powers add up along them.

    Products run along wires whose parameter is a matrix between the units of two places, or works unit by unit, and
    along those without a parameter. They begin at places on fixed axes that nothing leads to and end at places on fixed
    axes that nothing leaves. What closes a loop, or leads into a place that multiplies, is no part of them.
    """

    def __init__(self, spec: NetworkSpec) -> None:
        self.spec = spec
        self.places = {place.name: place for place in spec.places}
        order = {name: number for number, name in enumerate(self.places)}
        wires = [w for w in spec.wires if self.places[w.target].merge == "sum"]
        wires = [w for w in wires if w.source is None or order[w.source] < order[w.target]]
        self.into: dict[str, list[Wire]] = {name: [] for name in self.places}
        self.out_of: dict[str, list[Wire]] = {name: [] for name in self.places}
        for wire in wires:
            self.into[wire.target].append(wire)
            if wire.source is not None:
                self.out_of[wire.source].append(wire)
        ends = [name for name in self.places if not spec.axis(self.axis(name)).symmetry.permutes]
        self.inputs = [name for name in ends if not self.into[name]]
        self.outputs = [name for name in ends if not self.out_of[name] and self.into[name]]

    def axis(self, place: str) -> str:
        """The axis of a place's units."""
        return self.places[place].axis

    def legs(self, wire: Wire) -> tuple[Leg, ...]:
        """The legs of a wire's parameter."""
        return () if wire.param is None else self.spec.param(wire.param).legs

    def is_matrix(self, wire: Wire) -> bool:
        """Whether a wire's parameter has one leg for each of its ends, and no other."""
        axes = sorted(leg.axis for leg in self.legs(wire))
        return wire.source is not None and axes == sorted((self.axis(wire.target), self.axis(wire.source)))

    def is_diagonal(self, wire: Wire) -> bool:
        """Whether a wire's parameter has one number for each unit of its target, which are those of its source."""
        units = {self.axis(end) for end in (wire.target, wire.source) if end is not None}
        return len(self.legs(wire)) == 1 and units == {self.legs(wire)[0].axis}

    def ends(self, wire: Wire) -> tuple[int, int]:
        """Positions of the target's and of the source's leg of a matrix."""
        return (0, 1) if self.legs(wire)[0].axis == self.axis(wire.target) else (1, 0)

    def powers(self, wire: Wire) -> tuple[Powers, Powers]:
        """Powers of the target's and of the source's leg of a matrix."""
        target, source = self.ends(wire)
        return self.legs(wire)[target].powers, self.legs(wire)[source].powers

    def sides(self) -> dict[str, tuple[str, ...]]:
        """By parameter, for each leg whether it is at the target or at the source of its wires, or neither."""
        sides = {param.name: [""] * len(param.legs) for param in self.spec.params}
        for wire in (wire for wires in self.into.values() for wire in wires if wire.param is not None):
            if self.is_matrix(wire):
                target, source = self.ends(wire)
                sides[str(wire.param)][target], sides[str(wire.param)][source] = TARGET, SOURCE
            elif self.is_diagonal(wire):
                sides[str(wire.param)][0] = TARGET
        return {name: tuple(legs) for name, legs in sides.items()}

    def net(self, axis: str, *powers: Powers) -> Powers:
        """The sum of powers on one axis; signs count modulo two."""
        factors = self.spec.axis(axis).symmetry.factors
        sums = [sum(one) for one in zip(*powers, strict=True)]
        return tuple(p % 2 if f is Factor.SIGN else p for p, f in zip(sums, factors, strict=True))


def dense_spec(spec: NetworkSpec, widths: Mapping[str, int] | None = None) -> NetworkSpec:
    """The space of features without kernels: every parameter with the legs of units alone.

    What else a parameter counts, kernel entries or positions behind a flatten, has no place in the network's graph;
    an `EquivariantLinear` from the one space to the other reads it into channels, and one back writes it again.

    Args:
        spec: space of the networks.
        widths: by parameter, how many channels it has for each channel of the features, where that is not one: on a
            fixed axis of its own. Large kernels can keep more, and what is small can be given more for little.

    Raises:
        UnknownNameError: a width for a parameter that the spec does not have.
        SpecError: a width below one.

    Example:
        >>> from torch import nn
        >>> from weightspace.spec import spec_of
        >>> spec = spec_of(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 3)))
        >>> spec.shape("2.weight"), dense_spec(spec).shape("2.weight")
        ((2, 4, 3, 3), (2, 4))
        >>> dense_spec(spec, {"2.weight": 9}).shape("2.weight")
        (2, 4, 9)
    """
    widths = widths or {}
    for name, width in widths.items():
        spec.param(name)
        if width < 1:
            raise SpecError(f"a width of {width} for parameter {name!r}; expected at least 1.")
    units = {axis.name for axis in spec.free_axes} | {place.axis for place in spec.places}
    extra = {name: Axis(f"{name} width", width, FIXED) for name, width in widths.items() if width > 1}
    params = []
    for param in spec.params:
        legs = tuple(leg for leg in param.legs if leg.axis in units)
        legs += (Leg(extra[param.name].name),) if param.name in extra else ()
        params.append(replace(param, legs=legs, view=View(param.name)))
    axes = [axis for axis in spec.axes if axis.name in units]
    return replace(spec, axes=(*axes, *extra.values()), params=tuple(params), notes=())
