"""Types and shapes checked at every call, as jaxtyping's own wrapper checks them, in a third of its time.

That wrapper binds every call four times and keeps a record of shapes, also for functions whose signature names none.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any, get_args, get_type_hints

import jaxtyping

Check = Callable[[Any], Any]
REAL = jaxtyping.jaxtyped


def names_shapes(hint: Any) -> bool:
    parts = hint if isinstance(hint, list) else get_args(hint)
    return inspect.isclass(hint) and issubclass(hint, jaxtyping.AbstractArray) or any(map(names_shapes, parts))


def may_name_shapes(function: Callable[..., Any]) -> bool:
    """Whether the signature names a shape, or a type that is not known yet."""
    try:
        return any(map(names_shapes, get_type_hints(function, include_extras=True).values()))
    except Exception:
        return True


def checked(function: Callable[..., Any], check: Check) -> Callable[..., Any]:
    """A function that refuses what its signature does not allow; sizes are compared within one call."""
    inner = check(function)
    if not may_name_shapes(function):
        return inner

    @functools.wraps(function)
    def call(*args: Any, **keywords: Any) -> Any:
        with REAL("context"):
            return inner(*args, **keywords)

    return call


def jaxtyped(target: Any = None, *, typechecker: Check | None = None) -> Any:
    """Stands in for `jaxtyping.jaxtyped` in the modules that pytest imports."""
    if typechecker is None:
        return REAL(target)
    if target is None:
        return functools.partial(jaxtyped, typechecker=typechecker)
    if not inspect.isclass(target):
        return checked(target, typechecker)
    init = vars(target).get("__init__")
    if is_dataclass(target) and init is not None and not hasattr(init, "__wrapped__"):
        target.__init__ = checked(init, typechecker)
    return target
