"""``weightspace check``: does a network compute the same when its weights are moved by its symmetries?"""

from typing import Annotated

from cyclopts import Parameter

from weightspace.cli.note import print_notes
from weightspace.testing import function_changes
from weightspace.testing.function import Change
from weightspace.weights.source import Reading, read_source

__all__ = ["check"]


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
    network = read_source(source, reading)
    spec = network.spec()
    network.features(spec)  # which refuses what has no finite values
    changes = function_changes(
        network.module, spec, network.inputs, elements=elements, log_scale=log_scale, seed=seed, tolerance=tolerance
    )
    print_notes(spec.notes)
    print(f"group elements: {elements}; free axes: {len(spec.free_axes)}; scales up to 1e{log_scale:g}")
    for change in changes:
        print(
            f"inputs x {f'1e{change.decade}':>4}: change {change.error:.1e}, allowed {change.allowed:.1e}: "
            f"{_verdict(change)}"
        )
    verdicts = {_verdict(change) for change in changes}
    if "FAILED" in verdicts:
        print("The function changes: the symmetries do not hold.")
    elif "ok" in verdicts:
        print("The function stays as it is.")
    else:
        print("Nothing can be told: rounding alone changes the function. Give other inputs.")
    return int("FAILED" in verdicts or "ok" not in verdicts)


def _verdict(change: Change) -> str:
    if not change.telling:
        return "tells nothing"
    return "ok" if change.error <= change.allowed else "FAILED"
