"""Which network the tensors of a file belong to: what a file must hold to be read as one of the zoo's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import FormatError, SpecError, WeightspaceError
from weightspace.spec import NetworkSpec, Note, spec_of
from weightspace.weights import WeightFeatures, features_of
from weightspace.weights.source.chain import guess_chain
from weightspace.weights.source.factory import call_factory
from weightspace.weights.source.reading import inputs_of
from weightspace.weights.source.state import unwrapped, widened
from weightspace.zoo.generate.template import recorded
from weightspace.zoo.lora import LoRA
from weightspace.zoo.readers.collection import Request
from weightspace.zoo.readers.tree import nearest

__all__ = ["Architecture", "chain_of", "described", "lora_of"]

_COUNTER = "num_batches_tracked"
_NONE = (
    "the format does not say what the networks compute. Remedy: give the factory of their module (--module "
    "package.module:factory), or the activation between the layers of a plain chain (--activation relu), or a spec "
    "(--spec spec.json); in Python a template or a spec."
)
UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class Architecture:
    """One architecture, and what a state dict of it looks like.

    Args:
        spec: its weight space.
        record: where it came from, as the manifest keeps it.
        fixed: tensors that the spec does not cover, which every network must have as the template has them.
        aliases: further names under which a state dict may hold a tensor of the spec (tied weights).
    """

    spec: NetworkSpec
    record: Mapping[str, Any]
    fixed: Mapping[str, Tensor] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(init=False)

    def __post_init__(self) -> None:
        spec = self.spec
        shapes = {param.view.key: spec.stored_shape(param.name) for param in spec.params}
        covered = dict.fromkeys(shapes, 0)
        for param in spec.params:
            covered[param.view.key] += prod(spec.shape(param.name))
        for key, shape in shapes.items():
            if covered[key] < prod(shape):
                raise SpecError(
                    f"the spec covers {covered[key]} of the {prod(shape)} entries of {key!r}; a zoo would lose the "
                    "others. Remedy: give a module whose weights are read whole."
                )
        object.__setattr__(self, "shapes", shapes)

    def fitted(self, name: object, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
        """The tensors of one network as the spec names them, float32, and the type they were stored in.

        Args:
            name: of the file, for errors.
            state: what it holds.

        Raises:
            FormatError: a tensor missing, one that the architecture does not have, or one of another shape or value.
        """
        found: dict[str, Tensor] = {}
        kinds: set[torch.dtype] = set()
        for key, tensor in unwrapped(dict(state))[0].items():
            known = self.aliases.get(key, key)
            if known in self.shapes:
                self._check_shape(name, key, tensor, self.shapes[known])
                self._check_alias(name, key, tensor, found.get(known))
                found[known] = tensor.to(torch.float32)
                kinds.add(tensor.dtype)
            elif not key.endswith(_COUNTER):
                self._check_fixed(name, key, tensor)
        missing = [key for key in self.shapes if key not in found]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise FormatError(
                f"{name} lacks {missing[0]!r}{more}, which the others have. Remedy: copy it again, or import networks "
                "of one architecture at a time."
            )
        return found, "+".join(sorted(str(kind).removeprefix("torch.") for kind in kinds))

    def features(self, states: Sequence[Mapping[str, Tensor]]) -> WeightFeatures:
        """Fitted networks as one batch."""
        return features_of(self.spec, {key: torch.stack([state[key] for state in states]) for key in self.shapes})

    def _check_shape(self, name: object, key: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
        if tuple(tensor.shape) != shape:
            raise FormatError(
                f"{name}: {key!r} has shape {tuple(tensor.shape)}; expected {shape}, as the architecture has it. "
                "Remedy: import networks of one architecture at a time."
            )
        if not tensor.is_floating_point():
            raise FormatError(f"{name}: {key!r} holds {tensor.dtype}; expected floating point numbers.")

    def _check_alias(self, name: object, key: str, tensor: Tensor, other: Tensor | None) -> None:
        if other is not None and not torch.equal(tensor.to(torch.float32), other):
            raise FormatError(f"{name}: {key!r} differs from the tensor that it is tied to in the template.")

    def _check_fixed(self, name: object, key: str, tensor: Tensor) -> None:
        if key not in self.fixed:
            raise FormatError(
                f"{name} holds {key!r}, which the architecture does not have{nearest(key, self.shapes)}. Remedy: give "
                "the module or the spec that these networks were saved from."
            )
        expected = self.fixed[key]
        if tensor.shape != expected.shape or not torch.equal(tensor, expected.to(tensor.dtype)):
            raise FormatError(
                f"{name}: {key!r} differs from that of the template, and the spec does not cover "
                "it; a zoo would lose it."
            )


def described(request: Request, state: Mapping[str, Tensor], name: object) -> tuple[Architecture, tuple[str, ...]]:
    """The architecture that the user tells of, and notes on how it was read.

    Args:
        request: with a template, a spec, or settings that name a module, a spec or an activation.
        state: the tensors of the first network, for a chain that is guessed from their shapes.
        name: of its file.

    Raises:
        SpecError: nothing was told, or what was told cannot be read.
        FormatError: a spec's file that cannot be read.
    """
    settings = request.settings
    if request.spec is not None or settings.spec is not None:
        spec = request.spec or _read_spec(settings.spec)  # type: ignore[arg-type]
        return Architecture(spec, {"kind": "spec", "name": settings.spec.name if settings.spec else "given"}), ()
    if request.template is not None:
        return _of_module(request.template, request.example_inputs)
    if settings.module is not None:
        module, inputs = call_factory(settings.module)
        inputs = inputs_of(settings.inputs) if settings.inputs else inputs
        return _of_module(module, inputs)
    if settings.activation is not None:
        return chain_of(state, settings.activation, name)
    raise SpecError(f"{name}: {_NONE}")


def chain_of(state: Mapping[str, Tensor], activation: str, name: object) -> tuple[Architecture, tuple[str, ...]]:
    """Layers one after another, guessed from the shapes of the first network.

    Args:
        state: its tensors.
        activation: between the layers; ``any`` claims permutations alone.
        name: of its file.

    Raises:
        SpecError: no chain.
    """
    known = None if activation == "any" else activation
    bare, _ = unwrapped(dict(state))
    try:
        module, x = guess_chain(widened(bare), known)
    except WeightspaceError as failure:
        raise SpecError(f"{name}: {failure}") from failure
    record = {"kind": "chain", "activation": known, "shapes": {key: list(value.shape) for key, value in bare.items()}}
    # The spec is read off the very module that the manifest brings back, but for a chain that is known in part.
    try:
        module = recorded(record)
    except SpecError:
        module = module.float()
    found = spec_of(module, x.float())
    return Architecture(_claimed(found) if known is None else found, record), tuple(map(_told, found.notes))


def lora_of(state: Mapping[str, Tensor], name: object) -> tuple[Architecture, tuple[str, ...]]:
    """The pairs of factors of an adapter.

    Raises:
        SpecError: something else among them.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    try:
        found = spec_of(LoRA(shapes).eval(), (torch.ones(()),))
    except SpecError as failure:
        raise SpecError(f"{name}: {failure}") from failure
    record = {"kind": "lora", "shapes": {key: list(shape) for key, shape in shapes.items()}}
    note = "any invertible matrix may stand between the two factors of a pair; the spec has the monomial ones"
    return Architecture(found, record), (note,)


def _of_module(module: nn.Module, inputs: Any) -> tuple[Architecture, tuple[str, ...]]:
    # The class for people to know; where its code lies is the user's to say each time.
    record = {"kind": "module", "name": f"{type(module).__module__}.{type(module).__qualname__}"}
    found = spec_of(module.eval(), inputs)
    names: dict[int, str] = {}
    aliases: dict[str, str] = {}
    fixed: dict[str, Tensor] = {}
    covered = {param.view.key for param in found.params}
    state = {key: tensor for key, tensor in module.state_dict(keep_vars=True).items() if isinstance(tensor, Tensor)}
    for key in sorted(state, key=lambda key: key not in covered):
        first = names.setdefault(id(state[key]), key)
        if first in covered:
            aliases[key] = first
        elif not key.endswith(_COUNTER):
            fixed[key] = state[key].detach()
    return Architecture(found, record, fixed, aliases), tuple(map(_told, found.notes))


def _claimed(spec: NetworkSpec) -> NetworkSpec:
    """The spec of a chain whose activation is not known."""
    return replace(
        spec, places=tuple(replace(p, activation=UNKNOWN) if p.activation == "gelu" else p for p in spec.places)
    )


def _read_spec(path: Path) -> NetworkSpec:
    try:
        return NetworkSpec.from_json(path.read_text())
    except (OSError, UnicodeDecodeError, SpecError) as failure:
        raise FormatError(
            f"{path} cannot be read as a spec: {failure}. Remedy: write it with `weightspace spec SOURCE "
            f"--json {path}`."
        ) from failure


def _told(note: Note) -> str:
    return f"{note.subject}: {note.reason}"
