"""Every kind of zoo, made in every type of weights: the same networks, rounded once, and never two types in one zoo."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from weightspace.errors import FormatError, UnknownNameError
from weightspace.weights import flatten
from weightspace.zoo import Examples, Hyperparameters, Zoo, fit, load_images, open_zoo
from weightspace.zoo.collection import COLLECTION_FILE
from weightspace.zoo.generate import (
    CnnSettings,
    InrSettings,
    MlpSettings,
    PolicySettings,
    Regime,
    SdfSettings,
    SirenSettings,
    WildSettings,
    estimate,
    make_classifier_zoo,
    make_cnn_zoo,
    make_inr_zoo,
    make_mixed_zoos,
    make_policy_zoo,
    make_sdf_zoo,
    make_siren_zoo,
    make_wild_zoos,
)
from weightspace.zoo.generate.digits import digits_folder
from weightspace.zoo.precision import PRECISIONS
from weightspace.zoo.sources import Images, images_of
from weightspace.zoo.tabular import load_table

DIGITS = load_images("digits")
FEW: Images = images_of("few", (DIGITS.train[:100], DIGITS.labels[:100], None, None), "a few digits")
REGIME = Regime(steps=(2, 3), batch=8, checkpoints=(1.0,))
CNN = CnnSettings(steps=(2, 3), images=60, evaluated=20, batch=8, checkpoints=(1.0,))
KINDS: dict[str, Callable[..., Any]] = {
    "siren": partial(make_siren_zoo, images=FEW, settings=SirenSettings((4,), steps=2), count=3),
    "inr": partial(make_inr_zoo, images=FEW, settings=InrSettings("plain", hidden=(4,), steps=2), count=3),
    "sdf": partial(make_sdf_zoo, settings=SdfSettings(hidden=(4,), points=64, batch=32, steps=2), count=3),
    "cnn": partial(make_cnn_zoo, images=FEW, settings=CNN, count=3),
    "mlp": partial(
        make_classifier_zoo, table=load_table("wine"), architecture=MlpSettings((3,)), regime=REGIME, count=3
    ),
    "policy": partial(
        make_policy_zoo,
        settings=PolicySettings(hidden=(3,), iterations=2, checkpoints=(1.0,), spoilt=(), episodes=2),
        count=2,
    ),
    "mixed": partial(make_mixed_zoos, images=FEW, settings=CNN, count=2),
    "wild": partial(
        make_wild_zoos,
        images=FEW,
        settings=WildSettings(architectures=2, depth=(1, 1), widths=(3, 4)),
        regime=REGIME,
        count=2,
    ),
}


def made(kind: str, path: Path, **how: Any) -> list[Zoo]:
    found = KINDS[kind](path, **how)
    return [found] if isinstance(found, Zoo) else found


def without_type(zoo: Zoo) -> dict[str, Any]:
    return {**json.loads((zoo.path / "zoo.json").read_text()), "dtype": None}


@pytest.mark.parametrize("kind", KINDS)
def test_networks_are_rounded_once_and_the_rest_is_the_same(kind: str, tmp_path: Path) -> None:
    plain, half = (made(kind, tmp_path / dtype, dtype=dtype) for dtype in ("float32", "bf16"))
    for one, other in zip(plain, half, strict=True):
        assert (one.manifest.dtype, other.manifest.dtype) == ("float32", "bfloat16")
        assert "dtype" not in one.manifest.identity()
        rounded = flatten(one.features()).to(torch.bfloat16)
        assert torch.equal(flatten(other.features()), rounded.float())
        assert not torch.equal(flatten(one.features()), rounded.float())
        assert one.table.equals(other.table)
        assert without_type(one) == without_type(other)
    again = made(kind, tmp_path / "bf16", dtype="bfloat16")
    assert [zoo.checksum for zoo in again] == [zoo.checksum for zoo in half]


@pytest.mark.parametrize(("before", "then"), [("bfloat16", "float32"), ("float32", "float16")])
@pytest.mark.parametrize("kind", ["siren", "mixed"])
def test_a_zoo_is_not_gone_on_with_in_another_type(kind: str, before: str, then: str, tmp_path: Path) -> None:
    first = made(kind, tmp_path, dtype=before)
    named = before if kind == "siren" or before == "bfloat16" else None
    with pytest.raises(FormatError, match=f"dtype is {named!r} there"):
        made(kind, tmp_path, dtype=then)
    for zoo in first:
        assert open_zoo(zoo.path).checksum == zoo.checksum
    if kind == "mixed":
        told = json.loads((tmp_path / COLLECTION_FILE).read_text())["settings"]
        assert told.get("dtype") == (before if before != "float32" else None)


def test_a_type_that_does_not_exist_is_refused_before_anything_is_fitted(tmp_path: Path) -> None:
    for kind in KINDS:
        with pytest.raises(UnknownNameError, match="bf16"):
            made(kind, tmp_path / kind, dtype="bf17")
        assert not (tmp_path / kind).exists()


def test_a_weight_that_the_type_cannot_hold_is_named(tmp_path: Path) -> None:
    """A rate that throws weights beyond float16 in one step: the zoo says so and keeps what it had."""
    x = torch.linspace(-1, 1, 32)[:, None]
    wild = Hyperparameters(count=1, learning_rate=1e6, optimiser="adam")
    train = partial(fit, nn.Linear(1, 1), nn.MSELoss(), Examples((x, x)), wild, steps=1, checkpoints=(1.0,))
    with pytest.raises(FormatError, match="network 0 cannot be stored as float16"):
        train(out=tmp_path / "half", dtype="fp16")
    assert len(open_zoo(tmp_path / "half")) == 0
    assert train(out=tmp_path / "whole", dtype="bf16").manifest.dtype == "bfloat16"


def test_plans_count_the_bytes_of_the_type() -> None:
    settings = SirenSettings((64, 64), steps=1)
    disks = {
        name: estimate.siren_estimate(FEW, settings, count=100, dtype=name).disk for name in ("float32", "float16")
    }
    numbers = 100 * (2 * 64 + 64 + 64 * 64 + 64 + 64 + 1)
    assert disks["float32"] - disks["float16"] == pytest.approx(2 * numbers, rel=0.01)


def test_digits_of_each_type_lie_in_a_folder_of_their_own() -> None:
    assert len({digits_folder(name) for name in PRECISIONS}) == len(PRECISIONS)
    assert digits_folder("fp32") == digits_folder()


def test_manifests_differ_by_type_in_words() -> None:
    plain = estimate.siren_recipe(FEW, SirenSettings((4,)), count=2).manifest()
    assert plain.differences(replace(plain, dtype="float16")) == {"dtype": ("float32", "float16")}
    assert plain.differences(plain) == {}
