"""Files are there whole or as they were before, whatever the disk does, and a refusal says what to do."""

import errno
import os
from pathlib import Path

import pytest
from tests.conftest import Refuse

from weightspace.disk import staged, write_atomic
from weightspace.errors import StorageError


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    write_atomic(path, b"one, and longer")
    write_atomic(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "file", b"")
        (tmp_path / "ordinary").touch()
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "told"),
    [
        (errno.ENOSPC, r"the disk is full, [\d,]+ bytes free\..* Remedy: free some space"),
        (errno.EDQUOT, "quota.* Remedy: free some space"),
        (errno.EACCES, "no permission.* Remedy: choose a folder that you may write to"),
        (errno.EROFS, "read-only.* Remedy: choose a folder on another"),
        (errno.EIO, "Input/output error.* Remedy: check the path and the disk"),
    ],
)
def test_a_disk_that_refuses_leaves_what_was_there(
    tmp_path: Path, refuse: Refuse, step: str, code: int, told: str
) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"before")
    refuse(step, code)
    with pytest.raises(StorageError, match=f"cannot write {path}.*: .*{told}") as caught:
        write_atomic(path, b"after" * 1000)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]
    assert ("(5,000 bytes needed)" in str(caught.value)) == (step == "fsync")


def test_the_law_catches_a_writer_that_writes_in_place(tmp_path: Path, refuse: Refuse) -> None:
    """The mutant: what it replaces is gone as soon as the disk refuses."""
    path = tmp_path / "file"
    path.write_bytes(b"before")
    refuse("fsync", errno.ENOSPC)
    with path.open("wb") as file:
        file.write(b"after")
        with pytest.raises(OSError, match="No space left"):
            os.fsync(file.fileno())
    assert path.read_bytes() != b"before"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interruption_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "file"
    write_atomic(path, b"before")
    monkeypatch.setattr(os, step, interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_staged_and_not_moved_is_removed(tmp_path: Path, refuse: Refuse) -> None:
    with staged(tmp_path / "one", b"1"), staged(tmp_path / "two", b"2") as move:
        move()
    assert [file.name for file in tmp_path.iterdir()] == ["two"]
    refuse("fsync", errno.ENOSPC, after=1)
    with pytest.raises(StorageError, match="two"), staged(tmp_path / "one", b"1"), staged(tmp_path / "two", b""):
        pass
    assert (tmp_path / "two").read_bytes() == b"2"
    assert [file.name for file in tmp_path.iterdir()] == ["two"]


def test_a_folder_that_cannot_be_synced_is_no_failure(tmp_path: Path, refuse: Refuse) -> None:
    refuse("fsync", errno.EINVAL, after=1)
    write_atomic(tmp_path / "file", b"all")
    assert (tmp_path / "file").read_bytes() == b"all"


def test_impossible_paths_say_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path, told in (
        (tmp_path / "file" / "x", "a file, not a folder"),
        (tmp_path / "file" / "x" / "y", "a file, not a folder"),
        (tmp_path / "folder", "that is a folder"),
        (tmp_path / ("x" * 250), "too long"),
        (Path("/"), "cannot write /"),
    ):
        with pytest.raises(StorageError, match=told):
            write_atomic(path, b"")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is forbidden to this user")
def test_a_folder_without_write_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="no permission"):
        write_atomic(tmp_path / "file", b"")
    tmp_path.chmod(0o700)
