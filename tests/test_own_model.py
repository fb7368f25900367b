"""The example of a model of one's own is built, answers, learns, and has the symmetry that its docstring tells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from weightspace.experiments.choice import ModelChoice
from weightspace.models import Invariant
from weightspace.spec import NetworkSpec, Sine, spec_of
from weightspace.tasks import Classify
from weightspace.testing import invariance_error, random_features
from weightspace.weights import WeightFeatures

ROOT = Path(__file__).parent.parent
NAME = "examples.own_model:OwnModel"


def siren() -> NetworkSpec:
    return spec_of(nn.Sequential(nn.Linear(2, 8), Sine(30.0), nn.Linear(8, 8), Sine(30.0), nn.Linear(8, 1)))


def cnn(activation: type[nn.Module]) -> NetworkSpec:
    body = nn.Conv2d(1, 4, 3), activation(), nn.Conv2d(4, 6, 3), activation()
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 10)
    return spec_of(nn.Sequential(*body, *head), torch.zeros(1, 1, 8, 8))


SPECS = {"siren": siren, "cnn of relu": lambda: cnn(nn.ReLU), "cnn of tanh": lambda: cnn(nn.Tanh)}


@pytest.fixture(autouse=True)
def beside_the_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize("name", SPECS)
def test_model_is_built_by_its_import_path_and_keeps_its_word(name: str) -> None:
    spec = SPECS[name]()
    model = ModelChoice(NAME, options={"channels": 16}).build(spec, Invariant(3), seed=0)
    assert model(random_features(spec, 5).to(torch.float32)).shape == (5, 3)
    text = (ROOT / "examples" / "own_model.py").read_text()
    (told,) = re.findall(r"invariance_error` is below (\S+)\.\s", text)
    assert invariance_error(model, spec) < float(told)


def test_without_its_canonical_form_the_model_is_caught() -> None:
    spec = siren()
    model = ModelChoice(NAME).build(spec, Invariant(3), seed=0)
    plain = model.stem[-1].spec_out
    model.stem[-1].forward = lambda x: WeightFeatures(plain, x.tensors)
    assert invariance_error(model, spec) > 1e-3


def test_every_parameter_learns() -> None:
    spec = siren()
    model = ModelChoice(NAME).build(spec, Invariant(3), seed=0)
    x = random_features(spec, 12, generator=torch.Generator().manual_seed(0)).to(torch.float32)
    y = torch.arange(12) % 3
    task, optimiser = Classify(3), torch.optim.Adam(model.parameters(), 1e-2)
    before = task.loss(model(x), y)
    before.backward()
    assert all(bool((p.grad != 0).any()) for p in model.parameters())
    for _ in range(15):
        optimiser.zero_grad()
        task.loss(model(x), y).backward()
        optimiser.step()
    assert task.loss(model(x), y) < 0.5 * before


def test_file_is_as_short_as_it_is_said_to_be() -> None:
    code = (ROOT / "examples" / "own_model.py").read_text().split('"""')[2]
    assert len([line for line in code.splitlines() if line.strip()]) <= 35
