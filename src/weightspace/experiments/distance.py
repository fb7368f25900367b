r"""How far a network is from those of a zoo, as no symmetry changes it.

A network is brought into one gauge: phases of sine units folded, positive scales balanced. Of every parameter the
logarithms of six sizes are taken, which neither the order of its entries nor their signs change: the root mean square,
the quartiles, the largest and the smallest entry by size. A parameter :math:`W` with several indices also tells in how
few directions it acts, :math:`\log \lVert W W^\top \rVert_F / \lVert W \rVert_F^2`, one index against the others, and
one whose signs may not flip its mean over the root mean square. With the mean :math:`\mu` of these statistics :math:`t`
over the training networks and their covariance :math:`\Sigma`, shrunk as Ledoit and Wolf have it, the distance is

.. math:: d = \sqrt{(t - \mu)^\top \Sigma^{-1} (t - \mu) / m}, \qquad m \text{ statistics},

about one for a network of the zoo. What the statistics do not see, such as which entry of a parameter stands where,
does not count.

References:
    Mahalanobis, "On the Generalised Distance in Statistics", 1936; Ledoit and Wolf, "A Well-Conditioned Estimator for
    Large-Dimensional Covariance Matrices", 2004; Unterthiner et al., "Predicting Neural Network Accuracy from Weights",
    2020, section 4 (statistics of parameters).
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from sklearn.covariance import ledoit_wolf
from torch import Tensor

from weightspace.experiments.chunk import chunks
from weightspace.gauge.phase import fold_phases
from weightspace.gauge.scale import balance
from weightspace.layers.invariant import acting_factors
from weightspace.spec import Factor
from weightspace.weights import WeightFeatures, act

__all__ = ["Neighbourhood", "statistics"]

QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
FLOOR = 1e-9
"""Sizes below this share of the root mean square of all weights count as zero."""
SPREAD = 1e-3
"""The least spread of a statistic: a thousandth of a size, far above rounding."""


def statistics(x: WeightFeatures) -> Float[Tensor, "networks statistics"]:
    """The statistics of networks, in double precision.

    Args:
        x: networks with one channel.

    Symmetry:
        `statistics(act(g, x)) == statistics(x)` for the whole group of the spec, to rounding.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import random_features
        >>> from weightspace.weights import sample_element
        >>> spec = spec_of(torch.nn.Sequential(torch.nn.Linear(2, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1)))
        >>> x, g = random_features(spec, batch=3), sample_element(spec, batch=3)
        >>> torch.allclose(statistics(act(g, x)), statistics(x))
        True
    """
    with torch.no_grad():
        return torch.cat([_of_some(x[part]) for part in chunks(np.arange(len(x)), x.spec)])


def _of_some(x: WeightFeatures) -> Tensor:
    x = fold_phases(x.to(torch.float64))
    x = act(balance(x), x)
    parts = []
    for param, tensor in zip(x.spec.params, x.tensors, strict=True):
        rows = tensor.flatten(1)
        rms = rows.square().mean(1, keepdim=True).sqrt()
        # By rank, not by torch.quantile, which refuses more than 16 million entries.
        ranks = [round(share * (rows.shape[1] - 1)) for share in QUANTILES]
        sizes = rows.abs().sort(dim=1).values[:, ranks]
        parts.append((torch.cat([rms, sizes], 1) + FLOOR).log())
        if tensor.ndim > 3:
            parts.append((_concentration(tensor.flatten(2)) + FLOOR).log())
        if Factor.SIGN not in acting_factors(x.spec, param):
            parts.append(rows.mean(1, keepdim=True) / rms.clamp_min(torch.finfo(rms.dtype).tiny))
    return torch.cat(parts, 1)


def _concentration(matrix: Float[Tensor, "networks rows columns"]) -> Float[Tensor, "networks 1"]:
    """Root of the sum of the fourth powers of singular values over that of their squares: one where the rank is one."""
    if matrix.shape[1] > matrix.shape[2]:
        matrix = matrix.mT
    gram = matrix @ matrix.mT
    squares = gram.diagonal(dim1=1, dim2=2).sum(1).clamp_min(torch.finfo(gram.dtype).tiny)
    return (gram.flatten(1).norm(dim=1) / squares)[:, None]


@dataclass(frozen=True, eq=False)
class Neighbourhood:
    """Where the networks of a zoo lie.

    Shapes:
        mean, spread: `(statistics,)`; precision: `(statistics, statistics)`.

    Args:
        mean: of each statistic.
        spread: standard deviation of each.
        precision: inverse covariance of the statistics in units of their spreads.
    """

    mean: Tensor
    spread: Tensor
    precision: Tensor

    @classmethod
    def of(cls, known: Float[Tensor, "networks statistics"]) -> "Neighbourhood":
        """The neighbourhood of networks with these statistics.

        Example:
            >>> around = Neighbourhood.of(torch.randn(500, 3, generator=torch.Generator().manual_seed(0)).double())
            >>> around.distance(torch.tensor([[0.0, 0.0, 0.0], [0.0, 9.0, 0.0]]).double()).round(decimals=0)
            tensor([0., 5.], dtype=torch.float64)
        """
        spread = known.std(0, correction=0).clamp_min(SPREAD)
        scaled = (known - known.mean(0)) / spread
        count = scaled.shape[1]
        covariance = torch.eye(count, dtype=known.dtype)
        if len(known) > 1:
            covariance = torch.from_numpy(ledoit_wolf(scaled.numpy(), assume_centered=True)[0])
        # What never varied has no variance to be divided by; by its least spread it counts as if it had.
        covariance = covariance + 1e-6 * torch.eye(count, dtype=known.dtype)
        return cls(known.mean(0), spread, torch.linalg.inv(covariance))

    def distance(self, found: Float[Tensor, "networks statistics"]) -> Float[Tensor, " networks"]:
        """How far networks with these statistics lie from the middle."""
        scaled = (found - self.mean) / self.spread
        return (torch.einsum("ns,st,nt->n", scaled, self.precision, scaled) / len(self.mean)).clamp_min(0).sqrt()
