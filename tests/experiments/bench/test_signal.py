"""Signals that models are compared on: what subjects promise, their data on disk, their networks, and their laws."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from weightspace.errors import DataError, FormatError, TrainingError, UnknownNameError
from weightspace.experiments.bench import network, signal
from weightspace.experiments.bench.signal import Digits, PlumeRuns, RotatedDigits, SmokePlumes
from weightspace.experiments.bench.table import Row, Table
from weightspace.experiments.choice import ModelChoice
from weightspace.experiments.paper.group import ROTATED_DIGITS, SMOKE
from weightspace.training import Splits, TrainSettings, train
from weightspace.zoo import load_images, rotated
from weightspace.zoo.sources import images_of

FEW = RotatedDigits("digits", train=60, val=20, test=30, budget=1_500, reach=1)
CALM = SmokePlumes(coarsening=8, train=12, val=4, test=6, channels=3)
CHEAP = TrainSettings(steps=3, batch=4, evaluate_every=3, device="cpu")


def made_in(folder: Path, data: RotatedDigits | SmokePlumes, progress: Callable[[int], None] = int) -> Any:
    """The subject of data that are made first."""
    data.make(folder, progress)
    return data.subject(folder)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def digits(home: Path) -> Digits:
    return made_in(home, FEW)


@pytest.fixture(scope="module")
def plumes(home: Path) -> PlumeRuns:
    return made_in(home, CALM)


def state(model: nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten() for value in model.state_dict().values()])


@pytest.mark.parametrize("table", [ROTATED_DIGITS, SMOKE], ids=lambda table: table.name)
def test_rows_are_built_trained_and_measured(table: Table, digits: Digits, plumes: PlumeRuns, tmp_path: Path) -> None:
    subject = digits if table is ROTATED_DIGITS else plumes
    assert len({row.name for row in table.rows}) == len(table.rows)
    for number, row in enumerate(table.rows):
        assert row.track == "signals"
        if table is ROTATED_DIGITS and row.model.options["times"] < 1:
            row = replace(row, model=replace(row.model, options={**row.model.options, "times": 1.0}))
        first, again, other = (subject.build(row, seed) for seed in (0, 0, 1))
        assert torch.equal(state(first), state(again))
        assert not torch.equal(state(first), state(other)) or row.name == "persistence, damped"
        if number in (0, len(table.rows) - 1):
            record = train(first, subject.task, subject.data(row), CHEAP, out=tmp_path / str(number))
            assert tuple(record.measures) == table.measures
            found = subject.measure(row, first)
            assert all(np.isfinite(value) for value in found.moved.values())
            assert not first.training
    for scale, settings in table.training.items():
        assert (settings.steps or 0) % (settings.evaluate_every or 1) == 0, scale


def test_exact_networks_keep_the_law_and_others_break_it(digits: Digits, plumes: PlumeRuns) -> None:
    for subject, table, exact, broken in (
        (digits, ROTATED_DIGITS, "p4", "CNN"),
        (plumes, SMOKE, "GM-CNN, rank 0", "CNN, zeros beyond the border"),
    ):
        kept, lost = (subject.measure(table.row(name), subject.build(table.row(name), 0)) for name in (exact, broken))
        assert kept.symmetry_error is not None
        assert lost.symmetry_error is not None
        assert kept.symmetry_error < 1e-12
        assert lost.symmetry_error > 1e-2


def test_a_moved_plume_is_continued_as_well_by_exact_networks_alone(plumes: PlumeRuns) -> None:
    row = SMOKE.row("GM-CNN, rank 0")
    model = plumes.build(row, 0)
    test = plumes.splits.test
    with torch.no_grad():
        still = -plumes.task.score(model(test.features), test.target)
    found = plumes.measure(row, model).moved
    assert found["a third of the plane"] == pytest.approx(still, rel=1e-5)
    assert found["later times"] != pytest.approx(still, rel=1e-3)


def test_turned_digits_are_told_as_before_by_p4(digits: Digits) -> None:
    row = ROTATED_DIGITS.row("p4")
    model = digits.build(row, 0)
    test = digits.splits.test
    with torch.no_grad():
        still = digits.task.score(model(test.features), test.target)
    assert digits.measure(row, model).moved["quarter turns"] == pytest.approx(still)


def test_quarter_turns_move_pixels_as_pictures_turn() -> None:
    action, picture = signal._quarter_turns(3), torch.arange(9.0)
    for turns in range(4):
        back = action.move(torch.tensor((4 - turns) % 4), torch.arange(9))
        assert torch.equal(picture[back], picture.reshape(3, 3).rot90(turns).flatten())


def items(splits: Splits) -> list[set[bytes]]:
    return [{item.numpy().tobytes() for item in split.features} for split in (splits.train, splits.val, splits.test)]


def test_digits_of_splits_are_apart_and_those_of_the_source(digits: Digits, home: Path) -> None:
    train_items, val_items, test_items = items(digits.splits)
    assert (len(train_items), len(val_items), len(test_items)) == (60, 20, 30)
    assert not train_items & val_items
    assert not (train_items | val_items) & test_items
    turned = rotated(load_images("digits")).train.astype(np.float32)
    tensors = load_file(next((home / signal.FOLDER).glob("digits-*.safetensors")))
    assert {image.numpy().tobytes() for image in tensors["train"]} <= {image.tobytes() for image in turned}
    assert digits.splits.train.features.mean().item() == pytest.approx(0, abs=1e-5)


def test_no_frame_of_one_split_of_plumes_stands_in_another(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    seen: dict[str, set[tuple[int, int]]] = {}
    real = signal._windows

    def watched(plumes: signal.Plumes, part: str, outputs: int) -> signal.Windows:
        windows = real(plumes, part, outputs)
        frames = {
            (id(run), frame)
            for run in windows.runs
            for start in windows.starts
            for frame in range(start - windows.past, start + outputs)
        }
        seen[part] = frames
        return windows

    monkeypatch.setattr(signal, "_windows", watched)
    made_in(home, CALM)
    assert set(seen) == {"train", "valid", "domain", "future"}
    for one, other in (("train", "valid"), ("train", "future"), ("valid", "future"), ("train", "domain")):
        assert not seen[one] & seen[other]


def test_windows_hold_the_frames_that_were_simulated(plumes: PlumeRuns, home: Path) -> None:
    runs = signal.open_plumes(home / signal.FOLDER / "plumes-rotation-1-8")
    frames = torch.tensor(runs.frames(runs.protocol.held_out[0]))
    past, after = plumes.splits.test.features[0], plumes.splits.test.target[0]
    for time in range(10):
        assert torch.equal(past[:, 2 * time : 2 * time + 2].T.reshape(2, 8, 8), frames[12 + time])
    for time in range(20):
        assert torch.equal(after[time].T.reshape(2, 8, 8), frames[22 + time])


def test_digits_are_made_once_and_damage_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    made = made_in(tmp_path, FEW, told.append)
    monkeypatch.setattr(signal, "load_or_digits", lambda *_, **__: pytest.fail("made again"))
    again = FEW.subject(tmp_path)
    assert told == [110]
    assert made.about == again.about
    assert torch.equal(made.splits.train.features, again.splits.train.features)
    (file,) = (tmp_path / signal.FOLDER).glob("digits-*.safetensors")
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    for damaged in (bytes(content), bytes(content[:-9])):
        file.write_bytes(damaged)
        with pytest.raises(FormatError, match="delete it"):
            FEW.subject(tmp_path)


def test_what_is_there_is_shared_out_where_a_source_is_out_of_reach(tmp_path: Path) -> None:
    found = made_in(tmp_path, RotatedDigits(offline=True))
    assert found.splits.sizes == {"train": 1105, "val": 138, "test": 552}
    assert "in place of mnist" in found.about["note"]
    assert found.pictures.side == 8


def test_a_test_part_of_its_own_is_taken_from_its_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(0)
    pixels, classes = chance.integers(0, 256, (50, 6, 6), np.uint8), chance.integers(0, 3, 50)
    images = images_of("mnist", (pixels[:40], classes[:40], pixels[40:], classes[40:]), "made up")
    monkeypatch.setattr(signal, "load_or_digits", lambda *_, **__: images)
    found = made_in(tmp_path, RotatedDigits(side=3, train=25, val=15, test=7))
    assert sorted(torch.cat([found.splits.train.target, found.splits.val.target]).tolist()) == sorted(classes[:40])
    assert found.splits.test.target.tolist() == classes[40:47].tolist()
    means = rotated(images).test[:7].astype(np.float32).reshape(7, 3, 2, 3, 2).mean((2, 4))
    test, train_split = found.splits.test.features, found.splits.train.features
    assert np.corrcoef(test.flatten().numpy(), means.ravel())[0, 1] == pytest.approx(1)
    assert train_split.std().item() == pytest.approx(1, rel=1e-5)
    with pytest.raises(DataError, match="40 training and 10 test images"):
        made_in(tmp_path, RotatedDigits(side=3, train=25, val=15, test=11))


def test_rows_may_learn_from_a_share(digits: Digits, plumes: PlumeRuns) -> None:
    for subject, table in ((digits, ROTATED_DIGITS), (plumes, SMOKE)):
        whole, part = (subject.data(replace(table.rows[0], share=share)) for share in (1.0, 0.5))
        assert len(part.train) == len(whole.train) // 2
        assert items(part)[0] < items(whole)[0]
        assert part.test is whole.test
        with pytest.raises(TrainingError, match="at least one"):
            subject.data(replace(table.rows[0], share=1e-6))
        with pytest.raises(TrainingError, match="for networks"):
            subject.data(replace(table.rows[0], prepare=("canonical",)))


def test_what_is_refused(digits: Digits, tmp_path: Path) -> None:
    def row(**options: object) -> Row:
        return Row("x", ModelChoice(f"{network.__name__}:classifier", options=options), "signals")

    with pytest.raises(UnknownNameError, match="plain CNN"):
        digits.build(row(kind="plain CMN"), 0)
    with pytest.raises(TrainingError, match="LDR-TD has 1,226 parameters at least: a budget of 150"):
        digits.build(row(kind="LDR-TD", times=0.1), 0)
    with pytest.raises(TrainingError, match="called with Pictures and its options"):
        digits.build(row(sort="plain CNN"), 0)
    with pytest.raises(TrainingError, match="reads networks"):
        digits.build(Row("x", ModelChoice("NP"), "signals"), 0)
    with pytest.raises(UnknownNameError, match="rotation"):
        SmokePlumes("levels")


def test_measuring_leaves_a_model_as_it_was(plumes: PlumeRuns) -> None:
    row = SMOKE.row("GM-CNN, rank 1")
    model = plumes.build(row, 0)
    before = copy.deepcopy(model.state_dict())
    plumes.measure(row, model)
    assert model.training
    for name, value in model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, before[name])
