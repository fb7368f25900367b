"""Prediction of accuracy: losses and scores against plain loops, and what is refused."""

import itertools
import math

import numpy as np
import pytest
import torch
from tests.tasks.test_classify import Table

from weightspace.errors import DataError, ShapeError, UnknownNameError
from weightspace.tasks import PredictAccuracy


def drawn(count: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Answers and accuracies with many ties of both."""
    chance = torch.Generator().manual_seed(0)
    output = torch.randint(-6, 6, (count, 1), generator=chance).double() / 2
    return output, torch.randint(0, 8, (count,), generator=chance).double() / 8


def tau_b(a: list[float], b: list[float]) -> float:
    """Pair by pair."""
    same = opposite = tied_a = tied_b = 0
    for (x, u), (y, v) in itertools.combinations(zip(a, b, strict=True), 2):
        if x == y or u == v:
            tied_a += x == y and u != v
            tied_b += x != y and u == v
        elif (x < y) == (u < v):
            same += 1
        else:
            opposite += 1
    return (same - opposite) / math.sqrt((same + opposite + tied_a) * (same + opposite + tied_b))


def test_scores_equal_plain_loops() -> None:
    output, target = drawn()
    task = PredictAccuracy()
    assert task.score(output, target) == pytest.approx(tau_b(output[:, 0].tolist(), target.tolist()), abs=1e-12)
    guesses, mean = [1 / (1 + math.exp(-z)) for z in output[:, 0].tolist()], sum(target.tolist()) / 40
    missed = sum((guess - true) ** 2 for guess, true in zip(guesses, target.tolist(), strict=True))
    assert task.r2(output, target) == pytest.approx(1 - missed / sum((t - mean) ** 2 for t in target.tolist()))


@pytest.mark.parametrize("kind", ["bce", "mse", "l1"])
def test_losses_equal_plain_loops(kind: str) -> None:
    output, target = drawn()
    total = 0.0
    for z, y in zip(output[:, 0].tolist(), target.tolist(), strict=True):
        p = 1 / (1 + math.exp(-z))
        bce = -y * math.log(p) - (1 - y) * math.log(1 - p)
        total += {"bce": bce, "mse": (p - y) ** 2, "l1": abs(p - y)}[kind]
    found = PredictAccuracy(kind=kind).loss(output.requires_grad_(), target.float())
    assert found.item() == pytest.approx(total / 40, rel=1e-12)
    found.backward()
    assert output.grad.isfinite().all()


def test_tau_without_ties_is_the_share_of_pairs_in_order() -> None:
    target = torch.linspace(0, 1, 30)
    task = PredictAccuracy()
    assert task.score(target[:, None], target) == pytest.approx(1)
    assert task.score(-target[:, None], target) == pytest.approx(-1)
    # Far out, where the sigmoid is one for all of them.
    assert task.score(100 + target[:, None], target) == pytest.approx(1)


def test_without_any_order_nothing_is_not_a_number() -> None:
    flat, target = torch.zeros(5, 1), torch.linspace(0, 1, 5)
    task = PredictAccuracy()
    assert task.score(flat, target) == 0
    assert task.score(target[:, None], torch.full((5,), 0.1)) == 0
    assert task.score(flat[:1], target[:1]) == 0
    assert task.r2(flat, target) == pytest.approx(0)
    for z in (-1e4, 1e4):
        assert task.loss(torch.full((5, 1), z), target).isfinite()


def test_targets_are_read_from_the_named_column() -> None:
    table = Columns(test_accuracy=np.array([0.5, 0.25, 1.0], np.float64), other=np.array([0.0, 0.1, 0.2]))
    found = PredictAccuracy().targets(table, np.array([2, 0]))
    assert found.tolist() == [1.0, 0.5]
    assert found.dtype == torch.float32
    assert PredictAccuracy(target="other").targets(table, slice(0, 1)).tolist() == [0.0]


class Columns(Table):
    """Columns that are missing are named as a zoo does."""

    def column(self, name: str) -> np.ndarray:
        if name not in self.columns:
            raise UnknownNameError(name)
        return self.columns[name]


def test_checkpoints_of_one_network_lie_in_one_split() -> None:
    accuracy = [0.1, 0.5, 0.2, 0.6, 0.3, 0.7]
    table = {"test_accuracy": accuracy, "network": [2, 2, 10, 10, 3, 3]}
    good = Columns(**table, split=["train", "train", "test", "test", "train", "train"])
    assert len(PredictAccuracy().targets(good, np.array([0, 1, 4, 5]))) == 4
    torn = Columns(**table, split=["train", "train", "train", "test", "train", "train"])
    with pytest.raises(DataError, match="network 10 has checkpoints in more than one split"):
        PredictAccuracy().targets(torn, np.array([3]))
    assert len(PredictAccuracy().targets(torn, np.array([0, 4]))) == 2


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ([0.5, 1.5, 2.0], DataError, r"'test_accuracy' is 1.5 in row 1 \(2 of 3 rows are wrong\): expected numbers"),
        ([0.5, math.nan], DataError, "is nan in row 1"),
        ([0, 1], DataError, "floating point numbers from 0 to 1"),
        ([[0.5]], ShapeError, r"shape \(1, 1\): expected one accuracy per network"),
    ],
)
def test_targets_that_are_no_accuracies_are_refused(target: list, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        PredictAccuracy().targets(Columns(test_accuracy=target), slice(None))


def test_wrong_answers_and_names_are_refused() -> None:
    for wrong in (torch.zeros(2), torch.zeros(2, 2)):
        with pytest.raises(ShapeError, match=r"expected \(2, 1\), one number per network"):
            PredictAccuracy().loss(wrong, torch.zeros(2))
    with pytest.raises(UnknownNameError, match='did you mean "mse"'):
        PredictAccuracy(kind="mes")
