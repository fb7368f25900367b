"""``weightspace check``: does a network compute the same when its weights are moved by its symmetries?"""

import copy
from collections.abc import Iterator
from typing import Annotated, Any

import torch
from cyclopts import Parameter
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from weightspace.cli.note import print_notes
from weightspace.errors import DataError
from weightspace.spec import NetworkSpec
from weightspace.spec.precision import double_precision, scaled
from weightspace.spec.trace import arguments_of
from weightspace.testing import tolerance_of
from weightspace.testing.orbit import MEANINGLESS, conditioning_of, deviation
from weightspace.weights import WeightFeatures, act, features_of, sample_element
from weightspace.weights.source import Reading, Source, read_source

__all__ = ["check"]

DECADES = range(-3, 4)


def check(
    source: str,
    /,
    *,
    elements: int = 4,
    log_scale: float = 2.0,
    seed: int = 0,
    tolerance: float | None = None,
    reading: Annotated[Reading, Parameter(name="*")] = Reading(),  # noqa: B008 - frozen
) -> int:
    """Move a network's weights by random elements of its group and say how much its function changes.

    Everything runs in double precision, in evaluation mode, on inputs over six decades. Exit code 1 means that the
    function changed by more than rounding. Nothing in a file is run; a factory is code, and runs.

    Args:
        source: a file with weights (.safetensors, .pt, .pth, .bin, .ckpt), an exported program (.pt2), or
            package.module:factory, a function without arguments that is imported and called.
        elements: how many group elements are drawn.
        log_scale: positive scales reach from 10^-log_scale to 10^log_scale.
        seed: of the group elements.
        tolerance: the largest relative change that passes; by default what rounding may cause in this network.
        reading: how a file becomes a network.
    """
    if elements < 1 or not 0 <= log_scale <= 20:
        raise DataError(f"elements is {elements} and log_scale {log_scale:g}; expected at least 1, and 0 to 20.")
    network = read_source(source, reading)
    spec = network.spec()
    print_notes(spec.notes)
    print(f"group elements: {elements}; free axes: {len(spec.free_axes)}; scales up to 1e{log_scale:g}")
    verdicts = set()
    for decade, change, allowed in _changes(network, spec, elements, log_scale, seed):
        limit = allowed if tolerance is None else tolerance
        verdict = "ok" if change <= limit else "FAILED"
        if limit >= MEANINGLESS:
            verdict = "tells nothing"
        print(f"inputs x {decade:>4}: change {change:.1e}, allowed {limit:.1e}: {verdict}")
        verdicts.add(verdict)
    if "FAILED" in verdicts:
        print("The function changes: the symmetries do not hold.")
    elif "ok" in verdicts:
        print("The function stays as it is.")
    else:
        print("Nothing can be told: rounding alone changes the function. Give other inputs.")
    return int("FAILED" in verdicts or "ok" not in verdicts)


def _changes(
    network: Source, spec: NetworkSpec, elements: int, log_scale: float, seed: int
) -> Iterator[tuple[str, float, float]]:
    """For each decade of inputs the largest relative change of the outputs, and what rounding may cause."""
    network.features(spec)  # which refuses what has no finite values
    module = copy.deepcopy(network.module).double()
    x = features_of(spec, module)
    g = sample_element(spec, elements, generator=torch.Generator().manual_seed(seed), log_scale=log_scale)
    multiplied = any(isinstance(x, Tensor) and x.is_floating_point() for x in pytree.tree_leaves(network.inputs))
    for decade in DECADES if multiplied else [0]:

        def answer(x: WeightFeatures, inputs: Any = scaled(network.inputs, 10.0**decade)) -> Any:  # noqa: B008
            return _answer(x.to_modules(module)[0], inputs, seed)

        plain = answer(x)
        change = max(deviation(plain, answer(act(g[row : row + 1], x))).error for row in range(elements))
        yield f"1e{decade}", change, tolerance_of(torch.float64, conditioning_of(answer, x, torch.float64, seed=seed))


def _answer(module: nn.Module, inputs: Any, seed: int) -> Any:
    positional, keywords = arguments_of(inputs)
    with torch.random.fork_rng(devices=[]), torch.no_grad(), double_precision():
        torch.manual_seed(seed)
        return module(*positional, **keywords)
