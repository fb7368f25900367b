"""What a zoo will take, told from a short measurement: time, memory and disk. Nothing is written."""

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import TypeVar

import numpy as np
import pyarrow as pa
import torch

from weightspace.weights import features_of, flatten
from weightspace.zoo.format import Manifest, encode_table
from weightspace.zoo.generate.classifier import Regime
from weightspace.zoo.generate.cnn import CnnSettings
from weightspace.zoo.generate.cnn_collection import MIXED, WILD_REGIME, dealt, mixed_recipes, wild_tasks
from weightspace.zoo.generate.ensemble import vectorised_attention
from weightspace.zoo.generate.fit import Task
from weightspace.zoo.generate.hyperparameters import Choice, LogUniform, Uniform, Value
from weightspace.zoo.generate.inr import InrSettings
from weightspace.zoo.generate.plan import Columns, Networks, Recipe, stored
from weightspace.zoo.generate.policy import PolicySettings
from weightspace.zoo.generate.policy_zoo import policy_recipe
from weightspace.zoo.generate.recipe import cnn_recipe, inr_recipe, siren_recipe
from weightspace.zoo.generate.sdf import SdfSettings, sdf_recipe
from weightspace.zoo.generate.siren import SirenSettings
from weightspace.zoo.generate.wild import WildSettings
from weightspace.zoo.precision import precision_of
from weightspace.zoo.sources import Images

__all__ = [
    "Estimate",
    "cnn_estimate",
    "collection_estimate",
    "estimate",
    "inr_estimate",
    "mixed_estimate",
    "policy_estimate",
    "sdf_estimate",
    "siren_estimate",
    "task_estimate",
    "wild_estimate",
]

# By which steps grow from one try to the next, and networks, and seconds: by which the last try must be longer than the
# first (and by that share of it), of all tries together, of a group's shortest try, and below which a try is repeated.
_GROWTH, _WIDER, _LONGER, _LIMIT, _GROUP, _QUICK = 8, 4, 1.0, 8.0, 4.0, 0.5
# A curve's point, as Parquet stores it.
_POINT = 4

Steps = TypeVar("Steps", SirenSettings, InrSettings, SdfSettings)

OfShare = Callable[[float], Recipe]
"""The recipe of a zoo whose networks each take this share of their steps, or as few as they can."""


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


def estimate(recipe: Recipe, of_share: OfShare) -> Estimate:
    r"""What a recipe takes, from a few steps of a few networks; in ten seconds at most, where one network allows it.

    With :math:`a + b s` the time of a group of networks that take :math:`s` steps on average, :math:`a` and :math:`b`
    follow from the first and the last of a series of tries, each of eight times as many steps as the one before. Every
    network takes the same share of its own steps: as in the zoo itself, those with few of them leave the others to go
    on in a smaller group, in which a step costs each of them more.

    Args:
        recipe: of the zoo.
        of_share: the same with fewer steps.
    """
    return collection_estimate([recipe], lambda share: [of_share(share)])


def collection_estimate(recipes: Sequence[Recipe], of_share: Callable[[float], Sequence[Recipe]]) -> Estimate:
    """What the zoos of a collection take together; a group has as many networks of each of them, since each costs more
    or less than the others.

    Args:
        recipes: of the zoos, among which networks are dealt out evenly.
        of_share: the same with fewer steps.
    """
    begin = time.perf_counter()
    manifests = [recipe.manifest() for recipe in recipes]
    described = time.perf_counter() - begin
    steps = _steps(recipes)
    group, first, made = _group(recipes, of_share(0.0))
    tries = [first]
    while _goes_on(tries, steps, time.perf_counter() - begin - described):
        share = min(1.0, _GROWTH * tries[-1][0] / steps)
        tried = of_share(share)
        seconds, made = _tried(tried, group)
        tries.append((_steps(tried), seconds))
    fixed, each = _line(tries)
    count = sum(recipe.plan.count for recipe in recipes)
    sizes = [_size(*one) for one in zip(recipes, manifests, made, strict=True)]
    return Estimate(
        networks=count,
        steps=steps,
        seconds=described + (fixed + each * steps) * count / (group * len(recipes)),
        memory=_peak() + max(memory for memory, _ in sizes),
        disk=round(sum(disk for _, disk in sizes)),
        measured=time.perf_counter() - begin,
    )


def _size(recipe: Recipe, manifest: Manifest, made: tuple[Networks, Columns]) -> tuple[int, float]:
    """Bytes of memory that a shard takes, and of disk that a zoo takes, by a few of its networks with their rows."""
    (state, columns), plan = made, recipe.plan
    features, table = features_of(manifest.spec, state), pa.table(columns)
    rows, numbers = plan.count * plan.rows, flatten(features).shape[1]
    stored = numbers * precision_of(manifest.dtype).torch.itemsize
    row = len(encode_table(table, b"", manifest)) / len(features)
    disk = rows * (stored + row) + plan.count * recipe.points * _POINT + len(manifest.to_json())
    # A shard is held as rows and as a state dict, both in float32, and as the bytes of its file.
    return min(rows, plan.shard * plan.rows) * (2 * 4 * numbers + stored), disk


def siren_estimate(images: Images, settings: SirenSettings, *, count: int, dtype: str = "float32") -> Estimate:
    """What :func:`make_siren_zoo` will take.

    Example:
        >>> from weightspace.zoo import load_images
        >>> told = siren_estimate(load_images("digits"), SirenSettings((8,), steps=20), count=100)
        >>> told.networks, told.seconds > 0, told.disk > 100 * 33 * 4
        (100, True, True)
    """

    def of_share(share: float) -> Recipe:
        return siren_recipe(images, _shortened(settings, share), count=count)

    return estimate(stored(of_share(1.0), dtype), of_share)


def inr_estimate(images: Images, settings: InrSettings, *, count: int, dtype: str = "float32") -> Estimate:
    """What :func:`make_inr_zoo` will take."""

    def of_share(share: float) -> Recipe:
        return inr_recipe(images, _shortened(settings, share), count=count)

    return estimate(stored(of_share(1.0), dtype), of_share)


def sdf_estimate(settings: SdfSettings, *, count: int, dtype: str = "float32") -> Estimate:
    """What :func:`make_sdf_zoo` will take."""
    return estimate(
        stored(sdf_recipe(settings, count=count), dtype),
        lambda share: sdf_recipe(_shortened(settings, share), count=count),
    )


def cnn_estimate(images: Images, settings: CnnSettings, *, count: int, dtype: str = "float32") -> Estimate:
    """What :func:`make_cnn_zoo` will take."""

    def of_share(share: float) -> Recipe:
        return cnn_recipe(images, _shortened_range(settings, share), count=count)

    return estimate(stored(of_share(1.0), dtype), of_share)


def mixed_estimate(
    images: Images, settings: CnnSettings, *, count: int, activations: Sequence[str] = MIXED, dtype: str = "float32"
) -> Estimate:
    """What :func:`make_mixed_zoos` will take."""

    def of_share(share: float) -> list[Recipe]:
        own = _shortened_range(settings, share)
        return list(mixed_recipes(images, own, count=count, activations=activations).values())

    return collection_estimate([stored(one, dtype) for one in of_share(1.0)], of_share)


def wild_estimate(
    images: Images, settings: WildSettings, regime: Regime = WILD_REGIME, *, count: int, dtype: str = "float32"
) -> Estimate:
    """What :func:`make_wild_zoos` will take."""
    tasks = wild_tasks(images, settings, regime, count=count)

    def of_share(share: float) -> list[Recipe]:
        shortened = {name: replace(task, steps=_shortened_value(task.steps, share)) for name, task in tasks.items()}
        return list(dealt(shortened, count).values())

    with vectorised_attention():
        return collection_estimate([stored(one, dtype) for one in of_share(1.0)], of_share)


def policy_estimate(settings: PolicySettings, *, count: int, dtype: str = "float32") -> Estimate:
    """What :func:`make_policy_zoo` will take.

    Episodes grow longer, or shorter, as policies learn, so that updates do not all cost the same.
    """
    kept = len(settings.checkpoints)

    def of_share(share: float) -> Recipe:
        if share >= 1:
            return policy_recipe(settings, count=count)
        updates = max(kept, round(share * settings.iterations))
        # As many of them as the zoo keeps, since each of them is judged.
        marks = tuple((updates - kept + 1 + at) / updates for at in range(kept))
        return policy_recipe(replace(settings, iterations=updates, checkpoints=marks), count=count)

    return estimate(stored(of_share(1.0), dtype), of_share)


def task_estimate(task: Task, *, dtype: str = "float32") -> Estimate:
    """What a zoo of :func:`weightspace.zoo.fit` or of classifiers will take.

    Raises:
        TrainingError: networks that cannot be trained side by side.
    """
    with vectorised_attention():
        task.try_out()
        return estimate(
            stored(task.recipe(), dtype),
            lambda share: replace(task, steps=_shortened_value(task.steps, share)).recipe(),
        )


def _shortened(settings: Steps, share: float) -> Steps:
    return replace(settings, steps=_part(settings.steps, share))


def _shortened_range(settings: CnnSettings, share: float) -> CnnSettings:
    low, high = (_part(end, share) for end in settings.steps)
    return replace(settings, steps=(low, high))


def _shortened_value(steps: Value, share: float) -> Value:
    """A share of what every network takes, whether that is a number, a range or a column."""
    if isinstance(steps, Uniform | LogUniform):
        return type(steps)(max(1.0, share * steps.low), max(1.0, share * steps.high))
    if isinstance(steps, Choice):
        return Choice([_part(float(option), share) for option in steps.options])
    if isinstance(steps, Sequence | np.ndarray):
        return [_part(float(one), share) for one in steps]
    assert isinstance(steps, int | float)
    return _part(steps, share)


def _part(steps: float, share: float) -> int:
    return max(1, round(share * steps))


def _group(
    recipes: Sequence[Recipe], short: Sequence[Recipe]
) -> tuple[int, tuple[float, float], list[tuple[Networks, Columns]]]:
    """How many networks to try together, as many as a zoo has side by side where they are quick; their first try.

    What a network costs falls as more of them share a step, so few of them tell too much: the group grows as long as
    the line through the last two sizes says that the next one is quick.
    """
    threads = torch.get_num_threads()
    most = min(min(one.plan.count, one.plan.shard, one.chunk * threads) for one in recipes)
    # The very first networks pay for what is made once, for whatever number of them.
    _tried(short[:1], 1)
    sizes = [0, min(most, threads)]
    seconds, made = _tried(short, sizes[-1])
    times = [0.0, seconds]
    while (following := min(most, _WIDER * sizes[-1])) > sizes[-1]:
        if times[-1] + (times[-1] - times[-2]) * (following - sizes[-1]) / (sizes[-1] - sizes[-2]) > _GROUP:
            break
        seconds, made = _tried(short, following)
        sizes, times = [*sizes, following], [*times, max(seconds, times[-1])]
    if seconds < _QUICK:
        seconds, made = min(_tried(short, sizes[-1]), (seconds, made), key=lambda tried: tried[0])
    return sizes[-1], (_steps(short), seconds), made


def _goes_on(tries: list[tuple[float, float]], most: float, passed: float) -> bool:
    """Whether to try more steps: never fewer than two numbers of them, nor more than a network takes."""
    (_, short), (steps, long) = tries[0], tries[-1]
    if steps >= most:
        return False
    if len(tries) < 2:
        return True
    fixed, each = _line(tries)
    told = long - short > max(_LONGER, _LONGER * short)
    return not told and passed + fixed + min(most, _GROWTH * steps) * each < _LIMIT


def _tried(recipes: Sequence[Recipe], networks: int) -> tuple[float, list[tuple[Networks, Columns]]]:
    """Seconds that some networks of each recipe take, and the networks."""
    start = time.perf_counter()
    made = [recipe.make(torch.arange(networks), None) for recipe in recipes]
    return time.perf_counter() - start, made


def _steps(recipes: Sequence[Recipe]) -> float:
    """That a network takes on average."""
    return fmean(recipe.steps for recipe in recipes)


def _line(tries: list[tuple[float, float]]) -> tuple[float, float]:
    """Constant and slope through the first and the last try; noise may not make either negative."""
    (few, short), (many, long) = tries[0], tries[-1]
    if many <= few:
        # Networks that take no more steps than the shortest try has.
        return long, 0.0
    each = max(0.0, (long - short) / (many - few))
    return max(0.0, long - each * many), each


def _peak() -> int:
    """Bytes that the process has held at most."""
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held if sys.platform == "darwin" else held * 1024
