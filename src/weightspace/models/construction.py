"""What a model was built with, remembered so that it can be built again."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from torch import nn

__all__ = ["arguments", "remember"]

M = TypeVar("M", bound=nn.Module)
P = ParamSpec("P")


def remember(init: Callable[Concatenate[M, P], None]) -> Callable[Concatenate[M, P], None]:
    """Let a constructor leave its arguments, defaults included, on the model: `arguments(model)` gives them back.

    They are an ordinary attribute, so they travel with pickles and deep copies. Of several constructors that call each
    other the outermost counts: it is the one that has to be called again.

    Args:
        init: the `__init__` of a module, without `*args` and `**kwargs`.

    Example:
        >>> class Model(nn.Module):
        ...     @remember
        ...     def __init__(self, width: int, *, layers: int = 3) -> None:
        ...         super().__init__()
        >>> arguments(Model(8))
        {'width': 8, 'layers': 3}
    """
    signature = inspect.signature(init)

    @wraps(init)
    def remembering(model: M, *args: P.args, **kwargs: P.kwargs) -> None:
        init(model, *args, **kwargs)
        bound = signature.bind(model, *args, **kwargs)
        bound.apply_defaults()
        model.built_with = dict(list(bound.arguments.items())[1:])  # type: ignore[assignment]  # no tensor, no module

    return remembering


def arguments(model: nn.Module) -> dict[str, Any]:
    """The arguments of a constructor under `remember`, by name; empty for a model without one.

    Example:
        >>> arguments(nn.Linear(2, 3))
        {}
    """
    return dict(vars(model).get("built_with", {}))
