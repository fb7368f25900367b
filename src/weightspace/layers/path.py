"""Products of weights along the wires of a network, as parameters with legs of their own.

A path from an input to a unit multiplies the parameters on its way. What belongs to the units in between cancels, so
the product transforms as one more parameter would.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import torch
from torch import Tensor

from weightspace.layers.carry import FEW, carry
from weightspace.layers.wiring import Powers, Wiring
from weightspace.spec import Leg, ParamSpec, View, Wire
from weightspace.weights import WeightFeatures

__all__ = ["Joint", "Path", "Paths", "Pick", "Table", "product_param"]


@dataclass(frozen=True)
class Path:
    """All paths between some units and one origin, added up.

    Args:
        name: of what they make.
        origin: an input place, a bias, or an output place.
        ends: how many numbers per unit they are; a bias has one.
        alone: whether they are a parameter as it is.
    """

    name: str
    origin: str
    ends: int
    alone: bool = False


@dataclass(frozen=True)
class Table:
    """Paths at one place that follow its units alike, side by side.

    Args:
        powers: how the values follow the factors of the units' axis.
        paths: whose values they are.
        values: `(batch, units, ends of all paths, channels)`.
    """

    powers: Powers
    paths: tuple[Path, ...]
    values: Tensor

    def parts(self) -> tuple[Tensor, ...]:
        """The values of every path."""
        return self.values.split([path.ends for path in self.paths], 2)


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
    """Which path a product is: the side, the place, the table and the row there, and its number of legs."""

    back: bool
    place: str
    table: int
    row: int
    legs: int


class Paths:
    """The products of a batch of networks, each of unit variance where independent weights have variance one."""

    def __init__(self, wiring: Wiring, x: WeightFeatures) -> None:
        self.wiring, self.x = wiring, x
        self.ahead: dict[str, list[Table]] = {}
        self.behind: dict[str, list[Table]] = {}
        for name in wiring.places:
            arriving = (table for wire in wiring.into[name] for table in self._arriving(wire))
            self.ahead[name] = _joined(name, arriving)
        for name in reversed(wiring.places):
            returning = (table for wire in wiring.out_of[name] for table in self._returning(wire))
            self.behind[name] = _joined(name, returning)

    def _arriving(self, wire: Wire) -> Iterator[Table]:
        """What one wire brings to the units of its target."""
        wiring = self.wiring
        if wire.param is not None and wire.source is None and wiring.is_diagonal(wire):
            yield _alone(wire.param, wiring.legs(wire)[0].powers, self._vector(wire.param))
        elif wire.source in wiring.inputs and wiring.is_matrix(wire):
            yield _alone(str(wire.source), wiring.powers(wire)[0], self._matrix(wire))
        elif wire.source is not None:
            yield from self._through(wire, self.ahead[wire.source], back=False)

    def _returning(self, wire: Wire) -> Iterator[Table]:
        """What one wire brings back to the units of its source."""
        if wire.target in self.wiring.outputs and self.wiring.is_matrix(wire):
            yield _alone(wire.target, self.wiring.powers(wire)[1], self._matrix(wire).transpose(1, 2))
        else:
            yield from self._through(wire, self.behind[wire.target], back=True)

    def _through(self, wire: Wire, tables: Sequence[Table], *, back: bool) -> Iterator[Table]:
        """Paths that go on along a wire: nothing of the units in between may be left over."""
        wiring = self.wiring
        here = str(wire.source) if back else wire.target
        if wire.param is None:
            yield from tables if wiring.axis(wire.target) == wiring.axis(str(wire.source)) else ()
        elif wiring.is_matrix(wire):
            left, met = reversed(wiring.powers(wire)) if back else wiring.powers(wire)
            axis = wiring.axis(wire.target if back else str(wire.source))
            for table in tables:
                if not any(wiring.net(axis, met, table.powers)):
                    weight = self._matrix(wire).transpose(1, 2) if back else self._matrix(wire)
                    values = carry(weight, table.values, 1 / sqrt(table.values.shape[1]))
                    yield _moved(here, left, table, values)
        elif wiring.is_diagonal(wire):
            (leg,), gain = wiring.legs(wire), self._vector(wire.param)
            for table in tables:
                powers = wiring.net(leg.axis, leg.powers, table.powers)
                yield _moved(here, powers, table, gain * table.values)

    def _vector(self, param: str) -> Tensor:
        """One number per unit: `(batch, units, 1, channels)`."""
        return self.x[param].unsqueeze(2)

    def _matrix(self, wire: Wire) -> Tensor:
        """A wire's matrix `(batch, target units, source units, channels)`."""
        values = self.x[str(wire.param)]
        return values if self.wiring.ends(wire) == (0, 1) else values.transpose(1, 2)

    def products(self) -> Iterator[tuple[Pick, ParamSpec]]:
        """The paths as parameters, each once, without those that are parameters as they are."""
        seen: set[str] = set()
        hidden_behind = [(name, tables) for name, tables in self.behind.items() if name not in self.wiring.inputs]
        sides = [(False, *item) for item in self.ahead.items()] + [(True, *item) for item in hidden_behind]
        for back, place, tables in sides:
            for number, table in enumerate(tables):
                for row, path in enumerate(table.paths):
                    if not path.alone and path.name not in seen:
                        seen.add(path.name)
                        param = self._product(place, table, path)
                        yield Pick(back, place, number, row, len(param.legs)), param

    def _product(self, place: str, table: Table, path: Path) -> ParamSpec:
        legs = [Leg(self.wiring.axis(place), table.powers)]
        if path.origin in self.wiring.places:
            legs.append(Leg(self.wiring.axis(path.origin)))
        return product_param(path.name, legs)

    def table(self, pick: Pick) -> Table:
        """Where a product stands."""
        return (self.behind if pick.back else self.ahead)[pick.place][pick.table]

    def values(self, pick: Pick) -> Tensor:
        """A path as features have it: `(batch, units, ends, channels)`, or without ends."""
        values = self.table(pick).parts()[pick.row]
        return values if pick.legs == 2 else values.squeeze(2)

    def joints(self) -> Iterator[Joint]:
        """Where both sides have something: every place with the inputs, and the ends of every matrix."""
        wiring = self.wiring
        for target, tables in self.ahead.items():
            for powers in [table.powers for table in tables if any(self.is_near(target, p) for p in table.paths)]:
                for source in wiring.inputs:
                    yield Joint(f"{target} {powers} * {source}", target, source, (powers, ()))
            for wire in wiring.into[target]:
                if wire.source is not None and wire.source not in wiring.inputs and wiring.is_matrix(wire):
                    name, turned = f"beside {wire.param}", wiring.ends(wire) == (1, 0)
                    yield Joint(name, target, wire.source, wiring.powers(wire), wire.param, turned)

    def is_near(self, target: str, path: Path) -> bool:
        """Whether a path comes from an input, or is a bias of the place itself."""
        own = {wire.param for wire in self.wiring.into[target] if wire.source is None}
        return path.origin in self.wiring.inputs or path.origin in own

    def rows(self, joint: Joint) -> list[tuple[Path, Tensor]]:
        """What leads to a joint's target: a path for each input, and the place's own biases."""
        tables = [table for table in self.ahead[joint.target] if table.powers == joint.powers[0]]
        pairs = [pair for table in tables for pair in zip(table.paths, table.parts(), strict=True)]
        return [(path, values) for path, values in pairs if self.is_near(joint.target, path)]

    def columns(self, joint: Joint) -> Tensor | None:
        """What leads from a joint's source to the outputs: `(batch, units, ends of all outputs, channels)`."""
        return next((t.values for t in self.behind[joint.source] if t.powers == joint.powers[1]), None)


def _alone(origin: str, powers: Powers, values: Tensor) -> Table:
    """A parameter as it is, as a table of its own: with many ends laid out by channel, as products of it will be."""
    if values.shape[2] > FEW:
        values = values.permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1)
    return Table(powers, (Path(origin, origin, values.shape[2], alone=True),), values)


def _moved(place: str, powers: Powers, table: Table, values: Tensor) -> Table:
    """A table's paths at the next place."""
    paths = (Path(f"{place} < {path.origin} {powers}", path.origin, path.ends) for path in table.paths)
    return Table(powers, tuple(paths), values)


def _joined(place: str, tables: Iterable[Table]) -> list[Table]:
    """One table for all paths of equal powers, those of one origin added up."""
    alike: dict[Powers, list[Table]] = {}
    for table in tables:
        alike.setdefault(table.powers, []).append(table)
    return [same[0] if len(same) == 1 else _side_by_side(place, same) for same in alike.values()]


def _side_by_side(place: str, tables: Sequence[Table]) -> Table:
    origins = [path.origin for table in tables for path in table.paths]
    powers = tables[0].powers
    if len(set(origins)) == len(origins):
        paths = tuple(path for table in tables for path in table.paths)
        return Table(powers, paths, torch.cat([table.values for table in tables], 2))
    groups: dict[str, list[tuple[Path, Tensor]]] = {}
    for table in tables:
        for path, part in zip(table.paths, table.parts(), strict=True):
            groups.setdefault(path.origin, []).append((path, part))
    summed = [_summed(f"{place} < {origin} {powers}", same) for origin, same in groups.items()]
    return Table(powers, tuple(path for path, _ in summed), torch.cat([part for _, part in summed], 2))


def _summed(name: str, same: Sequence[tuple[Path, Tensor]]) -> tuple[Path, Tensor]:
    """Paths of one origin added up."""
    (path, total), *others = same
    if not others:
        return path, total
    total = sum((part for _, part in others), total) / sqrt(len(same))
    return Path(name, path.origin, path.ends), total


def product_param(name: str, legs: Sequence[Leg]) -> ParamSpec:
    """A product as a parameter, which no state dict holds."""
    return ParamSpec(name, tuple(legs), "product", View(name))
