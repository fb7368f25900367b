"""Networks in any form they come in, as one stacked state dict: tensors `(batch, *shape)` by key."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from weightspace.errors import ShapeError

__all__ = ["Networks", "stacked_state"]

Networks: TypeAlias = nn.Module | Mapping[str, Tensor] | Iterable[nn.Module] | Iterable[Mapping[str, Tensor]]
"""One module, several modules, a stacked state dict, or several of these with different keys (parameters, buffers)."""


def stacked_state(networks: Networks, keys: Collection[str] | None = None) -> dict[str, Tensor]:
    """The stacked state dict of networks of one architecture.

    Args:
        networks: one module; several modules; one state dict of stacked tensors; or stacked state dicts with different
            keys, as the pair of parameters and buffers that `torch.func.stack_module_state` gives. Modules are copied,
            without their gradient graph; stacked tensors are taken as they are.
        keys: which tensors to stack; `None` takes all that the first network has.

    Raises:
        ShapeError: no networks, something that is no network, or networks that differ in keys, shapes, types of
            numbers or devices; the message names the network, the parameter and both values.

    Example:
        >>> modules = [nn.BatchNorm1d(3) for _ in range(4)]
        >>> {key: tuple(tensor.shape) for key, tensor in stacked_state(modules).items()}
        {'weight': (4, 3), 'bias': (4, 3), 'running_mean': (4, 3), 'running_var': (4, 3), 'num_batches_tracked': (4,)}
        >>> sorted(stacked_state(torch.func.stack_module_state(modules))) == sorted(stacked_state(modules))
        True
    """
    if isinstance(networks, Mapping):
        return dict(networks)
    members = [networks] if isinstance(networks, nn.Module) else list(networks)
    if not members:
        raise ShapeError("no networks; give at least one module, or a state dict of stacked tensors.")
    states, modules = [], []
    for number, member in enumerate(members):
        if isinstance(member, nn.Module):
            modules.append(_tensors(member))
        elif isinstance(member, Mapping):
            states.append(member)
        else:
            raise ShapeError(f"network {number} is a {type(member).__name__}; expected a module or a state dict.")
    if states and modules:
        raise ShapeError(f"{len(modules)} modules and {len(states)} state dicts in one list; give one or the other.")
    if states:
        return _joined(states)
    return {key: _stack(key, modules) for key in (modules[0] if keys is None else keys)}


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """The state dict without what is no tensor, such as a module's extra state."""
    return {key: value.detach() for key, value in module.state_dict().items() if isinstance(value, Tensor)}


def _joined(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Stacked state dicts with different keys as one."""
    state: dict[str, Tensor] = {}
    for part in states:
        twice = sorted(state.keys() & part.keys())
        if twice:
            raise ShapeError(
                f"key {twice[0]!r} stands in two of the state dicts; those of single networks are not put together "
                "here: give their modules, or stack each tensor first as torch.func.stack_module_state does."
            )
        state.update(part)
    return state


def _stack(key: str, states: Sequence[Mapping[str, Tensor]]) -> Tensor:
    for number, state in enumerate(states):
        if key not in state:
            raise ShapeError(
                f"network {number} has no parameter {key!r}; expected the keys of the spec, got {list(state)}."
            )
        first, tensor = states[0][key], state[key]
        if tensor.shape != first.shape:
            raise ShapeError(
                f"parameter {key!r} of network {number} has shape {tuple(tensor.shape)}, that of network 0 "
                f"{tuple(first.shape)}; networks of different architecture need a spec and a batch each."
            )
        if (tensor.dtype, tensor.device) != (first.dtype, first.device):
            raise ShapeError(
                f"parameter {key!r} of network {number} is {tensor.dtype} on {tensor.device}, that of network 0 "
                f"{first.dtype} on {first.device}; bring all networks to one type and device with module.to(...)."
            )
    return torch.stack([state[key] for state in states])
