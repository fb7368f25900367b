"""Classification: loss and score against plain loops, and what is refused."""

import math

import numpy as np
import pytest
import torch

from weightspace.errors import DataError, ShapeError, TrainingError
from weightspace.tasks import Classify


class Table:
    """A zoo reduced to its columns."""

    def __init__(self, **columns: object) -> None:
        self.columns = {name: np.asarray(values) for name, values in columns.items()}

    def column(self, name: str) -> np.ndarray:
        return self.columns[name]


def test_loss_and_score_equal_plain_loops() -> None:
    chance = torch.Generator().manual_seed(0)
    output, target = torch.randn(7, 3, generator=chance).double(), torch.randint(0, 3, (7,), generator=chance)
    total, right = 0.0, 0
    for logits, label in zip(output.tolist(), target.tolist(), strict=True):
        total -= math.log(math.exp(logits[label]) / sum(map(math.exp, logits)))
        right += logits.index(max(logits)) == label
    task = Classify(3)
    assert task.loss(output, target).item() == pytest.approx(total / 7, rel=1e-12)
    assert task.score(output, target) == right / 7


def test_targets_are_read_from_the_named_column() -> None:
    table = Table(label=[0, 1, 2, 1], other=[3, 3, 0, 0])
    assert Classify(3).targets(table, np.array([2, 0])).tolist() == [2, 0]
    other = Classify(4, target="other").targets(table, slice(0, 3))
    assert other.tolist() == [3, 3, 0]
    assert other.dtype == torch.int64


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        ([0, 3, 1], DataError, r"'label' is 3 in row 1 \(1 of 3 rows are wrong\): expected 0 to 2"),
        ([0, -1], DataError, r"'label' is -1 in row 1"),
        ([0.0, 1.0], DataError, "classes are integers from 0 to 2"),
        ([[0], [1]], ShapeError, r"shape \(2, 1\): expected one class per network"),
    ],
)
def test_targets_that_are_no_classes_are_refused(target: list, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Classify(3).targets(Table(label=target), slice(None))


def test_an_answer_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"shape \(2, 4\): expected \(2, 3\)"):
        Classify(3).loss(torch.zeros(2, 4), torch.tensor([0, 1]))
    with pytest.raises(TrainingError, match="classes is 1"):
        Classify(1)
