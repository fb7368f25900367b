"""Linear maps gated by invariants: any function that follows a scalar, to the degree that its invariants tell."""

from collections.abc import Sequence, Set

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.errors import unknown
from weightspace.spec import Factor

__all__ = ["SIGN_FORMS", "Gated", "Invariants"]

SIGN_FORMS = ("symmetrised", "absolute", "product")


def joint_norm(parts: Sequence[Tensor]) -> Tensor:
    """Length of the channel vectors of several broadcastable tensors taken together, `(..., 1)`; one where it is zero.

    The largest entry is divided out first, so squares neither vanish nor overflow.
    """
    largest = parts[0].detach().abs().amax(-1, keepdim=True)
    for part in parts[1:]:
        largest = torch.maximum(largest, part.detach().abs().amax(-1, keepdim=True))
    dead = largest == 0
    scale = largest + dead
    squares = sum((part / scale).square().sum(-1, keepdim=True) for part in parts)
    return (squares + dead).sqrt() * scale


def total(parts: Sequence[Tensor]) -> Tensor:
    """The sum of tensors that broadcast."""
    return sum(parts[1:], parts[0])


class Invariants(nn.Module):
    r"""A network on what scalars leave of channel vectors: :math:`\phi(c(x_1, \ldots, x_n))`.

    The vectors share one scalar; they broadcast against each other, and what only some of their indices tell is
    computed for those alone. Positive scalars are divided out by the length of all vectors together. For signs there
    are three forms of `c`:

    - `symmetrised`: :math:`\rho(x) + \rho(-x)` with a network :math:`\rho`; tells all that a sign leaves.
    - `absolute`: the absolute value of each channel, which loses the channels' signs relative to each other.
    - `product`: products :math:`(Ax) \odot (Bx)`, which keep them.

    Args:
        widths: channels of each vector.
        out: channels of the result.
        factors: the kinds of scalar that act.
        form: one of `SIGN_FORMS`; matters where signs act.

    Shapes:
        `(..., widths[i])` each to `(..., out)`.

    Raises:
        UnknownNameError: another form.

    References:
        Kalogeropoulos et al., "Scale Equivariant Graph Metanetworks", NeurIPS 2024, section 5: ScaleInv. Their
        absolute floor under the length is left out: scales from 1e-30 to 1e30 are treated alike, zero stays zero.

    Example:
        >>> x = torch.randn(5, 4)
        >>> invariants = Invariants([4], 3, {Factor.SIGN, Factor.POSITIVE})
        >>> torch.allclose(invariants(x), invariants(-2 * x), atol=1e-5)
        True
    """

    def __init__(self, widths: Sequence[int], out: int, factors: Set[Factor], form: str = "symmetrised") -> None:
        super().__init__()
        if form not in SIGN_FORMS:
            raise unknown("form of invariants", form, SIGN_FORMS)
        self.positive = Factor.POSITIVE in factors
        self.form = form if Factor.SIGN in factors else "plain"
        hidden = min(out, max(widths))
        columns = 2 * hidden if self.form == "product" else hidden
        self.read = nn.ModuleList(nn.Linear(width, columns, bias=False) for width in widths)
        self.shift = nn.Parameter(torch.zeros(hidden))
        self.norm = nn.LayerNorm(hidden)
        if self.form == "symmetrised":
            self.between = nn.Sequential(nn.Linear(hidden, hidden), nn.LayerNorm(hidden))
        self.answer = nn.Linear(hidden, out)
        for parameter in self.read.parameters():
            nn.init.normal_(parameter, std=sum(widths) ** -0.5)

    def forward(self, *parts: Tensor) -> Tensor:
        """Read the vectors."""
        read = self.read_each(parts)
        return self.of_sums(read, joint_norm(parts) if self.positive else None)

    def read_each(self, parts: Sequence[Tensor]) -> Tensor:
        """The first linear map, each vector by itself."""
        return total([self.reading(row, part) for row, part in enumerate(parts)])

    def reading(self, row: int, part: Tensor) -> Tensor:
        """The first linear map of one vector."""
        return self.read[row](part.abs() if self.form == "absolute" else part)

    def of_sums(self, sums: Tensor, length: Tensor | None) -> Tensor:
        """All behind the first linear map."""
        if length is not None:
            sums = sums / length
        if self.form == "product":
            one, other = sums.chunk(2, -1)
            sums = one * other
        hidden = F.silu(self.norm(sums + self.shift))
        if self.form == "symmetrised":
            hidden = F.silu(self.between(hidden + F.silu(self.norm(self.shift - sums))))
        return self.answer(hidden)


class Gated(nn.Module):
    r"""A linear map times invariants: :math:`(\Gamma_1 x_1 + \ldots + \Gamma_n x_n) \odot \phi(c(x_1, \ldots, x_n))`.

    Follows the scalar that the vectors share. Where none acts it is the network :math:`\phi` alone.

    Args:
        widths: channels of each vector; they broadcast against each other.
        out: channels of the result.
        factors: the kinds of scalar that act.
        form: how signs are removed, see `Invariants`.

    Shapes:
        `(..., widths[i])` each to `(..., out)`.

    References:
        Kalogeropoulos et al., "Scale Equivariant Graph Metanetworks", NeurIPS 2024, section 5: ScaleEq.

    Example:
        >>> gated, x, y = Gated([2, 2], 3, {Factor.SIGN}), torch.randn(7, 1, 2), torch.randn(7, 5, 2)
        >>> torch.allclose(gated(-x, -y), -gated(x, y), atol=1e-6)
        True
    """

    def __init__(self, widths: Sequence[int], out: int, factors: Set[Factor], form: str = "symmetrised") -> None:
        super().__init__()
        self.invariants = Invariants(widths, out, factors, form)
        self.linear = nn.ModuleList(nn.Linear(width, out, bias=False) for width in widths) if factors else None

    def forward(self, *parts: Tensor) -> Tensor:
        """Apply the map."""
        gate = self.invariants(*parts)
        if self.linear is None:
            return gate
        return total([linear(part) for linear, part in zip(self.linear, parts, strict=True)]) * gate

    def prepared(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What `of_multiple` has to know of the last vector: its reading, its linear image and its length."""
        length = joint_norm([x]) * (x != 0).any(-1, keepdim=True)
        return self.invariants.reading(-1, x), x if self.linear is None else self.linear[-1](x), length

    def of_multiple(self, factor: Tensor, reading: Tensor, image: Tensor, length: Tensor, *others: Tensor) -> Tensor:
        """`self(*others, factor * x)` where all linear maps are those of `x` alone, which may be far smaller.

        Args:
            factor: numbers `(..., 1)`.
            reading: from `prepared`, as `image` and `length`.
            image: the linear image of `x`.
            length: the length of `x`.
            others: all vectors but the last.
        """
        inner, rows = self.invariants, list(enumerate(others))
        seen = factor.abs() if inner.form == "absolute" else factor
        sums = total([reading * seen, *(inner.reading(row, other) for row, other in rows)])
        gate = inner.of_sums(sums, joint_norm([factor * length, *others]) if inner.positive else None)
        if self.linear is None:
            return gate
        return total([image * factor, *(self.linear[row](other) for row, other in rows)]) * gate
