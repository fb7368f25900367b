"""A model that asks networks: learnt inputs, and a perceptron on what they answer."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import ShapeError, SymmetryError, WeightspaceError, unknown
from weightspace.models.answer import Answers
from weightspace.models.construction import remember
from weightspace.models.readout import Edit, Readout, head
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures

__all__ = ["FunctionProbe"]

_FITTED = 256
"""Networks that scales are taken from at a time."""


@dataclass(frozen=True)
class AnswerScale:
    """Mean and deviation of each output over the training networks and the probes.

    Args:
        model: whose answers are brought to scale.
    """

    model: "FunctionProbe"

    @property
    def spec(self) -> NetworkSpec:
        """Space of the networks."""
        return self.model.answers.spec

    @property
    def rms(self) -> Tensor:
        """The deviation of each output from its mean."""
        return self.model.deviation

    @torch.no_grad()
    def fit(self, x: WeightFeatures | Iterable[WeightFeatures]) -> "AnswerScale":
        """Take the scales of the training networks, all at once or part by part.

        An output that is always the same keeps deviation one.

        Raises:
            ShapeError: no networks, networks of another space, or answers that are not finite.
        """
        model, count = self.model, 0
        sums, squares = (torch.zeros_like(model.mean, dtype=torch.float64) for _ in range(2))
        for part in [x] if isinstance(x, WeightFeatures) else x:
            part.expect(self.spec, channels=1)
            for at in range(0, len(part), _FITTED):
                told = model.answers(part[at : at + _FITTED].to(model.probes), model.probes).double().flatten(0, 1)
                count, sums, squares = count + len(told), sums + told.sum(0), squares + told.square().sum(0)
        mean = sums / count
        deviation = (squares / count - mean.square()).clamp_min(0).sqrt()
        if not (mean + deviation).isfinite().all():
            raise ShapeError(
                f"cannot take scales from {count} answers of networks: means are {mean.tolist()}, deviations "
                f"{deviation.tolist()}."
            )
        model.mean.copy_(mean)
        model.deviation.copy_(torch.where(deviation == 0, torch.ones_like(deviation), deviation))
        return self


class FunctionProbe(nn.Module):
    r"""Learnt inputs, shown to every network, and a perceptron on all that the networks answer.

    A network :math:`f_\theta` becomes :math:`(f_\theta(u_1), \dots, f_\theta(u_k))`, each output brought to scale; the
    :math:`k` probes :math:`u` are trained together with the perceptron. It reads functions and not weights, so that
    it has to know how the networks compute, and takes as long as running them on `probes` inputs.

    Args:
        spec: space of the networks.
        readout: `Invariant(outputs)`; answers cannot be turned back into a network.
        network: how the networks compute, as JSON values from `zoo.generate.describe(zoo.manifest)`. `None` reads it
            off the spec, which says it of linear layers one behind another with elementwise activations, but for
            numbers that a module multiplies or adds.
        probes: number of inputs. They start uniform in the range of the coordinates that the networks read, as
            Gaussian noise with two standard deviations in the range of their images, and standard normal else.

    Shapes:
        Features with one channel to `(batch, outputs)`.

    Symmetry:
        Invariant to everything that leaves the networks' functions alone, in the spec's group or not.

    Raises:
        SymmetryError: asked to edit.
        SpecError: networks whose computation neither `network` nor the spec describes.
        ShapeError: `network` describes others than those of the spec.
        UnknownNameError: `network` of a recipe that the package does not have.

    References:
        Kahana, Horwitz, Shuval, Hoshen, "Deep Linear Probe Generators for Weight Space Learning", ICLR 2025, section 3:
        probes that are learnt, there from a deep linear generator, here each by itself.

    Example:
        >>> from weightspace.spec import Sine, spec_of
        >>> from weightspace.testing import invariance_error
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), Sine(), nn.Linear(4, 1)))
        >>> from weightspace.models import Invariant
        >>> invariance_error(FunctionProbe(spec, Invariant(10)), spec) < 1e-9
        True
    """

    mean: Tensor
    deviation: Tensor

    @remember
    def __init__(
        self, spec: NetworkSpec, readout: Readout, *, network: Mapping[str, Any] | None = None, probes: int = 64
    ) -> None:
        super().__init__()
        if isinstance(readout, Edit):
            raise SymmetryError(
                "FunctionProbe keeps answers only and cannot give back a network; use FlatMLP, NP or MonomialNFN."
            )
        if probes < 1:
            raise WeightspaceError(f"probes is {probes}; expected at least 1.")
        self.answers = Answers(spec, network)
        self.probes = nn.Parameter(self.answers.inputs.draw(probes))
        outputs = self.answers.outputs
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("deviation", torch.ones(outputs))
        self.head = head(probes * outputs, readout)

    @classmethod
    def preset(
        cls, name: str, spec: NetworkSpec, readout: Readout, *, network: Mapping[str, Any] | None = None
    ) -> "FunctionProbe":
        """The model in a named size. Raises `UnknownNameError` for other names than `demo`."""
        if name != "demo":
            raise unknown("preset of FunctionProbe", name, ["demo"])
        return cls(spec, readout, network=network)

    @property
    def norm(self) -> AnswerScale:
        """The scales that training takes from the training networks."""
        return AnswerScale(self)

    def forward(self, x: WeightFeatures) -> Tensor:
        """Answer for a batch of networks."""
        told = (self.answers(x, self.probes) - self.mean) / self.deviation
        return self.head(told.flatten(1))
