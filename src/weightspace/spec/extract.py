"""From a torch module to the spec of its weight space."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from weightspace.errors import SpecError
from weightspace.spec.certificate import remember, verified
from weightspace.spec.example import example_inputs_of
from weightspace.spec.network import FIXED, Axis, Leg, NetworkSpec, Note, ParamSpec, View
from weightspace.spec.registration import registered_activations
from weightspace.spec.trace import arguments_of, assemble, exported, functional, network_of, quiet, solve

__all__ = ["spec_of"]


def spec_of(
    module: nn.Module | ExportedProgram, example_inputs: Any = None, *, strict: bool = False, verify: bool = True
) -> NetworkSpec:
    """The weight space of any module: which transformations of its weights leave its function unchanged.

    The computation is read by `torch.export`; every operation says which units it pairs and how they may scale. What
    is not understood is `FIXED` and listed in `spec.report()`: a symmetry that is not there is never claimed.

    Args:
        module: the network, in the mode (`train` or `eval`) whose function is meant; or an exported program.
        example_inputs: what the module is called with: a tensor, a tuple of arguments, a dict of keyword
            arguments, or the pair of both. `None` tries what the first layer accepts. The spec holds for inputs of this
            shape, and for others as far as the module computes the same on them.
        strict: raise where something is not understood, instead of fixing what it touches.
        verify: check on the network itself that random elements of the group do not change its function.

    Raises:
        SpecError: no parameters; inputs that were not found or that the module does not take; with `strict`, an
            operation that is not understood, with the module it is in and the remedy.

    Example:
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1)))
        >>> [(axis.name, axis.size, axis.symmetry) for axis in spec.axes]
        [('input', 2, FIXED), ('0', 8, POSITIVE), ('2', 1, FIXED)]
        >>> spec.param("2.weight").legs
        (Leg(axis='2', powers=()), Leg(axis='0', powers=(-1,)))

    References:
        Zhou et al., "Permutation Equivariant Neural Functionals", NeurIPS 2023; Tran et al., "Monomial Matrix Group
        Equivariant Neural Functional Networks", NeurIPS 2024, section 3: the groups of chains, which this extends to
        any computation.
    """
    if isinstance(module, ExportedProgram):
        return _solved(functional(module), None, module.example_inputs or ((), {}), strict, verify)
    if not any(True for _ in module.parameters()):
        raise SpecError(f"{type(module).__name__} has no parameters, so there are no weights to describe.")
    inputs = example_inputs_of(module) if example_inputs is None else example_inputs
    arguments_of(inputs)
    with registered_activations(module):
        try:
            program = exported(module, inputs)
        except Exception as error:  # the module's own errors, and whatever torch.export refuses
            _check_runs(module, inputs)
            reason = f"torch.export cannot read it: {_first_line(error)}"
            if strict:
                raise SpecError(f"{type(module).__name__}: {reason}. {REMEDY}") from error
            return _unread(module, reason)
    return _solved(program, module, inputs, strict, verify)


REMEDY = (
    "Rewrite the operation with ones that are known, register_activation it where it acts on single units, or read the "
    "module with strict=False, which fixes the axes that it touches."
)


def _solved(program: ExportedProgram, module: nn.Module | None, inputs: Any, strict: bool, verify: bool) -> NetworkSpec:
    solution = solve(network_of(program, module))
    doubts = solution.tracer.doubts
    if strict and doubts:
        what, where = next(iter(doubts.items()))
        raise SpecError(f"not understood: {what} ({where}). {REMEDY}")
    spec = assemble(solution)
    with quiet():
        module = program.module() if module is None else module
        spec = verified(spec, module, inputs, strict=strict) if verify else spec
    return remember(spec, module, inputs)


def _check_runs(module: nn.Module, inputs: Any) -> None:
    """Tell inputs that the module does not take from computations that cannot be exported."""
    positional, keywords = arguments_of(inputs)
    try:
        with torch.no_grad():
            module(*positional, **keywords)
    except Exception as error:  # any error of a user's module
        shapes = [tuple(x.shape) if isinstance(x, torch.Tensor) else x for x in (*positional, *keywords.values())]
        raise SpecError(
            f"{type(module).__name__} does not accept example inputs of shapes {shapes}: {_first_line(error)}. "
            "Give inputs that the module runs on."
        ) from error


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}".rstrip(": ")


def _unread(module: nn.Module, reason: str) -> NetworkSpec:
    """The spec of a module of which nothing is understood: every axis is fixed."""
    axes, params = [], []
    for key, tensor in module.named_parameters():
        names = [f"{key}.dim{d}" for d in range(tensor.ndim)]
        axes += [Axis(name, max(size, 1), FIXED) for name, size in zip(names, tensor.shape, strict=True)]
        params.append(ParamSpec(key, tuple(Leg(name) for name in names), "weight", View(key)))
    spec = NetworkSpec(tuple(axes), tuple(params))
    return replace(spec, notes=(Note("the network", f"fixed: {reason}"),))
