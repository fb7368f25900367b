"""Other networks to learn from: the same functions by other weights, weights with noise, weights in between."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import beta
from torch import Tensor

from weightspace.errors import TrainingError
from weightspace.gauge import align
from weightspace.weights import WeightFeatures, act, sample_element

__all__ = ["Augmentation", "Mixture"]

Mixture = list[tuple[Tensor | float, Tensor]]
"""Targets with the share that each has in the loss."""


@dataclass(frozen=True)
class Augmentation:
    """How networks are changed before a model reads them, in training alone.

    First two networks are mixed, then noise is added, then the symmetry acts.

    Raises:
        TrainingError: when a value is impossible.

    Example:
        >>> from torch import nn
        >>> from weightspace.spec import spec_of
        >>> from weightspace.testing import random_features
        >>> x = random_features(spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))), 6)
        >>> chance = torch.Generator().manual_seed(0)
        >>> y, mixture = Augmentation(symmetry=True, mixup=0.4)(x, torch.arange(6), chance)
        >>> len(y), [share for share, _ in mixture] == [0.5, 0.5]
        (6, False)

    References:
        Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018; for weight spaces, after alignment:
        Shamsian et al., "Improved Generalization of Weight Space Networks via Augmentations", ICML 2024.
    """

    symmetry: bool = False
    """Move every network by a random element of its symmetry group, another one each time it is read."""
    log_scale: float = 1.0
    """Scales in these elements lie between `10**-log_scale` and `10**log_scale`; 0 leaves permutations and signs."""
    noise: float = 0.0
    """Standard deviation of noise on every weight, over the root mean square of its parameter in its network."""
    mixup: float = 0.0
    """Both parameters of the Beta distribution of the share in which two networks, one aligned to the other, are
    mixed, and their losses with them; 0 mixes none. Alignment takes far longer than a step of a small model."""

    def __post_init__(self) -> None:
        for name in ("log_scale", "noise", "mixup"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise TrainingError(f"augment.{name} is {value}: expected a finite number, 0 or more.")

    @property
    def active(self) -> bool:
        """Whether anything is changed at all."""
        return self.symmetry or self.noise > 0 or self.mixup > 0

    def check(self, features: Any) -> None:
        """Refuse features that have no symmetry to speak of.

        Raises:
            TrainingError: when a batch is no `WeightFeatures`.
        """
        if self.active and not isinstance(features, WeightFeatures):
            raise TrainingError(
                f"augmentation is for batches of WeightFeatures of one space: found {type(features).__name__}. "
                "Leave out augment, or train on one weight space."
            )

    def __call__(
        self, features: WeightFeatures, target: Tensor, chance: torch.Generator
    ) -> tuple[WeightFeatures, Mixture]:
        """Changed networks, and the targets that they stand for with their shares."""
        mixture: Mixture = [(1.0, target)]
        if self.mixup:
            features, mixture = self._mixed(features, target, chance)
        if self.noise:
            features = features.map(lambda tensor: tensor + self.noise * _noise(tensor, chance))
        if self.symmetry:
            element = sample_element(features.spec, len(features), generator=chance, log_scale=self.log_scale)
            features = act(element, features)
        return features, mixture

    def _mixed(
        self, features: WeightFeatures, target: Tensor, chance: torch.Generator
    ) -> tuple[WeightFeatures, Mixture]:
        partner = torch.randperm(len(features), generator=chance).to(features.device)
        share = _beta(self.mixup, chance)
        other = align(features[partner], features).features
        mixed = [share * a + (1 - share) * b for a, b in zip(features.tensors, other.tensors, strict=True)]
        return WeightFeatures(features.spec, mixed), [(share, target), (1 - share, target[partner])]


def _noise(tensor: Tensor, chance: torch.Generator) -> Tensor:
    drawn = torch.randn(tensor.shape, generator=chance, dtype=tensor.dtype).to(tensor.device)
    return drawn * tensor.square().flatten(1).mean(1).sqrt().view(-1, *(1 for _ in tensor.shape[1:]))


def _beta(alpha: float, chance: torch.Generator) -> float:
    """A draw from Beta(alpha, alpha), by the quantile of a uniform number, since its sampler takes no generator."""
    return float(beta.ppf(torch.rand((), generator=chance, dtype=torch.float64).item(), alpha, alpha))
