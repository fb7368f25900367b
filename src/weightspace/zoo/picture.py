"""Pictures of one's own, one or a folder of them, as a data set."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from weightspace.errors import DataError, ShapeError
from weightspace.zoo.sources import Images, images_of

__all__ = ["load_pictures"]

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


def load_pictures(path: str | Path, *, grey: bool = False, side: int | None = None) -> Images:
    """A picture, or all pictures of a folder and its sub-folders, in the order of their names.

    Pictures in sub-folders have the number of their sub-folder, by name, as a label; all others have 0.

    Args:
        path: a file, or a folder.
        grey: make them grey (ITU-R BT.601 luma); else they are grey if all of them are.
        side: cut each to a square about its middle, and scale it to this many pixels along a side.

    Raises:
        DataError: no picture there, or one that cannot be read.
        ShapeError: pictures of several sizes, and no side to bring them to.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "ramp.png"
        >>> Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(file)
        >>> load_pictures(file).train.shape, load_pictures(file, side=4).train.shape
        ((1, 6, 8), (1, 4, 4))
    """
    root = Path(path)
    files = _files(root)
    if side is not None and side < 1:
        raise DataError(f"side is {side}; expected at least one pixel.")
    opened = [_read(file, side) for file in files]
    mode = "L" if grey or all(picture.mode in ("1", "L") for picture in opened) else "RGB"
    sizes = {picture.size: file for picture, file in zip(opened, files, strict=True)}
    if len(sizes) > 1:
        told = ", ".join(f"{file} has {width} x {height}" for (width, height), file in list(sizes.items())[:3])
        raise ShapeError(f"the pictures in {root} have several sizes: {told}. Remedy: give a side to bring them to.")
    pixels = np.stack([np.asarray(picture.convert(mode)) for picture in opened])
    folders = sorted({file.parent for file in files} - {root})
    labels = np.array([folders.index(file.parent) if file.parent in folders else 0 for file in files], np.int64)
    note = f"{len(files)} picture{'s' * (len(files) > 1)} from {root}"
    return images_of(root.stem, (pixels, labels, None, None), note)


def _files(root: Path) -> list[Path]:
    found = [root] if root.is_file() else sorted(f for f in root.rglob("*") if f.suffix.lower() in ENDINGS)
    if not found:
        raise DataError(f"there is no picture in {root}: expected a file, or a folder with {', '.join(ENDINGS)}.")
    return found


def _read(file: Path, side: int | None) -> Image.Image:
    try:
        with Image.open(file) as picture:
            picture.load()
            return picture if side is None else _squared(picture, side)
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as failure:
        raise DataError(f"{file} cannot be read as a picture: {failure}. Remedy: save it as PNG.") from failure


def _squared(picture: Image.Image, side: int) -> Image.Image:
    # Modes with a palette do not interpolate.
    plain = picture if picture.mode == "L" else picture.convert("RGB")
    width, height = plain.size
    shorter = min(width, height)
    left, top = (width - shorter) // 2, (height - shorter) // 2
    return plain.resize((side, side), Image.Resampling.LANCZOS, (left, top, left + shorter, top + shorter))
