"""Steps of Gymnasium's classic control, to compare with: `python tests/zoo/classic_control.py` writes them to a file.

From starts that are spread wide, so that limits and ends are met, with random actions. Needs gymnasium, which the tests
do without: they read the file.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

FROZEN = Path(__file__).parent / "classic_control.safetensors"
# The state at the start: lowest and highest values.
WIDE = {
    "CartPole-v1": ((-2.3, -2, -0.2, -2), (2.3, 2, 0.2, 2)),
    "Pendulum-v1": ((-9, -8), (9, 8)),
    "Acrobot-v1": ((-3.1, -3.1, -12, -28), (3.1, 3.1, 12, 28)),
    "MountainCar-v0": ((-1.2, -0.07), (0.55, 0.07)),
    "MountainCarContinuous-v0": ((-1.2, -0.07), (0.55, 0.07)),
}


def record(identity: str, *, episodes: int, steps: int, seed: int) -> dict[str, Tensor]:
    """Each step's episode, state before and after, action, observation after, reward, and whether it was the last."""
    import gymnasium

    chance, low_high = np.random.default_rng(seed), WIDE[identity]
    game = gymnasium.make(identity).unwrapped
    game.action_space.seed(seed)
    rows: dict[str, list] = {
        name: [] for name in ("episode", "before", "action", "after", "observation", "reward", "ended")
    }
    for episode in range(episodes):
        game.reset(seed=seed)
        game.state = chance.uniform(*low_high)
        ended, step = False, 0
        while step < steps and not ended:
            before, action = np.array(game.state, np.float64), game.action_space.sample()
            if isinstance(action, np.ndarray):
                action = action.astype(np.float64)  # torques in single precision would be multiplied in it
            observation, reward, ended, _, _ = game.step(action)
            number = float(np.asarray(action).ravel()[0])
            after = np.array(game.state, np.float64)
            for name, value in zip(
                rows, (episode, before, number, after, observation, float(reward), ended), strict=True
            ):
                rows[name].append(value)
            step += 1
    return {name: torch.from_numpy(np.array(values)).contiguous() for name, values in rows.items()}


if __name__ == "__main__":
    save_file(
        {
            f"{identity}/{name}": values
            for identity in WIDE
            for name, values in record(identity, episodes=6, steps=10, seed=0).items()
        },
        FROZEN,
    )
