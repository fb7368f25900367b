"""The permutation-equivariant part that several models share."""

from itertools import pairwise

from torch import nn

from weightspace.layers import EquivariantLinear, Pointwise
from weightspace.spec import NetworkSpec

__all__ = ["permutation_trunk"]


def permutation_trunk(spec: NetworkSpec, channels: tuple[int, ...]) -> nn.Sequential:
    """Equivariant linear layers with ReLU behind each, on features on which no scalar acts.

    Args:
        spec: space of the features, permutations only.
        channels: feature channels before the first layer and behind each.

    Shapes:
        `(batch, *axes, channels[0])` to `(batch, *axes, channels[-1])` per parameter.

    Symmetry:
        `trunk(act(g, x)) == act(g, trunk(x))`.
    """
    layers: list[nn.Module] = []
    for before, behind in pairwise(channels):
        layers += [EquivariantLinear(spec, before, behind), Pointwise(spec, "relu")]
    return nn.Sequential(*layers)
