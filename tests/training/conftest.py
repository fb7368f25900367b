"""A small problem that every test of training shares."""

from pathlib import Path

import pytest
import torch
from torch import nn

from weightspace.tasks import Classify
from weightspace.training import RunRecord, Split, Splits, TrainSettings, train

TASK = Classify(3)


def split(count: int, seed: int) -> Split:
    chance = torch.Generator().manual_seed(seed)
    features = torch.randn(count, 8, generator=chance)
    return Split(features, features[:, :3].argmax(1))


@pytest.fixture
def data() -> Splits:
    return Splits(split(50, 0), split(20, 1), split(20, 2))


class Lab:
    """Runs one small training, with dropout, in a folder; breaks it off where asked."""

    def __init__(self, data: Splits) -> None:
        self.data = data
        self.settings = TrainSettings(steps=24, batch=12, evaluate_every=4, learning_rate=0.02, device="cpu")

    def model(self, seed: int = 0) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))

    def run(self, out: Path, model: nn.Module | None = None) -> tuple[RunRecord, dict[str, torch.Tensor]]:
        model = model or self.model()
        record = train(model, TASK, self.data, self.settings, out=out)
        return record, {name: value.clone() for name, value in model.state_dict().items()}

    @staticmethod
    def same(one: tuple, other: tuple) -> bool:
        """Equal to the bit: curves but for the clock, predictions, and weights."""
        (record, weights), (record_2, weights_2) = one, other
        curves, curves_2 = ({k: v for k, v in r.curves.items() if k != "seconds"} for r in (record, record_2))
        return (
            curves == curves_2
            and record.predictions == record_2.predictions
            and (record.test_loss, record.best_step) == (record_2.test_loss, record_2.best_step)
            and all(value.equal(weights_2[name]) for name, value in weights.items())
        )

    def broken_off(self, out: Path, calls: int) -> None:
        """A run that is interrupted as the model is called for the `calls`-th time."""
        model, left = self.model(), iter(range(calls - 1))

        def interrupt(*_: object) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt

        model.register_forward_pre_hook(interrupt)
        with pytest.raises(KeyboardInterrupt):
            self.run(out, model)


@pytest.fixture
def lab(data: Splits) -> Lab:
    return Lab(data)
