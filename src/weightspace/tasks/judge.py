"""Prediction of return: tell from a policy's weights alone what it achieves, without letting it act."""

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from weightspace.errors import DataError
from weightspace.tasks.predict import Regression
from weightspace.tasks.regret import regret
from weightspace.zoo import Zoo
from weightspace.zoo.generate.control import environment_named

__all__ = ["PredictReturn"]

AMONG = 100


@dataclass(frozen=True)
class PredictReturn(Regression):
    r"""Predicts what each policy achieves; loss and score of `Regression`.

    Targets are returns, moved so that the bounds of the environment become 0 and 1. What is measured is told in the
    unit of the returns themselves, :math:`r = l + (h - l) y` for the bounds :math:`l` and :math:`h`.

    Shapes:
        output: `(batch, 1)`, floating point.
        target: `(batch,)`, float32, from 0 to 1.

    Args:
        target: the column of the zoo that holds the moved return of each policy.
        kind: of the loss: `bce`, `mse` or `l1`.
        bounds: the returns that 0 and 1 stand for; (0, 1) keeps the unit of the targets.

    Raises:
        UnknownNameError: a loss that does not exist.
        DataError: bounds in another order.

    Example:
        >>> import torch
        >>> task = PredictReturn(bounds=(0.0, 500.0))
        >>> output = torch.tensor([[-2.0], [0.0], [3.0]])
        >>> found = task.measures(output, torch.tensor([0.1, 1.0, 0.9]))
        >>> {name: round(found[name], 2) for name in ("tau", "l1", "regret")}
        {'tau': 0.33, 'l1': 95.3, 'regret': 50.0}

    References:
        Faccio et al., "Parameter-Based Value Functions", ICLR 2021, on predicting returns from weights.
    """

    target: str = "scaled_return"
    bounds: tuple[float, float] = (0.0, 1.0)

    one: ClassVar[str] = "return between 0 and 1"
    many: ClassVar[str] = "returns between 0 and 1"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.bounds[0] < self.bounds[1]:
            raise DataError(f"bounds are {self.bounds}: expected the return of 0, and then a higher one, of 1.")

    @classmethod
    def of(cls, zoo: Zoo, target: str = "scaled_return", kind: str = "bce") -> "PredictReturn":
        """The task on a zoo of policies, in the unit of its environment.

        Args:
            zoo: one that `make_policy_zoo` made.
            target: the column with the moved returns.
            kind: of the loss.

        Raises:
            DataError: a zoo of other networks.
            UnknownNameError: an environment that does not exist.
        """
        name = zoo.manifest.settings.get("environment")
        if zoo.manifest.recipe != "policy" or not isinstance(name, str):
            raise DataError(f"{zoo!r} holds no policies: expected a zoo of `weightspace zoo make policy`.")
        return cls(target=target, kind=kind, bounds=environment_named(name).returns)

    def measures(self, output: Tensor, target: Tensor) -> dict[str, float]:
        """What the answers are worth, by name.

        * `tau`, `tau ceiling`, `r2`, `calibration`: as in `Regression.measures`.
        * `l1`: the mean absolute error, in the unit of the returns.
        * `regret`: how much worse than the best one the policy is that is ranked first among 100 at random, on average,
          in the unit of the returns (see `regret`); among all, where there are fewer. Not finite answers give nan.
        """
        low, high = self.bounds
        found = super().measures(output, target)
        returns = low + (high - low) * target.double()
        sound = bool(output.isfinite().all())
        lost = regret(output, returns, among=min(AMONG, len(target))) if sound else math.nan
        return found | {"l1": (high - low) * found["l1"], "regret": lost}
