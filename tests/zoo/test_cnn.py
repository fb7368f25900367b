"""CNNs trained side by side against one at a time, and what must not depend on how the work is cut."""

import math
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.oracles.cnn import load, train_one
from torch import Tensor

from weightspace.errors import DataError, FormatError, TrainingError, UnknownNameError
from weightspace.spec import spec_of
from weightspace.tasks import PredictAccuracy
from weightspace.weights import act, flatten, sample_element
from weightspace.zoo.dataset import open_zoo
from weightspace.zoo.generate import convolution
from weightspace.zoo.generate.cnn import (
    CnnSettings,
    cnn,
    evaluate,
    hyper,
    initial_weights,
    member,
    train_cnns,
)
from weightspace.zoo.generate.convolution import Passes, kernel_entries, packing
from weightspace.zoo.generate.descent import Descent
from weightspace.zoo.generate.draw import INITS, OPTIMISERS, normal_matrix, stream
from weightspace.zoo.generate.group import Group, Member
from weightspace.zoo.generate.pixels import Pixels, held_out, prepare, resized
from weightspace.zoo.generate.recipe import make_cnn_zoo
from weightspace.zoo.generate.template import modules, settings_of, template
from weightspace.zoo.sources import Images

SMALL = CnnSettings(
    steps=(10, 10), batch=5, images=40, init_std=(0.1, 0.3), fractions=(0.5, 1.0), evaluated=20, chunk=3
)


def pictures(count: int = 40, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise with a bright patch whose place tells the class."""
    chance = np.random.default_rng(seed)
    labels = chance.integers(0, 10, count)
    pixels = chance.integers(0, 120, (count, 32, 32))
    for image, label in zip(pixels, labels, strict=True):
        image[3 * label : 3 * label + 5, 8:24] += 130
    return pixels.astype(np.uint8), labels


@pytest.fixture(scope="module")
def data() -> Pixels:
    return prepare(*pictures())


def shown(dtype: torch.dtype) -> Tensor:
    return (torch.from_numpy(pictures()[0])[:, None].to(dtype) * 2 / 255) - 1


def one_optimiser(settings: CnnSettings, name: str) -> CnnSettings:
    return replace(settings, optimisers=(name,))


def side_by_side(settings: CnnSettings, data: Pixels, numbers: list[int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Losses `(step, network)` and the weights after each step, `(step, network, parameter)`, as in a state dict."""
    waiting = [partial(member, settings, len(data), 10, number) for number in reversed(numbers)]
    group = Group(data, settings.activation, settings.batch, 10, dtype)
    group.fill(waiting, len(numbers))
    losses, weights, order = [], [], packing(16, 10).argsort()
    for _ in range(settings.steps[0]):
        group.advance()
        losses.append(group.losses.clone())
        weights.append(group.parameters[:, order].clone())
    return torch.stack(losses), torch.stack(weights)


def largest_gaps(settings: CnnSettings, data: Pixels, dtype: torch.dtype, count: int = 3) -> tuple[float, float]:
    """Largest difference in losses and in weights between side by side and one at a time, over all steps."""
    losses, weights = side_by_side(settings, data, list(range(count)), dtype)
    pixels, gaps = shown(dtype), ([0.0], [0.0])
    drawn = [member(settings, len(data), 10, number) for number in range(count)]
    for row, one in enumerate(drawn):
        network = cnn(settings).to(dtype)
        load(network, initial_weights(settings, row).to(dtype))
        about = {name: getattr(one, name) for name in ("rate", "decay", "optimiser", "dropped", "chance")}
        about["any dropout"] = any(other.dropped for other in drawn)
        for step, (loss, flat) in enumerate(train_one(network, pixels, data.labels, one.order, about)):
            gaps[0].append(abs(loss - losses[step, row].item()))
            gaps[1].append((flat - weights[step, row]).abs().max().item())
    return max(gaps[0]), max(gaps[1])


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_equals_one_at_a_time(activation: str, optimiser: str, data: Pixels) -> None:
    """Every step of every optimiser, with weight decay and dropout of each network's own."""
    settings = replace(one_optimiser(SMALL, optimiser), activation=activation, weight_decay=(1e-3, 1e-1))
    assert max(largest_gaps(settings, data, torch.float64)) < 1e-11


def test_equals_one_at_a_time_in_single_precision(data: Pixels) -> None:
    """Mixed optimisers side by side."""
    losses, weights = largest_gaps(replace(SMALL, learning_rate=(1e-3, 1e-2)), data, torch.float32, count=4)
    assert losses < 1e-4
    assert weights < 1e-3


@pytest.mark.parametrize("mutant", ["shift", "dropout", "decay", "bias correction", "bias", "slope"])
def test_comparison_catches_mutants(mutant: str, data: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    """One flaw anywhere in a step shows."""
    settings = replace(one_optimiser(SMALL, "adam"), weight_decay=(1e-3, 1e-1), activation="tanh")
    if mutant == "shift":
        shifted = convolution._shifted

        def swapped(planes: Tensor, width: int) -> list[Tensor]:
            """One shift reads one row too far."""
            first, second, *others = shifted(planes, width)
            return [first, second.roll(1, 1), *others]

        monkeypatch.setattr(convolution, "_shifted", swapped)
    elif mutant == "dropout":
        drop = Passes.drop
        monkeypatch.setattr(Passes, "drop", lambda passes, chance, rates: drop(passes, chance, rates + 1))
    elif mutant == "decay":
        monkeypatch.setattr(
            "weightspace.zoo.generate.group.kernel_entries", lambda *sizes: torch.ones_like(kernel_entries(*sizes))
        )
        settings = replace(settings, dropout=(0.0, 0.0))
    elif mutant == "bias correction":
        step = Descent.step

        def late(descent: Descent, *arguments: Tensor) -> None:
            descent.taken.add_(1)
            step(descent, *arguments)
            descent.taken.sub_(1)

        monkeypatch.setattr(Descent, "step", late)
    elif mutant == "bias":
        monkeypatch.setattr(torch, "baddbmm", lambda bias, a, b, out=None: torch.bmm(a, b, out=out) + 0)
    else:
        monkeypatch.setattr(Passes, "_deactivate", lambda passes, level, gradient, values: gradient.mul_(values > 0))
    assert max(largest_gaps(settings, data, torch.float64)) > 1e-6


def test_chunks_and_company_change_rounding_only(data: Pixels) -> None:
    """Networks of unequal length, so that places are taken anew."""
    settings = replace(SMALL, steps=(2, 12), learning_rate=(1e-3, 1e-2))
    numbers = torch.arange(7)
    whole = train_cnns(data, numbers, settings)
    assert len(set(whole.steps[:, -1].tolist())) > 3
    for chunk in (1, 7):
        other = train_cnns(data, numbers, replace(settings, chunk=chunk))
        torch.testing.assert_close(other.weights, whole.weights, rtol=0, atol=1e-4)
    some = train_cnns(data, torch.tensor([5, 2]), settings)
    torch.testing.assert_close(some.weights, whole.weights[[5, 2]], rtol=0, atol=1e-4)
    assert torch.equal(some.images, whole.images[[5, 2]])


def test_networks_without_dropout_are_not_touched_by_those_before_them(
    data: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SMALL, chunk=1, steps=(4, 4))
    drawn = "weightspace.zoo.generate.cnn.member"

    def mixed(settings: CnnSettings, images: int, classes: int, number: int) -> Member:
        return replace(member(settings, images, classes, number), dropped=0 if number else 128)

    monkeypatch.setattr(drawn, mixed)
    together = train_cnns(data, torch.arange(2), settings)
    alone = train_cnns(data, torch.tensor([1]), settings)
    assert torch.equal(together.weights[1:], alone.weights)


def test_same_bytes_with_any_number_of_threads(data: Pixels) -> None:
    settings = replace(SMALL, steps=(3, 9), chunk=1)
    first = train_cnns(data, torch.arange(4), settings)
    torch.set_num_threads(2)
    try:
        again = train_cnns(data, torch.arange(4), settings)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert torch.equal(first.weights, again.weights)


def test_checkpoints_are_what_a_shorter_training_gives(data: Pixels) -> None:
    settings = replace(SMALL, steps=(20, 20), checkpoints=(0.0, 0.25, 0.5, 1.0))
    trained = train_cnns(data, torch.arange(2), settings)
    assert trained.steps.tolist() == [[0, 5, 10, 20]] * 2
    for row in range(2):
        assert torch.equal(trained.weights[row, 0], initial_weights(settings, row))
    short = train_cnns(data, torch.arange(2), replace(settings, steps=(10, 10), checkpoints=(1.0,)))
    torch.testing.assert_close(trained.weights[:, 2], short.weights[:, 0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_network_that_diverges_is_marked_and_touches_no_other(
    activation: str, data: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last finite weights are kept, and the network that takes its place is not harmed."""
    settings = replace(SMALL, activation=activation, chunk=2, checkpoints=(0.1, 1.0))
    clean = train_cnns(data, torch.arange(5), settings)

    def wild(settings: CnnSettings, images: int, classes: int, number: int) -> Member:
        """Network 1 grows a millionfold in each step, until its numbers overflow."""
        one = member(settings, images, classes, number)
        return one if number != 1 else replace(one, optimiser="sgd", rate=1e3, decay=1e3)

    monkeypatch.setattr("weightspace.zoo.generate.cnn.member", wild)
    trained = train_cnns(data, torch.arange(5), settings)
    assert trained.diverged.tolist() == [[False, False], [False, True], *[[False, False]] * 3]
    assert trained.steps[1, 0] == 1
    assert 1 < trained.steps[1, 1] < 10
    assert trained.weights.isfinite().all()
    others = [0, 2, 3, 4]
    torch.testing.assert_close(trained.weights[others], clean.weights[others], rtol=0, atol=1e-4)


def test_a_rate_without_bounds_diverges_and_is_told(data: Pixels) -> None:
    settings = replace(one_optimiser(SMALL, "sgd"), learning_rate=(1e20, 1e20), dropout=(0.0, 0.0))
    trained = train_cnns(data, torch.arange(3), settings)
    assert trained.diverged[:, -1].all()
    assert trained.weights.isfinite().all()
    assert (trained.steps[:, -1] < 10).all()


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_evaluation_equals_the_module(activation: str, data: Pixels) -> None:
    settings = replace(SMALL, activation=activation)
    weights = torch.stack([initial_weights(settings, number) for number in range(4)])
    rows = torch.stack([torch.randperm(40, generator=torch.Generator().manual_seed(row)) for row in range(4)])
    losses, right = evaluate(weights, data, rows, settings)
    for row in range(4):
        network = cnn(settings)
        load(network, weights[row])
        logits = network(shown(torch.float32)[rows[row]])
        labels = data.labels[rows[row]]
        torch.testing.assert_close(losses[row], torch.nn.functional.cross_entropy(logits, labels), rtol=1e-5, atol=1e-6)
        assert right[row] == (logits.argmax(1) == labels).float().mean()


def test_learns() -> None:
    data = prepare(*pictures(200))
    settings = replace(SMALL, steps=(150, 150), batch=20, optimisers=("adam",), inits=("he_normal",), dropout=(0, 0))
    settings = replace(settings, learning_rate=(5e-3, 5e-3), weight_decay=(1e-8, 1e-8), fractions=(1.0,))
    trained = train_cnns(data, torch.arange(2), settings)
    _, right = evaluate(trained.weights[:, -1], data, torch.arange(200).expand(2, -1), settings)
    assert right.min() > 0.9


def test_draws_are_keyed_by_number_and_lie_in_their_ranges() -> None:
    settings = CnnSettings()
    drawn = [hyper(settings, number) for number in range(300)]
    assert drawn[7] == hyper(replace(settings, chunk=1), 7) != hyper(replace(settings, seed=1), 7)
    for name in ("learning_rate", "weight_decay", "init_std", "dropout", "steps"):
        values, (low, high) = np.array([getattr(one, name) for one in drawn]), getattr(settings, name)
        assert low <= values.min() < values.max() <= high
        if name != "dropout":
            middle = math.sqrt(low * high)
            assert 0.4 < (values < middle).mean() < 0.6, name
    for name, valid in (("init", INITS), ("optimiser", OPTIMISERS), ("train_fraction", settings.fractions)):
        counts = [sum(getattr(one, name) == value for one in drawn) for value in valid]
        assert sum(counts) == 300
        assert min(counts) > 0.6 * 300 / len(valid)


@pytest.mark.parametrize("kind", INITS)
def test_first_weights_have_the_spread_that_is_asked_for(kind: str) -> None:
    matrix = normal_matrix(stream(0, 1, "weights"), kind, (64, 32, 3, 3), 0.05)
    deviation = {"he_normal": (2 / 288) ** 0.5, "glorot_normal": (2 / 864) ** 0.5, "orthogonal": 288**-0.5}
    # Cutting a normal off at two deviations leaves 88 % of its spread.
    expected = deviation.get(kind, 0.05 * (0.8796 if kind == "truncated_normal" else 1))
    assert matrix.std() == pytest.approx(expected, rel=0.02)
    assert abs(matrix.mean()) < 0.05 * expected
    if kind == "truncated_normal":
        assert np.abs(matrix).max() <= 0.1


def test_networks_learn_from_their_own_share(data: Pixels) -> None:
    settings = replace(SMALL, fractions=(0.25,))
    one = member(settings, len(data), 10, 3)
    assert len(one.images) == 10
    assert set(one.order.flatten().tolist()) == set(one.images.tolist())
    # Two batches hold each image once.
    assert len(set(one.order[:2].flatten().tolist())) == 10
    assert one.images.tolist() != member(settings, len(data), 10, 4).images.tolist()


def test_images_of_any_size_become_grey_and_small() -> None:
    chance = np.random.default_rng(0)
    same = chance.integers(0, 256, (2, 32, 32), dtype=np.uint8)
    assert (resized(same) == same).all()
    flat = np.full((1, 28, 20, 3), (10, 200, 30), np.uint8)
    assert (resized(flat) == round(0.299 * 10 + 0.587 * 200 + 0.114 * 30)).all()
    assert resized(np.zeros((1, 64, 48), np.uint8)).shape == (1, 32, 32)


def test_images_without_a_test_split_are_held_out() -> None:
    pixels, labels = pictures(25)
    kept, kept_labels, out, out_labels = held_out(Images("x", pixels, labels, "0" * 64, ""))
    assert (len(kept), len(out), len(kept_labels), len(out_labels)) == (20, 5, 20, 5)
    given = Images("x", pixels, labels, "0" * 64, "", pixels[:3], labels[:3])
    assert len(held_out(given)[0]) == 25
    with pytest.raises(DataError, match="expected at least 5"):
        held_out(Images("x", pixels[:4], labels[:4], "0" * 64, ""))


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"batch": 0}, TrainingError, "batch is 0"),
        ({"steps": (5, 4)}, TrainingError, r"steps is \(5, 4\); expected two numbers in order, from 1"),
        ({"learning_rate": (0.0, 1.0)}, TrainingError, "learning_rate is .* above 0"),
        ({"learning_rate": (math.nan, 1.0)}, TrainingError, "learning_rate"),
        ({"dropout": (0.0, 1.0)}, TrainingError, "dropout"),
        ({"seed": -1}, TrainingError, "seed is -1"),
        ({"fractions": (0.0,)}, TrainingError, "fractions"),
        ({"fractions": ()}, TrainingError, "fractions"),
        ({"checkpoints": (0.5,)}, TrainingError, "checkpoints"),
        ({"checkpoints": (0.5, 0.5, 1.0)}, TrainingError, "ascending"),
        ({"checkpoints": (-0.5, 1.0)}, TrainingError, "checkpoints"),
        ({"inits": ()}, TrainingError, "no initialisation"),
        ({"activation": "relo"}, UnknownNameError, 'did you mean "relu"'),
        ({"optimisers": ("adan",)}, UnknownNameError, 'did you mean "adam"'),
    ],
)
def test_bad_settings_are_refused(change: dict[str, object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        replace(SMALL, **change)  # type: ignore[arg-type]


def test_bad_input_is_refused(data: Pixels) -> None:
    with pytest.raises(DataError, match=r"numbers are \[-1\]"):
        train_cnns(data, torch.tensor([-1]), SMALL)
    with pytest.raises(DataError, match="40 images are fewer than a batch of 41"):
        train_cnns(data, torch.arange(1), replace(SMALL, batch=41))


@pytest.fixture
def images(monkeypatch: pytest.MonkeyPatch) -> Images:
    """Sixty images with thirty to be tested on, and shards of four networks."""
    monkeypatch.setattr("weightspace.zoo.generate.recipe.CNN_SHARD", 4)
    (train, labels), (test, test_labels) = pictures(60, seed=1), pictures(30, seed=2)
    return Images("patches", train, labels, "0" * 64, "Drawn by the test.", test, test_labels)


@pytest.mark.parametrize(("activation", "symmetry"), [("relu", "POSITIVE"), ("tanh", "SIGN")])
def test_zoo_holds_what_was_trained(activation: str, symmetry: str, images: Images, tmp_path: Path) -> None:
    """Every row's accuracies and losses are those of its module; the spec has the activation's symmetry."""
    settings, seen = replace(SMALL, activation=activation), []
    zoo = make_cnn_zoo(tmp_path, images, settings, count=6, seed=3, progress=seen.append)
    assert sum(seen) == 6
    assert len(zoo) == 18
    assert zoo.column("network").tolist() == [number for number in range(6) for _ in range(3)]
    assert zoo.column("step").tolist() == [1, 3, 10] * 6
    assert zoo.column("final").tolist() == [False, False, True] * 6
    assert [(axis.size, str(axis.symmetry)) for axis in zoo.spec.free_axes] == [(16, symmetry)] * 3
    inputs = torch.from_numpy(images.test[:20])[:, None].float() * 2 / 255 - 1
    labels = torch.from_numpy(images.test_labels[:20])
    for row, network in enumerate(modules(zoo)):
        logits = network(inputs)
        assert zoo.column("test_accuracy")[row] == pytest.approx((logits.argmax(1) == labels).float().mean().item())
        assert zoo.column("test_loss")[row] == pytest.approx(
            torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-4
        )
    gap = zoo.column("train_accuracy") - zoo.column("test_accuracy")
    assert np.allclose(zoo.column("gap"), gap)
    for row, number in enumerate(zoo.column("network")):
        for name, value in asdict(hyper(settings, int(number))).items():
            assert zoo.column(name)[row] == value


def test_train_accuracy_is_told_on_the_networks_own_images(images: Images, tmp_path: Path) -> None:
    zoo = make_cnn_zoo(tmp_path, images, SMALL, count=2)
    chosen = np.sort(np.random.default_rng(0).permutation(60)[:40])
    for row in (2, 5):
        # The smallest fraction, a half of 40, has 20 images.
        own = chosen[member(SMALL, 40, 10, row // 3).images[:20].numpy()]
        inputs = torch.from_numpy(images.train[own])[:, None].float() * 2 / 255 - 1
        (network,) = modules(zoo, row)
        right = (network(inputs).argmax(1).numpy() == images.labels[own]).mean()
        assert zoo.column("train_accuracy")[row] == pytest.approx(right)


def test_template_of_a_zoo_has_its_symmetry(images: Images, tmp_path: Path) -> None:
    zoo = make_cnn_zoo(tmp_path, images, replace(SMALL, activation="tanh"), count=1)
    assert spec_of(template(zoo.manifest), torch.zeros(1, 1, 32, 32)) == zoo.spec
    moved = act(sample_element(zoo.spec, len(zoo), generator=torch.Generator().manual_seed(0)), zoo.features())
    inputs = torch.randn(5, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    for before, after in zip(modules(zoo), moved.to_modules(template(zoo.manifest)), strict=True):
        torch.testing.assert_close(after(inputs), before(inputs), rtol=1e-4, atol=1e-5)


def test_rows_of_one_network_lie_in_one_split(images: Images, tmp_path: Path) -> None:
    settings = replace(SMALL, steps=(1, 1), checkpoints=(0.0, 1.0))
    zoo = make_cnn_zoo(tmp_path, images, settings, count=24, seed=1)
    splits = zoo.column("split").reshape(24, 2)
    assert (splits[:, 0] == splits[:, 1]).all()
    assert len(set(splits[:, 0])) > 1
    accuracies = PredictAccuracy().targets(zoo, zoo.split("test"))
    assert torch.equal(accuracies, torch.from_numpy(zoo.column("test_accuracy")[zoo.split("test")]))


def test_zoo_goes_on_after_an_interrupt(images: Images, tmp_path: Path) -> None:
    settings = replace(SMALL, steps=(2, 9))
    whole = make_cnn_zoo(tmp_path / "whole", images, settings, count=10)
    done: list[int] = []

    def interrupt(count: int) -> None:
        done.append(count)
        if sum(done) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_cnn_zoo(tmp_path / "cut", images, settings, count=10, progress=interrupt)
    assert len(open_zoo(tmp_path / "cut")) == 12
    resumed: list[int] = []
    cut = make_cnn_zoo(tmp_path / "cut", images, settings, count=10, progress=resumed.append)
    assert resumed[0] == 4
    assert sum(resumed) == 10
    assert cut.checksum == whole.checksum


def test_zoo_grows_and_keeps_its_networks(images: Images, tmp_path: Path) -> None:
    small = make_cnn_zoo(tmp_path, images, SMALL, count=5)
    before, splits = flatten(small.features()), small.column("split")
    grown = make_cnn_zoo(tmp_path, images, SMALL, count=8)
    assert len(grown) == 24
    torch.testing.assert_close(flatten(grown.features(slice(15))), before, rtol=0, atol=1e-5)
    assert (grown.column("split")[:15] == splits).all()


def test_a_diverged_network_stays_in_the_zoo_and_is_marked(images: Images, tmp_path: Path) -> None:
    settings = replace(one_optimiser(SMALL, "sgd"), learning_rate=(1e20, 1e20))
    zoo = make_cnn_zoo(tmp_path, images, settings, count=2)
    assert len(zoo) == 6
    assert zoo.column("diverged")[zoo.column("final")].all()
    assert flatten(zoo.features()).isfinite().all()
    kept = zoo.only(~zoo.column("diverged"))
    assert len(kept) == 6 - zoo.column("diverged").sum()
    assert not kept.column("diverged").any()


def test_zoo_refuses_other_settings_and_none(images: Images, tmp_path: Path) -> None:
    make_cnn_zoo(tmp_path, images, SMALL, count=1)
    make_cnn_zoo(tmp_path, images, replace(SMALL, chunk=1), count=1)
    with pytest.raises(FormatError, match="activation"):
        make_cnn_zoo(tmp_path, images, replace(SMALL, activation="tanh"), count=1)
    with pytest.raises(DataError, match="count is 0"):
        make_cnn_zoo(tmp_path / "other", images, SMALL, count=0)
    with pytest.raises(DataError, match="seed is -1"):
        make_cnn_zoo(tmp_path / "other", images, SMALL, count=1, seed=-1)


def test_settings_come_back_from_the_manifest(images: Images, tmp_path: Path) -> None:
    zoo = make_cnn_zoo(tmp_path, images, SMALL, count=1)
    assert settings_of(zoo.manifest) == replace(SMALL, chunk=CnnSettings().chunk)
    with pytest.raises(UnknownNameError, match="recipe"):
        template(replace(zoo.manifest, recipe="lstm"))
