"""Prediction of one number per network that lies between 0 and 1; and of accuracy, the one that is mostly asked for."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor
from torch.nn import functional

from weightspace.errors import DataError, ShapeError, UnknownNameError, unknown
from weightspace.tasks.classify import Columns
from weightspace.tasks.reliability import calibration_error

__all__ = ["PredictAccuracy", "Regression", "tau_ceiling"]

_LOSSES = ("bce", "mse", "l1")


@dataclass(frozen=True)
class Regression:
    r"""Predicts one number of each network that lies between 0 and 1, where a sigmoid puts the answer.

    With the answer :math:`z` and the number :math:`y`, the loss is the mean over networks of

    * ``bce``: :math:`-y \log \sigma(z) - (1 - y) \log(1 - \sigma(z))`,
    * ``mse``: :math:`(\sigma(z) - y)^2`,
    * ``l1``: :math:`|\sigma(z) - y|`.

    The score is Kendall's rank correlation tau-b between answers and numbers.

    Shapes:
        output: `(batch, 1)`, floating point.
        target: `(batch,)`, float32, from 0 to 1.

    Args:
        target: the column of the zoo that holds the number of each network.
        kind: of the loss.

    Raises:
        UnknownNameError: a loss that does not exist.

    Example:
        >>> task = Regression("sparsity", kind="l1")
        >>> task.loss(torch.tensor([[0.0], [0.0]]), torch.tensor([0.25, 0.5]))
        tensor(0.1250)

    References:
        Kendall, "The Treatment of Ties in Ranking Problems", Biometrika 1945.
    """

    target: str
    kind: str = "bce"

    one: ClassVar[str] = "number"
    many: ClassVar[str] = "numbers"
    """What is predicted, in messages."""

    def __post_init__(self) -> None:
        if self.kind not in _LOSSES:
            raise unknown("loss", self.kind, _LOSSES)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean loss, a scalar tensor."""
        self._check_output(output, target)
        if self.kind == "bce":
            return functional.binary_cross_entropy_with_logits(output[:, 0], target.to(output.dtype))
        measure = functional.mse_loss if self.kind == "mse" else functional.l1_loss
        return measure(self.predict(output), target.to(output.dtype))

    def score(self, output: Tensor, target: Tensor) -> float:
        r"""Kendall's tau-b, from -1 to 1; higher is better.

        With :math:`P` pairs of networks in the same order by answer and by number, :math:`Q` in the opposite order,
        :math:`T` tied by answer alone and :math:`U` by number alone, it is
        :math:`(P - Q) / \sqrt{(P + Q + T)(P + Q + U)}`. Where all answers or all numbers are equal, there is no
        order to be told, and it is 0.
        """
        self._check_output(output, target)
        if len(target) < 2:
            return 0.0
        # By the answer itself: far from zero the sigmoid ties what differs.
        found = kendalltau(_array(output[:, 0]), _array(target)).statistic
        return float(found) if np.isfinite(found) else 0.0

    def r2(self, output: Tensor, target: Tensor) -> float:
        """The share of the variance of the numbers that is explained: 1 at best, 0 for naming their mean.

        Where all numbers are equal it is not defined: nan.
        """
        self._check_output(output, target)
        found, true = _array(self.predict(output)), _array(target)
        spread = np.square(true - true.mean()).sum()
        return float(1 - np.square(found - true).sum() / spread) if spread else float("nan")

    def errors(self, output: Tensor, target: Tensor) -> Tensor:
        """How far each prediction is from its number. Shape `(batch,)`."""
        self._check_output(output, target)
        return (self.predict(output) - target.to(output.dtype)).abs()

    def measures(self, output: Tensor, target: Tensor) -> dict[str, float]:
        """What the answers are worth, by name.

        * `tau`: the score.
        * `tau ceiling`: the most that it could be, see `tau_ceiling`; nan where all numbers are equal.
        * `r2`: the share of the variance that is explained.
        * `l1`: the mean absolute error.
        * `calibration`: the mean absolute difference between the mean of the numbers and that of the predictions, in 15
          bins of the prediction, weighted by how many lie in each (`reliability.calibration_error`).

        Example:
            >>> found = Regression("y").measures(torch.tensor([[-2.0], [0.0], [3.0]]), torch.tensor([0.1, 0.6, 0.6]))
            >>> {name: round(value, 3) for name, value in found.items()}
            {'tau': 0.816, 'tau ceiling': 0.816, 'r2': 0.192, 'l1': 0.157, 'calibration': 0.157}
        """
        self._check_output(output, target)
        found, true = _array(self.predict(output)), _array(target)
        return {
            "tau": self.score(output, target),
            "tau ceiling": tau_ceiling(target),
            "r2": self.r2(output, target),
            "l1": float(np.abs(found - true).mean()),
            "calibration": calibration_error(found, true),
        }

    def predict(self, output: Tensor) -> Tensor:
        """The number predicted for each network. Shape `(batch,)`."""
        return torch.sigmoid(output[:, 0])

    def targets(self, zoo: Columns, rows: Any) -> Tensor:
        """The number of the networks in these rows of a zoo, checked. Shape `(rows,)`, float32.

        Args:
            zoo: where the column is.
            rows: integer indices of networks.

        Raises:
            DataError: when an entry is no such number, or the checkpoints of one network lie in several splits.
        """
        _check_networks(zoo, rows)
        target = torch.as_tensor(np.array(np.asarray(zoo.column(self.target))[rows]))
        self.check(target)
        return target.float()

    def check(self, target: Tensor) -> None:
        """Refuse targets that are not such numbers.

        Raises:
            ShapeError: when the targets are not one per network.
            DataError: when they are not floating point numbers from 0 to 1.
        """
        if target.ndim != 1:
            raise ShapeError(
                f"{self.target!r} has shape {tuple(target.shape)}: expected one {self.one} per network, (batch,)."
            )
        if not target.is_floating_point():
            raise DataError(
                f"{self.target!r} holds {target.dtype}: {self.many} are floating point numbers from 0 to 1."
            )
        # A comparison with nan is false.
        wrong = (~((target >= 0) & (target <= 1))).nonzero()
        if len(wrong):
            row = int(wrong[0])
            raise DataError(
                f"{self.target!r} is {float(target[row]):g} in row {row} ({len(wrong)} of {len(target)} rows are "
                "wrong): expected numbers from 0 to 1. Choose another target column, or leave these rows out."
            )

    def _check_output(self, output: Tensor, target: Tensor) -> None:
        expected = (len(target), 1)
        if output.shape != expected:
            raise ShapeError(
                f"the model answered with shape {tuple(output.shape)}: expected {expected}, one number per network. "
                "Build it with a readout of 1 value."
            )


@dataclass(frozen=True)
class PredictAccuracy(Regression):
    """Predicts the accuracy of each network on data that it has not seen; loss, score and measures of `Regression`.

    Shapes:
        output: `(batch, 1)`, floating point.
        target: `(batch,)`, float32, from 0 to 1.

    Args:
        target: the column of the zoo that holds the accuracy of each network.
        kind: of the loss: `bce`, `mse` or `l1`.

    Raises:
        UnknownNameError: a loss that does not exist.

    Example:
        >>> task = PredictAccuracy()
        >>> output, accuracy = torch.tensor([[-2.0], [0.0], [3.0]]), torch.tensor([0.1, 0.6, 0.5])
        >>> round(task.score(output, accuracy), 3)
        0.333
        >>> task.predict(output)
        tensor([0.1192, 0.5000, 0.9526])

    References:
        Unterthiner et al., "Predicting Neural Network Accuracy from Weights", 2020.
    """

    target: str = "test_accuracy"

    one: ClassVar[str] = "accuracy"
    many: ClassVar[str] = "accuracies"


def tau_ceiling(target: Tensor | np.ndarray) -> float:
    r"""The largest tau-b between targets and any prediction without ties.

    Such a prediction has :math:`T = 0`, and at best all :math:`P` pairs that the targets do not tie in their order, so
    with :math:`U` pairs that they tie, :math:`\tau = P / \sqrt{P (P + U)} = \sqrt{P / (P + U)}`: the square root of
    the share of pairs that are not tied. Where all targets are equal it is nan.

    Shapes:
        target: ``(n,)``.

    Example:
        >>> round(tau_ceiling(torch.tensor([0.1, 0.1, 0.5, 0.9])), 4)
        0.9129
    """
    true = np.asarray(target.detach().cpu()) if isinstance(target, Tensor) else target
    counts = np.unique(true, return_counts=True)[1].astype(np.float64)
    pairs, tied = len(true) * (len(true) - 1) / 2, (counts * (counts - 1) / 2).sum()
    return float(np.sqrt((pairs - tied) / pairs)) if pairs > tied else float("nan")


def _check_networks(zoo: Columns, rows: Any) -> None:
    """Refuse a zoo where a network that stands in these rows stands in another split as well."""
    try:
        networks, splits = np.asarray(zoo.column("network")), np.asarray(zoo.column("split"))
    except UnknownNameError:
        return  # a zoo with one row per network
    # In one split means: as many pairs of network and split as networks.
    mine = np.isin(networks, networks[rows])
    pairs = np.unique(np.stack([networks[mine].astype(np.str_), splits[mine].astype(np.str_)]), axis=1)
    if len(torn := pairs[0][1:][pairs[0][1:] == pairs[0][:-1]]):
        raise DataError(
            f"network {torn[0]} has checkpoints in more than one split: what is tested would have been learnt from. "
            "Remedy: give all rows of a network one split, as weightspace.zoo.assign does for its number."
        )


def _array(values: Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy()
