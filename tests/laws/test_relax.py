"""Relaxed layers follow scalars exactly and permutations as far as their positions do not differ."""

import pytest
import torch
from tests.laws.registry import SPECS
from torch import nn

from weightspace.errors import WeightspaceError
from weightspace.groups import Monomial
from weightspace.layers import EquivariantLinear, Relaxed
from weightspace.spec import NetworkSpec
from weightspace.testing import equivariance_error, orbit_error, random_features
from weightspace.weights import Element, act, flatten, sample_element

NAMES = ["relu", "siren", "gelu", "cnn-relu", "residual-positive", "heads-nonzero", "recurrent-sign", "two-factors"]


def relaxed(spec: NetworkSpec, rank: int = 2) -> Relaxed:
    layer = Relaxed(EquivariantLinear(spec, 2, 3), rank).double()
    for weights in layer.positions.values():
        for numbers in weights.sums:
            nn.init.normal_(numbers, generator=torch.Generator().manual_seed(1))
    return layer


def still(g: Element) -> Element:
    """The same scalars, and nothing permuted."""
    parts = {
        a.name: Monomial(torch.arange(a.size).expand_as(g.parts[a.name].perm), g.parts[a.name].scale) for a in g.axes
    }
    return Element(g.axes, parts)


@pytest.mark.parametrize("name", NAMES)
def test_scalars_are_followed_and_permutations_are_not(name: str) -> None:
    spec = SPECS[name]
    layer = relaxed(spec)
    generator = torch.Generator().manual_seed(0)
    x, g = random_features(spec, 4, 2, generator=generator), sample_element(spec, 4, generator=generator, log_scale=8)
    scalars = still(g)
    assert orbit_error(layer, lambda v: act(scalars, v), lambda y: act(scalars.inverse(), y), x) < 1e-12
    assert equivariance_error(layer, spec, channels=2) > 1e-2


@pytest.mark.parametrize("name", NAMES)
def test_equal_positions_are_exact(name: str) -> None:
    spec = SPECS[name]
    layer = relaxed(spec)
    assert layer.spread() > 0.1
    with torch.no_grad():
        for weights in layer.positions.values():
            for numbers in weights.sums:
                numbers.copy_(numbers.mean(1, keepdim=True).expand_as(numbers))
    assert layer.spread() < 1e-20
    assert equivariance_error(layer, spec, channels=2, log_scale=8) < 1e-12


@pytest.mark.parametrize("name", ["relu", "recurrent-sign"])
def test_it_is_the_sum_of_weighed_layers(name: str) -> None:
    """Entry by entry, one bank after the other."""
    spec = SPECS[name]
    layer = relaxed(spec)
    x = random_features(spec, 3, 2)
    out, whole = layer(x), layer.layer(x)
    banks = layer.banks(x)
    for i, param in enumerate(spec.params):
        expected = whole[param.name].clone()
        for index in torch.cartesian_prod(*[torch.arange(n) for n in spec.shape(param.name)]).reshape(
            -1, len(param.legs)
        ):
            place = (slice(None), *index.tolist())
            for bank in range(2):
                weight = torch.zeros(())
                if str(i) in layer.positions:
                    found = layer.positions[str(i)]
                    weight = sum(p[bank, index[leg]] for p, leg in zip(found.sums, found.free, strict=True))
                expected[place] += weight * banks[param.name][place][:, 3 * bank : 3 * bank + 3]
        assert torch.allclose(out[param.name], expected, atol=1e-12)


def test_it_learns_what_no_exact_layer_can() -> None:
    """A target that tells units apart, which the equivariant layer misses by far."""
    spec = SPECS["gelu"]
    x = random_features(spec, 64, 2, generator=torch.Generator().manual_seed(0))
    target = flatten(relaxed(spec)(x).map(lambda t: t[..., :1])).detach()
    left = {}
    for rank in (0, 2):
        torch.manual_seed(0)
        layer = Relaxed(EquivariantLinear(spec, 2, 1), rank).double()
        optimiser = torch.optim.Adam(layer.parameters(), 0.03)
        for _ in range(400):
            optimiser.zero_grad()
            loss = (flatten(layer(x)) - target).square().mean() / target.var()
            loss.backward()
            optimiser.step()
        left[rank] = float(loss.detach())
    assert left[2] < 0.1 * left[0]


def test_without_free_axes_and_refusals() -> None:
    layer = relaxed(SPECS["one-layer"])
    assert layer.spread().isfinite()
    assert torch.equal(Relaxed(EquivariantLinear(SPECS["relu"], 1, 1), 0).spread(), torch.zeros(()))
    with pytest.raises(WeightspaceError, match="rank of -1"):
        Relaxed(EquivariantLinear(SPECS["relu"], 1, 1), -1)
