"""Runs side by side: finished, diverged, and such as were broken off; groups of seeds; what differs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.reports.reader import faults, read
from tests.training.conftest import Lab, split

from weightspace.errors import FormatError, TrainingError, UnknownNameError
from weightspace.experiments.comparison import RunRow, apart, differing, find_runs, grouped, read_run
from weightspace.reports.comparison import difference_lines, names, run_cells, write_comparison
from weightspace.training import Splits


@pytest.fixture
def lab() -> Lab:
    return Lab(Splits(split(50, 0), split(20, 1), split(20, 2)))


@pytest.fixture
def folder(lab: Lab, tmp_path: Path) -> Path:
    """Two seeds that finished, one run that was broken off, and one that diverged."""
    for seed in (0, 1):
        lab.settings = replace(lab.settings, seed=seed)
        lab.run(tmp_path / "all" / f"seed{seed}", lab.model(seed))
    lab.broken_off(tmp_path / "all" / "open", calls=18)
    lab.settings = replace(lab.settings, learning_rate=1e-3)
    broken = lab.model()
    broken.register_forward_hook(lambda module, *rest: rest[1] * float("nan") if module.training else rest[1])
    with pytest.raises(TrainingError):
        lab.run(tmp_path / "all" / "nan", broken)
    (tmp_path / "all" / "settings.json").write_text("{}")  # somebody else's
    return tmp_path / "all"


def test_every_run_is_found_the_best_first(folder: Path) -> None:
    rows = find_runs([folder, folder / "open"])
    assert sorted(row.folder.name for row in rows) == ["nan", "open", "seed0", "seed1"]
    scores = [row.validation for row in rows if row.validation is not None]
    assert scores == sorted(scores, reverse=True)
    assert rows[-1].folder.name == "nan"
    assert names(rows) == [row.folder.name for row in rows]


def test_a_run_that_is_not_over_says_how_far_it_is(folder: Path) -> None:
    row = read_run(folder / "open")
    assert (row.status, row.steps, row.test, row.parameters) == ("unfinished", 24, None, None)
    assert 0 < row.step < 24
    assert row.step == row.curves["step"][-1]
    assert run_cells("open", row)[-1] == f"unfinished, step {row.step}"
    # Its last checkpoint is being written while it is looked at.
    last = max((folder / "open" / "checkpoints").iterdir())
    last.write_bytes(last.read_bytes()[:40])
    assert read_run(folder / "open").step < row.step
    assert read_run(folder / "nan").status == "diverged"


def test_a_damaged_record_does_not_hide_the_other_runs(folder: Path) -> None:
    (folder / "seed0" / "record.json").write_text("{")
    rows = {row.folder.name: row for row in find_runs([folder])}
    assert (rows["seed0"].status, rows["seed0"].test) == ("damaged", None)
    assert rows["seed1"].status == "finished"


def test_groups_have_the_median_and_the_range(folder: Path) -> None:
    rows = [row for row in find_runs([folder]) if row.status == "finished"]
    (group,) = grouped(rows, ["model"])
    scores = sorted(row.test for row in rows)
    assert group.names == ("Sequential",)
    assert group.test == (scores[0], sum(scores) / 2, scores[1])
    assert [g.names for g in grouped(find_runs([folder]), ["learning_rate"])] == [(0.02,), (1e-3,)]
    assert len(grouped(rows, ["seed"])) == 2
    with pytest.raises(UnknownNameError, match='did you mean "settings.learning_rate"'):
        grouped(rows, ["learning_rat"])
    assert apart(rows, ["model"]) == ("model",)
    assert apart([rows[0], replace(rows[1], zoo="other")], ["model"]) == ("model", "zoo")


def test_what_differs_is_named_and_what_the_table_shows_is_not(folder: Path) -> None:
    assert differing(find_runs([folder])) == {"settings.learning_rate": [0.001, 0.02]}
    assert differing(find_runs([folder / "seed0", folder / "seed1"])) == {}


def test_many_values_are_told_by_their_range(folder: Path) -> None:
    row = find_runs([folder])[0]
    rates = [0.03, 0.001, 0.002, 0.2, 0.1, 0.5, 1.5]
    rows = [replace(row, settings={"settings.learning_rate": rate, "settings.clip": None}) for rate in rates]
    assert difference_lines(rows) == ["settings.learning_rate: 7 values from 0.001 to 1.5"]
    assert difference_lines(rows[:3]) == ["settings.learning_rate: 0.001, 0.002, 0.03"]
    rows[0] = replace(rows[0], settings={"settings.learning_rate": 0.001, "settings.clip": 1.0})
    assert difference_lines(rows[:2]) == ["settings.clip: 1.0, None"]


def test_folders_without_runs_are_messages(tmp_path: Path) -> None:
    for path, told in ((tmp_path / "nowhere", "is no folder"), (tmp_path, "holds no runs")):
        with pytest.raises(FormatError, match=told):
            find_runs([path])


def test_the_page_holds_every_run_and_its_curves(folder: Path, tmp_path: Path) -> None:
    rows: list[RunRow] = find_runs([folder])
    page = write_comparison(rows, tmp_path / "out" / "runs.html").read_text()
    assert faults(page) == []
    seen = read(page)
    assert all(row.folder.name in seen.text for row in rows)
    assert "settings.learning_rate" in seen.text
    assert page.count("<figure>") == 4
    assert "unfinished, step" in seen.text
    hostile = [replace(rows[0], model="<script>alert(1)</script>", curves={})]
    assert faults(write_comparison(hostile, tmp_path / "runs.html").read_text()) == []


def test_nothing_is_left_over_by_reading(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    find_runs([folder])
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
