"""Networks in training side by side on one thread: each has its own batches, optimiser and number of steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from weightspace.zoo.generate.convolution import CHANNELS, Passes, kernel_entries, layers
from weightspace.zoo.generate.descent import Descent
from weightspace.zoo.generate.pixels import Pixels

__all__ = ["Group", "Member"]


@dataclass(eq=False)
class Member:
    """One network: what it was given, and what has become of it.

    Args:
        number: in its zoo.
        weights: packed, before the first step.
        rate: step size.
        decay: factor of the squared norm of the kernels in the loss.
        optimiser: adam, sgd or rmsprop.
        dropped: share of values that are dropped, in 256ths.
        images: those that it learns from.
        order: the images of each step, ``(step, image)``.
        chance: decides what is dropped.
        marks: steps after which it is kept, in ascending order; the last is its last.
        taken: steps.
        kept: weights at the marks so far.
        steps: that led to these.
        lost: whether the network diverged before the mark.
    """

    number: int
    weights: Tensor
    rate: float
    decay: float
    optimiser: str
    dropped: int
    images: Tensor
    order: Tensor
    chance: np.random.Generator
    marks: list[int]
    taken: int = 0
    kept: list[Tensor] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    lost: list[bool] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether nothing is left to be kept."""
        return len(self.kept) == len(self.marks)

    def keep(self, weights: Tensor) -> None:
        """Notes the weights at every mark that has been reached."""
        while not self.over and self.taken >= self.marks[len(self.kept)]:
            self._note(weights, lost=False)

    def diverge(self, weights: Tensor) -> None:
        """Ends the network before its last step, which is undone; all other marks get the last finite weights."""
        self.taken -= 1
        while not self.over:
            self._note(weights, lost=True)

    def _note(self, weights: Tensor, *, lost: bool) -> None:
        self.kept.append(weights.clone())
        self.steps.append(self.taken)
        self.lost.append(lost)


class Group:
    """Networks that take their steps together; where one ends, another can take its place.

    Nothing in a network's row depends on the other rows, so it does not matter when and beside whom it is trained.

    Args:
        data: training images.
        activation: relu or tanh.
        batch: images in a step.
        classes: of the images.
        dtype: what to compute in.

    Attributes:
        members: the networks, row by row.
        losses: of the batches of the last step, before it: the mean cross-entropy ``(network,)``.
    """

    def __init__(
        self, data: Pixels, activation: str, batch: int, classes: int, dtype: torch.dtype = torch.float32
    ) -> None:
        self.members: list[Member] = []
        self._data, self._shape = data, (batch, CHANNELS, classes, activation)
        kernels = kernel_entries(CHANNELS, classes)
        # What dropout leaves is scaled up by the kernel above it, whose gradient scales alike.
        above = kernels.clone()
        above[: layers(kernels[None], CHANNELS, classes).first.numel()] = False
        self._kernels, self._above = kernels.to(dtype), above
        self.parameters = torch.zeros(0, len(kernels), dtype=dtype)
        self._descent = Descent.empty(self.parameters)

    def fill(self, waiting: list[Callable[[], Member]], size: int) -> None:
        """Lets networks go that are over, and takes others from the end of a list until there are `size`."""
        rows = [row for row, member in enumerate(self.members) if not member.over]
        fresh = [waiting.pop()() for _ in range(min(len(waiting), size - len(rows)))]
        for member in fresh:
            member.keep(member.weights)
        if fresh or len(rows) < len(self.members):
            self._regroup(rows, fresh)

    def advance(self) -> list[Member]:
        """One step of every network; gives those that are over now."""
        self._step()
        # Not a number where a weight is none. What follows is bookkeeping, a few comparisons per network.
        sizes = self.parameters.abs().amax(1).tolist()
        for row, (member, size) in enumerate(zip(self.members, sizes, strict=True)):
            member.taken += 1
            if math.isfinite(size):
                member.keep(self.parameters[row])
            else:
                member.diverge(self._before[row])
        return [member for member in self.members if member.over]

    def _regroup(self, rows: list[int], fresh: list[Member]) -> None:
        """Keeps some rows, and adds new networks below."""
        old, before = len(rows), len(self.members)
        self.members = [self.members[row] for row in rows] + fresh
        self.parameters = torch.cat(
            [self.parameters[rows], *(member.weights[None].to(self.parameters) for member in fresh)]
        )
        self._descent = self._descent.regrouped(rows, len(fresh))
        for row, member in enumerate(fresh, start=old):
            self._descent.set(row, member.optimiser, member.rate, 2 * member.decay * self._kernels)
        self._dropped = torch.tensor([member.dropped for member in self.members], dtype=torch.uint8)
        scale = 256 / (256 - self._dropped.to(self.parameters.dtype))
        self._factors = torch.where(self._above, scale[:, None], scale.new_ones(()))
        if len(self.members) not in (0, before):
            self._allocate()

    def _allocate(self) -> None:
        """Room for a step of as many networks as there are."""
        batch, channels, classes, activation = self._shape
        like = self.parameters
        self._effective, self._gradient, self._before, self._spare = (torch.empty_like(like) for _ in range(4))
        self._passes = Passes(len(like), batch, channels, classes, activation, like)
        self._views = layers(self._effective, channels, classes)
        self._gradients = layers(self._gradient, channels, classes)

    def _step(self) -> None:
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
        self._before.copy_(self.parameters)
        self._descent.step(self.parameters, self._gradient.mul_(self._factors), self._spare)

    def _chance(self) -> Tensor:
        """Random bytes, from each network's own stream: one call draws all that a network needs for a step."""
        words = -(-self._passes.entries // 8)
        drawn = np.stack([member.chance.bit_generator.random_raw(words) for member in self.members])
        return torch.from_numpy(drawn.astype("<u8", copy=False).view(np.uint8))[:, : self._passes.entries]
