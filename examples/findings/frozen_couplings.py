"""MAGEP-NFN draws the couplings of its products of weights tiny, and then keeps them from training.

The couplings join what leads from the inputs with what leads to the outputs: without them no layer of its equivariant
part sees one that is not its neighbour. They are normal numbers over channels * inputs * outputs.
"""

import torch
from torch import nn

from weightspace.layers import PathProducts
from weightspace.spec import spec_of
from weightspace.testing import random_features

inputs, outputs, channels, layers = (
    2,
    10,
    20,
    [nn.Linear(2, 16), nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 10)],
)
relu = [module for layer in layers for module in (layer, nn.ReLU())][:-1]
spec = spec_of(nn.Sequential(*relu))
torch.manual_seed(0)
x = random_features(spec, 4, channels).to(torch.float32)
w1, w2, w3, w4 = (
    x[name].permute(0, 3, 1, 2) / x[name].shape[2] ** 0.5 for name in ("0.weight", "2.weight", "4.weight", "6.weight")
)
psi = torch.randn(channels, inputs, outputs) / (channels * inputs * outputs)
published = float((w2 @ w1 @ psi @ w4 @ w3 @ w2).norm() / w2.norm())  # beside the second layer's weights

layer = PathProducts(spec, channels, channels)
with torch.no_grad():
    whole = layer(x)["2.weight"]
    couplings = [p for name, p in layer.named_parameters() if name.startswith("inner") and "mix" not in name]
    for coupling in couplings:
        coupling.zero_()
    right = float((layer(x)["2.weight"] - whole).norm() / whole.norm())
assert published < 0.02
assert right > 0.3
assert all(coupling.requires_grad for coupling in couplings)
print(f"products beside a weight: {published:.2g} of it, for good; in PathProducts {right:.2f}, and trained")
