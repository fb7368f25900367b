"""Zoos made shard by shard: which numbers are still to be made, and what every row of a trained network holds."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from weightspace.errors import DataError
from weightspace.weights import features_of
from weightspace.zoo.dataset import Zoo, open_zoo
from weightspace.zoo.format import Manifest
from weightspace.zoo.generate.engine import Engine, Make, Progress, engine_of, made_by
from weightspace.zoo.precision import precision_of
from weightspace.zoo.store import ZooWriter

__all__ = ["Columns", "Networks", "Plan", "Progress", "Recipe", "check_seed", "checkpoint_columns", "fill", "stored"]

Networks = Mapping[str, Tensor]
"""A stacked state dict."""

Columns = Mapping[str, Any]
"""Columns of a table, by name."""


@dataclass(frozen=True)
class Plan:
    """How many networks there are to be, how many in a shard, and how many rows each has."""

    count: int
    shard: int
    rows: int = 1


@dataclass(frozen=True, eq=False)
class Recipe:
    """How a zoo is made.

    Args:
        manifest: says what the networks are; called once.
        make: networks and their rows, given their numbers, and what to tell of each that is finished. Picklable, so
            that other processes can be given it.
        plan: of the shards.
        steps: that a network takes on average.
        chunk: networks that one thread trains side by side.
        points: of loss curves, in all rows of a network on average.
    """

    manifest: Callable[[], Manifest]
    make: Make[tuple[Networks, Columns]]
    plan: Plan
    steps: float
    chunk: int
    points: float = 0.0


def fill(path: str | Path, recipe: Recipe, progress: Progress | None = None, engine: str | Engine = "local") -> Zoo:
    """Makes the shards that are not there yet, by the numbers of their networks.

    Args:
        path: the zoo's folder.
        recipe: of the zoo.
        progress: called with the number of networks that are newly there, those found on disk included.
        engine: where shards are made, a name or an :class:`Engine`. A zoo may be gone on with by another.

    Raises:
        StorageError: the folder cannot be written.
        FormatError: a zoo with other settings in the folder, or something that is no zoo; a weight that the zoo's type
            cannot hold.
    """
    chosen, manifest, plan = engine_of(engine), recipe.manifest(), recipe.plan
    writer, missing = ZooWriter(path, manifest), {}
    for shard, first in enumerate(range(0, plan.count, plan.shard)):
        numbers = torch.arange(first, min(first + plan.shard, plan.count))
        if writer.rows.get(shard, 0) < len(numbers) * plan.rows:
            missing[shard] = numbers
        elif progress is not None:
            progress(len(numbers))
    with closing(made_by(chosen, recipe.make, missing, progress)) as made:
        for shard, (state, columns) in made:
            writer.write(shard, features_of(manifest.spec, state), pa.table(columns))
    return open_zoo(path)


def stored(recipe: Recipe, dtype: str) -> Recipe:
    """The recipe of the same networks, kept in a zoo that stores their weights in another type.

    They are trained in float32, which the other columns tell of, and rounded to the nearest number when a shard is
    written. A zoo is gone on with in the type that it has.

    Args:
        recipe: of a zoo of float32.
        dtype: float32 (fp32), bfloat16 (bf16) or float16 (fp16).

    Raises:
        UnknownNameError: another type.
    """
    return replace(recipe, manifest=partial(_stored_manifest, recipe.manifest, precision_of(dtype).name))


def _stored_manifest(manifest: Callable[[], Manifest], dtype: str) -> Manifest:
    return replace(manifest(), dtype=dtype)


def check_seed(seed: int) -> None:
    """Refuses a negative seed.

    Raises:
        DataError: with the seed.
    """
    if seed < 0:
        raise DataError(f"seed is {seed}; expected 0 or more.")


def checkpoint_columns(
    numbers: Tensor, steps: Tensor, diverged: Tensor, given: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What each row is, and what its network was given: a row per network and checkpoint.

    Shapes:
        numbers: ``(network,)``; steps, diverged: ``(network, checkpoint)``; given: one mapping per network.

    Example:
        >>> steps, diverged = torch.tensor([[5, 9]]), torch.tensor([[False, False]])
        >>> columns = checkpoint_columns(torch.tensor([7]), steps, diverged, [{"learning_rate": 0.1}])
        >>> columns["number"].tolist(), columns["final"].tolist(), columns["learning_rate"]
        ([14, 15], [False, True], [0.1, 0.1])
    """
    rows = steps.shape[1]
    network, checkpoint = np.repeat(numbers.numpy(), rows), np.tile(np.arange(rows), len(numbers))
    columns: dict[str, Any] = {
        "number": network * rows + checkpoint,
        "network": network,
        "checkpoint": checkpoint,
        "step": steps.flatten().numpy(),
        "final": checkpoint == rows - 1,
        "diverged": diverged.flatten().numpy(),
    }
    return columns | {name: [one[name] for one in given for _ in range(rows)] for name in given[0]}
