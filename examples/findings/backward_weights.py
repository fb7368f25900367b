"""ScaleGMN sends messages back along the weights themselves; what they then bring scales wrongly.

W[i, j] scales as d_i / d_j. Forwards, W[i, j] x[j] scales as d_i, as it should; backwards, W[i, j] y[i] scales as
d_i^2 / d_j instead of d_j. The code reads an option for reciprocals and does not use it. With signs alone 1 / d = d,
and nothing shows.
"""

import torch
from torch import nn

from weightspace.gauge import gauge_norms
from weightspace.spec import Sine, spec_of
from weightspace.testing import equivariance_error
from weightspace.weights import WeightFeatures


def space(activation):
    return spec_of(nn.Sequential(nn.Linear(2, 4), activation, nn.Linear(4, 4), activation, nn.Linear(4, 1)))


def returned(backward):
    def messages(x):
        weight = backward(x)
        sent = torch.einsum("bij,bic->bjc", weight, x["2.bias"])
        return WeightFeatures(x.spec, dict(x.map(torch.zeros_like).items()) | {"0.bias": sent})

    return messages


def as_they_are(x):
    return x["2.weight"][..., 0]


def by_norms(x):  # W (c_j / c_i)^2 with the norms c of the units, which scale as the units do
    norms = gauge_norms(x)
    return as_they_are(x) * (norms["0"][:, None] / norms["2"][:, :, None]) ** 2


relu, siren = space(nn.ReLU()), space(Sine(30.0))
published = equivariance_error(returned(as_they_are), relu, log_scale=1)
right = equivariance_error(returned(by_norms), relu, log_scale=1)
assert published > 1
assert max(right, equivariance_error(returned(as_they_are), siren)) < 1e-9
print(f"weights as they are: error {published:.0f} for scales, none for signs; by the units' norms: below 1e-9")
