"""The commands of the guide run as they stand, on sources of the names that they have there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from tests.zoo.readers.test_hub import adapter, model
from tests.zoo.readers.test_siren import DWS, NFN, PATHS, saved, state
from tests.zoo.readers.test_small_cnn import Published
from torch import nn

from weightspace.cli.main import main
from weightspace.zoo import open_zoo
from weightspace.zoo.readers import FORMATS

GUIDE = (Path(__file__).parents[3] / "docs" / "guide" / "zoo.md").read_text()
COMMANDS = [shlex.split(line) for line in re.findall(r"^\$ weightspace (zoo import .*)$", GUIDE, flags=re.MULTILINE)]
MODELS = (
    "from torch import nn\n\n\ndef make():\n    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))\n"
)


def small_cnn_zoo(root: Path) -> None:
    published = Published(root / "cifar10")
    published.write_split()[0].rename(root / "cifar10_split.csv")


def nfn_siren(root: Path) -> None:
    saved(root / "siren_mnist_wts", "randinit_smaller_3s/net17.pth", state(0, NFN))


def dws_siren(root: Path) -> None:
    for path in PATHS:
        saved(root / "mnist-inrs", path, state(0, DWS))


def state_dicts(root: Path) -> None:
    saved(root / "runs", "a.pt", nn.Linear(3, 2).state_dict())
    (root / "runs" / "labels.csv").write_text("file,label\na.pt,1\n")


def safetensors(root: Path) -> None:
    model(root / "models" / "m", 0)
    (root / "models.csv").write_text("file,label\nm,1\n")
    (root / "models.py").write_text(MODELS)


def peft(root: Path) -> None:
    adapter(root / "adapters" / "a", 0)


SOURCES = (small_cnn_zoo, nfn_siren, dws_siren, state_dicts, safetensors, peft)


def test_every_format_is_documented() -> None:
    assert [words[2] for words in COMMANDS] == list(FORMATS)
    rows = re.findall(r"^\| `([a-z-]+)` \| .* \| .* \|$", GUIDE.partition("## Zoos that the field has")[2], flags=re.M)
    assert rows[: len(FORMATS)] == list(FORMATS)


@pytest.mark.parametrize(("words", "make"), list(zip(COMMANDS, SOURCES, strict=True)), ids=list(FORMATS))
def test_the_commands_of_the_guide(words, make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert make.__name__.replace("_", "-") == words[2]
    make(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(words) == 0
    assert len(open_zoo(tmp_path / words[4]).features()) > 0
