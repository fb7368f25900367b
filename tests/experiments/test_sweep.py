"""The example of a sweep: every trial is a run, the validation score is what counts, and a stopped trial stays whole.

Optuna is no dependency: what the example uses of it stands in here.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.cli.conftest import MAKE

from weightspace.cli.main import main
from weightspace.experiments.comparison import find_runs

SCRIPT = Path(__file__).parents[2] / "examples" / "sweep.py"


class TrialPruned(Exception):
    pass


class Trial:
    """A trial that takes the first of everything."""

    def __init__(self, number: int, *, prune: bool) -> None:
        self.number, self.reports, self._prune = number, [], prune

    def suggest_float(self, name: str, low: float, high: float, log: bool = False) -> float:
        return low

    def suggest_categorical(self, name: str, values: list[Any]) -> Any:
        return values[0]

    def report(self, score: float, step: int) -> None:
        self.reports.append((step, score))

    def should_prune(self) -> bool:
        return self._prune


@pytest.fixture
def objective(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, content in {
        "optuna": {"TrialPruned": TrialPruned, "Trial": Trial},
        "optuna.storages": {"JournalStorage": object},
        "optuna.storages.journal": {"JournalFileBackend": object},
    }.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return runpy.run_path(str(SCRIPT))["objective"]


def test_a_trial_is_a_run_and_a_pruned_one_is_unfinished(objective: Any, tmp_path: Path) -> None:
    zoo = tmp_path / "zoo"
    assert main([*MAKE[:-1], "100", "--out", str(zoo)]) == 0
    whole, stopped = Trial(0, prune=False), Trial(1, prune=True)
    score = objective(whole, zoo, "label", 4, tmp_path / "sweep")
    with pytest.raises(TrialPruned):
        objective(stopped, zoo, "label", 4, tmp_path / "sweep")
    rows = {row.folder.name: row for row in find_runs([tmp_path / "sweep"])}
    assert rows["000"].status == "finished"
    assert rows["000"].validation == score
    assert rows["000"].settings["about.model.options.channels"] == 8
    assert rows["001"].status == "unfinished"
    assert whole.reports[-1][0] == 4
