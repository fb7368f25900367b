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
    told = run("zoo", "info", tmp_path / "m").out
    for fact in ("stored as float16", f"zoo: {sizes['train']} networks", f"zoo: {sizes['test']} networks"):
        assert fact in told
    refused = run("zoo", "append", tmp_path / "train", zoo)
    assert refused.code == 2
    assert "weight by weight" in refused.err
    grown = run("zoo", "append", tmp_path / "train", tmp_path / "test")
    assert grown.out == f"{tmp_path / 'train'}: {total} networks of 33 parameters.\n"
    assert run("zoo", "check", tmp_path / "train").out == f"{total} networks, all sound.\n"
    every = run("zoo", "append", tmp_path / "test", zoo, "--duplicates", "first")
    assert every.out == f"{tmp_path / 'test'}: 300 networks of 33 parameters.\n"


def test_a_card_and_an_export(run: Program, zoo: Path, tmp_path: Path) -> None:
    card = zoo / "README.md"
    assert "300 trained networks of 33 parameters" in card.read_text()
    assert run("zoo", "card", zoo, "--license", "mit").out == f"{card} is written.\n"
    assert "license: mit" in card.read_text()
    card.write_text("mine")
    kept = run("zoo", "card", zoo)
    assert kept.code == 1
    assert "it is kept" in kept.out
    assert card.read_text() == "mine"
    assert run("zoo", "card", zoo, "--replace").code == 0
    assert run("zoo", "export", zoo, tmp_path / "out").out == f"{tmp_path / 'out'}: 300 networks with their weights.\n"
    assert (tmp_path / "out" / "data" / "00000.parquet").exists()
