"""`weightspace demo` and `weightspace report`, small, on the digits that need no download."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from tests.cli.conftest import Outcome, Program
from tests.conftest import Refuse

from weightspace.cli import demo as verb
from weightspace.cli.main import main
from weightspace.experiments import read_demo, run_demo

MODELS = ("FlatMLP", "StatNN", "NP", "MonomialNFN", "MAGEPNFN", "ScaleGMN")
# So many networks that no split is empty and a batch fits into the training split.
WORDS = ("demo", "--data", "digits", "--count", "100", "--fit-steps", "10", "--seconds", "0.2")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo that has finished."""
    out = tmp_path_factory.mktemp("demo")
    assert main([*WORDS, "--out", str(out)]) == 0
    return out / "digits-independent-100"


def test_a_finished_demo_answers_from_its_record(run: Program, home: Path) -> None:
    def again() -> Outcome:
        return run(*WORDS, "--out", home.parent)

    before = read_demo(home)
    told = again()
    assert told.code == 0
    assert told.err == "", "no stage is done again"
    for model in MODELS:
        assert model in told.out
    assert "scikit-learn" in told.out
    assert str(home / "report.html") in told.out
    assert again().out == told.out
    assert read_demo(home).results == before.results


def test_symmetric_models_keep_their_answers_and_the_flat_one_does_not(home: Path) -> None:
    change = {result.name: result.change for result in read_demo(home).results}
    for name in ("MonomialNFN", "MAGEPNFN", "ScaleGMN"):
        assert change[name].logits < 1e-4
        assert change[name].answers == 0
    assert change["FlatMLP"].logits > 1e-2


def test_the_page_is_whole_and_names_what_was_measured(home: Path) -> None:
    page = (home / "report.html").read_text()
    assert page.rstrip().endswith("</html>")
    for text in (*MODELS, "digits from scikit-learn", "change places", "<svg"):
        assert text in page
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_report_writes_the_page_again_from_the_record(run: Program, home: Path, tmp_path: Path) -> None:
    told = run("report", home, "--out", tmp_path / "again.html")
    assert told.code == 0
    assert (tmp_path / "again.html").read_bytes() == (home / "report.html").read_bytes()


def test_report_of_no_run_is_a_message(run: Program, tmp_path: Path) -> None:
    told = run("report", tmp_path)
    assert told.code == 2
    assert "weightspace demo" in told.err


@pytest.mark.parametrize("words", [("--data", "mnits"), ("--init", "sharde"), ("--seconds", "-1"), ("--count", "0")])
def test_a_demo_that_cannot_be_is_a_message(run: Program, tmp_path: Path, words: tuple[str, str]) -> None:
    told = run("demo", "--data", "digits", *words, "--out", tmp_path / "demo")
    assert told.code == 2
    assert "Traceback" not in told.err


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_demo_that_may_not_be_written_is_a_message(run: Program, tmp_path: Path, refuse: Refuse, code: int) -> None:
    refuse("fsync", code)
    told = run("demo", "--data", "digits", "--out", tmp_path / "demo")
    assert told.code == 2
    assert str(tmp_path / "demo") in told.err
    assert "Remedy" in told.err
    assert "Traceback" not in told.err


def test_an_interrupted_demo_goes_on(run: Program, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*WORDS, "--out", tmp_path)

    def interrupt(stage: str, *_: object) -> None:
        if stage == "Training StatNN":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(verb, "run_demo", lambda settings, _: run_demo(settings, interrupt))
        assert run(*words).code == 130
    resumed = run(*words)
    assert resumed.code == 0
    assert "Training FlatMLP" not in resumed.err, "what was trained stays"
    assert read_demo(tmp_path / home.name).zoo == read_demo(home).zoo
