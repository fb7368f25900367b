"""The verbs of `weightspace zoo` on a real zoo, whole and spoilt."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.cli.conftest import MAKE, Program

from weightspace.weights import flatten
from weightspace.zoo import open_zoo


def test_make_says_what_was_made_and_a_second_call_changes_nothing(run: Program, zoo: Path) -> None:
    before = open_zoo(zoo).checksum
    again = run(*MAKE, "--out", zoo)
    assert again.code == 0
    assert "300 networks of 33 parameters" in again.out
    assert "digits" in again.out
    assert open_zoo(zoo).checksum == before


def test_several_values_go_to_the_option_they_follow(run: Program, tmp_path: Path) -> None:
    made = run("zoo", "make", "--out", tmp_path / "z", "--data", "digits", "--hidden", 4, 6, "--steps", 1, "--count", 2)
    assert made.code == 0
    assert [axis.size for axis in open_zoo(tmp_path / "z").spec.free_axes] == [4, 6]


def test_info_names_what_a_reader_asks_for(run: Program, zoo: Path) -> None:
    told = run("zoo", "info", zoo)
    assert told.code == 0
    for fact in (
        "300, by the recipe siren",
        "33 each",
        "8 x SIGN",
        "dB",
        "init: independent",
        open_zoo(zoo).checksum[:40],
    ):
        assert fact in told.out


def test_check_is_quiet_about_a_sound_zoo(run: Program, zoo: Path) -> None:
    assert run("zoo", "check", zoo).out == "300 networks, all sound.\n"


def test_check_and_info_say_what_is_missing(run: Program, zoo: Path) -> None:
    (zoo / "shards" / "00001.parquet").unlink()
    assert run("zoo", "check", zoo).out == "256 of 300 planned networks, all sound.\n"
    assert "256 of 300 planned, by the recipe siren" in run("zoo", "info", zoo).out


def test_networks_that_diverged_are_counted_apart(run: Program, tmp_path: Path) -> None:
    words = ("zoo", "make", "--data", "digits", "--hidden", 4, "--count", 5, "--steps", 5, "--learning-rate", 1e37)
    told = run(*words, "--out", tmp_path / "z")
    assert told.code == 0
    assert "5 networks of 17 parameters, 5 diverged." in told.out
    assert "5 diverged" in run("zoo", "info", tmp_path / "z").out


def test_cnns_are_made_told_of_and_checked(run: Program, tmp_path: Path) -> None:
    words = ("zoo", "make", "cnn", "--data", "digits", "--count", 4, "--steps", 3, 9, "--images", 100)
    words = (*words, "--evaluated", 50, "--activation", "tanh", "--checkpoints", 0.5, 1, "--out", tmp_path / "z")
    made = run(*words)
    assert made.code == 0
    assert "8 networks of 4,970 parameters, test accuracy" in made.out
    told = run("zoo", "info", tmp_path / "z").out
    for fact in ("8, by the recipe cnn", "16 x SIGN", "of 4 networks", "in the middle", "activation: tanh"):
        assert fact in told
    assert run("zoo", "check", tmp_path / "z").out == "8 networks, all sound.\n"
    before = open_zoo(tmp_path / "z").checksum
    assert run(*words).code == 0
    assert open_zoo(tmp_path / "z").checksum == before


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (("mlp", "--data", "wine", "--widths", 5, 4, "--activation", "tanh"), ("recipe mlp", "5 x SIGN, 4 x SIGN")),
        (("transformer", "--width", 4, "--heads", 1, "--hidden", 4, "--blocks", 1), ("recipe transformer", "4 x PERM")),
    ],
)
def test_classifiers_are_planned_made_told_of_and_checked(
    words: tuple[object, ...], facts: tuple[str, ...], run: Program, tmp_path: Path
) -> None:
    words = ("zoo", "make", *words, "--count", 3, "--steps", 2, 5, "--out", tmp_path / "z")
    planned = run(*words, "--plan")
    assert planned.code == 0
    assert "3 networks of" in planned.out
    assert "nothing was written" in planned.out
    assert not (tmp_path / "z").exists()
    made = run(*words, "--checkpoints", 0.5, 1)
    assert made.code == 0
    assert "6 networks of" in made.out
    told = run("zoo", "info", tmp_path / "z").out
    for fact in (*facts, "of 3 networks", "test accuracy", "vmap(grad_and_value(functional_call))"):
        assert fact in told
    assert run("zoo", "check", tmp_path / "z").out == "6 networks, all sound.\n"
    before = open_zoo(tmp_path / "z").checksum
    assert run(*words, "--checkpoints", 0.5, 1).code == 0
    assert open_zoo(tmp_path / "z").checksum == before


@pytest.mark.parametrize("kind", [("--hidden", 4, "--steps", 4), ("cnn", "--steps", 3, 9, "--images", 60)])
def test_a_plan_is_told_and_nothing_is_made(kind: tuple[object, ...], run: Program, tmp_path: Path) -> None:
    told = run("zoo", "make", *kind, "--data", "digits", "--count", 4, "--out", tmp_path / "z", "--plan")
    assert told.code == 0
    assert "4 networks of" in told.out
    assert " of memory and " in told.out
    assert not (tmp_path / "z").exists()


def test_another_kind_of_zoo_is_refused(run: Program, tmp_path: Path) -> None:
    assert run("zoo", "make", "cmm", "--out", tmp_path / "z").code == 2
    assert not (tmp_path / "z").exists()


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


@pytest.mark.parametrize("spoil", [flip, cut, Path.unlink])
def test_a_damaged_shard_is_named_and_made_again(run: Program, zoo: Path, spoil) -> None:
    before = open_zoo(zoo).checksum
    shards = sorted((zoo / "shards").glob("*.safetensors"))
    spoil(shards[-1])
    checked = run("zoo", "check", zoo)
    assert checked.code == 1
    assert shards[-1].name in checked.err
    assert "Remedy" in checked.err
    assert "Readable: 256 networks" in checked.err
    assert run(*MAKE, "--out", zoo).code == 0
    assert run("zoo", "check", zoo).code == 0
    assert open_zoo(zoo).checksum == before


def test_info_of_a_truncated_zoo_is_a_message(run: Program, zoo: Path) -> None:
    cut(sorted((zoo / "shards").glob("*.safetensors"))[0])
    told = run("zoo", "info", zoo)
    assert told.code == 2
    assert "00000.safetensors" in told.err
    assert "Remedy" in told.err


def test_ctrl_c_keeps_what_was_fitted_and_a_second_call_goes_on(run: Program, tmp_path: Path) -> None:
    out = tmp_path / "zoo"
    words = ("zoo", "make", "--data", "digits", "--hidden", "8", "--steps", "100", "--count", "1790", "--out", str(out))
    code = "import sys; from weightspace.cli.main import main; sys.exit(main())"
    with subprocess.Popen([sys.executable, "-c", code, *words], stderr=subprocess.PIPE, text=True) as process:
        # The table commits a shard; a minute is for a machine that is busy with other tests.
        for _ in range(1200):
            if list(out.glob("shards/*.parquet")) or process.poll() is not None:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    assert "run the same command again" in told
    assert "Traceback" not in told
    kept = open_zoo(out)
    assert 256 <= len(kept) < 1790
    assert run(*words).code == 0
    whole = open_zoo(out)
    assert len(whole) == 1790
    assert (flatten(whole.features(slice(len(kept)))) == flatten(kept.features())).all()


def test_pictures_of_ones_own(run: Program, tmp_path: Path) -> None:
    file = tmp_path / "ramp.png"
    Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8)).save(file)
    made = run("zoo", "make", "--out", tmp_path / "z", "--data", file, "--views", 3, "--hidden", 4, "--steps", 1)
    assert made.code == 0, made.err
    assert "1 picture from" in made.out
    assert open_zoo(tmp_path / "z").column("view").tolist() == [0, 1, 2]
    missing = run("zoo", "make", "--out", tmp_path / "z", "--data", tmp_path / "none.png")
    assert missing.code == 2
    assert "none.png" in missing.err
