"""Classical matrices of low displacement rank, to compare group matrices with."""

from enum import StrEnum

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightspace.errors import ShapeError

__all__ = ["LowDisplacementRank", "Operators"]


class Operators(StrEnum):
    """The matrices `A` and `B` whose displacement is of low rank.

    * `SHIFT`: a cyclic shift, and one that changes the sign at the end; nothing is learnt. Toeplitz-like matrices.
    * `SUBDIAGONAL`: cyclic shifts with learnt weights (LDR-SD).
    * `TRIDIAGONAL`: learnt tridiagonal matrices that close into a ring (LDR-TD).
    """

    SHIFT = "shift"
    SUBDIAGONAL = "subdiagonal"
    TRIDIAGONAL = "tridiagonal"

    @property
    def bands(self) -> int:
        """How many diagonals are learnt."""
        return {Operators.SHIFT: 0, Operators.SUBDIAGONAL: 1, Operators.TRIDIAGONAL: 3}[self]


class LowDisplacementRank(nn.Module):
    r"""A linear layer with a matrix of low displacement rank, :math:`M = \sum_i K(A, g_i)\, K(B^\top, h_i)^\top`.

    :math:`K(A, g)` has the columns :math:`g, A g, \ldots, A^{n-1} g`. The sum telescopes:
    :math:`M - A M B = \sum_i g_i h_i^\top - A^n g_i h_i^\top B^n` has at most twice the rank of the layer, and once for
    shifts. Learnt operators start as the shifts. It has `2 n rank` parameters with shifts, `2 n (rank + 1)` with
    subdiagonal and `2 n (rank + 3)` with tridiagonal operators.

    Shapes:
        Takes and gives `(*batch, size)`.

    Args:
        size: rows and columns `n` of the matrix.
        rank: how many pairs of vectors.
        operators: the operators of the displacement.

    Raises:
        ShapeError: for a size or rank below 1.

    Example:
        >>> layer = LowDisplacementRank(16, rank=2, operators=Operators.SUBDIAGONAL)
        >>> layer(torch.randn(5, 16)).shape, sum(p.numel() for p in layer.parameters())
        (torch.Size([5, 16]), 96)

    References:
        A. Thomas, A. Gu, T. Dao, A. Rudra, C. Ré: "Learning Compressed Transforms with Low Displacement Rank", NeurIPS
        2018.
    """

    def __init__(self, size: int, rank: int = 1, operators: Operators = Operators.SHIFT):
        super().__init__()
        if size < 1 or rank < 1:
            raise ShapeError(f"a matrix of size {size} and rank {rank}: expected both to be at least 1")
        self.size, self.rank, self.operators = size, rank, operators
        self.left = nn.Parameter(torch.randn(rank, size) / (size * rank) ** 0.5)
        self.right = nn.Parameter(torch.randn(rank, size) / (size * rank) ** 0.5)
        shifts = _shifts(size)
        if operators.bands:
            others = torch.zeros(2, operators.bands - 1, size)
            self.bands = nn.Parameter(torch.cat([shifts[:, None], others], 1))

    def extra_repr(self) -> str:
        """Size, rank and operators."""
        return f"{self.size}, rank={self.rank}, operators={self.operators.value!r}"

    def operator(self, which: int) -> Float[Tensor, "size size"]:
        """The dense matrix of `A` (0), or of the transpose of `B` (1)."""
        bands = self._bands()[which]
        one = torch.eye(self.size, dtype=bands.dtype, device=bands.device)
        return torch.stack([_step(bands, unit[None])[0] for unit in one], 1)

    def forward(self, x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        """The product with every row of `x`; with shifts by Fourier transforms, else by Krylov matrices."""
        if self.operators == Operators.SHIFT:
            return _shifted(self.left, self.right, x)
        after, before = self._krylov()
        return _twice(after, before, x)

    def to_dense(self) -> Float[Tensor, "size size"]:
        """The whole matrix."""
        after, before = self._krylov()
        return torch.einsum("rij,rkj->ik", after, before)

    def _bands(self) -> Tensor:
        if self.operators == Operators.SHIFT:
            return _shifts(self.size).to(self.left)[:, None]
        return self.bands

    def _krylov(self) -> tuple[Tensor, Tensor]:
        after, before = self._bands()
        return _krylov(after, self.left), _krylov(before, self.right)


def _shifts(size: int) -> Tensor:
    """The weights of a cyclic shift, and of one that changes the sign at the end."""
    weights = torch.ones(2, size)
    weights[1, 0] = -1
    return weights


def _step(bands: Tensor, v: Tensor) -> Tensor:
    """One product with the operator: subdiagonal, then diagonal and superdiagonal where there are such."""
    moved = bands[0] * v.roll(1, -1)
    return moved if len(bands) == 1 else moved + bands[1] * v + bands[2] * v.roll(-1, -1)


def _krylov(bands: Tensor, vectors: Tensor) -> Tensor:
    """`K[r, :, j]` is the operator's power `j` times vector `r`. Shape `(rank, size, size)`."""
    size = vectors.shape[1]
    if len(bands) == 1:
        # Power j moves by j places and multiplies by the j weights that it passes: running products, no loop.
        back = (torch.arange(size)[:, None] - torch.arange(size)).to(bands.device) % size
        passed = torch.cat([bands.new_ones(size, 1), bands[0][back][:, :-1]], 1).cumprod(1)
        return passed * vectors[:, back]
    columns = [vectors]
    # Powers of a tridiagonal matrix come one after the other.
    for _ in range(size - 1):
        columns.append(_step(bands, columns[-1]))
    return torch.stack(columns, 2)


def _twice(after: Tensor, before: Tensor, x: Tensor) -> Tensor:
    """The products one after the other: `size^2` for each row and rank, without the matrix."""
    inner = x.reshape(-1, x.shape[-1]) @ before.permute(1, 0, 2).flatten(1)
    return (inner @ after.permute(0, 2, 1).flatten(0, 1)).reshape(x.shape)


def _shifted(left: Tensor, right: Tensor, x: Tensor) -> Tensor:
    """The same for shifts. Turned by half a turn along its length, a shift with a sign is an ordinary one."""
    size = left.shape[1]
    turn = torch.polar(torch.ones(size, dtype=x.dtype), torch.arange(size).to(x.dtype) * torch.pi / size).to(x.device)
    waves = torch.fft.fft(right * turn).conj() * torch.fft.fft(x * turn)[..., None, :]
    inner = torch.fft.ifft(waves) * turn.conj()
    return torch.fft.irfft((torch.fft.rfft(inner.real) * torch.fft.rfft(left)).sum(-2), n=size)
