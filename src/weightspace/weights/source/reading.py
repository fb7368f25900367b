"""One network from wherever it lies: a factory, a file with its weights, or an exported program."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from weightspace.errors import ShapeError, SpecError
from weightspace.spec import Note
from weightspace.spec.example import example_inputs_of
from weightspace.spec.trace import exported
from weightspace.weights.source.chain import Chain, guess_chain
from weightspace.weights.source.factory import call_factory, is_factory
from weightspace.weights.source.file import PROGRAMS, read_program, read_state
from weightspace.weights.source.source import Source
from weightspace.weights.source.state import fitted, unwrapped, widened

__all__ = ["Reading", "inputs_of", "read_source", "read_sources"]


@dataclass(frozen=True)
class Reading:
    """How a file becomes a network."""

    module: str | None = None
    """package.module:factory, a function without arguments that makes the network of a file with weights. Importing and
    calling it runs its code. Without it such a file is read as a chain that is guessed from the shapes."""
    activation: str | None = None
    """What stands between the layers of a guessed chain: relu, tanh, sine:omega=30, gelu and so on. Without it only
    the order of units is taken to be free."""
    inputs: tuple[str, ...] = ()
    """Shapes of example inputs, such as 2,3,32,32, one for each argument; 2,16:int for indices. By default those that
    the factory gives, or what the first layer takes."""

    def __post_init__(self) -> None:
        if self.module is not None and self.activation is not None:
            raise SpecError(
                f"activation {self.activation!r} is given for a guessed chain, but the module {self.module} knows its "
                "own; leave one of the two out."
            )


def read_source(source: str | Path, reading: Reading = Reading()) -> Source:
    """The network that a name stands for.

    Args:
        source: a file with a state dict (.safetensors, .pt, .pth, .bin, .ckpt), an archive of `torch.export.save`
            (.pt2), or a factory `package.module:factory`. Of files only tensors are read: nothing in them is run. A
            factory is code, and runs.
        reading: the module of a state dict, and example inputs.

    Raises:
        FormatError: a file that is missing, damaged, of another kind, or that would have to run code.
        SpecError: a factory that fails; a state dict that is not read without its module; no inputs were found; a
            module, activation or inputs for a network that brings its own.
        ShapeError: a state dict that does not fit its module.
        UnknownNameError: a factory or an activation that does not exist.

    Example:
        >>> read_source("torch.nn:Identity")
        Traceback (most recent call last):
        weightspace.errors.SpecError: torch.nn:Identity has no parameters, so there are no weights to describe.
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "network.pt"
        >>> torch.save(nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1)).state_dict(), file)
        >>> [axis.symmetry for axis in read_source(file).spec().axes]
        [FIXED, PERMUTATION, FIXED]
        >>> [axis.symmetry for axis in read_source(file, Reading(activation="relu")).spec().axes]
        [FIXED, POSITIVE, FIXED]
    """
    return read_sources([source], reading)[0]


def read_sources(sources: Sequence[str | Path], reading: Reading = Reading()) -> list[Source]:
    """Several networks, each of which takes from the reading what it does not bring along itself.

    Args:
        sources: files and factories as for `read_source`.
        reading: a module or an activation for the files with weights; inputs for all but exported programs.

    Raises:
        SpecError: something in the reading that none of the networks takes.
        WeightspaceError: as for `read_source`.
    """
    parts = [_part(source, reading) for source in sources]
    for field in ("module", "activation", "inputs"):
        value = getattr(reading, field)
        if value and not any(getattr(part, field) for part in parts):
            names = ", ".join(map(str, sources))
            brings = "brings its own" if len(sources) == 1 else "bring their own"
            own = "inputs" if field == "inputs" else "module"
            raise SpecError(f"{names} {brings} {own}, and cannot take the {field} {value!r}; leave it out.")
    found = []
    for source, part in zip(sources, parts, strict=True):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # example inputs are drawn, the same ones each time
            found.append(_read(Path(source), str(source), part))
    return found


def _part(source: str | Path, reading: Reading) -> Reading:
    """What of the reading a network does not bring along itself."""
    if _names_factory(source):
        return Reading(inputs=reading.inputs)
    return Reading() if Path(source).suffix in PROGRAMS else reading


def _names_factory(source: str | Path) -> bool:
    return not Path(source).exists() and is_factory(str(source))


def _read(path: Path, name: str, reading: Reading) -> Source:
    if _names_factory(name):
        module, inputs = call_factory(name)
        return _with_inputs(Source(name, module, _tensors(module), inputs), reading)
    if path.suffix in PROGRAMS:
        return _from_program(path)
    state, notes = unwrapped(read_state(path))
    if reading.module is not None:
        module, inputs = call_factory(reading.module)
        state, more = fitted(name, state, reading.module, module)
        inputs = _cast(inputs, _dtype(module))
        return _with_inputs(Source(name, module, state, inputs, (*notes, *more)), reading)
    try:
        module, x = guess_chain(widened(state), reading.activation)
    except SpecError as error:
        raise SpecError(f"{name}: {error}") from error
    notes = (*notes, _guess(module, reading))
    return _with_inputs(Source(name, module, state, (x,), notes, guessed=reading.activation is None), reading)


def _from_program(path: Path) -> Source:
    program = read_program(path)
    if program.example_inputs is None:
        raise SpecError(f"{path} was saved without example inputs; export the network again with them.")
    module = program.module()
    if program.range_constraints:  # sizes that were left open are settled as the example inputs have them
        program = exported(module, program.example_inputs)
    return _checked(Source(str(path), module, _tensors(module), program.example_inputs, program=program))


def _guess(module: nn.Module, reading: Reading) -> Note:
    count = len(module._order) if isinstance(module, Chain) else 1
    known = (
        f"activation {reading.activation}, as told"
        if reading.activation
        else "activation not known, so only the order of units is free"
    )
    return Note(
        "the network", f"unverified guess: a chain of {count} layers, read off the shapes in the state dict; {known}"
    )


def _with_inputs(source: Source, reading: Reading) -> Source:
    """The source with the inputs that were asked for, or that its first layer takes."""
    _checked(source)
    if reading.inputs:
        return replace(source, inputs=inputs_of(reading.inputs, _dtype(source.module)))
    if source.inputs is not None:
        return source
    try:
        return replace(source, inputs=example_inputs_of(source.module))
    except SpecError as error:
        raise SpecError(
            f"no inputs were found that {type(source.module).__name__} of {source.name} accepts; give their shapes, "
            "such as 2,3,32,32, or let the factory return (module, example_inputs)."
        ) from error


def _checked(source: Source) -> Source:
    if not any(True for _ in source.module.parameters()):
        raise SpecError(f"{source.name} has no parameters, so there are no weights to describe.")
    return source


def inputs_of(shapes: tuple[str, ...], dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """Example inputs of given shapes: normal random numbers, or indices that are zero and one in turns.

    Args:
        shapes: such as `"2,3,32,32"`, or `"2,16:int"` for indices.
        dtype: of the random numbers.

    Raises:
        ShapeError: a text of another form.

    Example:
        >>> [(tuple(x.shape), x.dtype) for x in inputs_of(("2,3", "4:int"))]
        [((2, 3), torch.float32), ((4,), torch.int64)]
    """
    generator = torch.Generator().manual_seed(0)
    inputs: list[Tensor] = []
    for text in shapes:
        sizes, _, kind = text.partition(":")
        try:
            shape = [int(size) for size in sizes.split(",")]
        except ValueError:
            shape = []
        if not shape or min(shape) < 1 or kind not in ("", "int"):
            raise ShapeError(f"{text!r} is no shape of an input; write 2,3,32,32, or 2,16:int for indices.")
        if kind:
            inputs.append(torch.arange(torch.Size(shape).numel()).reshape(shape) % 2)
        else:
            inputs.append(torch.randn(shape, generator=generator).to(dtype))
    return tuple(inputs)


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach() for key, value in module.state_dict().items() if isinstance(value, Tensor)}


def _dtype(module: nn.Module) -> torch.dtype:
    return next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)


def _cast(inputs: Any, dtype: torch.dtype) -> Any:
    """Inputs in the type in which a module computes; indices and masks as they are."""
    return pytree.tree_map(
        lambda leaf: leaf.to(dtype) if isinstance(leaf, Tensor) and leaf.is_floating_point() else leaf, inputs
    )
