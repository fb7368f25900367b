"""The reciprocals that ScaleGMN's data carry for messages back are infinite wherever a weight is zero.

So they are in every slot of a kernel's padding. Here one weight of a unit is zero.
"""

import torch
from torch import nn

from weightspace.models import Invariant, ScaleGMN
from weightspace.spec import spec_of
from weightspace.testing import random_features
from weightspace.weights import WeightFeatures

spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 1)))
x = random_features(spec, 8, generator=torch.Generator().manual_seed(0))
weight = x["2.weight"].clone()
weight[:, 0, 0] = 0
x = WeightFeatures(spec, dict(x.items()) | {"2.weight": weight})

sent = torch.einsum("bijc,bic->bjc", 1 / weight, x["2.bias"])
published = float((~sent.isfinite()).double().mean())
torch.manual_seed(0)
answer = ScaleGMN(spec, Invariant(3), channels=8, bidirectional=True).double().eval()(x)
assert published > 0
assert answer.isfinite().all()
print(f"reciprocals: {published:.0%} of the messages are infinite; ScaleGMN of this package: none")
