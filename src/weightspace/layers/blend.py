"""An equivariant linear map of parameters and products of weights that reads each where it stands."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional as F

from weightspace.layers.contraction import Reduction
from weightspace.layers.diagram import Half
from weightspace.layers.linear import EquivariantLinear
from weightspace.layers.path import Paths, Pick
from weightspace.weights import WeightFeatures

__all__ = ["BlendedLinear", "Origin", "Reading", "outer"]

# A product is formed unless its thin factors are at least so many times as small.
THINNER = 4


@dataclass(frozen=True)
class Source:
    """A parameter or a product, reduced to what is carried over."""

    name: str
    reduction: Reduction

    def __call__(self, reading: "Reading") -> Tensor:
        """Shape `(batch, *carried, fixed * channels)`."""
        return self.reduction(reading.tensor(self.name))


@dataclass(frozen=True)
class Stretch:
    """Neighbouring paths of one table, which are what a mix reads as they stand.

    Args:
        pick: the first path.
        start: where its ends begin.
        ends: how many all paths have.
        paths: how many there are.
    """

    pick: Pick
    start: int
    ends: int
    paths: int = 1

    def __call__(self, reading: "Reading") -> Tensor:
        """Shape `(batch, units, ends * channels)`."""
        return reading.paths.table(self.pick).values.narrow(2, self.start, self.ends).flatten(2)

    def followed_by(self, other: "Stretch") -> bool:
        """Whether another stretch begins where this one ends."""
        return other.pick == replace(self.pick, row=self.pick.row + self.paths, legs=other.pick.legs)


@dataclass(frozen=True)
class Factored:
    r"""Products :math:`p_{ue} = \sum_r t_{ur} s_{er}` of units and ends, by their thin factors.

    To mix :math:`s` gives a small matrix for each network, which is all that :math:`t` has to meet.

    Args:
        coupling: number of the coupling that makes them.
        rows: which of its products.
        turned: whether the units are those of the coupling's source.
    """

    coupling: int
    rows: tuple[int, ...]
    turned: bool

    def __call__(self, reading: "Reading", weight: Tensor) -> tuple[Tensor, Tensor]:
        """Factors of the mix, `(batch, units, thin)` and `(batch, thin, rows of the weight)`."""
        both = reading.factors(self.coupling)
        units, ends = ([side[row] for row in self.rows] for side in (both[::-1] if self.turned else both))
        networks, count, thin, channels = ends[0].shape
        bands = weight.view(len(weight), len(self.rows), count, channels).permute(1, 3, 2, 0).contiguous()
        # One product for each channel, of all networks: `(products, channels, batch * thin, rows of the weight)`.
        by_channel = torch.stack(ends).permute(0, 4, 1, 3, 2).flatten(2, 3)
        mixed = torch.bmm(by_channel.flatten(0, 1), bands.flatten(0, 1))
        mixed = mixed.view(len(self.rows), channels, networks, thin, -1).permute(2, 0, 3, 1, 4)
        return torch.cat(units, 2).flatten(2), mixed.flatten(1, 3)


@dataclass(frozen=True)
class Group:
    """What a mix reads through neighbouring columns: what is joined for one matrix product, or factored products."""

    whole: tuple[Source | Stretch, ...]
    factored: Factored | None
    width: int

    def add(self, total: Tensor | None, reading: "Reading", weight: Tensor) -> Tensor:
        """The mix of all, and of what was there before."""
        if self.factored is not None:
            pair = self.factored(reading, weight)
            return torch.bmm(*pair) if total is None else torch.baddbmm(total, *pair)
        inputs = [source(reading) for source in self.whole]
        mixed = F.linear(torch.cat(inputs, -1) if len(inputs) > 1 else inputs[0], weight)
        return mixed if total is None else total + mixed


@dataclass(frozen=True)
class Origin:
    """Where products come from: paths by name, and by name the number of a coupling and of its product."""

    picks: Mapping[str, Pick]
    products: Mapping[str, tuple[int, int]]


class Reading:
    """Parameters and products of a batch of networks, each made when it is first read.

    Args:
        x: the networks.
        paths: their products along paths.
        couplings: for each, how to get the thin factors of its products, and how to multiply them.
        origin: where products come from.
    """

    def __init__(
        self,
        x: WeightFeatures,
        paths: Paths,
        couplings: Sequence[Callable[[Paths], tuple[list[Tensor], list[Tensor]]]],
        origin: Origin,
    ) -> None:
        self.x, self.paths, self.couplings, self.origin = x, paths, couplings, origin
        self._features = dict(x.items())
        self._factors: dict[int, tuple[list[Tensor], list[Tensor]]] = {}

    def tensor(self, name: str) -> Tensor:
        """A parameter or a product, `(batch, *legs, channels)`."""
        if name not in self._features:
            pick = self.origin.picks.get(name)
            self._features[name] = self.paths.values(pick) if pick is not None else self._product(name)
        return self._features[name]

    def _product(self, name: str) -> Tensor:
        coupling, row = self.origin.products[name]
        rows, columns = self.factors(coupling)
        return outer(rows[row], columns[row])

    def factors(self, coupling: int) -> tuple[list[Tensor], list[Tensor]]:
        """The thin factors of a coupling's products."""
        if coupling not in self._factors:
            self._factors[coupling] = self.couplings[coupling](self.paths)
        return self._factors[coupling]


def outer(rows: Tensor, columns: Tensor) -> Tensor:
    """Thin factors multiplied: `(batch, units, thin, channels)` each to `(batch, units, units, channels)`."""
    if rows.shape[2] == 1:
        return rows * columns.transpose(1, 2)
    return torch.einsum("ajec,akec->ajkc", rows, columns)


class BlendedLinear(EquivariantLinear):
    """An `EquivariantLinear` of parameters and of products that need not be formed for it.

    Args, shapes, symmetry and errors: see `EquivariantLinear`, whose coefficients these are.
    """

    def prepare(self, paths: Paths, origin: Origin, thin: Mapping[str, int]) -> None:
        """Work out how to read.

        Args:
            paths: of any batch, for where they stand in their tables.
            origin: where products come from.
            thin: for each product of a coupling, the size that its factors share.
        """
        self._origin, self._thin = origin, thin
        self._groups = [[*self._grouped(paths, mix.sources)] for mix in self.mixes]

    def _grouped(self, paths: Paths, halves: Sequence[Half]) -> Iterator[Group]:
        def place(half: Half) -> tuple[int, bool, int] | None:
            product = self._factored(half)
            return None if product is None else (product.coupling, product.turned, self._thin[half.param])

        for key, same in groupby(halves, place):
            halves = list(same)
            width = sum(self._width_in(half) for half in halves)
            if key is None:
                yield Group(tuple(_joined(self._source(paths, half) for half in halves)), None, width)
            else:
                rows = tuple(self._origin.products[half.param][1] for half in halves)
                yield Group((), Factored(key[0], rows, key[1]), width)

    def _factored(self, half: Half) -> Factored | None:
        """Whether a product need not be formed: it is carried over by its units, and has many ends."""
        if half.param not in self._origin.products or half.closed or len(half.carried) != 1 or len(half.fixed) != 1:
            return None
        if self._thin[half.param] * THINNER > half.fixed_size(self.spec):
            return None
        coupling, row = self._origin.products[half.param]
        return Factored(coupling, (row,), turned=half.carried[0].legs == (1,))

    def _source(self, paths: Paths, half: Half) -> Source | Stretch:
        pick = self._origin.picks.get(half.param)
        if pick is None or half.closed or len(half.carried) != 1:
            return Source(half.param, Reduction.of(half, self.spec))
        before = paths.table(pick).paths[: pick.row]
        return Stretch(pick, sum(path.ends for path in before), half.fixed_size(self.spec))

    def blend(self, reading: Reading) -> WeightFeatures:
        """The map of what is read."""
        pairs = zip(self._groups, self.weights, strict=True)
        return self._spread((self._mixed(groups, weight, reading) for groups, weight in pairs), reading.x)

    def _mixed(self, groups: Sequence[Group], weight: Tensor, reading: Reading) -> Tensor:
        columns = weight.split([group.width for group in groups], 1) if len(groups) > 1 else (weight,)
        mixed: Tensor | None = None
        for group, band in zip(groups, columns, strict=True):
            mixed = group.add(mixed, reading, band)
        assert mixed is not None  # no mix without a source
        return mixed


def _joined(sources: Iterator[Source | Stretch]) -> Iterator[Source | Stretch]:
    """Stretches that follow each other as one."""
    last: Source | Stretch | None = None
    for source in sources:
        if isinstance(last, Stretch) and isinstance(source, Stretch) and last.followed_by(source):
            last = replace(last, ends=last.ends + source.ends, paths=last.paths + source.paths)
            continue
        if last is not None:
            yield last
        last = source
    if last is not None:
        yield last
