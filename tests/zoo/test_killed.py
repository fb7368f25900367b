"""A run that is killed by SIGKILL, wherever, goes on to the same bytes as one that was left alone."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "killed.py"


def killed(seed: int, trials: int) -> dict[str, Any]:
    words = [sys.executable, str(SCRIPT), str(seed), str(trials)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize(("seed", "trials"), [(3, 1), pytest.param(1, 60, marks=pytest.mark.slow)])
def test_killed_runs_end_in_the_same_bytes(seed: int, trials: int) -> None:
    told = killed(seed, trials)
    assert told.pop("mutant"), "a writer that is careless was not found out"
    assert set(told) == {"make", "take", "merge", "append"}
    for kind in told.values():
        assert kind["files"] >= 7
        assert kind["kills"] >= trials
