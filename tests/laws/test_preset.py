"""The published configurations of ScaleGMN: their parameters counted from their design, and ours beside them."""

from collections.abc import Mapping
from dataclasses import dataclass

import pytest
import torch
from tests.laws.registry import mlp
from tests.laws.test_model import sizes, small_cnn, small_siren
from torch import nn

from weightspace.models import Edit, Invariant, ScaleGMN
from weightspace.models.scalegmn import PRESETS
from weightspace.spec import NetworkSpec, Sine, spec_of
from weightspace.testing import equivariance_error, invariance_error, random_features
from weightspace.weights import WeightFeatures

MNIST, CIFAR, ZOO = (2, 32, 32, 1), (2, 32, 32, 3), (1, 16, 16, 16, 10)


@dataclass(frozen=True)
class Published:
    """A published configuration.

    `form` is how an invariant is taken ("norm" for scales), `ends` the number of networks for inputs and outputs in
    place of the gated ones, `lines` the vectors for edges, and `seen` whether vectors of positions go into all gates.
    """

    parameters: int
    units: tuple[int, ...]
    form: str
    ends: int
    lines: bool = False
    seen: bool = False
    norms: bool = True

    def counted(self, preset: Mapping, outputs: int) -> int:
        """The parameters of the published design: linear maps, and networks of two with a normalisation between."""
        d, rounds = preset["channels"], preset["rounds"]
        both, symmetrised = preset.get("bidirectional", False), self.form == "symmetrised"
        full = preset["reads"] == "all"

        def net(into: int, out: int = 1) -> int:
            return into * d * d + d + self.norms * 2 * d + d * d * out + out * d

        def gate(parts: int) -> int:
            rho = net(parts, parts) if symmetrised else 0
            return rho + (1 + self.ends) * (net(parts) + self.seen * d * d)

        message = 2 * d * d + d * d + gate(1)
        parts = 3 if both else 2
        vertex = parts * d * d + gate(parts) + preset["skip"] * d * d
        edge = d * d + (net(1) if symmetrised else 0) + net(2)
        updates = (rounds - 1) * (2 if both and self.form == "norm" else 1)
        inputs, *hidden, last = self.units
        kernel = 9 if self.units == ZOO else 1
        places = inputs + len(hidden) + last + self.lines * (inputs + len(hidden) - 1 + last)
        start = (kernel + 1 + places) * d
        answer = self.norms * 2 * d + d + d * outputs + outputs
        if full:
            unused = net(1)
            answer += unused + net(1) + symmetrised * net(1) + (inputs + last + 1) * d * d
        else:
            answer += (last + inputs + 2) * d * d + 2 * d if both else last * d * d
        return rounds * ((1 + both) * message + vertex) + updates * edge + start + answer


TABLE = {
    "mnist": Published(1_772_042, MNIST, "symmetrised", 1, lines=True),
    "mnist-both": Published(3_089_162, MNIST, "symmetrised", 1, seen=True),
    "fashion": Published(1_160_970, MNIST, "symmetrised", 2, lines=True),
    "fashion-both": Published(1_722_378, MNIST, "symmetrised", 2, lines=True),
    "cifar": Published(397_450, CIFAR, "absolute", 2),
    "cifar-both": Published(492_298, CIFAR, "absolute", 1, norms=False),
    "cifar-augmented": Published(2_285_322, CIFAR, "symmetrised", 2),
    "cifar-augmented-both": Published(3_324_938, CIFAR, "symmetrised", 2),
    "cnn-cifar-relu": Published(1_356_801, ZOO, "norm", 1),
    "cnn-cifar-relu-both": Published(2_263_809, ZOO, "norm", 1),
    "cnn-cifar-tanh": Published(2_318_849, ZOO, "symmetrised", 2),
    "cnn-cifar-tanh-both": Published(3_441_665, ZOO, "symmetrised", 2),
    "cnn-svhn-relu": Published(467_969, ZOO, "norm", 2),
    "cnn-svhn-tanh": Published(547_457, ZOO, "symmetrised", 2, norms=False),
    "cnn-svhn-tanh-both": Published(2_680_577, ZOO, "symmetrised", 2),
}


@pytest.fixture(scope="module")
def spaces() -> Mapping[str, NetworkSpec]:
    return spaces_of()


def spaces_of() -> Mapping[str, NetworkSpec]:
    mixed = nn.Sequential(
        *[nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Tanh(), nn.Conv2d(16, 16, 3), nn.ReLU()],
        *[nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)],
    )
    return {
        "relu": small_cnn(nn.ReLU()),
        "tanh": small_cnn(nn.Tanh()),
        "mixed": spec_of(mixed, torch.zeros(1, 1, 9, 9)),
        "mnist": small_siren(),
        "fashion": small_siren(),
        "cifar": spec_of(mlp(CIFAR, Sine(30.0))),
    }


def space_of(name: str, spaces: Mapping[str, NetworkSpec]) -> NetworkSpec:
    return next(spec for key, spec in spaces.items() if key in name.removeprefix("cnn-cifar"))


@pytest.mark.parametrize("name", TABLE)
def test_the_published_design_is_understood(name: str) -> None:
    """What its networks and maps add up to is the published count."""
    outputs = 1 if TABLE[name].units == ZOO else 10
    assert TABLE[name].counted(PRESETS[name], outputs) == TABLE[name].parameters


def test_rounds_for_scales_coincide(spaces: Mapping[str, NetworkSpec]) -> None:
    """Messages and vertices have the published parameters; edges see networks of their ends, not their directions."""
    d = 128
    for name, ways in (("cnn-cifar-relu", 1), ("cnn-cifar-relu-both", 2)):
        *rounds, last = ScaleGMN.preset(name, spaces["relu"], Invariant(1)).rounds
        for layer in map(sizes, rounds):
            assert layer["messages"] == ways * (7 * d * d + 8 * d)
            # Inputs hear from behind alone, outputs from ahead: networks of their own in place of one of three parts.
            published = 8 * d * d + 8 * d if ways == 1 else 11 * d * d + 8 * d
            assert layer["vertex"] == published + (ways - 1) * (2 * d * d + 4 * d)
            assert layer["edge"] == (4 * d * d + 4 * d) + 2 * (3 * d * d + 5 * d) - 2 * d * d - d
        # Only what the ends read is computed in the last round, so hidden units have no networks there.
        assert sizes(last)["messages"] == ways * (4 * d * d + 4 * d)


def test_rounds_for_signs_have_one_linear_map_less_for_every_gate(spaces: Mapping[str, NetworkSpec]) -> None:
    """Two that follow each other are one: behind the published network that is symmetrised, and ahead of the next."""
    d = 128
    first = sizes(ScaleGMN.preset("mnist", spaces["mnist"], Invariant(10)).rounds[0])
    published = Published(0, MNIST, "symmetrised", 1)
    assert published.form == "symmetrised"
    gates = 3 * d * d + (4 * d * d + 8 * d) + (2 * d * d + 4 * d)
    # For the ends the published code keeps a linear map that nothing reads.
    assert first["messages"] == gates - (d * d + d)
    assert first["vertex"] == (2 + 7 + 3) * d * d + 13 * d - 3 * d * d - 2 * d


def made(name: str, spaces: Mapping[str, NetworkSpec]) -> tuple[ScaleGMN, NetworkSpec]:
    torch.manual_seed(0)
    spec = space_of(name if name != "demo" else "mnist", spaces)
    return ScaleGMN.preset(
        name, spec, Edit(1.0) if "edit" in name else Invariant(1 if "cnn" in name else 10)
    ).eval(), spec


@pytest.mark.parametrize("name", PRESETS)
def test_the_signal_of_every_preset_is_not_lost_in_rounding(name: str, spaces: Mapping[str, NetworkSpec]) -> None:
    """What tells networks apart stands high above the rounding of float32."""
    model, spec = made(name, spaces)
    x = random_features(spec, 4, generator=torch.Generator().manual_seed(0))
    single, double = answers(model, x.to(torch.float32)), answers(model.double(), x)
    rounding = (single.double() - double).abs().max()
    assert double.std(0).mean() > 300 * rounding


@pytest.mark.parametrize(
    "name", ["demo", "fashion", "cifar-both", "cnn-cifar-relu-both", "cnn-cifar-mixed", "mnist-edit"]
)
def test_presets_keep_the_law(name: str, spaces: Mapping[str, NetworkSpec]) -> None:
    """Over sixteen decades: every form of invariants, both readings and both directions."""
    model, spec = made(name, spaces)
    law = equivariance_error if "edit" in name else invariance_error
    assert law(model.double(), spec, log_scale=8, batch=2) < 1e-10


@torch.no_grad()
def answers(model: ScaleGMN, x: WeightFeatures) -> torch.Tensor:
    """What the model adds to biases and weights of hidden units, or its numbers."""
    y = model(x)
    if isinstance(y, WeightFeatures):
        return torch.cat([(a - b).flatten(1) for a, b in zip(y.tensors, x.tensors, strict=True)], 1)
    return y
