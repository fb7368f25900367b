"""What is counted about one network and its spec, for every table of these benchmarks."""

import time
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr
from copy import deepcopy
from dataclasses import dataclass
from io import StringIO
from math import lgamma, log, prod

import torch
from torch import Tensor, nn

from weightspace.spec import Axis, Factor, NetworkSpec, spec_of
from weightspace.testing import function_error

__all__ = ["Figures", "export_seconds", "failure", "figures_of", "markdown"]

Inputs = tuple[Tensor, ...] | dict[str, Tensor]


@dataclass(frozen=True)
class Figures:
    """One row of a table.

    Args:
        parameters: scalar parameters of the module, tied ones once.
        covered: how many of them have a leg on an axis whose units may be moved.
        free_axes: number of such axes.
        log10_permutations: how many ways there are to reorder units, as a power of ten.
        scales: number of free positive factors.
        signs: number of free signs.
        function_error: largest relative change of the outputs under random group elements, in float64.
        export_seconds: what `torch.export` alone takes; nothing where it cannot read the module.
        seconds: what `spec_of` takes, its own export included and its own check of the function left out.
        notes: number of things that the spec says it did not understand or did not use.
    """

    parameters: int
    covered: int
    free_axes: int
    log10_permutations: float
    scales: int
    signs: int
    function_error: float
    export_seconds: float | None
    seconds: float
    notes: int

    @property
    def share(self) -> float:
        """Share of the parameters that have a symmetry."""
        return self.covered / self.parameters


def figures_of(module: nn.Module, inputs: Inputs) -> Figures:
    """Read the symmetry off a module, count it, and measure whether it is one."""
    # Copies: a few modules keep what they computed from their weights, and export leaves fake tensors there.
    export = export_seconds(deepcopy(module), inputs)
    twin = deepcopy(module)
    start = time.perf_counter()
    spec = spec_of(twin, inputs, verify=False)
    seconds = time.perf_counter() - start
    free = {axis.name for axis in spec.free_axes if axis.size > 1 or axis.symmetry.factors}
    axes = [axis for axis in spec.axes if axis.name in free]
    return Figures(
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        covered=_covered(module, spec, free),
        free_axes=len(axes),
        log10_permutations=sum(_blocks(spec, axis) * lgamma(axis.size + 1) / log(10) for axis in axes),
        scales=_factors(spec, axes, Factor.POSITIVE),
        signs=_factors(spec, axes, Factor.SIGN),
        function_error=function_error(module, spec, inputs),
        export_seconds=export,
        seconds=seconds,
        notes=len(spec.notes),
    )


def export_seconds(module: nn.Module, inputs: Inputs) -> float | None:
    """Seconds of `torch.export` alone, the part of the work that no extractor can avoid."""
    positional, named = ((), inputs) if isinstance(inputs, dict) else (inputs, {})
    start = time.perf_counter()
    try:
        with torch.no_grad(), warnings.catch_warnings(), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")  # export warns of LSTMs, and prints the whole graph of what it cannot read
            torch.export.export(module, positional, named, strict=False)
    except Exception:  # export knows no common class of errors, and spec_of may have other ways to read the module
        return None
    return time.perf_counter() - start


def failure(error: Exception) -> str:
    """An error as one line of a table."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:240]}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table in Markdown whose first `left` columns are text and whose others are numbers."""
    rule = ["---" if position < left else "---:" for position in range(len(head))]
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, rule, *rows])


def _blocks(spec: NetworkSpec, axis: Axis) -> int:
    """How many sets of units an axis stands for: one, or for a nested axis one per unit of the outer axes."""
    return 1 if axis.within is None else spec.axis(axis.within).size * _blocks(spec, spec.axis(axis.within))


def _factors(spec: NetworkSpec, axes: Sequence[Axis], kind: Factor) -> int:
    return sum(axis.symmetry.factors.count(kind) * axis.size * _blocks(spec, axis) for axis in axes)


def _covered(module: nn.Module, spec: NetworkSpec, free: set[str]) -> int:
    """Scalar parameters with a leg on a free axis; a tied tensor counts once, buffers do not count."""
    tensors = {key: id(parameter) for key, parameter in module.named_parameters(remove_duplicate=False)}
    blocks = {
        (tensors[param.view.key], param.view.offset, param.view.strides): prod(spec.shape(param.name))
        for param in spec.params
        if param.view.key in tensors and any(leg.axis in free for leg in param.legs)
    }
    return sum(blocks.values())
