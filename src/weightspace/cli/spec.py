"""``weightspace spec``: the symmetries of a network."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from weightspace.cli.new import check_new
from weightspace.disk import write_atomic
from weightspace.weights.source import Reading, read_source

__all__ = ["spec"]


def spec(
    source: str,
    /,
    *,
    strict: bool = False,
    verify: bool | None = None,
    json: Path | None = None,
    force: bool = False,
    reading: Annotated[Reading, Parameter(name="*")] = Reading(),  # noqa: B008 - frozen
) -> None:
    """Say which transformations of a network's weights leave its function unchanged.

    The network is read in evaluation mode. Nothing in a file is run; a factory is code, and runs.

    Args:
        source: a file with weights (.safetensors, .pt, .pth, .bin, .ckpt), an exported program (.pt2), or
            package.module:factory, a function without arguments that is imported and called.
        strict: fail where something is not understood, instead of fixing what it touches.
        verify: add a certificate, measured on the network: the change of its function, and whether a symmetry was
            missed. With --no-verify not even the symmetries that are found are tried on the network.
        json: a file for the description, which NetworkSpec.from_json reads.
        force: write over a description that is there.
        reading: how a file becomes a network.
    """
    if json is not None:
        check_new(json, force=force)
    network = read_source(source, reading)
    found = network.spec(strict=strict, verify=verify is not False)
    print(found.report(verify=bool(verify)))
    if json is not None:
        write_atomic(json, found.to_json().encode())
