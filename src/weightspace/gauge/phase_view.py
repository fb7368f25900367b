r"""Networks with sine units, seen so that shifts of phases become changes of sign.

A sine unit :math:`\sin(\omega (w z + b))` can be spelt anew by a sign `s` and a number of half turns `k`: `w` becomes
:math:`s w`, `b` becomes :math:`s b + k \pi / \omega`, and what leaves the unit is multiplied by
:math:`t = s (-1)^k`. No linear map can follow the bias. Its sine and cosine :math:`\sin \omega b`,
:math:`\cos \omega b` can: they are multiplied by `t` and by :math:`s t`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from torch import Tensor

from weightspace.errors import ShapeError
from weightspace.gauge.phase import SinePlace, sine_places
from weightspace.spec import Axis, Factor, Leg, NetworkSpec, ParamSpec, Place, Symmetry, View, Wire
from weightspace.weights import WeightFeatures

__all__ = ["PhaseView"]


class PhaseView:
    r"""A space in which shifts of phases are signs, and the way into it and back.

    An axis with sine units keeps its factors and gets one sign more for each of its sine places, the parity
    :math:`u = (-1)^k` of the half turns. Each sine place becomes two: the old one, for what arrives without the bias,
    and one behind it. The bias becomes two parameters between them. With :math:`\varphi = \omega b`,

    .. math:: \sin(\omega w z + \varphi) = \cos\varphi \sin(\omega w z) + \sin\varphi \cos(\omega w z).

    The cosine is a gain, unit by unit, from the one place to the other; the sine is a bias of the other. What comes
    in follows `s`, what goes out and the sine follow `t = s u`, the cosine follows `u`. The axis's own factor, the
    sign of a network's group, flips what comes in and what goes out alike and is `t`, so `s` is the product of both.

    Nothing jumps: the view is smooth in the weights, and the same for all biases that are whole turns apart. Any model
    takes its spec like every other, and on it respects shifts of phases for the reason that it respects signs.

    Places that `fold_phases` leaves alone are left alone, and so are sine units on a fixed axis (at the outputs):
    fixed units have no signs. Those can be folded first.

    Args:
        spec: space of the networks. Without sine places the view is the space itself.

    Attributes:
        base: space of the networks.
        spec: space of the view.
        places: the sine places that are seen anew.

    Symmetry:
        For an element `g` of the group and half turns `k`, `features` of the networks moved by both are `features` of
        the networks, moved by `g` and by the signs `(-1)^k`.

    References:
        The group is in Kalogeropoulos et al., "Scale Equivariant Graph Metanetworks", NeurIPS 2024, proposition on
        sine, where biases are folded. The two characters are ours.

    Example:
        >>> import torch
        >>> from weightspace.spec import Sine, spec_of
        >>> network = torch.nn.Sequential(torch.nn.Linear(2, 8), Sine(30.0), torch.nn.Linear(8, 1))
        >>> view = PhaseView(spec_of(network))
        >>> for param in view.spec.params[:4]:
        ...     print(param.name, [leg.powers for leg in param.legs if leg.axis == "0"])
        0.weight [(1, 1)]
        0.bias sine [(1, 0)]
        0.bias cosine [(0, 1)]
        2.weight [(1, 0)]
    """

    def __init__(self, spec: NetworkSpec) -> None:
        self.base = spec
        self.places = tuple(p for p in sine_places(spec) if spec.axis(p.axis).symmetry.permutes)
        self.spec = self._seen() if self.places else spec

    def __repr__(self) -> str:
        return f"PhaseView(places={[place.name for place in self.places]})"

    def features(self, x: WeightFeatures) -> WeightFeatures:
        """The networks with the sine and cosine of their phases in place of the biases.

        Raises:
            ShapeError: networks of another space.
        """
        x.expect(self.base)
        tensors = dict(x.items())
        for place in self.places:
            phase = self._phase(x, place)
            sine, cosine = _names(place)
            tensors[sine], tensors[cosine] = phase.sin(), phase.cos()
        return WeightFeatures(self.spec, {param.name: tensors[param.name] for param in self.spec.params})

    def change(self, x: WeightFeatures, y: WeightFeatures) -> WeightFeatures:
        r"""The change of the networks `x` that a change `y` of their view means.

        Weights change as in the view. Of a change of sine and cosine, only what is along the circle turns the phase:

        .. math:: \mathrm{d}b = (\cos\varphi \,\mathrm{d}\sin - \sin\varphi \,\mathrm{d}\cos) / \omega.

        It follows `s` and does not see `k`. Where several biases are added up, each changes by its part of it.

        Args:
            x: the networks.
            y: features of the view's spec, in as many channels.

        Symmetry:
            Linear in `y`. `change` of what is moved is `change`, moved, without the shift of the biases.

        Raises:
            ShapeError: features of other spaces.

        Example:
            >>> import torch
            >>> from weightspace.spec import Sine, spec_of
            >>> from weightspace.weights import features_of
            >>> network = torch.nn.Sequential(torch.nn.Linear(2, 8), Sine(30.0), torch.nn.Linear(8, 1)).double()
            >>> x = features_of(spec_of(network), network)
            >>> view, step = PhaseView(x.spec), 1e-6
            >>> near = WeightFeatures(x.spec, {n: t + step if "bias" in n else t for n, t in x.items()})
            >>> y = [b - a for a, b in zip(view.features(x).tensors, view.features(near).tensors)]
            >>> change = view.change(x, WeightFeatures(view.spec, y))["0.bias"]
            >>> torch.allclose(change, torch.full_like(change, step))
            True
        """
        x.expect(self.base)
        y.expect(self.spec)
        if len(x) != len(y) or x.channels != y.channels:
            raise ShapeError(
                f"{len(y)} changes of {y.channels} channels for {len(x)} networks of {x.channels}; expected as many."
            )
        tensors = dict(y.items())
        for place in self.places:
            phase = self._phase(x, place)
            sine, cosine = (tensors[name] for name in _names(place))
            turned = (phase.cos() * sine - phase.sin() * cosine) * (place.step / math.pi) / len(place.biases)
            tensors |= dict.fromkeys(place.biases, turned)
        return WeightFeatures(self.base, {param.name: tensors[param.name] for param in self.base.params})

    def _phase(self, x: WeightFeatures, place: SinePlace) -> Tensor:
        """The angle at which the place's sines begin."""
        first, *others = (x[name] for name in place.biases)
        return sum(others, first) * (math.pi / place.step)

    def _seen(self) -> NetworkSpec:
        """The space of the view."""
        spec, biases = self.base, {place.biases[0]: place for place in self.places}
        dropped = {name for place in self.places for name in place.biases[1:]}
        params: list[ParamSpec] = []
        for param in spec.params:
            if param.name in biases:
                params += self._sine_and_cosine(param, biases[param.name])
            elif param.name not in dropped:
                params.append(replace(param, legs=tuple(self._legs(param))))
        return NetworkSpec(
            tuple(self._axis(axis) for axis in spec.axes),
            tuple(params),
            tuple(each for place in spec.places for each in self._twice(place)),
            tuple(each for wire in spec.wires for each in self._wires(wire)),
            spec.notes,
        )

    def _on(self, axis: str) -> list[str]:
        """The sine places of an axis, in the order of their signs."""
        return [place.name for place in self.places if place.axis == axis]

    def _axis(self, axis: Axis) -> Axis:
        signs = (Factor.SIGN,) * len(self._on(axis.name))
        return replace(axis, symmetry=Symmetry(axis.symmetry.permutes, (*axis.symmetry.factors, *signs)))

    def _legs(self, param: ParamSpec) -> Iterator[Leg]:
        """The legs with a power for every new sign: one where a parameter arrives at the sine place."""
        seen = set[str]()
        for leg in param.legs:
            into = {p.name for p in self.places if p.axis == leg.axis and param.name in p.params}
            into = set() if leg.axis in seen else into
            seen.add(leg.axis)
            yield replace(leg, powers=(*leg.powers, *(int(name in into) for name in self._on(leg.axis))))

    def _sine_and_cosine(self, param: ParamSpec, place: SinePlace) -> list[ParamSpec]:
        """What stands for a bias: the sine follows what the bias did, the cosine the parity of the half turns alone."""
        sine, cosine = _names(place)
        old = [(*leg.powers, *(0 for _ in self._on(leg.axis))) for leg in param.legs]
        still = [tuple(0 for _ in powers) for powers in old]
        still[-1] = (*still[-1][: len(param.legs[-1].powers)], *(int(n == place.name) for n in self._on(place.axis)))
        return [
            ParamSpec(name, _with(param.legs, powers), role, View(name))
            for name, powers, role in ((sine, old, param.role), (cosine, still, "gain"))
        ]

    def _twice(self, place: Place) -> list[Place]:
        """A place with powers for the new signs; a sine place and the one behind it."""
        none = [0 for _ in self._on(place.axis)]
        behind = replace(place, powers=(*place.powers, *none))
        if place.name not in {p.name for p in self.places}:
            return [behind]
        ahead = replace(place, powers=(*place.powers, *(int(name == place.name) for name in self._on(place.axis))))
        return [ahead, replace(behind, name=_behind(place.name), activation="identity", constants=())]

    def _wires(self, wire: Wire) -> list[Wire]:
        """A wire between the new places; for a bias, those of its sine and cosine."""
        place = next((p for p in self.places if p.name == wire.target), None)
        if place is not None and wire.param in place.biases:
            sine, cosine = _names(place)
            both = [Wire(sine, None, _behind(place.name)), Wire(cosine, place.name, _behind(place.name))]
            return both if wire.param == place.biases[0] else []
        return [replace(wire, source=_behind(wire.source))] if wire.source in {p.name for p in self.places} else [wire]


def _names(place: SinePlace) -> tuple[str, str]:
    """The parameters that stand for a place's bias."""
    return f"{place.biases[0]} sine", f"{place.biases[0]} cosine"


def _behind(place: str | None) -> str:
    """The place behind a sine place."""
    return f"{place} turned"


def _with(legs: Sequence[Leg], powers: Sequence[tuple[int, ...]]) -> tuple[Leg, ...]:
    return tuple(replace(leg, powers=own) for leg, own in zip(legs, powers, strict=True))
