"""``weightspace align``: one network moved onto another by its symmetries."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from safetensors.torch import save

from weightspace.cli.new import check_new
from weightspace.cli.note import print_notes
from weightspace.disk import write_atomic
from weightspace.errors import FormatError, ShapeError, SpecError, unknown
from weightspace.gauge import Aligned, align_activations
from weightspace.gauge import align as align_weights
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures
from weightspace.weights.source import Reading, Source, read_sources

__all__ = ["align"]

_MATCHINGS = ("weights", "activations")


def align(
    source: str,
    to: str,
    /,
    *,
    out: Path,
    by: str = "weights",
    force: bool = False,
    reading: Annotated[Reading, Parameter(name="*")] = Reading(),  # noqa: B008 - frozen
) -> None:
    """Move a network as near to another as its symmetries allow, and write it as a state dict.

    The function of the network stays what it was. Nothing in a file is run; a factory is code, and runs.

    Args:
        source: the network to be moved, as a file with weights (.safetensors, .pt, .pth, .bin, .ckpt), an exported
            program (.pt2) or package.module:factory.
        to: the network that it is moved onto, of the same architecture.
        out: the file to be written, ending in .safetensors.
        by: weights, or activations: by what units answer to the example inputs. Those of a factory that returns
            (module, example_inputs) are real data; random numbers otherwise.
        force: write over a file that is there.
        reading: how a file becomes a network.
    """
    if by not in _MATCHINGS:
        raise unknown("matching", by, _MATCHINGS)
    if out.suffix != ".safetensors":
        raise FormatError(f"{out} ends in {out.suffix!r}; the network is written as .safetensors: name it so.")
    check_new(out, force=force)
    moving, fixed = read_sources((source, to), reading)
    spec = moving.spec()
    print_notes(spec.notes)
    if fixed.spec() != spec:
        raise ShapeError(f"{source} and {to} are of different architecture; only networks of one can be aligned.")
    x, target = moving.features(spec), fixed.features(spec)
    found = align_weights(x, target) if by == "weights" else _by_activations(moving, fixed, spec)
    write_atomic(out, _encoded(moving, found.features))
    print(f"distance in weights before: {_distance(x, target):.3g}, after: {_distance(found.features, target):.3g}")
    print(out)


def _by_activations(moving: Source, fixed: Source, spec: NetworkSpec) -> Aligned:
    if moving.program is not None:
        raise SpecError(f"{moving.name} is an exported program, whose layers cannot be listened to; align by weights.")
    return align_activations(moving.module, fixed.module, spec, moving.inputs)


def _distance(x: WeightFeatures, to: WeightFeatures) -> float:
    """The norm of the difference of all weights, relative to that of the second network."""
    apart = sum((a.double() - b.double()).square().sum().item() for a, b in zip(x.tensors, to.tensors, strict=True))
    size = sum(b.double().square().sum().item() for b in to.tensors)
    return (apart / size) ** 0.5 if size else apart**0.5


def _encoded(source: Source, x: WeightFeatures) -> bytes:
    """The moved network as the content of a file, each tensor in the type that it had."""
    # By way of the module, which sets tied tensors together; the format takes no tensors that share memory.
    (module,) = x.to_modules(source.module)
    state = module.state_dict()
    return save(
        {key: state[key].to(old.dtype, copy=True).contiguous() for key, old in source.state.items()}, {"format": "pt"}
    )
