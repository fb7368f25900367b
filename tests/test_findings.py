"""Every finding's script runs, prints one line, and that line stands in the guide."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = {path.stem: path for path in sorted((ROOT / "examples" / "findings").glob("*.py"))}
GUIDE = (ROOT / "docs" / "guide" / "findings.md").read_text()
SHOWN = dict(re.findall(r"\$ python examples/findings/(\w+)\.py\n(.*)\n```", GUIDE))
NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e[+-]\d+)?")


def same(line: str, shown: str) -> bool:
    """Whether two lines say the same, with numbers that other processors may round otherwise."""
    ours, theirs = (list(map(float, NUMBER.findall(text))) for text in (line, shown))
    return NUMBER.split(line) == NUMBER.split(shown) and ours == pytest.approx(theirs, rel=0.1)


@pytest.mark.parametrize("name", SCRIPTS)
def test_finding(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The script's own assertions hold: the form in question fails, and the right one does not."""
    runpy.run_path(str(SCRIPTS[name]))
    (line,) = capsys.readouterr().out.splitlines()
    assert same(line, SHOWN[name]), line


def test_guide_shows_every_script_and_no_other() -> None:
    assert SHOWN
    assert sorted(SHOWN) == sorted(SCRIPTS)


def test_table_of_the_guide_leads_to_every_finding() -> None:
    """One row for each script, to a heading that exists."""
    targets = re.findall(r"^\| \[[^]]+\]\(#([^)]+)\)", GUIDE, flags=re.MULTILINE)
    headings = re.findall(r"^### (.*)$", GUIDE, flags=re.MULTILINE)
    slugs = [re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-") for heading in headings]
    assert sorted(targets) == sorted(slugs)
    assert len(targets) == len(SCRIPTS)


def test_other_numbers_and_words_are_noticed() -> None:
    assert same("error 1.31 for 3", "error 1.30 for 3")
    assert not same("error 1.31 for 3", "error 2.0 for 3")
    assert not same("error 1.31", "errors 1.31")
