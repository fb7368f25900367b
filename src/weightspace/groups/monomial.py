"""Batches of monomial matrices: a permutation and, per factor, one scalar per unit."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["Monomial"]


@dataclass(frozen=True, eq=False)
class Monomial:
    r"""A batch of monomial transformations of one set of units: new unit `i` is old unit `perm[i]`, then scaled.

    With `F` scalar factors per unit (each of which a tensor may carry to its own integer power) the action on a
    vector `v` of units is :math:`(g v)_i = \prod_f s_{f,i}^{p_f}\, v_{\mathrm{perm}(i)}`. Units nested in others
    have one such matrix per outer unit, along the dimensions written `*outer`.

    Shapes:
        perm: `(batch, *outer, units)`, integers, each row a permutation of `0..units-1`.
        scale: `(batch, factors, *outer, units)`, never zero.

    Symmetry:
        Without outer dimensions `(g @ h)` acts as `g` after `h`, and `g.inverse() @ g` is the identity; with outer
        dimensions both hold block by block.

    Example:
        >>> g = Monomial(torch.tensor([[1, 0, 2]]), torch.tensor([[[2.0, 3.0, 5.0]]]))
        >>> g.apply(torch.tensor([[10.0, 20.0, 30.0]]), dims=(1,), powers=(1,))
        tensor([[ 40.,  30., 150.]])
        >>> (g.inverse() @ g).perm
        tensor([[0, 1, 2]])
    """

    perm: Int[Tensor, "batch *outer units"]
    scale: Float[Tensor, "batch factors *outer units"]

    def __len__(self) -> int:
        return self.perm.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> "Monomial":
        return Monomial(self.perm[rows], self.scale[rows])

    def __matmul__(self, other: "Monomial") -> "Monomial":
        carried = other.scale.gather(-1, self.perm.unsqueeze(1).expand_as(other.scale))
        return Monomial(other.perm.gather(-1, self.perm), self.scale * carried)

    def inverse(self) -> "Monomial":
        """The elements that undo these, block by block."""
        back = self.perm.argsort(-1)
        return Monomial(back, 1 / self.scale.gather(-1, back.unsqueeze(1).expand_as(self.scale)))

    def weight(self, powers: Sequence[int]) -> Float[Tensor, "batch *outer units"]:
        """The scalar of each unit, with each factor taken to its power. Shape `(batch, *outer, units)`."""
        used = [(self.scale[:, factor], power) for factor, power in enumerate(powers) if power]
        if not used:
            return torch.ones(self.perm.shape, dtype=self.scale.dtype, device=self.scale.device)
        return reduce(torch.mul, [scale if power == 1 else scale**power for scale, power in used])

    def move(self, x: Tensor, dims: Sequence[int]) -> Tensor:
        """Reorder `x` along `dims[-1]` without scaling; `dims[:-1]` are where the outer units stand, ascending.

        Shapes:
            x: dimension 0 is the batch, or has size 1 where every element acts on the same `x`.
        """
        batch = max(len(self), x.shape[0])
        index = self._placed(self.perm.to(x.device), x, dims)
        return x.expand(batch, *x.shape[1:]).gather(dims[-1], index.expand(batch, *x.shape[1:]))

    def apply(self, x: Tensor, dims: Sequence[int], powers: Sequence[int]) -> Tensor:
        """Reorder `x` along `dims[-1]`, then scale it. Same shape as `x`."""
        moved = self.move(x, dims)
        if not any(powers):
            return moved
        return moved * self._placed(self.weight(powers).to(x), x, dims)

    def _placed(self, values: Tensor, x: Tensor, dims: Sequence[int]) -> Tensor:
        shape = [1] * x.ndim
        shape[0] = len(self)
        for position, dim in enumerate(dims, start=1):
            shape[dim] = values.shape[position]
        return values.reshape(shape)
