"""Products of weights along the wires of a network, as parameters with legs of their own.

A path from an input to a unit multiplies the parameters on its way. What belongs to the units in between cancels, so
the product transforms as one more parameter would.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import sqrt

import torch
from torch import Tensor

from weightspace.layers.wiring import Powers, Wiring
from weightspace.spec import Leg, ParamSpec, View, Wire
from weightspace.weights import WeightFeatures

__all__ = ["Joint", "Path", "Paths", "Pick", "product_param"]


@dataclass(frozen=True)
class Path:
    """The sum over all paths between some units and one origin.

    Args:
        origin: an input place, a bias, or an output place.
        powers: how the values follow the factors of the units' axis.
        values: `(batch, channels, units, ends)`; a bias has one end.
        alone: whether the values are a parameter as it is.
    """

    origin: str
    powers: Powers
    values: Tensor
    alone: bool = False


@dataclass(frozen=True)
class Joint:
    """Paths into one place, coupled to the paths from another place to the outputs.

    Args:
        name: of what they make together.
        target: the place that the paths from inputs and biases lead to.
        source: the place that the paths to the outputs begin at.
        powers: how both sides follow the factors of their axes.
        param: the matrix that stands between the two, if any.
        turned: whether that matrix has the source's leg first.
    """

    name: str
    target: str
    source: str
    powers: tuple[Powers, Powers]
    param: str | None = None
    turned: bool = False


@dataclass(frozen=True)
class Pick:
    """Which path a product is: the side, the place and the position there, and its number of legs."""

    back: bool
    place: str
    row: int
    legs: int


class Paths:
    """The products of a batch of networks, each of unit variance where independent weights have variance one."""

    def __init__(self, wiring: Wiring, x: WeightFeatures) -> None:
        self.wiring, self.x = wiring, x
        self._copies: dict[str, Tensor] = {}
        self.ahead: dict[str, list[Path]] = {}
        self.behind: dict[str, list[Path]] = {}
        for name in wiring.places:
            self.ahead[name] = _summed(path for wire in wiring.into[name] for path in self._arriving(wire))
        for name in reversed(wiring.places):
            self.behind[name] = _summed(path for wire in wiring.out_of[name] for path in self._returning(wire))

    def _arriving(self, wire: Wire) -> Iterator[Path]:
        """What one wire brings to the units of its target."""
        wiring = self.wiring
        if wire.param is not None and wire.source is None and wiring.is_diagonal(wire):
            yield Path(wire.param, wiring.legs(wire)[0].powers, self._vector(wire.param), alone=True)
        elif wire.source in wiring.inputs and wiring.is_matrix(wire):
            yield Path(wire.source, wiring.powers(wire)[0], self._matrix(wire), alone=True)
        elif wire.source is not None:
            yield from self._through(wire, self.ahead[wire.source], back=False)

    def _returning(self, wire: Wire) -> Iterator[Path]:
        """What one wire brings back to the units of its source."""
        if wire.target in self.wiring.outputs and self.wiring.is_matrix(wire):
            values = self._matrix(wire).transpose(2, 3)
            yield Path(wire.target, self.wiring.powers(wire)[1], values, alone=True)
        else:
            yield from self._through(wire, self.behind[wire.target], back=True)

    def _through(self, wire: Wire, paths: Sequence[Path], *, back: bool) -> Iterator[Path]:
        """Paths that go on along a wire: nothing of the units in between may be left over."""
        wiring = self.wiring
        if wire.param is None:
            yield from paths if wiring.axis(wire.target) == wiring.axis(str(wire.source)) else ()
        elif wiring.is_matrix(wire):
            left, met = reversed(wiring.powers(wire)) if back else wiring.powers(wire)
            axis = wiring.axis(wire.target if back else str(wire.source))
            fitting = [path for path in paths if not any(wiring.net(axis, met, path.powers))]
            if fitting:
                weight = self._laid_out(wire)
                yield from _multiplied(weight.transpose(2, 3) if back else weight, fitting, left)
        elif wiring.is_diagonal(wire):
            (leg,), gain = wiring.legs(wire), self._vector(wire.param)
            for path in paths:
                yield Path(path.origin, wiring.net(leg.axis, leg.powers, path.powers), gain * path.values)

    def _vector(self, param: str) -> Tensor:
        """One number per unit: `(batch, channels, units, 1)`."""
        return self.x[param].transpose(1, 2).unsqueeze(3)

    def _matrix(self, wire: Wire) -> Tensor:
        """A wire's matrix `(batch, channels, target units, source units)`."""
        values = self.x[str(wire.param)].movedim(3, 1)
        return values if self.wiring.ends(wire) == (0, 1) else values.transpose(2, 3)

    def _laid_out(self, wire: Wire) -> Tensor:
        """The matrix laid out for products within channels: a copy, made once for both directions."""
        if wire.param not in self._copies:
            self._copies[str(wire.param)] = self._matrix(wire).contiguous()
        return self._copies[str(wire.param)]

    def products(self) -> Iterator[tuple[Pick, ParamSpec]]:
        """The paths as parameters, each once, without those that are parameters as they are."""
        seen: set[int] = set()
        hidden_behind = [(name, paths) for name, paths in self.behind.items() if name not in self.wiring.inputs]
        sides = [(False, *item) for item in self.ahead.items()] + [(True, *item) for item in hidden_behind]
        for back, name, paths in sides:
            for row, path in enumerate(paths):
                if not path.alone and id(path.values) not in seen:
                    seen.add(id(path.values))
                    legs = [Leg(self.wiring.axis(name), path.powers)]
                    if path.origin in self.wiring.places:
                        legs.append(Leg(self.wiring.axis(path.origin)))
                    param = product_param(f"{name} < {path.origin} {path.powers}", legs)
                    yield Pick(back, name, row, len(legs)), param

    def values(self, pick: Pick) -> Tensor:
        """A path as features have it: `(batch, units, ends, channels)`, or without ends."""
        values = (self.behind if pick.back else self.ahead)[pick.place][pick.row].values
        return values.movedim(1, 3) if pick.legs == 2 else values.squeeze(3).transpose(1, 2)

    def joints(self) -> Iterator[Joint]:
        """Where both sides have something: every place with the inputs, and the ends of every matrix."""
        wiring = self.wiring
        for target, paths in self.ahead.items():
            for powers in dict.fromkeys(path.powers for path in paths if self._is_near(target, path)):
                for source in wiring.inputs:
                    yield Joint(f"{target} {powers} * {source}", target, source, (powers, ()))
            for wire in wiring.into[target]:
                if wire.source is not None and wire.source not in wiring.inputs and wiring.is_matrix(wire):
                    name, turned = f"beside {wire.param}", wiring.ends(wire) == (1, 0)
                    yield Joint(name, target, wire.source, wiring.powers(wire), wire.param, turned)

    def _is_near(self, target: str, path: Path) -> bool:
        """Whether a path comes from an input, or is a bias of the place itself."""
        own = {wire.param for wire in self.wiring.into[target] if wire.source is None}
        return path.origin in self.wiring.inputs or path.origin in own

    def rows(self, joint: Joint) -> list[Path]:
        """What leads to a joint's target: a path for each input, and the place's own biases."""
        return [p for p in self.ahead[joint.target] if p.powers == joint.powers[0] and self._is_near(joint.target, p)]

    def columns(self, joint: Joint) -> Tensor | None:
        """What leads from a joint's source to the outputs: `(batch, channels, units, ends of all outputs)`."""
        values = [path.values for path in self.behind[joint.source] if path.powers == joint.powers[1]]
        return torch.cat(values, 3) if len(values) > 1 else values[0] if values else None


def _summed(paths: Iterable[Path]) -> list[Path]:
    """Paths of one origin added up."""
    groups: dict[tuple[str, Powers], list[Path]] = {}
    for path in paths:
        groups.setdefault((path.origin, path.powers), []).append(path)
    sums = []
    for same in groups.values():
        total = sum((path.values for path in same[1:]), same[0].values)
        sums.append(same[0] if len(same) == 1 else replace(same[0], values=total / sqrt(len(same)), alone=False))
    return sums


def _multiplied(weight: Tensor, paths: Sequence[Path], powers: Powers) -> Iterator[Path]:
    """A matrix times what stands at one of its sides, all origins in one product."""
    joined = torch.cat([path.values for path in paths], 3) if len(paths) > 1 else paths[0].values
    product = weight @ joined / sqrt(joined.shape[2])
    for path, values in zip(paths, product.split([path.values.shape[3] for path in paths], 3), strict=True):
        yield Path(path.origin, powers, values)


def product_param(name: str, legs: Sequence[Leg]) -> ParamSpec:
    """A product as a parameter, which no state dict holds."""
    return ParamSpec(name, tuple(legs), "product", View(name))
