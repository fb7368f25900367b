"""A small zoo that is made once: two shards, of 256 and 44 networks, and the program as a function."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from weightspace.cli.main import main

MAKE = ("zoo", "make", "--data", "digits", "--hidden", "8", "--steps", "20", "--count", "300")


@dataclass(frozen=True)
class Outcome:
    """What a call of the program left behind."""

    code: int
    out: str
    err: str


Program = Callable[..., Outcome]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Program:
    """Runs the program in this process."""

    def call(*words: object) -> Outcome:
        capsys.readouterr()
        code = main([str(word) for word in words])
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "zoo"
    assert main([*MAKE, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def zoo(made: Path, tmp_path: Path) -> Path:
    """A zoo of 300 small SIRENs of digits that the test may spoil."""
    return Path(shutil.copytree(made, tmp_path / "zoo"))
