"""Episodes of policies: many side by side, and a plain loop over the environments of Gymnasium.

For each problem, the same trained and untrained policies play the same episodes both ways, in turns; figures are steps
of the environment per second of processor time, the median of the turns. The loop asks each policy by matrix products
of NumPy; `bare` is the loop with actions chosen beforehand and no policy asked. `difference` is that of the mean
returns, as a share of the distance between the bounds: rounding decides between equal actions now and then. The loop
plays fewer of the policies, since it is slow. `search` is a whole run of training, for each second of which so many
steps are played. Without Gymnasium (`pip install gymnasium`) there is no loop. Prints one JSON object.

    python benchmarks/speed/policy.py [--environments cartpole pendulum acrobot] [--policies 64] [--looped 2]
        [--episodes 32] [--runs 64] [--turns 3]
"""

import json
import time

import numpy as np
import torch
from machine import in_turns, parser, prepare

from weightspace.zoo.generate import ENVIRONMENTS, Environment, PolicySettings, train_policies
from weightspace.zoo.generate.episode import Crowd, simulate
from weightspace.zoo.generate.policy import shapes_of, state_of

try:
    import gymnasium
except ImportError:
    gymnasium = None


def rate(play, *arguments) -> float:
    """Steps per second of processor time."""
    start = time.process_time()
    steps = play(*arguments)
    return steps / (time.process_time() - start)


class Games:
    """Policies of all stages and starts of their episodes, played by either way."""

    def __init__(self, environment: Environment, settings: PolicySettings, arguments) -> None:
        self.environment, self.settings = environment, settings
        learnt = train_policies(torch.arange(-(-arguments.policies // 2)), settings)
        self.flat = learnt.weights.flatten(0, 1)[: arguments.policies]
        self.looped = arguments.looped
        chance = np.random.default_rng(0)
        self.starts = torch.stack([environment.start(chance, arguments.episodes) for _ in self.flat], 1)
        self.batched: np.ndarray | None = None
        self.alone: np.ndarray | None = None
        if gymnasium is not None:
            self.game = gymnasium.make(environment.identity).unwrapped
            self.game.reset(seed=0)

    def side_by_side(self) -> int:
        outcome = simulate(self.environment, Crowd(self.flat, shapes_of(self.settings), "tanh"), self.starts)
        self.batched = outcome.returns.numpy()
        return int(outcome.lengths.sum())

    def loop(self, *, bare: bool = False) -> int:
        count = 0
        returns = np.zeros((self.looped, self.starts.shape[2]))
        for row in range(self.looped):
            parts = [value[0].numpy() for value in state_of(self.flat[row : row + 1], self.settings).values()]
            for episode in range(returns.shape[1]):
                steps, returns[row, episode] = self.one(parts, self.starts[:, row, episode].numpy(), bare=bare)
                count += steps
        if not bare:
            self.alone = returns
        return count

    def one(self, parts: list[np.ndarray], start: np.ndarray, *, bare: bool) -> tuple[int, float]:
        game, limit = self.game, self.environment.limit
        game.reset()
        game.state = start.copy()
        seen = self.environment.observe(torch.from_numpy(start)).numpy().astype(np.float32)
        fixed = 0 if limit is None else np.zeros(1, np.float32)
        total, step = 0.0, 0
        while step < self.environment.length:
            action = fixed if bare else chosen(parts, seen, limit)
            seen, reward, ended, _, _ = game.step(action)
            total, step = total + float(reward), step + 1
            if ended:
                break
        return step, total


def chosen(parts: list[np.ndarray], seen: np.ndarray, limit: float | None):
    values = seen
    for weight, bias in zip(parts[:-2:2], parts[1:-2:2], strict=True):
        values = np.tanh(weight @ values + bias)
    outputs = parts[-2] @ values + parts[-1]
    return int(outputs.argmax()) if limit is None else np.clip(outputs, -1, 1) * np.float32(limit)


def compare(name: str, arguments) -> dict[str, object]:
    environment = ENVIRONMENTS[name]
    settings = PolicySettings(environment=name, iterations=5, checkpoints=(0.0, 1.0))
    games = Games(environment, settings, arguments)
    ways = {"side by side": lambda: rate(games.side_by_side), "search": lambda: searched(settings, arguments.runs)}
    if gymnasium is not None:
        ways |= {"loop": lambda: rate(games.loop), "bare": lambda: rate(lambda: games.loop(bare=True))}
    found = in_turns(ways, arguments.turns)
    figures: dict[str, object] = {f"{way}, steps per second": round(speed) for way, speed in found.items()}
    if games.alone is not None:
        low, high = environment.returns
        figures["ratio"] = round(found["side by side"] / found["loop"], 1)
        figures["ratio to bare"] = round(found["side by side"] / found["bare"], 1)
        apart = games.batched[: games.looped].mean() - games.alone.mean()
        figures["difference"] = float(f"{abs(apart) / (high - low):.2g}")
    return figures


def searched(settings: PolicySettings, runs: int) -> float:
    """Steps per second of a whole training."""
    played = 0

    def counted(*arguments):
        nonlocal played
        outcome = simulate(*arguments)
        played += int(outcome.lengths.sum())
        return outcome

    from weightspace.zoo.generate import policy

    kept, policy.simulate = policy.simulate, counted
    start = time.process_time()
    try:
        train_policies(torch.arange(runs), settings)
    finally:
        policy.simulate = kept
    return played / (time.process_time() - start)


if __name__ == "__main__":
    options = parser(__doc__, turns=3)
    options.add_argument("--environments", nargs="+", default=["cartpole", "pendulum", "acrobot"], choices=ENVIRONMENTS)
    options.add_argument("--policies", type=int, default=64)
    options.add_argument("--looped", type=int, default=2)
    options.add_argument("--episodes", type=int, default=32)
    options.add_argument("--runs", type=int, default=64)
    arguments = options.parse_args()
    record = prepare(arguments)
    record["gymnasium"] = None if gymnasium is None else gymnasium.__version__
    record["environments"] = {name: compare(name, arguments) for name in arguments.environments}
    print(json.dumps(record, indent=1))
