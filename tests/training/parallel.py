"""A small run in float64 for several processes, started by the test beside this file: a folder, and what goes wrong."""

import os
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from weightspace.layers.batch_norm import BatchNorm
from weightspace.tasks import Classify
from weightspace.training import Split, Splits, TrainSettings, train


class Mortal(nn.Module):
    """Dies in one process as it is called for the n-th time."""

    def __init__(self, dies: int) -> None:
        super().__init__()
        self.map, self.left = nn.Sequential(nn.Linear(8, 16), BatchNorm(16), nn.ReLU(), nn.Linear(16, 3)), dies

    def forward(self, x: Tensor) -> Tensor:
        self.left -= os.environ.get("RANK") == "1"
        if self.left == 0:
            os._exit(9)
        return self.map(x)


def split(count: int, seed: int) -> Split:
    features = torch.randn(count, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return Split(features, features[:, :3].argmax(1))


def carry_out(folder: Path, option: str, value: float) -> None:
    # Neither the batch nor the splits are multiples of two.
    data = Splits(split(50, 0), split(21, 1), split(19, 2))
    if option == "poison" and os.environ.get("RANK") == "1":
        data.train.features[:] = torch.inf
    # Each process begins elsewhere; what counts is where the first does.
    torch.manual_seed(int(os.environ.get("RANK", "0")))
    model = Mortal(int(value) if option == "dies" else -1).double()
    model.map[1].alone = option == "shares"
    budget = {"seconds": value} if option == "seconds" else {"steps": 24}
    settings = TrainSettings(**budget, batch=13, evaluate_every=4, learning_rate=0.02, device="cpu")
    train(model, Classify(3), data, settings, out=folder)


if __name__ == "__main__":
    torch.set_num_threads(1)
    carry_out(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
