"""One model for networks of several architectures: the same laws on each, kinds in place of names, and no others."""

from collections.abc import Sequence

import pytest
import torch
from tests.laws.registry import SPECS, mlp
from torch import Tensor, nn

from weightspace.errors import ShapeError, SpecError
from weightspace.models import GMN, Edit, GaugeGMN, Invariant, Readout, ScaleGMN, load, save
from weightspace.models.construction import arguments
from weightspace.spec import NetworkSpec, spec_of
from weightspace.testing import equivariance_error, invariance_error, random_features
from weightspace.weights import WeightFeatures, flatten


class Residual(nn.Module):
    """Blocks around a stream of units, on one input channel."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, width, 3, padding=1)
        self.inside = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(blocks))
        self.outside = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(blocks))
        self.last = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for inside, outside in zip(self.inside, self.outside, strict=True):
            x = x + outside(inside(x).relu())
        return self.last(x.mean((2, 3)))


def chain(widths: Sequence[int], activation: nn.Module) -> NetworkSpec:
    layers: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Conv2d(before, after, 3, padding=1), activation]
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 2)]
    return spec_of(nn.Sequential(*layers, *head), torch.zeros(2, 1, 6, 6))


def residual(width: int, blocks: int) -> NetworkSpec:
    return spec_of(Residual(width, blocks), torch.zeros(2, 1, 6, 6))


FAMILY = (chain((1, 3, 4), nn.ReLU()), chain((1, 2, 3, 4), nn.Tanh()), residual(3, 1))
UNSEEN = (chain((1, 5, 2, 3, 4), nn.ReLU()), residual(4, 3), chain((1, 1, 1), nn.Tanh()))
READOUTS = (Invariant(3, hidden=8), Edit(1.0))
MODELS = {
    "gated": lambda readout: ScaleGMN(FAMILY, readout, channels=6, bidirectional=True),
    "sent": lambda readout: ScaleGMN(FAMILY, readout, channels=6, rounds=2, messages="sent", form="product"),
    "linear": lambda readout: ScaleGMN(FAMILY, readout, channels=6, messages="linear", bidirectional=True),
}


def made(name: str, readout: Readout) -> ScaleGMN:
    torch.manual_seed(0)
    model = MODELS[name](readout).double()
    nn.init.uniform_(model.norm.rms, 0.5, 2)
    return model.eval()


def networks(spec: NetworkSpec, batch: int = 3) -> WeightFeatures:
    return random_features(spec, batch, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize("name", MODELS)
def test_the_law_holds_on_every_architecture(name: str, readout: Readout) -> None:
    """Also on those that were not there when the model was built."""
    model = made(name, readout)
    law = invariance_error if isinstance(readout, Invariant) else equivariance_error
    for spec in (*FAMILY, *UNSEEN):
        assert law(model, spec, log_scale=4, batch=2) < 1e-9


@pytest.mark.parametrize("name", MODELS)
def test_a_list_is_answered_as_its_parts_are(name: str) -> None:
    batches = [networks(FAMILY[0], 2), networks(UNSEEN[1], 1), networks(FAMILY[0], 3)]
    model = made(name, READOUTS[0])
    # The head multiplies all rows at once, which rounds otherwise.
    torch.testing.assert_close(model(batches), torch.cat([model(batch) for batch in batches]), rtol=1e-12, atol=1e-12)
    model = made(name, READOUTS[1])
    for one, batch in zip(model(batches), batches, strict=True):
        assert torch.equal(flatten(one), flatten(model(batch)))


@pytest.mark.parametrize("name", MODELS)
def test_every_coefficient_is_trained_by_the_family(name: str) -> None:
    model = made(name, READOUTS[0]).train()
    model([networks(spec, 4) for spec in FAMILY]).square().sum().backward()
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # Sums without a bias have nothing to say yet in the first round.
    assert all(name.startswith(("head.", "rounds.0.messages")) for name in dead)


def test_what_no_spec_had_is_refused() -> None:
    model = made("gated", READOUTS[0])
    other = spec_of(
        nn.Sequential(nn.Conv2d(1, 3, 5), nn.GELU(), nn.Flatten(), nn.Linear(12, 2)), torch.zeros(1, 1, 6, 6)
    )
    with pytest.raises(SpecError, match=r"'weight 5x5'.*\n*.*Remedy: add a spec that has it"):
        model(networks(other))
    with pytest.raises(SpecError, match="2 and 5 outputs, which are read side by side"):
        ScaleGMN((FAMILY[0], spec_of(mlp((1, 3, 5), nn.ReLU()))), READOUTS[0])
    with pytest.raises(SpecError, match="list of specs is empty"):
        ScaleGMN((), READOUTS[0])
    with pytest.raises(ShapeError):
        ScaleGMN(FAMILY[0], READOUTS[0])(networks(FAMILY[1]).to(torch.float32))


def test_layers_are_told_apart() -> None:
    """By their depth: two square layers swapped make another network."""
    spec = spec_of(mlp((2, 3, 3, 3, 2), nn.ReLU()))
    x = networks(spec)
    swapped = {**dict(x.items()), "2.weight": x["4.weight"], "4.weight": x["2.weight"]}
    swapped |= {"2.bias": x["4.bias"], "4.bias": x["2.bias"]}
    model = ScaleGMN((spec,), READOUTS[0], channels=6, bidirectional=True).double().eval()
    one, other = model(x), model(WeightFeatures(spec, swapped))
    assert (one - other).abs().max() > 1e-4 * one.abs().max()


def doubled(x: WeightFeatures, spec: NetworkSpec) -> WeightFeatures:
    """Every hidden unit twice, with half of its outgoing weights each: the same function."""
    out = {}
    for name, tensor in x.items():
        for leg, size in enumerate(spec.shape(name)):
            if size != tensor.shape[leg + 1]:
                tensor = torch.cat([tensor, tensor], leg + 1) / (1 + leg)
        out[name] = tensor
    return WeightFeatures(spec, out)


def test_a_network_with_every_unit_twice_is_answered_as_the_one_without() -> None:
    """What adds up at a unit is the same, thanks to the root of the fan-in."""
    narrow, wide = (spec_of(mlp((2, width, width, 2), nn.ReLU())) for width in (3, 6))
    torch.manual_seed(0)
    model = ScaleGMN((narrow, wide), READOUTS[0], channels=6, messages="linear").double().eval()
    x = networks(narrow)
    torch.testing.assert_close(model(doubled(x, wide)), model(x), rtol=1e-10, atol=1e-12)
    for graph in model.graphs:
        graph.fans = dict.fromkeys(graph.fans, 1)
    assert not torch.allclose(model(doubled(x, wide)), model(x), rtol=1e-4)


@pytest.mark.parametrize("kind", [GMN, GaugeGMN])
def test_neighbours_read_several_architectures_too(kind: type) -> None:
    model = kind(FAMILY, READOUTS[0], channels=6, rounds=2).eval()
    assert model([networks(spec, 2).to(torch.float32) for spec in (*FAMILY, UNSEEN[0])]).shape == (8, 3)


def test_files(tmp_path: object) -> None:
    model = made("linear", READOUTS[0])
    save(model, tmp_path)
    again = load(tmp_path)
    assert arguments(again)["spec"] == FAMILY
    assert torch.equal(again([networks(UNSEEN[0])]), model([networks(UNSEEN[0])]))


def test_one_scale_for_all_of_a_kind() -> None:
    """The root mean square over all entries of the kind, in all networks, times the root of the fan-in."""
    specs = [SPECS["relu"], spec_of(mlp((3, 5, 1), nn.ReLU()))]
    model = GMN(specs, Invariant(1), channels=2)
    batches = [networks(spec) for spec in specs]
    model.norm.fit(batches)
    entries = [
        tensor.flatten() * tensor.shape[2] ** 0.5
        for batch in batches
        for name, tensor in batch.items()
        if name.endswith("weight")
    ]
    rms = torch.cat(entries).square().mean().sqrt().float()
    torch.testing.assert_close(model.norm.rms[model.norm.rows["weight"]], rms)
