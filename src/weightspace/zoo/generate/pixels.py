"""Images as the first layer of a small CNN reads them: grey, 32 x 32, cut into patches once for all networks."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from weightspace.errors import DataError
from weightspace.zoo.generate.convolution import PLANES, SIDE, TAPS, Passes
from weightspace.zoo.sources import Images, grey

__all__ = ["Pixels", "held_out", "prepare", "resized"]

_POSITIONS = 64
_WHITE = 255


@dataclass(frozen=True, eq=False)
class Pixels:
    """Patches of images and their classes.

    Shapes:
        patches: ``(plane, image, position x tap)``, uint8; labels: ``(image,)``, int64.

    Args:
        patches: the nine pixels below each output of the first layer, and a 255 that stands for the number one.
        labels: from 0.
    """

    patches: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def gather(self, rows: Tensor, passes: Passes) -> Tensor:
        """Shows images to networks, as numbers from -1 to 1; gives their labels.

        Shapes:
            rows: ``(network, image)``; result: ``(network, image)``.
        """
        torch.index_select(self.patches, 1, rows.flatten(), out=passes.bytes)
        passes.patches.view(passes.bytes.shape).copy_(passes.bytes)
        torch.add(passes.patches.new_tensor(-1.0), passes.patches, alpha=2 / _WHITE, out=passes.patches)
        return self.labels[rows]


def prepare(images: np.ndarray, labels: np.ndarray) -> Pixels:
    """Patches of images of any size, grey or coloured.

    Shapes:
        images: ``(n, height, width)`` or ``(n, height, width, 3)``, uint8; labels: ``(n,)``.

    Example:
        >>> pixels = prepare(np.zeros((3, 28, 28), np.uint8), np.arange(3))
        >>> pixels.patches.shape, len(pixels)
        (torch.Size([4, 3, 640]), 3)
    """
    small = torch.from_numpy(resized(images))
    patches = torch.zeros(len(PLANES), len(small), _POSITIONS, TAPS + 1, dtype=torch.uint8)
    patches[..., TAPS] = _WHITE
    # (image, row, column, tap) of the first layer's 15 x 15 outputs.
    cut = small.unfold(1, 3, 2).unfold(2, 3, 2).flatten(3)
    for plane, (p, q) in enumerate(PLANES):
        part = cut[:, p::2, q::2]
        patches[plane].view(len(small), 8, 8, TAPS + 1)[:, : part.shape[1], : part.shape[2], :TAPS] = part
    return Pixels(patches.flatten(2), torch.from_numpy(labels.astype(np.int64)))


def resized(images: np.ndarray) -> np.ndarray:
    """Grey images of 32 x 32 whole levels: bilinear, with a wider kernel where an image shrinks.

    Shapes:
        images: ``(n, height, width)`` or ``(n, height, width, 3)``, uint8; result: ``(n, 32, 32)``, uint8.

    Example:
        >>> resized(np.full((1, 8, 8), 7, np.uint8)).shape
        (1, 32, 32)
    """
    plain = grey(images) if images.ndim == 4 else images
    if plain.shape[1:] == (SIDE, SIDE):
        return plain
    parts = [
        functional.interpolate(part.float(), size=(SIDE, SIDE), mode="bilinear", antialias=True)
        for part in torch.from_numpy(plain)[:, None].split(4096)
    ]
    return torch.cat(parts)[:, 0].round_().clamp_(0, _WHITE).to(torch.uint8).numpy()


def held_out(images: Images) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images to learn from with their labels, and those that accuracy is told on.

    These are the data set's own test images; where it has none, every fifth image is held out.

    Raises:
        DataError: fewer than five images and no test images.
    """
    if images.test is not None and images.test_labels is not None:
        return images.train, images.labels, images.test, images.test_labels
    if len(images) < 5:
        raise DataError(f"{images.name} has {len(images)} images and no test images; expected at least 5.")
    chosen = np.arange(len(images)) % 5 == 4
    return images.train[~chosen], images.labels[~chosen], images.train[chosen], images.labels[chosen]
