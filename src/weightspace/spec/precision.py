"""Double precision throughout, in modules that ask for less on their way."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

__all__ = ["double_precision", "scaled"]

NARROW = (torch.float32, torch.bfloat16, torch.float16)
CASTS = (Tensor.float, Tensor.half, Tensor.bfloat16)


def scaled(inputs: Any, factor: float) -> Any:
    """Inputs of a network in float64, times a factor; indices and masks as they are.

    Example:
        >>> scaled((torch.ones(2), torch.arange(2)), 10.0)
        (tensor([10., 10.], dtype=torch.float64), tensor([0, 1]))
    """

    def one(leaf: Any) -> Any:
        real = isinstance(leaf, Tensor) and leaf.is_floating_point()
        return leaf.detach().double() * factor if real else leaf

    return pytree.tree_map(one, inputs)


@contextmanager
def double_precision() -> Iterator[None]:
    """Within it new tensors are float64, and what asks for fewer digits gets float64 too.

    Many modules turn their input to float32 ahead of a normalisation or a softmax, whatever type they were given: in
    what they compute, rounding then hides errors below 1e-7.

    Example:
        >>> with double_precision():
        ...     torch.zeros(1).dtype, torch.ones(1).to(torch.float32).dtype, torch.ones(1).half().dtype
        (torch.float64, torch.float64, torch.float64)
        >>> torch.zeros(1).dtype
        torch.float32
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Widened():
            yield
    finally:
        torch.set_default_dtype(before)


class _Widened(TorchFunctionMode):
    """Every narrow floating-point type that a function of torch is given is float64."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if function in CASTS:
            function = Tensor.double
        named = {name: _widened(value) for name, value in (kwargs or {}).items()}
        return function(*map(_widened, args), **named)


def _widened(value: Any) -> Any:
    return torch.float64 if isinstance(value, torch.dtype) and value in NARROW else value
