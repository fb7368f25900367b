"""What a person sees: help, versions, and every kind of mistake as a message without a traceback."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Program

import weightspace
from weightspace.cli import main as entry

VERBS = (
    *(
        ("demo",),
        ("train",),
        ("evaluate",),
        ("predict",),
        ("runs",),
        ("report",),
        ("spec",),
        ("check",),
        ("same",),
        ("align",),
    ),
    *(("zoo", "make"), ("zoo", "make", "plume"), ("zoo", "make", "mlp"), ("zoo", "make", "transformer")),
    *(("zoo", "info"), ("zoo", "check")),
)


def program(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The installed program, in a process of its own."""
    code = "import sys; from weightspace.cli.main import main; sys.exit(main())"
    return subprocess.run([sys.executable, "-c", code, *words], cwd=cwd, capture_output=True, text=True, check=False)


def test_version(run: Program) -> None:
    assert run("--version").out.strip() == weightspace.__version__


def test_the_package_starts_as_a_module(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "weightspace", "--version"]
    told = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == weightspace.__version__


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_help_names_every_option_with_a_sentence(run: Program, verb: tuple[str, ...]) -> None:
    told = run(*verb, "--help")
    assert told.code == 0
    assert f"Usage: weightspace {' '.join(verb)}" in told.out


@pytest.mark.parametrize(
    "words", [["--help"], ["--version"], [], ["zoo"], ["zoo", "--help"], ["dmeo"], ["zoo", "mkae"]]
)
def test_what_needs_no_verb_does_not_wait_for_torch(tmp_path: Path, words: list[str]) -> None:
    code = (
        f"import sys; from weightspace.cli.main import main; main({words}); "
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (
            ("dmeo",),
            "unknown verb 'dmeo': did you mean \"demo\"? Valid names: align, bench, check, demo, evaluate, predict, "
            "report, runs, same, spec, train, zoo.",
        ),
        (("zoo", "mkae"), 'did you mean "make"?'),
        (("zoo", "make", "--out", "z", "--data", "MNIST"), 'did you mean "mnist"?'),
        (("zoo", "make", "--out", "z", "--data", "digits", "--folder", "f"), "leave the folder out"),
        (("zoo", "make", "--out", "z", "--cuont", "3"), "Did you mean --count?"),
        (("zoo", "make", "--out", "z", "--count", "three"), "--count"),
        (("zoo", "make"), "--out"),
        (("zoo", "make", "--out", "z", "--data", "mnits"), 'did you mean "mnist"?'),
        (("zoo", "make", "--out", "z", "--data", "digits", "--init", "shraed"), 'did you mean "shared"?'),
        (("zoo", "make", "--out", "z", "--data", "digits", "--count", "0"), "1 to 1797"),
        (("zoo", "make", "--out", "z", "--data", "digits", "--steps", "-1"), "steps"),
        (("zoo", "make", "--out", "z", "--offline"), "mnist"),
        (("zoo", "make", "z"), "z"),
        (("zoo", "info", "nowhere"), "Remedy"),
        (("zoo", "check", "nowhere"), "Remedy"),
        (("train", "nowhere", "--out", "r", "--steps", "5"), "Remedy"),
        (("train", "nowhere", "--out", "r"), "give exactly one"),
        (("report", "nowhere"), "nowhere"),
        (("evaluate", "nowhere"), "holds no run"),
        (("predict", "a.pt", "--with", "nowhere"), "holds no run"),
        (("predict", "a.pt"), "--with"),
        (("runs", "nowhere"), "is no folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_a_mistake_is_a_message_with_its_remedy(
    run: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    told = run(*words)
    assert told.code == 2
    assert hint in " ".join(told.err.split())
    assert "Traceback" not in told.err
    assert not any(tmp_path.glob("[zr]/*")), "a refused call leaves nothing behind"


def test_a_mistake_in_a_process_of_its_own(tmp_path: Path) -> None:
    ended = program("zoo", "info", "nowhere", cwd=tmp_path)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("weightspace: nowhere ")


def test_a_reader_that_stops_reading_is_no_failure(tmp_path: Path) -> None:
    code = (
        "import sys; from weightspace.cli import main as entry; entry.application = lambda: lambda *_, **__: print(1); "
        "sys.exit(entry.main(['demo']))"
    )
    reads, writes = os.pipe()
    os.close(reads)
    ended = subprocess.run([sys.executable, "-c", code], stdout=writes, stderr=subprocess.PIPE, cwd=tmp_path, text=True)
    os.close(writes)
    assert (ended.returncode, ended.stderr) == (0, "")


def break_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Lets every verb fail in a way of its own."""

    def application():  # type: ignore[no-untyped-def]
        def call(words: list[str], **options: object) -> None:
            raise error

        return call

    monkeypatch.setattr(entry, "application", application)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_what_the_machine_refuses_is_a_message(run: Program, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    break_with(monkeypatch, OSError(number, os.strerror(number), "zoo/shards/00003"))
    told = run("demo")
    assert told.code == 2
    assert "zoo/shards/00003" in told.err
    assert "give permission there, then run the same command again" in told.err


def test_an_interruption_says_how_to_go_on(run: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    break_with(monkeypatch, KeyboardInterrupt())
    told = run("demo")
    assert told.code == 130
    assert "run the same command again" in told.err


@pytest.mark.parametrize("bug", [ValueError("a bug"), OSError(errno.EBADF, "a bug")])
def test_a_bug_is_not_hidden(run: Program, monkeypatch: pytest.MonkeyPatch, bug: Exception) -> None:
    break_with(monkeypatch, bug)
    with pytest.raises(type(bug), match="a bug"):
        run("demo")


def test_a_folder_without_permission_is_a_message(run: Program, tmp_path: Path) -> None:
    place = tmp_path / "a file, not a folder"
    place.write_text("")
    told = run("zoo", "make", "--data", "digits", "--count", "2", "--steps", "1", "--out", place / "zoo")
    assert told.code == 2
    assert str(place) in " ".join(told.err.split())
