"""Run on its own, without the wrappers that check shapes: every layer gives the same when compiled as one graph."""

import logging

import torch
from tests.laws.registry import SPECS
from tests.laws.rows import CHANNELS, FIRST, layer_of, leaves

from weightspace.testing import random_features
from weightspace.weights import WeightFeatures


def added(x: WeightFeatures) -> WeightFeatures:
    return WeightFeatures.cat([x + x, x.map(torch.tanh)])[1:]


def main() -> None:
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    jobs = [("WeightFeatures", added, "siren"), *((name, layer_of(name, spec), spec) for name, spec in FIRST)]
    for name, function, spec in jobs:
        torch.compiler.reset()
        x = random_features(SPECS[spec], 3, CHANNELS, generator=torch.Generator().manual_seed(0))
        compiled = torch.compile(function, backend="eager", fullgraph=True)
        for plain, fast in zip(leaves(function(x)), leaves(compiled(x)), strict=True):
            torch.testing.assert_close(plain, fast, msg=lambda text, name=name: f"{name}: {text}")


if __name__ == "__main__":
    main()
