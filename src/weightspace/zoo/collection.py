"""A folder of zoos: networks of several architectures, one zoo for each, and a list of them.

.. code-block:: text

    collection.json    what belongs together: recipe, settings, and each zoo's folder with the digest of its manifest
    relu/              a zoo, as any other
    tanh/

A network has a number that no network of another zoo has, and its split hangs on that number alone: splits of all zoos
together are as disjoint as those of one.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weightspace.disk import write_atomic
from weightspace.errors import FormatError
from weightspace.zoo.dataset import Zoo, open_zoo
from weightspace.zoo.format import Manifest, leaves

__all__ = ["COLLECTION_FILE", "begin_collection", "collection_names", "open_zoos"]

FORMAT = "weightspace-zoos"
VERSION = 1
COLLECTION_FILE = "collection.json"


def begin_collection(path: str | Path, recipe: str, settings: Mapping[str, Any], zoos: Mapping[str, Manifest]) -> None:
    """Writes the list of a collection's zoos, or finds that it is there already.

    Args:
        path: the collection's folder; made where it does not exist.
        recipe: the name of what makes all of them.
        settings: of that, as JSON knows them.
        zoos: the manifest of each zoo, by the name of its folder.

    Raises:
        FormatError: a folder with another collection, or with something else.
        StorageError: the folder cannot be written.
    """
    root = Path(path)
    digests = {name: manifest.digest for name, manifest in zoos.items()}
    wanted = {"format": FORMAT, "version": VERSION, "recipe": recipe, "settings": dict(settings), "zoos": digests}
    wanted = json.loads(json.dumps(wanted, allow_nan=False))
    if (root / COLLECTION_FILE).is_file():
        found = _read(root)
        _check_alike(root, found, wanted)
        return
    if root.is_dir() and any(not file.name.startswith(".") for file in root.iterdir()):
        raise FormatError(f"{root} is not empty and holds no {COLLECTION_FILE}. Remedy: choose another folder.")
    write_atomic(root / COLLECTION_FILE, (json.dumps(wanted, indent=1) + "\n").encode())


def _check_alike(root: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuses a collection that was made otherwise, with what differs."""
    here, there = leaves(found), leaves(wanted)
    other = [key for key in {**here, **there} if here.get(key) != there.get(key)]
    # What the zoos' manifests differ in stands among the settings too, but for what another release does otherwise.
    told = [key for key in other if not key.startswith("zoos.")] or other
    if other:
        text = "; ".join(f"{key} is {here.get(key)!r} there and {there.get(key)!r} here" for key in told)
        raise FormatError(
            f"{root} holds another collection: {text}. Remedy: choose another folder, or the settings that "
            f"{COLLECTION_FILE} records."
        )


def collection_names(path: str | Path) -> list[str]:
    """The folders of a collection's zoos, in order.

    Raises:
        FormatError: no collection there, a newer version, or a damaged list.
    """
    return list(_read(Path(path))["zoos"])


def open_zoos(path: str | Path, *, skip_damaged: bool = False) -> list[Zoo]:
    """The zoos of a collection, one for each architecture; those still being made open with the networks they have.

    Args:
        path: the collection's folder.
        skip_damaged: as for :func:`weightspace.zoo.open_zoo`.

    Raises:
        FormatError: no collection there, a newer version, a damaged list, or a zoo that is missing, damaged or another
            one than the list says.

    Example:
        >>> import tempfile
        >>> from weightspace.zoo import load_images
        >>> from weightspace.zoo.generate import CnnSettings, make_mixed_zoos
        >>> settings = CnnSettings(steps=(3, 9), images=200, evaluated=50)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = make_mixed_zoos(folder, load_images("digits"), settings, count=5)
        ...     zoos = open_zoos(folder)
        >>> [(zoo.path.name, len(zoo), sorted(set(zoo.column("network").tolist()))) for zoo in zoos]
        [('relu', 9, [0, 2, 4]), ('tanh', 6, [1, 3])]
    """
    root, zoos = Path(path), []
    for name, digest in _read(root)["zoos"].items():
        zoo = open_zoo(root / name, skip_damaged=skip_damaged)
        if zoo.manifest.digest != digest:
            raise FormatError(
                f"{root / name} is another zoo than the one that {root / COLLECTION_FILE} lists. Remedy: restore it."
            )
        zoos.append(zoo)
    return zoos


def _read(root: Path) -> dict[str, Any]:
    file = root / COLLECTION_FILE
    try:
        found = json.loads(file.read_bytes())
    except FileNotFoundError as failure:
        raise FormatError(
            f"{root} has no {COLLECTION_FILE}; expected a folder of zoos. Remedy: `weightspace zoo make mixed` makes "
            f"one; a single zoo is opened by open_zoo."
        ) from failure
    except (OSError, ValueError) as failure:
        raise FormatError(
            f"{file} cannot be read ({failure}). Remedy: restore it, or make the zoos again."
        ) from failure
    if not isinstance(found, dict) or found.get("format") != FORMAT or not isinstance(found.get("zoos"), dict):
        raise FormatError(f'{file} is no list of zoos: "format" is not "{FORMAT}", or "zoos" is missing.')
    if found.get("version") != VERSION:
        raise FormatError(
            f"{file} has version {found.get('version')}; this release reads {VERSION}. Remedy: update weightspace."
        )
    names = found["zoos"]
    if not names or any(name in ("", ".", "..") or "/" in name or "\\" in name for name in names):
        raise FormatError(f"{file} lists the zoos {list(names)}; expected names of folders beside it.")
    return found
