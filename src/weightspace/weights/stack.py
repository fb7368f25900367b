"""From torch modules and stacked state dicts to batches of features."""

from collections.abc import Mapping

from torch import Tensor

from weightspace.errors import ShapeError
from weightspace.spec import NetworkSpec, ParamSpec
from weightspace.weights.features import WeightFeatures
from weightspace.weights.state import Networks, stacked_state

__all__ = ["features_of"]


def features_of(spec: NetworkSpec, networks: Networks) -> WeightFeatures:
    """The weights of networks as features with one channel, bit for bit, each in its own type of numbers.

    Modules are copied without their gradient graph. Stacked tensors are looked at where they lie, so that features of
    them follow later changes in place and pass gradients back.

    Args:
        spec: the space that all the networks lie in, from `spec_of` of any one of them.
        networks: one module, several modules, one state dict of stacked tensors `(batch, *shape)`, or the pair of
            parameters and buffers that `torch.func.stack_module_state` gives. What the spec does not cover is left out:
            hand it to `to_modules` or `to_state` on the way back.

    Raises:
        ShapeError: no networks, or one of another architecture; the message names the parameter and both shapes.

    Example:
        >>> import torch
        >>> from weightspace.spec import spec_of
        >>> modules = [torch.nn.Linear(2, 3) for _ in range(4)]
        >>> x = features_of(spec_of(modules[0]), modules)
        >>> len(x), x["weight"].shape
        (4, torch.Size([4, 3, 2, 1]))
        >>> torch.equal(x.to_modules(modules[0])[2].weight, modules[2].weight)
        True
    """
    keys = list(dict.fromkeys(param.view.key for param in spec.params))
    stacked = stacked_state(networks, keys)
    return WeightFeatures(spec, [_read(spec, param, stacked) for param in spec.params])


def _read(spec: NetworkSpec, param: ParamSpec, stacked: Mapping[str, Tensor]) -> Tensor:
    key, expected = param.view.key, spec.stored_shape(param.name)
    if key not in stacked:
        raise ShapeError(f"the state dict has no parameter {key!r}; it has {sorted(stacked)}.")
    stored = stacked[key]
    if tuple(stored.shape) == expected and tuple(stored.shape[1:]) != expected:
        raise ShapeError(
            f"parameter {key!r} has shape {expected}, that of a single network; expected (batch, *shape): give the "
            "module itself, or stack the tensors of several networks along a new first dimension."
        )
    if stored.ndim == 0 or tuple(stored.shape[1:]) != expected:
        raise ShapeError(
            f"parameter {key!r} has shape {tuple(stored.shape[1:])} per network; the spec expects {expected}. "
            "Is this a network of another architecture? Read its own spec with spec_of."
        )
    if not stored.is_floating_point():
        raise ShapeError(
            f"parameter {key!r} holds {stored.dtype}; features are real numbers: convert it, or leave "
            "its blocks out of the spec."
        )
    return param.view.of(stored, spec.shape(param.name)).unsqueeze(-1)
