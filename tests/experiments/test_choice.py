"""Models by name and by import path: what is built, and what is said of a wrong name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from weightspace.errors import SpecError, TrainingError, UnknownNameError
from weightspace.experiments.choice import ModelChoice, fit_scale, options_of
from weightspace.models import Invariant, StatNN
from weightspace.models.construction import arguments
from weightspace.models.saving import MODELS
from weightspace.spec import NetworkSpec, Sine, spec_of
from weightspace.testing import random_features

OWN = """
from torch import nn

class Mean(nn.Module):
    def __init__(self, spec, readout, *, width=4):
        super().__init__()
        self.line = nn.Linear(spec.numel, readout.outputs)

def not_one(spec, readout):
    return "a model"

def fails(spec, readout):
    raise KeyError("spec")
"""


@pytest.fixture(scope="module")
def spec() -> NetworkSpec:
    return spec_of(nn.Sequential(nn.Linear(2, 4), Sine(30.0), nn.Linear(4, 1)))


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_models.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "own_models", raising=False)
    return "own_models"


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_of_the_package_is_built_by_its_name(spec: NetworkSpec, name: str) -> None:
    state = torch.get_rng_state()
    one, other = (ModelChoice(name).build(spec, Invariant(3), seed=seed) for seed in (0, 0))
    assert torch.equal(torch.get_rng_state(), state)
    assert type(one).__name__ == name
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert one(random_features(spec, 4).to(torch.float32)).shape == (4, 3)


def test_options_change_a_preset_and_the_seed_the_weights(spec: NetworkSpec) -> None:
    wide = ModelChoice("ScaleGMN", "mnist", {"channels": 8, "rounds": 2})
    model = wide.build(spec, Invariant(3), seed=0)
    assert (arguments(model)["channels"], arguments(model)["skip"]) == (8, True)
    assert wide.plain == {"name": "ScaleGMN", "preset": "mnist", "options": {"channels": 8, "rounds": 2}}
    other = wide.build(spec, Invariant(3), seed=1)
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"chanels": 8}, 'did you mean "channels"'),
        ({"channels": "8"}, "expected int"),
        ({"channels": True}, "expected int"),
        ({"dropout": None}, "expected float"),
        ({"skip": 1}, "expected bool"),
        ({"signals": [1]}, "expected"),
        ({"spec": 1}, "unknown option"),
    ],
)
def test_options_are_checked_by_the_types_of_the_constructor(options: dict[str, object], told: str) -> None:
    with pytest.raises((TrainingError, UnknownNameError), match=told):
        options_of(MODELS["ScaleGMN"], options)
    assert options_of(MODELS["ScaleGMN"], {"dropout": 0, "signals": None}) == {"dropout": 0, "signals": None}


def test_a_constructor_that_refuses_its_options_is_a_message(spec: NetworkSpec) -> None:
    with pytest.raises(TrainingError, match="cannot be built"):
        ModelChoice("HNP", options={"channels": [-1]}).build(spec, Invariant(3), seed=0)


def test_a_model_by_import_path(spec: NetworkSpec, own: str) -> None:
    model = ModelChoice(f"{own}:Mean", options={"width": 5}).build(spec, Invariant(3), seed=0)
    assert model.line.weight.shape == (3, spec.numel)
    again = ModelChoice(f"{own}:Mean").build(spec, Invariant(3), seed=0)
    assert torch.equal(model.line.weight, again.line.weight)
    preset = ModelChoice("weightspace.models.baseline:StatNN", "demo").build(spec, Invariant(3), seed=0)
    assert isinstance(preset, StatNN)


def test_mistakes_with_import_paths_are_messages(spec: NetworkSpec, own: str) -> None:
    build = [spec, Invariant(3)]
    for name, options, error, told in (
        (f"{own}:Maen", {}, UnknownNameError, 'did you mean "Mean"'),
        (f"{own}:not_one", {}, SpecError, "gave a str"),
        (f"{own}:fails", {}, TrainingError, "KeyError"),
        (f"{own}:Mean", {"wdith": 1}, TrainingError, "wdith"),
        ("no_such_module:Model", {}, SpecError, "no_such_module"),
    ):
        with pytest.raises(error, match=told):
            ModelChoice(name, options=options).build(*build, seed=0)
    with pytest.raises(UnknownNameError, match="has no presets"):
        ModelChoice(f"{own}:Mean", "demo").build(*build, seed=0)


def test_scales_are_fitted_where_a_model_has_some(spec: NetworkSpec) -> None:
    x = random_features(spec, 8).to(torch.float32)
    model = ModelChoice("StatNN").build(spec, Invariant(3), seed=0)
    before = model.norm.rms.clone()
    fit_scale(model, x.map(lambda t: 5 * t))
    assert not torch.equal(model.norm.rms, before)
    other = nn.Module()
    other.norm = nn.LayerNorm(3)
    fit_scale(other, x)  # a normalisation that learns nothing from a zoo is left alone


@pytest.mark.parametrize("name", MODELS)
def test_every_model_takes_its_scales_part_by_part(name: str, spec: NetworkSpec) -> None:
    """Networks on disk come so; whether scales are fitted at all is the same for all."""
    x = random_features(spec, 12).map(lambda t: 5 * t).to(torch.float32)
    whole, parts = (ModelChoice(name).build(spec, Invariant(3), seed=0) for _ in range(2))
    fit_scale(whole, x)
    fit_scale(parts, (x[at : at + 5] for at in (0, 5, 10)))
    for (key, one), other in zip(whole.state_dict().items(), parts.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, msg=key)
    assert whole.norm.rms.max() > 2
