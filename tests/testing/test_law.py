"""The test kit catches planted errors, and says infinity where there is nothing to measure with."""

import math
from dataclasses import replace

import pytest
import torch
from tests.laws.registry import MODULES, SPECS
from torch import Tensor, nn

from weightspace.errors import ShapeError
from weightspace.spec import spec_of
from weightspace.testing import equivariance_error, function_error, invariance_error, orbit_error, random_features
from weightspace.weights import WeightFeatures, act, sample_element

SPEC = SPECS["relu"]


def changed(x: WeightFeatures, tensor: Tensor) -> WeightFeatures:
    return WeightFeatures(x.spec, {**dict(x.items()), "0.bias": tensor})


def wrong_on_small_entries(x: WeightFeatures) -> WeightFeatures:
    """Half wrong on biases far below the largest, which hides them from every norm."""
    small = x["0.bias"].abs() < 1e-3 * x["0.bias"].abs().amax()
    return changed(x, torch.where(small, 1.5 * x["0.bias"], x["0.bias"]))


def test_errors_on_small_entries_are_seen_after_pulling_back() -> None:
    assert equivariance_error(wrong_on_small_entries, SPEC, log_scale=4) > 0.1
    x = random_features(SPEC, 4, generator=torch.Generator().manual_seed(0))
    g = sample_element(SPEC, 4, generator=torch.Generator().manual_seed(0), log_scale=8)
    moved, straight = wrong_on_small_entries(act(g, x)), act(g, wrong_on_small_entries(x))
    by_norm = (moved["0.bias"] - straight["0.bias"]).norm() / straight["0.bias"].norm()
    assert by_norm < 1e-3


@pytest.mark.parametrize("size", [1e-9, 1e-5, 1e-1])
def test_the_error_has_the_size_of_the_fault(size: float) -> None:
    error = equivariance_error(lambda x: changed(x, x["0.bias"] + size * x["0.bias"].roll(1, 1)), SPECS["gelu"])
    assert size / 10 < error < 10 * size


def test_a_fault_in_one_answer_of_many_is_seen() -> None:
    assert invariance_error(lambda x: x["4.bias"], SPEC) == 0
    assert invariance_error(lambda x: (x["4.bias"], x["4.bias"], x["2.bias"].sum(1)), SPEC) > 0.1


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("when", ["before", "after", "both"])
def test_what_is_not_finite_is_infinitely_wrong(value: float, when: str) -> None:
    def f(x: Tensor) -> Tensor:
        hit = {"before": x[0] > 0, "after": x[0] < 0, "both": True}[when]
        return x.abs() * (value if hit else 1)

    assert orbit_error(f, lambda x: -x, lambda y: y, torch.tensor([1.0, 2.0])) == math.inf


def test_zero_output() -> None:
    assert equivariance_error(lambda x: x.map(torch.zeros_like), SPEC) == 0
    assert orbit_error(lambda x: x.clamp_min(0), lambda x: -x, lambda y: y, torch.tensor([-1.0])) == math.inf
    assert orbit_error(lambda x: x[:0], lambda x: -x, lambda y: y, torch.tensor([1.0])) == 0


def test_modules_are_copied_doubled_and_put_into_evaluation_mode() -> None:
    class Once(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(1)

        def forward(self, x: WeightFeatures) -> Tensor:
            assert not self.training
            return self.norm(x["4.bias"][..., 0])

    module = Once()
    assert invariance_error(module, SPEC) == 0
    assert module.training
    assert module.norm.weight.dtype == torch.float32


def test_draws_follow_the_seed() -> None:
    one, again, other = (equivariance_error(lambda x: x.map(torch.tanh), SPEC, seed=seed) for seed in (0, 0, 1))
    assert one == again != other


def test_function_error_sees_a_wrong_spec() -> None:
    module, _ = MODULES["tanh"]
    inputs = (torch.randn(5, 2, generator=torch.Generator().manual_seed(0)),)
    like_relu = replace(SPECS["relu"], places=SPECS["tanh"].places)
    before = [parameter.clone() for parameter in module.parameters()]
    assert function_error(module, spec_of(module), inputs) < 1e-9 < 1e-2 < function_error(module, like_relu, inputs)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_function_error_needs_inputs_and_the_right_architecture() -> None:
    with pytest.raises(ShapeError, match="at least one example input"):
        function_error(nn.Linear(2, 3), SPECS["one-layer"], ())
    with pytest.raises(ShapeError, match="architecture|no parameter"):
        function_error(nn.Linear(2, 3), SPEC, (torch.zeros(1, 2),))
