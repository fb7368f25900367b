"""The recipe of a zoo of SIRENs: which images, which numbers, which rows; fitted and committed shard by shard."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from weightspace.errors import DataError
from weightspace.spec import spec_of
from weightspace.weights import features_of
from weightspace.zoo.dataset import Zoo, open_zoo
from weightspace.zoo.format import Manifest
from weightspace.zoo.generate.siren import SirenSettings, fit_sirens, forward_pass, siren
from weightspace.zoo.sources import Images
from weightspace.zoo.split import assign
from weightspace.zoo.store import ZooWriter

__all__ = ["SHARD", "make_siren_zoo"]

SHARD = 256
"""Networks per shard: what an interrupted run loses at most."""


def make_siren_zoo(
    path: str | Path,
    images: Images,
    settings: SirenSettings,
    *,
    count: int,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Zoo:
    """A zoo of SIRENs on disk, one per image of a data set; a second call goes on where the first one stopped.

    Network ``i`` is fitted to the ``i``-th image of a seeded permutation of the training images, so a zoo that is
    asked for more networks later keeps those it has (a last shard that was not full is fitted again, which may
    change its networks by rounding). Splits belong to images.

    Args:
        path: the zoo's folder.
        images: the data set.
        settings: how each network is fitted.
        count: networks wanted, at most one per image. A zoo that holds more keeps them.
        seed: key of the choice of images and of their splits, not negative.
        progress: called with the number of networks that are newly there, those found on disk included.

    Raises:
        DataError: more networks than images, or a negative seed.
        StorageError: the folder cannot be written.
        FormatError: a zoo with other settings in the folder.

    Example:
        >>> import tempfile
        >>> from weightspace.zoo import load_images
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     zoo = make_siren_zoo(folder, load_images("digits"), SirenSettings((8,), steps=5), count=12)
        ...     len(zoo), zoo.table.column_names
        (12, ['number', 'image', 'label', 'split', 'psnr', 'diverged', 'seed'])
    """
    if not 0 < count <= len(images):
        raise DataError(
            f"count is {count}; {images.name} has {len(images)} images: ask for 1 to {len(images)} networks."
        )
    if seed < 0:
        raise DataError(f"seed is {seed}; expected 0 or more.")
    manifest = _manifest(images, settings, count, seed)
    chosen = np.random.default_rng(seed).permutation(len(images))[:count]
    writer = ZooWriter(path, manifest)
    for shard, first in enumerate(range(0, count, SHARD)):
        ids = chosen[first : first + SHARD]
        if writer.rows.get(shard, 0) < len(ids):
            numbers = torch.arange(first, first + len(ids))
            targets = torch.from_numpy(images.train[ids]).float() / 255
            state, psnr = fit_sirens(targets, numbers, settings, progress=progress)
            rows = {
                "number": numbers.numpy(),
                "image": ids.astype(np.int64),
                "label": images.labels[ids].astype(np.int64),
                "split": pa.array(assign(ids, seed=seed).tolist(), pa.string()),
                "psnr": psnr.numpy(),
                "diverged": psnr.isnan().numpy(),
                "seed": np.full(len(ids), settings.seed, np.int64),
            }
            writer.write(shard, features_of(manifest.spec, state), pa.table(rows))
        elif progress is not None:
            progress(len(ids))
    return open_zoo(path)


def _manifest(images: Images, settings: SirenSettings, count: int, seed: int) -> Manifest:
    height, width, *colours = images.train.shape[1:]
    # How many networks share a thread is a matter of speed: it does not tell zoos apart.
    kept = {key: value for key, value in asdict(settings).items() if key != "chunk"}
    return Manifest(
        spec=spec_of(siren(settings, *colours)),
        recipe="siren",
        settings=kept | {"image_seed": seed},
        forward=forward_pass(settings) | {"height": height, "width": width},
        source={"name": images.name, "checksum": images.checksum},
        count=count,
    )
