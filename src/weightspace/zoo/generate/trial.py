"""Whether a module can be trained side by side with others, found out on two networks before anything is written."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _NormBase

from weightspace.errors import TrainingError, WeightspaceError
from weightspace.zoo.generate.blueprint import Blueprint
from weightspace.zoo.generate.ensemble import Loss, Program
from weightspace.zoo.generate.examples import Examples

__all__ = ["try_out"]

Made = TypeVar("Made")

_NORM = "GroupNorm, LayerNorm or InstanceNorm, which keep no statistics"


def try_out(
    blueprint: Blueprint, program: Program, data: Examples, metrics: Mapping[str, Loss], *, batch: int, flat: Tensor
) -> None:
    """One step and one look of some networks, compared with the modules run one at a time.

    Shapes:
        flat: ``(network, parameter)``, first parameters of a few networks.

    Raises:
        TrainingError: buffers that change in training, an operation that cannot be run for many networks at a time, a
            loss or metric that is no single number, or outputs that differ from the module's own.
    """
    inputs, targets = (value[:batch] for value in data.train)
    _check_buffers(blueprint, inputs)
    views, networks = blueprint.views(flat), len(flat)
    shown = [value.expand(networks, *value.shape) for value in (inputs, targets)]
    keys = torch.zeros(networks, dtype=torch.int64)
    _, losses = _run("the loss", partial(program.gradient, views, keys, None, *shown))
    _check_number("the loss", losses, networks)
    outputs = _run("the module", partial(program.outputs, views, inputs))
    for name, metric in metrics.items():
        told = _run(f"metric {name!r}", partial(program.told, metric, outputs, targets, shared=True))
        _check_number(f"metric {name!r}", told, networks)
    _check_equal(blueprint, views, inputs, outputs)


def _check_buffers(blueprint: Blueprint, inputs: Tensor) -> None:
    """Refuses a module that writes to its buffers as it is trained."""
    module = deepcopy(blueprint.module).train()
    for name, part in module.named_modules():
        if isinstance(part, _NormBase) and part.track_running_stats:
            raise TrainingError(
                f"{type(part).__name__} {name or 'of the template'!r} keeps running statistics, which are written in "
                f"place while it is trained; expected a module without. Remedy: use {_NORM}."
            )
    before = {name: value.clone() for name, value in module.named_buffers()}
    try:
        with torch.random.fork_rng(devices=[]):
            module(inputs)
    except Exception as failure:
        raise TrainingError(
            f"{type(module).__name__} does not take inputs of shape {tuple(inputs.shape)} and type {inputs.dtype}: "
            f"{_first_line(failure)}. Remedy: give data that the template can be called with."
        ) from failure
    for name, value in module.named_buffers():
        if name not in before or not torch.equal(value, before[name]):
            raise TrainingError(
                f"buffer {name!r} changes in training; expected buffers that stay as they are. "
                f"Remedy: leave such a module out, or use one that keeps nothing (for normalisation {_NORM})."
            )


def _run(what: str, work: Callable[[], Made]) -> Made:
    """The result of a program, or an error that says what stands in its way."""
    try:
        return work()
    except WeightspaceError:
        raise
    except Exception as failure:
        told = _first_line(failure)
        if "random" in str(failure):
            remedy = "draw random numbers in nn.Dropout modules and in the augmentation only"
        elif "item()" in str(failure) or "data-dependent" in str(failure) or "bool" in str(failure):
            remedy = "leave out what branches on values or turns tensors into numbers (use torch.where)"
        elif "atching rule not implemented" in str(failure):
            remedy = "write it in simpler operations, a recurrent layer for instance as a loop over nn.Linear"
        elif "inplace" in str(failure) or "in-place" in str(failure):
            remedy = "write nothing in place"
        else:
            remedy = "check that it fits the targets, and use operations that torch.func.vmap knows"
        raise TrainingError(f"{what} cannot be run for many networks at a time: {told}. Remedy: {remedy}.") from failure


def _check_number(what: str, told: Tensor, networks: int) -> None:
    if tuple(told.shape) != (networks,):
        raise TrainingError(
            f"{what} has shape {tuple(told.shape[1:])} for one network; expected a single number. "
            f"Remedy: take the mean."
        )


def _check_equal(blueprint: Blueprint, views: Mapping[str, Tensor], inputs: Tensor, outputs: Tensor) -> None:
    """Side by side must be what the module itself gives."""
    for row in range(len(outputs)):
        alone = deepcopy(blueprint.module).eval()
        own = {name: value[row] for name, value in views.items()}
        with torch.no_grad():
            expected = torch.func.functional_call(alone, own, (inputs,))
        # Outputs that are not finite are for the run to mark.
        if expected.isfinite().all() and not torch.allclose(outputs[row], expected, rtol=1e-3, atol=1e-4):
            gap = (outputs[row] - expected).abs().max().item()
            raise TrainingError(
                f"{type(alone).__name__} gives other outputs side by side than alone (they differ by {gap:.2g}); "
                f"expected the same. Remedy: let it depend on its input and its parameters alone."
            )


def _first_line(failure: Exception) -> str:
    return (str(failure).strip().splitlines() or [type(failure).__name__])[0].rstrip(".")
