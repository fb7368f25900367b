"""Editing: loss against networks called one by one, the symmetry law with a mutant, targets, and what is refused."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

from weightspace.errors import DataError, FormatError, ShapeError, SpecError, UnknownNameError
from weightspace.models import Edit, MonomialNFN
from weightspace.spec import Sine, spec_of
from weightspace.tasks import EditImages, changed
from weightspace.testing import random_features
from weightspace.training import Splits, TrainSettings, train
from weightspace.weights import WeightFeatures, act, sample_element
from weightspace.zoo import Images, Zoo, load_images
from weightspace.zoo.generate import InrSettings, SirenSettings, make_inr_zoo, make_siren_zoo, rendered, template
from weightspace.zoo.generate.canvas import Canvas, points
from weightspace.zoo.sources import images_of


@pytest.fixture(scope="module")
def colourful() -> Images:
    chance = np.random.default_rng(0)
    pixels = chance.integers(0, 256, (6, 5, 7, 3)).astype(np.uint8)
    return images_of("noise", (pixels, np.arange(6) % 2, None, None), "noise")


@pytest.fixture(scope="module")
def digits() -> Images:
    return load_images("digits")


@pytest.fixture(scope="module")
def zoos(tmp_path_factory: pytest.TempPathFactory, digits: Images, colourful: Images) -> dict[str, Zoo]:
    root = tmp_path_factory.mktemp("zoos")
    return {
        "siren": make_siren_zoo(root / "a", digits, SirenSettings((6, 5), steps=5, views=2), count=40),
        "colour": make_siren_zoo(root / "b", colourful, SirenSettings((6,), steps=5), count=6),
        "plain": make_inr_zoo(root / "c", digits, InrSettings("plain", hidden=(6, 5), steps=5), count=4),
        "fourier": make_inr_zoo(root / "d", digits, InrSettings("fourier", features=3, hidden=(6,), steps=5), count=4),
    }


def task_of(name: str, zoos: dict[str, Zoo], digits: Images, colourful: Images, change: str = "dilate") -> EditImages:
    return EditImages.of(zoos[name], colourful if name == "colour" else digits, change)


def slowly(zoo: Zoo, networks: WeightFeatures) -> torch.Tensor:
    """Every network called by its module."""
    module, forward = template(zoo.manifest).to(networks.dtype), zoo.manifest.forward
    grid = points(forward["coordinates"], forward["coordinate_range"], forward["height"], forward["width"])
    shown = grid.flatten(0, 1).to(networks.dtype)
    found = vmap(lambda state: functional_call(module, state, (shown,)))(networks.to_state())
    images = found.unflatten(1, grid.shape[:2])
    return images[..., 0] if images.shape[3] == 1 else images


@pytest.mark.parametrize("name", ["siren", "colour", "plain", "fourier"])
def test_images_and_gradients_equal_those_of_the_modules(name, zoos, digits, colourful) -> None:
    zoo, task = zoos[name], task_of(name, zoos, digits, colourful)
    tolerance = {"rtol": 1e-9, "atol": 1e-10}
    sides = []
    for draw in (task.outcome, lambda networks: slowly(zoo, networks)):
        networks = zoo.features([2, 0, 3], dtype=torch.float64).map(lambda value: value.requires_grad_())
        images = draw(networks)
        images.square().sum().backward()
        sides.append([images.detach(), *(value.grad for value in networks.tensors)])
    # Frequencies of the module are in single precision.
    if name == "fourier":
        tolerance = {"rtol": 1e-4, "atol": 1e-4}
    for fast, slow in zip(*sides, strict=True):
        torch.testing.assert_close(fast, slow, **tolerance)


def test_what_is_drawn_is_what_the_zoo_shows(zoos, digits, colourful) -> None:
    for name, zoo in zoos.items():
        shown = rendered(zoo, [1, 3])
        drawn = task_of(name, zoos, digits, colourful).outcome(zoo.features([1, 3]))
        torch.testing.assert_close(drawn.clamp(0, 1), shown, rtol=0, atol=1e-4)
        low = Canvas.of(zoo.manifest, height=3, width=4)(zoo.features([1, 3]))
        torch.testing.assert_close(low.clamp(0, 1), rendered(zoo, [1, 3], 3, 4), rtol=0, atol=1e-4)


def test_tanh_missing_biases_offsets_and_ranges_are_drawn() -> None:
    module = nn.Sequential(
        nn.Linear(2, 4, bias=False), nn.Tanh(), nn.Linear(4, 3, bias=False), Sine(3.0), nn.Linear(3, 1)
    )
    networks = random_features(spec_of(module), 3).to(torch.float64)
    canvas = Canvas(("0", "2", "4"), ("tanh", "sine"), (1.0, 3.0), 3, 4, "column, row", (0.0, 1.0), 0.5, (-1.0, 1.0))
    shown = points("column, row", (0.0, 1.0), 3, 4)
    for image, one in zip(canvas(networks), networks.to_modules(module.double()), strict=True):
        for row in range(3):
            for column in range(4):
                expected = (one(shown[row, column]).item() + 0.5 + 1) / 2
                assert image[row, column].item() == pytest.approx(expected, rel=1e-9)
    assert shown[2, 1].tolist() == pytest.approx([1 / 3, 1.0])


def test_loss_score_and_measures_equal_plain_loops(zoos, digits) -> None:
    task, zoo = EditImages.of(zoos["siren"], digits, "contrast"), zoos["siren"]
    networks, target = zoo.features([0, 7]), task.targets(zoo, [0, 7])
    missed = []
    for image, aim in zip(slowly(zoo, networks), target, strict=True):
        pairs = zip(image.flatten().tolist(), aim.flatten().tolist(), strict=True)
        missed.append(sum((a - b) ** 2 for a, b in pairs) / 64)
    assert task.errors(networks, target).tolist() == pytest.approx(missed, rel=1e-5)
    assert task.loss(networks, target).item() == pytest.approx(sum(missed) / 2, rel=1e-5)
    assert task.score(networks, target) == pytest.approx(-sum(missed) / 2, rel=1e-5)
    found = task.measures(networks, target)
    assert found["mse"] == pytest.approx(sum(missed) / 2, rel=1e-5)
    assert found["psnr"] == pytest.approx(-5 * sum(np.log10(missed)), rel=1e-5)
    assert torch.equal(task.unedited(networks, target), task.errors(networks, target))
    assert task.predict(networks).shape == (2,)
    assert task.brief(target).tolist() == pytest.approx([float(aim.mean()) for aim in target])
    # Images in place of networks give the same.
    assert task.measures(task.outcome(networks), target) == pytest.approx(found)


@pytest.mark.parametrize("name", ["siren", "colour", "plain"])
def test_the_loss_does_not_change_with_the_symmetries_of_the_answer(name, zoos, digits, colourful) -> None:
    zoo, task = zoos[name], task_of(name, zoos, digits, colourful)
    networks = zoo.features([0, 1, 2], dtype=torch.float64)
    target = task.targets(zoo, [0, 1, 2])
    before = task.errors(networks, target)
    moved = act(sample_element(zoo.spec, 3, generator=torch.Generator().manual_seed(0)), networks)
    assert any(not torch.allclose(a, b) for a, b in zip(moved.tensors, networks.tensors, strict=True))
    torch.testing.assert_close(task.errors(moved, target), before, rtol=1e-9, atol=1e-12)
    # A mutant that draws with another activation is caught: it has other symmetries.
    mutant = replace(
        task,
        canvas=replace(task.canvas, activations=("relu" if name != "plain" else "sine",) * len(task.canvas.omegas)),
    )
    wrong = (mutant.errors(moved, target) - mutant.errors(networks, target)).abs().max()
    assert wrong > 1e-6


def test_targets_are_the_changed_originals(zoos, digits, colourful) -> None:
    zoo = zoos["siren"]
    for change in ("dilate", "contrast"):
        task = EditImages.of(zoo, digits, change)
        rows = [5, 4, 5, 30]
        found, numbers = task.targets(zoo, rows), zoo.column("image")[rows]
        assert (found.shape, found.dtype) == ((4, 8, 8), torch.float32)
        for image, number in zip(found, numbers, strict=True):
            assert np.array_equal((image * 255).round().numpy(), changed(digits.train[[number]], change)[0])
        task.check(found)
    # Two views of one image have one target.
    assert len(np.unique(zoo.column("image"))) < len(zoo)
    colour = EditImages.of(zoos["colour"], colourful, "contrast")
    assert colour.targets(zoos["colour"], slice(0, 2)).shape == (2, 5, 7, 3)


def test_settings_are_plain_and_come_back(zoos, digits) -> None:
    task = EditImages.of(zoos["fourier"], digits, "contrast")
    plain = json.loads(json.dumps(asdict(task)))
    assert EditImages.from_plain(plain) == task
    assert plain["source"] == ["digits", digits.checksum]
    with pytest.raises(DataError, match="has no images to change"):
        EditImages.from_plain(plain).targets(zoos["fourier"], [0])
    again = EditImages.from_plain(plain, digits)
    assert torch.equal(again.targets(zoos["fourier"], [0, 2]), task.targets(zoos["fourier"], [0, 2]))
    with pytest.raises(FormatError, match="describes no editing of images"):
        EditImages.from_plain({**plain, "canvas": {"layers": ["0"]}})


def test_other_images_and_other_networks_are_refused(zoos, digits, colourful) -> None:
    zoo = zoos["siren"]
    with pytest.raises(DataError, match="were fitted to digits .* these images are noise"):
        EditImages.of(zoo, colourful, "dilate")
    with pytest.raises(UnknownNameError, match='did you mean "contrast"'):
        EditImages.of(zoo, digits, "kontrast")
    task = EditImages.of(zoo, digits, "dilate")
    with pytest.raises(DataError, match="hold other images than digits"):
        task.targets(zoos["colour"], [0])
    with pytest.raises(ShapeError, match=r"draw images of shape \(2, 8, 8\), the targets have shape \(1, 8, 8\)"):
        task.loss(zoo.features([0, 1]), task.targets(zoo, [0]))
    with pytest.raises(SpecError, match="expected layers 0, 2, 4"):
        task.outcome(zoos["colour"].features([0]))
    with pytest.raises(ShapeError, match=r"shape \(2, 9, 8\): expected \(batch, 8, 8\)"):
        task.check(torch.zeros(2, 9, 8))
    for wrong in (
        torch.full((1, 8, 8), 1.5),
        torch.full((1, 8, 8), torch.nan),
        torch.zeros(1, 8, 8, dtype=torch.int64),
    ):
        with pytest.raises(DataError, match="expected colours as floating point numbers from 0 to 1"):
            task.check(wrong)


@pytest.mark.filterwarnings("ignore:.*tensorboard")
def test_a_model_learns_to_edit_and_its_record_stays_small(zoos, digits, tmp_path: Path) -> None:
    zoo = zoos["siren"]
    task = EditImages.of(zoo, digits, "dilate")
    data = Splits.of(zoo, task)
    torch.manual_seed(0)
    model = MonomialNFN(zoo.spec, Edit(), stem=(4,), trunk=(4,))
    settings = TrainSettings(steps=8, batch=8, evaluate_every=4)
    record = train(model, task, data, settings, out=tmp_path / "run")
    tested = len(data.test)
    assert record.status == "finished"
    assert [len(record.predictions), len(record.targets), len(record.errors)] == [tested] * 3
    assert (
        record.measures["mse"] == pytest.approx(-record.test_score, rel=1e-5) == pytest.approx(np.mean(record.errors))
    )
    floor = task.unedited(data.test.features, data.test.target).mean().item()
    assert record.measures["mse"] < floor
