"""Models with a part switched off, or as published code has it, for the question what the part is worth."""

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from weightspace.layers.polynomial import Coupling
from weightspace.models import MAGEPNFN, Readout, ScaleGMN
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures

__all__ = ["Unedited", "couplings_as_drawn", "uncorrected"]


def couplings_as_drawn(spec: NetworkSpec, readout: Readout) -> nn.Module:
    """`MAGEPNFN` whose couplings are not trained, as in the published code."""
    model = MAGEPNFN.preset("demo", spec, readout)
    for module in model.modules():
        if isinstance(module, Coupling):
            module.weights.requires_grad_(False)
    return model


def uncorrected(spec: NetworkSpec, readout: Readout) -> nn.Module:
    """`ScaleGMN` both ways whose messages run back along the weights as they are, as in the published code.

    With signs alone that is right. A positive scale goes into such a message the wrong way round.
    """
    model = ScaleGMN.preset("demo", spec, readout)
    model.start = _AsTheyAre(model.start)  # type: ignore[assignment]
    return model


class _AsTheyAre(nn.Module):
    """A start whose backward edges are the weights."""

    def __init__(self, start: nn.Module) -> None:
        super().__init__()
        self.start = start

    def forward(self, *given: Any) -> Any:
        """Begin."""
        state = self.start(*given)
        return replace(state, weights_back={name: state.weights[name] for name in state.weights_back})


class Unedited(nn.Module):
    """Gives back every network as it is: what an edit must be better than. Its one parameter changes nothing."""

    def __init__(self, spec: NetworkSpec, readout: Readout) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))

    def forward(self, x: WeightFeatures) -> WeightFeatures:
        """The networks."""
        return x.map(lambda tensor: tensor + 0 * self.nothing)
