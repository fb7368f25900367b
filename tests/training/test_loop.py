"""What a run does and leaves behind, and what it refuses."""

import json
import math
import platform
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import weightspace
from weightspace.errors import DataError, ShapeError, TrainingError, UnknownNameError
from weightspace.spec import spec_of
from weightspace.tasks import Classify
from weightspace.training import Split, Splits, TrainSettings, read_record, train
from weightspace.training.checkpoint import Checkpoints
from weightspace.weights import WeightFeatures, flatten, unflatten


class Counting:
    """Features that note which rows were read, and when."""

    def __init__(self, values: Tensor, log: list) -> None:
        self.values, self.log = values, log
        self.reads = torch.zeros(len(values), dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: slice | Tensor) -> Tensor:
        self.reads[rows] += 1
        self.log.append(self)
        return self.values[rows]


def test_the_test_split_is_read_once_and_last(lab, tmp_path: Path) -> None:
    log: list = []
    parts = [Split(Counting(part.features, log), part.target) for part in (lab.data.train, lab.data.val, lab.data.test)]
    lab.data = Splits(*parts)
    lab.run(tmp_path)
    test = parts[2].features
    assert test.reads.tolist() == [1] * 20
    assert all(entry is not test for entry in log[: log.index(test)])
    assert all(entry is test for entry in log[log.index(test) :])
    lab.run(tmp_path)
    assert test.reads.tolist() == [1] * 20


def test_the_best_checkpoint_is_the_one_tested(lab, tmp_path: Path) -> None:
    record, weights = lab.run(tmp_path)
    scores = record.curves["validation_score"]
    assert record.validation_score == max(scores)
    assert record.best_step == record.curves["step"][scores.index(max(scores))]
    best = Checkpoints(tmp_path / "checkpoints").read(record.best_step)
    assert all(best.tensors[f"model/{name}"].equal(value) for name, value in weights.items())
    model = lab.model(seed=1)
    model.load_state_dict(weights)
    predicted = model.eval()(lab.data.test.features).argmax(1)
    assert predicted.tolist() == record.predictions
    assert record.test_score == (predicted == lab.data.test.target).sum().item() / 20
    assert record.targets == lab.data.test.target.tolist()


def test_the_record_says_what_was_done(lab, tmp_path: Path) -> None:
    model = lab.model()
    about = {"model": {"channels": 16}}
    data = replace(lab.data, checksum="abc")
    record = train(model, Classify(3), data, lab.settings, out=tmp_path, about=about)
    assert json.loads((tmp_path / "settings.json").read_text()) == record.settings == read_record(tmp_path).settings
    assert record.settings["settings"]["learning_rate"] == 0.02
    assert record.settings["about"] == about
    assert record.zoo_checksum == "abc"
    assert record.versions == {
        "weightspace": weightspace.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    assert (record.status, record.device, record.threads, record.seed) == ("finished", "cpu", 1, 0)
    assert record.parameters == sum(p.numel() for p in model.parameters())
    assert record.peak_memory > 2**20
    assert record.curves["step"] == [4, 8, 12, 16, 20, 24]
    assert {len(curve) for curve in record.curves.values()} == {6}
    assert record.curves["seconds"] == sorted(record.curves["seconds"])
    assert record.seconds == record.curves["seconds"][-1] > 0
    assert not model.training


def test_a_small_set_is_learnt_by_heart(tmp_path: Path) -> None:
    chance = torch.Generator().manual_seed(0)
    split = Split(torch.randn(16, 6, generator=chance), torch.randint(0, 4, (16,), generator=chance))
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 64), nn.ReLU(), nn.Linear(64, 4))
    settings = TrainSettings(steps=300, batch=16, learning_rate=0.02, weight_decay=0.0, device="cpu")
    record = train(model, Classify(4), Splits(split, split, split), settings, out=tmp_path)
    assert record.test_score == 1.0
    assert record.curves["train_loss"][-1] < 0.01


def test_progress_is_told(lab, tmp_path: Path) -> None:
    told = []
    train(lab.model(), Classify(3), lab.data, lab.settings, out=tmp_path, progress=told.append)
    assert [pace.step for pace in told] == list(range(1, 25))
    assert {pace.steps for pace in told} == {24}
    assert told[0].score is None
    assert told[-1].score is not None
    assert all(math.isfinite(pace.loss) and pace.rate > 0 and 0 <= pace.waiting < 1 for pace in told)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_the_run(lab, tmp_path: Path, value: float) -> None:
    clean = lab.data.train
    features = clean.features.clone()
    features[3] = value
    model = lab.model()
    lab.data = replace(lab.data, train=Split(features, clean.target))
    with pytest.raises(
        TrainingError,
        match=r"training loss is nan at step \d of 24: .*features.*not finite.* Lower learning_rate \(0.02\)",
    ) as first:
        lab.run(tmp_path, model)
    record = read_record(tmp_path)
    assert record.status == "diverged"
    assert record.message == str(first.value)
    assert record.test_score is None
    kept, _ = Checkpoints(tmp_path / "checkpoints").latest()
    assert kept is not None
    assert all(tensor.isfinite().all() for tensor in kept.tensors.values())
    with pytest.raises(TrainingError, match="Lower learning_rate"):
        lab.run(tmp_path)


def test_broken_weights_never_become_a_checkpoint(lab, tmp_path: Path) -> None:
    """A huge step breaks the weights while the loss before it was finite."""
    lab.settings = replace(lab.settings, learning_rate=1e38, clip=None, warmup=0.0, evaluate_every=1)
    with pytest.raises(TrainingError, match=r"loss is (nan|inf) at step \d+ of 24.* or set clip"):
        lab.run(tmp_path)
    for path in Checkpoints(tmp_path / "checkpoints").paths():
        kept = Checkpoints(tmp_path / "checkpoints").read(int(path.stem))
        assert all(tensor.isfinite().all() for tensor in kept.tensors.values())


def test_another_run_in_the_folder_is_refused(lab, tmp_path: Path) -> None:
    lab.run(tmp_path)
    lab.settings = replace(lab.settings, learning_rate=0.01)
    with pytest.raises(
        TrainingError, match=r"settings.learning_rate is 0.02 there and 0.01 here.*Choose another folder"
    ):
        lab.run(tmp_path)
    lab.settings = replace(lab.settings, learning_rate=0.02)
    with pytest.raises(TrainingError, match="model.shapes is"):
        lab.run(tmp_path, nn.Linear(8, 3))
    with pytest.raises(TrainingError, match="zoo is '' there and 'f00d' here"):
        train(lab.model(), Classify(3), replace(lab.data, checksum="f00d"), lab.settings, out=tmp_path)


def test_a_run_that_never_began_leaves_the_folder_free(lab, tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"expected \(12, 3\)"):
        lab.run(tmp_path, nn.Linear(8, 4))
    record, _ = lab.run(tmp_path)
    assert record.status == "finished"


def test_impossible_data_is_refused_before_any_work(lab, tmp_path: Path) -> None:
    features, target = lab.data.val.features, lab.data.val.target
    with pytest.raises(DataError, match="the val split is empty"):
        replace(lab.data, val=Split(features[:0], target[:0]))
    with pytest.raises(DataError, match=r"20 items with targets of shape \(7,\)"):
        Split(features, target[:7])
    with pytest.raises(TrainingError, match="batch is 64, but the training split has 50 items: set batch to 50"):
        train(lab.model(), Classify(3), lab.data, TrainSettings(steps=1), out=tmp_path / "run")
    with pytest.raises(DataError, match="'label' is 2 in row"):
        train(lab.model(), Classify(2), lab.data, lab.settings, out=tmp_path / "run")
    with pytest.raises(TrainingError, match="nothing to train"):
        train(lab.model().requires_grad_(False), Classify(3), lab.data, lab.settings, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps is 0: expected at least 1"),
        ({"batch": 0}, "batch is 0"),
        ({"steps": None}, "steps is None and seconds is None: give exactly one"),
        ({"seconds": 1.0}, "give exactly one"),
        ({"steps": None, "seconds": math.inf}, "seconds is inf"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0: expected a finite number above 0"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"warmup": 1.5}, "warmup is 1.5: expected a share from 0 to 1"),
        ({"clip": 0.0}, "clip is 0.0"),
        ({"seed": 2**63}, "seed is 9223372036854775808: expected a number of 64 bits"),
        ({"evaluate_every": 0}, "evaluate_every is 0"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        TrainSettings(**{"steps": 10, **wrong})


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="unknown schedule 'cosin': did you mean \"cosine\""):
        TrainSettings(steps=1, schedule="cosin")
    with pytest.raises(UnknownNameError, match='did you mean "cuda"'):
        TrainSettings(steps=1, device="cuda1")


def test_networks_are_items_too(tmp_path: Path) -> None:
    """Features of networks go through the loop as they are, by steps and by seconds."""
    spec = spec_of(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)))
    flat = torch.randn(40, spec.numel, generator=torch.Generator().manual_seed(0))
    split = Split(unflatten(spec, flat), (flat[:, 0] > 0).long())

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map = nn.Linear(spec.numel, 2)

        def forward(self, features: WeightFeatures) -> Tensor:
            return self.map(flatten(features))

    torch.manual_seed(0)
    settings = TrainSettings(seconds=0.05, batch=10, learning_rate=0.1, device="cpu")
    record = train(Flat(), Classify(2), Splits(split, split, split), settings, out=tmp_path)
    assert record.steps == record.curves["step"][-1] >= 1
    assert len(record.predictions) == 40
