"""GM-CNN's layer for dynamics writes into its own parameters whenever it is called, in evaluation too.

Both the vector and the weights are brought to length one in place. So calling a model changes its checkpoint, and the
decay of weights that the optimiser is told to apply is undone before the next step.
"""

import copy

import torch
from torch import nn

from weightspace.groups import box, cyclic
from weightspace.matrices import GainConv


class Published(nn.Module):
    def __init__(self):
        super().__init__()
        self.vector = nn.Parameter(torch.randn(8, 1))

    def forward(self, x):
        self.vector.data /= self.vector.data.norm()
        return self.vector * x


def written(layer):
    """By how much evaluation changes the parameters."""
    before = copy.deepcopy(layer).state_dict()
    with torch.no_grad():
        layer.eval()(torch.randn(1, 8, 1))
    return max(float((layer.state_dict()[name] - value).abs().max()) for name, value in before.items())


torch.manual_seed(0)
layer = Published()
published, right = written(layer), written(GainConv(cyclic(8), 1, 1, box(cyclic(8), 1)))
with torch.no_grad():
    layer.vector *= 0.5  # decay
    layer(torch.randn(1, 8, 1))
assert published > 0.1
assert right == 0
assert abs(float(layer.vector.detach().norm()) - 1) < 1e-6
print(f"evaluation changes parameters by {published:.1f}; those of GainConv not at all")
