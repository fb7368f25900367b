"""Anyone's module as the blueprint of networks: which numbers are theirs, how they begin, what cannot be had."""

import hashlib
import threading
from collections.abc import Callable
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor, nn

from weightspace.errors import TrainingError
from weightspace.spec import NetworkSpec, spec_of
from weightspace.zoo.generate.chunk import blocks
from weightspace.zoo.generate.draw import normal_matrix, stream
from weightspace.zoo.generate.hyperparameters import Given

__all__ = ["Blueprint", "Template"]

Template = nn.Module | Callable[[], nn.Module]
"""A module, or a function that makes one."""

# Initialisation draws from torch's global stream: one thread at a time.
_GLOBAL_STREAM = threading.Lock()


class Blueprint:
    """A template's trainable parameters as one flat vector, and the way back.

    Args:
        template: a module, which stays as it is, or a function that makes a new one.

    Attributes:
        module: a copy.
        shapes: of the trainable parameters, in the order of the flat vector; tied ones stand once.

    Raises:
        TrainingError: something that is no module, nothing to train, or parameters that are not float32.

    Example:
        >>> plan = Blueprint(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)))
        >>> plan.shapes["0.weight"], plan.numel
        ((3, 2), 13)
    """

    def __init__(self, template: Template) -> None:
        module = template if isinstance(template, nn.Module) else template()
        if not isinstance(module, nn.Module):
            raise TrainingError(
                f"the template gives {type(module).__name__}; expected an nn.Module, or a function that makes one."
            )
        for name, value in module.named_parameters():
            if isinstance(value, nn.parameter.UninitializedParameter):
                raise TrainingError(
                    f"parameter {name!r} has no shape yet; expected one. Remedy: call the module on an example first, "
                    f"or use the plain layer in place of the lazy one."
                )
        self._make = None if isinstance(template, nn.Module) else template
        self.module = deepcopy(module)
        trained = {name: value for name, value in self.module.named_parameters() if value.requires_grad}
        if not trained:
            raise TrainingError(f"{type(module).__name__} has no parameters to train; expected at least one.")
        for name, value in trained.items():
            if value.dtype != torch.float32:
                raise TrainingError(
                    f"parameter {name!r} is {value.dtype}; a zoo holds torch.float32. Remedy: template.float()."
                )
        self.shapes = {name: tuple(value.shape) for name, value in trained.items()}
        self._check_beginning()

    def _check_beginning(self) -> None:
        """Refuses a module that cannot begin anew."""
        if self._make is not None:
            return
        drawn = {
            f"{path}.{name}".lstrip(".")
            for path, module in self.module.named_modules()
            if _reset(module) is not None
            # What lies below one that begins anew is taken to begin with it, as in attention and its projections.
            for name, _ in module.named_parameters()
        }
        left = [name for name, shape in self.shapes.items() if name not in drawn and len(shape) > 1]
        if left:
            raise TrainingError(
                f"parameter {left[0]!r} belongs to a module without reset_parameters, so all networks would begin with "
                f"the same values of it. Remedy: give a function that makes the module in place of the module itself, "
                f"or add a method reset_parameters."
            )

    @property
    def numel(self) -> int:
        """Entries of the flat vector."""
        return sum(int(np.prod(shape, dtype=np.int64)) for shape in self.shapes.values())

    @property
    def fixed(self) -> str:
        """sha256 (hex) of what all networks have in common: frozen parameters and buffers."""
        digest = hashlib.sha256()
        for name, value in self._rest().items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
            digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def spec(self, inputs: Tensor) -> NetworkSpec:
        """The weight space, read from the module as it is asked (in `eval` mode)."""
        return spec_of(deepcopy(self.module).eval(), inputs)

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Flat parameters by name: ``(network, parameter)`` to ``(network, *shape)``."""
        return dict(zip(self.shapes, blocks(flat, self.shapes), strict=True))

    def state(self, flat: Tensor) -> dict[str, Tensor]:
        """A stacked state dict with all keys that the module has, tied, frozen and buffers included."""
        own = self.views(flat)
        known = {id(value): own[name] for name, value in self.module.named_parameters() if name in own}
        tied = {
            name: known[id(value)]
            for name, value in self.module.named_parameters(remove_duplicate=False)
            if id(value) in known
        }
        return tied | {name: value.expand(len(flat), *value.shape) for name, value in self._rest().items()}

    def initial(self, seed: int, given: Given) -> Tensor:
        """First parameters of one network: ``(parameter,)``."""
        chance = stream(seed, given.init_seed, "weights")
        values = self._drawn_by_itself(int(chance.integers(2**63)))
        for name, value in values.items():
            if given.init != "own":
                if value.ndim > 1:
                    matrix = normal_matrix(chance, given.init, tuple(value.shape), 1.0)
                    values[name] = torch.from_numpy(np.ascontiguousarray(matrix)).float()
                elif name.rpartition(".")[2].endswith("bias"):
                    values[name] = torch.zeros_like(value)
            if value.ndim > 1:
                values[name] = values[name] * given.init_scale
        return torch.cat([values[name].flatten() for name in self.shapes])

    def _drawn_by_itself(self, seed: int) -> dict[str, Tensor]:
        """The parameters of a module that begins anew."""
        with _GLOBAL_STREAM, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            if self._make is not None:
                fresh = self._make()
            else:
                fresh = deepcopy(self.module)
                # Children first: what a module says of its children counts last, as when it is made.
                for module in reversed(list(fresh.modules())):
                    reset = _reset(module)
                    if reset is not None:
                        reset()
        return {name: value.detach().clone() for name, value in fresh.named_parameters() if name in self.shapes}

    def _rest(self) -> dict[str, Tensor]:
        trained = {
            id(value) for name, value in self.module.named_parameters(remove_duplicate=False) if value.requires_grad
        }
        named = (*self.module.named_parameters(), *self.module.named_buffers())
        return {name: value.detach() for name, value in named if id(value) not in trained}


def _reset(module: nn.Module) -> Callable[[], None] | None:
    """What draws a module's own parameters anew."""
    own = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    return own if callable(own) else None
