"""The README's code and the examples run as they stand, on images that need no download."""

import importlib
import re
import runpy
from functools import partial
from pathlib import Path

import pytest

from weightspace import training, zoo
from weightspace.zoo import generate

ROOT = Path(__file__).parent.parent
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(zoo, "load_or_digits", partial(zoo.load_or_digits, offline=True))
    make = generate.make_siren_zoo
    monkeypatch.setattr(generate, "make_siren_zoo", lambda *a, count: make(*a, count=min(count, 500)))


def test_readme(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(BLOCKS) == 2
    assert len(BLOCKS[0].splitlines()) < 15
    for block in BLOCKS:
        exec(compile(block, "README.md", "exec"), {})
    told = capsys.readouterr().out
    score, error, *_ = told.split()
    assert 0 < float(score) < 1
    assert float(error) < 1e-9
    assert float(re.findall(r"function error (\S+)", told)[0]) < 1e-9


def test_example(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    script = ROOT / "examples" / "digits_from_weights.py"
    assert len(script.read_text().splitlines()) < 40
    # What the example imports must be there before the class is replaced: signatures are checked against it.
    importlib.import_module("weightspace.experiments")
    short = training.TrainSettings(steps=20)
    monkeypatch.setattr(training, "TrainSettings", lambda **_: short)
    runpy.run_path(str(script))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[-1].startswith("ScaleGMN")
    assert "0% of its answers change" in lines[-1]


def test_example_of_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The zoo that needs no download, here with a fifth of its networks."""
    importlib.import_module("weightspace.experiments")
    monkeypatch.setenv("WEIGHTSPACE_CACHE", str(tmp_path))
    monkeypatch.setattr("weightspace.zoo.generate.digits.COUNT", 360)
    short = training.TrainSettings(steps=10)
    monkeypatch.setattr(training, "TrainSettings", lambda **_: short)
    runpy.run_path(str(ROOT / "examples" / "zoo_of_digits.py"))
    first, *others = capsys.readouterr().out.splitlines()
    assert "360 siren networks of 337 parameters" in first
    assert [line.split(":")[0] for line in others] == ["FlatMLP", "NP", "ScaleGMN"]


def test_example_of_accuracy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every model gives a rank correlation for every seed; networks that are there are not trained again."""
    run = runpy.run_path(str(ROOT / "examples" / "accuracy.py"))["main"]
    few = ["--data", "digits", "--count", "30", "--steps", "2", "4", "--updates", "3", "--seeds", "0", "1"]
    found = run([*few, "--out", str(tmp_path)])
    assert {len(taus) for taus in found.values()} == {2}
    assert all(-1 <= tau <= 1 for taus in found.values() for tau in taus)
    assert run([*few, "--out", str(tmp_path)]) == found
    assert "ScaleGMN" in capsys.readouterr().out


def test_example_of_returns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = runpy.run_path(str(ROOT / "examples" / "returns.py"))["main"]
    found = run(["--count", "24", "--updates", "2", "--out", str(tmp_path)])
    assert all(-1 <= tau <= 1 and 0 <= lost <= 1 for ((tau, lost),) in found.values())
    told = capsys.readouterr().out
    assert "blind: regret" in told
    assert "ScaleGMN" in told


def test_example_of_matrices(tmp_path: Path) -> None:
    run = runpy.run_path(str(ROOT / "examples" / "group_matrices.py"))["main"]
    run(["--out", str(tmp_path / "matrices.png")])
    assert (tmp_path / "matrices.png").stat().st_size > 10_000


def test_example_of_turned_digits() -> None:
    """The group's network answers the same for quarter turns; an ordinary one does not."""
    found = runpy.run_path(str(ROOT / "examples" / "rotated_digits.py"))["main"](updates=25)
    symmetric, ordinary = found.values()
    assert symmetric[0] == pytest.approx(symmetric[90], abs=0.005)
    assert symmetric[0] == pytest.approx(symmetric[180], abs=0.005)
    assert ordinary[0] > ordinary[90] + 0.1
