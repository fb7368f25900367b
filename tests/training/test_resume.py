"""A run that is stopped anywhere and started again is the same run to the bit."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from weightspace.errors import FormatError, TrainingError
from weightspace.training import read_record
from weightspace.training.checkpoint import Checkpoints
from weightspace.training.step import Learner


@pytest.mark.parametrize("calls", [1, 2, 5, 6, 7, 9, 13, 14, 24, 33, 38, 39])
def test_stopped_at_any_call_of_the_model(lab, tmp_path: Path, calls: int) -> None:
    """Calls of the model are the trial, the steps, and the validations in between: all are broken off here."""
    whole = lab.run(tmp_path / "whole")
    lab.broken_off(tmp_path / "broken", calls)
    assert lab.same(whole, lab.run(tmp_path / "broken"))


def test_stopped_again_and_again(lab, tmp_path: Path) -> None:
    whole = lab.run(tmp_path / "whole")
    for calls in (3, 8, 5, 7, 7):
        lab.broken_off(tmp_path / "broken", calls)
    assert lab.same(whole, lab.run(tmp_path / "broken", lab.model(seed=9)))


@pytest.mark.parametrize("prefix", ["optimiser/", "random/", "model/1.running_mean"])
def test_mutant_that_forgets_is_caught(lab, tmp_path: Path, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lab.run(tmp_path / "whole")
    lab.broken_off(tmp_path / "broken", 13)
    restore = Learner.restore

    def forgetful(self: Learner, tensors: dict) -> None:
        now = self.tensors()
        kept = {name: value for name, value in tensors.items() if not name.startswith(prefix)}
        restore(self, {**{name: now[name] for name in tensors if name in now and name not in kept}, **kept})

    monkeypatch.setattr(Learner, "restore", forgetful)
    assert not lab.same(whole, lab.run(tmp_path / "broken"))


def test_mutant_that_starts_the_order_anew_is_caught(lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weightspace.training import run

    whole = lab.run(tmp_path / "whole")
    lab.broken_off(tmp_path / "broken", 13)
    rows = run.Order.rows
    monkeypatch.setattr(run.Order, "rows", lambda self, step: rows(self, (step - 8) % 24))
    assert not lab.same(whole, lab.run(tmp_path / "broken"))


@pytest.mark.parametrize("write", range(8))
def test_stopped_while_a_file_is_written(lab, tmp_path: Path, write: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between writing a file and giving it its name: settings, seven checkpoints."""
    whole = lab.run(tmp_path / "whole")
    left = iter(range(write))
    rename = os.replace

    def interrupted(source: Path, target: Path) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lab.run(tmp_path / "broken")
    assert lab.same(whole, lab.run(tmp_path / "broken"))
    assert not list((tmp_path / "broken").rglob("*.part"))


def test_a_budget_in_seconds_becomes_steps_once(lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from weightspace.training import run
    from weightspace.training.plan import Plan

    lab.settings = replace(lab.settings, steps=None, seconds=60.0, evaluate_every=None)
    asked = []

    def bought(seconds: float, every: int | None, step, evaluate, clock) -> Plan:
        asked.append(seconds)
        step(0), evaluate(), step(1)
        return Plan(24, 4)

    monkeypatch.setattr(run, "by_seconds", bought)
    whole = lab.run(tmp_path / "whole")
    # A rehearsal leaves no trace: the same as a run of as many steps.
    lab.settings = replace(lab.settings, steps=24, seconds=None, evaluate_every=4)
    assert lab.same(whole, lab.run(tmp_path / "steps"))
    lab.settings = replace(lab.settings, steps=None, seconds=60.0, evaluate_every=None)
    lab.broken_off(tmp_path / "broken", 20)
    again = lab.run(tmp_path / "broken")
    assert lab.same(whole, again)
    assert asked == [60.0, 60.0]
    assert again[0].steps == 24


SCRIPT = """
import os, signal, sys, torch
from pathlib import Path
sys.path.insert(0, {tests!r})
import conftest as c
torch.set_num_threads(1)
lab = c.Lab(c.Splits(c.split(50, 0), c.split(20, 1), c.split(20, 2)))
model, calls = lab.model(), iter(range(20))
def kill(*_):
    if next(calls, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
model.register_forward_pre_hook(kill)
lab.run(Path(sys.argv[1]), model)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill a process at once")
def test_killed_process(lab, tmp_path: Path) -> None:
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path / "broken")], capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert Checkpoints(tmp_path / "broken" / "checkpoints").paths()
    assert lab.same(lab.run(tmp_path / "whole"), lab.run(tmp_path / "broken"))


def test_the_callers_random_state_is_left_alone(lab, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    lab.run(tmp_path)
    assert torch.get_rng_state().equal(before)


def test_a_finished_run_answers_from_its_folder(lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lab.run(tmp_path)
    monkeypatch.setattr(Learner, "step", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(Learner, "evaluate", lambda *_: pytest.fail("evaluated again"))
    again = lab.run(tmp_path, lab.model(seed=5))
    assert lab.same(first, again)
    assert again[0] == first[0] == read_record(tmp_path)


def test_a_finished_run_without_checkpoints_is_not_written_over(lab, tmp_path: Path) -> None:
    lab.run(tmp_path)
    record = (tmp_path / "record.json").read_bytes()
    for path in Checkpoints(tmp_path / "checkpoints").paths():
        path.unlink()
    with pytest.raises(FormatError, match=r"cannot be read as a checkpoint .* Delete .* and train again"):
        lab.run(tmp_path)
    lab.settings = replace(lab.settings, seed=1)
    with pytest.raises(TrainingError, match="settings.seed is 0 there and 1 here"):
        lab.run(tmp_path)
    assert (tmp_path / "record.json").read_bytes() == record
