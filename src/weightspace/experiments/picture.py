"""Arrays to look at: tied entries of a layer, and a walk along a network's orbit."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from weightspace.groups import Monomial
from weightspace.layers import EquivariantLinear
from weightspace.spec import Factor, NetworkSpec
from weightspace.weights import Element, WeightFeatures, act, identity

__all__ = ["orbit_walk", "tied_entries"]


def tied_entries(spec: NetworkSpec) -> tuple[np.ndarray, int]:
    """Which entries of the dense matrix of an equivariant linear layer must be equal.

    Returns:
        The matrix with one number per set of equal entries, counted from 1 (0 for entries that must vanish), and how
        many free parameters the layer has.

    Example:
        >>> from torch import nn
        >>> from weightspace.spec import spec_of
        >>> matrix, parameters = tied_entries(spec_of(nn.Sequential(nn.Linear(1, 2), nn.ReLU(), nn.Linear(2, 1))))
        >>> matrix[:2, :2].tolist(), parameters
        ([[1, 0], [0, 1]], 6)
    """
    layer = EquivariantLinear(spec, 1, 1, bias=False).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in layer.weights:
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64))
        dense = layer.to_dense()
    # Entries are equal for random coefficients only where the symmetry ties them.
    rounded = [round(value, 9) for value in dense.flatten().tolist()]
    seen: dict[float, int] = {0.0: 0}
    matrix = np.array([seen.setdefault(value, len(seen)) for value in rounded], dtype=np.int64)
    return matrix.reshape(dense.shape), layer.linear_parameters


def orbit_walk(
    x: WeightFeatures, render: Callable[[WeightFeatures], Tensor], frames: int, seed: int = 0
) -> tuple[list[WeightFeatures], np.ndarray, list[str]]:
    """Equivalent networks on the way from one network along its orbit, and what each of them draws.

    Args:
        x: one network.
        render: draws networks: features to `(batch, height, width)`.
        frames: number of networks on the way, the first being `x`.
        seed: of the walk.

    Returns:
        The networks, their pictures `(frames, height, width)`, and what was done to reach each.
    """
    generator = torch.Generator().manual_seed(seed)
    g, walk, moves = identity(x.spec), [x], ["as fitted"]
    for _ in range(frames - 1):
        step, move = _step(x.spec, generator)
        g = step @ g
        walk.append(act(g, x))
        moves.append(move)
    return walk, torch.cat([render(network) for network in walk]).numpy(), moves


def _step(spec: NetworkSpec, generator: torch.Generator) -> tuple[Element, str]:
    """Some units of every free axis change places, some change sign or size."""
    start = identity(spec)
    parts = {}
    for axis in start.axes:
        perm, scale = start.parts[axis.name].perm.clone(), start.parts[axis.name].scale.clone()
        some = torch.randperm(axis.size, generator=generator)[: max(2, axis.size // 4)]
        perm[0, some] = perm[0, some.roll(1)]
        for number, factor in enumerate(axis.symmetry.factors):
            values = -1.0 if factor is Factor.SIGN else 2 * torch.rand(len(some), generator=generator).double() + 0.5
            scale[0, number, some] = values
        parts[axis.name] = Monomial(perm, scale)
    kinds = {factor for axis in start.axes for factor in axis.symmetry.factors}
    verbs = ["change places"] + ["change sign"] * (Factor.SIGN in kinds) + ["change size"] * (Factor.POSITIVE in kinds)
    return Element(start.axes, parts), f"a quarter of the units of each hidden layer {' and '.join(verbs)}"
