"""Networks from a factory: a name such as `package.module:factory` that is imported and called."""

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from weightspace.errors import SpecError, UnknownNameError

__all__ = ["call_factory", "imported", "is_factory"]


def is_factory(name: str) -> bool:
    """Whether a text reads as `package.module:factory`.

    Example:
        >>> is_factory("package.module:make"), is_factory("weights.pt"), is_factory("C:/weights.pt")
        (True, False, False)
    """
    module, colon, path = name.partition(":")
    return bool(colon) and all(part.isidentifier() for part in (*module.split("."), *path.split(".")))


def call_factory(name: str) -> tuple[nn.Module, Any]:
    """The module that a factory makes, in evaluation mode, and its example inputs, `None` where it gives none.

    Importing and calling the factory runs its code. Modules of the current folder can be imported, as by `python -m`.
    The factory is called with torch's random numbers seeded by zero, so that weights it draws are the same each time.

    Args:
        name: `package.module:factory`, a function or class that is called without arguments and returns a module, or
            the pair `(module, example_inputs)`; or the name of a module object.

    Raises:
        SpecError: a name of another form; code that fails; something that is no module, or one without sizes yet.
        UnknownNameError: no such name in the module.

    Example:
        >>> type(call_factory("torch.nn:ReLU")[0]).__name__
        'ReLU'
        >>> call_factory("torch.nn:RuLU")
        Traceback (most recent call last):
        weightspace.errors.UnknownNameError: torch.nn has no 'RuLU': did you mean "ReLU"?...
        >>> call_factory("torch.nn:Linear")
        Traceback (most recent call last):
        weightspace.errors.SpecError: the factory torch.nn:Linear failed: TypeError: ...
    """
    with _current_folder(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = _found(name)
        torch.manual_seed(0)  # again: an import draws once in the life of a process
        made = found if isinstance(found, nn.Module) else _made(name, found)
    module, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    if not isinstance(module, nn.Module):
        raise SpecError(
            f"the factory {name} gave a {type(made).__name__}; expected an nn.Module, or the pair (module, "
            "example_inputs)."
        )
    lazy = [key for key, parameter in module.named_parameters() if is_lazy(parameter)]
    if lazy:
        raise SpecError(
            f"{lazy[0]!r} of the factory {name} has no size yet; call the lazy module on an input before returning it."
        )
    return module.eval(), inputs


def imported(name: str) -> Any:
    """What a name such as `package.module:thing` stands for. Importing runs the code of the module.

    Modules of the current folder can be imported, as by `python -m`.

    Args:
        name: `package.module:thing`, or `package.module:thing.part`.

    Raises:
        SpecError: a name of another form, or a module that cannot be imported.
        UnknownNameError: no such name in the module.

    Example:
        >>> imported("torch.nn:ReLU")
        <class 'torch.nn.modules.activation.ReLU'>
    """
    with _current_folder():
        return _found(name)


@contextmanager
def _current_folder() -> Iterator[None]:
    """While this is open, modules of the current folder can be imported."""
    folder = os.getcwd()
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        with suppress(ValueError):  # the user's code may have taken it out
            sys.path.remove(folder)


def _found(name: str) -> Any:
    """What the name stands for."""
    module, _, path = name.partition(":")
    if not is_factory(name):
        raise SpecError(
            f"{name!r} names no factory; expected package.module:factory, such as models:make for the function make of "
            "models.py in the current folder."
        )
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # whatever the user's code does
        raise SpecError(_import_failure(module, error)) from error
    for part in path.split("."):
        if not hasattr(found, part):
            near = get_close_matches(part, dir(found), n=1)
            hint = f'did you mean "{near[0]}"?' if near else "give the name of a function or class in it."
            raise UnknownNameError(f"{name.partition(':')[0]} has no {part!r}: {hint}")
        found = getattr(found, part)
    return found


def _import_failure(module: str, error: BaseException) -> str:
    missing = isinstance(error, ModuleNotFoundError) and error.name is not None
    if missing and f"{module}.".startswith(f"{error.name}."):  # type: ignore[attr-defined]
        stem, _, suffix = module.rpartition(".")
        remedy = f"Write {stem}:... without the suffix." if suffix == "py" else "Change to its folder, or install it."
        return f"there is no module {module!r}, neither in {os.getcwd()} nor installed. {remedy}"
    return f"importing {module!r} failed: {_told(error)}. Make `python -c 'import {module}'` work first."


def _made(name: str, factory: Any) -> Any:
    if not callable(factory):
        raise SpecError(f"{name} is a {type(factory).__name__}; expected a function or class that makes a module.")
    try:
        return factory()
    except (Exception, SystemExit) as error:  # whatever the user's code does
        module, _, path = name.partition(":")
        raise SpecError(
            f"the factory {name} failed: {_told(error)}. It is called without arguments; "
            f"`python -c 'import {module}; {module}.{path}()'` shows where."
        ) from error


def _told(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}".rstrip(": .")
