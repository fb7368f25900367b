"""Writing: a shard is there whole or not at all, whatever the disk does, and nothing good is lost."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from tests.conftest import Refuse
from tests.zoo.conftest import SmallZoo, flip
from torch import nn

from weightspace.errors import FormatError, ShapeError, StorageError
from weightspace.spec import Sine, spec_of
from weightspace.weights import WeightFeatures, features_of, flatten
from weightspace.zoo import ZooWriter, check, open_zoo


def parts(path: Path) -> list[Path]:
    """Files that a failed write left behind."""
    return [file for file in path.rglob(".*") if file.is_file()]


def test_writes_what_is_read(small_zoo: SmallZoo) -> None:
    zoo = open_zoo(small_zoo.path)
    assert torch.equal(flatten(zoo.features()), small_zoo.flat)
    assert zoo.manifest == small_zoo.manifest
    assert check(small_zoo.path) == []
    assert parts(small_zoo.path) == []


def test_goes_on_where_it_was(unmade: SmallZoo) -> None:
    unmade.write(1)
    writer = unmade.write()
    assert writer.done == {1}
    assert writer.rows == {1: 5}
    for shard in (0, 2):
        writer.write(shard, *unmade.part(shard))
    assert writer.done == {0, 1, 2}
    assert torch.equal(flatten(open_zoo(unmade.path).features()), unmade.flat)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_order_of_writing_does_not_show(tmp_path: Path, order: tuple[int, ...]) -> None:
    made, other = SmallZoo(tmp_path / "a"), SmallZoo(tmp_path / "b")
    made.write(*order)
    other.write(0, 1, 2)
    assert open_zoo(made.path).checksum == open_zoo(other.path).checksum


def test_a_damaged_shard_is_not_done_and_can_be_made_again(small_zoo: SmallZoo) -> None:
    before = open_zoo(small_zoo.path).checksum
    flip(small_zoo.file(1), -1)
    flip(small_zoo.file(2, "parquet"), 40)
    writer = small_zoo.write()
    assert writer.done == {0}
    small_zoo.write(1, 2)
    assert open_zoo(small_zoo.path).checksum == before
    assert check(small_zoo.path) == []


def test_check_reads_every_byte(small_zoo: SmallZoo) -> None:
    flip(small_zoo.file(1), -1)
    small_zoo.file(2).unlink()
    problems = check(small_zoo.path)
    assert [problem.shard for problem in problems] == [1, 2]
    assert "has sha256" in str(problems[0])
    assert all("zoo make" in problem.text for problem in problems)


def test_check_finds_a_network_that_is_there_twice(small_zoo: SmallZoo) -> None:
    features, table = small_zoo.part(1)
    numbers = table["number"].to_pylist()
    twice = table.set_column(0, "number", pa.array([int(small_zoo.numbers[0]), *numbers[1:]]))
    small_zoo.write().write(1, features, twice)
    assert [problem.shard for problem in check(small_zoo.path)] == [1]


def test_a_zoo_may_grow_and_never_shrinks(small_zoo: SmallZoo) -> None:
    before = open_zoo(small_zoo.path)
    writer = ZooWriter(small_zoo.path, replace(small_zoo.manifest, count=40))
    assert writer.done == {0, 1, 2}
    assert open_zoo(small_zoo.path).manifest.count == 40
    small_zoo.write()
    assert open_zoo(small_zoo.path).manifest.count == 40
    assert open_zoo(small_zoo.path).checksum == before.checksum


# Another zoo, or none


def test_another_manifest_is_refused(small_zoo: SmallZoo) -> None:
    other = replace(small_zoo.manifest, settings={"hidden": [3], "omega": 20.0})
    with pytest.raises(FormatError, match=r"settings.omega is 30.0 there and 20.0 here. Remedy: use the settings of"):
        ZooWriter(small_zoo.path, other)
    assert open_zoo(small_zoo.path).manifest == small_zoo.manifest


def test_a_file_or_a_full_folder_is_refused(tmp_path: Path, unmade: SmallZoo) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FormatError, match="is a file; expected a folder"):
        ZooWriter(tmp_path / "file", unmade.manifest)
    with pytest.raises(FormatError, match="is no zoo .* but holds file; nothing was touched"):
        ZooWriter(tmp_path, unmade.manifest)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_lost_manifest_is_written_again_for_its_own_shards_alone(small_zoo: SmallZoo) -> None:
    (small_zoo.path / "zoo.json").unlink()
    with pytest.raises(FormatError, match="another manifest.*nothing was touched"):
        ZooWriter(small_zoo.path, replace(small_zoo.manifest, recipe="other"))
    assert ZooWriter(small_zoo.path, small_zoo.manifest).done == {0, 1, 2}
    assert len(open_zoo(small_zoo.path)) == 12


def test_a_damaged_manifest_stops_the_writer(small_zoo: SmallZoo) -> None:
    (small_zoo.path / "zoo.json").write_text("{")
    with pytest.raises(FormatError, match=r"cannot read .*zoo.json: not JSON .* keeps its shards\.$"):
        ZooWriter(small_zoo.path, small_zoo.manifest)


def test_networks_of_another_architecture(small_zoo: SmallZoo) -> None:
    module = nn.Sequential(nn.Linear(2, 4), Sine(30.0), nn.Linear(4, 1))
    with pytest.raises(FormatError, match=r"another architecture than the zoo's.*'0.weight': \(4, 2\).*\(3, 2\)"):
        small_zoo.write().write(3, features_of(spec_of(module), [module]), small_zoo.part(2)[1][:1])
    module = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    with pytest.raises(FormatError, match="other symmetries or wires"):
        small_zoo.write().write(3, features_of(spec_of(module), [module]), small_zoo.part(2)[1][:1])
    assert len(open_zoo(small_zoo.path)) == 12


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda x: x.to(torch.float64), "1 channels of torch.float64"),
        (lambda x: x.map(lambda tensor: torch.cat([tensor, tensor], dim=-1)), "2 channels"),
        (lambda x: x[:4], "5 rows for 4 networks"),
    ],
)
def test_features_of_another_form(
    unmade: SmallZoo, change: Callable[[WeightFeatures], WeightFeatures], told: str
) -> None:
    features, table = unmade.part(0)
    with pytest.raises(ShapeError, match=told):
        unmade.write().write(0, change(features), table)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda table: table.drop_columns(["number"]), "column 'number' .* type None; expected int64"),
        (lambda table: table.set_column(0, "number", pa.array(["a"] * 5)), "type string; expected int64"),
        (lambda table: table.set_column(0, "number", pa.array([1, 2, 3, 4, 4])), "names a network twice"),
        (lambda table: table.set_column(2, "split", pa.array(["train"] * 4 + ["dev"])), "holds .'dev'.; expected tr"),
        (lambda table: table.append_column("gaps", pa.array([1, None, 2, 3, 4])), "'gaps' has 1 gaps"),
    ],
)
def test_tables_of_another_form(unmade: SmallZoo, change: Callable[[pa.Table], pa.Table], told: str) -> None:
    features, table = unmade.part(0)
    writer = unmade.write()
    with pytest.raises(FormatError, match=told):
        writer.write(0, features, change(table))
    assert writer.done == set()
    assert parts(unmade.path) == []


# Disks that refuse


@pytest.mark.parametrize("after", [0, 1])
def test_full_disk_loses_nothing(unmade: SmallZoo, refuse: Refuse, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    writer = unmade.write(0, 1)
    refuse("fsync", errno.ENOSPC, after)
    with pytest.raises(StorageError, match=r"cannot write .*00002.* bytes needed.: the disk is full, .* Remedy: free"):
        writer.write(2, *unmade.part(2))
    assert writer.done == {0, 1}
    assert parts(unmade.path) == []
    monkeypatch.undo()
    assert torch.equal(flatten(open_zoo(unmade.path).features()), unmade.flat[:10])
    assert unmade.write(2).done == {0, 1, 2}
    assert check(unmade.path) == []


@pytest.mark.parametrize("after", [0, 1])
def test_full_disk_keeps_the_shard_that_was_to_be_replaced(small_zoo: SmallZoo, refuse: Refuse, after: int) -> None:
    writer = small_zoo.write()
    refuse("fsync", errno.ENOSPC, after)
    with pytest.raises(StorageError, match="disk is full"):
        writer.write(1, *small_zoo.part(1))
    assert check(small_zoo.path) == []
    assert len(open_zoo(small_zoo.path)) == 12


@pytest.mark.parametrize("after", range(2))
def test_failure_between_the_two_files_leaves_the_shard_uncommitted(
    small_zoo: SmallZoo, refuse: Refuse, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    small_zoo.flat = small_zoo.flat + 1
    writer = small_zoo.write()
    refuse("replace", errno.EIO, after)
    with pytest.raises(StorageError, match="check the path and the disk"):
        writer.write(1, *small_zoo.part(1))
    assert writer.done == {0, 2}
    assert parts(small_zoo.path) == []
    assert check(small_zoo.path) == []
    assert len(open_zoo(small_zoo.path)) == 7
    monkeypatch.undo()
    small_zoo.write(1)
    assert torch.equal(flatten(open_zoo(small_zoo.path).features(range(5, 10))), small_zoo.flat[5:10])


def test_interrupt_leaves_no_part(unmade: SmallZoo, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    writer = unmade.write(0)
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        writer.write(1, *unmade.part(1))
    assert parts(unmade.path) == []
    assert len(open_zoo(unmade.path)) == 5


def test_a_killed_run_leaves_a_readable_zoo(unmade: SmallZoo) -> None:
    """As after a power cut: half a part file, and weights whose table was never written."""
    unmade.write(0)
    (unmade.path / "shards" / ".00001.safetensors.abc.part").write_bytes(b"half")
    (unmade.path / ".zoo.json.abc.part").write_bytes(b"{")
    unmade.file(1).write_bytes(b"weights without a table")
    assert len(open_zoo(unmade.path)) == 5
    assert check(unmade.path) == []
    writer = unmade.write()
    assert writer.done == {0}
    assert parts(unmade.path) == []
    unmade.write(1, 2)
    assert torch.equal(flatten(open_zoo(unmade.path).features()), unmade.flat)


def test_a_folder_that_may_not_be_written(unmade: SmallZoo, refuse: Refuse) -> None:
    refuse("fsync", errno.EACCES)
    with pytest.raises(StorageError, match=f"cannot write {unmade.path}.*: no permission.* Remedy: "):
        unmade.write()
