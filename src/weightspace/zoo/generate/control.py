r"""Classic control problems, many episodes side by side: equations of motion, rewards and ends.

A state is a tensor ``(variable, ...)``: one row per variable, any shape behind it. All functions work on whole tensors;
where an episode is over, its state may move on and nobody looks. Constants, rewards, ends and lengths are those by
which Gymnasium defines its environments of the same names, so that returns can be compared with published ones.

References:
    Barto, Sutton, Anderson, *Neuronlike Adaptive Elements That Can Solve Difficult Learning Control Problems*, 1983
    (the cart with a pole); Florian, *Correct Equations for the Dynamics of the Cart-Pole System*, 2007; Moore,
    *Efficient Memory-Based Learning for Robot Control*, 1990 (the car in a valley); Sutton, *Generalization in
    Reinforcement Learning*, 1996, and Sutton, Barto, *Reinforcement Learning*, 1998, section 11.3 (the acrobot);
    Towers et al., *Gymnasium*, 2024 (constants and limits).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weightspace.errors import unknown

__all__ = ["ENVIRONMENTS", "Environment", "environment_named"]

Move = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


@dataclass(frozen=True)
class Environment:
    r"""One control problem.

    Args:
        name: how settings name it.
        identity: how Gymnasium names it.
        observations: what a policy sees, in order.
        actions: what each of its outputs stands for; a single one is a number that is applied as it is.
        starts: lowest and highest value of each variable of the state at the start, uniform in between.
        length: steps after which an episode is cut off.
        returns: bounds of the return of an episode: never less than the first, never more than the second.
        move: from states and actions to the next states, rewards and whether the episode ended.
        observe: from states ``(variable, ...)`` to observations ``(..., observation)``.
        limit: of the size of the action, where it is a number; None where it is the index of an action.

    Example:
        >>> cart = environment_named("cartpole")
        >>> state, reward, ended = cart.move(torch.zeros(4, 1), torch.tensor([1]))
        >>> state[:, 0].tolist(), reward.item(), ended.item()
        ([0.0, 0.1951219..., 0.0, -0.2926829...], 1.0, False)
    """

    name: str
    identity: str
    observations: tuple[str, ...]
    actions: tuple[str, ...]
    starts: tuple[tuple[float, ...], tuple[float, ...]]
    length: int
    returns: tuple[float, float]
    move: Move
    observe: Callable[[Tensor], Tensor]
    limit: float | None = None

    def start(self, chance: np.random.Generator, count: int) -> Tensor:
        """States of ``count`` episodes at their start, drawn one after the other.

        Shapes:
            result: ``(variable, count)``, float64.

        Example:
            >>> environment_named("mountaincar").start(np.random.default_rng(0), 5).shape
            torch.Size([2, 5])
        """
        low, high = self.starts
        return torch.from_numpy(chance.uniform(low, high, (count, len(low)))).T.contiguous()

    def act(self, outputs: Tensor) -> Tensor:
        """What a policy does, given its outputs: the action of the largest one, or the one number within its limit.

        A number is cut off at -1 and 1 and multiplied by the limit.

        Shapes:
            outputs: ``(..., output)``; result: ``(...)``, int64 or float64.

        Example:
            >>> environment_named("acrobot").act(torch.tensor([0.1, 0.7, -2.0])).item()
            1
            >>> environment_named("pendulum").act(torch.tensor([[0.25], [-3.0]])).tolist()
            [0.5, -2.0]
        """
        if self.limit is None:
            return outputs.argmax(-1)
        return outputs[..., 0].double().clamp(-1, 1) * self.limit

    def scaled(self, returns: np.ndarray) -> np.ndarray:
        """Returns, moved so that their bounds become 0 and 1.

        Example:
            >>> environment_named("acrobot").scaled(np.array([-500.0, -100.0, 0.0])).tolist()
            [0.0, 0.8, 1.0]
        """
        low, high = self.returns
        return np.clip((returns - low) / (high - low), 0, 1)


def _move_cart(state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A pole of 0.1 kg and 1 m on a cart of 1 kg that is pushed by 10 N, in Euler steps of 0.02 s."""
    _, speed, angle, turning = state
    total, pole, half, tick = 1.1, 0.1, 0.5, 0.02
    cosine, sine = angle.cos(), angle.sin()
    push = (20 * action.double() - 10 + pole * half * turning.square() * sine) / total
    bend = (9.8 * sine - cosine * push) / (half * (4 / 3 - pole / total * cosine.square()))
    pull = push - pole * half / total * bend * cosine
    after = torch.stack([speed, pull, turning, bend]).mul_(tick).add_(state)
    ended = (after[0].abs() > 2.4) | (after[2].abs() > math.radians(12))
    return after, torch.ones_like(speed), ended


def _move_pendulum(state: Tensor, torque: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A rod of 1 kg and 1 m under 10 m/s^2, zero where it stands, in half-implicit steps of 0.05 s."""
    angle, speed = state
    torque = torque.clamp(-2, 2)
    off = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
    cost = off.square() + 0.1 * speed.square() + 0.001 * torque.square()
    faster = (speed + 0.05 * (15 * angle.sin() + 3 * torque)).clamp(-8, 8)
    return torch.stack([angle + 0.05 * faster, faster]), -cost, torch.zeros_like(angle, dtype=torch.bool)


def _move_acrobot(state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Two links that hang, with a torque of -1, 0 or 1 at the joint between, by one Runge-Kutta step of 0.2 s."""
    tick, torque = 0.2, action.double() - 1
    first = _swing(state, torque)
    second = _swing(state + tick / 2 * first, torque)
    third = _swing(state + tick / 2 * second, torque)
    fourth = _swing(state + tick * third, torque)
    after = state + tick / 6 * (first + 2 * (second + third) + fourth)
    angles = torch.remainder(after[:2] + math.pi, 2 * math.pi) - math.pi
    after = torch.cat([angles, after[2:3].clamp(-4 * math.pi, 4 * math.pi), after[3:].clamp(-9 * math.pi, 9 * math.pi)])
    ended = -after[0].cos() - (after[0] + after[1]).cos() > 1
    return after, ended.to(state.dtype) - 1, ended


def _swing(state: Tensor, torque: Tensor) -> Tensor:
    r"""How the acrobot's state changes in time.

    Links of length 1, mass 1, moment of inertia 1 and centre of mass at 1/2. With the mass matrix
    :math:`\begin{pmatrix} a & b \\ b & c \end{pmatrix}`, :math:`a = 7/2 + \cos\theta_2`,
    :math:`b = 5/4 + \cos(\theta_2) / 2`, :math:`c = 5/4`.
    """
    upper, lower, upper_speed, lower_speed = state
    cosine, sine, gravity = lower.cos(), lower.sin(), 9.8
    a, b, c = 3.5 + cosine, 1.25 + 0.5 * cosine, 1.25
    # cos(x - pi / 2) is sin(x).
    weight = 0.5 * gravity * (upper + lower).sin()
    load = 1.5 * gravity * upper.sin() + weight - sine * lower_speed * (0.5 * lower_speed + upper_speed)
    force = torque - 0.5 * sine * upper_speed.square() - weight
    lower_pull = (force + b / a * load) / (c - b.square() / a)
    return torch.stack([upper_speed, lower_speed, -(load + b * lower_pull) / a, lower_pull])


def _move_car(state: Tensor, force: Tensor, goal: float) -> tuple[Tensor, Tensor]:
    """A car in a valley: the next states, and whether it is at its goal without rolling back."""
    place, speed = state
    speed = (speed + force - 0.0025 * (3 * place).cos()).clamp(-0.07, 0.07)
    place = (place + speed).clamp(-1.2, 0.6)
    # The wall on the left takes what speed there is.
    speed = torch.where((place == -1.2) & (speed < 0), torch.zeros_like(speed), speed)
    return torch.stack([place, speed]), (place >= goal) & (speed >= 0)


def _move_car_by_index(state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    after, ended = _move_car(state, 0.001 * (action.double() - 1), 0.5)
    return after, -torch.ones_like(after[0]), ended


def _move_car_by_force(state: Tensor, force: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    after, ended = _move_car(state, 0.0015 * force.clamp(-1, 1), 0.45)
    return after, 100.0 * ended - 0.1 * force.square(), ended


def _as_they_are(state: Tensor) -> Tensor:
    return state.movedim(0, -1)


def _see_pendulum(state: Tensor) -> Tensor:
    angle, speed = state
    return torch.stack([angle.cos(), angle.sin(), speed], -1)


def _see_acrobot(state: Tensor) -> Tensor:
    cosines, sines = state[:2].cos(), state[:2].sin()
    return torch.stack([cosines[0], sines[0], cosines[1], sines[1], *state[2:]], -1)


ENVIRONMENTS = {
    made.name: made
    for made in (
        Environment(
            name="cartpole",
            identity="CartPole-v1",
            observations=("cart position", "cart velocity", "pole angle", "pole angular velocity"),
            actions=("push the cart to the left", "push the cart to the right"),
            starts=((-0.05,) * 4, (0.05,) * 4),
            length=500,
            returns=(0.0, 500.0),
            move=_move_cart,
            observe=_as_they_are,
        ),
        Environment(
            name="pendulum",
            identity="Pendulum-v1",
            observations=("cosine of the angle", "sine of the angle", "angular velocity"),
            actions=("torque",),
            starts=((-math.pi, -1.0), (math.pi, 1.0)),
            length=200,
            returns=(-200 * (math.pi**2 + 0.1 * 8**2 + 0.001 * 2**2), 0.0),
            move=_move_pendulum,
            observe=_see_pendulum,
            limit=2.0,
        ),
        Environment(
            name="acrobot",
            identity="Acrobot-v1",
            observations=(
                "cosine of the upper angle",
                "sine of the upper angle",
                "cosine of the lower angle",
                "sine of the lower angle",
                "upper angular velocity",
                "lower angular velocity",
            ),
            actions=("torque -1", "no torque", "torque 1"),
            starts=((-0.1,) * 4, (0.1,) * 4),
            length=500,
            returns=(-500.0, 0.0),
            move=_move_acrobot,
            observe=_see_acrobot,
        ),
        Environment(
            name="mountaincar",
            identity="MountainCar-v0",
            observations=("position", "velocity"),
            actions=("accelerate to the left", "let roll", "accelerate to the right"),
            starts=((-0.6, 0.0), (-0.4, 0.0)),
            length=200,
            returns=(-200.0, 0.0),
            move=_move_car_by_index,
            observe=_as_they_are,
        ),
        Environment(
            name="mountaincar-continuous",
            identity="MountainCarContinuous-v0",
            observations=("position", "velocity"),
            actions=("force",),
            starts=((-0.6, 0.0), (-0.4, 0.0)),
            length=999,
            returns=(-0.1 * 999, 100.0),
            move=_move_car_by_force,
            observe=_as_they_are,
            limit=1.0,
        ),
    )
}
"""All problems, by name."""


def environment_named(name: str) -> Environment:
    """The problem of a name.

    Raises:
        UnknownNameError: there is none.
    """
    if name not in ENVIRONMENTS:
        raise unknown("environment", name, ENVIRONMENTS)
    return ENVIRONMENTS[name]
