"""`weightspace zoo import`: what it says when it works, and when it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.cli.conftest import Program
from torch import nn

from weightspace.zoo import open_zoo


@pytest.fixture
def found(tmp_path: Path) -> Path:
    """Six networks of somebody else's, with a table."""
    root = tmp_path / "found"
    root.mkdir()
    for number in range(6):
        network = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
        torch.save(network.state_dict(), root / f"{number}.pt")
    rows = [f"{number}.pt,{number % 2},0.{number},{'test' if number > 3 else 'train'}" for number in range(6)]
    (root / "labels.csv").write_text("\n".join(["file,label,test_accuracy,split", *rows]) + "\n")
    return root


def test_a_zoo_is_imported_checked_and_described(run: Program, found: Path, tmp_path: Path) -> None:
    words = ("zoo", "import", "state-dicts", found, tmp_path / "zoo", "--activation", "tanh", "--count", 6)
    told = run(*words)
    assert told.code == 0, told.err
    assert "6 networks of 13 parameters, test accuracy" in told.out
    assert run("zoo", "check", tmp_path / "zoo").out == "6 networks, all sound.\n"
    described = run("zoo", "info", tmp_path / "zoo").out
    for fact in ("by the recipe state-dicts", "3 x SIGN", "0: 3, 1: 3", "template: chain", "name: found"):
        assert fact in described
    before = open_zoo(tmp_path / "zoo").checksum
    assert run(*words).code == 0
    assert open_zoo(tmp_path / "zoo").checksum == before


def test_what_is_left_out_is_said(run: Program, found: Path, tmp_path: Path) -> None:
    (found / "labels.csv").write_text("file\n3.pt\n1.pt\n")
    told = run("zoo", "import", "state-dicts", found, tmp_path / "zoo", "--activation", "relu")
    assert told.code == 0, told.err
    assert "2 networks of 13 parameters.\n" in told.out
    assert "note on the source: 4 files that labels.csv does not name were left out\n" in told.out


def test_columns_of_other_types_are_no_bug(run: Program, found: Path, tmp_path: Path) -> None:
    rows = "0.pt,yes,high\n1.pt,no,low\n"
    (found / "labels.csv").write_text(f"file,final,test_accuracy\n{rows}")
    told = run("zoo", "import", "state-dicts", found, tmp_path / "zoo", "--activation", "relu")
    assert told.code == 0, told.err
    assert "2 networks of 13 parameters.\n" in told.out
    assert run("zoo", "info", tmp_path / "zoo").code == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("state-dict",), "unknown format 'state-dict': did you mean \"state-dicts\"? Valid names: dws-siren"),
        (("state-dicts",), "does not say what the networks compute. Remedy: give the factory"),
        (("state-dicts", "--activation", "rely"), "unknown activation 'rely': did you mean \"relu\""),
        (("state-dicts", "--activation", "relu", "--final"), "the format state-dicts takes no final"),
        (("state-dicts", "--activation", "relu", "--count", "7"), "holds 6 networks of this format; expected 7"),
        (("state-dicts", "--module", "nowhere.models:make"), "there is no module 'nowhere.models'"),
        (("nfn-siren",), "holds no networks; expected files such as"),
    ],
)
def test_mistakes_are_told(run: Program, found: Path, tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    format, *rest = words
    said = run("zoo", "import", format, found, tmp_path / "zoo", *rest)
    assert said.code == 2
    assert told in said.err
    assert "Traceback" not in said.err
    assert not (tmp_path / "zoo").exists()


def test_a_damaged_shard_is_imported_again(run: Program, found: Path, tmp_path: Path) -> None:
    words = ("zoo", "import", "state-dicts", found, tmp_path / "zoo", "--activation", "tanh")
    assert run(*words).code == 0
    before = open_zoo(tmp_path / "zoo").checksum
    shard = tmp_path / "zoo" / "shards" / "00000.safetensors"
    shard.write_bytes(shard.read_bytes()[:-1] + b"!")
    checked = run("zoo", "check", tmp_path / "zoo")
    assert checked.code == 1
    assert "`zoo import`" in checked.err
    assert run(*words).code == 0
    assert open_zoo(tmp_path / "zoo").checksum == before
