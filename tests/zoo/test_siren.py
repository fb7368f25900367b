"""Fitting side by side against one at a time, and what must not depend on how the work is cut."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.oracles.siren import fit_one
from torch import Tensor

from weightspace.errors import DataError, FormatError, ShapeError, TrainingError, UnknownNameError
from weightspace.spec import spec_of
from weightspace.weights import act, features_of, sample_element
from weightspace.zoo.dataset import open_zoo
from weightspace.zoo.generate import siren as package_attribute
from weightspace.zoo.generate.chunk import Chunk
from weightspace.zoo.generate.recipe import make_siren_zoo
from weightspace.zoo.generate.siren import SirenSettings, fit_sirens, forward_pass, initial_state, render, siren
from weightspace.zoo.sources import Images

SMALL = SirenSettings(hidden=(8, 8), steps=10, learning_rate=5e-3, chunk=4)


def pictures(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Smooth random images in [0, 1]."""
    generator = torch.Generator().manual_seed(sum(shape))
    coarse = torch.rand(*shape, generator=generator, dtype=torch.float64)
    smooth = torch.cumsum(torch.cumsum(coarse, 1), 2)
    return (smooth / smooth.amax()).to(dtype)


def largest_gap(settings: SirenSettings, images: Tensor) -> float:
    """Largest difference between networks fitted side by side and one at a time, over parameters and pixels."""
    numbers = torch.arange(5, 5 + len(images))
    channels = images.shape[3] if images.ndim == 4 else 1
    state, _ = fit_sirens(images, numbers, settings)
    start = initial_state(settings, numbers, channels)
    shown = render(state, settings, *images.shape[1:3])
    gaps = []
    for row, image in enumerate(images):
        network = siren(settings, channels)
        alone = fit_one(
            network,
            {key: block[row] for key, block in start.items()},
            image,
            settings.steps,
            settings.learning_rate,
            settings.moments,
        )
        gaps += [(state[key][row] - tensor).abs().max() for key, tensor in network.state_dict().items()]
        gaps.append((shown[row] - alone.clamp(0, 1)).abs().max())
    return float(torch.stack(gaps).max())


@pytest.mark.parametrize(
    ("hidden", "shape"),
    [
        ((8, 8), (3, 6, 6)),
        ((5,), (2, 6, 4)),
        ((7, 3, 6), (2, 5, 9)),
        ((6, 4), (2, 5, 4, 3)),
        ((4,), (2, 1, 6, 3)),
        ((4, 5), (2, 6, 1)),
    ],
)
def test_equals_one_at_a_time(hidden: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Any depth, width, image size and number of colours, schedule included."""
    settings = replace(SMALL, hidden=hidden, omega=7.0)
    assert largest_gap(settings, pictures(*shape, dtype=torch.float64)) < 1e-9


def test_other_moments_equal_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    settings, images = replace(SMALL, moments=(0.7, 0.9)), pictures(2, 6, 6, dtype=torch.float64)
    assert largest_gap(settings, images) < 1e-9
    step = Chunk.step

    def deaf(chunk: Chunk, number: int, rate: float) -> None:
        chunk.moments = (0.9, 0.999)
        step(chunk, number, rate)

    monkeypatch.setattr(Chunk, "step", deaf)
    assert largest_gap(settings, images) > 1e-5


@pytest.mark.parametrize("mutant", ["sign of a sine", "frequency", "schedule", "bias"])
def test_comparison_catches_mutants(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One flaw anywhere in a step shows."""
    backward, module = Chunk.backward, "weightspace.zoo.generate.siren"
    if mutant == "schedule":
        monkeypatch.setattr(f"{module}.learning_rate", lambda settings, step: settings.learning_rate)
    else:

        def flawed(chunk: Chunk, error: Tensor) -> None:
            if mutant == "sign of a sine":
                chunk.cosines[0].neg_()
            backward(chunk, error)
            if mutant == "frequency":
                chunk.weight_gradients[1].div_(SMALL.omega)
            if mutant == "bias":
                chunk.bias_gradients[1].zero_()

        monkeypatch.setattr(Chunk, "backward", flawed)
    assert largest_gap(SMALL, pictures(2, 6, 6, dtype=torch.float64)) > 1e-5


def test_gradient_equals_autograd() -> None:
    """The gradient itself, which Adam's normalisation would partly hide."""
    settings, image = replace(SMALL, hidden=(6, 5)), pictures(3, 7, 6, dtype=torch.float64)
    start = {key: block.double() for key, block in initial_state(settings, torch.arange(3)).items()}
    shapes = {key: tuple(block.shape[1:]) for key, block in start.items()}
    chunk = Chunk(torch.cat([block.flatten(1) for block in start.values()], 1), image[:, None], shapes, settings.omega)
    chunk.backward((chunk.outputs() - image.reshape(3, 1, -1)) * (2 / 42))
    network = siren(settings).double()
    points = torch.cartesian_prod(*(torch.linspace(-1, 1, size, dtype=torch.float64) for size in (7, 6)))
    for row in range(3):
        network.load_state_dict({key: block[row] for key, block in start.items()})
        loss = (network(points) - image[row].reshape(-1, 1)).square().mean()
        expected = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(network.parameters()))])
        torch.testing.assert_close(chunk.gradient[row], expected, rtol=1e-10, atol=1e-12)


def test_reaches_a_good_image() -> None:
    settings = SirenSettings(hidden=(32, 32), steps=60)
    images = pictures(6, 16, 16)
    seen: list[int] = []
    state, psnr = fit_sirens(images, torch.arange(6), replace(settings, chunk=4), progress=seen.append)
    assert seen == [4, 2]
    assert psnr.min() > 30
    error = (render(state, settings, 16, 16) - images).square().mean((1, 2))
    torch.testing.assert_close(psnr, -10 * error.log10(), rtol=1e-3, atol=1e-3)


def test_chunks_change_rounding_only() -> None:
    images = pictures(9, 8, 8)
    runs = [fit_sirens(images, torch.arange(9), replace(SMALL, chunk=chunk))[0] for chunk in (1, 4, 9)]
    for other in runs[1:]:
        for key, block in runs[0].items():
            torch.testing.assert_close(block, other[key], rtol=0, atol=1e-4)


def test_same_bytes_for_the_same_chunk() -> None:
    """Also with another number of threads, and beside other networks of the same count."""
    images = pictures(8, 8, 8)
    first, _ = fit_sirens(images, torch.arange(8), SMALL)
    torch.set_num_threads(2)
    try:
        again, _ = fit_sirens(images, torch.arange(8), SMALL)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    alone, _ = fit_sirens(images[4:], torch.arange(4, 8), SMALL)
    for key, block in first.items():
        assert torch.equal(block, again[key])
        assert torch.equal(block[4:], alone[key])


def test_starts_are_keyed_by_number() -> None:
    many = initial_state(SMALL, torch.arange(20))
    some = initial_state(SMALL, torch.tensor([11, 3]))
    shared = initial_state(replace(SMALL, init="shared"), torch.tensor([11, 3]))
    other = initial_state(replace(SMALL, seed=1), torch.tensor([11, 3]))
    for key, block in many.items():
        assert torch.equal(some[key], block[[11, 3]])
        assert torch.equal(shared[key], block[[0, 0]])
        assert not torch.equal(other[key], some[key])
        assert len(block.flatten(1).unique(dim=0)) == 20


def test_starts_lie_within_their_bounds() -> None:
    state = initial_state(SirenSettings(), torch.arange(50))
    bounds = {"0.weight": 1 / 2, "0.bias": 2**-0.5, "2.weight": (6 / 32) ** 0.5 / 30, "2.bias": 32**-0.5}
    for key, bound in bounds.items():
        assert 0.97 * bound < state[key].abs().max() <= bound
        assert abs(state[key].mean()) < 0.1 * bound


def test_a_diverged_network_touches_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(4, 8, 8)
    clean, _ = fit_sirens(images, torch.arange(4), SMALL)

    def poisoned(*args: object) -> dict[str, Tensor]:
        state = initial_state(*args)  # type: ignore[arg-type]
        state["2.weight"][1] = torch.inf
        return state

    monkeypatch.setattr("weightspace.zoo.generate.siren.initial_state", poisoned)
    state, psnr = fit_sirens(images, torch.arange(4), SMALL)
    assert psnr.isnan().tolist() == [False, True, False, False]
    for key, block in state.items():
        assert torch.equal(block[[0, 2, 3]], clean[key][[0, 2, 3]])


def test_render_agrees_with_modules_and_symmetry() -> None:
    settings = SirenSettings(hidden=(6, 5))
    state = initial_state(settings, torch.arange(70), 3)
    template = siren(settings, 3)
    spec = spec_of(template)
    features = features_of(spec, state)
    images = render(state, settings, 5, 4)
    assert images.shape == (70, 5, 4, 3)
    points = torch.cartesian_prod(torch.linspace(-1, 1, 5), torch.linspace(-1, 1, 4))
    single = features.to_modules(template)[66](points).detach().reshape(5, 4, 3).clamp(0, 1)
    torch.testing.assert_close(images[66], single, rtol=0, atol=1e-5)
    moved = act(sample_element(spec, 70, generator=torch.Generator().manual_seed(0)), features)
    torch.testing.assert_close(render(moved, settings, 5, 4), images, rtol=0, atol=1e-4)


def test_render_goes_by_the_keys_of_a_state() -> None:
    """A stored state dict comes back in the order of its file."""
    state = initial_state(SMALL, torch.arange(3))
    turned = {key: state[key] for key in sorted(state)}
    assert list(turned) != list(state)
    assert torch.equal(render(turned, SMALL, 5, 4), render(state, SMALL, 5, 4))
    with pytest.raises(ShapeError, match="no parameter '2.weight' among 0.weight, 1.bias, 5.weight"):
        render({"0.weight": state["0.weight"], "1.bias": state["0.bias"], "5.weight": state["2.weight"]}, SMALL, 5, 4)


def test_an_interrupt_stops_the_threads() -> None:
    def give_up(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_sirens(pictures(40, 4, 4), torch.arange(40), replace(SMALL, steps=2_000, chunk=1), progress=give_up)
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("images", "numbers", "error", "text"),
    [
        (torch.zeros(2, 5), torch.arange(2), ShapeError, r"shape \(2, 5\)"),
        (torch.zeros(2, 5, 5, 2), torch.arange(2), ShapeError, "height, width, 3"),
        (torch.zeros(0, 5, 5), torch.arange(0), ShapeError, "not empty"),
        (torch.zeros(2, 5, 5, dtype=torch.uint8), torch.arange(2), DataError, "divide bytes by 255"),
        (torch.full((2, 5, 5), 1.5), torch.arange(2), DataError, "image 0 has colours from 1.5 to 1.5"),
        (torch.full((2, 5, 5), torch.nan), torch.arange(2), DataError, "finite"),
        (torch.zeros(2, 5, 5), torch.arange(3), ShapeError, r"expected \(2,\) integers"),
        (torch.zeros(2, 5, 5), torch.zeros(2), ShapeError, "integers"),
        (torch.zeros(2, 5, 5), torch.tensor([0, -4]), DataError, "number -4 is negative"),
    ],
)
def test_bad_input_is_refused(images: Tensor, numbers: Tensor, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        fit_sirens(images, numbers, SMALL)


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"steps": 0}, TrainingError, "steps is 0"),
        ({"moments": (0.9, 1.0)}, TrainingError, r"moments are \(0.9, 1.0\)"),
        ({"chunk": -1}, TrainingError, "chunk is -1"),
        ({"learning_rate": float("nan")}, TrainingError, "learning_rate is nan"),
        ({"learning_rate": 1e300}, TrainingError, "learning_rate is 1e.300; .* below 1e38"),
        ({"omega": float("inf")}, TrainingError, "omega is inf"),
        ({"hidden": ()}, TrainingError, "hidden"),
        ({"hidden": (4, 0)}, TrainingError, "hidden"),
        ({"seed": -1}, TrainingError, "seed is -1"),
        ({"seed": 2**63}, TrainingError, "seed is 9223372036854775808; expected 0 to"),
        ({"init": "share"}, UnknownNameError, 'did you mean "shared"'),
        ({"views": 0}, TrainingError, "views is 0"),
        ({"views": 2, "init": "shared"}, TrainingError, "all views of an image would be the same"),
    ],
)
def test_bad_settings_are_refused(change: dict[str, object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        replace(SMALL, **change)


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> Images:
    """Forty small images, and shards of sixteen."""
    monkeypatch.setattr("weightspace.zoo.generate.recipe.SHARD", 16)
    pixels = (255 * pictures(40, 6, 5)).round().byte().numpy()
    return Images("ramps", pixels, np.arange(40) % 10, "0" * 64, "Drawn by the test.")


def test_zoo_holds_what_was_fitted(images: Images, tmp_path: Path) -> None:
    seen: list[int] = []
    zoo = make_siren_zoo(tmp_path, images, SMALL, count=37, seed=3, progress=seen.append)
    assert len(zoo) == sum(seen) == 37
    assert zoo.column("number").tolist() == list(range(37))
    ids = zoo.column("image")
    assert len(set(ids.tolist())) == 37
    assert (zoo.column("label") == images.labels[ids]).all()
    assert not zoo.column("diverged").any()
    assert zoo.manifest.forward == forward_pass(SMALL) | {"height": 6, "width": 5}
    targets = torch.from_numpy(images.train[ids]).float() / 255
    shown = render(zoo.features(), SMALL, 6, 5)
    psnr = -10 * (shown - targets).square().mean((1, 2)).log10()
    torch.testing.assert_close(torch.tensor(zoo.column("psnr").tolist()), psnr, rtol=1e-3, atol=1e-3)


def test_zoo_goes_on_after_an_interrupt(images: Images, tmp_path: Path) -> None:
    whole = make_siren_zoo(tmp_path / "whole", images, SMALL, count=37)
    done: list[int] = []

    def interrupt(count: int) -> None:
        done.append(count)
        if sum(done) == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_siren_zoo(tmp_path / "cut", images, SMALL, count=37, progress=interrupt)
    assert len(open_zoo(tmp_path / "cut")) == 16
    resumed: list[int] = []
    cut = make_siren_zoo(tmp_path / "cut", images, SMALL, count=37, progress=resumed.append)
    assert resumed[0] == 16
    assert sum(resumed) == 37
    assert cut.checksum == whole.checksum


def test_zoo_grows_and_keeps_its_networks(images: Images, tmp_path: Path) -> None:
    small = make_siren_zoo(tmp_path, images, SMALL, count=20)
    before, checksum = small.features(), small.checksum
    assert make_siren_zoo(tmp_path, images, SMALL, count=20).checksum == checksum
    grown = make_siren_zoo(tmp_path, images, SMALL, count=40)
    assert len(grown) == 40
    assert torch.equal(grown.features(slice(20))["2.weight"], before["2.weight"])


def test_zoo_of_one_network(images: Images, tmp_path: Path) -> None:
    assert make_siren_zoo(tmp_path, images, SMALL, count=1).column("number").tolist() == [0]


def test_zoo_refuses_other_settings_and_too_many(images: Images, tmp_path: Path) -> None:
    make_siren_zoo(tmp_path, images, SMALL, count=5)
    make_siren_zoo(tmp_path, images, replace(SMALL, chunk=3), count=5)
    with pytest.raises(FormatError, match="omega"):
        make_siren_zoo(tmp_path, images, replace(SMALL, omega=20.0), count=5)
    with pytest.raises(DataError, match="count is 41"):
        make_siren_zoo(tmp_path / "other", images, SMALL, count=41)
    with pytest.raises(DataError, match="seed is -1"):
        make_siren_zoo(tmp_path / "other", images, SMALL, count=4, seed=-1)


def test_moments_are_told_where_they_are_not_those_of_adam(images: Images, tmp_path: Path) -> None:
    """So that a zoo from before they could be chosen is gone on with."""
    assert "moments" not in make_siren_zoo(tmp_path / "plain", images, SMALL, count=2).manifest.settings
    given = replace(SMALL, moments=(0.7, 0.9))
    assert make_siren_zoo(tmp_path / "given", images, given, count=2).manifest.settings["moments"] == [0.7, 0.9]
    with pytest.raises(FormatError, match="moments"):
        make_siren_zoo(tmp_path / "given", images, SMALL, count=2)


def test_views_are_fits_of_their_own_in_one_split(images: Images, tmp_path: Path) -> None:
    settings = replace(SMALL, views=3)
    zoo = make_siren_zoo(tmp_path / "views", images, settings, count=31)
    image, view, split = (zoo.column(name) for name in ("image", "view", "split"))
    assert view.tolist() == [n % 3 for n in range(31)]
    assert all(len(set(image[n - n % 3 : n + 1].tolist())) == 1 for n in range(31))
    assert len(set(image.tolist())) == 11
    assert all(len(set(split[image == one].tolist())) == 1 for one in set(image.tolist()))
    weights = zoo.features()["2.weight"]
    assert (weights[0] - weights[1]).abs().max() > 1e-2
    with pytest.raises(DataError, match="40 images, each for 3: ask for 1 to 120"):
        make_siren_zoo(tmp_path / "other", images, settings, count=121)
    plain = make_siren_zoo(tmp_path / "plain", images, SMALL, count=11)
    assert plain.column("image").tolist() == image[::3].tolist()
    assert plain.column("view").tolist() == [0] * 11


def test_zoo_holds_colours(images: Images, tmp_path: Path) -> None:
    coloured = replace(images, train=np.stack([images.train] * 3, 3))
    zoo = make_siren_zoo(tmp_path, coloured, SMALL, count=3)
    assert render(zoo.features(), SMALL, 6, 5).shape == (3, 6, 5, 3)


def test_the_package_does_not_hide_its_file() -> None:
    assert hasattr(package_attribute, "SirenSettings")
