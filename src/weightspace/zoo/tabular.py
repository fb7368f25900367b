"""Classification problems that scikit-learn brings along: rows of numbers, no download."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from weightspace.errors import unknown

__all__ = ["TABLES", "Table", "load_table"]

# A function of sklearn.datasets by our name.
TABLES = {"digits": "load_digits", "wine": "load_wine", "breast-cancer": "load_breast_cancer"}
"""Names of the problems."""

_HELD_OUT = 5


@dataclass(frozen=True, eq=False)
class Table:
    """A classification problem.

    Shapes:
        train, test: ``(example, number)``, float32; train_labels, test_labels: ``(example,)``, int64.

    Args:
        name: of the data.
        train: examples to learn from, each column with mean 0 and standard deviation 1.
        train_labels: their classes.
        test: every fifth example of the data, shifted and scaled likewise.
        test_labels: their classes.
        classes: how many there are.
    """

    name: str
    train: Tensor
    train_labels: Tensor
    test: Tensor
    test_labels: Tensor
    classes: int


def load_table(name: str) -> Table:
    """One of the problems of scikit-learn.

    Args:
        name: digits (1,797 examples of 64 pixels, 10 classes), wine (178 of 13 numbers, 3 classes) or breast-cancer
            (569 of 30 numbers, 2 classes).

    Raises:
        UnknownNameError: another name.

    Example:
        >>> wine = load_table("wine")
        >>> wine.train.shape, wine.test.shape, wine.classes
        (torch.Size([143, 13]), torch.Size([35, 13]), 3)
    """
    if name not in TABLES:
        raise unknown("table", name, TABLES)
    from sklearn import datasets  # a second of import time that other commands do not need

    load: Callable[..., Any] = getattr(datasets, TABLES[name])
    numbers, labels = (torch.from_numpy(array) for array in load(return_X_y=True))
    labels = labels.long()
    held = torch.arange(len(labels)) % _HELD_OUT == _HELD_OUT - 1
    mean, deviation = numbers[~held].mean(0), numbers[~held].std(0)
    # A column that never changes, as pixels in the corners, stays at zero.
    scaled = ((numbers - mean) / torch.where(deviation > 0, deviation, 1)).float()
    return Table(name, scaled[~held], labels[~held], scaled[held], labels[held], int(labels.max()) + 1)
