"""Folders of safetensors as the Hugging Face hub lays them out: whole models, and PEFT adapters.

.. code-block:: text

    any/folder/config.json, model.safetensors                 a model, or several model-00001-of-00002.safetensors
                                                              with model.safetensors.index.json
    any/folder/adapter_config.json, adapter_model.safetensors an adapter
    models--owner--name/snapshots/<revision>/...              either of them in the hub's cache, as links to blobs
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import Tensor

from weightspace.errors import FormatError
from weightspace.weights.source.file import read_state
from weightspace.zoo.readers.architecture import Architecture, described, lora_of
from weightspace.zoo.readers.collection import Collection, Request
from weightspace.zoo.readers.file import Files, Loaded
from weightspace.zoo.readers.state_dict import read_labels
from weightspace.zoo.readers.table import drawn, numbered
from weightspace.zoo.readers.tree import check_name, checked_file, digest_of, listing, walk

__all__ = ["read_peft", "read_safetensors"]

_MODEL, _INDEX = "model.safetensors", "model.safetensors.index.json"
_ADAPTER, _CONFIG = "adapter_model.safetensors", "adapter_config.json"
_CACHED = re.compile(r"(?:.*/)?models--(?P<repository>[^/]+)/snapshots/(?P<revision>[^/]+)(?P<rest>/.*)?")
# What makes an adapter more than pairs of factors, or pairs of several scales, and when it is of no account.
_REFUSED: Mapping[str, tuple[Any, ...]] = {
    "use_dora": (None, False),
    "bias": (None, "none"),
    "modules_to_save": (None, []),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
    "fan_in_fan_out": (None, False),
    "layer_replication": (None, []),
    "trainable_token_indices": (None, [], {}),
}


def read_safetensors(request: Request) -> Collection:
    """Folders with ``model.safetensors``, in one file or several, of one architecture.

    Args:
        request: what the architecture is; its settings ``labels``, ``count``, ``seed`` and ``fractions`` count.

    Raises:
        FormatError: no such folders, one that is damaged or lacks a file, files of several architectures.
        SpecError: the architecture was not told.
    """
    files = walk(request.root, (_MODEL, _INDEX))
    folders = sorted({Path(name).parent.as_posix() for name in files if Path(name).name in (_MODEL, _INDEX)})
    if not folders:
        raise FormatError(f"{request.root} holds no folder with {_MODEL} or {_INDEX}.")

    def architecture(first: Path) -> tuple[Architecture, tuple[str, ...]]:
        return described(request, _model(first)[0], first)

    return _collected(request, folders, architecture, _model, {})


def read_peft(request: Request) -> Collection:
    """Folders with ``adapter_config.json`` and ``adapter_model.safetensors``: LoRA adapters of one shape.

    The columns ``base_model``, ``lora_alpha`` and ``scale`` are each adapter's own; weights change by ``scale * B A``.

    Args:
        request: its settings ``labels``, ``count``, ``seed`` and ``fractions`` count.

    Raises:
        FormatError: no such folders, one that is damaged, adapters of several shapes, or of a kind that is more than
            pairs of low-rank factors.
        SpecError: tensors that are no pairs.
    """
    files = walk(request.root, (_CONFIG,))
    folders = sorted(Path(name).parent.as_posix() for name in files if Path(name).name == _CONFIG)
    if not folders:
        raise FormatError(f"{request.root} holds no folder with {_CONFIG}.")
    load = partial(_adapter, request.root)

    def architecture(first: Path) -> tuple[Architecture, tuple[str, ...]]:
        return lora_of(load(first)[0], first)

    forward = {"layers": "scale * B @ A is added to each weight of the base model; scale is a column of the table"}
    return _collected(request, folders, architecture, load, forward)


def _collected(
    request: Request,
    folders: list[str],
    architecture: Callable[[Path], tuple[Architecture, tuple[str, ...]]],
    load: Callable[[Path], Loaded],
    forward: Mapping[str, Any],
) -> Collection:
    """One network per folder, with the columns of a table of labels where there is one."""
    root, settings = request.root, request.settings
    path = settings.labels or (checked_file(root, root / "labels.csv") if (root / "labels.csv").exists() else None)
    left, split = 0, {"seed": settings.seed, "fractions": settings.fractions}
    if path is None:
        # Revisions of one repository are one network at several times.
        networks = numbered(_place(root, name)[0] for name in folders)
        splits = pa.array(drawn(networks, settings).tolist(), pa.string())
        names, columns = folders, {"number": np.arange(len(folders)), "network": networks, "split": splits}
    else:
        names, columns, split = read_labels(path, folders, settings)
        left = len(folders) - len(names)
    places = [_place(root, name) for name in names]
    for name, values in zip(("repository", "revision"), zip(*places, strict=True), strict=True):
        columns.setdefault(name, pa.array(values, pa.string()))
    found, notes = architecture(root / names[0])
    if left:
        notes = (*notes, f"the source: {left:,} folders that {path} does not name were left out")
    for name in names:
        _parts(root, root / name)  # whole, before anything is written
    files = Files(root, names, found, load, partial(_digest, root))
    return Collection(
        spec=found.spec,
        table=pa.table(columns),
        read=files.read,
        digest=files.digest_of,
        settings={"template": found.record, "split": split},
        forward=forward,
        source=listing(root, names, [path] if path else []) | {"left_out": left},
        notes=notes,
    )


def _place(root: Path, name: str) -> tuple[str, str]:
    """Repository and revision of a folder; outside of a cache the folder itself, and none."""
    match = _CACHED.fullmatch((root / name).as_posix())
    if match is None:
        return (name if name != "." else root.name), ""
    return match["repository"].replace("--", "/") + (match["rest"] or ""), match["revision"]


def _parts(root: Path, folder: Path) -> list[Path]:
    """The files of a folder that its network is read from."""
    if (folder / _CONFIG).exists():
        names = [_CONFIG, _ADAPTER]
    elif (folder / _MODEL).exists():
        names = [_MODEL]
    else:
        names = [_INDEX, *sorted(set(_index(folder).values()))]
    for name in names:
        if not (folder / name).exists():
            raise FormatError(f"{folder} lacks {name}{_pickled(folder)}.")
    return [checked_file(root, folder / name) for name in names]


def _pickled(folder: Path) -> str:
    other = [name for name in ("adapter_model.bin", "pytorch_model.bin") if (folder / name).exists()]
    return f"; {other[0]} there is not read. Remedy: save it as safetensors" if other else ". Remedy: download it again"


def _digest(root: Path, folder: Path) -> str:
    """sha256 of the one file of weights, or of the digests of several."""
    parts = [path for path in _parts(root, folder) if path.suffix == ".safetensors"]
    digests = [digest_of(path) for path in parts]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _model(folder: Path) -> Loaded:
    """All tensors of a model, whose files must agree with their index."""
    if (folder / _MODEL).exists():
        return read_state(folder / _MODEL), {}
    index = _index(folder)
    state: dict[str, Tensor] = {}
    for name in sorted(set(index.values())):
        for key, tensor in read_state(folder / name).items():
            if index.get(key) != name:
                raise FormatError(f"{folder / name} holds {key!r}, which {_INDEX} does not place there.")
            state[key] = tensor
    missing = sorted(index.keys() - state.keys())
    if missing:
        raise FormatError(f"{folder / index[missing[0]]} lacks {missing[0]!r}, which {_INDEX} places there.")
    return {key: state[key] for key in index}, {}


def _index(folder: Path) -> dict[str, str]:
    """Which file holds which tensor."""
    path = folder / _INDEX
    entries = _json(path).get("weight_map")
    if not isinstance(entries, Mapping) or not entries:
        raise FormatError(f"{path} has no weight_map. Remedy: download it again.")
    for name in set(entries.values()):
        if "/" in check_name(str(name), path) or not str(name).endswith(".safetensors"):
            raise FormatError(f"{path} names {name!r}; expected a .safetensors file beside it.")
    return {str(key): str(name) for key, name in entries.items()}


def _adapter(root: Path, folder: Path) -> Loaded:
    """The factors of an adapter, and what its configuration says of it."""
    path, weights = _parts(root, folder)
    config = _json(path)
    kind = config.get("peft_type")
    if kind != "LORA":
        raise FormatError(f"{path} is of an adapter of type {kind!r}; expected LORA.")
    for name, harmless in _REFUSED.items():
        if config.get(name) not in harmless:
            raise FormatError(
                f"{path} says {name}: {json.dumps(config[name])}, and the adapter is more than pairs of low-rank "
                f"factors of one scale; expected {json.dumps(harmless[-1])}. Remedy: leave it out by a table of labels."
            )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1 or not isinstance(alpha, int | float):
        raise FormatError(f"{path} has r {rank!r} and lora_alpha {alpha!r}; expected a rank above 0 and a number.")
    state = read_state(weights)
    for key, tensor in state.items():
        if key.endswith(("lora_A.weight", "lora_embedding_A")) and len(tensor) != rank:
            raise FormatError(f"{weights}: {key!r} has rank {len(tensor)}; {path.name} says {rank}.")
    scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    base = config.get("base_model_name_or_path")
    return state, {"base_model": str(base or ""), "lora_alpha": float(alpha), "scale": float(scale)}


def _json(path: Path) -> Mapping[str, Any]:
    try:
        plain = json.loads(path.read_text())
    except (OSError, ValueError) as failure:
        raise FormatError(f"{path} cannot be read: {failure}. Remedy: download it again.") from failure
    if not isinstance(plain, Mapping):
        raise FormatError(f"{path} holds a {type(plain).__name__}; expected a mapping. Remedy: download it again.")
    return plain
