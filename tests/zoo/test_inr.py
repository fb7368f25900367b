"""ReLU networks on images: what they read of a point, how they are fitted, and what the manifest gives back."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.oracles import field as oracle
from torch import Tensor

from weightspace.cli.main import main
from weightspace.errors import DataError, FormatError, ShapeError, TrainingError, UnknownNameError
from weightspace.spec import spec_of
from weightspace.weights import act, features_of, sample_element
from weightspace.zoo import Zoo, assign, load_images
from weightspace.zoo.dataset import open_zoo
from weightspace.zoo.generate import SirenSettings, digits_zoo, make_inr_zoo, make_siren_zoo, modules, render, rendered
from weightspace.zoo.generate.digits import digits_folder
from weightspace.zoo.generate.field import falling
from weightspace.zoo.generate.inr import FourierFeatures, InrSettings, fit_inrs, frequencies, inr
from weightspace.zoo.sources import Images, images_of

SMALL = InrSettings("fourier", features=3, hidden=(6, 5), steps=8, chunk=2)
ENCODED = (SMALL, replace(SMALL, encoding="positional", features=2), InrSettings("plain", hidden=(6,), steps=8))


def pictures(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def colourful(count: int = 6) -> Images:
    pixels = (pictures(count, 5, 4, 3) * 255).round().to(torch.uint8).numpy()
    return images_of("colourful", (pixels, (torch.arange(count) % 2).numpy(), None, None), "random colours")


def largest_gap(settings: InrSettings, images: Tensor) -> float:
    """Between networks fitted side by side and one at a time, from the same start."""
    numbers, channels = torch.arange(3, 3 + len(images)), images.shape[3] if images.ndim == 4 else 1
    start, _ = fit_inrs(images, numbers, replace(settings, learning_rate=1e-30))
    state, _ = fit_inrs(images, numbers, settings)
    rates = [falling(settings.learning_rate, step, settings.steps) for step in range(settings.steps)]
    height, width = images.shape[1:3]
    points = [
        [-1 + 2 * row / (height - 1), -1 + 2 * column / (width - 1)] for row in range(height) for column in range(width)
    ]
    found, gaps = frequencies(settings), []
    seen = points if found is None else [oracle.fourier(point, found) for point in points]
    for row, image in enumerate(images):
        network = inr(settings, channels)[-len(settings.hidden) * 2 - 1 :].double()
        oracle.load(network, torch.cat([value[row].flatten() for value in start.values()]))
        batch = (torch.tensor(seen, dtype=torch.float64), image.reshape(-1, channels))
        fitted = oracle.fit_one(network, [batch] * settings.steps, rates)
        gaps.append((fitted - torch.cat([value[row].flatten() for value in state.values()])).abs().max())
    return float(torch.stack(gaps).max())


@pytest.mark.parametrize("settings", ENCODED, ids=lambda settings: settings.encoding)
@pytest.mark.parametrize("shape", [(3, 5, 4), (2, 4, 6, 3)])
def test_equals_one_at_a_time(settings: InrSettings, shape: tuple[int, ...]) -> None:
    """Features written out, schedule, threads and chunks included; features are computed in double precision."""
    assert largest_gap(settings, pictures(*shape)) < 1e-7


@pytest.mark.parametrize("mutant", ["frequency", "cosine", "schedule"])
def test_comparison_catches_mutants(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = FourierFeatures.forward
    if mutant == "schedule":
        monkeypatch.setattr("weightspace.zoo.generate.inr.falling", lambda rate, step, steps: rate)
    elif mutant == "frequency":
        monkeypatch.setattr(FourierFeatures, "forward", lambda module, points: forward(module, points / 2))
    else:
        monkeypatch.setattr(FourierFeatures, "forward", lambda module, points: forward(module, points).abs())
    assert largest_gap(SMALL, pictures(2, 5, 4)) > 1e-4


@pytest.mark.parametrize("settings", ENCODED, ids=lambda settings: settings.encoding)
def test_the_manifest_gives_the_images_back(settings: InrSettings, tmp_path: Path) -> None:
    images = colourful()
    zoo = make_inr_zoo(tmp_path, images, settings, count=6)
    assert spec_of(inr(settings, 3), torch.zeros(1, 2)) == zoo.spec
    shown = rendered(zoo)
    error = (shown.double() - torch.from_numpy(images.train[zoo.column("image")]) / 255).square().mean((1, 2, 3))
    torch.testing.assert_close(-10 * error.log10(), torch.tensor(zoo.column("psnr")).double(), rtol=1e-4, atol=1e-4)
    network, points = modules(zoo, 2)[0], torch.tensor([[-1.0, 1.0]])
    torch.testing.assert_close(network(points)[0].clamp(0, 1), shown[2, 0, 3])
    assert not [key for key in network.state_dict() if "frequencies" in key]
    assert zoo.column("split").tolist() == assign(zoo.column("image")).tolist()
    moved = act(sample_element(zoo.spec, 6, generator=torch.Generator().manual_seed(0)), zoo.features())
    for before, after in zip(modules(zoo), moved.to_modules(inr(settings, 3)), strict=True):
        torch.testing.assert_close(after(points), before(points), rtol=1e-3, atol=1e-4)


def test_frequencies_are_those_that_the_manifest_records(tmp_path: Path) -> None:
    """Not those of the settings, which another release may draw differently."""
    zoo = make_inr_zoo(tmp_path, colourful(), SMALL, count=2)
    before = rendered(zoo)
    zoo.manifest.forward["frequencies"][0][0] += 1.0  # type: ignore[index]
    assert not torch.equal(rendered(zoo), before)


def test_chunks_and_interruptions_change_nothing_that_matters(tmp_path: Path) -> None:
    images = colourful(9)
    whole = make_inr_zoo(tmp_path / "whole", images, replace(SMALL, chunk=9), count=9)
    make_inr_zoo(tmp_path / "grown", images, replace(SMALL, chunk=1), count=4)
    grown = make_inr_zoo(tmp_path / "grown", images, replace(SMALL, chunk=1), count=9)
    assert grown.table.drop_columns("psnr") == whole.table.drop_columns("psnr")
    torch.testing.assert_close(rendered(grown), rendered(whole), rtol=1e-4, atol=1e-5)
    with pytest.raises(FormatError):
        make_inr_zoo(tmp_path / "whole", images, replace(SMALL, deviation=2.0), count=9)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"encoding": "plain"}, "features is 3, but the encoding plain has none"),
        ({"encoding": "positional", "deviation": 2.0}, "deviation is 2.0"),
        ({"steps": 0}, "steps is 0"),
        ({"deviation": float("nan")}, "deviation is nan"),
        ({"hidden": ()}, "hidden is"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, object], told: str) -> None:
    with pytest.raises(TrainingError, match=told):
        replace(SMALL, **changes)  # type: ignore[arg-type]


def test_other_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match='did you mean "fourier"'):
        InrSettings("furier")
    with pytest.raises(DataError, match="divide by 255"):
        fit_inrs(torch.full((1, 4, 4), 2.0), torch.arange(1), SMALL)
    with pytest.raises(ShapeError, match="expected \\(1,\\) integers"):
        fit_inrs(torch.zeros(1, 4, 4), torch.arange(2), SMALL)
    with pytest.raises(DataError, match="ask for 1 to 6"):
        make_inr_zoo(tmp_path, colourful(), SMALL, count=7)


def _digits(path: Path, settings: SirenSettings) -> Zoo:
    return make_siren_zoo(path, load_images("digits"), settings, count=3)


def test_sirens_are_rendered_as_by_their_own_function(tmp_path: Path) -> None:
    settings = SirenSettings((6, 5), steps=5)
    zoo = _digits(tmp_path, settings)
    torch.testing.assert_close(rendered(zoo, [2, 0], 11, 7), render(zoo.features([2, 0]), settings, 11, 7))


def test_what_the_manifest_says_counts(tmp_path: Path) -> None:
    """Other orders of coordinates, offsets and ranges of colours, as the published collections have them."""
    zoo = _digits(tmp_path, SirenSettings((6, 5), steps=5))
    plain = rendered(zoo, height=6, width=6)
    zoo.manifest.forward["coordinates"] = "column, row"  # type: ignore[index]
    torch.testing.assert_close(rendered(zoo, height=6, width=6), plain.mT)
    zoo.manifest.forward["coordinates"] = "row, column"  # type: ignore[index]
    zoo.manifest.forward["output_offset"] = 2.0  # type: ignore[index]
    assert bool((rendered(zoo) == 1).all())
    zoo.manifest.forward["coordinates"] = "angle"  # type: ignore[index]
    with pytest.raises(FormatError, match="'angle'"):
        rendered(zoo)
    del zoo.manifest.forward["coordinates"]  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="hold no images"):
        rendered(zoo)


def test_a_size_must_be_known(tmp_path: Path) -> None:
    zoo = _digits(tmp_path, SirenSettings((6,), steps=2))
    del zoo.manifest.forward["height"]  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="give height and width"):
        rendered(zoo)


def test_the_zoo_of_digits_is_kept_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHTSPACE_CACHE", str(tmp_path))
    monkeypatch.setattr("weightspace.zoo.generate.digits.COUNT", 40)
    made: list[int] = []
    zoo = digits_zoo(progress=made.append)
    assert zoo.path == digits_folder() == tmp_path / "zoos" / digits_folder().name
    assert len(zoo) == 40
    assert zoo.column("psnr").min() > 20
    before = zoo.checksum
    assert digits_zoo().checksum == open_zoo(digits_folder()).checksum == before
    images = load_images("digits")
    assert zoo.column("label").tolist() == images.labels[zoo.column("image")].tolist()
    assert features_of(zoo.spec, modules(zoo, [0]))["0.weight"].shape == (1, 16, 2, 1)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    inrs = ["zoo", "make", "inr", "--data", "digits", "--count", "4", "--steps", "2", "--hidden", "4"]
    assert main([*inrs, "--out", str(tmp_path / "inr"), "--encoding", "positional", "--plan"]) == 0
    assert not (tmp_path / "inr").exists()
    assert main([*inrs, "--out", str(tmp_path / "inr"), "--encoding", "positional"]) == 0
    assert open_zoo(tmp_path / "inr").manifest.settings["encoding"] == "positional"
    assert main([*inrs, "--out", str(tmp_path / "no"), "--encoding", "plain", "--features", "3"]) == 2
    monkeypatch.setenv("WEIGHTSPACE_CACHE", str(tmp_path))
    monkeypatch.setattr("weightspace.zoo.generate.digits.COUNT", 20)
    assert main(["zoo", "make", "digits"]) == 0
    assert len(open_zoo(digits_folder())) == 20
    assert (
        main(["zoo", "make", "policy", "--count", "2", "--episodes", "2", "--out", str(tmp_path / "p"), "--plan"]) == 0
    )
    assert not (tmp_path / "p").exists()
    assert "2 networks of 20 steps on average" in capsys.readouterr().out
