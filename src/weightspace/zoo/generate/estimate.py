"""What a zoo will take, told from a short measurement: time, memory and disk. Nothing is written."""

import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count

import pyarrow as pa
import torch

from weightspace.weights import features_of, flatten
from weightspace.zoo.format import encode_table
from weightspace.zoo.generate.cnn import CnnSettings
from weightspace.zoo.generate.ensemble import vectorised_attention
from weightspace.zoo.generate.fit import Task
from weightspace.zoo.generate.plan import Columns, Networks, Recipe
from weightspace.zoo.generate.recipe import cnn_recipe, siren_recipe
from weightspace.zoo.generate.siren import SirenSettings
from weightspace.zoo.sources import Images

__all__ = ["Estimate", "cnn_estimate", "estimate", "siren_estimate", "task_estimate"]

# By which the number of steps grows from one try to the next, and seconds: of a try that tells enough, of all tries
# together, and of the one step that a group may take, judged by a single network's.
_GROWTH, _ENOUGH, _LIMIT, _GROUP = 3, 0.7, 8.0, 1.0
# A curve's point, as Parquet stores it.
_POINT = 4

OfSteps = Callable[[int], Recipe]
"""The recipe of a zoo whose networks all take this many steps."""


@dataclass(frozen=True)
class Estimate:
    """What a zoo takes.

    Args:
        networks: planned.
        steps: of a network, on average.
        seconds: for all of it, on this machine as busy as it is now.
        memory: bytes that the process holds at most.
        disk: bytes of the zoo's folder.
        measured: seconds that finding out took.
    """

    networks: int
    steps: float
    seconds: float
    memory: int
    disk: int
    measured: float


def estimate(recipe: Recipe, of_steps: OfSteps) -> Estimate:
    r"""What a recipe takes, from a few steps of a few networks; in ten seconds at most, where one network allows it.

    With :math:`a + b s` the time that a group of networks takes for :math:`s` steps each, :math:`a` and :math:`b`
    follow from the first and the last of a series of tries, each of three times as many steps as the one before.

    Args:
        recipe: of the zoo.
        of_steps: the same with another number of steps.
    """
    begin = time.perf_counter()
    manifest, plan = recipe.manifest(), recipe.plan
    alone, _ = _tried(of_steps(1), 1)
    threads = torch.get_num_threads()
    group = min(plan.count, plan.shard, recipe.chunk * threads, max(threads, int(_GROUP / alone)))
    tries = []
    for steps in _steps(recipe.steps):
        seconds, (state, columns) = _tried(of_steps(steps), group)
        tries.append((steps, seconds))
        last = time.perf_counter() - begin + _GROWTH * seconds > _LIMIT
        if len(tries) > 1 and (seconds > _ENOUGH or last):
            break
    fixed, each = _line(tries)
    features, table = features_of(manifest.spec, state), pa.table(columns)
    rows, size = plan.count * plan.rows, flatten(features).shape[1] * 4
    described = len(encode_table(table, b"", manifest)) / len(features)
    disk = rows * (size + described) + plan.count * recipe.points * _POINT + len(manifest.to_json())
    return Estimate(
        networks=plan.count,
        steps=recipe.steps,
        seconds=(fixed + each * recipe.steps) * plan.count / group,
        # A shard is held as rows, as a state dict and as the bytes of its file.
        memory=_peak() + 3 * min(rows, plan.shard * plan.rows) * size,
        disk=round(disk),
        measured=time.perf_counter() - begin,
    )


def siren_estimate(images: Images, settings: SirenSettings, *, count: int) -> Estimate:
    """What :func:`make_siren_zoo` will take.

    Example:
        >>> from weightspace.zoo import load_images
        >>> told = siren_estimate(load_images("digits"), SirenSettings((8,), steps=20), count=100)
        >>> told.networks, told.seconds > 0, told.disk > 100 * 33 * 4
        (100, True, True)
    """

    def of_steps(steps: int) -> Recipe:
        return siren_recipe(images, replace(settings, steps=steps), count=count)

    return estimate(siren_recipe(images, settings, count=count), of_steps)


def cnn_estimate(images: Images, settings: CnnSettings, *, count: int) -> Estimate:
    """What :func:`make_cnn_zoo` will take."""

    def of_steps(steps: int) -> Recipe:
        return cnn_recipe(images, replace(settings, steps=(steps, steps)), count=count)

    return estimate(cnn_recipe(images, settings, count=count), of_steps)


def task_estimate(task: Task) -> Estimate:
    """What a zoo of :func:`weightspace.zoo.fit` or of classifiers will take.

    Raises:
        TrainingError: networks that cannot be trained side by side.
    """
    with vectorised_attention():
        task.try_out()
        return estimate(task.recipe(), lambda steps: replace(task, steps=steps).recipe())


def _steps(most: float) -> Iterator[int]:
    """Numbers of steps to try: not more than a network takes, but for two to draw a line through."""
    for power in count():
        steps = _GROWTH**power
        yield steps
        if power and steps * _GROWTH > most:
            return


def _tried(recipe: Recipe, networks: int) -> tuple[float, tuple[Networks, Columns]]:
    """Seconds that some networks take, and the networks."""
    start = time.perf_counter()
    made = recipe.make(torch.arange(networks), None)
    return time.perf_counter() - start, made


def _line(tries: list[tuple[int, float]]) -> tuple[float, float]:
    """Constant and slope through the first and the last try; noise may not make either negative."""
    (few, short), (many, long) = tries[0], tries[-1]
    each = max(0.0, (long - short) / (many - few))
    return max(0.0, long - each * many), each


def _peak() -> int:
    """Bytes that the process has held at most."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else held * 1024
