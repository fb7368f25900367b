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
        if self.form == "absolute":
            parts = [part.abs() for part in parts]
        first, *others = (read(part) for read, part in zip(self.read, parts, strict=True))
        for other in others:
            first = first + other
        return first

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
        first, *others = (linear(part) for linear, part in zip(self.linear, parts, strict=True))
        for other in others:
            first = first + other
        return first * gate
