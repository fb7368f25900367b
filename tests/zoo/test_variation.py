"""Variations of images: what the plain loops say, the same bytes for the same seed, and labels that stay."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from tests.oracles import image as oracle

from weightspace.errors import DataError
from weightspace.zoo import Images, background, noisy, rectangles, rotated, turn, variation

RNG = np.random.default_rng(0)
PICTURES = RNG.integers(0, 256, (20, 9, 9), dtype=np.uint8)
LABELS = np.arange(20, dtype=np.int64) % 10
IMAGES = Images("pictures", PICTURES, LABELS, "0" * 64, "made up", PICTURES[:6].copy(), LABELS[:6].copy())
BEHIND = Images("walls", RNG.integers(0, 256, (5, 12, 11, 3), dtype=np.uint8), LABELS[:5], "1" * 64, "made up")
SMALL = replace(IMAGES, name="stamps", train=PICTURES[:, 1:, 1:])
VARIATIONS: dict[str, Callable[..., Images]] = {
    "rotated": rotated,
    "noisy": lambda images, seed: noisy(images, 3, seed=seed),
    "background": lambda images, seed: background(images, BEHIND, seed=seed),
}
variations = pytest.mark.parametrize("vary", VARIATIONS.values(), ids=VARIATIONS)


def same(a: Images, b: Images) -> bool:
    return a.train.tobytes() == b.train.tobytes() and a.checksum == b.checksum


@variations
def test_same_bytes_for_the_same_seed(vary: Callable[..., Images], monkeypatch: pytest.MonkeyPatch) -> None:
    first = vary(IMAGES, seed=3)
    assert not same(first, vary(IMAGES, seed=4))
    monkeypatch.setattr(variation, "CHUNK", 7)
    assert same(first, vary(IMAGES, seed=3))
    few = vary(replace(IMAGES, train=PICTURES[:5], labels=LABELS[:5]), seed=3)
    assert np.array_equal(few.train, first.train[:5])


@variations
def test_parts_and_labels_stay_apart(vary: Callable[..., Images]) -> None:
    made = vary(IMAGES, seed=3)
    assert made.labels.tolist() == LABELS.tolist()
    assert made.test_labels is not None
    assert made.test is not None
    assert made.test_labels.tolist() == LABELS[:6].tolist()
    # The same pictures stand in both parts; what is done to them differs.
    assert not np.array_equal(made.test, made.train[:6])
    assert made.name.startswith("pictures-")
    assert "not the published files" in made.note
    assert vary(replace(IMAGES, test=None, test_labels=None), seed=3).test is None


@pytest.mark.parametrize("shape", [(8, 8), (9, 9), (6, 11)])
def test_turn_equals_the_loops(shape: tuple[int, int]) -> None:
    pictures = RNG.integers(0, 256, (6, *shape), dtype=np.uint8)
    angles = RNG.uniform(-200, 200, 6)
    expected = np.stack([oracle.turned(p, a) for p, a in zip(pictures, angles, strict=True)])
    found = turn(pictures, angles)
    # Halves may be rounded either way.
    assert abs(found.astype(int) - expected).max() <= 1
    backwards = np.stack([oracle.turned(p, -a) for p, a in zip(pictures, angles, strict=True)])
    assert abs(found.astype(int) - backwards).max() > 50
    coloured = turn(np.stack([pictures, 255 - pictures, pictures], -1), angles)
    assert np.array_equal(coloured[..., 0], found)
    assert np.array_equal(coloured[..., 1], turn(255 - pictures, angles))


def test_quarter_turns_are_exact() -> None:
    assert np.array_equal(turn(PICTURES, 90), np.rot90(PICTURES, axes=(1, 2)))
    assert not np.array_equal(turn(PICTURES, np.full(20, -90.0)), np.rot90(PICTURES, axes=(1, 2)))
    assert np.array_equal(turn(PICTURES, np.zeros(20, int)), PICTURES)
    assert turn(PICTURES[:0], np.zeros(0)).shape == (0, 9, 9)


def test_angles_are_uniform_up_to_the_limit() -> None:
    """A dot to the right of the middle is where its angle puts it."""
    dots = np.zeros((1000, 31, 31), np.uint8)
    dots[:, 14:17, 27:30] = 255
    made = rotated(replace(IMAGES, train=dots, labels=np.zeros(1000, np.int64), test=None, test_labels=None), limit=60)
    weight = made.train / made.train.sum((1, 2), keepdims=True)
    up, right = (weight * (15 - np.arange(31))[:, None]).sum((1, 2)), (weight * (np.arange(31) - 15)).sum((1, 2))
    angle = np.sort(np.degrees(np.arctan2(up, right)))
    assert abs(angle - np.linspace(-60, 60, 1000)).max() < 6
    assert np.array_equal(rotated(IMAGES, limit=0).train, PICTURES)


@pytest.mark.parametrize("level", [1, 2, 4])
def test_noise_equals_the_loops(level: int) -> None:
    width = variation.NOISE_WIDTHS[level - 1]
    margin = 2 * int(np.ceil(3 * width))
    made = noisy(IMAGES, level, seed=5)
    for number in (0, 7):
        white = np.random.default_rng([5, 0, number]).standard_normal((9 + margin, 9 + margin))
        expected = oracle.covered(PICTURES[number], oracle.noise(white, width, 9))
        assert abs(made.train[number].astype(int) - expected).max() <= 1
        mirrored = oracle.covered(PICTURES[number], oracle.noise(white, width, 9)[:, ::-1])
        assert abs(made.train[number].astype(int) - mirrored).max() > 20


def test_levels_of_noise_differ_in_correlation_alone() -> None:
    black = replace(IMAGES, train=np.zeros((1000, 12, 12), np.uint8), labels=np.zeros(1000, np.int64))
    seen = []
    for level, width in enumerate(variation.NOISE_WIDTHS, 1):
        behind = noisy(black, level).train / 255
        assert abs(np.quantile(behind, [0.1, 0.5, 0.9]) - [0.1, 0.5, 0.9]).max() < 0.03
        a, b = behind[:, 3, 3:5].T
        seen.append(np.corrcoef(a, b)[0, 1])
        # Uniform ranks of normal numbers of correlation r have 6 / pi * asin(r / 2).
        alike = np.exp(-1 / (4 * width**2)) if width else 0.0
        assert seen[-1] == pytest.approx(6 / np.pi * np.arcsin(alike / 2), abs=0.1)
    assert seen == sorted(seen)
    white = replace(IMAGES, train=np.full((3, 8, 8), 255, np.uint8), labels=LABELS[:3])
    assert (noisy(white, 2).train == 255).all()


def test_backgrounds_are_patches_of_their_part() -> None:
    def places(patch: np.ndarray, pictures: np.ndarray) -> int:
        grey = variation.grey(pictures)
        tops, lefts = range(12 - 9 + 1), range(11 - 9 + 1)
        return sum(np.array_equal(p[i : i + 9, j : j + 9], patch) for p in grey for i in tops for j in lefts)

    black = replace(IMAGES, train=np.zeros_like(PICTURES), test=np.zeros_like(PICTURES[:6]))
    made = background(black, BEHIND, seed=1)
    assert made.test is not None
    assert all(places(patch, BEHIND.train[::2]) == 1 for patch in made.train)
    assert all(places(patch, BEHIND.train[1::2]) == 1 for patch in made.test)
    assert not any(places(patch, BEHIND.train[::2]) for patch in made.test)
    parts = replace(BEHIND, test=255 - BEHIND.train, test_labels=BEHIND.labels)
    tests = background(black, parts, seed=1).test
    assert tests is not None
    assert all(places(patch, 255 - BEHIND.train) == 1 for patch in tests)
    patch = background(black, BEHIND, seed=1).train[4]
    expected = oracle.covered(PICTURES[4], patch.astype(float))
    assert abs(background(IMAGES, BEHIND, seed=1).train[4].astype(int) - expected).max() <= 1


def test_rectangles_are_labelled_rightly() -> None:
    made = rectangles(300, 50, size=12, seed=2)
    assert made.test is not None
    assert made.test_labels is not None
    read = [oracle.wider(picture) for picture in made.train]
    assert made.labels.tolist() == read
    assert made.test_labels.tolist() == [oracle.wider(picture) for picture in made.test]
    assert (1 - made.labels).tolist() != read
    assert 100 < sum(read) < 200
    for picture in made.train:
        rows, columns = (np.unique(where) for where in np.nonzero(picture))
        height, width = len(rows), len(columns)
        assert rows[0] >= 1 <= columns[0]
        assert max(rows[-1], columns[-1]) <= 10
        assert min(height, width) >= 3 <= abs(height - width)
        assert (picture > 0).sum() == 2 * (height + width) - 4
    again = rectangles(20, 50, size=12, seed=2)
    assert np.array_equal(again.train, made.train[:20])
    assert not np.array_equal(rectangles(20, 50, size=12, seed=3).train, again.train)


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: noisy(IMAGES, 0), "level 0: expected 1 to 6"),
        (lambda: noisy(IMAGES, 7), "level 7"),
        (lambda: noisy(BEHIND), "walls has colours"),
        (lambda: background(BEHIND, BEHIND), "walls has colours"),
        (lambda: background(IMAGES, SMALL), "patches of 9 by 9 pixels from stamps, .* 8 by 8"),
        (lambda: rotated(IMAGES, seed=-1), "a seed of -1"),
        (lambda: rotated(IMAGES, limit=-1), "-1 degrees: expected 0 to 360"),
        (lambda: rectangles(5, 5, size=7), "of 7 pixels"),
        (lambda: rectangles(5, 5, seed=-2), "a seed of -2"),
        (lambda: turn(PICTURES, np.zeros(3)), r"shape \(3,\) for 20 pictures"),
    ],
)
def test_what_cannot_be_is_refused(call: Callable[[], object], told: str) -> None:
    with pytest.raises(DataError, match=told):
        call()
