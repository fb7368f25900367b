"""How a network's parameters transform: the types that everything else computes with. They hold no tensors."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from math import prod
from typing import Any

from torch import Tensor

from weightspace.errors import SpecError, unknown

__all__ = [
    "FIXED",
    "NONZERO",
    "PERMUTATION",
    "POSITIVE",
    "SIGN",
    "Axis",
    "Factor",
    "Leg",
    "NetworkSpec",
    "Note",
    "ParamSpec",
    "Place",
    "Symmetry",
    "View",
    "Wire",
]


class Factor(StrEnum):
    """The scalars that one unit may be multiplied with."""

    SIGN = "sign"
    POSITIVE = "positive"


@dataclass(frozen=True)
class Symmetry:
    """What may be done to a set of units without changing the network's function.

    Args:
        permutes: whether the units may be reordered.
        factors: the scalars each unit may be multiplied with, any number of each kind.

    Raises:
        SpecError: factors on units that may not be reordered. Such a set has no unit like another: describe each
            unit as an axis of size one that permutes.

    Example:
        >>> Symmetry(True, (Factor.SIGN,))
        SIGN
        >>> Symmetry(True, (Factor.POSITIVE, Factor.POSITIVE))
        Symmetry(True, (Factor.POSITIVE, Factor.POSITIVE))
    """

    permutes: bool
    factors: tuple[Factor, ...] = ()

    def __post_init__(self) -> None:
        if self.factors and not self.permutes:
            raise SpecError(
                f"a symmetry with factors {self.factors} that does not permute is not supported: "
                "make each unit an axis of size 1 with Symmetry(True, factors)."
            )

    def __repr__(self) -> str:
        factors = ", ".join(f"Factor.{f.name}" for f in self.factors)
        plain = f"Symmetry({self.permutes}, ({factors}{',' if len(self.factors) == 1 else ''}))"
        return next((name for name, value in NAMED.items() if value == self), plain)


FIXED = Symmetry(False)
PERMUTATION = Symmetry(True)
SIGN = Symmetry(True, (Factor.SIGN,))
POSITIVE = Symmetry(True, (Factor.POSITIVE,))
NONZERO = Symmetry(True, (Factor.SIGN, Factor.POSITIVE))
NAMED: Mapping[str, Symmetry] = {
    "FIXED": FIXED,
    "PERMUTATION": PERMUTATION,
    "SIGN": SIGN,
    "POSITIVE": POSITIVE,
    "NONZERO": NONZERO,
}


@dataclass(frozen=True)
class Axis:
    """A set of units that index one dimension of one or more parameters.

    Args:
        name: how legs refer to it.
        size: number of units; for a nested axis, the number in each unit of the outer axis.
        symmetry: what may be done to the units.
        within: the outer axis of a nested one (head dimensions within heads). The group is then a wreath product:
            one monomial matrix per outer unit, and the outer units are moved as blocks.
    """

    name: str
    size: int
    symmetry: Symmetry
    within: str | None = None

    def __post_init__(self) -> None:
        if self.size < 1:
            raise SpecError(f"axis {self.name!r} has size {self.size}; expected at least one unit.")


@dataclass(frozen=True)
class Leg:
    """One index of a parameter: the axis it runs over and the power it carries of each of the axis's factors.

    `+1` for weights and biases into a unit, `-1` for weights out of it, `0` where the factor does not act. Powers of
    sign factors only matter modulo two and are stored so.
    """

    axis: str
    powers: tuple[int, ...] = ()


@dataclass(frozen=True)
class View:
    """Where a parameter block lies in a state dict.

    A block is the whole stored tensor, read in order, or any strided part of it: one of several layers packed into
    one tensor, one half of every head. Blocks of one tensor never overlap.

    Args:
        key: the state-dict key.
        shape: shape of the stored tensor; `None` means the shape of the block itself.
        offset: where the block begins, in entries of the flattened stored tensor.
        strides: how many entries of the flattened stored tensor one step along each leg takes; `None` takes all of
            the tensor in order.
    """

    key: str
    shape: tuple[int, ...] | None = None
    offset: int = 0
    strides: tuple[int, ...] | None = None

    def of(self, stored: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The block as a view of stacked stored tensors, which share its memory where they are contiguous.

        Shapes:
            stored: `(batch, *stored shape)`. Result: `(batch, *shape)`, without channels.
        """
        batch = len(stored)
        if self.strides is None:
            return stored.reshape(batch, *shape)
        # Each row keeps its own stretch of memory, so every stride of the block holds inside of it.
        rows = stored.contiguous().flatten(1) if stored.ndim > 2 else stored.contiguous().reshape(batch, -1)
        start = rows.storage_offset() + self.offset
        return rows.as_strided((batch, *shape), (rows.stride(0), *self.strides), start)


@dataclass(frozen=True)
class ParamSpec:
    """One block of parameters: its legs, what it does in the network, and where a state dict holds it."""

    name: str
    legs: tuple[Leg, ...]
    role: str
    view: View


@dataclass(frozen=True)
class Place:
    """One set of vertices of the network's graph, in computation order.

    Args:
        name: unique name of the place.
        axis: the axis of its units; places that are summed (a residual stream) share one.
        activation: name of what is applied to its units ("identity" at inputs and outputs).
        constants: the activation's constants by name, such as `(("omega", 30.0),)`.
        powers: how the values that arrive here follow the axis's factors, ahead of the activation; `()` stands for
            `+1` of each.
        merge: "sum" where what the wires bring is added, "product" where it is multiplied (gates).
    """

    name: str
    axis: str
    activation: str = "identity"
    constants: tuple[tuple[str, float], ...] = ()
    powers: tuple[int, ...] = ()
    merge: str = "sum"


@dataclass(frozen=True)
class Wire:
    """What carries values from one place into another.

    Args:
        param: the parameter on the way; `None` carries the values over as they are (a residual connection).
        source: the place they come from; `None` where they come from nowhere (a bias, the gain of a normalisation).
        target: the place they go to. A parameter with a single leg for both ends (a gain) works unit by unit.
    """

    param: str | None
    source: str | None
    target: str


@dataclass(frozen=True)
class Note:
    """Why something is not free, or more than `spec_of` claims.

    Args:
        subject: the axis, parameter or module that it is about.
        reason: what was found, with the operation that caused it.
    """

    subject: str
    reason: str


@dataclass(frozen=True, eq=False)
class NetworkSpec:
    """A space of networks: its axes, its parameters, and how they are wired. Frozen, hashable, without tensors.

    Args:
        axes: every set of units, each under its own name.
        params: every parameter block, in the order in which features keep their tensors.
        places: the vertex sets in computation order.
        wires: which parameter joins which places.
        notes: what the reader should know about how this was found. They are no part of what the spec is: two specs
            that differ in notes alone are equal.

    Raises:
        SpecError: names that are not unique, powers that do not fit the factors, axes nested in a circle, nested legs
            without their outer leg.
        UnknownNameError: an axis, parameter or place that does not exist.

    Example:
        >>> spec = NetworkSpec(
        ...     axes=(Axis("in", 2, FIXED), Axis("hidden", 3, SIGN)),
        ...     params=(ParamSpec("weight", (Leg("hidden", (1,)), Leg("in")), "weight", View("weight")),),
        ... )
        >>> spec.shape("weight"), spec.numel, [axis.name for axis in spec.free_axes]
        ((3, 2), 6, ['hidden'])
        >>> eval(repr(spec)) == spec == NetworkSpec.from_json(spec.to_json())
        True
    """

    axes: tuple[Axis, ...]
    params: tuple[ParamSpec, ...]
    places: tuple[Place, ...] = field(default=())
    wires: tuple[Wire, ...] = field(default=())
    notes: tuple[Note, ...] = field(default=())

    def __post_init__(self) -> None:
        for kind, items in (("axis", self.axes), ("parameter", self.params), ("place", self.places)):
            names = [item.name for item in items]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise SpecError(f"{kind} name {twice[0]!r} is used twice; give each {kind} a name of its own.")
        for axis in self.axes:
            self._outermost(axis)
        object.__setattr__(self, "params", tuple(self._checked(param) for param in self.params))
        object.__setattr__(self, "places", tuple(self._placed(place) for place in self.places))
        places = {place.name for place in self.places}
        for wire in self.wires:
            if wire.param is not None:
                self.param(wire.param)
            for end in (wire.source, wire.target):
                if end is not None and end not in places:
                    raise unknown(f"place of the wire {wire.param!r}", end, places)

    def _outermost(self, axis: Axis) -> Axis:
        """The axis that this one is nested in, at any depth. Raises where axes are nested in a circle."""
        inside = [axis.name]
        while axis.within is not None:
            axis = self.axis(axis.within)
            if axis.name in inside:
                raise SpecError(f"axes {inside} are nested in each other; one of them must be the outermost.")
            inside.append(axis.name)
        return axis

    def _placed(self, place: Place) -> Place:
        """The place with its powers written out and reduced, after they were found to fit the axis."""
        factors = self.axis(place.axis).symmetry.factors
        if place.merge not in ("sum", "product"):
            raise SpecError(f"place {place.name!r} merges by {place.merge!r}; expected 'sum' or 'product'.")
        if place.powers and len(place.powers) != len(factors):
            raise SpecError(
                f"place {place.name!r} carries powers {place.powers} on axis {place.axis!r}, whose symmetry has "
                f"{len(factors)} factor(s); give one integer per factor."
            )
        return replace(place, powers=_reduced(place.powers or (1,) * len(factors), factors))

    def _checked(self, param: ParamSpec) -> ParamSpec:
        """The parameter with sign powers reduced modulo two, after its legs were found to fit the axes."""
        legs = []
        for position, leg in enumerate(param.legs):
            axis = self.axis(leg.axis)
            if len(leg.powers) != len(axis.symmetry.factors):
                raise SpecError(
                    f"parameter {param.name!r} carries powers {leg.powers} on axis {axis.name!r}, whose symmetry has "
                    f"{len(axis.symmetry.factors)} factor(s); give one integer per factor."
                )
            if axis.within is not None and axis.within not in [before.axis for before in param.legs[:position]]:
                raise SpecError(
                    f"parameter {param.name!r} has a leg on {axis.name!r}, nested in {axis.within!r}, without a leg on "
                    f"{axis.within!r} before it; put the outer leg first."
                )
            legs.append(replace(leg, powers=_reduced(leg.powers, axis.symmetry.factors)))
        return replace(param, legs=tuple(legs))

    @cached_property
    def _axis_by_name(self) -> dict[str, Axis]:
        return {axis.name: axis for axis in self.axes}

    @cached_property
    def _param_by_name(self) -> dict[str, ParamSpec]:
        return {param.name: param for param in self.params}

    def __eq__(self, other: object) -> bool:
        # Layers compare specs at every call: digests are computed once per object, fields would be walked each time.
        return isinstance(other, NetworkSpec) and (self is other or self.digest == other.digest)

    def __hash__(self) -> int:
        return int(self.digest[:15], 16)

    def __getstate__(self) -> dict[str, Any]:
        """All but the module that the spec was read from."""
        return {key: value for key, value in self.__dict__.items() if key != "_origin"}

    def axis(self, name: str) -> Axis:
        """The axis of this name. Raises `UnknownNameError` where there is none."""
        try:
            return self._axis_by_name[name]
        except KeyError:
            raise unknown("axis", name, self._axis_by_name) from None

    def param(self, name: str) -> ParamSpec:
        """The parameter of this name. Raises `UnknownNameError` where there is none."""
        try:
            return self._param_by_name[name]
        except KeyError:
            raise unknown("parameter", name, self._param_by_name) from None

    def shape(self, name: str) -> tuple[int, ...]:
        """Sizes of the axes of a parameter's legs."""
        return tuple(self.axis(leg.axis).size for leg in self.param(name).legs)

    def stored_shape(self, name: str) -> tuple[int, ...]:
        """Shape of the tensor of a state dict in which a parameter's block lies."""
        stored = self.param(name).view.shape
        return self.shape(name) if stored is None else stored

    @cached_property
    def numel(self) -> int:
        """Number of scalar parameters of one network."""
        return sum(prod(self.shape(param.name)) for param in self.params)

    @cached_property
    def free_axes(self) -> tuple[Axis, ...]:
        """The axes whose units may be moved."""
        return tuple(axis for axis in self.axes if axis.symmetry.permutes)

    def with_symmetry(self, symmetry: Symmetry, *, axes: tuple[str, ...] | None = None) -> "NetworkSpec":
        """The same networks under another symmetry, which carries no power: `PERMUTATION` or `FIXED`.

        Args:
            symmetry: a symmetry without factors.
            axes: which axes get it; `None` means every free one.
        """
        if symmetry.factors:
            raise SpecError(
                f"with_symmetry takes PERMUTATION or FIXED, not {symmetry}: powers would have to be made up."
            )
        chosen = {axis.name for axis in self.free_axes} if axes is None else {self.axis(name).name for name in axes}
        return replace(
            self,
            axes=tuple(replace(axis, symmetry=symmetry) if axis.name in chosen else axis for axis in self.axes),
            params=tuple(
                replace(p, legs=tuple(Leg(leg.axis) if leg.axis in chosen else leg for leg in p.legs))
                for p in self.params
            ),
            places=tuple(replace(p, powers=()) if p.axis in chosen else p for p in self.places),
        )

    def to_json(self) -> str:
        """The spec as JSON text that `from_json` reads back to an equal spec."""
        notes = {"notes": [[note.subject, note.reason] for note in self.notes]} if self.notes else {}
        return json.dumps({**self._plain(), **notes}, separators=(",", ":"))

    def _plain(self) -> dict[str, Any]:
        """What makes the spec what it is, as plain lists: everything but the notes."""
        return {
            "axes": [[a.name, a.size, a.symmetry.permutes, list(a.symmetry.factors), a.within] for a in self.axes],
            "params": [
                [p.name, [[leg.axis, *leg.powers] for leg in p.legs], p.role, list(astuple(p.view))]
                for p in self.params
            ],
            "places": [[p.name, p.axis, p.activation, p.constants, p.powers, p.merge] for p in self.places],
            "wires": [[w.param, w.source, w.target] for w in self.wires],
        }

    @classmethod
    def from_json(cls, text: str) -> "NetworkSpec":
        """The spec that `to_json` wrote. Raises `SpecError` for anything else."""
        try:
            plain = json.loads(text)
            return cls(
                axes=tuple(Axis(n, size, Symmetry(moves, _factors(f)), w) for n, size, moves, f, w in plain["axes"]),
                params=tuple(
                    ParamSpec(name, tuple(Leg(a, tuple(p)) for a, *p in legs), role, _view(*view))
                    for name, legs, role, view in plain["params"]
                ),
                places=tuple(
                    Place(name, axis, activation, tuple((k, v) for k, v in constants), tuple(powers), merge)
                    for name, axis, activation, constants, powers, merge in plain["places"]
                ),
                wires=tuple(Wire(*wire) for wire in plain["wires"]),
                notes=tuple(Note(*note) for note in plain.get("notes", [])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise SpecError(f"not the JSON of a NetworkSpec ({error!r}): {text[:80]!r}...") from error

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the JSON text without the notes: equal specs have equal digests, on every machine."""
        return hashlib.sha256(json.dumps(self._plain(), separators=(",", ":")).encode()).hexdigest()

    def report(self, verify: bool = False) -> str:
        """What may be done to the units, how each block follows, how large the group is, and what was not understood.

        Args:
            verify: add a certificate, measured on the module that the spec was read from: how much random elements
                of the group change its function, and whether a continuous symmetry was missed.

        Raises:
            SpecError: `verify` for a spec that was not read from a module that still exists.
        """
        from weightspace.spec.report import report_of  # it measures on modules, and modules need specs

        return report_of(self, verify=verify)

    def __str__(self) -> str:
        return self.report()


def _reduced(powers: tuple[int, ...], factors: tuple[Factor, ...]) -> tuple[int, ...]:
    """Powers with those of signs taken modulo two."""
    return tuple(p % 2 if f is Factor.SIGN else p for p, f in zip(powers, factors, strict=True))


def _factors(names: list[str]) -> tuple[Factor, ...]:
    return tuple(Factor(name) for name in names)


def _view(key: str, shape: list[int] | None, offset: int, strides: list[int] | None) -> View:
    return View(key, shape if shape is None else tuple(shape), offset, strides if strides is None else tuple(strides))
