"""The laws on specs read off modules that are no chains."""

import copy
from collections.abc import Mapping

import pytest
import torch
from tests.gauge.rows import apart, generator
from tests.gauge.test_norm import error
from torch import Tensor, nn

from weightspace.gauge import align, align_activations, canonicalise, same
from weightspace.spec import spec_of
from weightspace.testing import random_features
from weightspace.weights import act, features_of, sample_element


class Residual(nn.Module):
    """One block on a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.first, self.second, self.read = (nn.Linear(*n) for n in ((3, 8), (8, 6), (6, 8), (8, 2)))

    def forward(self, x: Tensor) -> Tensor:
        h = self.embed(x)
        return self.read(torch.relu(h + self.second(torch.relu(self.first(h)))))


class Recurrent(nn.Module):
    """A recurrent layer and what reads its last state."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.cells, self.read = kind(3, 5, batch_first=True), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.cells(x)[0][:, -1])


class Gated(nn.Module):
    """Two branches multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(3, 5), nn.Linear(3, 5), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(torch.relu(self.gate(x)) * self.up(x))


def convolutions() -> nn.Module:
    """BatchNorm, a depthwise convolution, one in groups; of a seed without dead units, which look alike to inputs."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.ReLU(),
        nn.Conv2d(4, 6, 1, groups=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip


def by_groups() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 8, 3), nn.GroupNorm(4, 8), nn.ReLU(), nn.Conv2d(8, 2, 1))


def encoder() -> nn.Module:
    return nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), nn.Linear(8, 3))


NETWORKS: Mapping[str, tuple[nn.Module, tuple[int, ...]]] = {
    "residual": (Residual(), (20, 3)),
    "rnn": (Recurrent(nn.RNN), (2, 4, 3)),
    "lstm": (Recurrent(nn.LSTM), (2, 4, 3)),
    "gated": (Gated(), (20, 3)),
    "convolutions": (convolutions(), (2, 2, 9, 9)),
    "groups": (by_groups(), (2, 2, 5, 5)),
    "encoder": (encoder(), (2, 5, 8)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_law(name: str) -> None:
    module, shape = NETWORKS[name]
    module = copy.deepcopy(module).double().eval()
    inputs = torch.randn(shape, generator=generator(), dtype=torch.float64)
    spec = spec_of(module, inputs)
    assert error(spec) < 1e-12
    x = random_features(spec, 4, generator=generator())
    hidden = act(sample_element(spec, 4, generator=generator(1), log_scale=6), x)
    assert apart(canonicalise(hidden), canonicalise(x)) < 1e-9
    assert apart(align(hidden, x).features, x) < 1e-9
    real = features_of(spec, module)
    torch.testing.assert_close(canonicalise(real).to_modules(module)[0](inputs), module(inputs))
    moved = act(sample_element(spec, 1, generator=generator(1), log_scale=3), real)
    assert same(moved, real)
    assert align_activations(moved.to_modules(module)[0], module, spec, inputs).distance.item() < 1e-9
