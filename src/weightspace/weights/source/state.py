"""A state dict as its module wants it: without the prefixes of wrappers, every tensor in its place."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import reduce

import torch
from torch import Tensor, nn

from weightspace.errors import ShapeError
from weightspace.spec import Note

__all__ = ["fitted", "unwrapped", "widened"]

# What wrappers put ahead of every name: data-parallel training and torch.compile.
_WRAPPERS = ("module.", "_orig_mod.")
_OTHER = "Give the factory of the architecture that the file was saved from."


def widened(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All numbers in the widest type among them, at least single precision: what a module computes in."""
    dtype = _widest(state)
    return {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in state.items()}


def _widest(state: Mapping[str, Tensor]) -> torch.dtype:
    dtypes = {tensor.dtype for tensor in state.values() if tensor.is_floating_point()}
    return reduce(torch.promote_types, dtypes, torch.float32)


def unwrapped(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[Note, ...]]:
    """The state dict without the prefixes that wrappers put ahead of every name."""
    taken = ""
    while prefix := next((w for w in _WRAPPERS if state and all(key.startswith(w) for key in state)), None):
        state, taken = {key.removeprefix(prefix): tensor for key, tensor in state.items()}, taken + prefix
    return state, (_stripped(taken),) if taken else ()


def _stripped(prefix: str) -> Note:
    return Note("the file", f"the prefix {prefix!r} is taken off all names")


def fitted(
    name: str, state: dict[str, Tensor], factory: str, module: nn.Module
) -> tuple[dict[str, Tensor], tuple[Note, ...]]:
    """All tensors of the module, those of the file loaded into it."""
    expected = module.state_dict(keep_vars=True)
    expected = {key: tensor for key, tensor in expected.items() if isinstance(tensor, Tensor)}
    notes: tuple[Note, ...] = ()
    prefix = _common_prefix(state)
    if prefix and not state.keys() & expected.keys():
        bare = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
        if bare.keys() & expected.keys():
            state, notes = bare, (_stripped(prefix),)
    _check_fit(name, state, factory, expected)
    # Tied parameters are one object under several names, of which a file may keep one.
    known = {id(expected[key]): tensor for key, tensor in state.items()}
    module.to(_widest(state)).load_state_dict(state, strict=False)
    return {key: state.get(key, known.get(id(tensor), tensor.detach())) for key, tensor in expected.items()}, notes


def _common_prefix(state: Mapping[str, Tensor]) -> str:
    first = next(iter(state)).partition(".")
    prefix = first[0] + first[1]
    return prefix if first[1] and all(key.startswith(prefix) for key in state) else ""


def _check_fit(name: str, state: Mapping[str, Tensor], factory: str, expected: Mapping[str, Tensor]) -> None:
    """Refuse a state dict that lacks a tensor, has one too many, or one of another shape."""
    for key, tensor in state.items():
        if key not in expected:
            near = get_close_matches(key, expected, n=1)
            hint = f"; the nearest that it has is {near[0]!r}" if near else ""
            raise ShapeError(f"{name} holds {key!r}, which the module of {factory} does not have{hint}. {_OTHER}")
        if tensor.shape != expected[key].shape:
            raise ShapeError(
                f"{name}: {key!r} has shape {tuple(tensor.shape)}, where the module of {factory} has "
                f"{tuple(expected[key].shape)}. {_OTHER}"
            )
    known = {id(expected[key]) for key in state}
    missing = [key for key, tensor in expected.items() if id(tensor) not in known]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ShapeError(f"{name} lacks {missing[0]!r}{more}, which the module of {factory} has. {_OTHER}")
