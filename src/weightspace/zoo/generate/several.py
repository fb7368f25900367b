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
from weightspace.zoo.generate.plan import Columns, Networks, Plan, Progress, Recipe, fill
from weightspace.zoo.store import ZooWriter

__all__ = ["fill_all", "interleaved", "share"]


def share(count: int, kinds: int, place: int) -> int:
    """How many of `count` networks are of one kind, where number `n` is of kind ``n % kinds``.

    Raises:
        DataError: fewer networks than kinds.

    Example:
        >>> [share(5, 3, place) for place in range(3)]
        [2, 2, 1]
    """
    if count < kinds:
        raise DataError(f"count is {count}; expected at least {kinds} networks, one of each of {kinds} architectures.")
    return len(range(place, count, kinds))


def interleaved(recipe: Recipe, kinds: int, place: int, count: int) -> Recipe:
    """A recipe whose networks `0, 1, 2, ...` are the numbers `place, place + kinds, ...` of a whole collection.

    All that is drawn for a network, and its split, then hangs on that number, which it has alone.

    Args:
        recipe: makes networks by their numbers in the collection.
        kinds: zoos of the collection.
        place: of this one among them.
        count: networks of all of them.
    """
    plan = Plan(share(count, kinds, place), recipe.plan.shard, recipe.plan.rows)

    def manifest() -> Manifest:
        found = recipe.manifest()
        # Without these a zoo of the same settings but other numbers would have the same identity.
        settings = dict(found.settings) | {"first_number": place, "number_step": kinds}
        return replace(found, settings=settings, count=plan.count * plan.rows)

    def make(numbers: Tensor, progress: Progress | None) -> tuple[Networks, Columns]:
        return recipe.make(numbers * kinds + place, progress)

    return replace(recipe, manifest=manifest, make=make, plan=plan)


def fill_all(
    path: str | Path,
    recipe: str,
    settings: Mapping[str, Any],
    recipes: Mapping[str, Recipe],
    progress: Callable[[int], None] | None = None,
) -> list[Zoo]:
    """Makes the zoos of a collection one after the other; a second call goes on where the first stopped.

    Args:
        path: the collection's folder.
        recipe: the name of what makes all of them.
        settings: of that.
        recipes: of each zoo, by the name of its folder.
        progress: called with the number of networks that are newly there, those found on disk included.

    Raises:
        StorageError: the folder cannot be written.
        FormatError: another collection in the folder, or something that is none.
    """
    manifests = {name: one.manifest() for name, one in recipes.items()}
    begin_collection(path, recipe, settings, manifests)
    # All of them exist from the start: a collection that is still being made opens with what it has.
    for name, manifest in manifests.items():
        ZooWriter(Path(path) / name, manifest)
    for name, one in recipes.items():
        fill(Path(path) / name, replace(one, manifest=partial(manifests.__getitem__, name)), progress)
    return open_zoos(path)
