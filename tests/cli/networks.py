"""A folder of networks for the verbs that read them: factories, files, and hidden copies."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from weightspace.spec import spec_of
from weightspace.weights import act, features_of, sample_element

FACTORY = """
import torch
from torch import nn

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.ahead, self.behind = nn.Linear(4, 8), nn.Linear(8, 4)
        self.other = nn.Linear(4, 8)
        self.other.weight = self.ahead.weight

    def forward(self, x):
        return self.behind(torch.tanh(self.ahead(x)) + torch.tanh(self.other(x)))

def relu():
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))

def small():
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))

def gelu():
    return nn.Sequential(nn.Linear(2, 8), nn.GELU(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 1))

def wide():
    return nn.Sequential(nn.Linear(2, 9), nn.ReLU(), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 1))

def cnn():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))

def tied():
    return Tied(), torch.randn(5, 4)

def branches():
    return Branches(), torch.randn(5, 4)

def tokens():
    return nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))

def overflows():
    return nn.Sequential(nn.Linear(2, 8), Exp(), nn.Linear(8, 8), Exp(), nn.Linear(8, 8), Exp(), nn.Linear(8, 1))

def keywords():
    return relu(), {"input": torch.randn(5, 2)}

def broken():
    raise ValueError("no data on this machine")

class Exp(nn.Module):
    def forward(self, x):
        return torch.exp(torch.exp(1e5 * x.abs()))

class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        x = self.layer(x)
        return x if x.sum() > 0 else -x
"""


def relu(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 1))


def hidden(module: nn.Module, seed: int = 0, inputs: object = None) -> nn.Module:
    """A network moved by a random element of its group."""
    x = features_of(spec_of(module, inputs), module)
    g = sample_element(x.spec, 1, generator=torch.Generator().manual_seed(seed), log_scale=2)
    return act(g, x).to_modules(module)[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: one network, a copy of it that is hidden, another one, and a module of factories."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.delitem(sys.modules, "factories", raising=False)
    (tmp_path / "factories.py").write_text(FACTORY)
    network = relu(0)
    torch.save(network.state_dict(), "a.pt")
    save_file(hidden(network).state_dict(), "hidden.safetensors")
    torch.save({"state_dict": relu(1).state_dict()}, "b.pt")
    return tmp_path
