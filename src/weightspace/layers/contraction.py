"""What the two halves of an equivariant map do to tensors: reduce a parameter, and spread over one.

Everything is worked out when a layer is made, so that a forward pass is tensor operations alone.
"""

from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from weightspace.layers.diagram import Half
from weightspace.spec import NetworkSpec

__all__ = ["Reduction", "Spread"]


@dataclass(frozen=True)
class Reduction:
    """Diagonals taken, closed indices averaged, fixed indices put beside the channels.

    Args:
        param: position of the parameter.
        formula: what `torch.einsum` does.
        order: the same as an order of dimensions, where it is no more than that.
        carried: number of carried indices.
        count: how many entries are averaged.
    """

    param: int
    formula: str
    order: tuple[int, ...] | None
    carried: int
    count: int

    @classmethod
    def of(cls, half: Half, spec: NetworkSpec) -> "Reduction":
        """The reduction of a source half."""
        before, behind = f"a{half.param_letters}c", f"a{half.carried_letters}{half.fixed_letters}c"
        order, formula = _order(before, behind), f"{before}->{behind}"
        return cls(_position(half, spec), formula, order, len(half.carried), half.closed_size(spec))

    def __call__(self, x: Tensor) -> Tensor:
        """Shape `(batch, *legs, channels)` to `(batch, *carried, fixed * channels)`."""
        kept = torch.einsum(self.formula, x) if self.order is None else x.permute(self.order)
        kept = kept.flatten(1 + self.carried)
        return kept / self.count if self.count > 1 else kept


@dataclass(frozen=True)
class Spread:
    """The way back: a tensor that broadcasts to the parameter, of size 1 along indices it is constant in.

    Args:
        param: position of the parameter.
        fixed: sizes of the fixed indices.
        formula: what `torch.einsum` does.
        order: the same as an order of dimensions, where it is no more than that.
        ties: sizes of identity matrices that tie further legs of a block to its first.
        constant: positions of the legs that nothing depends on.
        size: number of entries along the other legs.
    """

    param: int
    fixed: tuple[int, ...]
    formula: str
    order: tuple[int, ...] | None
    ties: tuple[int, ...]
    constant: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, half: Half, spec: NetworkSpec) -> "Spread":
        """The spread of a target half."""
        letters, operands, ties, constant = dict(half.letters), [], [], []
        for block in (*half.carried, *half.closed):
            first, *others = block.legs
            for leg in others:
                letters[leg] = chr(ord("A") + leg)
                operands.append(letters[first] + letters[leg])
                ties.append(spec.axis(block.axis).size)
            if block in half.closed and not others:
                constant.append(first)
        legs = "".join(letters[leg] for leg in sorted(letters) if leg not in constant)
        before = f"a{half.carried_letters}{half.fixed_letters}c"
        formula = f"{','.join([before, *operands])}->a{legs}c"
        order = None if operands else _order(before, f"a{legs}c")
        size = prod(size for leg, size in enumerate(spec.shape(half.param)) if leg not in constant)
        fixed = half.fixed_shape(spec)
        return cls(_position(half, spec), fixed, formula, order, tuple(ties), tuple(sorted(constant)), size)

    def __call__(self, mixed: Tensor, channels: int) -> Tensor:
        """Shape `(batch, *carried, fixed * channels)` to `(batch, *legs, channels)`."""
        out = mixed.unflatten(-1, (*self.fixed, channels)) if self.fixed else mixed
        if self.order is None:
            identities = [torch.eye(size, dtype=mixed.dtype, device=mixed.device) for size in self.ties]
            out = torch.einsum(self.formula, out, *identities)
        else:
            out = out.permute(self.order)
        for leg in self.constant:
            out = out.unsqueeze(leg + 1)
        return out


def _position(half: Half, spec: NetworkSpec) -> int:
    return [param.name for param in spec.params].index(half.param)


def _order(before: str, behind: str) -> tuple[int, ...] | None:
    """How to permute dimensions, if every index stays and none comes twice."""
    return tuple(map(before.index, behind)) if sorted(before) == sorted(set(behind)) else None
