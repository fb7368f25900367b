"""The types in which a zoo's weights are stored: what rounding them may not do."""

from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from weightspace.errors import FormatError, unknown
from weightspace.spec import NetworkSpec

__all__ = ["PRECISIONS", "Precision", "precision_of", "rounded"]


@dataclass(frozen=True)
class Precision:
    """A type of stored weights.

    Args:
        name: as the manifest has it.
        short: as people say it.
        stored: as a safetensors header has it.
        torch: the type of tensors.
        raw: the type under which numpy, which knows no bfloat16, reads and copies the bytes.
    """

    name: str
    short: str
    stored: str
    torch: torch.dtype
    raw: str


PRECISIONS = {
    kind.name: kind
    for kind in (
        Precision("float32", "fp32", "F32", torch.float32, "<f4"),
        Precision("bfloat16", "bf16", "BF16", torch.bfloat16, "<i2"),
        Precision("float16", "fp16", "F16", torch.float16, "<f2"),
    )
}
"""The types by the names that a manifest has for them."""


def precision_of(name: str) -> Precision:
    """The type of that name, long or short.

    Raises:
        UnknownNameError: no such type.

    Example:
        >>> precision_of("bf16").name, precision_of("float32").torch
        ('bfloat16', torch.float32)
        >>> precision_of("bf32")
        Traceback (most recent call last):
        weightspace.errors.UnknownNameError: unknown type of weights 'bf32': did you mean "fp32"? Valid names: ...
    """
    names = {**PRECISIONS, **{kind.short: kind for kind in PRECISIONS.values()}}
    if name not in names:
        raise unknown("type of weights", name, names)
    return names[name]


def rounded(flat: Tensor, name: str, spec: NetworkSpec, numbers: npt.NDArray[np.int64]) -> Tensor:
    """Weights rounded to the nearest number of a type; infinite ones and NaN stay what they are.

    Shapes:
        flat: ``(networks, parameters)``, float32; numbers: ``(networks,)``; result: as flat.

    Args:
        flat: the weights.
        name: of the type.
        spec: the weight space, which names what is refused.
        numbers: of the networks, likewise.

    Raises:
        FormatError: a finite weight that the type could only hold as infinite.
    """
    kind = precision_of(name)
    if kind.torch == torch.float32:
        return flat
    out = flat.to(kind.torch)
    lost = out.isinf() & flat.isfinite()
    if lost.any():
        row, column = lost.nonzero()[0].tolist()
        remedy = "bfloat16, which has the range of float32" if kind.name == "float16" else "float32"
        raise FormatError(
            f"network {numbers[row]} cannot be stored as {kind.name}: {_parameter(spec, column)} is "
            f"{flat[row, column].item():.6g}, beyond {torch.finfo(kind.torch).max:.6g}. Remedy: store it as {remedy}."
        )
    return out


def _parameter(spec: NetworkSpec, column: int) -> str:
    """The name and the index of a column of flat weights."""
    shapes = [spec.shape(param.name) for param in spec.params]
    ends = list(accumulate(int(np.prod(shape)) for shape in shapes))
    position = next(number for number, end in enumerate(ends) if column < end)
    begin = ends[position - 1] if position else 0
    index = np.unravel_index(column - begin, shapes[position]) if shapes[position] else ()
    return f"{spec.params[position].name}[{', '.join(str(int(i)) for i in index)}]"
