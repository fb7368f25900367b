"""The recipes of zoos: which images, which numbers, which rows; made and committed shard by shard."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from weightspace.errors import DataError
from weightspace.spec import NetworkSpec, spec_of
from weightspace.zoo.dataset import Zoo
from weightspace.zoo.format import Manifest
from weightspace.zoo.generate.cnn import CnnSettings, Trained, cnn_spec, evaluate, hyper, state_of, train_cnns
from weightspace.zoo.generate.cnn import forward_pass as cnn_forward_pass
from weightspace.zoo.generate.engine import Engine
from weightspace.zoo.generate.inr import InrSettings, fit_inrs, inr
from weightspace.zoo.generate.inr import forward_pass as inr_forward_pass
from weightspace.zoo.generate.pixels import Pixels, held_out, prepare
from weightspace.zoo.generate.plan import (
    Columns,
    Networks,
    Plan,
    Progress,
    Recipe,
    check_seed,
    checkpoint_columns,
    fill,
    stored,
)
from weightspace.zoo.generate.siren import SirenSettings, fit_sirens, forward_pass, siren
from weightspace.zoo.sources import Images
from weightspace.zoo.split import assign

__all__ = [
    "CNN_SHARD",
    "SHARD",
    "cnn_recipe",
    "inr_recipe",
    "make_cnn_zoo",
    "make_inr_zoo",
    "make_siren_zoo",
    "siren_recipe",
]

SHARD = 256
"""SIRENs per shard: what an interrupted run loses at most."""

CNN_SHARD = 64
"""CNNs per shard; one takes much longer than a SIREN."""


FitImages = Callable[..., tuple[dict[str, Tensor], Tensor]]
"""Fits networks of some numbers to images; gives their tensors and their PSNR."""

# Networks whose numbers of steps are averaged.
_ASKED = 256


def make_siren_zoo(
    path: str | Path,
    images: Images,
    settings: SirenSettings,
    *,
    count: int,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    engine: str | Engine = "local",
    dtype: str = "float32",
) -> Zoo:
    """A zoo of SIRENs on disk, one per image of a data set; a second call goes on where the first one stopped.

    Network ``i`` is fitted to the ``i``-th image of a seeded permutation of the training images, or, with several views
    of each, to image ``i // views``. So a zoo that is asked for more networks later keeps those it has (a last shard
    that was not full is fitted again, which may change its networks by rounding). Splits belong to images: all views of
    one lie in the same.

    Args:
        path: the zoo's folder.
        images: the data set.
        settings: how each network is fitted.
        count: networks wanted, at most ``settings.views`` per image. A zoo that holds more keeps them.
        seed: key of the choice of images and of their splits, not negative.
        progress: called with the number of networks that are newly there, those found on disk included.
        engine: "local"; "ray": shards are tasks of Ray; or an :class:`Engine`, which may say where the cluster is.
        dtype: in which weights are stored: float32 (fp32), bfloat16 (bf16) or float16 (fp16); they are trained in
            float32.

    Raises:
        DataError: more networks than images, or a negative seed.
        UnknownNameError: an engine or a type that does not exist.
        StorageError: the folder cannot be written.
        FormatError: a zoo with other settings in the folder, or a weight that the type cannot hold.

    Example:
        >>> import tempfile
        >>> from weightspace.zoo import load_images
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     zoo = make_siren_zoo(folder, load_images("digits"), SirenSettings((8,), steps=5), count=12)
        ...     len(zoo), zoo.table.column_names
        (12, ['number', 'image', 'view', 'label', 'split', 'psnr', 'diverged', 'seed'])
    """
    return fill(path, stored(siren_recipe(images, settings, count=count, seed=seed), dtype), progress, engine)


def siren_recipe(images: Images, settings: SirenSettings, *, count: int, seed: int = 0) -> Recipe:
    """How :func:`make_siren_zoo` makes a zoo.

    Raises:
        DataError: more networks than images, or a negative seed.
    """
    manifest = partial(_siren_manifest, images, settings, count, seed)
    return _image_recipe(images, settings, fit_sirens, manifest, count=count, seed=seed)


def make_inr_zoo(
    path: str | Path,
    images: Images,
    settings: InrSettings,
    *,
    count: int,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    engine: str | Engine = "local",
    dtype: str = "float32",
) -> Zoo:
    """A zoo of ReLU networks on disk, one per image, on coordinates that may be encoded; with the rows of a SIREN zoo.

    The manifest's ``forward`` records the frequencies of the encoding, which all networks share.

    Args:
        path: the zoo's folder.
        images: the data set.
        settings: how each network is fitted.
        count: networks wanted, at most ``settings.views`` per image. A zoo that holds more keeps them.
        seed: key of the choice of images and of their splits, not negative.
        progress: called with the number of networks that are newly there, those found on disk included.
        engine: "local"; "ray": shards are tasks of Ray; or an :class:`Engine`, which may say where the cluster is.
        dtype: in which weights are stored: float32 (fp32), bfloat16 (bf16) or float16 (fp16); they are trained in
            float32.

    Raises:
        DataError: more networks than images, or a negative seed.
        UnknownNameError: an engine or a type that does not exist.
        StorageError: the folder cannot be written.
        FormatError: a zoo with other settings in the folder, or a weight that the type cannot hold.

    Example:
        >>> import tempfile
        >>> from weightspace.zoo import load_images
        >>> settings = InrSettings("fourier", features=4, hidden=(8,), steps=5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     zoo = make_inr_zoo(folder, load_images("digits"), settings, count=12)
        ...     len(zoo), zoo.spec.numel, len(zoo.manifest.forward["frequencies"])
        (12, 81, 4)
    """
    return fill(path, stored(inr_recipe(images, settings, count=count, seed=seed), dtype), progress, engine)


def inr_recipe(images: Images, settings: InrSettings, *, count: int, seed: int = 0) -> Recipe:
    """How :func:`make_inr_zoo` makes a zoo.

    Raises:
        DataError: more networks than images, or a negative seed.
    """
    manifest = partial(_inr_manifest, images, settings, count, seed)
    return _image_recipe(images, settings, fit_inrs, manifest, count=count, seed=seed)


def _image_recipe(
    images: Images,
    settings: SirenSettings | InrSettings,
    fit_images: FitImages,
    manifest: Callable[[], Manifest],
    *,
    count: int,
    seed: int,
) -> Recipe:
    """One network per view of an image of a seeded permutation."""
    most = len(images) * settings.views
    if not 0 < count <= most:
        raise DataError(
            f"count is {count}; {images.name} has {len(images)} images, each for {settings.views}: "
            f"ask for 1 to {most} networks."
        )
    check_seed(seed)
    chosen = np.random.default_rng(seed).permutation(len(images))

    make = partial(_image_shard, images, settings, fit_images, chosen, seed)
    return Recipe(manifest, make, Plan(count, SHARD), settings.steps, settings.chunk)


def _image_shard(
    images: Images,
    settings: SirenSettings | InrSettings,
    fit_images: FitImages,
    chosen: np.ndarray,
    seed: int,
    numbers: Tensor,
    progress: Progress | None,
) -> tuple[Networks, Columns]:
    """The networks of some numbers; `chosen` are the images in the order in which they are taken."""
    place, view = np.divmod(numbers.numpy(), settings.views)
    ids = chosen[place]
    targets = torch.from_numpy(images.train[ids]).float() / 255
    state, psnr = fit_images(targets, numbers, settings, progress=progress)
    return state, {
        "number": numbers.numpy(),
        "image": ids.astype(np.int64),
        "view": view,
        "label": images.labels[ids].astype(np.int64),
        "split": pa.array(assign(ids, seed=seed).tolist(), pa.string()),
        "psnr": psnr.numpy(),
        "diverged": psnr.isnan().numpy(),
        "seed": np.full(len(ids), settings.seed, np.int64),
    }


def make_cnn_zoo(
    path: str | Path,
    images: Images,
    settings: CnnSettings,
    *,
    count: int,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    engine: str | Engine = "local",
    dtype: str = "float32",
) -> Zoo:
    """A zoo of CNNs on disk that tell the images of a data set apart; a second call goes on where the first stopped.

    Each network has a row for each of its checkpoints, in their order; the column ``final`` marks the last. Splits
    belong to networks: all rows of one lie in the same. A network that diverged keeps its last finite weights in the
    rows that it did not reach, marked in ``diverged``; ``step`` says after how many steps a row's weights were reached.
    A zoo that is asked for more networks later keeps those it has (a last shard that was not full is trained again;
    its networks start alike and differ by rounding, which hundreds of steps can magnify).

    Accuracies and losses are told on the first ``settings.evaluated`` of the held-out images (the data set's test
    images; every fifth image where there are none) and on as many of the network's own training images, or as few as
    the smallest training fraction has.

    Args:
        path: the zoo's folder.
        images: the data set.
        settings: how each network is trained.
        count: networks wanted; a zoo that holds more keeps them.
        seed: key of the choice of training images and of the networks' splits, not negative.
        progress: called with the number of networks that are newly there, those found on disk included.
        engine: "local"; "ray": shards are tasks of Ray; or an :class:`Engine`, which may say where the cluster is.
        dtype: in which weights are stored: float32 (fp32), bfloat16 (bf16) or float16 (fp16); they are trained in
            float32.

    Raises:
        DataError: no networks, a negative seed, or fewer images than a batch.
        UnknownNameError: an engine or a type that does not exist.
        StorageError: the folder cannot be written.
        FormatError: a zoo with other settings in the folder, or a weight that the type cannot hold.

    Example:
        >>> import tempfile
        >>> from weightspace.zoo import load_images
        >>> settings = CnnSettings(steps=(5, 20), images=200, evaluated=100)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     zoo = make_cnn_zoo(folder, load_images("digits"), settings, count=4)
        ...     len(zoo), zoo.column("network").tolist(), zoo.column("final").sum().item()
        (12, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3], 4)

    References:
        Unterthiner et al., *Predicting Neural Network Accuracy from Weights*, 2020.
    """
    return fill(path, stored(cnn_recipe(images, settings, count=count, seed=seed), dtype), progress, engine)


def cnn_recipe(
    images: Images, settings: CnnSettings, *, count: int, seed: int = 0, asked: range | None = None
) -> Recipe:
    """How :func:`make_cnn_zoo` makes a zoo.

    Args:
        images: as there, like the rest.
        settings: likewise.
        count: likewise.
        seed: likewise.
        asked: numbers of the networks, whose steps are averaged; those from 0 if left out.

    Raises:
        DataError: no networks, a negative seed, or fewer images than a batch.
    """
    if count < 1:
        raise DataError(f"count is {count}; expected at least 1 network.")
    check_seed(seed)
    train, labels, test, test_labels = held_out(images)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(train))[: settings.images])
    classes = int(max(labels.max(), test_labels.max())) + 1
    data = prepare(train[chosen], labels[chosen])
    shown = prepare(test[: settings.evaluated], test_labels[: settings.evaluated])

    make = partial(_cnn_shard, (data, shown), settings, classes, seed)
    plan = Plan(count, CNN_SHARD, rows=len(settings.checkpoints))
    steps = fmean(hyper(settings, number).steps for number in (asked or range(count))[:_ASKED])
    return Recipe(partial(_cnn_manifest, images, settings, classes, plan, seed), make, plan, steps, settings.chunk)


def _cnn_shard(
    pixels: tuple[Pixels, Pixels],
    settings: CnnSettings,
    classes: int,
    seed: int,
    numbers: Tensor,
    progress: Progress | None,
) -> tuple[Networks, Columns]:
    """The networks of some numbers, given the images to learn from and those that accuracy is told on."""
    data, shown = pixels
    trained = train_cnns(data, numbers, settings, classes=classes, progress=progress)
    flat = trained.weights.flatten(0, 1)
    told = {}
    for name, (seen, rows) in {
        "test": (shown, torch.arange(len(shown)).expand(len(flat), -1)),
        "train": (data, trained.images.repeat_interleave(len(settings.checkpoints), 0)),
    }.items():
        told[f"{name}_loss"], told[f"{name}_accuracy"] = evaluate(flat, seen, rows, settings, classes=classes)
    columns = _cnn_columns(settings, numbers, trained) | {name: column.numpy() for name, column in told.items()}
    columns["gap"] = columns["train_accuracy"] - columns["test_accuracy"]
    splits = assign(columns["network"], seed=seed).tolist()
    return state_of(flat, settings, classes), columns | {"split": pa.array(splits, pa.string())}


def _cnn_columns(settings: CnnSettings, numbers: Tensor, trained: Trained) -> dict[str, Any]:
    """What each row is and what its network was given."""
    drawn = [asdict(hyper(settings, number)) for number in numbers.tolist()]
    columns = checkpoint_columns(numbers, trained.steps, trained.diverged, drawn)
    rows = trained.steps.numel()
    return columns | {"activation": [settings.activation] * rows, "seed": np.full(rows, settings.seed, np.int64)}


def _siren_manifest(images: Images, settings: SirenSettings, count: int, seed: int) -> Manifest:
    spec = spec_of(siren(settings, *images.train.shape[3:]))
    return _image_manifest("siren", spec, forward_pass(settings), images, _kept(settings), count, seed)


def _inr_manifest(images: Images, settings: InrSettings, count: int, seed: int) -> Manifest:
    spec = spec_of(inr(settings, *images.train.shape[3:]), torch.zeros(1, 2))
    return _image_manifest("inr", spec, inr_forward_pass(settings), images, _kept(settings), count, seed)


def _image_manifest(
    recipe: str,
    spec: NetworkSpec,
    forward: Mapping[str, Any],
    images: Images,
    kept: Mapping[str, Any],
    count: int,
    seed: int,
) -> Manifest:
    """Of networks that hold images, by their recipe, spec, forward pass and settings."""
    height, width = images.train.shape[1:3]
    return Manifest(
        spec=spec,
        recipe=recipe,
        settings={**kept, "image_seed": seed},
        forward={**forward, "height": height, "width": width},
        source={"name": images.name, "checksum": images.checksum},
        count=count,
    )


def _cnn_manifest(images: Images, settings: CnnSettings, classes: int, plan: Plan, seed: int) -> Manifest:
    return Manifest(
        spec=cnn_spec(settings, classes),
        recipe="cnn",
        settings=_kept(settings) | {"image_seed": seed},
        forward=cnn_forward_pass(settings) | {"classes": classes},
        source={"name": images.name, "checksum": images.checksum},
        count=plan.count * plan.rows,
    )


def _kept(settings: SirenSettings | InrSettings | CnnSettings) -> dict[str, Any]:
    # How many networks share a thread is a matter of speed: it does not tell zoos apart. Moments are told where they
    # are not Adam's own: zoos that were made before one could choose are gone on with.
    kept = {key: value for key, value in asdict(settings).items() if key != "chunk"}
    if isinstance(settings, SirenSettings) and settings.moments == SirenSettings.moments:
        del kept["moments"]
    return kept
