r"""Adam, momentum and RMSProp as one update, so that networks with different optimisers take a step together.

With the gradient :math:`g` every one of them is

.. math:: m \leftarrow a m + b g, \quad v \leftarrow c v + d g^2, \quad
    w \leftarrow w - \frac{\eta}{1 - a'^t} \frac{m}{\sqrt{v / (1 - c'^t)} + e}

where :math:`a', c'` are :math:`a, c` for Adam, which corrects the bias of its means, and 0 for the others. Momentum has
:math:`b = e = 1` and :math:`c = d = 0`, RMSProp :math:`a = 0` and :math:`b = 1`. AdamW is Adam after :math:`w` has been
shrunk.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

__all__ = ["CONSTANTS", "Descent", "factors"]

CONSTANTS = {"adam": (0.9, 0.999, 1e-7), "rmsprop": (0.9, 1e-7), "sgd": (0.9,)}
"""Adam: decay of both means, and what keeps the denominator from zero; RMSProp: decay and the latter; momentum."""


@dataclass
class Descent:
    """The optimisers of some networks; all tensors have a row per network.

    Args:
        rate: step size, ``(network, 1)``.
        decay: twice the weight decay where it applies, ``(network, parameter)``.
        shrink: share of the weights that a step takes away before anything else, as AdamW does, ``(network, 1)``.
        factors: the constants a, b, c, d, e, a', c', ``(network, 7)``.
        mean: m, ``(network, parameter)``.
        square: v, likewise.
        taken: steps, ``(network, 1)``.
    """

    rate: Tensor
    decay: Tensor
    shrink: Tensor
    factors: Tensor
    mean: Tensor
    square: Tensor
    taken: Tensor

    @staticmethod
    def empty(like: Tensor) -> "Descent":
        """Room for the optimisers of networks that :meth:`set` starts.

        Shapes:
            like: ``(network, parameter)``.
        """
        return Descent(
            rate=like.new_zeros(len(like), 1),
            decay=torch.zeros_like(like),
            shrink=like.new_zeros(len(like), 1),
            factors=like.new_zeros(len(like), 7),
            mean=torch.zeros_like(like),
            square=torch.zeros_like(like),
            taken=like.new_zeros(len(like), 1),
        )

    def set(
        self, row: int, constants: Sequence[float], rate: float, decay: Tensor | float, shrink: float = 0.0
    ) -> None:
        """Starts one network."""
        self.rate[row], self.decay[row], self.shrink[row] = rate, decay, shrink
        self.factors[row] = self.factors.new_tensor(constants)
        for state in (self.mean, self.square, self.taken):
            state[row] = 0

    def regrouped(self, rows: Sequence[int], fresh: int) -> "Descent":
        """Some of the optimisers, and room for others below them."""
        room = Descent.empty(self.mean.new_empty(fresh, self.mean.shape[1]))
        return Descent(
            *(torch.cat([getattr(self, part.name)[rows], getattr(room, part.name)]) for part in fields(self))
        )

    def step(self, parameters: Tensor, gradient: Tensor, spare: Tensor) -> None:
        """Moves parameters down a gradient, which is used up.

        Shapes:
            parameters, gradient, spare: ``(network, parameter)``.
        """
        keep, gain, keep_square, gain_square, floor, unbias, unbias_square = self.factors.split(1, 1)
        self.taken.add_(1)
        gradient.addcmul_(self.decay, parameters)
        parameters.mul_(1 - self.shrink)
        self.mean.mul_(keep).addcmul_(gradient, gain)
        # In this order a large gradient of momentum, whose square is not kept, cannot overflow.
        torch.mul(gradient, gain_square, out=spare)
        self.square.mul_(keep_square).addcmul_(spare, gradient)
        scale = (1 - unbias_square**self.taken).rsqrt_()
        torch.sqrt(self.square, out=spare).mul_(scale).add_(floor)
        torch.mul(self.mean, self.rate / (1 - unbias**self.taken), out=gradient)
        parameters.sub_(gradient.div_(spare))


def factors(optimiser: str, constants: Sequence[float] | None = None) -> tuple[float, ...]:
    """What :class:`Descent` does in place of an optimiser.

    Args:
        optimiser: adam, sgd or rmsprop.
        constants: of it, as in :data:`CONSTANTS`, which are the default.

    Example:
        >>> factors("sgd", (0.5,))
        (0.5, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
    """
    constants = CONSTANTS[optimiser] if constants is None else constants
    if optimiser == "adam":
        first, second, floor = constants
        return (first, 1 - first, second, 1 - second, floor, first, second)
    if optimiser == "rmsprop":
        second, floor = constants
        return (0.0, 1.0, second, 1 - second, floor, 0.0, 0.0)
    return (constants[0], 1.0, 0.0, 0.0, 1.0, 0.0, 0.0)
