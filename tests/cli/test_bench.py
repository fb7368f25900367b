"""``weightspace bench``: listed, carried out, and made again from records alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.experiments.bench.conftest import RECIPE, table

from weightspace.cli.main import main
from weightspace.experiments.bench.cost import read_costs

OWN = """
from torch import nn

class Mean(nn.Module):
    def __init__(self, spec, readout):
        super().__init__()
        self.line = nn.Linear(1, readout.outputs)

    def forward(self, x):
        return self.line(x.tensors[0].flatten(1).mean(1, keepdim=True))
"""


@pytest.fixture(scope="module")
def zoos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoos")
    RECIPE.make(folder)
    return folder


@pytest.fixture
def here(zoos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the zoo of a small table, which is the only table."""
    monkeypatch.setattr("weightspace.cli.bench.TABLES", {"tiny": table(seeds=(0,))})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weightspace-bench").mkdir()
    (tmp_path / "weightspace-bench" / "zoos").symlink_to(zoos)
    (tmp_path / "own_mean.py").write_text(OWN)
    return tmp_path


def test_without_a_table_all_are_listed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 0
    assert capsys.readouterr().out.split() == ["tiny", "Tiny"]


def test_pages_come_back_from_records_alone(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "tiny", "--workers", "1", "--model", "own_mean:Mean", "--rows", "FlatMLP"]
    assert main(words) == 0
    assert "2 runs of 1 tables, 0 of which diverged." in capsys.readouterr().out
    records = sorted(path.name for path in (here / "results").rglob("records/*.json"))
    assert records == ["flatmlp-0.json", "own-mean-mean-0.json"]
    pages = {path: path.read_bytes() for path in (here / "results").rglob("*") if path.suffix in (".md", ".svg")}
    page = pages[here / "results" / "small" / "tiny" / "README.md"].decode()
    assert "own\\_mean:Mean" in page
    assert "FlatMLP" in page
    for path in pages:
        path.unlink()
    # Neither zoos nor runs are needed any more.
    (here / "weightspace-bench").rename(here / "gone")
    assert main(words) == 0
    assert {path: path.read_bytes() for path in pages} == pages
    assert main(["bench", "tiny", "--pages"]) == 0
    assert not (here / "weightspace-bench").exists()


@pytest.mark.slow
def test_costs_are_measured_where_they_are_asked_for(here: Path) -> None:
    assert main(["bench", "tiny", "--workers", "1", "--rows", "FlatMLP", "--costs"]) == 0
    (cost,) = read_costs(here / "results", "small", "tiny").items()
    assert cost[0] == "FlatMLP"
    assert cost[1].step > 0
    assert cost[1].step_memory >= 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tyny"], "unknown table 'tyny': did you mean \"tiny\"?"),
        (["tiny", "--rows", "NP"], "unknown row 'NP'"),
        (["tiny", "--scale", "medium"], "unknown scale 'medium'"),
        (["tiny", "--model", "NP"], "one of the package's"),
        (["tiny", "--model", "NoModel"], "unknown model 'NoModel'"),
    ],
)
def test_mistakes_are_told(here: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(["bench", *words]) == 2
    assert said in capsys.readouterr().err
    assert not (here / "results").exists()
