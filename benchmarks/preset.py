"""Parameters of the published configurations of ScaleGMN, and how far their signal stands above rounding.

For every preset: its parameters, and the mean standard deviation of its untrained answers over eight random networks,
over the largest difference between float32 and float64. Prints the rows of the table in docs/guide/messages.md.

    python benchmarks/preset.py
"""

import sys
from pathlib import Path

import torch

from weightspace.models.scalegmn import PRESETS
from weightspace.testing import random_features

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.laws.test_preset import answers, made, spaces_of

if __name__ == "__main__":
    spaces = spaces_of()
    for name in PRESETS:
        model, spec = made(name, spaces)
        parameters = sum(parameter.numel() for parameter in model.parameters())
        x = random_features(spec, 8, generator=torch.Generator().manual_seed(0))
        single, double = answers(model, x.to(torch.float32)), answers(model.double(), x)
        signal = double.std(0).mean() / (single.double() - double).abs().max()
        print(f"| `{name}` | {parameters:,} | {signal:.0e} |", flush=True)
