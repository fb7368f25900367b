"""Any model on the view in which shifts of sine phases are signs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from weightspace.errors import unknown
from weightspace.gauge import PhaseView
from weightspace.layers import ParameterScale
from weightspace.layers.sharing import GraphScale
from weightspace.models.construction import arguments, remember
from weightspace.models.graph_metanet import GMN
from weightspace.models.magep import MAGEPNFN
from weightspace.models.monomial import MonomialNFN
from weightspace.models.neural_functional import HNP, NP
from weightspace.models.readout import Invariant, Readout
from weightspace.models.scalegmn import ScaleGMN
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures

__all__ = ["Phased"]

INSIDE: Mapping[str, type[nn.Module]] = {
    kind.__name__: kind for kind in (GMN, HNP, MAGEPNFN, MonomialNFN, NP, ScaleGMN)
}
"""The models that can stand inside, by name: those that can edit, and say what a spec means to them."""


@dataclass(frozen=True)
class ViewScale:
    """The scales of the model inside, taken from networks as they are.

    Args:
        view: how the networks are seen.
        scale: the scales of what is seen.
    """

    view: PhaseView
    scale: ParameterScale | GraphScale

    @property
    def spec(self) -> NetworkSpec:
        """Space of the networks."""
        return self.view.base

    @property
    def rms(self) -> Tensor:
        """One number for each parameter of the view."""
        return self.scale.rms

    def fit(self, x: WeightFeatures | Iterable[WeightFeatures]) -> "ViewScale":
        """Take the scales of the training networks; arguments and errors as for `ParameterScale.fit`."""
        self.scale.fit(map(self.view.features, [x] if isinstance(x, WeightFeatures) else x))
        return self


class Phased(nn.Module):
    """A model that respects shifts of the phases of sine units, beside what it respects anyway.

    The networks are looked at through `gauge.PhaseView`: the bias of a sine unit becomes the sine and the cosine of its
    phase, which change sign where the bias is shifted by half a turn. The model inside is built for the view's spec.
    An edited view is brought back: what its sines and cosines changed along the circle turns the phases.

    Without sine units it is the model inside.

    Args:
        spec: space of the networks with its full symmetry.
        readout: `Invariant(outputs)` or `Edit()`.
        inside: name of the model inside: ScaleGMN, MonomialNFN, MAGEPNFN, GMN, NP or HNP.
        settings: its further arguments; `None` leaves the defaults.

    Shapes:
        Features with one channel to `(batch, outputs)`, or to features with one channel.

    Symmetry:
        As the model inside, and if that respects signs: invariant to shifts by multiples of `pi / omega`. With `Edit`
        a shifted network's edit is the edited network, shifted. A model that respects permutations alone is invariant
        to whole turns.

    Raises:
        UnknownNameError: another model.

    Example:
        >>> import torch
        >>> from weightspace.gauge.phase import phases, shift_phases
        >>> from weightspace.spec import Sine, spec_of
        >>> from weightspace.testing import random_features
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 4), Sine(), nn.Linear(4, 4), Sine(), nn.Linear(4, 1)))
        >>> model = Phased(spec, Invariant(10), settings={"channels": 8}).double().eval()
        >>> x = random_features(spec, 5)
        >>> shifted = shift_phases(x, {place: torch.ones_like(turns) for place, turns in phases(x).items()})
        >>> torch.allclose(model(shifted), model(x))
        True
    """

    @remember
    def __init__(
        self,
        spec: NetworkSpec,
        readout: Readout,
        *,
        inside: str = "ScaleGMN",
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if inside not in INSIDE:
            raise unknown("model inside Phased", inside, INSIDE)
        self.readout = readout
        self.view = PhaseView(spec)
        # Files know lists only.
        plain = {name: tuple(v) if isinstance(v, list) else v for name, v in (settings or {}).items()}
        self.inner = INSIDE[inside](self.view.spec, readout, **plain)

    @classmethod
    def preset(cls, name: str, spec: NetworkSpec, readout: Readout) -> "Phased":
        """The preset of `ScaleGMN` on the view. Raises `UnknownNameError` for other names than `demo`."""
        if name != "demo":
            raise unknown("preset of Phased", name, ["demo"])
        settings = arguments(ScaleGMN.preset(name, spec, readout))
        return cls(spec, readout, settings={key: v for key, v in settings.items() if key not in ("spec", "readout")})

    @property
    def norm(self) -> ViewScale:
        """The scales that training takes from the training networks."""
        scale = self.inner.norm
        assert isinstance(scale, ParameterScale | GraphScale)
        return ViewScale(self.view, scale)

    def forward(self, x: WeightFeatures) -> Tensor | WeightFeatures:
        """Answer for a batch of networks."""
        x.expect(self.view.base, channels=1)
        seen = self.view.features(x)
        answer = self.inner(seen)
        if isinstance(self.readout, Invariant):
            return answer
        changed = [after - before for after, before in zip(answer.tensors, seen.tensors, strict=True)]
        return x + self.view.change(x, WeightFeatures(self.view.spec, changed))
