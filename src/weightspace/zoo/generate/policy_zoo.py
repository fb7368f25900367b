"""The recipe of a zoo of policies: runs trained and judged, made and committed shard by shard."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from weightspace.errors import DataError
from weightspace.zoo.dataset import Zoo
from weightspace.zoo.format import Manifest
from weightspace.zoo.generate.control import environment_named
from weightspace.zoo.generate.engine import Engine
from weightspace.zoo.generate.plan import Columns, Networks, Plan, Progress, Recipe, fill, stored
from weightspace.zoo.generate.policy import (
    Learnt,
    PolicySettings,
    copies,
    evaluate_policies,
    forward_pass,
    hyper,
    policy_spec,
    state_of,
    train_policies,
)
from weightspace.zoo.split import assign

__all__ = ["POLICY_SHARD", "make_policy_zoo", "policy_recipe"]

POLICY_SHARD = 256
"""Runs per shard: what an interrupted call loses at most."""


def make_policy_zoo(
    path: str | Path,
    settings: PolicySettings,
    *,
    count: int,
    progress: Callable[[int], None] | None = None,
    engine: str | Engine = "local",
    dtype: str = "float32",
) -> Zoo:
    """A zoo of policies on disk with what they achieve; a second call goes on where the first one stopped.

    Each run has a row for each of its checkpoints, in their order, and then one for each spoilt copy of the last; the
    column ``final`` marks the last checkpoint, ``parent`` holds the number of the policy that a row's came from, -1 for
    the first of a run. Splits belong to runs (column ``network``). Every row is judged in episodes of its own:
    ``mean_return``, its ``standard_error``, and ``scaled_return``, from 0 to 1, between the environment's bounds.

    A run that diverged keeps its last sound weights in the rows that it did not reach, marked in ``diverged``; a policy
    that did the same in every step of all its episodes is marked in ``constant``. A zoo that is asked for more runs
    later keeps those it has (a last shard that was not full is made again, which may change its policies by rounding,
    and updates magnify that).

    Args:
        path: the zoo's folder.
        settings: how policies are trained and judged.
        count: runs wanted; a zoo that holds more keeps them.
        progress: called with the number of runs that are newly there, those found on disk included.
        engine: "local"; "ray": shards are tasks of Ray; or an :class:`Engine`, which may say where the cluster is.
        dtype: in which weights are stored: float32 (fp32), bfloat16 (bf16) or float16 (fp16); they are trained in
            float32.

    Raises:
        DataError: no runs.
        UnknownNameError: an engine or a type that does not exist.
        StorageError: the folder cannot be written.
        FormatError: a zoo with other settings in the folder, or a weight that the type cannot hold.

    Example:
        >>> import tempfile
        >>> settings = PolicySettings(hidden=(4,), iterations=4, checkpoints=(0.0, 1.0), spoilt=(0.5,), episodes=4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     zoo = make_policy_zoo(folder, settings, count=2)
        ...     zoo.column("network").tolist(), zoo.column("parent").tolist(), zoo.column("stage").tolist()
        ([0, 0, 0, 1, 1, 1], [-1, 0, 1, -1, 3, 4], [0.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    """
    return fill(path, stored(policy_recipe(settings, count=count), dtype), progress, engine)


def policy_recipe(settings: PolicySettings, *, count: int) -> Recipe:
    """How :func:`make_policy_zoo` makes a zoo.

    Raises:
        DataError: no runs.
    """
    if count < 1:
        raise DataError(f"count is {count}; expected at least 1 run.")
    plan = Plan(count, POLICY_SHARD, rows=settings.rows)
    return Recipe(
        partial(_manifest, settings, count), partial(_made, settings), plan, settings.iterations, settings.chunk
    )


def _made(settings: PolicySettings, numbers: Tensor, progress: Progress | None) -> tuple[Networks, Columns]:
    """The policies of some runs with their table."""
    learnt = train_policies(numbers, settings, progress=progress)
    spoilt = [
        copies(last, number, settings) for last, number in zip(learnt.weights[:, -1], numbers.tolist(), strict=True)
    ]
    flat = torch.cat([learnt.weights, torch.stack(spoilt)], 1).flatten(0, 1)
    columns = _lineage(numbers, settings, learnt)
    columns |= _judged(flat, columns["number"], settings)
    for name in asdict(hyper(settings, 0)):
        drawn = [asdict(hyper(settings, number))[name] for number in numbers.tolist()]
        columns[name] = np.repeat(drawn, settings.rows)
    columns["seed"] = np.full(len(flat), settings.seed, np.int64)
    columns["split"] = pa.array(assign(columns["network"], seed=settings.seed).tolist(), pa.string())
    return state_of(flat, settings), columns


def _lineage(numbers: Tensor, settings: PolicySettings, learnt: Learnt) -> dict[str, Any]:
    """Where each row's policy comes from. What a spoilt copy has in common with the last checkpoint, it has from it."""
    rows, last = settings.rows, len(settings.checkpoints) - 1
    network, place = np.repeat(numbers.numpy(), rows), np.tile(np.arange(rows), len(numbers))
    reached = np.minimum(place, last)
    at = (np.repeat(np.arange(len(numbers)), rows), reached)
    parent = np.where(place > last, last, place - 1)
    return {
        "number": network * rows + place,
        "network": network,
        "checkpoint": place,
        "parent": np.where(parent < 0, -1, network * rows + parent),
        "stage": np.array(settings.checkpoints)[reached],
        "spoilt": np.array([*[0.0] * (last + 1), *settings.spoilt])[place],
        "iteration": learnt.iterations.numpy()[at],
        "final": place == last,
        "diverged": learnt.diverged.numpy()[at],
    }


def _judged(flat: Tensor, numbers: np.ndarray, settings: PolicySettings) -> dict[str, Any]:
    """What each policy achieves."""
    returns, lengths, constant = evaluate_policies(flat, torch.from_numpy(numbers), settings)
    mean = returns.mean(1).numpy()
    return {
        "mean_return": mean,
        "standard_error": returns.std(1).numpy() / np.sqrt(settings.episodes),
        "scaled_return": environment_named(settings.environment).scaled(mean),
        "mean_length": lengths.double().mean(1).numpy(),
        "episodes": np.full(len(mean), settings.episodes, np.int64),
        "constant": constant.numpy(),
    }


def _manifest(settings: PolicySettings, count: int) -> Manifest:
    # How many runs share a thread is a matter of speed: it does not tell zoos apart.
    kept = {key: value for key, value in asdict(settings).items() if key != "chunk"}
    return Manifest(
        spec=policy_spec(settings),
        recipe="policy",
        settings=kept,
        forward=forward_pass(settings),
        source={"name": environment_named(settings.environment).identity},
        count=count * settings.rows,
    )
