"""A small real zoo made on the spot: scikit-learn's digits as SIRENs, for examples and tests without a download."""

from collections.abc import Callable
from pathlib import Path

from weightspace.zoo.dataset import Zoo
from weightspace.zoo.generate.plan import stored
from weightspace.zoo.generate.recipe import make_siren_zoo, siren_recipe
from weightspace.zoo.generate.siren import SirenSettings
from weightspace.zoo.sources import cache_folder, load_images

__all__ = ["DIGITS", "digits_folder", "digits_zoo"]

DIGITS = SirenSettings(hidden=(16, 16), omega=6.0, steps=100, learning_rate=1e-2)
"""How the networks are fitted: 337 parameters each, 39 dB on average."""

COUNT = 1797
"""One network per image."""


def digits_folder(dtype: str = "float32") -> Path:
    """Where the zoo lies by default: in the cache, under a name that tells how it was made.

    Args:
        dtype: of the zoo's weights.

    Raises:
        UnknownNameError: a type that does not exist.
        DataError: the cache lies in a home that does not exist.

    Example:
        >>> digits_folder().parent == cache_folder() / "zoos"
        True
    """
    digest = stored(siren_recipe(load_images("digits"), DIGITS, count=COUNT), dtype).manifest().digest
    # Another release may fit differently: it gets a folder of its own, and the one that is there stays what it is.
    return cache_folder() / "zoos" / f"digits-{digest[:12]}"


def digits_zoo(
    path: str | Path | None = None, *, progress: Callable[[int], None] | None = None, dtype: str = "float32"
) -> Zoo:
    """A zoo of 1,797 real networks, each a SIREN 2-16-16-1 that holds one of scikit-learn's digits.

    It is fitted in a few seconds by the first call and kept; later calls open it. Labels are the digits, splits belong
    to images. Nothing is downloaded.

    Args:
        path: the zoo's folder. Default: in the cache, ``$WEIGHTSPACE_CACHE`` or ``~/.cache/weightspace``.
        progress: called with the number of networks that are newly there, those found on disk included.
        dtype: in which weights are stored: float32 (fp32), bfloat16 (bf16) or float16 (fp16); they are trained in
            float32.

    Raises:
        UnknownNameError: a type that does not exist.
        DataError: scikit-learn is not there, or the cache lies in a home that does not exist.
        StorageError: the folder cannot be written.
        FormatError: another zoo in the folder, or a damaged one.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     zoo = digits_zoo(folder)
        ...     len(zoo), zoo.spec.numel, [len(zoo.split(name)) for name in ("train", "val", "test")]
        (1797, 337, [1451, 183, 163])
    """
    folder = digits_folder(dtype) if path is None else path
    return make_siren_zoo(folder, load_images("digits"), DIGITS, count=COUNT, progress=progress, dtype=dtype)
