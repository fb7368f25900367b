"""Networks on points, fitted side by side against one at a time."""

import pytest
import torch
from tests.oracles import field as oracle
from torch import Tensor

from weightspace.errors import UnknownNameError
from weightspace.zoo.generate.field import Field, Fitting, first_weights

RATES = (0.01, 0.02, 0.005, 0.01)
FIELDS = (
    Field((3, 5, 4, 2), "relu"),
    Field((2, 6, 1), "relu"),
    Field((3, 4, 5, 3, 1), "sine", 5.0),
    Field((2, 5, 1), "sine", 30.0),
)


def problem(field: Field, *, shared: bool) -> list[tuple[Tensor, Tensor]]:
    """Other points and values for each step, the points shared by three networks or not."""
    draw = torch.Generator().manual_seed(3)
    points = (field.widths[0], 7) if shared else (3, field.widths[0], 7)
    return [
        (
            torch.rand(points, generator=draw, dtype=torch.float64) - 0.5,
            torch.rand(3, field.widths[-1], 7, generator=draw, dtype=torch.float64),
        )
        for _ in RATES
    ]


def largest_gap(field: Field, *, shared: bool) -> float:
    """Between networks fitted side by side and one at a time."""
    start, batches = first_weights(field, 1, [4, 5, 6]).double(), problem(field, shared=shared)
    fitting = Fitting(field, start)
    for number, ((features, targets), rate) in enumerate(zip(batches, RATES, strict=True), 1):
        fitting.step(features, targets, number, rate)
    gaps = []
    for row in range(3):
        network = oracle.layers(field.widths, field.activation, field.omega)
        oracle.load(network, start[row])
        own = [((features if shared else features[row]).T, targets[row].T) for features, targets in batches]
        gaps.append((oracle.fit_one(network, own, RATES) - fitting.parameters[row]).abs().max())
    return float(max(gaps))


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_equals_one_at_a_time(field: Field, shared: bool) -> None:
    assert largest_gap(field, shared=shared) < 1e-8


@pytest.mark.parametrize("field", FIELDS, ids=str)
def test_gradient_equals_autograd(field: Field) -> None:
    """The gradient itself, which Adam's normalisation would partly hide."""
    start, ((features, targets), *_) = first_weights(field, 1, [4, 5, 6]).double(), problem(field, shared=True)
    fitting = Fitting(field, start)
    error = fitting.outputs(features) - targets
    fitting.backward(features, error * (2 / targets[0].numel()))
    for row in range(3):
        network = oracle.layers(field.widths, field.activation, field.omega)
        oracle.load(network, start[row])
        expected = oracle.gradient(network, features.T, targets[row].T)
        torch.testing.assert_close(fitting.gradient[row], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("mutant", ["slope", "bias", "first layer", "moments"])
def test_comparison_catches_mutants(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One flaw anywhere in a step shows."""
    backward = Fitting.backward

    def flawed(fitting: Fitting, features: Tensor, error: Tensor) -> None:
        if mutant == "slope":
            fitting._slopes[0].neg_()
        backward(fitting, features, error)
        if mutant == "bias":
            fitting._bias_gradients[1].zero_()
        if mutant == "first layer":
            fitting._weight_gradients[0].mul_(2)
        if mutant == "moments":
            fitting._square.zero_()

    monkeypatch.setattr(Fitting, "backward", flawed)
    # Adam does not see a constant factor: a mutant of scale changes what its epsilon does alone.
    least = 1e-10 if mutant == "first layer" else 1e-4
    assert largest_gap(FIELDS[2], shared=True) > least
    monkeypatch.undo()
    assert largest_gap(FIELDS[2], shared=True) < least / 10


def test_first_weights_are_keyed_by_number() -> None:
    one, three = first_weights(FIELDS[0], 9, [5]), first_weights(FIELDS[0], 9, [4, 5, 6])
    assert torch.equal(one[0], three[1])
    assert not torch.equal(three[0], three[1])
    assert not torch.equal(one, first_weights(FIELDS[0], 8, [5]))


def test_an_activation_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnknownNameError, match='did you mean "sine"'):
        Field((2, 4, 1), "sin")
