"""Episodes of many policies side by side: each policy plays several, and who has played all of them is put aside."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weightspace.errors import ShapeError
from weightspace.zoo.generate.chunk import Shapes, blocks
from weightspace.zoo.generate.control import Environment

__all__ = ["ACTIVATIONS", "Crowd", "Outcome", "simulate"]


def _tanh_(values: Tensor) -> Tensor:
    # NumPy's float32 tanh is vectorised on every machine; torch's takes 13 times as long on some (2.6 against 0.2 ns),
    # longer than all matrix products of a small policy.
    np.tanh(values.numpy(), out=values.numpy())
    return values


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"tanh": _tanh_, "relu": torch.relu_}
"""Between the layers of a policy, in place."""

# Looking who is still playing costs as much as a tenth of a step, putting others aside as much as a step.
_LOOK, _CROWDED = 8, 0.75


class Crowd:
    """Perceptrons of one architecture, each with weights of its own, asked side by side.

    Shapes:
        flat: ``(policy, parameter)``; called with ``(policy, episode, observation)`` gives
        ``(policy, episode, output)``.

    Args:
        flat: weights and biases, layer by layer.
        shapes: of the parameters by their keys, weight and bias of each layer in turn.
        activation: tanh or relu.

    Example:
        >>> crowd = Crowd(
        ...     torch.ones(5, 7), {"0.weight": (2, 1), "0.bias": (2,), "2.weight": (1, 2), "2.bias": (1,)}, "relu"
        ... )
        >>> crowd(torch.full((5, 3, 1), 0.5))[0, 0].item()
        4.0
    """

    def __init__(self, flat: Tensor, shapes: Shapes, activation: str) -> None:
        self.flat, self.shapes, self.activation = flat, shapes, activation
        views = blocks(flat, shapes)
        self._layers = [(weight.mT, bias[:, None]) for weight, bias in zip(views[::2], views[1::2], strict=True)]

    def __len__(self) -> int:
        return len(self.flat)

    def __call__(self, observations: Tensor) -> Tensor:
        """The outputs of each policy at observations of its own."""
        values = observations.to(self.flat.dtype)
        for weight, bias in self._layers[:-1]:
            values = ACTIVATIONS[self.activation](torch.baddbmm(bias, values, weight))
        weight, bias = self._layers[-1]
        return torch.baddbmm(bias, values, weight)

    def only(self, rows: Tensor) -> "Crowd":
        """Some of them."""
        return Crowd(self.flat[rows], self.shapes, self.activation)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of the episodes.

    Shapes:
        returns: ``(policy, episode)``, float64; lengths: ``(policy, episode)``, int64; varied: ``(policy,)``, bool;
        sums, squares: ``(policy, observation)``, float64.

    Args:
        returns: sums of rewards.
        lengths: steps played.
        varied: whether a policy ever did something else than in its very first step.
        sums: of what the policy observed, over all steps of all its episodes.
        squares: of the same, squared.
    """

    returns: Tensor
    lengths: Tensor
    varied: Tensor
    sums: Tensor
    squares: Tensor


def simulate(environment: Environment, crowd: Crowd, starts: Tensor) -> Outcome:
    """All episodes to their ends, or to the length at which the environment cuts them off.

    Which policies are simulated together changes an outcome by rounding only; where actions are chosen by the largest
    output, rounding may decide between two that are equal.

    Shapes:
        starts: ``(variable, policy, episode)``, float64.

    Args:
        environment: the problem.
        crowd: the policies.
        starts: states at the start.

    Raises:
        ShapeError: starts of another number of policies or variables.

    Example:
        >>> from weightspace.zoo.generate.control import environment_named
        >>> shapes = {"0.weight": (2, 4), "0.bias": (2,)}
        >>> follow = torch.tensor([[0.0, 0, 0, 0, 0, 0, 1, 0.5, 0, 0]])
        >>> crowd = Crowd(torch.cat([follow, -follow]), shapes, "tanh")
        >>> starts = torch.full((4, 2, 1), 0.01, dtype=torch.float64)
        >>> simulate(environment_named("cartpole"), crowd, starts).returns.tolist()
        [[500.0], [9.0]]
    """
    variables = len(environment.starts[0])
    if starts.ndim != 3 or starts.shape[:2] != (variables, len(crowd)):
        raise ShapeError(
            f"starts have shape {tuple(starts.shape)}; expected ({variables}, {len(crowd)}, episodes) for "
            f"{len(crowd)} policies in {environment.name}."
        )
    games = _Games(environment, crowd, starts)
    for step in range(environment.length):
        games.step()
        if step % _LOOK == _LOOK - 1 and not games.thin():
            break
    return games.outcome()


class _Games:
    """Episodes under way. What is known of a policy lies at its row; `rows` are those that still play."""

    def __init__(self, environment: Environment, crowd: Crowd, starts: Tensor) -> None:
        _, policies, episodes = starts.shape
        seen = len(environment.observations)
        self.environment, self.crowd, self.state = environment, crowd, starts
        self.rows = torch.arange(policies)
        self.playing = torch.ones(policies, episodes, dtype=torch.bool)
        self.first: Tensor | None = None
        sizes = ((policies, episodes), (policies, episodes), (policies,), (policies, seen), (policies, seen))
        kinds = (torch.float64, torch.int64, torch.bool, torch.float64, torch.float64)
        self.found = [torch.zeros(size, dtype=kind) for size, kind in zip(sizes, kinds, strict=True)]
        self.known = self.found

    def step(self) -> None:
        """One step of all that still play; what ended stays as it is."""
        returns, lengths, varied, sums, squares = self.found
        seen = self.environment.observe(self.state)
        action = self.environment.act(self.crowd(seen))
        if self.first is None:
            self.first = action[:, :1]
        varied |= ((action != self.first) & self.playing).any(1)
        # Where an episode is over its state runs on, maybe out of all bounds.
        mine = torch.where(self.playing[..., None], seen, 0.0)
        sums += mine.sum(1)
        squares += mine.square_().sum(1)
        self.state, reward, ended = self.environment.move(self.state, action)
        returns += torch.where(self.playing, reward, 0.0)
        lengths += self.playing
        self.playing = self.playing & ~ended

    def thin(self) -> bool:
        """Put policies aside that have played all their episodes, if they are many. Whether any is left."""
        still = self.playing.any(1)
        count = int(still.sum())
        if count > _CROWDED * len(still):
            return True
        self._write()
        if count:
            keep = still.nonzero()[:, 0]
            self.rows, self.playing, self.crowd = self.rows[keep], self.playing[keep], self.crowd.only(keep)
            self.state = self.state[:, keep]
            self.first = None if self.first is None else self.first[keep]
            self.found = [values[keep] for values in self.found]
        return count > 0

    def outcome(self) -> Outcome:
        self._write()
        return Outcome(*self.known)

    def _write(self) -> None:
        """What is known so far, at the rows of those that it is about."""
        if self.found is not self.known:
            for whole, part in zip(self.known, self.found, strict=True):
                whole[self.rows] = part
