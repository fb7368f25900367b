"""What is said when a run breaks: where, and what would help."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from weightspace.errors import TrainingError
from weightspace.tasks import Classify
from weightspace.training import Split, read_record, train
from weightspace.training.failure import broken, fits, out_of_memory


class Root(nn.Module):
    """Its gradient is not finite at zero."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square().sqrt()


class Inverse(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 1 / x


@pytest.mark.parametrize(
    ("layers", "x", "said"),
    [
        ([nn.Linear(2, 2)], [[1.0, torch.nan]], "features of 1 items of the batch are not finite"),
        ([nn.ReLU(), Inverse(), nn.Linear(2, 2)], [[0.0, 1.0]], r"output of layer 1 \(Inverse\) is not finite"),
        ([nn.Linear(2, 2, bias=False), Root()], [[0.0, 0.0]], "gradient of parameter 0.weight"),
        ([nn.Linear(2, 2)], [[1.0, 1.0]], "the update itself"),
    ],
)
def test_the_first_layer_that_breaks_is_named(layers: list, x: list, said: str) -> None:
    model, features = nn.Sequential(*layers), torch.tensor(x)

    def compute() -> Tensor:
        loss = model(features).sum()
        if loss.requires_grad:
            loss.backward()
        return loss.detach()

    assert re.search(said, broken(model, features, compute))


def test_a_broken_run_names_batch_and_layer(lab, tmp_path: Path) -> None:
    """One item is at a pole of the model."""
    features = lab.data.train.features.clone()
    features[17] = 0.0
    lab.data = replace(lab.data, train=Split(features, lab.data.train.target))
    model = nn.Sequential(Inverse(), nn.Linear(8, 3))
    with pytest.raises(TrainingError, match=r"at step (\d+) of 24: in the batch of step \1, .*layer 0 \(Inverse\)"):
        train(model, Classify(3), lab.data, lab.settings, out=tmp_path)
    assert "layer 0 (Inverse)" in read_record(tmp_path).message


def test_an_update_that_breaks_the_weights_is_said(lab, tmp_path: Path) -> None:
    lab.settings = replace(lab.settings, learning_rate=1e38, clip=None, warmup=0.0, evaluate_every=4)
    with pytest.raises(TrainingError, match=r"in the batch of step \d+, "):
        lab.run(tmp_path)


class Hungry(nn.Module):
    """Has memory for so many items."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.map, self.room = nn.Linear(8, 3), room

    def forward(self, x: Tensor) -> Tensor:
        if self.training and len(x) > self.room:
            raise torch.OutOfMemoryError(f"tried to allocate {len(x)} GiB")
        return self.map(x)


def test_short_memory_says_what_would_fit(lab, tmp_path: Path) -> None:
    with pytest.raises(
        TrainingError,
        match=r"no memory for a step with 12 networks at a time \(tried to allocate 12 GiB\). 3 were tried",
    ) as error:
        lab.run(tmp_path, Hungry(4))
    assert "set accumulate to 4, or batch to 3" in str(error.value)
    lab.settings = replace(lab.settings, accumulate=4)
    assert lab.run(tmp_path, Hungry(4))[0].status == "finished"
    with pytest.raises(TrainingError, match="Set accumulate higher, use a smaller model"):
        lab.run(tmp_path / "none", Hungry(0))


def test_what_is_not_memory_is_left_alone() -> None:
    def typo(items: int) -> None:
        raise ValueError("shapes")

    with pytest.raises(ValueError, match="shapes"):
        fits(typo, 8)
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator") as error:
        torch.empty(2**60)
    assert out_of_memory(error.value)
    assert not out_of_memory(RuntimeError("shapes"))


class Normed(Hungry):
    """Cannot be trained on one item."""

    def __init__(self, room: int) -> None:
        super().__init__(room)
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.norm(x))


def test_a_batch_normalisation_needs_two(lab, tmp_path: Path) -> None:
    lab.settings = replace(lab.settings, batch=5)
    with pytest.raises(TrainingError, match=r"2 were tried and fit: set batch to 2\."):
        lab.run(tmp_path, Normed(2))
    lab.settings = replace(lab.settings, batch=5, accumulate=3)
    with pytest.raises(TrainingError, match="in 3 parts each: expected at least 2 items for each, 6 in all"):
        lab.run(tmp_path, Normed(9))
    lab.settings = replace(lab.settings, batch=12, accumulate=1)
    with pytest.raises(TrainingError, match="use a smaller model"):
        lab.run(tmp_path, Normed(1))


def test_answers_that_are_no_numbers_are_written_as_none(tmp_path: Path) -> None:
    from weightspace.training.record import listed

    assert listed(torch.tensor([1.5, torch.nan])) == [1.5, None]
    assert listed(torch.tensor([[1.0, torch.inf], [2.0, 3.0]])) == [[1.0, None], [2.0, 3.0]]
    assert listed(torch.tensor([3, 1])) == [3, 1]


def test_the_cause_in_a_later_part_is_found(lab, tmp_path: Path) -> None:
    """Each part draws noise of its own; the replay must draw the same."""
    features = lab.data.train.features.clone()
    features[17] = 0.0
    lab.data = replace(lab.data, train=Split(features, lab.data.train.target))
    lab.settings = replace(lab.settings, accumulate=4)
    with pytest.raises(TrainingError, match=r"layer 0 \(Inverse\)"):
        train(nn.Sequential(Inverse(), nn.Linear(8, 3)), Classify(3), lab.data, lab.settings, out=tmp_path)
