"""Prediction of accuracy: tell from a network's weights alone how well it does on data that it has not seen."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.stats import kendalltau
from torch import Tensor
from torch.nn import functional

from weightspace.errors import DataError, ShapeError, UnknownNameError, unknown
from weightspace.tasks.classify import Columns

__all__ = ["PredictAccuracy"]

_LOSSES = ("bce", "mse", "l1")


@dataclass(frozen=True)
class PredictAccuracy:
    r"""Predicts the accuracy of each network: one number, put between 0 and 1 by a sigmoid.

    With the answer :math:`z` and the accuracy :math:`y`, the loss is the mean over networks of

    * ``bce``: :math:`-y \log \sigma(z) - (1 - y) \log(1 - \sigma(z))`,
    * ``mse``: :math:`(\sigma(z) - y)^2`,
    * ``l1``: :math:`|\sigma(z) - y|`.

    The score is Kendall's rank correlation tau-b between answers and accuracies.

    Shapes:
        output: `(batch, 1)`, floating point.
        target: `(batch,)`, float32, from 0 to 1.

    Args:
        target: the column of the zoo that holds the accuracy of each network.
        kind: of the loss.

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
        Unterthiner et al., "Predicting Neural Network Accuracy from Weights", 2020; Kendall, "The Treatment of Ties in
        Ranking Problems", Biometrika 1945.
    """

    target: str = "test_accuracy"
    kind: str = "bce"

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

        With :math:`P` pairs of networks in the same order by answer and by accuracy, :math:`Q` in the opposite order,
        :math:`T` tied by answer alone and :math:`U` by accuracy alone, it is
        :math:`(P - Q) / \sqrt{(P + Q + T)(P + Q + U)}`. Where all answers or all accuracies are equal, there is no
        order to be told, and it is 0.
        """
        self._check_output(output, target)
        if len(target) < 2:
            return 0.0
        # By the answer itself: far from zero the sigmoid ties what differs.
        found = kendalltau(_array(output[:, 0]), _array(target)).statistic
        return float(found) if np.isfinite(found) else 0.0

    def r2(self, output: Tensor, target: Tensor) -> float:
        """The share of the variance of the accuracies that is explained: 1 at best, 0 for naming their mean.

        Where all accuracies are equal it is not defined: nan.
        """
        self._check_output(output, target)
        found, true = _array(self.predict(output)), _array(target)
        spread = np.square(true - true.mean()).sum()
        return float(1 - np.square(found - true).sum() / spread) if spread else float("nan")

    def predict(self, output: Tensor) -> Tensor:
        """The accuracy predicted for each network. Shape `(batch,)`."""
        return torch.sigmoid(output[:, 0])

    def targets(self, zoo: Columns, rows: Any) -> Tensor:
        """The accuracy of the networks in these rows of a zoo, checked. Shape `(rows,)`, float32.

        Args:
            zoo: where the column is.
            rows: integer indices of networks.

        Raises:
            DataError: when an entry is no accuracy, or the checkpoints of one network lie in several splits.
        """
        _check_networks(zoo, rows)
        target = torch.as_tensor(np.asarray(zoo.column(self.target))[rows])
        self.check(target)
        return target.float()

    def check(self, target: Tensor) -> None:
        """Refuse targets that are not accuracies.

        Raises:
            ShapeError: when the targets are not one per network.
            DataError: when they are not floating point numbers from 0 to 1.
        """
        if target.ndim != 1:
            raise ShapeError(
                f"{self.target!r} has shape {tuple(target.shape)}: expected one accuracy per network, (batch,)."
            )
        if not target.is_floating_point():
            raise DataError(f"{self.target!r} holds {target.dtype}: accuracies are floating point numbers from 0 to 1.")
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
