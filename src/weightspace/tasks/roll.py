"""Forecasts: tell from a field's last frames how it goes on, each frame from those before, predicted ones included."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from weightspace.errors import DataError, ShapeError, TrainingError

__all__ = ["Forecast"]

Frames = Float[Tensor, "batch time points features"]


@dataclass(frozen=True)
class Forecast:
    r"""Tells the next frames of a field: mean squared error as the loss, minus its root as the score.

    The model is called with the frames that are known and with how many are to come, `model(past, count)`, and answers
    with that many, such as :class:`weightspace.matrices.RollOut`. Called without a number, as it is wherever it is only
    judged, it may answer with more frames than are compared: with targets of :math:`T` frames the first :math:`T` of
    the answer count. So one model is trained on few frames, which is cheap and stable, and judged on many.

    With answers :math:`z` and fields :math:`y`, the error over :math:`n` frames is the root of the mean of
    :math:`(z - y)^2` over items, the first :math:`n` frames, points and features.

    Shapes:
        output: `(batch, time, points, features)`, with at least as many frames as the target.
        target: `(batch, time, points, features)`, with at least as many as the first horizon.

    Args:
        horizons: numbers of frames that errors are told for, rising; the score is of the first.

    Raises:
        TrainingError: no horizon, or horizons that do not rise from 1.

    Example:
        >>> task = Forecast(horizons=(1, 2))
        >>> truth = torch.zeros(3, 2, 4, 1)
        >>> told = torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1).expand(3, 2, 4, 1)
        >>> task.score(told, truth)
        -1.0
        >>> {name: round(error, 3) for name, error in task.measures(told, truth).items()}
        {'rmse_1': 1.0, 'rmse_2': 2.236}
    """

    horizons: tuple[int, ...] = (6, 20)

    def __post_init__(self) -> None:
        rising = all(before < after for before, after in zip((0, *self.horizons), self.horizons, strict=False))
        if not self.horizons or not rising:
            raise TrainingError(
                f"horizons are {self.horizons}: expected one or more numbers of frames that rise from 1."
            )

    def step(self, model: Callable[..., Any], features: Any, target: Tensor) -> Tensor:
        """The loss where the model is asked for just as many frames as there are targets."""
        return self.loss(model(features, target.shape[1]), target)

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean squared error over the frames of the target, a scalar tensor."""
        return self._squares(output, target).mean()

    def score(self, output: Tensor, target: Tensor) -> float:
        """Minus the error over the first horizon; higher is better."""
        return -self._error(self._squares(output, target), self.horizons[0])

    def measures(self, output: Tensor, target: Tensor) -> dict[str, float]:
        """The error over each horizon that the targets reach, by names such as `rmse_6`."""
        squares = self._squares(output, target)
        return {f"rmse_{count}": self._error(squares, count) for count in self.horizons if count <= target.shape[1]}

    def errors(self, output: Tensor, target: Tensor) -> Float[Tensor, " batch"]:
        """The error of each item over the first horizon."""
        return self._squares(output, target)[:, : self.horizons[0]].mean((1, 2, 3)).sqrt()

    def predict(self, output: Frames) -> Float[Tensor, "batch time"]:
        """The root mean square of each frame: what a record keeps of an answer, whose fields would fill a disk."""
        return output.square().mean((2, 3)).sqrt()

    def brief(self, target: Frames) -> Float[Tensor, "batch time"]:
        """The same of the targets."""
        return self.predict(target)

    def outcome(self, output: Frames) -> Frames:
        """The frames, as the model told them."""
        return output

    def check(self, target: Tensor) -> None:
        """Refuse targets that are no frames to come.

        Raises:
            ShapeError: when they are not `(batch, time, points, features)`, or end before the first horizon.
            DataError: when they are not finite floating point numbers.
        """
        if target.ndim != 4 or target.shape[1] < self.horizons[0]:
            raise ShapeError(
                f"targets have shape {tuple(target.shape)}: expected (batch, time, points, features) with "
                f"{self.horizons[0]} frames or more. Give longer windows, or a first horizon that they reach."
            )
        if not target.is_floating_point() or not bool(target.isfinite().all()):
            raise DataError(f"targets of type {target.dtype} are not finite floating point numbers throughout.")

    def _squares(self, output: Tensor, target: Tensor) -> Tensor:
        count = target.shape[1]
        if output[:, :count].shape != target.shape:
            raise ShapeError(
                f"the model answered with shape {tuple(output.shape)}: expected {tuple(target.shape)}, or more frames."
            )
        return torch.square(output[:, :count] - target)

    def _error(self, squares: Tensor, count: int) -> float:
        # In float64: a mean over a whole split, however it was told in batches.
        return float(squares[:, :count].double().mean().sqrt())
