"""Signs fixed by the largest entries: along a maximum spanning forest every entry is made positive."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

from weightspace.gauge.leg import block_shape, factor_positions, laid, leg_dims, scaling
from weightspace.gauge.order import colours
from weightspace.spec import Factor, NetworkSpec, ParamSpec
from weightspace.weights import Element, WeightFeatures

__all__ = ["settle_signs"]


def settle_signs(x: WeightFeatures) -> Element:
    """The signs that make the entries of a maximum spanning forest positive.

    Take each sign factor of each unit for a vertex, and one more vertex for all that has no sign. An entry that
    changes with two signs is an edge between them, one that changes with a single sign an edge to the extra vertex,
    each as long as the entry's magnitude times the colours that its units have in the network of all magnitudes. These
    know nothing of signs, so all members of an orbit have the same forest of greatest length, and exactly one choice
    of signs makes all its entries positive, but for parts that hang on nothing: a part's signs touch no entry then.
    Entries that change with three signs or more settle what is left, the longest first. Magnitudes alone would not
    do: once units are driven with norm one, the gains of a normalisation are all of magnitude one.

    This needs no order of computation, works for axes that several parameters share or that one parameter has twice,
    and rests on large entries, which rounding disturbs least. Where two entries of equal length compete, the choice
    depends on the order of the units.

    Symmetry:
        `act(settle_signs(act(s, x)), act(s, x)) == act(settle_signs(x), x)` for signs `s`; no unit changes place.
    """
    spec = x.spec
    axes = [axis for axis in spec.free_axes if factor_positions(axis, Factor.SIGN)]
    if not axes:
        return scaling(spec, Factor.SIGN, {}, len(x))
    shapes = {a.name: (len(factor_positions(a, Factor.SIGN)), *block_shape(spec, a.name)) for a in axes}
    vertices = _numbered(shapes)
    ends = {param.name: _ends(spec, param, vertices) for param in spec.params}
    count = 1 + sum(v.size for v in vertices.values())
    x = _lengthened(x)
    rows = [_signs([_Entries(e, _row(x, name, row)) for name, e in ends.items()], count) for row in range(len(x))]
    signs = torch.from_numpy(np.stack(rows)).to(x.device)
    return scaling(spec, Factor.SIGN, {name: signs[:, torch.from_numpy(v)] for name, v in vertices.items()}, len(x))


def _lengthened(x: WeightFeatures) -> WeightFeatures:
    """Every entry times the colours of its units, which are positive."""
    shades = colours(x.map(torch.abs))
    tensors = []
    for param, tensor in zip(x.spec.params, x.tensors, strict=True):
        for position, leg in enumerate(param.legs):
            tensor = tensor * laid(shades[leg.axis], leg_dims(x.spec, param, position), tensor.ndim)
        tensors.append(tensor)
    return WeightFeatures(x.spec, tensors)


@dataclass(frozen=True)
class _Entries:
    """A parameter of one network: which vertices each entry hangs on `(ends, entries)`, and its values."""

    ends: NDArray[np.int64]
    values: NDArray[np.float64]

    def alive(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The entries that are not zero."""
        kept = self.values != 0
        return self.ends[:, kept], self.values[kept]


def _numbered(shapes: dict[str, tuple[int, ...]]) -> dict[str, NDArray[np.int64]]:
    """A number for each sign factor of each unit; zero stands for all that has no sign."""
    numbers, first = {}, 1
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        numbers[name] = np.arange(first, first + size).reshape(shape)
        first += size
    return numbers


def _ends(spec: NetworkSpec, param: ParamSpec, vertices: dict[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """The vertices whose signs change each entry. Shape `(ends, entries)`."""
    shape = spec.shape(param.name)
    ends = []
    for position, leg in enumerate(param.legs):
        for number, f in enumerate(factor_positions(spec.axis(leg.axis), Factor.SIGN)):
            if leg.powers[f]:
                dims = [dim - 1 for dim in leg_dims(spec, param, position)]
                along = [size if dim in dims else 1 for dim, size in enumerate(shape)]
                ends.append(np.broadcast_to(vertices[leg.axis][number].reshape(along), shape).ravel())
    return np.stack(ends) if ends else np.zeros((0, int(np.prod(shape))), dtype=np.int64)


def _row(x: WeightFeatures, name: str, row: int) -> NDArray[np.float64]:
    """The entries of one parameter of one network; of several channels the largest, which has the entry's sign."""
    values = x[name][row].detach().to("cpu", torch.float64).flatten(0, -2)
    return values.gather(-1, values.abs().argmax(-1, keepdim=True)).squeeze(-1).numpy()


def _signs(params: list[_Entries], count: int) -> NDArray[np.float64]:
    """A sign for each vertex of one network."""
    edges, more = [], []
    for param in params:
        ends, values = param.alive()
        if len(ends) in (1, 2):
            pair = ends if len(ends) == 2 else np.concatenate([ends, np.zeros_like(ends)])
            edges.append((np.sort(pair, axis=0), values))
        elif len(ends):
            more.append((ends, values))
    length, positive = _longest(edges, count)
    forest = minimum_spanning_tree(length)
    forest = csr_array(forest + forest.T)
    parts, part = connected_components(forest, directed=False)
    signs = np.ones(count)
    for root in _roots(part, parts):
        order, before = breadth_first_order(forest, root, directed=False)
        for vertex in order[1:]:
            signs[vertex] = signs[before[vertex]] * positive[min(vertex, before[vertex]), max(vertex, before[vertex])]
    return _flipped(signs, part, more) if more and parts > 1 else signs


def _roots(part: NDArray[np.int32], parts: int) -> Iterator[int]:
    """The first vertex of every part."""
    yield from np.unique(part, return_index=True)[1][:parts]


def _longest(edges: list[tuple[NDArray[np.int64], NDArray[np.float64]]], count: int) -> tuple[csr_array, csr_array]:
    """Per pair of vertices its largest entry: as a rank, the largest magnitude first, and as a sign."""
    pairs = np.concatenate([pair for pair, _ in edges], axis=1) if edges else np.zeros((2, 0), dtype=np.int64)
    values = np.concatenate([values for _, values in edges]) if edges else np.zeros(0)
    order = np.argsort(-np.abs(values), kind="stable")
    order = order[pairs[0, order] != pairs[1, order]]  # a unit's weight onto itself keeps its sign
    _, first = np.unique(pairs[0, order] * count + pairs[1, order], return_index=True)
    chosen = order[np.sort(first)]
    rank = np.arange(1.0, len(chosen) + 1)
    at = (pairs[0, chosen], pairs[1, chosen])
    return coo_array((rank, at), (count, count)).tocsr(), coo_array(
        (np.sign(values[chosen]), at), (count, count)
    ).tocsr()


def _flipped(
    signs: NDArray[np.float64], part: NDArray[np.int32], more: list[tuple[NDArray[np.int64], NDArray[np.float64]]]
) -> NDArray[np.float64]:
    """Signs with whole parts of the forest flipped so that further entries are positive, the largest first.

    Gauss elimination modulo two: an entry's row has a bit for each part it changes with, and one for being negative.
    """
    grounded, negative = part[0], int(part.max()) + 1
    rows = []
    for ends, values in more:
        now = np.sign(values) * signs[ends].prod(0)
        rows += [(-abs(v), tuple(part[e]), s < 0) for v, e, s in zip(values, ends.T, now, strict=True)]
    solved: dict[int, int] = {}
    for _, parts, minus in sorted(rows):
        row = 1 << negative if minus else 0
        for p in parts:
            row ^= 0 if p == grounded else 1 << int(p)
        for pivot, other in solved.items():
            row ^= other if row >> pivot & 1 else 0
        if row & ((1 << negative) - 1):
            pivot = (row & -row).bit_length() - 1
            solved = {p: r ^ row if r >> pivot & 1 else r for p, r in solved.items()} | {pivot: row}
    flips = np.ones(negative)
    for pivot, row in solved.items():
        flips[pivot] = -1.0 if row >> negative & 1 else 1.0
    return signs * flips[part]
