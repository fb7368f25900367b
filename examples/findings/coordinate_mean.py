"""Standardising every weight by itself gives every unit a mean of its own, so that units no longer change places."""

import torch
from torch import nn

from weightspace.layers import ParameterScale
from weightspace.spec import spec_of
from weightspace.testing import equivariance_error, random_features

spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, 1)))
train = random_features(spec, 30, generator=torch.Generator().manual_seed(0))


def by_coordinate(x):
    pairs = zip(x.tensors, train.tensors, strict=True)
    return type(x)(x.spec, [(t - seen.mean(0)) / seen.std(0) for t, seen in pairs])


published = equivariance_error(by_coordinate, spec)
right = equivariance_error(ParameterScale(spec).fit(train), spec)
assert published > 0.1
assert right < 1e-12
print(f"a mean and a deviation per coordinate: error {published:.2f}; one scale per parameter: below 1e-12")
