"""Networks in training side by side on one thread: who is there, how far each has come, and what was kept of it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import torch
from torch import Tensor

from weightspace.zoo.generate.descent import Descent

__all__ = ["Company", "Course"]


@dataclass(eq=False)
class Course:
    """One network on its way through training.

    Args:
        number: in its zoo.
        weights: in the order that its company computes with, before the first step.
        marks: steps after which it is kept, in ascending order; the last is its last.
        taken: steps.
        kept: weights at the marks so far.
        steps: that led to these.
        lost: whether the network diverged before the mark.
    """

    number: int
    weights: Tensor
    marks: list[int]
    taken: int = field(default=0, kw_only=True)
    kept: list[Tensor] = field(default_factory=list, kw_only=True)
    steps: list[int] = field(default_factory=list, kw_only=True)
    lost: list[bool] = field(default_factory=list, kw_only=True)

    @property
    def over(self) -> bool:
        """Whether nothing is left to be kept."""
        return len(self.kept) == len(self.marks)

    def keep(self, weights: Tensor) -> None:
        """Notes the weights at every mark that has been reached."""
        while not self.over and self.taken >= self.marks[len(self.kept)]:
            self._note(weights, lost=False)

    def stop(self, weights: Tensor) -> None:
        """Ends the network here; all other marks get these weights."""
        while not self.over:
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


Kind = TypeVar("Kind", bound=Course)


class Company(ABC, Generic[Kind]):
    """Networks that take their steps together; one that is over makes room.

    Nothing in a network's row depends on the other rows, so it does not matter when and beside whom it is trained. What
    a step is, a kind of company says for itself.

    Args:
        parameters: no networks yet, ``(0, parameter)``: how many parameters each has and their type of numbers.

    Attributes:
        members: the networks, row by row.
        parameters: theirs, ``(network, parameter)``.
        losses: of the batches of the last step, before it: ``(network,)``.
    """

    def __init__(self, parameters: Tensor) -> None:
        self.members: list[Kind] = []
        self.parameters = parameters
        self.losses = parameters.new_zeros(0)
        self._descent = Descent.empty(parameters)
        self._before, self._gradient, self._spare = (torch.empty_like(parameters) for _ in range(3))

    @abstractmethod
    def _start(self, row: int, member: Kind) -> None:
        """Sets the optimiser of a network that has just come."""

    @abstractmethod
    def _arrange(self, *, resized: bool) -> None:
        """Makes room for a step of those who are there now; `resized` where they are more or fewer than before."""

    @abstractmethod
    def _differentiate(self) -> None:
        """Writes the gradient and the losses of all networks at their next batches."""

    def fill(self, waiting: list[Callable[[], Kind]], size: int) -> None:
        """Lets networks go that are over, and takes others from the end of a list until there are `size`."""
        rows = [row for row, member in enumerate(self.members) if not member.over]
        fresh = [waiting.pop()() for _ in range(min(len(waiting), size - len(rows)))]
        for member in fresh:
            member.keep(member.weights)
        if fresh or len(rows) < len(self.members):
            self._regroup(rows, fresh)

    def advance(self) -> list[Kind]:
        """One step of every network; gives those that are over now."""
        self._differentiate()
        self._before.copy_(self.parameters)
        self._descent.step(self.parameters, self._gradient, self._spare)
        # Not a number where a weight is none. What follows is bookkeeping, a few comparisons per network.
        sizes = self.parameters.abs().amax(1).tolist()
        for row, (member, size) in enumerate(zip(self.members, sizes, strict=True)):
            member.taken += 1
            if math.isfinite(size):
                member.keep(self.parameters[row])
            else:
                member.diverge(self._before[row])
        return [member for member in self.members if member.over]

    def _regroup(self, rows: list[int], fresh: list[Kind]) -> None:
        """Keeps some rows, and adds new networks below."""
        old, before = len(rows), len(self.members)
        self.members = [self.members[row] for row in rows] + fresh
        self.parameters = torch.cat(
            [self.parameters[rows], *(member.weights[None].to(self.parameters) for member in fresh)]
        )
        self._descent = self._descent.regrouped(rows, len(fresh))
        for row, member in enumerate(fresh, start=old):
            self._start(row, member)
        resized = len(self.members) not in (0, before)
        if resized:
            self._before, self._gradient, self._spare = (torch.empty_like(self.parameters) for _ in range(3))
        self._arrange(resized=resized)
