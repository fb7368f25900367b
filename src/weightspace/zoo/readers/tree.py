"""The files below a folder, by names that never lead out of it."""

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from weightspace.errors import FormatError

__all__ = ["check_name", "checked_file", "digest_of", "listing", "nearest", "walk"]


def walk(root: Path, suffixes: Sequence[str]) -> list[str]:
    """Names of the files with one of these endings, relative to the folder, sorted; hidden files are left out.

    Links to files are followed where they stay below the folder, as those of the cache of the Hugging Face hub do.

    Args:
        root: a folder, without links in its path.
        suffixes: such as ``(".pt", ".pth")``.

    Raises:
        FormatError: a link that leads out of the folder or nowhere, a link to a folder, something that is no plain
            file, or a folder that may not be read.

    Example:
        >>> import tempfile
        >>> root = Path(tempfile.mkdtemp()).resolve()
        >>> (root / "a").mkdir()
        >>> for name in ("a/2.pt", "a/1.pt", "notes.txt", ".hidden.pt"):
        ...     _ = (root / name).write_bytes(b"")
        >>> walk(root, (".pt",))
        ['a/1.pt', 'a/2.pt']
    """
    names = []
    for folder, folders, files in os.walk(root, onerror=_refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(folder)
        for name in folders:
            if (here / name).is_symlink():
                raise FormatError(
                    f"{here / name} is a link to a folder, which is not followed. Remedy: copy the folder."
                )
        for name in files:
            if name.endswith(tuple(suffixes)) and not name.startswith("."):
                checked_file(root, here / name)
                names.append((here / name).relative_to(root).as_posix())
    return sorted(names)


def checked_file(root: Path, path: Path) -> Path:
    """The path, if what it leads to is a plain file below the folder.

    Raises:
        FormatError: it is not.
    """
    try:
        real = path.resolve(strict=True)
        plain = stat.S_ISREG(real.stat().st_mode)
    except (OSError, RuntimeError) as failure:
        raise FormatError(f"{path} cannot be read: {failure}. Remedy: copy it again.") from failure
    if not real.is_relative_to(root):
        raise FormatError(
            f"{path} is a link to {real}, out of {root}; it was not read. Remedy: give the folder that holds both, "
            "such as the whole models--... folder of the hub's cache, or copy the file."
        )
    if not plain:
        raise FormatError(f"{path} is no plain file. Remedy: take it out of the folder.")
    return path


def check_name(name: str, where: object) -> str:
    """A name that a file of the source gives, if it is relative and goes down only.

    Raises:
        FormatError: an absolute name, or one that climbs.

    Example:
        >>> check_name("a/1.pt", "labels.csv")
        'a/1.pt'
        >>> check_name("../1.pt", "labels.csv")
        Traceback (most recent call last):
        weightspace.errors.FormatError: labels.csv names '../1.pt', which leads out of the folder; nothing was read...
    """
    parts = name.replace("\\", "/").split("/")
    if not name or name.startswith(("/", "\\", "~")) or ".." in parts or ":" in parts[0] or "\0" in name:
        raise FormatError(
            f"{where} names {name!r}, which leads out of the folder; nothing was read from there. Remedy: name files "
            "relative to the source's folder."
        )
    return "/".join(part for part in parts if part not in ("", "."))


def digest_of(path: Path) -> str:
    """sha256 (hex) of a file.

    Raises:
        FormatError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as failure:
        raise FormatError(f"{path} cannot be read: {failure.strerror}. Remedy: make it readable for you.") from failure


def listing(root: Path, names: Iterable[str], described: Iterable[Path] = ()) -> dict[str, Any]:
    """How a manifest tells one source from another, before its weights were read.

    Args:
        root: the source's folder.
        names: of the networks; of these, the names count here, and each row has the digest of its own file. A file that
            was damaged may be replaced without the others being read again.
        described: the few files that describe the others, which count to the byte.
    """
    digest, count = hashlib.sha256(), 0
    for name in names:
        digest.update(f"{name}\n".encode())
        count += 1
    told: dict[str, Any] = {"name": root.name, "networks": count, "listing": digest.hexdigest()}
    for path in described:
        told.setdefault("described", {})[path.name] = digest_of(path)
    return told


def nearest(name: str, valid: Iterable[str]) -> str:
    """A clause with the nearest of the valid names, empty where none is near."""
    near = get_close_matches(name, list(valid), n=1)
    return f"; the nearest is {near[0]!r}" if near else ""


def _refuse(failure: OSError) -> None:
    raise FormatError(
        f"{failure.filename} cannot be listed: {failure.strerror}. Remedy: make it readable."
    ) from failure
