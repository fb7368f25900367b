"""Forecasts: errors against plain loops, training through roll-outs, what a record keeps, and what is refused."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from weightspace.errors import DataError, GroupError, ShapeError, TrainingError
from weightspace.matrices import RollOut
from weightspace.tasks import Forecast
from weightspace.training import Split, Splits, TrainSettings, train


def drawn(frames: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(0)
    return torch.randn(3, 5, 2, 2, generator=chance), torch.randn(3, frames, 2, 2, generator=chance)


def error(output: torch.Tensor, target: torch.Tensor, items: range, frames: int) -> float:
    """Number by number."""
    squares = [
        (float(output[i, t, p, f]) - float(target[i, t, p, f])) ** 2
        for i in items
        for t in range(frames)
        for p in range(2)
        for f in range(2)
    ]
    return math.sqrt(sum(squares) / len(squares))


def test_errors_equal_plain_loops() -> None:
    task, (output, target) = Forecast((2, 4)), drawn()
    assert task.loss(output, target).item() == pytest.approx(error(output, target, range(3), 4) ** 2)
    assert task.score(output, target) == pytest.approx(-error(output, target, range(3), 2))
    assert task.measures(output, target) == pytest.approx(
        {"rmse_2": error(output, target, range(3), 2), "rmse_4": error(output, target, range(3), 4)}
    )
    found = task.errors(output, target).tolist()
    assert found == pytest.approx([error(output, target, range(i, i + 1), 2) for i in range(3)])
    assert list(task.measures(output, target[:, :3])) == ["rmse_2"]


def test_training_asks_for_the_frames_that_are_compared() -> None:
    asked = []

    def model(past: torch.Tensor, count: int) -> torch.Tensor:
        asked.append(count)
        return past[:, None, :, -1:].expand(-1, count, -1, -1)

    past, target = torch.randn(3, 2, 5), drawn(3)[1][..., :1]
    assert torch.equal(Forecast((2,)).step(model, past, target), (past[:, None, :, -1:] - target).square().mean())
    assert asked == [3]


def test_a_roll_out_is_learnt_and_its_record_is_small(tmp_path: Path) -> None:
    """The field that halves from frame to frame, told from its last frame."""
    start = torch.randn(24, 3, 1, generator=torch.Generator().manual_seed(1))
    after = torch.stack([start * 0.5**t for t in range(1, 7)], 1)
    few, many = Split(start, after[:, :2]), Split(start, after)
    model = RollOut(nn.Linear(1, 1), steps=6)
    settings = TrainSettings(steps=150, batch=8, learning_rate=0.1, weight_decay=0.0)
    record = train(model, Forecast((2, 6)), Splits(few, few, many), settings, out=tmp_path)
    assert record.test_score == pytest.approx(0, abs=0.01)
    assert torch.tensor(record.predictions).shape == (24, 6)
    assert torch.tensor(record.targets) == pytest.approx(after.square().mean((2, 3)).sqrt())


def test_what_is_refused() -> None:
    task, (output, target) = Forecast((2, 4)), drawn()
    task.check(target)
    with pytest.raises(ShapeError, match="2 frames or more"):
        task.check(target[:, :1])
    with pytest.raises(DataError, match="finite"):
        task.check(target / 0)
    with pytest.raises(ShapeError, match="answered with shape"):
        task.loss(output[:, :2], target)
    for horizons in ((), (0,), (3, 3)):
        with pytest.raises(TrainingError, match="rise from 1"):
            Forecast(horizons)
    with pytest.raises(GroupError, match="at least one"):
        RollOut(nn.Identity(), 0)
