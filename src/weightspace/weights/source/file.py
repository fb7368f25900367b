"""Tensors and programs from files, without running any code that a file may hold."""

import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.export import ExportedProgram

from weightspace.errors import FormatError
from weightspace.spec.trace import quiet

__all__ = ["PROGRAMS", "STATES", "read_mapping", "read_program", "read_state"]

STATES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
"""Suffixes of files that hold state dicts."""
PROGRAMS = (".pt2",)
"""Suffixes of archives that `torch.export.save` writes."""

_PICKLES = STATES[1:]
# Under these names training scripts keep the state dict among other things, the likeliest first.
_NESTS = ("state_dict", "model_state_dict", "model", "module", "net", "network", "weights", "params")
# What an archive may name: files of tensors, not of pickled objects; and in shapes symbols with arithmetic, which torch
# hands to a parser that evaluates them.
_ARITHMETIC = (
    r"[\s+\-*/(),<>=&|~%]",
    r"\d++(?:\.\d*+)?",
    r"Symbol\('\w++'(?:, \w++=(?:True|False))*+\)",
    r"[su]\d++",
    r"[A-Z][A-Za-z]*+",  # Mod, Max, FloorDiv and so on, which take numbers alone where there are no texts
    r"ceiling|floor",
)
_HARMLESS = {
    "path_name": re.compile(r"(weight|tensor)_\d+"),
    "expr_str": re.compile(f"(?:{'|'.join(_ARITHMETIC)})*+"),
}
_DAMAGED = "is damaged or incomplete, or no file of that kind"


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict in a file, on the CPU and in the order of the network where the file keeps one.

    Of a dict that holds the state dict among other things, such as `{"state_dict": ..., "epoch": 3}`, it is taken out.
    The format safetensors keeps no order: names are then sorted, numbers in them as numbers.

    Raises:
        FormatError: no such file, a damaged one, one of another kind, one that would have to run code to be read, or
            no tensors in it.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "line.pt"
        >>> torch.save({"state_dict": torch.nn.Linear(2, 1).state_dict(), "epoch": 3}, file)
        >>> {key: tuple(tensor.shape) for key, tensor in read_state(file).items()}
        {'weight': (1, 2), 'bias': (1,)}
    """
    _check_kind(path)
    if path.suffix == ".safetensors":
        try:
            loaded = load_file(path)
        except Exception as error:  # the reader's own errors, and whatever a damaged header makes of itself
            raise FormatError(_unread(path, error)) from error
        state = {key: loaded[key] for key in sorted(loaded, key=_natural)}
    else:
        state = _unwrapped(path, _unpickled(path))
    if not state:
        raise FormatError(f"{path} holds no tensors; expected the state dict of a network.")
    strange = [key for key, tensor in state.items() if tensor.layout != torch.strided or tensor.is_quantized]
    if strange:
        raise FormatError(f"{strange[0]!r} of {path} is sparse or quantised; convert it to a plain tensor first.")
    return state


def read_mapping(path: Path) -> dict[str, Any]:
    """All that a file of `torch.save` holds beside each other: tensors, numbers and texts by name.

    Raises:
        FormatError: no such file, a damaged one, one of another kind, one that would have to run code to be read, or
            no dict in it.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "line.pth"
        >>> torch.save({**torch.nn.Linear(2, 1).state_dict(), "label": 3}, file)
        >>> list(read_mapping(file)), read_mapping(file)["label"]
        (['weight', 'bias', 'label'], 3)
    """
    _check_kind(path)
    loaded = _unpickled(path)
    if not isinstance(loaded, Mapping):
        raise FormatError(f"{path} holds a {type(loaded).__name__}; expected a state dict: tensors by name.")
    return {str(key): value.detach() if isinstance(value, Tensor) else value for key, value in loaded.items()}


def read_program(path: Path) -> ExportedProgram:
    """The program in an archive of `torch.export.save`.

    Torch's own reader unpickles what an archive asks it to and evaluates its expressions. Here tensors are read with
    `weights_only`, and archives that hold pickled objects, or expressions with more than arithmetic, are refused.

    Raises:
        FormatError: no such file, a damaged one, or one that would have to run code to be read.
    """
    _check_kind(path)
    try:
        _check_harmless(path)
        with quiet(), _weights_only():
            return _tied(torch.export.load(path))
    except FormatError:
        raise
    except Exception as error:  # torch raises errors of many kinds for archives that are damaged
        raise FormatError(_unread(path, error)) from error


def _tied(program: ExportedProgram) -> ExportedProgram:
    """The program with every parameter that goes by several names as one object, as it was before it was saved."""
    first: dict[object, Tensor] = {}
    for name, tensor in program.state_dict.items():
        # Archives keep that two tensors lie in the same memory, but not that they are one.
        place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.requires_grad)
        if tensor.numel() and not tensor.is_meta:
            program.state_dict[name] = first.setdefault(place, tensor)
    return program


def _check_kind(path: Path) -> None:
    if path.is_dir():
        raise FormatError(f"{path} is a folder; expected a file. Of folders `weightspace same FOLDER` compares all.")
    if not path.is_file():
        raise FormatError(f"{path} does not exist; expected a file, or package.module:factory.")
    if path.suffix == ".onnx":
        raise FormatError(
            f"{path}: ONNX is not read. Remedy: torch.export.save the network that it was made from as .pt2, or save "
            "its state dict and give the module."
        )
    if path.suffix not in (*STATES, *PROGRAMS):
        raise FormatError(f"{path} ends in {path.suffix!r}; expected {', '.join((*STATES, *PROGRAMS))}.")


def _unread(path: Path, error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (
        f"{path} {_DAMAGED} ({type(error).__name__}: {lines[0][:200] if lines else ''}). Remedy: save or copy it again."
    )


def _unpickled(path: Path) -> Any:
    try:
        with quiet():
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises errors of many kinds for files that are damaged
        blocked = re.search(r"GLOBAL (\S+)", str(error))
        if blocked is None and isinstance(error, UnpicklingError):
            raise FormatError(
                f"{path} is damaged, or holds more than tensors, and reading that could run code. Remedy: copy it "
                "again, or where you trust the file, load it in Python and torch.save(module.state_dict(), ...)."
            ) from error
        if blocked is None and "TorchScript" not in str(error):
            raise FormatError(_unread(path, error)) from error
        what = f"an object of {blocked[1]}" if blocked else "a TorchScript program"
        raise FormatError(
            f"{path} holds {what}, and reading that could run code; only tensors are read. Remedy: where you trust the "
            "file, load it in Python and torch.save(module.state_dict(), ...)."
        ) from error


def _unwrapped(path: Path, loaded: Any) -> dict[str, Tensor]:
    """The state dict among the things that a file holds."""
    if not isinstance(loaded, Mapping):
        raise FormatError(f"{path} holds a {type(loaded).__name__}; expected a state dict: tensors by name.")
    for _ in range(3):  # a state dict in a dict in a dict; more would be something else
        tensors = {str(key): value.detach() for key, value in loaded.items() if isinstance(value, Tensor)}
        nested = {key: value for key, value in loaded.items() if isinstance(value, Mapping)}
        if tensors or not nested:
            return tensors
        chosen = [key for key in _NESTS if key in nested] or list(nested)
        loaded = nested[chosen[0]]
        if len(nested) > 1 and chosen[0] not in _NESTS:
            raise FormatError(
                f"{path} holds several dicts: {', '.join(map(repr, nested))}. Remedy: save the network's alone."
            )
    return {}


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers in names as numbers."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]


@contextmanager
def _weights_only() -> Iterator[None]:
    """While this is open, torch unpickles nothing but tensors, even where it is asked to."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _check_harmless(path: Path) -> None:
    """Refuse an archive in which torch's reader would run code in other ways than by `torch.load`."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(set(names)) < len(names):
            raise FormatError(f"{path} {_DAMAGED} (a name stands in it twice). Remedy: save or copy it again.")
        documents = [json.loads(archive.read(name)) for name in names if name.endswith(".json")]
    for key, value in _entries(documents):
        if key in _HARMLESS and not _HARMLESS[key].fullmatch(value):
            raise FormatError(
                f"{path} holds {value[:80]!r} as {key}, and reading that could run code; only tensors and arithmetic "
                "are read. Remedy: export the network without objects of its own."
            )


def _entries(plain: Any) -> Iterator[tuple[str, str]]:
    """Every text of a JSON document with its key."""
    if isinstance(plain, dict):
        for key, value in plain.items():
            if isinstance(value, str):
                yield key, value
            else:
                yield from _entries(value)
    elif isinstance(plain, list):
        for value in plain:
            yield from _entries(value)
