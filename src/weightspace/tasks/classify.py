"""Classification: tell from a network's weights which of several classes it belongs to."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from weightspace.errors import DataError, ShapeError, TrainingError
from weightspace.tasks.reliability import calibration_error

__all__ = ["Classify", "Columns"]


@runtime_checkable
class Columns(Protocol):
    """Anything with named columns, one entry per network: a zoo."""

    def column(self, name: str) -> Any:
        """The entries of one column, as an array."""


@dataclass(frozen=True)
class Classify:
    """Names the class of each network: cross-entropy as the loss, accuracy as the score.

    A model's answer holds one logit per class; the class named is that of the largest.

    Shapes:
        output: `(batch, classes)`, floating point.
        target: `(batch,)`, int64, from 0 to `classes - 1`.

    Args:
        classes: how many classes there are.
        target: the column of the zoo that holds the class of each network.

    Raises:
        TrainingError: with fewer than two classes.

    Example:
        >>> task = Classify(classes=3)
        >>> output = torch.tensor([[4.0, 0.0, 0.0], [0.0, 0.0, 4.0]])
        >>> task.score(output, torch.tensor([0, 1]))
        0.5
        >>> task.predict(output)
        tensor([0, 2])
    """

    classes: int
    target: str = "label"

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise TrainingError(f"classes is {self.classes}: a classification needs at least 2.")

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean cross-entropy in nats, a scalar tensor."""
        self._check_output(output, target)
        return cross_entropy(output, target)

    def score(self, output: Tensor, target: Tensor) -> float:
        """The share of networks whose class is named rightly, from 0 to 1; higher is better."""
        self._check_output(output, target)
        return (self.predict(output) == target).sum().item() / len(target)

    def errors(self, output: Tensor, target: Tensor) -> Tensor:
        """1 for each network whose class is named wrongly, 0 for the others. Shape `(batch,)`, float32."""
        self._check_output(output, target)
        return (self.predict(output) != target).float()

    def measures(self, output: Tensor, target: Tensor) -> dict[str, float]:
        """What the answers are worth, by name.

        * `accuracy`: the score.
        * `nll`: the mean negative log likelihood in nats: the loss.
        * `calibration`: the expected calibration error of the largest probability, `reliability.calibration_error` with
          15 bins: by how much the share of right answers differs from what was said to be its probability.

        Example:
            >>> output = torch.tensor([[4.0, 0.0], [0.0, 4.0]])
            >>> found = Classify(2).measures(output, torch.tensor([0, 0]))
            >>> {name: round(value, 3) for name, value in found.items()}
            {'accuracy': 0.5, 'nll': 2.018, 'calibration': 0.482}
        """
        said, named = output.detach().double().softmax(-1).max(-1)
        return {
            "accuracy": self.score(output, target),
            "nll": self.loss(output.detach().double(), target).item(),
            "calibration": calibration_error(said.cpu().numpy(), (named == target).double().cpu().numpy()),
        }

    def predict(self, output: Tensor) -> Tensor:
        """The class named for each network. Shape `(batch,)`, int64."""
        return output.argmax(-1)

    def targets(self, zoo: Columns, rows: Any) -> Tensor:
        """The class of the networks in these rows of a zoo, checked. Shape `(rows,)`, int64.

        Args:
            zoo: where the column is.
            rows: integer indices of networks.

        Raises:
            DataError: when an entry is no class of this task.
        """
        target = torch.as_tensor(zoo.column(self.target)[rows])
        self.check(target)
        return target.long()

    def check(self, target: Tensor) -> None:
        """Refuse targets that are not classes of this task.

        Raises:
            ShapeError: when the targets are not one per network.
            DataError: when they are not integers, or lie outside `0..classes-1`.
        """
        if target.ndim != 1:
            raise ShapeError(
                f"{self.target!r} has shape {tuple(target.shape)}: expected one class per network, (batch,)."
            )
        if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
            raise DataError(f"{self.target!r} holds {target.dtype}: classes are integers from 0 to {self.classes - 1}.")
        wrong = ((target < 0) | (target >= self.classes)).nonzero()
        if len(wrong):
            row = int(wrong[0])
            raise DataError(
                f"{self.target!r} is {int(target[row])} in row {row} ({len(wrong)} of {len(target)} rows are wrong): "
                f"expected 0 to {self.classes - 1}. Set classes to the number of classes in the data, or choose "
                "another target column."
            )

    def _check_output(self, output: Tensor, target: Tensor) -> None:
        expected = (len(target), self.classes)
        if output.shape != expected:
            raise ShapeError(
                f"the model answered with shape {tuple(output.shape)}: expected {expected}, one logit per class. "
                f"Build it with a readout of {self.classes} values."
            )
