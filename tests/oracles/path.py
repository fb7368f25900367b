"""The polynomial layer as its formulas stand on paper: every product formed, one einsum per term."""

from math import sqrt

import torch
from tests.oracles.linear import linear_by_terms
from torch import Tensor

from weightspace.layers import PathProducts
from weightspace.layers.path import Path, Paths
from weightspace.layers.polynomial import Coupling
from weightspace.layers.wiring import Wiring
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
                stretch = weight if s == t + 1 else torch.einsum("acjk,acke->acje", weight, table[s - 1, t])
                table[s, t] = stretch if s == t + 1 else stretch / sqrt(weight.shape[3])
        self.ahead, self.behind = {names[0]: []}, {names[-1]: []}
        for s, name in enumerate(names):
            if s > 0:
                powers = wiring.powers(matrices[s - 1][0])[0]
                self.ahead[name] = [Path(names[0], powers, table[s, 0], s == 1)]
                for t in range(1, s + 1):
                    self.ahead[name] += [self._bias(names[t], powers, None if t == s else table[s, t])]
            if s < len(names) - 1:
                powers = wiring.powers(matrices[s][0])[1]
                values = table[len(names) - 1, s].transpose(2, 3)
                self.behind[name] = [Path(names[-1], powers, values, s == len(names) - 2)]

    def _bias(self, place: str, powers: tuple[int, ...], stretch: Tensor | None) -> Path:
        (param,) = (wire.param for wire in self.wiring.into[place] if wire.source is None)
        values = self._vector(param)
        if stretch is not None:
            values = torch.einsum("acjk,acke->acje", stretch, values) / sqrt(stretch.shape[3])
        return Path(param, powers, values, stretch is None)


def products_by_terms(layer: PathProducts, x: WeightFeatures) -> WeightFeatures:
    """The layer on a chain with biases. Products of a stretch carry the roots of the units that they sum over."""
    paths = AllProducts(layer.wiring, x)
    products = {param.name: paths.values(pick) for pick, param in paths.products()}
    for coupling in layer.outer:
        names = (f"{coupling.joint.name} < {path.origin}" for path in paths.rows(coupling.joint))
        products |= zip(names, coupling(paths), strict=True)
    tensors = [*x.tensors, *(products[param.name] for param in layer.space.params[len(x.tensors) :])]
    out = dict(linear_by_terms(layer.linear, WeightFeatures(layer.space, tensors)).items())
    for param, mixed in zip(layer.beside, layer.inner, strict=True):
        for product, mix in zip(Coupling.forward(mixed, paths), mixed.mix, strict=True):
            out[param] = out[param] + torch.einsum("ajkc,cf->ajkf", product, mix)
    return WeightFeatures(layer.spec_out, out)
