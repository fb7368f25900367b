"""What a zoo will take, told from a short measurement: time, memory and disk. Nothing is written."""

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import pyarrow as pa
import torch

from weightspace.weights import features_of, flatten
from weightspace.zoo.format import encode_table
from weightspace.zoo.generate.cnn import CnnSettings
from weightspace.zoo.generate.ensemble import vectorised_attention
from weightspace.zoo.generate.fit import Task
from weightspace.zoo.generate.inr import InrSettings
from weightspace.zoo.generate.plan import Columns, Networks, Recipe
from weightspace.zoo.generate.recipe import cnn_recipe, inr_recipe, siren_recipe
from weightspace.zoo.generate.sdf import SdfSettings, sdf_recipe
from weightspace.zoo.generate.siren import SirenSettings
from weightspace.zoo.sources import Images

__all__ = ["Estimate", "cnn_estimate", "estimate", "inr_estimate", "sdf_estimate", "siren_estimate", "task_estimate"]

# By which the number of steps grows from one try to the next, and seconds: by which the last try must be longer than
# the first (and by that share of it), of all tries together, and of a group's first step, judged by a single network's.
_GROWTH, _LONGER, _LIMIT, _GROUP = 8, 0.5, 8.0, 1.0
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
    follow from the first and the last of a series of tries, each of eight times as many steps as the one before.

    Args:
        recipe: of the zoo.
        of_steps: the same with another number of steps.
    """
    begin = time.perf_counter()
    manifest, plan = recipe.manifest(), recipe.plan
    described = time.perf_counter() - begin
    alone, _ = _tried(of_steps(1), 1)
    threads = torch.get_num_threads()
    group = min(plan.count, plan.shard, recipe.chunk * threads, max(threads, int(_GROUP / alone)))
    tries: list[tuple[int, float]] = []
    while _goes_on(tries, recipe.steps, time.perf_counter() - begin):
        steps = max(2, min(_GROWTH * tries[-1][0], round(recipe.steps))) if tries else 1
        seconds, (state, columns) = _tried(of_steps(steps), group)
        tries.append((steps, seconds))
    fixed, each = _line(tries)
    features, table = features_of(manifest.spec, state), pa.table(columns)
    rows, size = plan.count * plan.rows, flatten(features).shape[1] * 4
    row = len(encode_table(table, b"", manifest)) / len(features)
    disk = rows * (size + row) + plan.count * recipe.points * _POINT + len(manifest.to_json())
    return Estimate(
        networks=plan.count,
        steps=recipe.steps,
        seconds=described + (fixed + each * recipe.steps) * plan.count / group,
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


def inr_estimate(images: Images, settings: InrSettings, *, count: int) -> Estimate:
    """What :func:`make_inr_zoo` will take."""

    def of_steps(steps: int) -> Recipe:
        return inr_recipe(images, replace(settings, steps=steps), count=count)

    return estimate(inr_recipe(images, settings, count=count), of_steps)


def sdf_estimate(settings: SdfSettings, *, count: int) -> Estimate:
    """What :func:`make_sdf_zoo` will take."""
    return estimate(
        sdf_recipe(settings, count=count), lambda steps: sdf_recipe(replace(settings, steps=steps), count=count)
    )


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


def _goes_on(tries: list[tuple[int, float]], most: float, passed: float) -> bool:
    """Whether to try more steps: never fewer than two numbers of them, nor more than a network takes."""
    if len(tries) < 2:
        return True
    (_, short), (steps, long) = tries[0], tries[-1]
    fixed, each = _line(tries)
    told = long - short > max(_LONGER, _LONGER * short)
    return not told and steps < round(most) and passed + fixed + _GROWTH * steps * each < _LIMIT


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
