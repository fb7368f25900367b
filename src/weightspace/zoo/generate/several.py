"""Zoos of several architectures made together: every network has a number of its own among all of them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from weightspace.errors import DataError
from weightspace.zoo.collection import begin_collection, open_zoos
from weightspace.zoo.dataset import Zoo
from weightspace.zoo.format import Manifest
from weightspace.zoo.generate.engine import Engine, Make
from weightspace.zoo.generate.plan import Columns, Networks, Plan, Progress, Recipe, fill, stored
from weightspace.zoo.precision import precision_of
from weightspace.zoo.store import ZooWriter

__all__ = ["dealt_numbers", "fill_all", "interleaved"]


def dealt_numbers(count: int, kinds: int, place: int) -> range:
    """Which of `count` networks are of one kind, where number `n` is of kind ``n % kinds``.

    Raises:
        DataError: fewer networks than kinds.

    Example:
        >>> [list(dealt_numbers(5, 3, place)) for place in range(3)]
        [[0, 3], [1, 4], [2]]
    """
    if count < kinds:
        raise DataError(f"count is {count}; expected at least {kinds} networks, one of each of {kinds} architectures.")
    return range(place, count, kinds)


def interleaved(recipe: Recipe, kinds: int, place: int, count: int) -> Recipe:
    """A recipe whose networks `0, 1, 2, ...` are the numbers `place, place + kinds, ...` of a whole collection.

    All that is drawn for a network, and its split, then hangs on that number, which it has alone.

    Args:
        recipe: makes networks by their numbers in the collection.
        kinds: zoos of the collection.
        place: of this one among them.
        count: networks of all of them.
    """
    plan = Plan(len(dealt_numbers(count, kinds, place)), recipe.plan.shard, recipe.plan.rows)

    def manifest() -> Manifest:
        found = recipe.manifest()
        # Without these a zoo of the same settings but other numbers would have the same identity.
        settings = dict(found.settings) | {"first_number": place, "number_step": kinds}
        return replace(found, settings=settings, count=plan.count * plan.rows)

    return replace(recipe, manifest=manifest, make=partial(_renumbered, recipe.make, kinds, place), plan=plan)


def _renumbered(
    make: Make[tuple[Networks, Columns]], kinds: int, place: int, numbers: Tensor, progress: Progress | None
) -> tuple[Networks, Columns]:
    return make(numbers * kinds + place, progress)


def fill_all(
    path: str | Path,
    recipe: str,
    settings: Mapping[str, Any],
    recipes: Mapping[str, Recipe],
    progress: Callable[[int], None] | None = None,
    engine: str | Engine = "local",
    dtype: str = "float32",
) -> list[Zoo]:
    """Makes the zoos of a collection one after the other; a second call goes on where the first stopped.

    Args:
        path: the collection's folder.
        recipe: the name of what makes all of them.
        settings: of that.
        recipes: of each zoo, by the name of its folder.
        progress: called with the number of networks that are newly there, those found on disk included.
        engine: where shards are made, see :func:`fill`.
        dtype: in which weights are stored, see :func:`stored`.

    Raises:
        StorageError: the folder cannot be written.
        FormatError: another collection in the folder, or something that is none.
    """
    recipes = {name: stored(one, dtype) for name, one in recipes.items()}
    manifests = {name: one.manifest() for name, one in recipes.items()}
    if (name := precision_of(dtype).name) != "float32":
        settings = {**settings, "dtype": name}
    begin_collection(path, recipe, settings, manifests)
    # All of them exist from the start: a collection that is still being made opens with what it has.
    for name, manifest in manifests.items():
        ZooWriter(Path(path) / name, manifest)
    for name, one in recipes.items():
        fill(Path(path) / name, replace(one, manifest=partial(manifests.__getitem__, name)), progress, engine)
    return open_zoos(path)
