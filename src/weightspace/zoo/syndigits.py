"""SynDigits: digits drawn with free fonts over crops of photographs, in the manner of house numbers on the street.

Synthetic images under a name of their own: results on them must not be set beside those on SVHN. An image depends on
the seed, its part and its number, on the fonts, and on what lies behind; the checksum of a set covers all of it. Other
releases of Pillow may draw edges otherwise, which the checksum tells.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from weightspace.disk import write_atomic
from weightspace.errors import DataError, StorageError
from weightspace.zoo.sources import Images, cache_folder, grey, images_of, load_images

__all__ = ["SIDE", "shipped_fonts", "syndigits", "system_fonts", "usable"]

SIDE = 32
"""Rows and columns of an image."""

Pixels = npt.NDArray[np.uint8]

COUNTS = (10_000, 2_000)
"""Training and test images of the sets that have a name."""

_VERSION = 1
_DIGITS = "0123456789"
# Drawn larger and made smaller, so that edges are smooth after turning.
_FINE = 2
_GLYPH = (16, 24)
# Of ten glyphs, how many must be most like the right digit, how like on average, and how unlike each other.
_RIGHT, _LIKE, _APART = 6, 0.25, 0.9
_LUMA = np.array([0.299, 0.587, 0.114])
_CONTRAST = 60
_FIELDS = 256


@dataclass(frozen=True)
class Behind:
    """What digits are drawn over: pictures for each part, their name, and one sentence on where they come from."""

    parts: tuple[Pixels, Pixels]
    name: str
    note: str
    checksum: str


def syndigits(
    count: int = 10_000,
    test: int = 2_000,
    *,
    seed: int = 0,
    fonts: Sequence[Path] | None = None,
    folder: str | Path | None = None,
    offline: bool = False,
    cache: str | Path | None = None,
) -> Images:
    """Coloured images of 32 x 32 with a digit in the middle, which is the label, and up to two neighbours beside it.

    Font, size, turn (up to 15 degrees), shear, colours, blur and neighbours are drawn for each image. The colour
    differs from what lies behind by 60 levels of luma at least. Behind training images lie crops of CIFAR-10's training
    images, behind test images of its test images; where CIFAR-10 cannot be had, smooth fields of colour made by
    formula, and the set is called ``syndigits-on-fields``. Once drawn, a set is kept in the cache.

    Args:
        count: training images.
        test: test images.
        seed: of everything that is drawn, not negative.
        fonts: font files. Default: those that matplotlib ships and that have digits (:func:`shipped_fonts`).
        folder: where the original files of CIFAR-10 lie, as for :func:`weightspace.zoo.load_images`.
        offline: do not start a registry client for CIFAR-10.
        cache: as there.

    Raises:
        DataError: fewer than one image of each part, a negative seed, no usable font, or a folder without CIFAR-10.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     images = syndigits(3, 1, offline=True, cache=folder)
        >>> images.train.shape, images.test.shape, images.labels.tolist()
        ((3, 32, 32, 3), (1, 32, 32, 3), [8, 8, 2])
    """
    if count < 1 or test < 1 or seed < 0:
        raise DataError(f"{count} and {test} images by seed {seed}: expected one or more of each, and a seed from 0.")
    chosen = tuple(shipped_fonts() if fonts is None else (font for font in fonts if usable(font)))
    if not chosen:
        raise DataError("none of the fonts has ten different digits. Remedy: give others, or leave the fonts out.")
    behind = _behind(folder, offline=offline, cache=cache)
    files = [hashlib.sha256(font.read_bytes()).hexdigest() for font in chosen]
    key = json.dumps([_VERSION, count, test, seed, files, behind.checksum])
    root = cache_folder() if cache is None else Path(cache)
    place = root / "syndigits" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.npz"
    arrays = _kept(place)
    if arrays is None:
        arrays = _drawn(chosen, behind, (count, test), seed)
        _keep(place, arrays)
    name = "syndigits" if behind.name == "cifar10" else f"syndigits-on-{behind.name}"
    note = f"{name}: digits in {len(chosen)} fonts by weightspace with seed {seed}; behind them {behind.note}"
    return images_of(name, arrays, note)


@cache
def shipped_fonts() -> tuple[Path, ...]:
    """The fonts that come with matplotlib and have digits: DejaVu, STIX and Computer Modern.

    Example:
        >>> len(shipped_fonts()) > 15
        True
    """
    import matplotlib

    files = sorted(Path(matplotlib.get_data_path(), "fonts", "ttf").glob("*.ttf"))
    return tuple(file for file in files if usable(file))


@cache
def system_fonts() -> tuple[Path, ...]:
    """Usable fonts of this machine, TrueType and OpenType; other machines have others."""
    roots = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), Path("/Library/Fonts"), Path("C:/Windows/Fonts")]
    files = sorted(file for root in roots for file in root.rglob("*") if file.suffix.lower() in (".ttf", ".otf"))
    return tuple(file for file in files if usable(file))


@cache
def usable(font: Path) -> bool:
    """Whether a font has ten different digits that look like digits: symbol fonts and empty glyphs are out.

    Each glyph, cut to its ink and brought to one size, is compared with the digits of DejaVu Sans.

    Example:
        >>> import matplotlib
        >>> fonts = Path(matplotlib.get_data_path(), "fonts", "ttf")
        >>> usable(fonts / "cmr10.ttf"), usable(fonts / "cmsy10.ttf")
        (True, False)
    """
    glyphs = _glyphs(font)
    if glyphs is None:
        return False
    like = glyphs @ _reference().T
    among = glyphs @ glyphs.T - 2 * np.eye(10)
    right = int((like.argmax(1) == np.arange(10)).sum())
    return bool(right >= _RIGHT and like.diagonal().mean() >= _LIKE and among.max() < _APART)


@cache
def _reference() -> npt.NDArray[np.float64]:
    import matplotlib

    glyphs = _glyphs(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
    assert glyphs is not None
    return glyphs


def _glyphs(font: Path) -> npt.NDArray[np.float64] | None:
    """The ten digits as rows of mean 0 and norm 1; None where the font cannot be read or draws nothing."""
    rows = []
    try:
        drawer = ImageFont.truetype(str(font), 48)
        for digit in _DIGITS:
            canvas = Image.new("L", (128, 128))
            ImageDraw.Draw(canvas).text((64, 64), digit, font=drawer, fill=255, anchor="mm")
            ink = canvas.getbbox()
            if ink is None:
                return None
            values = np.asarray(canvas.crop(ink).resize(_GLYPH, Image.Resampling.BILINEAR), np.float64).ravel()
            values -= values.mean()
            rows.append(values / max(float(np.linalg.norm(values)), 1e-9))
    except (OSError, ValueError, SyntaxError):
        return None
    return np.stack(rows)


def _behind(folder: str | Path | None, *, offline: bool, cache: str | Path | None) -> Behind:
    """CIFAR-10, or fields of colour in its place; a folder that was given must hold it."""
    try:
        found = load_images("cifar10", folder=folder, offline=offline, cache=cache)
    except DataError as failure:
        if folder is not None:
            raise
        parts = (_fields(0), _fields(1))
        digest = hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()
        reason = str(failure).splitlines()[0].rstrip(":")
        return Behind(parts, "fields", f"smooth fields of colour, in place of CIFAR-10 ({reason})", digest)
    assert found.test is not None
    return Behind((found.train, found.test), "cifar10", f"crops of {found.note}", found.checksum)


@cache
def _fields(part: int) -> Pixels:
    """Pictures of a few slow waves in each colour."""
    chance = np.random.default_rng([0, part, 0xF1E1D])
    row, column = np.meshgrid(*[np.linspace(0, 1, SIDE)] * 2, indexing="ij")
    waves = chance.uniform(-1.5, 1.5, (2, _FIELDS, 3, 4, 1, 1))
    turns = 2 * np.pi * (waves[0] * row + waves[1] * column + chance.random((_FIELDS, 3, 4, 1, 1)))
    values = 127.5 + 45 * np.cos(turns).sum(2) + chance.uniform(-60, 60, (_FIELDS, 3, 1, 1))
    return np.ascontiguousarray(values.round().clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1))


def _drawn(
    fonts: Sequence[Path], behind: Behind, counts: tuple[int, int], seed: int
) -> tuple[Pixels, npt.NDArray[np.int64], Pixels, npt.NDArray[np.int64]]:
    """Both parts with their labels."""
    train, labels = _part(fonts, behind, 0, counts[0], seed)
    test, test_labels = _part(fonts, behind, 1, counts[1], seed)
    return train, labels, test, test_labels


def _part(
    fonts: Sequence[Path], behind: Behind, part: int, count: int, seed: int
) -> tuple[Pixels, npt.NDArray[np.int64]]:
    pixels, labels = np.empty((count, SIDE, SIDE, 3), np.uint8), np.empty(count, np.int64)
    for number in range(count):
        chance = np.random.default_rng([seed, part, number])
        labels[number] = chance.integers(10)
        pixels[number] = _picture(int(labels[number]), fonts, behind.parts[part], chance)
    return pixels, labels


def _picture(label: int, fonts: Sequence[Path], sources: Pixels, chance: np.random.Generator) -> Pixels:
    """One image: ink of one colour over a crop, by the share of each pixel that it covers."""
    ground = _ground(sources, chance)
    cover = _cover(label, fonts[int(chance.integers(len(fonts)))], chance)[..., None]
    colour = _colour(ground, chance)
    return np.round(ground + cover * (colour - ground)).astype(np.uint8)


def _ground(sources: Pixels, chance: np.random.Generator) -> npt.NDArray[np.float64]:
    """A square crop of a picture brought to size, with less contrast than it had."""
    picture = Image.fromarray(sources[chance.integers(len(sources))])
    side = int(chance.integers(SIDE // 2, min(picture.size) + 1))
    left, top = (int(chance.integers(length - side + 1)) for length in picture.size)
    crop = picture.crop((left, top, left + side, top + side)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    values = np.asarray(crop, np.float64)
    middle = values.mean((0, 1))
    return middle + chance.uniform(0.3, 0.8) * (values - middle)


def _colour(ground: npt.NDArray[np.float64], chance: np.random.Generator) -> npt.NDArray[np.float64]:
    """A colour that stands out: drawn again until its luma differs enough from the mean behind."""
    middle = float(ground.mean((0, 1)) @ _LUMA)
    while True:
        colour = chance.uniform(0, 255, 3)
        if abs(float(colour @ _LUMA) - middle) >= _CONTRAST:
            return colour


def _cover(label: int, font: Path, chance: np.random.Generator) -> npt.NDArray[np.float64]:
    """How much of each pixel the ink of the digit and of its neighbours covers, from 0 to 1."""
    side = SIDE * _FINE
    drawer = _font(font, int(chance.integers(24, 35)) * _FINE)
    canvas = Image.new("L", (side, side))
    draw, middle = ImageDraw.Draw(canvas), side // 2
    draw.text((middle, middle), _DIGITS[label], font=drawer, fill=255, anchor="mm")
    reach = drawer.getlength(_DIGITS[label]) / 2 + _FINE
    for anchor, at in (("rm", middle - reach), ("lm", middle + reach)):
        # Both are drawn in any case, so that what follows does not hang on them.
        there, digit = chance.random() < 0.5, _DIGITS[chance.integers(10)]
        if there:
            draw.text((at, middle), digit, font=drawer, fill=255, anchor=anchor)
    angle, shear = np.deg2rad(chance.uniform(-15, 15)), chance.uniform(-0.25, 0.25)
    turned = canvas.transform(
        (side, side), Image.Transform.AFFINE, _affine(angle, shear, middle), Image.Resampling.BILINEAR
    )
    soft = turned.filter(ImageFilter.GaussianBlur(chance.uniform(0, 0.7) * _FINE))
    return np.asarray(soft.resize((SIDE, SIDE), Image.Resampling.BOX), np.float64) / 255


def _affine(angle: float, shear: float, middle: int) -> tuple[float, ...]:
    """The rows of the map from a place in the new picture to that in the old one, about the middle."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[1, shear], [0, 1]])
    moved = middle - matrix @ np.array([middle, middle])
    return (*matrix[0], moved[0], *matrix[1], moved[1])


@cache
def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size)


def _kept(place: Path) -> tuple[Pixels, npt.NDArray[np.int64], Pixels, npt.NDArray[np.int64]] | None:
    """The arrays of a set that was drawn before, if they are what was written; damaged ones are drawn again."""
    try:
        with np.load(io.BytesIO(place.read_bytes()), allow_pickle=False) as stored:
            arrays = (stored["train"], stored["labels"], stored["test"], stored["test_labels"])
            return arrays if str(stored["checksum"]) == images_of("", arrays, "").checksum else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def _keep(place: Path, arrays: tuple[Pixels, npt.NDArray[np.int64], Pixels, npt.NDArray[np.int64]]) -> None:
    """Keeps a set; a cache that cannot be written costs drawing it again, not the run."""
    content = io.BytesIO()
    named = dict(zip(("train", "labels", "test", "test_labels"), arrays, strict=True))
    np.savez(content, checksum=np.array(images_of("", arrays, "").checksum), **named)  # type: ignore[arg-type]
    try:
        write_atomic(place, content.getvalue())
    except StorageError:
        return


def _grey_of(images: Images) -> Images:
    """The same in grey (ITU-R BT.601 luma, rounded)."""
    assert images.test is not None
    arrays = (grey(images.train), images.labels, grey(images.test), images.test_labels)
    return images_of(f"{images.name}-gs", arrays, images.note)


def named(name: str, folder: str | Path | None, *, offline: bool, cache: str | Path | None) -> Images:
    """The sets that `load_images` knows by name."""
    fonts = (*shipped_fonts(), *system_fonts()) if name == "syndigits-system" else None
    images = syndigits(*COUNTS, fonts=fonts, folder=folder, offline=offline, cache=cache)
    return _grey_of(images) if name == "syndigits-gs" else images
