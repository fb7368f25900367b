"""What broke a run: the layer and the networks behind a loss that is no number, and how much memory has room for."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

__all__ = ["broken", "fits", "out_of_memory"]


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that a device or the machine has no memory left."""
    # On the CPU PyTorch has no class for it.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def fits(attempt: Callable[[int], object], most: int, fewest: int = 1) -> int:
    """The largest of `most / 2`, `most / 4`, ... items with which an attempt does not run out of memory, or 0."""
    while most // 2 >= fewest:
        most //= 2
        try:
            attempt(most)
        except Exception as error:  # only to see of which kind it is
            if not out_of_memory(error):
                raise
        else:
            return most
    return 0


def broken(model: nn.Module, features: Any, compute: Callable[[], Tensor]) -> str:
    """Where a number that is not finite comes from: the input, a parameter, a layer, the loss, or a gradient.

    Args:
        model: whose layers are watched.
        features: what it is called with.
        compute: calls the model, and gives the loss after adding its gradients to the parameters'.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
        >>> _ = model[1].weight.data.fill_(torch.inf)
        >>> broken(model, torch.ones(3, 2), lambda: model(torch.ones(3, 2)).sum())
        'parameter 1.weight is not finite'
    """
    rows = _rows(features)
    if rows:
        return f"the features of {len(rows)} items of the batch are not finite, the first at place {rows[0]}"
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            return f"parameter {name} is not finite"
    with _watched(model) as found:
        loss = compute()
    if found:
        return f"the output of {found[0]} is not finite"
    if not loss.isfinite():
        return "the model's answer is finite, its loss is not"
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            return f"the gradient of parameter {name} is not finite"
    return "every number of the step is finite: the update itself broke the weights"


@contextmanager
def _watched(model: nn.Module) -> Iterator[list[str]]:
    """The layers whose output was not finite, innermost first, in the order in which they were called."""
    found: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(module: nn.Module, _: Any, output: Any) -> None:
            if any(not tensor.isfinite().all() for tensor in _tensors(output)):
                found.append(f"layer {name} ({type(module).__name__})" if name else type(module).__name__)

        return look

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _rows(features: Any) -> list[int]:
    """Places in the batch where features are not finite."""
    bad = [~tensor.flatten(1).isfinite().all(1) for tensor in _tensors(features) if tensor.ndim]
    return sorted({row for each in bad for row in each.nonzero()[:, 0].tolist()})


def _tensors(value: Any) -> list[Tensor]:
    leaves = [leaf for part in value for leaf in pytree.tree_leaves(part)] if isinstance(value, list) else None
    found = pytree.tree_leaves(value) if leaves is None else leaves
    return [leaf for leaf in found if isinstance(leaf, Tensor) and leaf.is_floating_point()]
