"""`weightspace train` on a real zoo."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Program

from weightspace.training import read_record
from weightspace.zoo import open_zoo


def test_a_run_is_trained_recorded_and_not_repeated(run: Program, zoo: Path, tmp_path: Path) -> None:
    words = ("train", zoo, "--out", tmp_path / "run", "--model", "StatNN", "--steps", 4, "--batch", 16)
    first = run(*words)
    assert first.code == 0
    record = read_record(tmp_path / "run")
    assert record.zoo_checksum == open_zoo(zoo).checksum
    assert len(record.predictions) == len(open_zoo(zoo).split("test"))
    again = run(*words)
    assert again.code == 0
    assert again.out == first.out
    other = run(*words, "--seed", 1)
    assert other.code == 2
    assert "settings.seed is 0 there and 1 here" in other.err


@pytest.mark.parametrize("target", ["split", "psnr", "lable"])
def test_a_target_that_is_no_class_is_a_message(run: Program, zoo: Path, tmp_path: Path, target: str) -> None:
    told = run("train", zoo, "--out", tmp_path / "run", "--steps", 1, "--target", target)
    assert told.code == 2
    assert repr(target) in told.err


def test_a_shard_damaged_in_between_is_a_message(run: Program, zoo: Path, tmp_path: Path) -> None:
    shard = sorted((zoo / "shards").glob("*.safetensors"))[1]
    content = bytearray(shard.read_bytes())
    content[-1] ^= 255
    shard.write_bytes(content)
    told = run("train", zoo, "--out", tmp_path / "run", "--steps", 1)
    assert told.code == 2
    assert shard.name in told.err


def test_an_unknown_model_is_answered_with_the_nearest(run: Program, zoo: Path, tmp_path: Path) -> None:
    told = run("train", zoo, "--out", tmp_path / "run", "--steps", 1, "--model", "MonomailNFN")
    assert told.code == 2
    assert 'did you mean "MonomialNFN"?' in told.err


def test_accuracies_are_scored_by_their_order(run: Program, tmp_path: Path) -> None:
    zoo = tmp_path / "cnns"
    made = run("zoo", "make", "cnn", "--out", zoo, "--data", "digits", "--count", 16, "--steps", 2, 4)
    assert made.code == 0, made.err
    words = ("train", zoo, "--out", tmp_path / "run", "--model", "StatNN", "--steps", 3, "--batch", 8)
    told = run(*words, "--target", "test_accuracy")
    assert told.code == 0, told.err
    record = read_record(tmp_path / "run")
    assert -1 <= record.test_score <= 1
    assert f"rank correlation {record.test_score:.3f}" in told.out
    assert "Kendall's tau" in told.out
    # Strides are in no spec: a model that runs the networks is told of them.
    asked = ("train", zoo, "--out", tmp_path / "asked", "--model", "FunctionProbe", "--option", "probes=3")
    assert run(*asked, "--steps", 2, "--batch", 8, "--target", "test_accuracy").code == 0
    assert run("evaluate", tmp_path / "asked").code == 0
