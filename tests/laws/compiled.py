"""Run on its own, without wrappers that check shapes: layers and graph models are the same, compiled as one graph."""

import logging
from collections.abc import Iterator

import torch
from tests.laws.registry import SPECS
from tests.laws.rows import CHANNELS, FIRST, layer_of, leaves
from torch import nn

from weightspace.models import NGGNN, Edit, Invariant, ScaleGMN
from weightspace.testing import random_features
from weightspace.weights import WeightFeatures


def added(x: WeightFeatures) -> WeightFeatures:
    return WeightFeatures.cat([x + x, x.map(torch.tanh)])[1:]


def models() -> Iterator[tuple[str, nn.Module, str]]:
    for spec, messages in (("relu", "gated"), ("cnn-tanh", "sent"), ("relu-tanh", "linear"), ("lstm", "gated")):
        options = {"channels": 4, "rounds": 2, "bidirectional": True, "messages": messages}
        yield f"ScaleGMN, {messages}", ScaleGMN(SPECS[spec], Invariant(3), **options).double().eval(), spec
    yield "ScaleGMN, edit", ScaleGMN(SPECS["relu"], Edit(1.0), channels=4, rounds=2).double().eval(), "relu"
    yield "NGGNN", NGGNN(SPECS["gelu"], Invariant(3), channels=4, fourier=2).double().eval(), "gelu"


def main() -> None:
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    jobs = [("WeightFeatures", added, "siren"), *((name, layer_of(name, spec), spec) for name, spec in FIRST)]
    for name, function, spec in (*jobs, *models()):
        torch.compiler.reset()
        channels = 1 if "GMN" in name or "GGNN" in name else CHANNELS
        x = random_features(SPECS[spec], 3, channels, generator=torch.Generator().manual_seed(0))
        compiled = torch.compile(function, backend="eager", fullgraph=True)
        for plain, fast in zip(leaves(function(x)), leaves(compiled(x)), strict=True):
            torch.testing.assert_close(plain, fast, msg=lambda text, name=name: f"{name}: {text}")


if __name__ == "__main__":
    main()
