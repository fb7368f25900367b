"""CNNs in training side by side on one thread: each has its own batches, optimiser and number of steps."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from weightspace.zoo.generate.company import Company, Course
from weightspace.zoo.generate.convolution import CHANNELS, Passes, kernel_entries, layers
from weightspace.zoo.generate.descent import factors
from weightspace.zoo.generate.pixels import Pixels

__all__ = ["Group", "Member"]


@dataclass(eq=False)
class Member(Course):
    """One CNN: what it was given, and what has become of it.

    Args:
        rate: step size.
        decay: factor of the squared norm of the kernels in the loss.
        optimiser: adam, sgd or rmsprop.
        dropped: share of values that are dropped, in 256ths.
        images: those that it learns from.
        order: the images of each step, ``(step, image)``.
        chance: decides what is dropped.
    """

    rate: float
    decay: float
    optimiser: str
    dropped: int
    images: Tensor
    order: Tensor
    chance: np.random.Generator


class Group(Company[Member]):
    """CNNs that take their steps together; where one ends, another can take its place.

    Args:
        data: training images.
        activation: relu or tanh.
        batch: images in a step.
        classes: of the images.
        dtype: what to compute in.
    """

    def __init__(
        self, data: Pixels, activation: str, batch: int, classes: int, dtype: torch.dtype = torch.float32
    ) -> None:
        self._data, self._shape = data, (batch, CHANNELS, classes, activation)
        kernels = kernel_entries(CHANNELS, classes)
        # What dropout leaves is scaled up by the kernel above it, whose gradient scales alike.
        above = kernels.clone()
        above[: layers(kernels[None], CHANNELS, classes).first.numel()] = False
        self._kernels, self._above = kernels.to(dtype), above
        super().__init__(torch.zeros(0, len(kernels), dtype=dtype))

    def _start(self, row: int, member: Member) -> None:
        self._descent.set(row, factors(member.optimiser), member.rate, 2 * member.decay * self._kernels)

    def _arrange(self, *, resized: bool) -> None:
        self._dropped = torch.tensor([member.dropped for member in self.members], dtype=torch.uint8)
        scale = 256 / (256 - self._dropped.to(self.parameters.dtype))
        self._factors = torch.where(self._above, scale[:, None], scale.new_ones(()))
        if resized:
            batch, channels, classes, activation = self._shape
            self._effective = torch.empty_like(self.parameters)
            self._passes = Passes(len(self.members), batch, channels, classes, activation, self.parameters)
            self._views = layers(self._effective, channels, classes)
            self._gradients = layers(self._gradient, channels, classes)

    def _differentiate(self) -> None:
        rows = torch.stack([member.order[member.taken] for member in self.members])
        labels = self._data.gather(rows, self._passes)
        if int(self._dropped.max()):
            self._passes.drop(self._chance(), self._dropped)
        else:
            # Not what was dropped of networks that were here before.
            self._passes.masks = ()
        torch.mul(self.parameters, self._factors, out=self._effective)
        logits = functional.log_softmax(self._passes.forward(self._views), 2)
        self.losses = -logits.gather(2, labels[..., None]).mean((1, 2))
        error = logits.exp_().sub_(functional.one_hot(labels, logits.shape[2]))
        self._passes.backward(self._views, self._gradients, error.div_(labels.shape[1]))
        self._gradient.mul_(self._factors)

    def _chance(self) -> Tensor:
        """Random bytes, from each network's own stream: one call draws all that a network needs for a step."""
        words = -(-self._passes.entries // 8)
        drawn = np.stack([member.chance.bit_generator.random_raw(words) for member in self.members])
        return torch.from_numpy(drawn.astype("<u8", copy=False).view(np.uint8))[:, : self._passes.entries]
