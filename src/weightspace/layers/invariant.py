"""Removing scalars: from features that scale or change sign to features that are only permuted."""

from collections.abc import Set

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightspace.spec import PERMUTATION, Factor, NetworkSpec, ParamSpec
from weightspace.weights import WeightFeatures

__all__ = ["Canonical", "acting_factors", "canonical", "permutation_spec"]


def acting_factors(spec: NetworkSpec, param: ParamSpec) -> frozenset[Factor]:
    """The kinds of scalar that the group multiplies entries of a parameter with.

    Example:
        >>> from weightspace.spec import spec_of
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)))
        >>> [sorted(acting_factors(spec, param)) for param in spec.params]
        [[<Factor.POSITIVE: 'positive'>], [<Factor.POSITIVE: 'positive'>], [<Factor.POSITIVE: 'positive'>], []]
    """
    return frozenset(
        factor
        for leg in param.legs
        for factor, power in zip(spec.axis(leg.axis).symmetry.factors, leg.powers, strict=True)
        if power
    )


def canonical(x: Float[Tensor, "*entries channels"], factors: Set[Factor]) -> Float[Tensor, "*entries channels"]:
    r"""The channel vector of every entry, with the scalars that act on it divided out.

    All channels of an entry share its scalar. Positive scalars go with the length, :math:`x / \lVert x \rVert`;
    signs with the absolute value of each channel. There is no absolute floor: scales from 1e-30 to 1e30 are treated
    alike, a zero vector stays zero, and gradients are finite everywhere.

    Shapes:
        x: `(..., channels)`, returned in the same shape.

    Example:
        >>> canonical(torch.tensor([[3e-20, -4e-20], [0.0, 0.0]]), {Factor.POSITIVE, Factor.SIGN})
        tensor([[0.6000, 0.8000],
                [0.0000, 0.0000]])
    """
    if Factor.POSITIVE in factors:
        largest = x.detach().abs().amax(-1, keepdim=True)
        x = x / torch.where(largest == 0, torch.ones_like(largest), largest)
        # Zero vectors get length one before the root, whose gradient at zero is infinite.
        x = x / (x.square().sum(-1, keepdim=True) + (x == 0).all(-1, keepdim=True)).sqrt()
    return x.abs() if Factor.SIGN in factors else x


def permutation_spec(spec: NetworkSpec) -> NetworkSpec:
    """The same networks with only the permutations of their units left.

    Example:
        >>> from weightspace.spec import spec_of
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)))
        >>> permutation_spec(spec).free_axes
        (Axis(name='0', size=4, symmetry=PERMUTATION, within=None),)
    """
    return spec.with_symmetry(PERMUTATION)


class Canonical(nn.Module):
    """Features in which no scalar is left: each entry's channel vector in canonical form.

    Args:
        spec: space of the input; the output lies in `permutation_spec(spec)`.

    Shapes:
        Unchanged.

    Symmetry:
        `layer(act(g, x)) == act(p, layer(x))` with `p` the permutations of `g`.

    References:
        Tran et al., "Monomial Matrix Group Equivariant Neural Functional Networks", NeurIPS 2024, section 5: the
        invariant layer's normalisation for scales and absolute value for signs.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import random_features
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)))
        >>> y = Canonical(spec)(random_features(spec, 2, channels=3))
        >>> y["0.bias"].norm(dim=-1).allclose(torch.ones(2, 4, dtype=torch.float64))
        True
    """

    def __init__(self, spec: NetworkSpec) -> None:
        super().__init__()
        self.spec, self.spec_out = spec, permutation_spec(spec)
        self.factors = [acting_factors(spec, param) for param in spec.params]

    def forward(self, x: WeightFeatures) -> WeightFeatures:
        """Divide the scalars out."""
        x.expect(self.spec)
        pairs = zip(x.tensors, self.factors, strict=True)
        return WeightFeatures(self.spec_out, [canonical(tensor, factors) for tensor, factors in pairs])
