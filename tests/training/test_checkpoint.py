"""Checkpoints: what was written comes back, what is damaged is noticed, and nothing good is ever lost."""

import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.conftest import Refuse

from weightspace.errors import FormatError, StorageError
from weightspace.training.checkpoint import Checkpoint, Checkpoints

TENSORS = {
    "weight": torch.randn(3, 4),
    "half": torch.randn(5).bfloat16(),
    "double": torch.randn(2, 2).double().T,
    "random": torch.get_rng_state(),
    "scalar": torch.tensor(3.0),
    "empty": torch.zeros(0, 2),
    "flags": torch.tensor([True, False]),
}


def test_round_trip(tmp_path: Path) -> None:
    kept = Checkpoint(7, 3, TENSORS, {"curves": {"loss": [0.1, 1 / 3]}, "score": None})
    path = tmp_path / "one.safetensors"
    path.write_bytes(kept.to_bytes())
    back = Checkpoint.read(path)
    assert (back.step, back.best, back.state) == (7, 3, kept.state)
    assert back.tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert back.tensors[name].dtype == tensor.dtype
        assert back.tensors[name].equal(tensor)


def test_every_damaged_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    good = Checkpoint(1, 1, {"weight": torch.randn(3)}, {}).to_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    for at in range(len(good)):
        # Blanks pad the header and mean nothing.
        if at < header and good[at : at + 1] == b" ":
            continue
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(FormatError, match="one.safetensors"):
            Checkpoint.read(path)


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    good = Checkpoint(1, 1, {"weight": torch.randn(3)}, {}).to_bytes()
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(FormatError):
            Checkpoint.read(path)


def test_a_mutant_without_the_checksum_is_caught(tmp_path: Path) -> None:
    """Another tensor under the old header: only the checksum can tell."""
    path = tmp_path / "one.safetensors"
    good = Checkpoint(1, 1, {"weight": torch.zeros(3)}, {}).to_bytes()
    path.write_bytes(good[:-4] + b"\0\0\x80\x3f")
    assert load_file(path)["weight"].tolist() == [0.0, 0.0, 1.0]
    with pytest.raises(FormatError, match="do not match its checksum"):
        Checkpoint.read(path)


def test_other_files_and_later_versions_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "one.safetensors"
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(FormatError, match="cannot be read as a checkpoint"):
        Checkpoint.read(path)
    head = {"format": "weightspace-checkpoint", "version": 99, "step": 0, "best": 0, "state": {}}
    save_file({"weight": torch.zeros(3)}, path, {"checkpoint": json.dumps(head)})
    with pytest.raises(FormatError, match="version 99: expected weightspace-checkpoint, at most 2"):
        Checkpoint.read(path)


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty"])
def test_a_damaged_checkpoint_is_passed_over(lab, tmp_path: Path, damage: str) -> None:
    whole = lab.run(tmp_path / "whole")
    lab.broken_off(tmp_path / "broken", 24)
    *_, before, last = Checkpoints(tmp_path / "broken" / "checkpoints").paths()
    data = last.read_bytes()
    last.write_bytes(
        {"truncate": data[: len(data) // 2], "flip": data[:-1] + bytes([data[-1] ^ 1]), "empty": b""}[damage]
    )
    with pytest.warns(RuntimeWarning, match=f"{last.name} .* Going on from {before.name} instead"):
        again = lab.run(tmp_path / "broken")
    assert lab.same(whole, again)
    assert last.name in again[0].notices[0]


def test_when_none_is_good_the_remedy_is_said(lab, tmp_path: Path) -> None:
    lab.broken_off(tmp_path, 24)
    for path in Checkpoints(tmp_path / "checkpoints").paths():
        path.write_bytes(b"nothing")
    with pytest.raises(FormatError, match=f"No other checkpoint is good: delete {tmp_path} and train again"):
        lab.run(tmp_path)


def test_a_lost_best_checkpoint_is_noticed(lab, tmp_path: Path) -> None:
    record, _ = lab.run(tmp_path)
    Checkpoints(tmp_path / "checkpoints").path(record.best_step).unlink()
    with pytest.raises(FormatError, match="Delete .* and train again"):
        lab.run(tmp_path)


def test_a_full_disk_keeps_what_was_there(lab, tmp_path: Path, refuse: Refuse, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = lab.run(tmp_path / "whole")
    # Each file is synced, and then its folder.
    refuse("fsync", errno.ENOSPC, after=4)
    with pytest.raises(StorageError, match="the disk is full.* Remedy: free"):
        lab.run(tmp_path / "broken")
    monkeypatch.undo()
    assert not list((tmp_path / "broken").rglob("*.part"))
    assert lab.same(whole, lab.run(tmp_path / "broken"))


def test_what_a_killed_run_left_unfinished_is_removed(lab, tmp_path: Path) -> None:
    lab.broken_off(tmp_path, 12)
    (tmp_path / "checkpoints" / ".000000016.safetensors.1f0c.part").write_bytes(b"half")
    lab.run(tmp_path)
    assert not list(tmp_path.rglob("*.part"))


def test_a_folder_that_cannot_be_written(lab, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot write .*settings.json .*choose another path"):
        lab.run(tmp_path / "file" / "run")
