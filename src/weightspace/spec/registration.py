"""Activations that users add to the table, and how a traced graph names them.

A graph is made of torch's own operations, in which an activation that a user wrote can no longer be seen. While a
module is traced, every registered activation stands for itself by one operation, `weightspace::activation`.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import SpecError
from weightspace.spec.activations import ACTIVATIONS, Activation
from weightspace.spec.network import NONZERO, PERMUTATION, POSITIVE, SIGN, Factor, Symmetry

__all__ = ["register_activation", "registered_activations"]

CLAIMS = (PERMUTATION, SIGN, POSITIVE, NONZERO)
TOLERANCE = 1e-9  # of float64, for functions that are themselves computed with some cancellation
OPERATIONS = ("activation",)
TRACING: ContextVar[bool] = ContextVar("weightspace-tracing", default=False)

Function = Callable[..., Tensor]


@torch.library.custom_op("weightspace::activation", mutates_args=(), schema="(Tensor x, str name) -> Tensor")
def _activation(x: Tensor, name: str) -> Tensor:
    """What a traced graph computes when it is run: only functions, for the graph does not hold a module's constants."""
    row = ACTIVATIONS.get(name)
    if row is None or row.module is not None:
        raise SpecError(
            f"the traced activation {name!r} is no registered function, so the graph cannot be run; run the module."
        )
    return row.function(x).clone()  # an operation of torch.library may not give its input back


@_activation.register_fake
def _(x: Tensor, name: str) -> Tensor:
    return torch.empty_like(x)


def register_activation(
    what: Any = None, symmetry: Symmetry = PERMUTATION, *, name: str | None = None, example: nn.Module | None = None
) -> Any:
    """Add an activation to the table, so that `spec_of` knows which factors it lets through.

    The claim `f(d x) = d f(x)` is checked here in float64, on inputs and factors over six decades each. Instances
    of a module class may differ in their constants; each of them is checked again when `spec_of` meets it.
    `del ACTIVATIONS[name]` takes the activation out of the table again.

    Args:
        what: a subclass of `nn.Module` whose forward maps one tensor elementwise, or a function of one tensor. Left
            out, a decorator is returned: `@register_activation(symmetry=SIGN)`.
        symmetry: what passes through it: `PERMUTATION` (reordering only), `SIGN` (it is odd), `POSITIVE` (it is
            positively homogeneous) or `NONZERO` (both).
        name: its name in the table; `None` takes the class's or function's own.
        example: an instance of the class, where the class cannot be made without arguments.

    Returns:
        The class itself, unchanged; for a function a new one that is to be called in its place.

    Raises:
        SpecError: the claim is false (with a counterexample), the function is not elementwise, the name is taken, or
            `what` is neither a class nor a function.

    Example:
        >>> @register_activation(symmetry=SIGN, name="cubic")
        ... def cubic(x):
        ...     return x + x**3
        >>> ACTIVATIONS["cubic"].symmetry
        SIGN
        >>> register_activation(lambda x: x.clamp(0, 100), POSITIVE, name="clipped")
        Traceback (most recent call last):
        weightspace.errors.SpecError: activation 'clipped' is claimed to be POSITIVE, but f(d x) = 100 where d f(x) =...
        >>> del ACTIVATIONS["cubic"]
    """
    if what is None:
        return partial(register_activation, symmetry=symmetry, name=name, example=example)
    if symmetry not in CLAIMS:
        raise SpecError(f"symmetry {symmetry!r} cannot be claimed of an activation; take one of {CLAIMS}.")
    module = what if isinstance(what, type) and issubclass(what, nn.Module) else None
    if module is None and (isinstance(what, type | nn.Module) or not callable(what)):
        raise SpecError(
            f"{what!r} is neither a subclass of nn.Module nor a function of one tensor; "
            "of a module register the class, with example=module if the class needs arguments."
        )
    function = what if module is None else _example(module, example)
    own_name: str = getattr(what, "__name__", "<lambda>")
    row = _new_row(name or own_name, symmetry, function, module)
    known = _known(row)
    if known is None:
        _check(f"activation {row.name!r}", function, symmetry)
        ACTIVATIONS[row.name] = known = row
    return what if module is not None else _named(what, known)


@contextmanager
def registered_activations(module: nn.Module | None = None) -> Iterator[None]:
    """While this is open, registered activations show in a trace as `torch.ops.weightspace.activation(x, name)`.

    Args:
        module: the module that is to be traced. Its registered activation modules are checked with the constants they
            have, and stand for themselves while this is open. Without it only registered functions do; modules are
            seen through, as ever.

    Raises:
        SpecError: an instance in the module does not have the symmetry that was claimed for its class, or holds
            one number per unit.

    Example:
        >>> @register_activation(symmetry=SIGN)
        ... class Cubic(nn.Module):
        ...     def forward(self, x):
        ...         return x + x**3
        >>> module = nn.Sequential(nn.Linear(2, 3), Cubic())
        >>> with registered_activations(module):
        ...     graph = torch.export.export(module, (torch.zeros(1, 2),), strict=False).graph
        >>> [str(node.target) for node in graph.nodes if node.op == "call_function"]
        ['aten.linear.default', 'weightspace.activation.default']
        >>> del ACTIVATIONS["Cubic"]
    """
    token = TRACING.set(True)
    try:
        with ExitStack() as stack:
            for path, part, row in _instances(module):
                subject = f"activation {row.name!r} at {path or 'the top level'!r} ({part})"
                _check(subject, _double(subject, part), row.symmetry)
                vars(part)["forward"] = partial(_emit, row.name)
                stack.callback(vars(part).pop, "forward")
            yield
    finally:
        TRACING.reset(token)


def _instances(module: nn.Module | None) -> list[tuple[str, nn.Module, Activation]]:
    """The registered activations in a module, with their paths and rows."""
    rows = {row.module: row for row in ACTIVATIONS.values() if row.operations == OPERATIONS}
    parts = [] if module is None else module.named_modules()
    # A forward of the instance's own, put there by other code, is not the one that was registered.
    return [
        (path, part, rows[type(part)]) for path, part in parts if type(part) in rows and "forward" not in vars(part)
    ]


def _emit(name: str, x: Tensor) -> Tensor:
    return torch.ops.weightspace.activation(x, name)


def _named(function: Function, row: Activation) -> Function:
    """The function, which names itself while a module is traced."""

    @wraps(function)
    def registered(x: Tensor) -> Tensor:
        if TRACING.get() and ACTIVATIONS.get(row.name) is row:
            return _emit(row.name, x)
        return function(x)

    return registered


def _new_row(name: str, symmetry: Symmetry, function: Function, module: type[nn.Module] | None) -> Activation:
    if name == "<lambda>":
        raise SpecError("a lambda has no name that a spec could call it by; give one with name=...")
    positive = 1 if Factor.POSITIVE in symmetry.factors else None
    sign = 1 if Factor.SIGN in symmetry.factors else None
    return Activation(
        name, positive, sign, function, (), "claimed by its user, checked on six decades", OPERATIONS, module
    )


def _known(row: Activation) -> Activation | None:
    """The same registration made before, if any; another one under this name, or of this class, is refused."""
    for other in ACTIVATIONS.values():
        same_thing = other.module is row.module if row.module else other.function is row.function
        if other.name == row.name and same_thing and other.symmetry == row.symmetry and other.operations == OPERATIONS:
            return other
        if other.name == row.name:
            raise SpecError(f"the table already has an activation {row.name!r} ({other.source}); take another name=...")
        if row.module is not None and same_thing:
            raise SpecError(f"{row.module.__name__} is in the table already, as {other.name!r}; use that row.")
    return None


def _example(module: type[nn.Module], example: nn.Module | None) -> nn.Module:
    """The instance on which the claim is checked."""
    subject = f"activation {module.__name__!r}"
    if example is None:
        try:
            example = module()
        except TypeError as error:
            raise SpecError(
                f"{subject} cannot be made without arguments ({error}); pass example=an instance."
            ) from None
    if type(example) is not module:
        raise SpecError(f"{subject}: the example is a {type(example).__name__}; expected an instance of the class.")
    return _double(subject, example)


def _double(subject: str, module: nn.Module) -> nn.Module:
    """A copy that computes in float64, of a module that treats all units alike."""
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, tensor in tensors.items():
        if tensor.numel() != 1:
            raise SpecError(
                f"{subject} holds {name!r} of {tensor.numel()} entries, which may differ from unit to unit; "
                "leave it unregistered, so that spec_of reads its forward."
            )
    return copy.deepcopy(module).double().eval()


def _check(subject: str, function: Function, symmetry: Symmetry) -> None:
    """Refuse a claim that fails for some input: magnitudes 1e-3 to 1e3 with both signs, zero, and factors as many."""
    positive = torch.logspace(-3, 3, 61, dtype=torch.float64)
    x = torch.cat([-positive.flip(0), positive.new_zeros(1), positive])
    y = _values(subject, function, x)
    turned = _values(subject, function, x.flip(0).reshape(3, 41)).reshape(-1).flip(0)
    if not _same(turned, y).all():
        raise SpecError(
            f"{subject} is not elementwise, or it is random: the value of an entry changes with the others and their "
            "order. Leave it unregistered, so that spec_of reads its operations."
        )
    for factor in _factors(symmetry):
        left, right = _values(subject, function, factor * x), factor * y
        wrong = (~_same(left, right)).nonzero()
        if len(wrong):
            i = int(wrong[-1])  # of bounded functions the largest input shows it best
            raise SpecError(
                f"{subject} is claimed to be {symmetry!r}, but f(d x) = {left[i]:g} where d f(x) = {right[i]:g}, "
                f"for x = {x[i]:g} and d = {factor:g}. Claim less: PERMUTATION is always right."
            )


def _factors(symmetry: Symmetry) -> list[float]:
    scales = [10.0 ** (half / 2) for half in range(6, -7, -1) if half]
    return [
        d
        for kind, values in ((Factor.POSITIVE, scales), (Factor.SIGN, [-1.0]))
        if kind in symmetry.factors
        for d in values
    ]


def _values(subject: str, function: Function, x: Tensor) -> Tensor:
    """The function's values, one for each entry."""
    try:
        with torch.no_grad():
            y = function(x.clone())  # some activations work in place
    except Exception as error:  # whatever a user's function raises
        raise SpecError(
            f"{subject} cannot be checked: on a float64 tensor of {x.shape} it raised {error!r}."
        ) from error
    if not isinstance(y, Tensor) or y.shape != x.shape:
        given = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise SpecError(f"{subject} maps shape {tuple(x.shape)} to {given}; expected one tensor of the same shape.")
    return y


def _same(a: Tensor, b: Tensor) -> Tensor:
    """Where two values agree; where neither is a number, the function is not defined and nothing is claimed."""
    near = (a - b).abs() <= TOLERANCE * torch.maximum(a.abs(), b.abs())
    return near | (a == b) | (a.isnan() & b.isnan())
