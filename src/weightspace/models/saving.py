"""Models on disk: a folder with the tensors and with what the model is built from. Nothing in it is code.

.. code-block:: text

    model.json          class, settings, readout, spec, versions, and the checksum of the tensors
    model.safetensors   every parameter and buffer by its name in the model

`model.json` is written last, and it names its tensors by their checksum. Tensors that are replaced are kept as
`model.before.safetensors` until then, so that at every moment the folder holds one whole model: the old or the new one.
"""

import hashlib
import inspect
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import UnionType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors import torch as files
from torch import Tensor, nn

from weightspace import __version__
from weightspace.disk import staged, sweep, writing
from weightspace.errors import FormatError, SpecError, UnknownNameError, WeightspaceError, unknown
from weightspace.models.baseline import DeepSets, FlatMLP, StatNN
from weightspace.models.construction import arguments
from weightspace.models.graph_metanet import GMN, NGGNN, GaugeGMN
from weightspace.models.magep import MAGEPNFN
from weightspace.models.monomial import MonomialNFN
from weightspace.models.neural_functional import HNP, NP
from weightspace.models.phased import Phased
from weightspace.models.probe import FunctionProbe
from weightspace.models.readout import Edit, Invariant, Readout
from weightspace.models.scalegmn import ScaleGMN
from weightspace.models.transformer import NeuronTransformer
from weightspace.spec import NetworkSpec

__all__ = ["MODELS", "load", "save"]

FORMAT, VERSION = "weightspace-model", 1
DESCRIPTION, WEIGHTS, KEPT = "model.json", "model.safetensors", "model.before.safetensors"

MODELS: Mapping[str, type[nn.Module]] = {
    kind.__name__: kind
    for kind in (
        DeepSets,
        FlatMLP,
        FunctionProbe,
        GMN,
        GaugeGMN,
        HNP,
        MAGEPNFN,
        MonomialNFN,
        NGGNN,
        NP,
        NeuronTransformer,
        Phased,
        ScaleGMN,
        StatNN,
    )
}
"""The models that can be saved and loaded, by name. A file can name no other class."""
_READOUTS: Mapping[str, type] = {kind.__name__: kind for kind in (Edit, Invariant)}
_ENTRIES: Mapping[str, type | UnionType] = {
    "model": str,
    "readout": dict,
    "settings": dict,
    "training": list,
    "spec": dict | list,
    "weights": dict,
}
_AGAIN = "Remedy: save the model again, or restore the folder from a copy."


def save(model: nn.Module, path: str | Path) -> None:
    """Write a model into a folder, from which `load` builds one that computes the same to the bit.

    Kept are all parameters and buffers with their types, the constructor's arguments, and which modules are in
    training mode. Not kept are the device, which parameters are frozen, hooks, and attributes set by hand. A model that
    is in the folder already is replaced, as a whole or, after any failure, not at all; other files stay as they are.

    Args:
        model: one of the package's own models, the keys of `saving.MODELS`.
        path: the folder; made if need be.

    Raises:
        UnknownNameError: another class, or a readout of one's own.
        FormatError: the model's tensors are not those that its constructor makes; settings that JSON cannot hold; the
            folder holds files of these names that are not from `save`.
        StorageError: the folder cannot be written; a model that was there can still be loaded.

    Example:
        >>> import tempfile
        >>> from weightspace.spec import spec_of
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)))
        >>> folder = Path(tempfile.mkdtemp()) / "model"
        >>> save(MonomialNFN(spec, Invariant(10)), folder)
        >>> sorted(file.name for file in folder.iterdir())
        ['model.json', 'model.safetensors']
    """
    folder, description = Path(path), _describe(model)
    tensors = {name: _detached(tensor) for name, tensor in _tensors(model).items()}
    # What could not be loaded is not saved: now it can still be put right.
    _compare(_tensors(_built(description, "this model")), tensors, "this model")
    content = files.save(tensors, {"format": FORMAT})
    description["weights"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    _refuse_others(folder)
    text = json.dumps(description, indent=1, allow_nan=False) + "\n"
    with staged(folder / WEIGHTS, content) as move_weights, staged(folder / DESCRIPTION, text.encode()) as move_rest:
        _set_aside(folder)
        move_weights()
        move_rest()
    with writing(folder):
        (folder / KEPT).unlink(missing_ok=True)
    sweep(folder)


def load(path: str | Path) -> nn.Module:
    """The model that `save` wrote, on the CPU, with its types and modes, computing the same to the bit.

    Nothing is unpickled and no class but the package's own models can be named. The random state is left as it was.

    Args:
        path: the folder.

    Raises:
        FormatError: files that are missing, damaged, of another kind or version; settings, spec or tensors that do not
            fit the model.
        UnknownNameError: a model, a readout or a setting that does not exist.

    Example:
        >>> import tempfile
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import random_features
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)))
        >>> model, folder = NP(spec, Invariant(10), channels=(8, 8)).eval(), tempfile.mkdtemp()
        >>> save(model, folder)
        >>> networks = random_features(spec, 5).to(torch.float32)
        >>> torch.equal(load(folder)(networks), model(networks))
        True
    """
    folder = Path(path)
    description = _read_description(folder)
    source = str(folder / DESCRIPTION)
    tensors = _read_tensors(folder, description["weights"])
    model = _built(description, source)
    places = _tensors(model)
    _compare(places, tensors, str(folder / WEIGHTS))
    for name, place in places.items():
        place.data = tensors[name]
    for name, module in model.named_modules():
        module.training = name in description["training"]
    return model


def _describe(model: nn.Module) -> dict[str, Any]:
    """What `model.json` says, but for the checksum of the tensors."""
    kind = type(model)
    if MODELS.get(kind.__name__) is not kind:
        raise UnknownNameError(
            f"cannot save a {kind.__module__}.{kind.__qualname__}: expected a model of the package ({_names(MODELS)}). "
            "Remedy: of a compiled or wrapped model save the one inside; of a class of your own save the state_dict."
        )
    settings = arguments(model)
    if not settings:
        raise FormatError(
            f"this {kind.__name__} does not know what it was built with: its constructor was never called, or an "
            "earlier version pickled it. Remedy: build it anew and load its state_dict."
        )
    spec: NetworkSpec | Sequence[NetworkSpec] = settings.pop("spec")
    readout: Readout = settings.pop("readout")
    if _READOUTS.get(type(readout).__name__) is not type(readout):
        raise UnknownNameError(f"cannot save the readout {readout!r}: expected one of {_names(_READOUTS)}.")
    return {
        "format": FORMAT,
        "version": VERSION,
        "weightspace": __version__,
        "model": kind.__name__,
        "readout": {"name": type(readout).__name__, **_plain(asdict(readout), "readout")},
        "settings": _plain(settings, kind.__name__),
        "training": [name for name, module in model.named_modules() if module.training],
        "spec": json.loads(spec.to_json())
        if isinstance(spec, NetworkSpec)
        else [json.loads(each.to_json()) for each in spec],
    }


def _plain(settings: dict[str, Any], owner: str) -> dict[str, Any]:
    for name, value in settings.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise FormatError(
                f"cannot save {name}={value!r} of {owner} as JSON ({error}). "
                "Remedy: build the model with plain finite numbers, texts and tuples of them."
            ) from error
    return settings


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, those that a state dict leaves out too: their last bit may depend on the machine."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _detached(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().clone(memory_format=torch.contiguous_format)


def _refuse_others(folder: Path) -> None:
    """Files of the same names that somebody else wrote are not ours to replace."""
    if (folder / DESCRIPTION).exists():
        other = None if _is_description(folder / DESCRIPTION) else DESCRIPTION
    else:
        other = next((name for name in (WEIGHTS, KEPT) if not _is_ours_or_absent(folder / name)), None)
    if other:
        raise FormatError(
            f"{folder / other} is there already and is not from weightspace.models.save, so it is not replaced. "
            "Remedy: save into another folder, or move that file away."
        )


def _is_description(path: Path) -> bool:
    with suppress(OSError, ValueError, RecursionError):
        plain = json.loads(path.read_bytes())
        return isinstance(plain, dict) and plain.get("format") == FORMAT
    return False


def _is_ours_or_absent(path: Path) -> bool:
    if not path.exists():
        return True
    with suppress(OSError, SafetensorError), safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get("format") == FORMAT
    return False


def _set_aside(folder: Path) -> None:
    """Keep the tensors that the present `model.json` names, unless a save that was killed has done so already."""
    path = folder / DESCRIPTION
    weights = _parse(path).get("weights") if path.exists() else None
    if isinstance(weights, dict) and _fits(folder / WEIGHTS, weights):
        with writing(folder / KEPT):
            os.replace(folder / WEIGHTS, folder / KEPT)


def _read_description(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    plain = _parse(path)
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise FormatError(f'{path} does not describe a model: expected an entry "format": "{FORMAT}". {_AGAIN}')
    if plain.get("version") != VERSION:
        raise FormatError(
            f"{path} has model format {plain.get('version')!r}, written by weightspace {plain.get('weightspace')!r}; "
            f"weightspace {__version__} reads format {VERSION}. Remedy: load it with the version that wrote it."
        )
    for name, kind in _ENTRIES.items():
        if not isinstance(plain.get(name), kind):
            found = repr(plain[name])[:80] if name in plain else "missing"
            raise FormatError(f"the entry {name!r} of {path} is {found}: expected a {_noun(kind)}. {_AGAIN}")
    return plain


def _parse(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise FormatError(
            f"no model in {path.parent}: {path.name} cannot be read ({error.strerror}). "
            "Expected the folder that weightspace.models.save was given."
        ) from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path} is not JSON ({error}). {_AGAIN}") from error


def _read_tensors(folder: Path, weights: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors with the right checksum: where a save was cut short, those that it had set aside."""
    path = folder / WEIGHTS
    whole = next((file for file in (path, folder / KEPT) if _fits(file, weights)), None)
    if whole is None:
        found = f"{path.stat().st_size:,} bytes" if path.exists() else "no such file"
        raise FormatError(
            f"{path} is damaged, missing or of another model ({found}): expected {weights.get('bytes')} bytes with "
            f"sha256 {weights.get('sha256')}, as {DESCRIPTION} says. {_AGAIN}"
        )
    try:
        # Copied, so that the tensors are aligned as those of any model, and sums run in the same order.
        return {name: tensor.clone() for name, tensor in files.load(whole.read_bytes()).items()}
    except SafetensorError as error:
        raise FormatError(f"{path} is not a safetensors file ({error}). {_AGAIN}") from error


def _fits(path: Path, weights: Mapping[str, Any]) -> bool:
    with suppress(OSError):
        return hashlib.sha256(path.read_bytes()).hexdigest() == weights.get("sha256")
    return False


def _built(description: Mapping[str, Any], source: str) -> nn.Module:
    """A fresh model, on the CPU; the caller's random numbers are none of our business."""
    name, readout = description["model"], dict(description["readout"])
    if name not in MODELS:
        raise unknown(f"model in {source}", name, MODELS)
    answer = readout.pop("name", None)
    if answer not in list(_READOUTS):  # what is no text may have no hash
        raise unknown(f"readout in {source}", answer, _READOUTS)
    try:
        plain = description["spec"]
        one = isinstance(plain, dict)
        specs = tuple(NetworkSpec.from_json(json.dumps(each)) for each in ([plain] if one else plain))
    except SpecError as error:
        raise FormatError(f"the entry 'spec' of {source} describes no networks: {error} {_AGAIN}") from error
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        asked = _called(_READOUTS[answer], readout, source)
        return _called(MODELS[name], description["settings"], source, spec=specs[0] if one else specs, readout=asked)


def _called(kind: type, settings: Mapping[str, Any], source: str, **given: object) -> Any:
    """The class called with settings from JSON, which knows no tuples, and with arguments that are not from there."""
    valid = inspect.signature(kind).parameters.keys() - given.keys()
    for name in settings:
        if name not in valid:
            raise unknown(f"setting of {kind.__name__} in {source}", name, valid)
    try:
        return kind(**given, **{name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()})
    except (TypeError, ValueError, IndexError, RuntimeError, WeightspaceError) as error:
        shown = ", ".join(f"{name}={value!r}" for name, value in settings.items()) or "no settings"
        raise FormatError(f"{source}: {kind.__name__} cannot be built with {shown}: {error} {_AGAIN}") from error


def _compare(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], source: str) -> None:
    """Refuse other tensors than those that the constructor makes; precision may differ."""
    wrong = [f"{name} is missing" for name in expected if name not in found]
    wrong += [f"{name} is not expected" for name in found if name not in expected]
    wrong += [
        f"{name} is {_kind(found[name])}, expected {_kind(tensor)}"
        for name, tensor in expected.items()
        if name in found and _kind(found[name]) != _kind(tensor)
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise FormatError(
            f"the tensors of {source} are not those that its class and settings make: {'; '.join(wrong[:3])}{more}. "
            "Remedy: save a model as its class builds it, and load it with the version of weightspace that saved it."
        )


def _kind(tensor: Tensor) -> str:
    numbers = "numbers" if tensor.is_floating_point() else str(tensor.dtype).removeprefix("torch.")
    return f"{numbers} of shape {tuple(tensor.shape)}"


def _noun(kind: type | UnionType) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _names(table: Mapping[str, Any]) -> str:
    return ", ".join(sorted(table))
