"""A model of your own in the comparisons: attention among the units of a network, from the package's layers.

Run it beside the others from the folder above this one, or for a single training run:

    weightspace bench inr-mnist --model examples.own_model:OwnModel
    weightspace train ZOO --model examples.own_model:OwnModel --option channels=32

All that is asked of a model is `Model(spec, readout)`, which answers a batch of networks with `readout.outputs` numbers
each. Where it has a `norm` with `fit`, that is given the training networks first. On SIRENs, MLPs and CNNs this one is
invariant to the whole group of the spec: `weightspace.testing.invariance_error` is below 1e-9.
"""

import torch
from torch import Tensor, nn

from weightspace.layers import Canonical, EquivariantLinear, ParameterScale, permutation_spec, suited_nonlinearity
from weightspace.models import Invariant
from weightspace.models.readout import head
from weightspace.spec import Leg, NetworkSpec, ParamSpec, View
from weightspace.weights import WeightFeatures


class OwnModel(nn.Module):
    def __init__(self, spec: NetworkSpec, readout: Invariant, *, channels: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.norm = ParameterScale(spec)
        # Equivariant to everything, then without scales and signs, then one vector for each hidden unit.
        self.stem = nn.Sequential(
            EquivariantLinear(spec, 1, channels), suited_nonlinearity(spec, channels), Canonical(spec)
        )
        plain = permutation_spec(spec)
        vectors = tuple(ParamSpec(axis.name, (Leg(axis.name),), "unit", View(axis.name)) for axis in plain.free_axes)
        self.units = EquivariantLinear(plain, channels, channels, spec_out=NetworkSpec(plain.axes, vectors))
        self.attention = nn.TransformerEncoderLayer(channels, heads, 2 * channels, dropout=0.0, batch_first=True)
        self.answer = head(channels, readout)

    def forward(self, x: WeightFeatures) -> Tensor:
        tokens = torch.cat(self.units(self.stem(self.norm(x))).tensors, 1)
        return self.answer(self.attention(tokens).mean(1))
