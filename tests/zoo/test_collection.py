"""Zoos of several architectures in one folder: who has which number, which split, and what the list guards."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.oracles import wild as oracle
from torch.nn.functional import cross_entropy

from weightspace import models
from weightspace.cli.main import main
from weightspace.errors import DataError, FormatError, TrainingError, UnknownNameError
from weightspace.spec import spec_of
from weightspace.weights import act, sample_element
from weightspace.zoo import Images, Zoo, assign, load_images, open_zoos
from weightspace.zoo.collection import COLLECTION_FILE
from weightspace.zoo.generate import CnnSettings, WildSettings, make_cnn_zoo, make_mixed_zoos, make_wild_zoos, modules
from weightspace.zoo.generate.classifier import Regime
from weightspace.zoo.generate.cnn_collection import WildRegime
from weightspace.zoo.generate.pixels import held_out, resized
from weightspace.zoo.generate.wild import ConvolutionalNetwork, Layer, architectures
from weightspace.zoo.sources import images_of

MIXED = CnnSettings(steps=(2, 5), images=60, evaluated=40, batch=8, checkpoints=(0.5, 1.0))
WILD = WildSettings(architectures=3, depth=(1, 3), widths=(3, 4))
REGIME = Regime(steps=(2, 5), batch=8, checkpoints=(0.5, 1.0), chunk=4)


@pytest.fixture(scope="module")
def images() -> Images:
    digits = load_images("digits")
    return images_of("few", (digits.train[:150], digits.labels[:150], None, None), "a few digits")


@pytest.fixture(scope="module")
def mixed(images: Images, tmp_path_factory: pytest.TempPathFactory) -> list[Zoo]:
    return make_mixed_zoos(tmp_path_factory.mktemp("mixed"), images, MIXED, count=21)


@pytest.fixture(scope="module")
def wild(images: Images, tmp_path_factory: pytest.TempPathFactory) -> list[Zoo]:
    return make_wild_zoos(tmp_path_factory.mktemp("wild"), images, WILD, REGIME, count=8)


def disjoint(zoos: list[Zoo], count: int) -> bool:
    """Whether every network lies in one zoo and one split."""
    networks = [set(zoo.column("network").tolist()) for zoo in zoos]
    whole = set().union(*networks) == set(range(count)) and sum(map(len, networks)) == count
    splits = {(n, s) for zoo in zoos for n, s in zip(zoo.column("network"), zoo.column("split"), strict=True)}
    rows = [number for zoo in zoos for number in zoo.column("number").tolist()]
    return whole and len(splits) == count and len(set(rows)) == len(rows)


def test_each_network_has_one_place(mixed: list[Zoo], wild: list[Zoo], monkeypatch: pytest.MonkeyPatch) -> None:
    assert disjoint(mixed, 21)
    assert disjoint(wild, 8)
    assert not disjoint([mixed[0], mixed[0]], 21)
    for zoo in (*mixed, *wild):
        assert zoo.column("split").tolist() == assign(zoo.column("network")).tolist()


def test_a_mixed_network_is_the_one_that_a_plain_zoo_has_by_its_number(
    mixed: list[Zoo], images: Images, tmp_path: Path
) -> None:
    """What it is given and where it starts hang on its number alone; how it is trained on nothing else."""
    plain = make_cnn_zoo(tmp_path, images, replace(MIXED, activation="tanh"), count=21)
    tanh = mixed[1]
    rows = np.flatnonzero(np.isin(plain.column("network"), tanh.column("network")))
    for name in ("number", "learning_rate", "init", "optimiser", "step", "split", "activation"):
        assert plain.column(name)[rows].tolist() == tanh.column(name).tolist()
    torch.testing.assert_close(
        torch.cat([value.flatten(1) for value in plain.features(rows).to_state().values()], 1),
        torch.cat([value.flatten(1) for value in tanh.features().to_state().values()], 1),
        rtol=1e-3,
        atol=1e-4,
    )
    assert {str(axis.symmetry) for axis in tanh.spec.free_axes} == {"SIGN"}
    assert {str(axis.symmetry) for axis in mixed[0].spec.free_axes} == {"POSITIVE"}


def test_rows_say_what_wild_networks_do(wild: list[Zoo], images: Images) -> None:
    _, _, pixels, labels = held_out(images)
    shown = torch.from_numpy(resized(pixels)).float()[:, None] * (2 / 255) - 1
    right = torch.from_numpy(labels)
    for zoo in wild:
        assert zoo.spec == spec_of(modules(zoo, 0)[0], shown[:1])
        for row, network in enumerate(modules(zoo)):
            logits = network(shown)
            told = (logits.argmax(1) == right).float().mean().item()
            assert zoo.column("test_accuracy")[row] == pytest.approx(told, abs=1e-3)
            assert zoo.column("test_loss")[row] == pytest.approx(cross_entropy(logits, right).item(), rel=1e-3)
        gap = zoo.column("train_accuracy") - zoo.column("test_accuracy")
        assert np.allclose(zoo.column("gap"), gap)
        moved = act(sample_element(zoo.spec, len(zoo), generator=torch.Generator().manual_seed(0)), zoo.features())
        for before, after in zip(modules(zoo), moved.to_modules(modules(zoo, 0)[0]), strict=True):
            torch.testing.assert_close(after(shown[:4]), before(shown[:4]), rtol=1e-3, atol=1e-3)


def test_wild_networks_equal_plain_loops() -> None:
    chance = np.random.default_rng(0)
    for layers in architectures(replace(WILD, architectures=5, skip=0.6)):
        network = ConvolutionalNetwork(layers, 4).double().eval()
        image = chance.standard_normal((9, 9))
        state = {name: value.detach().numpy() for name, value in network.state_dict().items()}
        plain = oracle.logits(image, [asdict(layer) for layer in layers], state)
        given = network(torch.from_numpy(image)[None, None])[0].detach().numpy()
        assert np.allclose(given, plain, atol=1e-12)
        if any(layer.skip for layer in layers):
            flat = [asdict(layer) | {"skip": False} for layer in layers]
            assert not np.allclose(given, oracle.logits(image, flat, state), atol=1e-6)


def test_architectures_are_different_and_stay_those_they_are() -> None:
    settings = WildSettings(architectures=12, skip=0.5)
    found = architectures(settings)
    assert len(set(found)) == 12
    assert architectures(replace(settings, architectures=5)) == found[:5]
    assert architectures(replace(settings, architecture_seed=1)) != found
    assert {layer.activation for layers in found for layer in layers} == {"relu", "tanh"}
    assert any(layer.skip for layers in found for layer in layers)
    for layers in found:
        for below, layer in zip(layers, layers[1:], strict=False):
            assert not layer.skip or (layer.width == below.width and layer.stride == 1)
    alike = architectures(replace(settings, mix="network"))
    assert all(len({layer.activation for layer in layers}) == 1 for layers in alike)


def test_a_model_reads_all_of_them(wild: list[Zoo]) -> None:
    """One set of coefficients for networks of every architecture."""
    torch.manual_seed(0)
    specs = [zoo.spec for zoo in wild]
    model = models.ScaleGMN(specs, models.Invariant(1))
    for zoo in wild:
        assert model(zoo.features([0, 1])).shape == (2, 1)


def test_a_collection_grows_and_goes_on(images: Images, tmp_path: Path) -> None:
    few = make_mixed_zoos(tmp_path, images, MIXED, count=5)
    seen: list[int] = []
    more = make_mixed_zoos(tmp_path, images, MIXED, count=9, progress=seen.append)
    assert sum(seen) == 9
    assert [len(zoo) for zoo in few] == [6, 4]
    assert disjoint(more, 9)
    for before, after in zip(few, more, strict=True):
        assert after.column("learning_rate")[: len(before)].tolist() == before.column("learning_rate").tolist()


def test_a_collection_that_is_being_made_opens(images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("weightspace.zoo.generate.several.fill", stopped)
    with pytest.raises(KeyboardInterrupt):
        make_mixed_zoos(tmp_path, images, MIXED, count=4)
    assert [len(zoo) for zoo in open_zoos(tmp_path)] == [0, 0]
    monkeypatch.undo()
    assert [len(zoo) for zoo in make_mixed_zoos(tmp_path, images, MIXED, count=4)] == [4, 4]


def test_another_collection_is_not_mixed_in(mixed: list[Zoo], images: Images, tmp_path: Path) -> None:
    folder = mixed[0].path.parent
    with pytest.raises(FormatError, match="settings"):
        make_mixed_zoos(folder, images, replace(MIXED, seed=1), count=21, seed=1)
    with pytest.raises(FormatError):
        # The same networks in a zoo of their own have other numbers.
        make_cnn_zoo(folder / "relu", images, MIXED, count=11)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FormatError, match="not empty"):
        make_mixed_zoos(tmp_path, images, MIXED, count=4)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": "other"}, "no list of zoos"),
        ({"version": 2}, "version 2"),
        ({"zoos": {"../relu": "0"}}, "names of folders"),
        ({"zoos": {"relu": "0"}}, "another zoo"),
        ({"zoos": {"absent": "0"}}, "absent"),
    ],
)
def test_a_damaged_list_is_named(mixed: list[Zoo], tmp_path: Path, change: dict[str, object], told: str) -> None:
    whole = json.loads((mixed[0].path.parent / COLLECTION_FILE).read_text())
    (tmp_path / "relu").symlink_to(mixed[0].path)
    (tmp_path / COLLECTION_FILE).write_text(json.dumps(whole | change))
    with pytest.raises(FormatError, match=told):
        open_zoos(tmp_path)


def test_a_list_that_is_cut_off_is_named(mixed: list[Zoo], tmp_path: Path) -> None:
    content = (mixed[0].path.parent / COLLECTION_FILE).read_bytes()
    (tmp_path / COLLECTION_FILE).write_bytes(content[: len(content) // 2])
    with pytest.raises(FormatError, match="cannot be read"):
        open_zoos(tmp_path)
    with pytest.raises(FormatError, match="expected a folder of zoos"):
        open_zoos(mixed[0].path)


def test_settings_that_make_no_sense_are_refused(images: Images, tmp_path: Path) -> None:
    for change in ({"architectures": 0}, {"depth": (3, 2)}, {"kernels": (4,)}, {"skip": 2.0}, {"activations": ()}):
        with pytest.raises(TrainingError, match="expected"):
            replace(WILD, **change)
    with pytest.raises(UnknownNameError, match='did you mean "layer"'):
        replace(WILD, mix="layers")
    with pytest.raises(TrainingError, match="gave 1 different"):
        architectures(WildSettings(2, (1, 1), (3,), (3,), ("relu",)))
    with pytest.raises(DataError, match="at least 3 networks"):
        make_wild_zoos(tmp_path, images, WILD, REGIME, count=2)
    with pytest.raises(DataError, match="each of them once"):
        make_mixed_zoos(tmp_path, images, MIXED, count=4, activations=("relu", "relu"))


def test_the_command_tells_of_all_zoos(mixed: list[Zoo], capsys: pytest.CaptureFixture[str]) -> None:
    folder = mixed[0].path.parent
    assert main(["zoo", "info", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "relu: 22 networks of 4,970 parameters" in told.replace("\n", " ")
    assert "tanh: 20 networks" in told
    assert main(["zoo", "check", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines() == ["22 networks, all sound.", "20 networks, all sound."]


def test_the_command_makes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--data", "digits", "--steps", "1", "2", "--count", "2", "--batch", "8"]
    mixed = ["zoo", "make", "mixed", "--out", str(tmp_path / "m"), "--evaluated", "20", *small]
    wild = ["--architectures", "2", "--depth", "1", "1", "--widths", "3", "--widths", "4"]
    wild = ["zoo", "make", "wild", "--out", str(tmp_path / "w"), *wild, *small]
    for words in (mixed, wild):
        assert main([*words, "--plan"]) == 0
        told = capsys.readouterr().out
        assert told.startswith("2 networks of ")
        assert "nothing was written" in told
        assert not (tmp_path / words[words.index("--out") + 1]).exists()
        assert main(words) == 0
        assert len(capsys.readouterr().out.splitlines()) == 3
    assert [len(open_zoos(tmp_path / name)) for name in "mw"] == [2, 2]
    assert main(["zoo", "make", "mixed", "--out", str(tmp_path / "x"), "--activation", "tanh", *small]) == 2


def test_an_option_leaves_the_other_defaults_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a plan that is given one option, the others are those of wild zoos."""
    seen: list[Regime] = []

    def kept(images: Images, architecture: WildSettings, regime: Regime, **_: object) -> None:
        seen.append(regime)
        raise TrainingError("enough")

    monkeypatch.setattr("weightspace.cli.zoo.make.wild_estimate", kept)
    assert main(["zoo", "make", "wild", "--data", "digits", "--batch", "8", "--out", str(tmp_path), "--plan"]) == 2
    assert seen == [WildRegime(batch=8)]
    assert seen[0].steps == (200, 800)


def test_a_layer_prints_as_it_is_typed() -> None:
    assert repr(Layer(4, 3, 2, "relu", False)).startswith("Layer(width=4, kernel=3")
