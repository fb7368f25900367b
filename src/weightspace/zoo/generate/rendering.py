"""The images that the networks of a zoo hold, by what the zoo's manifest says of the forward pass."""

import torch
from torch import Tensor
from torch.func import functional_call, vmap

from weightspace.errors import DataError, FormatError
from weightspace.zoo.dataset import Rows, Zoo
from weightspace.zoo.format import Manifest
from weightspace.zoo.generate.template import template

__all__ = ["rendered"]

# Networks, and values at all of their inputs, that are held at a time.
_NETWORKS = 64


def rendered(zoo: Zoo, rows: Rows = slice(None), height: int | None = None, width: int | None = None) -> Tensor:
    """The images that some networks of a zoo hold, at any resolution: SIRENs, ReLU networks, imported ones.

    Shapes:
        result: ``(n, height, width)``, or ``(n, height, width, channels)`` for more than one colour.

    Args:
        zoo: one that was fitted to images here, or imported.
        rows: a slice, or row numbers from 0. Default: all.
        height: rows of pixels. Default: those of the images that the networks were fitted to.
        width: columns likewise.

    Returns:
        Colours, clamped to [0, 1].

    Raises:
        DataError: networks that hold no images, or a size that is neither given nor recorded.
        FormatError: a manifest whose forward pass is damaged.

    Example:
        >>> import tempfile
        >>> from weightspace.zoo import load_images
        >>> from weightspace.zoo.generate import InrSettings, make_inr_zoo
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     zoo = make_inr_zoo(folder, load_images("digits"), InrSettings(hidden=(8,), steps=5), count=3)
        ...     rendered(zoo, [2, 0], height=20).shape
        torch.Size([2, 20, 8])
    """
    forward = zoo.manifest.forward
    points = _points(zoo.manifest, height, width)
    module = template(zoo.manifest)
    call = vmap(lambda state, shown: functional_call(module, state, (shown,)), in_dims=(0, None))
    state = zoo.features(rows).to_state()
    count = len(next(iter(state.values())))
    with torch.no_grad():
        pieces = [
            call({name: value[part] for name, value in state.items()}, points.flatten(0, 1))
            for part in torch.arange(count).split(_NETWORKS)
        ]
    low, high = forward["colour_range"]
    colours = (torch.cat(pieces) + forward["output_offset"] - low) / (high - low)
    images = colours.clamp(0, 1).unflatten(1, points.shape[:2])
    return images[..., 0] if images.shape[3] == 1 else images


def _points(manifest: Manifest, height: int | None, width: int | None) -> Tensor:
    """What the networks are asked at: ``(row, column, coordinate)``."""
    forward = manifest.forward
    if "coordinates" not in forward or "colour_range" not in forward:
        raise DataError(
            f"networks of the recipe {manifest.recipe} hold no images; expected networks that were fitted to some."
        )
    given = {"height": height, "width": width}
    sizes = [forward.get(name) if value is None else value for name, value in given.items()]
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise DataError(f"the size is {sizes[0]} x {sizes[1]}; expected pixels of both. Remedy: give height and width.")
    if forward["coordinates"] not in ("row, column", "column, row"):
        raise FormatError(f"the manifest has the coordinates {forward['coordinates']!r}; expected row and column.")
    low, high = forward["coordinate_range"]
    sides = [torch.linspace(low, high, int(size)) for size in sizes if size is not None]
    points = torch.stack(torch.meshgrid(*sides, indexing="ij"), -1)
    return points if forward["coordinates"] == "row, column" else points.flip(-1)
