"""From modules to specs: what is read, and what is refused rather than read wrongly."""

from collections import OrderedDict

import pytest
import torch
from tests.laws.registry import mlp
from torch import nn

from weightspace.errors import SpecError
from weightspace.spec import FIXED, NONZERO, PERMUTATION, POSITIVE, SIGN, NetworkSpec, Sine, spec_of
from weightspace.testing import function_error
from weightspace.weights import features_of


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.layer(x).relu()


class Doubled(nn.Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x) ** 2


def chain(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers)


def symmetries(spec: NetworkSpec) -> list[object]:
    return [spec.axis(place.axis).symmetry for place in spec.places]


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (mlp((2, 3, 1), nn.ReLU()), [FIXED, POSITIVE, FIXED]),
        (chain(nn.Linear(2, 3), nn.Linear(3, 1), nn.Tanh()), [FIXED, NONZERO, FIXED]),
        (chain(nn.Linear(2, 3), nn.Dropout(), nn.GELU(), nn.Identity(), nn.Linear(3, 1)), [FIXED, PERMUTATION, FIXED]),
        (chain(nn.Flatten(), chain(nn.Linear(2, 3), Sine(3)), chain(chain(nn.Linear(3, 1)))), [FIXED, SIGN, FIXED]),
        (chain(nn.Conv1d(1, 3, 2), nn.AvgPool1d(2), nn.Tanh(), nn.Conv1d(3, 1, 1)), [FIXED, SIGN, FIXED]),
        (nn.Conv3d(2, 3, 1), [FIXED, FIXED]),
    ],
)
def test_symmetries(module: nn.Module, expected: list[object]) -> None:
    spec = spec_of(module)
    assert symmetries(spec) == expected
    assert len(features_of(spec, module)) == 1
    assert sorted(p.view.key for p in spec.params) == sorted(module.state_dict())


def test_one_activation_object_serves_several_layers() -> None:
    relu = nn.ReLU()
    shared = chain(nn.Linear(2, 3), relu, nn.Linear(3, 3), relu, nn.Linear(3, 1))
    assert spec_of(shared) == spec_of(mlp((2, 3, 3, 1), nn.ReLU()))
    assert symmetries(spec_of(shared)) == [FIXED, POSITIVE, POSITIVE, FIXED]


def test_a_layer_may_be_called_input() -> None:
    module = nn.Sequential(OrderedDict(input=nn.Linear(2, 3), act=nn.ReLU(), output=nn.Linear(3, 1)))
    spec = spec_of(module)
    assert symmetries(spec) == [FIXED, POSITIVE, FIXED]
    assert spec.shape("input.weight") == (3, 2)
    assert function_error(module, spec, (torch.randn(5, 2, generator=torch.Generator().manual_seed(0)),)) < 1e-9


def test_positions_behind_a_flattened_map_are_fixed() -> None:
    spec = spec_of(chain(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)))
    assert spec.shape("3.weight") == (2, 3, 4)
    assert spec.axis("3.position").symmetry == FIXED


LINEAR = nn.Linear(2, 2)
TIED_BIAS = nn.Linear(2, 2)
TIED_BIAS.bias = LINEAR.bias


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (chain(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3), nn.ReLU()), "BatchNorm2d at '1'.*known activations are"),
        (chain(nn.Conv2d(4, 4, 2, groups=2)), "Conv2d at '0'.*grouped"),
        (chain(nn.ConvTranspose2d(2, 3, 2)), "ConvTranspose2d at '0'"),
        (chain(nn.Conv2d(1, 3, 2), nn.MaxPool2d(2)), "MaxPool2d at '1'"),
        (nn.LSTM(2, 3), "LSTM at 'the top level'"),
        (chain(nn.Linear(2, 2), chain(nn.ReLU(), Residual())), r"Residual at '1.1'"),
        (chain(nn.Linear(2, 3), nn.PReLU()), "PReLU at '1'"),
        (chain(Doubled(2, 3)), "Doubled at '0'"),
        (chain(nn.Linear(2, 3), nn.LeakyReLU(-1.0)), "LeakyReLU at '1'"),
        (chain(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Linear(3, 1)), "takes vectors but .* give feature maps"),
        (chain(nn.Linear(2, 3), nn.Conv1d(3, 1, 1)), "takes feature maps but .* give vectors"),
        (chain(nn.Flatten(0), nn.Linear(2, 3)), r"only Flatten\(1, -1\)"),
        (chain(nn.ReLU(), nn.Linear(2, 3)), "ReLU at '0'.*in front of the first layer"),
        (chain(nn.AvgPool2d(2), nn.Conv2d(1, 3, 2)), "in front of the first layer"),
        (chain(nn.Linear(2, 3), nn.ReLU(), nn.Tanh()), "Tanh at '2'.*second activation behind 'relu'"),
        (chain(nn.Linear(2, 3), nn.ReLU(), nn.Linear(4, 1)), "takes 4 inputs where the layers before it give 3"),
        (chain(nn.Linear(2, 3), nn.ReLU(), nn.Linear(6, 1)), "takes 6 inputs where the layers before it give 3"),
        (chain(nn.Conv2d(1, 3, 2), nn.Flatten(), nn.Linear(13, 1)), "takes 13 inputs"),
        (chain(nn.ReLU()), "ReLU at '0'"),
        (chain(), "no weights to describe"),
        (chain(LINEAR, nn.ReLU(), LINEAR), "Linear at '2'.*weight is used twice"),
        (chain(LINEAR, nn.ReLU(), TIED_BIAS), "Linear at '2'.*bias is used twice"),
        (nn.utils.spectral_norm(nn.Linear(2, 3)), "computed from other parameters"),
    ],
)
def test_refused_with_path_reason_and_remedy(module: nn.Module, message: str) -> None:
    with pytest.raises(SpecError, match=f"(?s){message}") as caught:
        spec_of(module)
    if len(list(module.children())) or not isinstance(module, nn.Sequential):
        assert "write the NetworkSpec by hand" in str(caught.value)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (chain(nn.Linear(2, 4), nn.ReLU(), nn.AvgPool1d(3, 1, 1), nn.Linear(4, 1)), "on vectors it would mix"),
        (
            chain(nn.Conv1d(1, 4, 1), nn.ReLU(), nn.Flatten(), nn.AvgPool1d(3, 1, 1), nn.Linear(8, 1)),
            "on flattened feature maps it would mix",
        ),
        (
            chain(nn.Conv1d(1, 4, 2), nn.ReLU(), nn.AvgPool2d(3, 1, 1), nn.Conv1d(4, 1, 1)),
            "takes maps of 2 dimensions, not of 1",
        ),
        (chain(nn.Conv1d(1, 4, 2), nn.ReLU(), nn.Conv2d(4, 1, 1)), "takes maps of 2 dimensions"),
    ],
)
def test_layers_that_torch_runs_across_the_units_are_refused(module: nn.Module, message: str) -> None:
    """Torch takes the units for positions and raises nothing."""
    with pytest.raises(SpecError, match=message):
        spec_of(module)
