"""`weightspace zoo make policy`, and what the other verbs say of its zoos."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Program

from weightspace.zoo import open_zoo

WORDS = ("zoo", "make", "policy", "--hidden", 4, "--iterations", 10, "--episodes", 4)


def test_policies_are_made_told_of_and_checked(run: Program, tmp_path: Path) -> None:
    made = run(*WORDS, "--environment", "cartpole", "--count", 3, "--out", tmp_path / "z")
    assert made.code == 0
    assert "21 policies of 30 parameters, return" in made.out
    told = " ".join(run("zoo", "info", tmp_path / "z").out.split())
    for fact in (
        "21, by the recipe policy",
        "4 x SIGN",
        "scaled returns of all rows, by tenths from 0.0:",
        "CartPole-v1",
    ):
        assert fact in told
    for fact in ("push the cart to the left", "cart velocity", "folded into the first layer", "policies that never"):
        assert fact in told
    assert run("zoo", "check", tmp_path / "z").out == "21 networks, all sound.\n"
    before = open_zoo(tmp_path / "z").checksum
    assert run(*WORDS, "--environment", "cartpole", "--count", 3, "--out", tmp_path / "z").code == 0
    assert open_zoo(tmp_path / "z").checksum == before


def test_scaled_returns_are_a_target_of_training(run: Program, tmp_path: Path) -> None:
    run(*WORDS, "--environment", "pendulum", "--count", 12, "--out", tmp_path / "z")
    words = ("--model", "StatNN", "--target", "scaled_return", "--steps", 3, "--batch", 8)
    told = run("train", tmp_path / "z", *words, "--out", tmp_path / "r")
    assert told.code == 0
    assert "rank correlation" in told.out


def test_mistakes_are_messages(run: Program, tmp_path: Path) -> None:
    for words, told in (
        (("--environment", "acrobat"), 'did you mean "acrobot"'),
        (("--iterations", 4), "two of them the same"),
        (("--count", 0), "count is 0"),
    ):
        outcome = run("zoo", "make", "policy", *words, "--out", tmp_path / "p")
        assert outcome.code == 2
        assert told in outcome.err
    assert not (tmp_path / "p").exists()
