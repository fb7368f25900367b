"""Collections of CNN zoos: networks of two activations, and networks of many architectures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from weightspace.errors import DataError
from weightspace.zoo.dataset import Zoo
from weightspace.zoo.generate.blueprint import Blueprint
from weightspace.zoo.generate.classifier import Regime
from weightspace.zoo.generate.cnn import CnnSettings
from weightspace.zoo.generate.engine import Engine
from weightspace.zoo.generate.ensemble import vectorised_attention
from weightspace.zoo.generate.examples import Examples
from weightspace.zoo.generate.fit import Origin, Task
from weightspace.zoo.generate.hyperparameters import LogUniform
from weightspace.zoo.generate.pixels import held_out, resized
from weightspace.zoo.generate.plan import Recipe
from weightspace.zoo.generate.recipe import cnn_recipe
from weightspace.zoo.generate.several import dealt_numbers, fill_all, interleaved
from weightspace.zoo.generate.wild import ConvolutionalNetwork, Layer, WildSettings, architectures
from weightspace.zoo.sources import Images

__all__ = [
    "MIXED",
    "WILD_REGIME",
    "WildRegime",
    "dealt",
    "make_mixed_zoos",
    "make_wild_zoos",
    "mixed_recipes",
    "wild_recipes",
    "wild_tasks",
]

MIXED = ("relu", "tanh")


@dataclass(frozen=True)
class WildRegime(Regime):
    """How networks of many architectures are trained: a :class:`Regime` with other defaults.

    Args:
        steps: optimiser steps, drawn log-uniformly.
        learning_rate: drawn log-uniformly.
        chunk: networks that are trained side by side on one thread; a matter of speed alone.
    """

    steps: tuple[int, int] = (200, 800)
    learning_rate: tuple[float, float] = (5e-4, 2e-2)
    chunk: int = 16


WILD_REGIME = WildRegime()
"""The same as it is by default."""


def make_mixed_zoos(  # noqa: PLR0913 - what is trained on what, how, how many, and where and how they are kept
    path: str | Path,
    images: Images,
    settings: CnnSettings,
    *,
    count: int,
    seed: int = 0,
    activations: Sequence[str] = MIXED,
    progress: Callable[[int], None] | None = None,
    engine: str | Engine = "local",
    dtype: str = "float32",
) -> list[Zoo]:
    """Small CNNs of which each has an activation of its own, as the Small CNN Zoo has them: a zoo for each activation.

    Network ``n`` has activation ``n % len(activations)``; all else is as in :func:`make_cnn_zoo`, drawn by ``n``. No
    two networks of the collection share a number, and each has its split by that number.

    Args:
        path: the collection's folder; each zoo lies in a folder below it, named by its activation.
        images: the data set.
        settings: how each network is trained; its ``activation`` is replaced.
        count: networks wanted in all.
        seed: as for :func:`make_cnn_zoo`.
        activations: one or more of relu and tanh.
        progress: called with the number of networks that are newly there, those found on disk included.
        engine: "local"; "ray": shards are tasks of Ray; or an :class:`Engine`, which may say where the cluster is.
        dtype: in which weights are stored: float32 (fp32), bfloat16 (bf16) or float16 (fp16); they are trained in
            float32.

    Raises:
        DataError: fewer networks than activations, an activation given twice; and as :func:`make_cnn_zoo`.
        UnknownNameError: an activation that does not exist.
        StorageError: the folder cannot be written.
        FormatError: another collection in the folder, or something that is none.

    References:
        Unterthiner et al., *Predicting Neural Network Accuracy from Weights*, 2020: the activation is one of the
        hyper-parameters that each network draws. Kalogeropoulos et al., *Scale Equivariant Graph Metanetworks*, 2024:
        results on its ReLU and tanh networks apart and together.
    """
    recipes = mixed_recipes(images, settings, count=count, seed=seed, activations=activations)
    kept = {name: value for name, value in asdict(settings).items() if name not in ("activation", "chunk")}
    told = kept | {"activations": list(activations), "image_seed": seed}
    return fill_all(path, "mixed", told, recipes, progress, engine, dtype)


def mixed_recipes(
    images: Images, settings: CnnSettings, *, count: int, seed: int = 0, activations: Sequence[str] = MIXED
) -> dict[str, Recipe]:
    """How :func:`make_mixed_zoos` makes each of its zoos.

    Raises:
        DataError: as there.
        UnknownNameError: as there.
    """
    if not activations or len(set(activations)) < len(activations):
        raise DataError(f"activations are {tuple(activations)}; expected at least one, each of them once.")
    kinds, recipes = len(activations), {}
    for place, activation in enumerate(activations):
        own = replace(settings, activation=activation)
        asked = dealt_numbers(count, kinds, place)
        recipe = cnn_recipe(images, own, count=len(asked), seed=seed, asked=asked)
        recipes[activation] = interleaved(recipe, kinds, place, count)
    return recipes


def make_wild_zoos(
    path: str | Path,
    images: Images,
    settings: WildSettings,
    regime: Regime = WILD_REGIME,
    *,
    count: int,
    progress: Callable[[int], None] | None = None,
    engine: str | Engine = "local",
    dtype: str = "float32",
) -> list[Zoo]:
    """CNNs of many architectures on grey images of 32 x 32, trained side by side within each: a zoo for each of them.

    Network ``n`` has architecture ``n % settings.architectures``; what it is given is drawn by ``n``. Rows are those of
    :func:`weightspace.zoo.fit`, with ``test_accuracy``, ``test_loss`` and ``gap`` at each checkpoint.

    Args:
        path: the collection's folder.
        images: the data set; coloured images turn grey, images of another size are resized.
        settings: which architectures.
        regime: how networks are trained.
        count: networks wanted in all.
        progress: called with the number of networks that are newly there, those found on disk included.
        engine: "local"; "ray": shards are tasks of Ray; or an :class:`Engine`, which may say where the cluster is.
        dtype: in which weights are stored: float32 (fp32), bfloat16 (bf16) or float16 (fp16); they are trained in
            float32.

    Raises:
        DataError: fewer networks than architectures, or fewer images than a batch.
        TrainingError: settings that do not allow as many architectures.
        StorageError: the folder cannot be written.
        FormatError: another collection in the folder, or something that is none.

    Example:
        >>> import tempfile
        >>> from weightspace.zoo import load_images
        >>> settings, regime = WildSettings(architectures=2, depth=(1, 2), widths=(4,)), Regime(steps=(2, 4))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     zoos = make_wild_zoos(folder, load_images("digits"), settings, regime, count=5)
        ...     [sorted(set(zoo.column("network").tolist())) for zoo in zoos]
        [[0, 2, 4], [1, 3]]
    """
    recipes = wild_recipes(images, settings, regime, count=count)
    told = {"architectures": asdict(settings), "regime": {k: v for k, v in asdict(regime).items() if k != "chunk"}}
    with vectorised_attention():
        return fill_all(path, "wild", told, recipes, progress, engine, dtype)


def wild_recipes(images: Images, settings: WildSettings, regime: Regime, *, count: int) -> dict[str, Recipe]:
    """How :func:`make_wild_zoos` makes each of its zoos.

    Raises:
        DataError: as there.
        TrainingError: as there.
    """
    return dealt(wild_tasks(images, settings, regime, count=count), count)


def wild_tasks(images: Images, settings: WildSettings, regime: Regime, *, count: int) -> dict[str, Task]:
    """The task of each architecture, by the name of its zoo's folder.

    Raises:
        DataError: as :func:`make_wild_zoos`.
        TrainingError: as there.
    """
    data, classes = _examples(images)
    drawn = architectures(settings)
    return {
        f"{place:03d}": _task(data, classes, layers, regime, count=len(dealt_numbers(count, len(drawn), place)))
        for place, layers in enumerate(drawn)
    }


def dealt(tasks: Mapping[str, Task], count: int) -> dict[str, Recipe]:
    """The recipes of tasks to which the networks of a collection are dealt out in turn.

    Args:
        tasks: by the names of their zoos' folders.
        count: networks of all of them.
    """
    kinds, recipes = len(tasks), {}
    for place, (name, task) in enumerate(tasks.items()):
        recipes[name] = interleaved(task.recipe(dealt_numbers(count, kinds, place)), kinds, place, count)
    return recipes


def _task(data: Examples, classes: int, layers: tuple[Layer, ...], regime: Regime, *, count: int) -> Task:
    """The task of one architecture."""
    kept = {name: value for name, value in asdict(regime).items() if name != "chunk"}
    names = [layer.activation for layer in layers]
    return Task(
        Blueprint(partial(ConvolutionalNetwork, layers, classes)),
        nn.CrossEntropyLoss(),
        data,
        regime.hyperparameters(count),
        LogUniform(*regime.steps),
        tuple(float(part) for part in regime.checkpoints),
        regime.fit_settings(),
        Origin(
            recipe="wild",
            settings={"layers": [asdict(layer) for layer in layers], **kept},
            forward={"classes": classes, "pixel_range": [-1.0, 1.0], "output": "logits"},
            columns={"activation": names[0] if len(set(names)) == 1 else "mixed"},
        ),
    )


def _examples(images: Images) -> tuple[Examples, int]:
    """Grey images of 32 x 32 from -1 to 1, and how many classes there are."""
    train, labels, test, test_labels = held_out(images)
    pairs = [
        (_pixels(pixels), torch.from_numpy(own.astype(np.int64)))
        for pixels, own in ((train, labels), (test, test_labels))
    ]
    classes = int(max(labels.max(), test_labels.max())) + 1
    return Examples(pairs[0], test=pairs[1], name=images.name), classes


def _pixels(images: np.ndarray) -> Tensor:
    return torch.from_numpy(resized(images)).float()[:, None] * (2 / 255) - 1
