"""Changes of images against plain loops, and what is refused."""

import numpy as np
import pytest
from tests.oracles.change import dilated, equalised, lab

from weightspace.errors import DataError, ShapeError, UnknownNameError
from weightspace.tasks import changed
from weightspace.tasks.change import _from_lab, _to_lab


def drawn(*shape: int, top: int = 256) -> np.ndarray:
    return np.random.default_rng(0).integers(0, top, shape).astype(np.uint8)


@pytest.mark.parametrize("shape", [(2, 7, 9), (1, 1, 4), (1, 3, 1)])
def test_dilation_equals_plain_loops(shape: tuple[int, ...]) -> None:
    images = drawn(*shape)
    assert changed(images, "dilate").tolist() == [dilated(image) for image in images.tolist()]


def test_dilation_takes_colours_one_by_one() -> None:
    images = drawn(2, 5, 6, 3)
    found = changed(images, "dilate")
    for colour in range(3):
        assert np.array_equal(found[..., colour], changed(images[..., colour], "dilate"))


# Sides that are multiples of three and others; tiles of fewer and of more pixels than levels; few levels, one level.
@pytest.mark.parametrize(
    ("shape", "top"), [((2, 8, 8), 256), ((1, 32, 31), 256), ((1, 9, 12), 20), ((1, 52, 60), 40), ((1, 6, 6), 1)]
)
def test_contrast_equals_plain_loops(shape: tuple[int, ...], top: int) -> None:
    images = drawn(*shape, top=top)
    assert changed(images, "contrast").tolist() == [equalised(image) for image in images.tolist()]


def test_the_loops_tell_another_limit_and_other_tiles_apart() -> None:
    image = drawn(52, 60, top=40)
    right = changed(image[None], "contrast")[0].tolist()
    assert equalised(image.tolist(), clip=3.0) != right
    assert equalised(image.tolist(), tiles=2) != right


def test_colours_go_to_cielab_and_back() -> None:
    images = drawn(1, 20, 20, 3)
    images[0, 0, :4] = [[0, 0, 0], [255, 255, 255], [1, 2, 3], [255, 0, 0]]
    lightness, colours = _to_lab(images)
    for pixel, level, pair in zip(images[0].reshape(-1, 3), lightness.ravel(), colours.reshape(-1, 2), strict=True):
        l_star, a, b = lab(*(pixel / 255))
        assert abs(level - 2.55 * l_star) <= 0.5 + 1e-9
        assert np.abs(pair - (a, b)).max() <= 0.5 + 1e-9
    # Rounding to levels moves a colour by few of its own.
    assert np.abs(_from_lab(lightness, colours).astype(int) - images).mean() < 1.5


def test_contrast_of_colours_is_that_of_their_lightness() -> None:
    images = drawn(2, 32, 32, 3)
    lightness, colours = _to_lab(images)
    assert np.array_equal(changed(images, "contrast"), _from_lab(changed(lightness, "contrast"), colours))
    grey = np.repeat(drawn(1, 16, 16)[..., None], 3, -1)
    spread = np.ptp(changed(grey, "contrast").astype(int), axis=-1)
    assert spread.max() == 0


def test_many_images_are_changed_as_each_alone() -> None:
    images = drawn(1100, 4, 5)
    for change in ("dilate", "contrast"):
        together = changed(images, change)
        assert all(
            np.array_equal(together[row], changed(images[row : row + 1], change)[0]) for row in (0, 511, 512, 1099)
        )
    assert changed(images[:0], "contrast").shape == (0, 4, 5)


def test_what_is_no_images_is_refused() -> None:
    with pytest.raises(UnknownNameError, match='did you mean "dilate"'):
        changed(drawn(1, 4, 4), "dilat")
    with pytest.raises(ShapeError, match=r"shape \(4, 4\); expected \(n, height, width\)"):
        changed(drawn(4, 4), "dilate")
    with pytest.raises(ShapeError, match=r"shape \(1, 4, 4, 2\)"):
        changed(drawn(1, 4, 4, 2), "dilate")
    with pytest.raises(DataError, match="type float64; expected bytes"):
        changed(drawn(1, 4, 4).astype(float), "dilate")
