"""SIRENs of the deep weight spaces' data sets, which ScaleGMN uses too: a tree of files, and splits as lists of paths.

.. code-block:: text

    mnist_png_training_5_0/checkpoints/model_final.pth    image 0 of the training images, of class 5
    mnist_splits.json                                     {"train": {"path": [...], "label": [...]}, "val": ..., ...}

or, with the class in each file beside the tensors, ``splits.json`` with lists of paths alone.

References:
    Navon et al., *Equivariant Architectures for Learning in Deep Weight Spaces*, 2023, and its published programs.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from weightspace.errors import FormatError
from weightspace.weights.source.file import read_mapping
from weightspace.zoo.readers.architecture import chain_of
from weightspace.zoo.readers.collection import Collection, ImportSettings, Request
from weightspace.zoo.readers.file import Files, Loaded
from weightspace.zoo.readers.table import check_published, check_splits
from weightspace.zoo.readers.tree import check_name, checked_file, listing, nearest, walk
from weightspace.zoo.split import SPLITS, assign

__all__ = ["read_dws_siren"]

_FOLDER = re.compile(r"(?:.*/)?[^/]*_png_(?P<part>training|testing)_(?P<label>\d+)_(?P<image>\d+)/(?:.*/)?[^/]+\.pth")
_ACTIVATION = "sine:omega=30"
_LABEL = "label"


def read_dws_siren(request: Request) -> Collection:
    """A tree of such files, split as its json file says.

    Without one, the testing images are test, and of the training images one in twelve is val, by a hash of its number:
    the published programs draw that split without a seed.

    Args:
        request: its settings ``activation`` (of other frequencies), ``split``, ``count`` and ``seed`` count.

    Raises:
        FormatError: no such files, a split that names others or names one twice, classes that contradict each other.
        SpecError: networks that are no chain of layers.
    """
    root, settings = request.root, request.settings
    names = walk(root, (".pth",))
    if not names:
        raise FormatError(f"{root} holds no networks; expected .pth files in folders.")
    path = settings.split or _split_file(root)
    if path is None:
        columns, left = _drawn(root, names, settings), 0
    else:
        names, columns, left = _published(root, names, path, settings)
    _check_labels(root, names, columns)
    first = root / names[0]
    tensors, told = _labelled(first)
    architecture, notes = chain_of(tensors, settings.activation or _ACTIVATION, first)
    files = Files(root, names, architecture, _without_label if _LABEL in columns else _labelled)
    if _LABEL not in columns and _LABEL not in told:
        notes = (*notes, "the networks: neither names, split nor files tell their classes")
    if left:
        notes = (*notes, f"the split: {left:,} files that it does not name were left out")
    return Collection(
        spec=architecture.spec,
        table=pa.table({"number": np.arange(len(names)), **columns}),
        read=files.read,
        digest=files.digest_of,
        settings={"template": architecture.record, "split": path.name if path else {"seed": settings.seed}},
        forward={
            "layers": f"{settings.activation or _ACTIVATION} of W x + b, the last one W x + b",
            "coordinates": "column, row",
            "coordinate_range": [-1.0, 1.0],
            "output_offset": 0.5,
            "colour_range": [0.0, 1.0],
        },
        source=listing(root, names, [path] if path else []) | {"left_out": left},
        notes=notes,
    )


def _split_file(root: Path) -> Path | None:
    found = sorted(path for path in root.glob("*.json") if "split" in path.name)
    if len(found) > 1:
        raise FormatError(f"{root} holds several splits: {', '.join(path.name for path in found)}. Remedy: name one.")
    return checked_file(root, found[0]) if found else None


def _drawn(root: Path, names: list[str], settings: ImportSettings) -> dict[str, Any]:
    """What the names say, and the split where none is published."""
    found = [_FOLDER.fullmatch(name) for name in names]
    if None in found:
        raise FormatError(
            f"{root / names[found.index(None)]} does not say of which image it is; expected a folder such as "
            "mnist_png_training_5_0. Remedy: give the json file of the split."
        )
    part = np.array([match["part"] for match in found if match])
    image = np.array([int(match["image"]) for match in found if match], np.int64)
    drawn = assign(image, seed=settings.seed, fractions=(11 / 12, 1 / 12, 0.0))
    return _names(names) | {"split": _texts(np.where(part == "testing", "test", drawn).tolist())}


def _published(
    root: Path, names: list[str], path: Path, settings: ImportSettings
) -> tuple[list[str], dict[str, Any], int]:
    """Files in the order of the split, what is known of them, and how many it leaves out."""
    check_published(settings, path)
    lists = _lists(path)
    ends = _Ends(names)
    chosen: list[str] = []
    splits: list[str] = []
    labels: list[Any] = []
    for split, (paths, classes) in lists.items():
        for name in paths:
            chosen.append(ends.find(name, path))
            splits.append(split)
        labels += classes
    twice = next((name for name, count in zip(*np.unique(chosen, return_counts=True), strict=True) if count > 1), None)
    if twice is not None:
        raise FormatError(f"{path} names {twice} more than once; expected each network in one place of one split.")
    columns = _names(chosen) | {"split": _texts(check_splits(splits, path).tolist())}
    if labels:
        told = np.array([_integer(label, path) for label in labels], np.int64)
        if _LABEL in columns and (columns[_LABEL] != told).any():
            row = int((columns[_LABEL] != told).argmax())
            raise FormatError(f"{path} gives {chosen[row]} the class {told[row]}, its folder {columns[_LABEL][row]}.")
        columns[_LABEL] = told
    return chosen, columns, len(names) - len(chosen)


def _lists(path: Path) -> dict[str, tuple[list[str], list[Any]]]:
    """Paths and classes of each split."""
    try:
        plain = json.loads(path.read_text())
    except (OSError, ValueError) as failure:
        raise FormatError(f"{path} cannot be read as a split: {failure}. Remedy: copy it again.") from failure
    if not isinstance(plain, Mapping) or not plain.keys() & {*SPLITS}:
        raise FormatError(f"{path} is no split; expected lists of paths by {', '.join(SPLITS)}.")
    found = {}
    for split, entry in plain.items():
        paths = entry.get("path") if isinstance(entry, Mapping) else entry
        classes = entry.get("label", []) if isinstance(entry, Mapping) else []
        if not isinstance(paths, list) or not all(isinstance(name, str) for name in paths):
            raise FormatError(f"{path}: {split!r} is no list of paths. Remedy: copy it again.")
        if classes and len(classes) != len(paths):
            raise FormatError(f"{path}: {split!r} has {len(paths)} paths and {len(classes)} labels; expected as many.")
        found[str(split)] = (paths, classes)
    if len({bool(classes) for _, classes in found.values()}) > 1:
        raise FormatError(f"{path} has labels for some splits and not for others.")
    return found


class _Ends:
    """Files by the ends of their paths: splits name them from folders that were somewhere else."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._found: dict[str, str | None] = {}
        for name in names:
            parts = name.split("/")
            for start in range(len(parts)):
                end = "/".join(parts[start:])
                self._found[end] = None if end in self._found else name

    def find(self, name: str, where: Path) -> str:
        """The file of the source that a path of a split ends in; nothing else is ever opened."""
        parts = check_name(name.replace("\\", "/").lstrip("/"), where).split("/")
        for start in range(len(parts)):
            found = self._found.get("/".join(parts[start:]))
            if found is not None:
                return found
        raise FormatError(
            f"{where} names {name!r}, which the source does not hold{nearest(name, self._names[:1000])}. Remedy: "
            "unpack the whole archive, or give the folder above."
        )


def _names(names: list[str]) -> dict[str, Any]:
    """Columns that the names tell, where all of them do."""
    found = [_FOLDER.fullmatch(name) for name in names]
    matches = [match for match in found if match]
    if len(matches) < len(names):
        return {}
    return {
        "part": _texts([match["part"] for match in matches]),
        "image": np.array([int(match["image"]) for match in matches], np.int64),
        _LABEL: np.array([int(match["label"]) for match in matches], np.int64),
    }


def _check_labels(root: Path, names: list[str], columns: Mapping[str, Any]) -> None:
    if "image" not in columns:
        return
    seen: dict[tuple[str, int], str] = {}
    for name, part, image in zip(names, columns["part"].to_pylist(), columns["image"].tolist(), strict=True):
        other = seen.setdefault((part, image), name)
        if other != name:
            raise FormatError(f"{root}: {other} and {name} are both of {part} image {image}. Remedy: keep one of them.")


def _labelled(path: Path) -> Loaded:
    """The tensors of a file, and the class that it holds beside them."""
    held = read_mapping(path)
    label = held.pop(_LABEL, None)
    told = {} if label is None else {_LABEL: _integer(label, path)}
    strange = [key for key, value in held.items() if not isinstance(value, Tensor)]
    if strange:
        raise FormatError(f"{path} holds {strange[0]!r}, which is no tensor; expected a state dict and a label.")
    return held, told


def _without_label(path: Path) -> Loaded:
    """The tensors of a file whose class is known; the class in it, if any, is not asked for."""
    return _labelled(path)[0], {}


def _integer(value: Any, where: object) -> int:
    try:
        return int(value)
    except (TypeError, ValueError, RuntimeError) as failure:
        raise FormatError(f"{where} gives the class {value!r}; expected a whole number.") from failure


def _texts(values: list[str]) -> pa.Array:
    return pa.array(values, pa.string())
