"""The polynomial layer as its formulas stand on paper: every product formed, one einsum per term."""

from math import sqrt

import torch
from tests.oracles.linear import linear_by_terms
from torch import Tensor

from weightspace.layers import PathProducts
from weightspace.layers.path import Path, Paths, Table
from weightspace.layers.polynomial import Coupling
from weightspace.layers.wiring import Powers, Wiring
from weightspace.weights import WeightFeatures


class AllProducts(Paths):
    """The paths of a chain, read off a table of the products of every stretch of it."""

    def __init__(self, wiring: Wiring, x: WeightFeatures) -> None:
        self.wiring, self.x = wiring, x
        names = list(wiring.places)
        matrices = [(wire, self._matrix(wire)) for name in names[1:] for wire in wiring.into[name] if wire.source]
        table: dict[tuple[int, int], Tensor] = {}
        for t in range(len(matrices)):
            for s in range(t + 1, len(names)):
                weight = matrices[s - 1][1]
                stretch = weight if s == t + 1 else torch.einsum("ajkc,akec->ajec", weight, table[s - 1, t])
                table[s, t] = stretch if s == t + 1 else stretch / sqrt(weight.shape[2])
        self.ahead, self.behind = {names[0]: []}, {names[-1]: []}
        for s, name in enumerate(names):
            if s > 0:
                powers = wiring.powers(matrices[s - 1][0])[0]
                rows = [self._row(name, names[0], powers, table[s, 0], s == 1)]
                for t in range(1, s + 1):
                    rows.append(self._bias(name, names[t], powers, None if t == s else table[s, t]))
                self.ahead[name] = [Table(powers, tuple(p for p, _ in rows), torch.cat([v for _, v in rows], 2))]
            if s < len(names) - 1:
                powers = wiring.powers(matrices[s][0])[1]
                values = table[len(names) - 1, s].transpose(1, 2)
                path, values = self._row(name, names[-1], powers, values, s == len(names) - 2)
                self.behind[name] = [Table(powers, (path,), values)]

    def _row(self, place: str, origin: str, powers: Powers, values: Tensor, alone: bool) -> tuple[Path, Tensor]:
        return Path(f"{place} < {origin} {powers}", origin, values.shape[2], alone), values

    def _bias(self, place: str, at: str, powers: Powers, stretch: Tensor | None) -> tuple[Path, Tensor]:
        (param,) = (wire.param for wire in self.wiring.into[at] if wire.source is None)
        values = self._vector(param)
        if stretch is not None:
            values = torch.einsum("ajkc,akec->ajec", stretch, values) / sqrt(stretch.shape[2])
        return self._row(place, param, powers, values, stretch is None)


def products_by_terms(layer: PathProducts, x: WeightFeatures) -> WeightFeatures:
    """The layer on a chain with biases. Products of a stretch carry the roots of the units that they sum over."""
    paths = AllProducts(layer.wiring, x)
    products = {param.name: paths.values(pick) for pick, param in paths.products()}
    for coupling in layer.outer:
        names = (f"{coupling.joint.name} < {path.origin}" for path, _ in paths.rows(coupling.joint))
        products |= zip(names, coupling(paths), strict=True)
    tensors = [*x.tensors, *(products[param.name] for param in layer.space.params[len(x.tensors) :])]
    out = dict(linear_by_terms(layer.linear, WeightFeatures(layer.space, tensors)).items())
    for param, mixed in zip(layer.beside, layer.inner, strict=True):
        for product, mix in zip(Coupling.forward(mixed, paths), mixed.mix, strict=True):
            out[param] = out[param] + torch.einsum("ajkc,cf->ajkf", product, mix)
    return WeightFeatures(layer.spec_out, out)
