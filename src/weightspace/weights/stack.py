"""From torch modules and stacked state dicts to batches of features."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from weightspace.errors import ShapeError
from weightspace.spec import NetworkSpec, ParamSpec
from weightspace.weights.features import WeightFeatures, splits

__all__ = ["features_of"]


def features_of(spec: NetworkSpec, networks: nn.Module | Sequence[nn.Module] | Mapping[str, Tensor]) -> WeightFeatures:
    """The weights of networks as features with one channel.

    Args:
        spec: the space that all the networks lie in, from `spec_of` of any one of them.
        networks: one module, several modules, or one state dict of stacked tensors `(batch, *shape)`.

    Raises:
        ShapeError: no networks, or one of another architecture; the message names the parameter and both shapes.

    Example:
        >>> from weightspace.spec import spec_of
        >>> modules = [torch.nn.Linear(2, 3) for _ in range(4)]
        >>> x = features_of(spec_of(modules[0]), modules)
        >>> len(x), x["weight"].shape
        (4, torch.Size([4, 3, 2, 1]))
        >>> torch.equal(x.to_modules(modules[0])[2].weight, modules[2].weight)
        True
    """
    if isinstance(networks, nn.Module):
        networks = [networks]
    if isinstance(networks, Mapping):
        stacked = networks
    else:
        states = [network.state_dict() for network in networks]
        if not states:
            raise ShapeError("no networks; give at least one module, or a state dict of stacked tensors.")
        keys = {param.view.key for param in spec.params}
        stacked = {key: _stack(key, states) for key in keys}
    return WeightFeatures(spec, [_read(spec, param, stacked) for param in spec.params])


def _stack(key: str, states: Sequence[Mapping[str, Tensor]]) -> Tensor:
    for number, state in enumerate(states):
        if key not in state:
            raise ShapeError(
                f"network {number} has no parameter {key!r}; expected the keys of the spec, got {list(state)}."
            )
        if state[key].shape != states[0][key].shape:
            raise ShapeError(
                f"parameter {key!r} of network {number} has shape {tuple(state[key].shape)}, that of network 0 "
                f"{tuple(states[0][key].shape)}; networks of different architecture need a spec and a batch each."
            )
    return torch.stack([state[key].detach() for state in states])


def _read(spec: NetworkSpec, param: ParamSpec, stacked: Mapping[str, Tensor]) -> Tensor:
    key, shape = param.view.key, spec.shape(param.name)
    if key not in stacked:
        raise ShapeError(f"the state dict has no parameter {key!r}; it has {sorted(stacked)}.")
    block = stacked[key][(slice(None), *param.view.index)]
    if not splits(block.shape[1:], shape):
        raise ShapeError(
            f"parameter {key!r} has shape {tuple(block.shape[1:])} per network; the spec expects {shape}. "
            "Is this a network of another architecture? Read its own spec with spec_of."
        )
    return block.reshape(len(block), *shape, 1)
