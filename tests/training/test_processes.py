"""A run on two processes is the run on one within rounding, and ends with clear words when one of them dies."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.training import parallel

from weightspace.errors import TrainingError
from weightspace.training import read_record
from weightspace.training.checkpoint import Checkpoints
from weightspace.training.processes import Processes


def run(folder: Path, option: str = "none", value: float = 0, count: int = 2) -> list[subprocess.CompletedProcess]:
    """Start the script as torchrun does, and wait for all of its processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "test"}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        subprocess.Popen(
            [sys.executable, parallel.__file__, str(folder), option, str(value)],
            env={**os.environ, **(world if count > 1 else {}), **place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    done = []
    for process in started:
        out, err = process.communicate(timeout=100)
        done.append(subprocess.CompletedProcess(process.args, process.returncode, out, err))
    return done


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on two processes."""
    folder = tmp_path_factory.mktemp("two")
    assert [ended.returncode for ended in run(folder)] == [0, 0]
    return folder


def test_two_processes_do_what_one_does(two: Path, tmp_path: Path) -> None:
    parallel.carry_out(tmp_path, "none", 0)
    records = [read_record(folder) for folder in (tmp_path, two)]
    assert [record.processes for record in records] == [1, 2]
    for name in ("train_loss", "validation_loss", "validation_score"):
        assert records[1].curves[name] == pytest.approx(records[0].curves[name], rel=1e-10)
    assert records[1].predictions == records[0].predictions
    assert records[1].targets == records[0].targets
    one, other = (Checkpoints(folder / "checkpoints").read(24).tensors for folder in (tmp_path, two))
    for name in parallel.Mortal(0).state_dict():
        torch.testing.assert_close(other[f"model/{name}"], one[f"model/{name}"], rtol=1e-9, atol=1e-10)
    assert {"random/0/cpu", "random/1/cpu"} <= set(other)


@pytest.mark.slow
def test_a_mutant_that_normalises_each_share_is_caught(two: Path, tmp_path: Path) -> None:
    assert [ended.returncode for ended in run(tmp_path, "shares")] == [0, 0]
    losses, losses_2 = (read_record(folder).curves["train_loss"] for folder in (two, tmp_path))
    assert losses_2 != pytest.approx(losses, rel=1e-3)


def test_a_process_that_dies_ends_the_run_and_the_next_goes_on(two: Path, tmp_path: Path) -> None:
    first, second = run(tmp_path, "dies", 14)
    assert second.returncode == 9
    assert first.returncode == 1
    assert "process 0 of 2 cannot reach the others: one of them has died" in first.stderr
    assert "start the same command again to go on" in first.stderr
    assert Checkpoints(tmp_path / "checkpoints").latest()[0].step >= 4
    assert [ended.returncode for ended in run(tmp_path)] == [0, 0]
    # On as many processes: the same to the bit.
    curves, curves_2 = (read_record(folder).curves for folder in (two, tmp_path))
    assert curves_2["validation_loss"] == curves["validation_loss"]


def test_a_loss_that_is_no_number_on_one_ends_all(tmp_path: Path) -> None:
    for ended in run(tmp_path / "run", "poison"):
        assert ended.returncode == 1
        assert "training loss is" in ended.stderr
        assert "features of" in ended.stderr
    assert json.loads((tmp_path / "run" / "record.json").read_text())["status"] == "diverged"


@pytest.mark.slow
def test_a_budget_buys_all_the_same_number_of_steps(tmp_path: Path) -> None:
    assert [ended.returncode for ended in run(tmp_path / "run", "seconds", 0.3)] == [0, 0]
    record = read_record(tmp_path / "run")
    assert record.curves["step"][-1] == record.steps


def test_more_processes_than_items_are_refused(lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Processes.__init__

    def thirteen(self: Processes, *arguments: str) -> None:
        begin(self, *arguments)
        self.count = 13

    monkeypatch.setattr(Processes, "__init__", thirteen)
    with pytest.raises(
        TrainingError,
        match="batch is 12 on 13 processes, in 1 parts each: expected at least 2 items",
    ):
        lab.run(tmp_path)


@pytest.mark.parametrize("items", [0, 1, 7, 64])
def test_shares_are_the_whole(items: int) -> None:
    alone = Processes("cpu", "float32")
    for count in (1, 2, 3, 8):
        alone.count = count
        shares = []
        for alone.rank in range(count):
            shares += range(items)[alone.share(items)]
        assert shares == list(range(items))
