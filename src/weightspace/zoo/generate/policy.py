r"""Zoos of small policies for classic control: untrained, half trained, trained and spoilt, with what they achieve.

Policies are perceptrons that learn by random search, many side by side: each run tries small random changes of its
weights in pairs of opposite sign, plays episodes with both, and moves along each change by how much better one was than
the other. Every random draw is keyed by the seed and the run's number, so chunks and threads change none of them.

References:
    Mania, Guy, Recht, *Simple random search of static linear policies is competitive for reinforcement learning*,
    2018: augmented random search, there for linear policies, with all directions kept; its second version normalises
    observations.
"""

import math
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from weightspace.errors import DataError, TrainingError, unknown
from weightspace.spec import NetworkSpec, spec_of
from weightspace.zoo.generate.chunk import Shapes, blocks
from weightspace.zoo.generate.control import Environment, environment_named
from weightspace.zoo.generate.draw import check_range, log_uniform
from weightspace.zoo.generate.episode import ACTIVATIONS, Crowd, simulate
from weightspace.zoo.generate.thread import one_thread_per_operation, side_by_side

__all__ = [
    "Learnt",
    "PolicyHyper",
    "PolicySettings",
    "copies",
    "evaluate_policies",
    "forward_pass",
    "hyper",
    "initial_weights",
    "policy",
    "policy_spec",
    "shapes_of",
    "state_of",
    "train_policies",
]

_MODULES: dict[str, type[nn.Module]] = {"tanh": nn.Tanh, "relu": nn.ReLU}
_PURPOSES = ("hyper-parameters", "weights", "directions", "starts", "evaluation", "copies")
_DIVERGED = 1e6
_LEAST_DEVIATION = 1e-3
_JUDGED = 64


@dataclass(frozen=True)
class PolicySettings:
    """How policies are trained and judged. Ranges are those that each run draws from, uniformly in the logarithm.

    Args:
        environment: cartpole, pendulum, acrobot, mountaincar or mountaincar-continuous.
        hidden: units of each hidden layer.
        activation: tanh or relu, of all policies of the zoo.
        iterations: updates of a run.
        directions: random changes that are tried in an update, each with both signs.
        rollouts: episodes played with each changed policy.
        step_size: how far an update goes.
        noise: standard deviation of the changes that are tried.
        init_scale: standard deviation of the first weights, times the root of a layer's inputs; biases start at zero.
        normalised: share of the runs that learn on normalised observations.
        checkpoints: shares of the iterations after which a policy is kept; the last one is 1.
        spoilt: noise in spoilt copies of a run's last policy, one for each number, as a share of the root mean square
            of each of its tensors.
        episodes: that a policy's return is the mean of.
        seed: key of all draws, from 0 to 2^63 - 1.
        chunk: runs that one thread trains side by side; a matter of speed alone.

    Raises:
        TrainingError: a number out of its range.
        UnknownNameError: an environment or an activation that does not exist.

    Example:
        >>> PolicySettings(environment="acrobot").hidden
        (32, 32)
    """

    environment: str = "cartpole"
    hidden: tuple[int, ...] = (32, 32)
    activation: str = "tanh"
    iterations: int = 20
    directions: int = 8
    rollouts: int = 1
    step_size: tuple[float, float] = (0.003, 0.1)
    noise: tuple[float, float] = (0.03, 0.3)
    init_scale: tuple[float, float] = (0.3, 2.0)
    normalised: float = 0.5
    checkpoints: tuple[float, ...] = (0.0, 0.1, 0.25, 0.5, 1.0)
    spoilt: tuple[float, ...] = (0.3, 1.0)
    episodes: int = 32
    seed: int = 0
    chunk: int = 64

    def __post_init__(self) -> None:
        environment_named(self.environment)
        if self.activation not in ACTIVATIONS:
            raise unknown("activation", self.activation, ACTIVATIONS)
        for name in ("iterations", "directions", "rollouts", "chunk"):
            if getattr(self, name) < 1:
                raise TrainingError(f"{name} is {getattr(self, name)}; expected at least 1.")
        if self.episodes < 2:
            raise TrainingError(f"episodes is {self.episodes}; expected at least 2, for a standard error.")
        if not self.hidden or min(self.hidden) < 1:
            raise TrainingError(
                f"hidden is {self.hidden}; expected one number of units per hidden layer, each above 0."
            )
        for name in ("step_size", "noise", "init_scale"):
            check_range(name, getattr(self, name), 0, 1e3, above=True)
        if not 0 <= self.normalised <= 1:
            raise TrainingError(f"normalised is {self.normalised}; expected a share from 0 to 1.")
        if not all(0 < share < 1e3 for share in self.spoilt):
            raise TrainingError(f"spoilt is {self.spoilt}; expected numbers above 0 and below 1000.")
        if not 0 <= self.seed < 2**63:
            raise TrainingError(f"seed is {self.seed}; expected 0 to 2^63 - 1.")
        self._check_checkpoints()

    def _check_checkpoints(self) -> None:
        shares = self.checkpoints
        ordered = all(a < b for a, b in zip(shares, shares[1:], strict=False))
        if not shares or not shares[0] >= 0 or shares[-1] != 1 or not ordered:
            raise TrainingError(f"checkpoints are {shares}; expected shares from 0 in ascending order, the last one 1.")
        if len(set(self.marks)) < len(shares):
            raise TrainingError(
                f"checkpoints {shares} of {self.iterations} iterations are {self.marks}, two of them the same. "
                f"Remedy: more iterations, or checkpoints that are further apart."
            )

    @property
    def marks(self) -> list[int]:
        """Iterations after which a policy is kept."""
        return [round(share * self.iterations) for share in self.checkpoints]

    @property
    def rows(self) -> int:
        """Policies that a run leaves: its checkpoints and the spoilt copies of the last."""
        return len(self.checkpoints) + len(self.spoilt)


@dataclass(frozen=True)
class PolicyHyper:
    """The hyper-parameters of one run, named as in :class:`PolicySettings`."""

    step_size: float
    noise: float
    init_scale: float
    normalised: bool


@dataclass(frozen=True, eq=False)
class Learnt:
    """Policies at the checkpoints of their runs.

    Shapes:
        weights: ``(run, checkpoint, parameter)``; iterations: ``(run, checkpoint)``, int64; diverged:
        ``(run, checkpoint)``, bool.

    Args:
        weights: of policies that read observations as they are: a normalisation is part of their first layer. The last
            sound ones where a run diverged.
        iterations: that led to these weights.
        diverged: whether the run diverged before the checkpoint: a weight grew beyond a million.
    """

    weights: Tensor
    iterations: Tensor
    diverged: Tensor


def policy(settings: PolicySettings) -> nn.Sequential:
    """The architecture as a torch module, freshly initialised by torch; a template for specs and modules.

    Args:
        settings: ``environment``, ``hidden`` and ``activation`` count.

    Symmetry:
        the units of each hidden layer may be permuted; scaled by positive numbers for relu, by signs for tanh.

    Example:
        >>> policy(PolicySettings(hidden=(8,)))
        Sequential(
          (0): Linear(in_features=4, out_features=8, bias=True)
          (1): Tanh()
          (2): Linear(in_features=8, out_features=2, bias=True)
        )
    """
    seen, done = _ends(settings)
    parts: list[nn.Module] = []
    for below, units in zip((seen, *settings.hidden), settings.hidden, strict=False):
        parts += [nn.Linear(below, units), _MODULES[settings.activation]()]
    return nn.Sequential(*parts, nn.Linear(settings.hidden[-1], done))


def policy_spec(settings: PolicySettings) -> NetworkSpec:
    """The weight space of the policies.

    Example:
        >>> [str(axis.symmetry) for axis in policy_spec(PolicySettings(activation="relu")).free_axes]
        ['POSITIVE', 'POSITIVE']
    """
    return spec_of(policy(settings).eval(), torch.zeros(1, _ends(settings)[0]))


def shapes_of(settings: PolicySettings) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter by its key in the state dict of :func:`policy`, in order.

    Example:
        >>> shapes_of(PolicySettings(hidden=(8,)))
        {'0.weight': (8, 4), '0.bias': (8,), '2.weight': (2, 8), '2.bias': (2,)}
    """
    seen, done = _ends(settings)
    shapes: dict[str, tuple[int, ...]] = {}
    widths = (seen, *settings.hidden, done)
    for layer, (below, units) in enumerate(zip(widths, widths[1:], strict=False)):
        shapes |= {f"{2 * layer}.weight": (units, below), f"{2 * layer}.bias": (units,)}
    return shapes


def state_of(flat: Tensor, settings: PolicySettings) -> dict[str, Tensor]:
    """Flat weights as a stacked state dict of :func:`policy`.

    Shapes:
        flat: ``(n, parameter)``; result: ``(n, *shape)`` per key.

    Example:
        >>> state_of(torch.zeros(3, 1282), PolicySettings())["4.weight"].shape
        torch.Size([3, 2, 32])
    """
    shapes = shapes_of(settings)
    return dict(zip(shapes, blocks(flat, shapes), strict=True))


def forward_pass(settings: PolicySettings) -> dict[str, Any]:
    """Everything beside the weights that turns a policy into its return, as a zoo's manifest records it.

    Example:
        >>> forward_pass(PolicySettings())["action"]
        'the index of the largest output: push the cart to the left, push the cart to the right'
    """
    environment = environment_named(settings.environment)
    what = ", ".join(environment.actions)
    if environment.limit is None:
        action = f"the index of the largest output: {what}"
    else:
        action = f"{what}: the output, cut off at -1 and 1, times {environment.limit:g}"
    return {
        "layers": f"{settings.activation}(W x + b) for each hidden layer, the last one W x + b",
        "observation": list(environment.observations),
        "normalisation": "none: that of a run is folded into the first layer",
        "action": action,
        "steps": environment.length,
        "return_bounds": list(environment.returns),
    }


def hyper(settings: PolicySettings, number: int) -> PolicyHyper:
    """The hyper-parameters of one run.

    Example:
        >>> 0.003 <= hyper(PolicySettings(), 3).step_size <= 0.1
        True
    """
    chance = _stream(settings, number, "hyper-parameters")
    step, noise, scale = (
        log_uniform(chance, ends) for ends in (settings.step_size, settings.noise, settings.init_scale)
    )
    return PolicyHyper(step, noise, scale, bool(chance.random() < settings.normalised))


def initial_weights(settings: PolicySettings, number: int) -> Tensor:
    """First weights of one run, as a flat vector in the order of the state dict.

    Shapes:
        result: ``(parameter,)``, float32.

    Example:
        >>> initial_weights(PolicySettings(), 0).shape
        torch.Size([1282])
    """
    chance, scale = _stream(settings, number, "weights"), hyper(settings, number).init_scale
    parts = [
        chance.normal(0, scale / math.sqrt(shape[1]), shape).ravel() if len(shape) == 2 else np.zeros(shape)
        for shape in shapes_of(settings).values()
    ]
    return torch.from_numpy(np.concatenate(parts)).float()


def train_policies(
    numbers: Tensor, settings: PolicySettings, *, progress: Callable[[int], None] | None = None
) -> Learnt:
    r"""Runs by their own hyper-parameters, kept at their checkpoints.

    With changes :math:`\delta_k` from a standard normal, returns :math:`r_k^\pm` of the weights
    :math:`\theta \pm \nu \delta_k`, averaged over the rollouts, which start alike for both signs, and :math:`\sigma`
    the standard deviation of all :math:`2K` of them, an update is

    .. math:: \theta \leftarrow \theta + \frac{\alpha}{K \sigma} \sum_k (r_k^+ - r_k^-) \delta_k ,

    with the step size :math:`\alpha` and the noise :math:`\nu`; there is none where all returns are equal. A run that
    normalises reads observations less their mean, over their standard deviation, both over all that it has seen
    before the update.

    Uses as many threads as ``torch.get_num_threads()``, each with a chunk of its own; torch is held to one thread per
    operation meanwhile. Chunks change a run by rounding only, which many updates can magnify.

    Shapes:
        numbers: ``(n,)``.

    Args:
        numbers: of the runs, not negative: what all of their draws are keyed by.
        settings: of the training.
        progress: called with the number of runs that have just been finished.

    Raises:
        DataError: no runs, or a negative number.

    Example:
        >>> settings = PolicySettings(hidden=(4,), iterations=2, checkpoints=(0.0, 1.0))
        >>> train_policies(torch.arange(3), settings).weights.shape
        torch.Size([3, 2, 30])
    """
    if not len(numbers) or int(numbers.min()) < 0:
        raise DataError(f"numbers are {numbers.tolist()}; expected at least one run, none negative.")
    learnt = []
    with one_thread_per_operation() as threads:
        parts = [part.tolist() for part in numbers.split(settings.chunk)]
        # Closed at once where the caller's progress raises: no thread goes on with what nobody waits for.
        with closing(side_by_side(partial(_train_part, settings), parts, threads=threads)) as made:
            for part in made:
                learnt.append(part)
                if progress is not None:
                    progress(len(part.weights))
    columns = ([getattr(part, name) for part in learnt] for name in ("weights", "iterations", "diverged"))
    return Learnt(*(torch.cat(column) for column in columns))


def evaluate_policies(weights: Tensor, numbers: Tensor, settings: PolicySettings) -> tuple[Tensor, Tensor, Tensor]:
    """What policies achieve, each in episodes with starts of its own.

    Shapes:
        weights: ``(n, parameter)``, in the order of the state dict; numbers: ``(n,)``; results: ``(n, episode)``,
        float64, ``(n, episode)``, int64, and ``(n,)``, bool.

    Args:
        weights: of the policies.
        numbers: of the policies in their zoo: what the starts are drawn by.
        settings: ``episodes`` says how many; the first ones are the same where there are more.

    Returns:
        The return and the length of each episode, and whether a policy did the same in all steps of all of them.

    Example:
        >>> settings = PolicySettings(hidden=(2,), episodes=3)
        >>> returns, lengths, constant = evaluate_policies(torch.zeros(1, 16), torch.tensor([0]), settings)
        >>> returns.tolist(), constant.tolist()
        ([[10.0, 9.0, 8.0]], [True])
    """
    with one_thread_per_operation() as threads:
        parts = list(zip(weights.detach().split(_JUDGED), numbers.split(_JUDGED), strict=True))
        told = list(side_by_side(partial(_judge_part, settings), parts, threads=threads))
    returns, lengths, constant = (torch.cat(column) for column in zip(*told, strict=True))
    return returns, lengths, constant


def copies(last: Tensor, number: int, settings: PolicySettings) -> Tensor:
    """The spoilt copies of a run's last policy: each tensor with noise, in proportion to its root mean square.

    Shapes:
        last: ``(parameter,)``; result: ``(copy, parameter)``.

    Args:
        last: weights.
        number: of the run.
        settings: ``spoilt`` says how many, and how strong the noise is.

    Example:
        >>> settings = PolicySettings(spoilt=(0.1, 0.5, 1.0))
        >>> copies(initial_weights(settings, 4), 4, settings).shape
        torch.Size([3, 1282])
    """
    chance, shapes = _stream(settings, number, "copies"), shapes_of(settings)
    size = torch.cat([part.square().mean().sqrt().expand(part.numel()) for part in blocks(last[None], shapes)])
    noise = torch.from_numpy(chance.standard_normal((len(settings.spoilt), len(last)), np.float32))
    return last + torch.tensor(settings.spoilt, dtype=last.dtype)[:, None] * size * noise


def _ends(settings: PolicySettings) -> tuple[int, int]:
    """How many numbers a policy reads and gives."""
    environment = environment_named(settings.environment)
    return len(environment.observations), len(environment.actions)


def _stream(settings: PolicySettings, number: int, purpose: str) -> np.random.Generator:
    """The random stream of one run, or of one policy's evaluation."""
    return np.random.Generator(
        np.random.SFC64(np.random.SeedSequence([settings.seed, number, _PURPOSES.index(purpose)]))
    )


class _Search:
    """Runs in training side by side on one thread.

    Shapes:
        weights: ``(run, parameter)``; sums, squares: ``(run, observation)``; seen: ``(run,)``.
    """

    def __init__(self, settings: PolicySettings, numbers: list[int]) -> None:
        self.settings, self.environment = settings, environment_named(settings.environment)
        self.shapes = shapes_of(settings)
        drawn = [hyper(settings, number) for number in numbers]
        self.step_size, self.noise = (
            torch.tensor([getattr(one, name) for one in drawn])[:, None] for name in ("step_size", "noise")
        )
        self.normalised = torch.tensor([one.normalised for one in drawn])
        self.directions, self.starts = (
            [_stream(settings, number, purpose) for number in numbers] for purpose in ("directions", "starts")
        )
        self.weights = torch.stack([initial_weights(settings, number) for number in numbers])
        seen = len(self.environment.observations)
        self.sums, self.squares = (torch.zeros(len(numbers), seen, dtype=torch.float64) for _ in range(2))
        self.seen = torch.zeros(len(numbers), 1, dtype=torch.float64)
        self.kept = self.folded(self.weights)
        self.lost = torch.zeros(len(numbers), dtype=torch.bool)
        self.taken = torch.zeros(len(numbers), dtype=torch.int64)

    def update(self) -> None:
        """One update of every run; a run that diverges by it stays at what it had before."""
        settings, runs = self.settings, len(self.weights)
        size = (settings.directions, self.weights.shape[1])
        changes = torch.stack([torch.from_numpy(one.standard_normal(size, np.float32)) for one in self.directions])
        tried = self.noise[..., None] * changes
        both = torch.stack([self.weights[:, None] + tried, self.weights[:, None] - tried], 1)
        returns = self._play(self.folded(both.flatten(1, 2))).unflatten(0, (runs, 2, -1))
        spread = returns.flatten(1).std(1, correction=0)
        better = (returns[:, 0] - returns[:, 1]) / spread.where(spread > 0, 1.0)[:, None]
        step = torch.einsum("nk,nkp->np", better.float(), changes) / settings.directions
        self.weights = self.weights + self.step_size * step
        found = self.folded(self.weights)
        self.lost |= ~(found.abs() <= _DIVERGED).all(1)
        self.kept = torch.where(self.lost[:, None], self.kept, found)
        self.taken += ~self.lost

    def folded(self, flat: Tensor) -> Tensor:
        """Weights of policies that read observations as they are; `flat` is ``(run, [policy,] parameter)``."""
        seen = self.seen.clamp(min=1)
        mean = self.sums / seen
        deviation = (self.squares / seen - mean.square()).clamp(min=0).sqrt().clamp(min=_LEAST_DEVIATION)
        used = self.normalised[:, None] & (self.seen > 0)
        mean, deviation = mean.where(used, 0.0), deviation.where(used, 1.0)
        return _fold(flat, mean.float(), deviation.float(), self.shapes)

    def _play(self, flat: Tensor) -> Tensor:
        """Mean returns ``(run * policy,)`` of ``(run, policy, parameter)``; what was seen counts for later updates."""
        settings = self.settings
        count = settings.directions * settings.rollouts
        drawn = torch.stack([self.environment.start(one, count) for one in self.starts], 1)
        # Both signs of a change play from the same starts.
        starts = drawn.unflatten(2, (settings.directions, settings.rollouts))[:, :, None]
        starts = starts.expand(-1, -1, 2, -1, -1).flatten(1, 3).contiguous()
        outcome = simulate(self.environment, Crowd(flat.flatten(0, 1), self.shapes, settings.activation), starts)
        runs = len(self.weights)
        self.sums += outcome.sums.unflatten(0, (runs, -1)).sum(1)
        self.squares += outcome.squares.unflatten(0, (runs, -1)).sum(1)
        self.seen += outcome.lengths.view(runs, -1).sum(1, keepdim=True)
        return outcome.returns.mean(1)


def _fold(flat: Tensor, mean: Tensor, deviation: Tensor, shapes: Shapes) -> Tensor:
    """First layers that take ``(x - mean) / deviation`` of what they read; shapes as in :meth:`_Search.folded`."""
    units, seen = next(iter(shapes.values()))
    ends = (units * seen, units * seen + units)
    weight, bias = flat[..., : ends[0]].unflatten(-1, (units, seen)), flat[..., ends[0] : ends[1]]
    within = (1,) * (flat.ndim - 2)
    weight = weight / deviation.view(-1, *within, 1, seen)
    bias = bias - (weight * mean.view(-1, *within, 1, seen)).sum(-1)
    return torch.cat([weight.flatten(-2), bias, flat[..., ends[1] :]], -1)


def _train_part(settings: PolicySettings, stop: Event, numbers: list[int]) -> Learnt:
    """Some runs, kept at their checkpoints; cut short where the caller has given up."""
    search = _Search(settings, numbers)
    kept: list[tuple[Tensor, Tensor, Tensor]] = []
    for iteration in range(settings.iterations + 1):
        if iteration and not stop.is_set():
            search.update()
        if iteration in settings.marks:
            kept.append((search.kept, search.taken.clone(), search.lost.clone()))
    return Learnt(*(torch.stack(column, 1) for column in zip(*kept, strict=True)))


def _judge_part(settings: PolicySettings, stop: Event, part: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    flat, numbers = part
    environment: Environment = environment_named(settings.environment)
    starts = [
        environment.start(_stream(settings, number, "evaluation"), settings.episodes) for number in numbers.tolist()
    ]
    if stop.is_set():
        starts = [start[:, :0] for start in starts]
    outcome = simulate(environment, Crowd(flat, shapes_of(settings), settings.activation), torch.stack(starts, 1))
    return outcome.returns, outcome.lengths, ~outcome.varied
