"""`weightspace zoo make plume`, and what the other verbs say of its sets."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Program

from weightspace.zoo import open_plumes

WORDS = ("zoo", "make", "plume", "--kind", "levels", "--coarsening", 8, "--steps", 14, "--precision", "float16")


def test_plumes_are_made_told_of_and_checked(run: Program, tmp_path: Path) -> None:
    made = run(*WORDS, "--out", tmp_path / "p")
    assert made.code == 0
    assert "40 levels plumes, 3 frames of 8 x 8 each." in made.out
    told = run("zoo", "info", tmp_path / "p").out
    for fact in ("40, levels", "3 each, of 8 x 8, float16", "none by the protocol", "coarsening: 8"):
        assert fact in told
    run(*WORDS[:7], "--out", tmp_path / "long")
    assert "train 1,200, valid 400" in run("zoo", "info", tmp_path / "long").out
    assert run("zoo", "check", tmp_path / "p").out == "40 plumes, all sound.\n"
    before = (tmp_path / "p" / "plume.json").read_bytes()
    assert run(*WORDS, "--out", tmp_path / "p").code == 0
    assert (tmp_path / "p" / "plume.json").read_bytes() == before


def test_a_damaged_plume_is_named_and_made_again(run: Program, tmp_path: Path) -> None:
    run(*WORDS, "--out", tmp_path / "p")
    file = tmp_path / "p" / "runs" / "4_2.safetensors"
    content = file.read_bytes()
    file.write_bytes(content[:-1])
    checked = run("zoo", "check", tmp_path / "p")
    assert checked.code == 1
    for word in ("4_2.safetensors", "Remedy", "Readable: 39 plumes"):
        assert word in checked.err
    assert run(*WORDS, "--out", tmp_path / "p").code == 0
    assert file.read_bytes() == content
    assert len(open_plumes(tmp_path / "p").tasks) == 40


def test_mistakes_are_messages(run: Program, tmp_path: Path) -> None:
    for words, told in (
        (("--kind", "rotatoin"), 'did you mean "rotation"'),
        (("--kind", "scale", "--breaking", 0.5), "breaking is 0.5 for scale"),
        (("--coarsening", 3), "coarsening is 3"),
    ):
        outcome = run("zoo", "make", "plume", *words, "--out", tmp_path / "p")
        assert outcome.code == 2
        assert told in outcome.err
    assert not (tmp_path / "p").exists()
