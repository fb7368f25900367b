"""A network as it was stored: the module that computes it, and its tensors to the bit."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from weightspace.errors import DataError
from weightspace.spec import NetworkSpec, Note, spec_of
from weightspace.spec.certificate import remember
from weightspace.spec.trace import quiet
from weightspace.weights.features import WeightFeatures
from weightspace.weights.stack import features_of

__all__ = ["Source"]

UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class Source:
    """One network: a module that computes it, and all its tensors as they were stored.

    Args:
        name: where it came from.
        module: what computes it, with its weights, in evaluation mode.
        state: all tensors by name, in the types in which they were stored.
        inputs: what the module is called with.
        notes: what the reader should know about how it was read.
        program: the exported program that it came as, if it did.
        guessed: whether the module is a guess of which even the activation is not known.
    """

    name: str
    module: nn.Module
    state: Mapping[str, Tensor]
    inputs: Any
    notes: tuple[Note, ...] = ()
    program: ExportedProgram | None = None
    guessed: bool = False

    def spec(self, *, strict: bool = False, verify: bool = True) -> NetworkSpec:
        """The network's weight space, as by `spec_of`, with the notes of the source ahead of its own."""
        inputs = None if self.program is not None else self.inputs
        # Torch warns of its own code where an exported program is copied; the warning says nothing of the network.
        with quiet() if self.program is not None else nullcontext():
            found = spec_of(self.program or self.module, inputs, strict=strict, verify=verify)
        if self.guessed:
            places = (replace(p, activation=UNKNOWN) if p.activation == "gelu" else p for p in found.places)
            found = replace(found, places=tuple(places))
        return remember(replace(found, notes=(*self.notes, *found.notes)), self.module, self.inputs)

    def features(self, spec: NetworkSpec, *, finite: bool = True) -> WeightFeatures:
        """The network's weights, bit for bit, as a batch of one.

        Args:
            spec: the space that the network lies in.
            finite: whether to refuse numbers that are not finite.

        Raises:
            ShapeError: the network does not lie in this space.
            DataError: weights that are infinite or no numbers, or that are not there (on the meta device).
        """
        x = features_of(spec, {key: tensor[None] for key, tensor in self.state.items()})
        for key, tensor in x.items():
            if tensor.is_meta:
                raise DataError(
                    f"{self.name}: {key!r} has no values (it is on the meta device); load its weights first."
                )
            if finite and not bool(tensor.isfinite().all()):
                raise DataError(
                    f"{self.name}: {key!r} holds numbers that are not finite; expected finite weights. "
                    "Remedy: take them from before the training diverged."
                )
        return x

    def rest(self, spec: NetworkSpec) -> dict[str, Tensor]:
        """What no symmetry moves: the tensors that the spec does not cover, and of those that it covers in part the
        other entries, with zeros where its blocks are. Tied tensors are there once, counters of batches are left out.
        """
        first: dict[int, str] = {}
        for key, tensor in self.module.state_dict(keep_vars=True).items():
            if isinstance(tensor, Tensor) and key.rpartition(".")[2] != "num_batches_tracked":
                first.setdefault(id(tensor), key)
        rest = {key: self.state[key] for key in first.values()}
        for param in spec.params:
            key = param.view.key
            if param.view.strides is None:
                rest.pop(key, None)
            elif key in rest:
                rest[key] = rest[key].clone(memory_format=torch.contiguous_format)
                param.view.of(rest[key][None], spec.shape(param.name)).zero_()
        return rest
