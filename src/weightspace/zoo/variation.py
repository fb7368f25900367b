"""Harder versions of real images, and synthetic outlines: the same bytes for the same seed.

The well-known variations of MNIST were made with programs and seeds that were not kept. What is here follows the same
ideas by rules of its own, which the docstrings state in full. Results on these images must not be set beside published
ones as if the files were the same.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from weightspace.errors import DataError
from weightspace.zoo.sources import Images, grey, images_of

__all__ = ["NOISE_WIDTHS", "background", "noisy", "rectangles", "rotated", "turn"]

NOISE_WIDTHS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
"""Pixels, the width of the Gaussian that smooths white noise, for the levels 1 to 6 of :func:`noisy`."""

CHUNK = 2048
"""Images that are worked on at a time. No draw depends on it."""

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Draw = Callable[[np.random.Generator], Floats | float]
Vary = Callable[[Pixels, "Draws"], Pixels]


class Draws:
    """What is drawn for the images of one part: each from a generator of its own, by seed, part and number."""

    def __init__(self, seed: int, part: int, numbers: range):
        self.seed, self.part, self.numbers = seed, part, numbers

    def __call__(self, draw: Draw) -> Floats:
        """One draw for each image, stacked."""
        return np.stack([np.asarray(draw(np.random.default_rng([self.seed, self.part, i]))) for i in self.numbers])


def turn(pixels: Pixels, degrees: float | npt.NDArray[Any]) -> Pixels:
    r"""Turns each picture counter-clockwise about its middle.

    The pixel at `x` to the right of the middle and `y` above it takes the bilinear value at the point
    :math:`(x \cos\theta + y \sin\theta,\; y \cos\theta - x \sin\theta)` of the old picture, which is black beyond its
    border, rounded to whole levels.

    Shapes:
        `(n, height, width)` or `(n, height, width, 3)`, and one angle or `(n,)`.

    Args:
        pixels: levels from 0 to 255.
        degrees: the angle of all pictures, or one for each.

    Raises:
        DataError: if there are several angles, but not one for each picture.

    Example:
        >>> turn(np.array([[[1, 2], [3, 4]]], np.uint8), 90)
        array([[[2, 4],
                [1, 3]]], dtype=uint8)
    """
    if np.shape(degrees) not in ((), (len(pixels),)):
        raise DataError(f"angles of shape {np.shape(degrees)} for {len(pixels)} pictures: expected one for each")
    angles = np.broadcast_to(np.asarray(degrees, np.float64), len(pixels))
    starts = range(0, len(pixels), CHUNK)
    pieces = [_turned(pixels[start : start + CHUNK], angles[start : start + CHUNK]) for start in starts]
    return np.concatenate(pieces) if pieces else pixels.copy()


def rotated(images: Images, *, seed: int = 0, limit: float = 180.0) -> Images:
    """Every image turned about its middle by an angle of its own, uniform between `-limit` and `limit`.

    In the manner of "rotated MNIST", regenerated; see :func:`turn` for how values between pixels are found.

    Args:
        images: any images.
        seed: of the angles; an image's angle depends on it, the image's part and its number alone.
        limit: degrees.

    Raises:
        DataError: for a negative seed or limit.

    Example:
        >>> from weightspace.zoo import load_images
        >>> turned = rotated(load_images("digits"), seed=1)
        >>> turned.name, turned.train.shape
        ('digits-rotated', (1797, 8, 8))
    """
    if not 0 <= limit <= 360:
        raise DataError(f"angles up to {limit} degrees: expected 0 to 360")

    def vary(pixels: Pixels, draws: Draws) -> Pixels:
        return turn(pixels, draws(lambda generator: generator.uniform(-limit, limit)))

    return _varied(images, "rotated", f"turned by up to {limit:g} degrees", seed, vary)


def noisy(images: Images, level: int = 1, *, seed: int = 0) -> Images:
    r"""Every image before noise of its own, whose pixels are the more alike the higher the level.

    White Gaussian noise is smoothed by the weights :math:`\exp(-d^2 / 2 s^2)` along both axes, cut off at
    :math:`\lceil 3 s \rceil` and scaled so that every pixel has variance 1; its normal distribution function, from 0 to
    1, is the grey value of what lies behind. So at all levels every pixel behind is uniform, and levels differ in the
    width `s` alone (:data:`NOISE_WIDTHS`); at level 1 pixels are independent. Noise does not wrap around. Ink of the
    grey value `p` covers it: :math:`p + (1 - p)\, b`.

    In the manner of the noise variations of MNIST, regenerated.

    Args:
        images: grey images.
        level: 1 to 6.
        seed: of the noise; an image's noise depends on it, the image's part and its number alone.

    Raises:
        DataError: for a level that there is not, a negative seed, or coloured images.

    Example:
        >>> from weightspace.zoo import load_images
        >>> noisy(load_images("digits"), 3).name
        'digits-noisy-3'
    """
    if level not in range(1, len(NOISE_WIDTHS) + 1):
        raise DataError(f"noise of level {level}: expected 1 to {len(NOISE_WIDTHS)}")
    weights = _smoothing(NOISE_WIDTHS[level - 1])

    def vary(pixels: Pixels, draws: Draws) -> Pixels:
        height, width = (side + len(weights) - 1 for side in pixels.shape[1:])
        white = draws(lambda generator: generator.standard_normal((height, width)))
        field = _band(weights, pixels.shape[1]) @ white @ _band(weights, pixels.shape[2]).T
        return _covered(pixels, 255 * torch.special.ndtr(torch.from_numpy(field)).numpy())

    return _varied(_grey(images), f"noisy-{level}", f"before noise of level {level}", seed, vary)


def background(images: Images, behind: Images, *, seed: int = 0) -> Images:
    """Every image before a patch of another picture, drawn uniformly among pictures and places.

    What lies behind training images comes from the other set's training part, and behind test images from its test
    part; where it has none, from its pictures of even and odd number. Colours turn grey. Ink covers as in
    :func:`noisy`. In the manner of the background variations of MNIST, regenerated.

    Args:
        images: grey images.
        behind: where patches come from; at least as high and wide.
        seed: of the patches; an image's patch depends on it, the image's part and its number alone.

    Raises:
        DataError: for pictures too small for a patch, a negative seed, or coloured images.

    Example:
        >>> from weightspace.zoo import load_images
        >>> digits = load_images("digits")
        >>> background(digits, digits).name
        'digits-before-digits'
    """
    height, width = _grey(images).train.shape[1:]
    if behind.train.shape[1] < height or behind.train.shape[2] < width:
        raise DataError(
            f"patches of {height} by {width} pixels from {behind.name}, whose pictures have {behind.train.shape[1]} by"
            f" {behind.train.shape[2]}. Remedy: take larger pictures, or shrink the images."
        )
    halves = (behind.train, behind.test) if behind.test is not None else (behind.train[::2], behind.train[1::2])
    sources = [half if half.ndim == 3 else grey(half) for half in halves]

    def vary(pixels: Pixels, draws: Draws) -> Pixels:
        source = sources[draws.part]
        room = (len(source), source.shape[1] - height + 1, source.shape[2] - width + 1)
        chosen = draws(lambda generator: generator.integers(room).astype(np.float64)).astype(np.int64)
        patches = [source[i, top : top + height, left : left + width] for i, top, left in chosen]
        return _covered(pixels, np.stack(patches).astype(np.float64))

    what = f"before patches of {behind.name} ({behind.checksum[:12]})"
    return _varied(images, f"before-{behind.name}", what, seed, vary)


def rectangles(count: int = 1200, test: int = 10_000, *, size: int = 28, seed: int = 0) -> Images:
    """White outlines of rectangles on black, one pixel thick: class 0 is higher than wide, class 1 wider than high.

    Height and width are drawn uniformly among all pairs from 3 to `size - 2` that differ by 3 or more; then the place,
    uniformly among those that leave a border of one pixel. In the manner of the set of that name, regenerated.

    Args:
        count: training images.
        test: test images.
        size: pixels per side, at least 8.
        seed: an image depends on it, the image's part and its number alone.

    Raises:
        DataError: for a size below 8, fewer than one image, or a negative seed.

    Example:
        >>> made = rectangles(2, 1, size=8, seed=1)
        >>> made.labels.tolist()
        [1, 0]
        >>> made.train[0, 3:6] // 255
        array([[0, 1, 1, 1, 1, 1, 1, 0],
               [0, 1, 0, 0, 0, 0, 1, 0],
               [0, 1, 1, 1, 1, 1, 1, 0]], dtype=uint8)
    """
    if size < 8 or count < 1 or test < 1:
        raise DataError(f"{count} and {test} pictures of {size} pixels: expected one or more, of 8 or more")
    sides = np.arange(3, size - 1)
    pairs = np.stack(np.meshgrid(sides, sides, indexing="ij"), -1).reshape(-1, 2)
    pairs = pairs[abs(pairs[:, 0] - pairs[:, 1]) >= 3]

    def box(generator: np.random.Generator) -> Floats:
        height, width = pairs[generator.integers(len(pairs))]
        place = generator.integers(1, [size - height, size - width])
        return np.array([height, width, *place], np.float64)

    _check_seed(seed)
    train, other = (Draws(seed, part, range(n))(box).astype(np.int64) for part, n in enumerate((count, test)))
    labels, test_labels = ((boxes[:, 1] > boxes[:, 0]).astype(np.int64) for boxes in (train, other))
    note = f"outlines of rectangles, made by weightspace with seed {seed}; not the published files"
    return images_of("rectangles", (_outlines(train, size), labels, _outlines(other, size), test_labels), note)


def _outlines(boxes: npt.NDArray[np.int64], size: int) -> Pixels:
    """White where a pixel is in the rectangle and not one pixel within."""
    height, width, top, left = (boxes[:, i, None, None] for i in range(4))
    row, column = np.arange(size)[None, :, None], np.arange(size)[None, None, :]

    def inside(by: int) -> npt.NDArray[np.bool_]:
        rows = (row >= top + by) & (row < top + height - by)
        return rows & (column >= left + by) & (column < left + width - by)

    return np.where(inside(0) & ~inside(1), 255, 0).astype(np.uint8)


def _turned(pixels: Pixels, degrees: Floats) -> Pixels:
    height, width = pixels.shape[1:3]
    # Without a border of black, points just outside would need cases of their own.
    framed = np.pad(pixels, [(0, 0), (1, 1), (1, 1), *[(0, 0)] * (pixels.ndim - 3)])
    up = ((height - 1) / 2 - np.arange(height))[None, :, None]
    right = (np.arange(width) - (width - 1) / 2)[None, None, :]
    cosine, sine = (f(np.deg2rad(degrees))[:, None, None] for f in (np.cos, np.sin))
    row = np.clip((height + 1) / 2 - (up * cosine - right * sine), 0, height + 1)
    column = np.clip((width + 1) / 2 + right * cosine + up * sine, 0, width + 1)
    top, left = (np.minimum(point.astype(np.int64), side) for point, side in ((row, height), (column, width)))
    down, along = row - top, column - left
    number = np.arange(len(pixels))[:, None, None]
    total = np.zeros((len(pixels), height, width, *pixels.shape[3:]))
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = (down if i else 1 - down) * (along if j else 1 - along)
        total += weight.reshape(weight.shape + (1,) * (pixels.ndim - 3)) * framed[number, top + i, left + j]
    return np.round(total).astype(np.uint8)


def _smoothing(width: float) -> Floats:
    """Weights along one axis whose squares add up to one."""
    reach = np.arange(-int(np.ceil(3 * width)), int(np.ceil(3 * width)) + 1)
    weights = np.exp(-(reach**2) / (2 * width**2)) if width else np.ones(1)
    return np.asarray(weights / np.sqrt((weights**2).sum()), np.float64)


def _band(weights: Floats, size: int) -> Floats:
    """The matrix that smooths along an axis, from a longer one, so that nothing wraps around."""
    matrix = np.zeros((size, size + len(weights) - 1))
    for row in range(size):
        matrix[row, row : row + len(weights)] = weights
    return matrix


def _covered(pixels: Pixels, behind: Floats) -> Pixels:
    return np.round(pixels + (255.0 - pixels) / 255 * behind).astype(np.uint8)


def _grey(images: Images) -> Images:
    if images.train.ndim != 3:
        raise DataError(f"{images.name} has colours: expected grey images, of shape (n, height, width)")
    return images


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise DataError(f"a seed of {seed}: expected 0 or more")


def _varied(images: Images, name: str, what: str, seed: int, vary: Vary) -> Images:
    """Both parts of a data set varied, with a name and a note that say so and a checksum of their own."""
    _check_seed(seed)
    parts = [images.train] + ([] if images.test is None else [images.test])
    train, *test = (np.concatenate(list(_pieces(pixels, seed, part, vary))) for part, pixels in enumerate(parts))
    note = f"{images.note}; {what} by weightspace with seed {seed}, not the published files"
    arrays = (train, images.labels, test[0] if test else None, images.test_labels)
    return images_of(f"{images.name}-{name}", arrays, note)


def _pieces(pixels: Pixels, seed: int, part: int, vary: Vary) -> Iterator[Pixels]:
    for start in range(0, len(pixels), CHUNK):
        piece = pixels[start : start + CHUNK]
        yield vary(piece, Draws(seed, part, range(start, start + len(piece))))
