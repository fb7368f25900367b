r"""What is done to images, by name: the changes that an editing model learns to make in weight space.

Images are bytes from 0 to 255 here, ``(n, height, width)`` in grey or ``(n, height, width, 3)`` in colour, since the
changes of the literature are defined on them.

``dilate``: each pixel takes the largest value of the 3 x 3 pixels about it, of those that lie in the image; colours one
by one.

``contrast``: contrast-limited adaptive histogram equalisation (CLAHE) of the lightness, 3 x 3 tiles, clip limit 1:

1. In colour, the image goes from sRGB to CIELAB with the white D65; lightness is rounded to one of 256 levels,
   :math:`255 L^* / 100`, and :math:`a^*`, :math:`b^*` to whole numbers from -128 to 127. A grey image is its own
   lightness.
2. The image is continued at its lower and right edge by reflection, without repeating the edge, until its sides are
   multiples of 3, and cut into 3 x 3 tiles of :math:`A` pixels each.
3. The histogram :math:`n_v` of a tile is cut at the limit :math:`\max(1, \lfloor A / 256 \rfloor)`. What is cut off,
   :math:`e` in all, is spread: :math:`\lfloor e / 256 \rfloor` to every level, and the rest :math:`r`, one each, to the
   levels :math:`0, s, 2 s, \dots` with :math:`s = \max(1, \lfloor 256 / r \rfloor)`.
4. A tile turns level :math:`v` into :math:`255 / A \sum_{u \le v} n_u`, rounded to the nearest whole number (halves to
   the even one), at most 255.
5. Every pixel takes a mean of what the four tiles whose middles are nearest make of its level, weighted bilinearly by
   the distance to these middles, which lie half a tile from its first pixel; beyond the middles of the outermost tiles,
   these alone count. It is rounded likewise.
6. In colour, the image goes back to sRGB; what lies outside is clamped, and rounded to whole numbers.

References:
    Pizer et al., "Adaptive Histogram Equalization and Its Variations", 1987; Zuiderveld, "Contrast Limited Adaptive
    Histogram Equalization", Graphics Gems IV, 1994. As tasks on weights: Zhou et al., "Permutation Equivariant Neural
    Functionals", NeurIPS 2023, section 3.3. CIE 15:2004 for CIELAB, IEC 61966-2-1 for sRGB.
"""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from weightspace.errors import DataError, ShapeError, unknown

__all__ = ["CHANGES", "changed"]

Bytes = npt.NDArray[np.uint8]
Whole = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]

_TILES, _LIMIT, _LEVELS = 3, 1.0, 256
# Histograms of this many images are held at once.
_AT_ONCE = 512

# Linear sRGB to XYZ (IEC 61966-2-1), and the white D65, whose Y is 1: what white comes to, so that grey stays grey.
_XYZ = np.array(
    [[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]], np.float64
)
_WHITE = _XYZ.sum(1)
_BEND, _SLOPE = 216 / 24389, 24389 / 27


def changed(images: np.ndarray, change: str) -> Bytes:
    """Images, changed.

    Shapes:
        images: ``(n, height, width)`` or ``(n, height, width, 3)``; result: likewise.

    Args:
        images: from 0 to 255.
        change: "dilate" or "contrast".

    Raises:
        UnknownNameError: a change that does not exist.
        ShapeError: something that is no images.
        DataError: images that are no bytes.

    Example:
        >>> dot = np.zeros((1, 4, 4), np.uint8)
        >>> dot[0, 0, 0] = 9
        >>> changed(dot, "dilate")[0].tolist()
        [[9, 9, 0, 0], [9, 9, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    """
    if change not in CHANGES:
        raise unknown("change", change, CHANGES)
    if images.ndim not in (3, 4) or 0 in images.shape[1:] or images.shape[3:] not in ((), (3,)):
        raise ShapeError(f"images have shape {images.shape}; expected (n, height, width) or (n, height, width, 3).")
    if images.dtype != np.uint8:
        raise DataError(f"images have type {images.dtype}; expected bytes from 0 to 255.")
    parts = [CHANGES[change](images[at : at + _AT_ONCE]) for at in range(0, len(images), _AT_ONCE)]
    return np.concatenate(parts) if parts else images.copy()


def _dilate(images: Bytes) -> Bytes:
    """The largest of 3 x 3: first of three in a column, then of three in a row."""
    for axis in (1, 2):
        out = images.copy()
        ahead, behind = (_slice(axis, part) for part in (slice(None, -1), slice(1, None)))
        np.maximum(out[ahead], images[behind], out=out[ahead])
        np.maximum(out[behind], images[ahead], out=out[behind])
        images = out
    return images


def _slice(axis: int, part: slice) -> tuple[slice, ...]:
    return (slice(None),) * axis + (part,)


def _contrast(images: Bytes) -> Bytes:
    if images.ndim == 3:
        return _equalised(images)
    lightness, colours = _to_lab(images)
    return _from_lab(_equalised(lightness), colours)


def _equalised(grey: Bytes) -> Bytes:
    """Steps 2 to 5 of the contrast."""
    height, width = grey.shape[1:]
    tall, wide = -(-height // _TILES), -(-width // _TILES)
    tables = _tables(_tiles(grey, tall, wide))
    above, below, down = _nearest(height, tall)
    left, right, along = _nearest(width, wide)
    down, item = down[:, None], np.arange(len(grey))[:, None, None]

    def by(rows: Whole, columns: Whole) -> Whole:
        """What some tile makes of each pixel."""
        return tables[item, rows[:, None], columns, grey]

    upper = (2 * wide - along) * by(above, left) + along * by(above, right)
    lower = (2 * wide - along) * by(below, left) + along * by(below, right)
    return _rounded((2 * tall - down) * upper + down * lower, 4 * tall * wide).astype(np.uint8)


def _tiles(grey: Bytes, tall: int, wide: int) -> Bytes:
    """The pixels of each tile, ``(n, tile row, tile column, pixel)``, of images continued by reflection."""
    missing = [(0, 0), *((0, _TILES * one - size) for one, size in zip((tall, wide), grey.shape[1:], strict=True))]
    whole = np.pad(grey, missing, mode="reflect")
    parts = whole.reshape(len(grey), _TILES, tall, _TILES, wide).swapaxes(2, 3)
    return parts.reshape(len(grey), _TILES, _TILES, tall * wide)


def _tables(tiles: Bytes) -> Whole:
    """What each tile makes of each level, ``(n, tile row, tile column, level)``."""
    *places, area = tiles.shape
    flat = tiles.reshape(-1, area).astype(np.int64)
    offsets = _LEVELS * np.arange(len(flat))[:, None]
    counts = np.bincount((flat + offsets).ravel(), minlength=len(flat) * _LEVELS).reshape(-1, _LEVELS)
    limit = max(1, int(_LIMIT * area / _LEVELS))
    excess = np.maximum(counts - limit, 0).sum(1, keepdims=True)
    rest, level = excess % _LEVELS, np.arange(_LEVELS)
    step = np.maximum(_LEVELS // np.maximum(rest, 1), 1)
    extra = (level % step == 0) & (level // step < rest)
    counts = np.minimum(counts, limit) + excess // _LEVELS + extra
    return np.minimum(_rounded(255 * counts.cumsum(1), area), 255).reshape(*places, _LEVELS)


def _nearest(size: int, side: int) -> tuple[Whole, Whole, Whole]:
    """Along one side of an image, for each pixel: the tile behind, the one ahead, and the latter's weight times 2 side.

    Pixel i lies at i, the middles of the tiles at side / 2, 3 side / 2 and so on; twice that is whole.
    """
    behind, ahead = np.divmod(2 * np.arange(size) - side, 2 * side)
    return np.maximum(behind, 0), np.minimum(behind + 1, _TILES - 1), ahead


def _rounded(above: Whole, below: int) -> Whole:
    """Fractions, rounded to the nearest whole number, halves to the even one: exactly, whatever a machine rounds."""
    whole, rest = np.divmod(above, below)
    return whole + ((2 * rest > below) | ((2 * rest == below) & (whole % 2 == 1)))


def _to_lab(images: Bytes) -> tuple[Bytes, Reals]:
    """Lightness from 0 to 255, and a* and b*, rounded."""
    part = images / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    ratio = linear @ _XYZ.T / _WHITE
    bent = np.where(ratio > _BEND, np.cbrt(ratio), (_SLOPE * ratio + 16) / 116)
    x, y, z = np.moveaxis(bent, -1, 0)
    colours = np.stack([500 * (x - y), 200 * (y - z)], -1)
    return np.rint(np.clip((116 * y - 16) * 2.55, 0, 255)).astype(np.uint8), np.clip(np.rint(colours), -128, 127)


def _from_lab(lightness: Bytes, colours: Reals) -> Bytes:
    y = (lightness / 2.55 + 16) / 116
    bent = np.stack([y + colours[..., 0] / 500, y, y - colours[..., 1] / 200], -1)
    ratio = np.where(bent**3 > _BEND, bent**3, (116 * bent - 16) / _SLOPE)
    linear = np.clip(ratio * _WHITE @ np.linalg.inv(_XYZ).T, 0, 1)
    part = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * part).astype(np.uint8)


CHANGES: Mapping[str, Callable[[Bytes], Bytes]] = {"dilate": _dilate, "contrast": _contrast}
"""What is made of images, by the name of the change."""
