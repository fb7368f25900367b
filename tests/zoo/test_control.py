"""Steps of the control problems: those of Gymnasium, frozen in a file and by itself where it is installed; limits."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.oracles.control import LENGTHS, LIMITS, STEPS, seen
from tests.zoo.classic_control import FROZEN, record
from torch import Tensor

from weightspace.errors import UnknownNameError
from weightspace.zoo.generate.control import ENVIRONMENTS, Environment, environment_named

Steps = dict[str, Tensor]
NAMES = sorted(ENVIRONMENTS)


def frozen(environment: Environment) -> Steps:
    prefix = f"{environment.identity}/"
    return {key.removeprefix(prefix): value for key, value in load_file(FROZEN).items() if key.startswith(prefix)}


def action_of(environment: Environment, steps: Steps) -> Tensor:
    return steps["action"].long() if environment.limit is None else steps["action"]


def deviation(environment: Environment, steps: Steps) -> float:
    """The largest difference of any state, observation, reward or end, each step taken from the recorded state."""
    after, reward, ended = environment.move(steps["before"].T, action_of(environment, steps))
    found = {"after": after.T, "observation": environment.observe(after), "reward": reward, "ended": ended.double()}
    return max((value - steps[name].double()).abs().max().item() for name, value in found.items())


def drift(environment: Environment, steps: Steps) -> float:
    """The largest difference of any state where each episode runs on by itself from its first state."""
    worst, state, actions = 0.0, torch.zeros(0), action_of(environment, steps)
    for row, episode in enumerate(steps["episode"].tolist()):
        if row == 0 or episode != steps["episode"][row - 1]:
            state = steps["before"][row][:, None]
        state, _, _ = environment.move(state, actions[row : row + 1])
        worst = max(worst, (state[:, 0] - steps["after"][row]).abs().max().item())
    return worst


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_those_of_gymnasium(name: str) -> None:
    environment = ENVIRONMENTS[name]
    steps = frozen(environment)
    assert deviation(environment, steps) < 1e-6
    assert drift(environment, steps) < 1e-6
    if name != "pendulum":
        assert steps["ended"].any()


@pytest.mark.parametrize("name", NAMES)
def test_steps_are_those_of_gymnasium_itself(name: str) -> None:
    gymnasium = pytest.importorskip("gymnasium")
    environment = ENVIRONMENTS[name]
    known = gymnasium.spec(environment.identity)
    assert environment.length == known.max_episode_steps
    made = gymnasium.make(environment.identity)
    assert made.observation_space.shape == (len(environment.observations),)
    if environment.limit is None:
        assert made.action_space.n == len(environment.actions)
    else:
        assert made.action_space.high.tolist() == [environment.limit]
    # Errors of 1e-16 grow in an acrobot that is thrown about: not longer than 40 steps.
    assert drift(environment, record(environment.identity, episodes=30, steps=40, seed=1)) < 1e-6
    steps = record(environment.identity, episodes=40, steps=200, seed=2)
    assert deviation(environment, steps) < 1e-6


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fault", ["nudged", "mirrored", "ended", "paid"])
def test_a_wrong_step_is_caught(name: str, fault: str) -> None:
    environment = ENVIRONMENTS[name]

    def wrong(state: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if fault == "mirrored":
            action = -action if environment.limit else len(environment.actions) - 1 - action
        after, reward, ended = environment.move(state, action)
        if fault == "nudged":
            after = after * (1 + 1e-5)
        return after, reward + 0.01 * (fault == "paid"), ~ended if fault == "ended" else ended

    assert deviation(replace(environment, move=wrong), frozen(environment)) > 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_steps_equal_the_equations_of_motion_solved_one_by_one(name: str) -> None:
    """From many states, in and out of reach, with the oracle's own way of writing the mechanics."""
    environment = ENVIRONMENTS[name]
    chance = np.random.default_rng(0)
    wide = np.array(environment.starts[1]) * 0 + 2.5
    states = torch.from_numpy(chance.uniform(-wide, wide, (200, len(wide)))).T
    if environment.limit is None:
        actions = torch.from_numpy(chance.integers(0, len(environment.actions), 200))
    else:
        actions = torch.from_numpy(chance.uniform(-1.5, 1.5, 200)) * environment.limit
    after, reward, ended = environment.move(states, actions)
    sight = environment.observe(after)
    for row in range(200):
        told = STEPS[name](states[:, row].tolist(), actions[row].item())
        assert after[:, row].tolist() == pytest.approx(told[0], abs=1e-9)
        assert (reward[row].item(), ended[row].item()) == (pytest.approx(told[1], abs=1e-9), told[2])
        assert sight[row].tolist() == pytest.approx(seen(name, told[0]), abs=1e-9)
    assert environment.length == LENGTHS[name]
    assert environment.limit == LIMITS.get(name)


@pytest.mark.parametrize("name", NAMES)
def test_starts_lie_within_bounds_and_are_drawn_one_after_the_other(name: str) -> None:
    environment = ENVIRONMENTS[name]
    many, few = (environment.start(np.random.default_rng(3), count) for count in (500, 7))
    assert torch.equal(many[:, :7], few)
    low, high = (torch.tensor(ends, dtype=torch.float64)[:, None] for ends in environment.starts)
    assert ((many >= low) & (many <= high)).all()
    free = (high > low)[:, 0]
    assert torch.allclose(many.amin(1)[free], low[free, 0], atol=0.05 * (high - low).max().item())
    assert torch.allclose(many.amax(1)[free], high[free, 0], atol=0.05 * (high - low).max().item())


def test_actions_are_the_largest_output_or_a_limited_number() -> None:
    outputs = torch.tensor([[0.1, 0.3], [2.0, -1.0]])
    assert environment_named("cartpole").act(outputs).tolist() == [1, 0]
    numbers = torch.tensor([[-3.0], [0.25], [7.0]])
    assert environment_named("pendulum").act(numbers).tolist() == [-2.0, 0.5, 2.0]


def by_steps(environment: Environment, choose: Callable[[Tensor], Tensor]) -> float:
    """The return of one episode."""
    state, total = environment.start(np.random.default_rng(0), 1), 0.0
    for _ in range(environment.length):
        state, reward, ended = environment.move(state, choose(state))
        total += reward.item()
        if ended.item():
            break
    return total


def test_known_policies_have_known_returns() -> None:
    """A cart that is always pushed one way lets its pole fall; a car that follows its speed comes up."""
    cart, car, force = (environment_named(name) for name in ("cartpole", "mountaincar", "mountaincar-continuous"))
    assert 7 <= by_steps(cart, lambda state: torch.ones(1)) <= 11
    assert by_steps(cart, lambda state: (state[2] + 0.5 * state[3] > 0).long()) == 500
    assert by_steps(car, lambda state: torch.ones(1)) == -200
    assert -200 < by_steps(car, lambda state: 1 + state[1].sign()) < -90
    assert by_steps(force, lambda state: torch.zeros(1)) == 0
    assert by_steps(force, lambda state: state[1].sign()) > 85
    for environment in ENVIRONMENTS.values():
        low, high = environment.returns
        assert environment.scaled(np.array([low - 1, (low + high) / 2, high + 1])) == pytest.approx([0, 0.5, 1])


def test_an_unknown_environment_is_refused() -> None:
    with pytest.raises(UnknownNameError, match='did you mean "cartpole"'):
        environment_named("cartpol")
