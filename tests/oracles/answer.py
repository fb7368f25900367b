"""What networks answer, each module by itself, and what a transformer sees of a unit, entry by entry."""

from collections.abc import Iterator
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures


def asked(template: nn.Module, x: WeightFeatures, inputs: Tensor) -> Tensor:
    """Every network on every input: `(network, input, output)`."""
    networks = x.to_modules(template.to(x.dtype))
    return torch.stack([torch.stack([network(one[None])[0].flatten() for one in inputs]) for network in networks])


def entries_of_units(spec: NetworkSpec, weights: dict[str, Any], name: str, ordered: bool) -> Iterator[list[float]]:
    """For each unit of an axis that is in no other one: all weights in its row or column, parameter by parameter.

    Unless `ordered`, entries that differ in the number of another free unit only are sorted.
    """
    for unit in range(spec.axis(name).size):
        seen: list[float] = []
        for param in spec.params:
            for own in [i for i, leg in enumerate(param.legs) if leg.axis == name]:
                groups: dict[tuple[int, ...], list[float]] = {}
                for index in product(*map(range, spec.shape(param.name))):
                    if index[own] != unit:
                        continue
                    fixed = [i for i, leg in enumerate(param.legs) if not spec.axis(leg.axis).symmetry.permutes]
                    kept = [at for i, at in enumerate(index) if i != own and (ordered or i in fixed)]
                    groups.setdefault(tuple(kept), []).append(float(weights[param.name][index]))
                seen += [entry for kept in sorted(groups) for entry in sorted(groups[kept])]
        yield seen
