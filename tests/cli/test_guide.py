"""The examples of the guide to the command line, run as they are printed there."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
from tests.cli.conftest import Program

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "command.md"
VERBS = ("spec", "check", "same", "align")
# What rounding leaves differs from machine to machine; everything else is as printed.
ROUNDING = re.compile(r"\d(\.\d+)?e-\d+")


def commands(text: str) -> list[tuple[str, str]]:
    """The guide's commands with the output printed below them."""
    blocks = re.findall(r"```console\n(.*?)```", text, re.DOTALL)
    found = [part.partition("\n") for block in blocks for part in re.split(r"^\$ ", block, flags=re.MULTILINE) if part]
    return [
        (words, printed) for words, _, printed in found if words.startswith(tuple(f"weightspace {v} " for v in VERBS))
    ]


def test_the_guide_prints_what_the_program_prints(
    run: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = GUIDE.read_text()
    for name, content in re.findall(r'```python title="(\S+)"\n(.*?)```', text, re.DOTALL):
        (tmp_path / name).write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "networks", raising=False)
    runpy.run_path(str(tmp_path / "save.py"))
    pairs = commands(text)
    assert {words.split()[1] for words, _ in pairs} == set(VERBS)
    for words, printed in pairs:
        told = run(*shlex.split(words)[1:])
        assert ROUNDING.sub("#", told.out) == ROUNDING.sub("#", printed), words
        assert told.err == ""
    monkeypatch.delitem(sys.modules, "networks", raising=False)
