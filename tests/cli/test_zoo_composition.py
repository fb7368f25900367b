"""The verbs that make zoos of zoos."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Program

from weightspace.zoo import open_zoo


def test_take_by_split_and_conditions(run: Program, zoo: Path, tmp_path: Path) -> None:
    source = open_zoo(zoo)
    made = run("zoo", "take", zoo, "--out", tmp_path / "t", "--split", "train", "--where", "label < 5", "psnr > 1")
    chosen = (source.column("split") == "train") & (source.column("label") < 5) & (source.column("psnr") > 1)
    assert made.code == 0
    assert made.out == f"{tmp_path / 't'}: {chosen.sum()} of 300 networks, stored as float32.\n"
    assert open_zoo(tmp_path / "t").column("number").tolist() == source.column("number")[chosen].tolist()
    half = run("zoo", "take", zoo, "--out", tmp_path / "h", "--dtype", "bf16")
    assert half.out == f"{tmp_path / 'h'}: 300 of 300 networks, stored as bfloat16.\n"
    for words, told in (
        (("--where", "label >"), "is no condition"),
        (("--split", "dev"), "unknown split 'dev'"),
        (("--dtype", "fp8"), "unknown type of weights 'fp8'"),
    ):
        refused = run("zoo", "take", zoo, "--out", tmp_path / "x", *words)
        assert refused.code == 2
        assert told in refused.err
        assert not (tmp_path / "x").exists()


def test_merge_and_append(run: Program, zoo: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        assert run("zoo", "take", zoo, "--out", tmp_path / split, "--split", split).code == 0
    sizes = {split: len(open_zoo(tmp_path / split)) for split in ("train", "test")}
    total = sum(sizes.values())
    made = run("zoo", "merge", tmp_path / "train", tmp_path / "test", "--out", tmp_path / "m", "--dtype", "fp16")
    assert made.out == f"{tmp_path / 'm'}: {total} networks of 33 parameters from 2 zoos.\n"
    assert open_zoo(tmp_path / "m").manifest.dtype == "float16"
    assert run("zoo", "check", tmp_path / "m").code == 0
    assert "taken" not in run("zoo", "info", tmp_path / "m").err
    refused = run("zoo", "append", tmp_path / "train", zoo)
    assert refused.code == 2
    assert "weight by weight" in refused.err
    grown = run("zoo", "append", tmp_path / "train", tmp_path / "test")
    assert grown.out == f"{tmp_path / 'train'}: {total} networks of 33 parameters.\n"
    assert run("zoo", "check", tmp_path / "train").out == f"{total} networks, all sound.\n"
    every = run("zoo", "append", tmp_path / "test", zoo, "--duplicates", "first")
    assert every.out == f"{tmp_path / 'test'}: 300 networks of 33 parameters.\n"
