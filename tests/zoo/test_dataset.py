"""Reading: rows as they were written, in any order; damage is found before its rows are given away."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.zoo.conftest import SmallZoo, flip

from weightspace.errors import DataError, FormatError, UnknownNameError
from weightspace.weights import flatten, unflatten
from weightspace.zoo import Zoo, open_zoo


def same(zoo: Zoo, rows: object, expected: torch.Tensor) -> bool:
    return torch.equal(flatten(zoo.features(rows)), expected)  # type: ignore[arg-type]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 11), max_size=30))
def test_rows_in_any_order(small_zoo: SmallZoo, rows: list[int]) -> None:
    zoo = open_zoo(small_zoo.path)
    one_by_one = torch.stack([small_zoo.flat[row] for row in rows]) if rows else torch.zeros(0, zoo.spec.numel)
    assert same(zoo, np.array(rows, dtype=np.int64), one_by_one)


@pytest.mark.parametrize("rows", [slice(None), slice(3, 11, 2), slice(None, None, -1), slice(20, 30)])
def test_slices(small_zoo: SmallZoo, rows: slice) -> None:
    expected = small_zoo.flat[list(range(12))[rows]]
    assert same(open_zoo(small_zoo.path), rows, expected)


def test_kinds_of_rows(small_zoo: SmallZoo) -> None:
    zoo, flat = open_zoo(small_zoo.path), small_zoo.flat
    assert same(zoo, 7, flat[7:8])
    assert same(zoo, [6, 1], flat[[6, 1]])
    assert same(zoo, torch.tensor([6, 1]), flat[[6, 1]])
    assert same(zoo, np.array([6, 1], dtype=np.int32), flat[[6, 1]])
    assert same(zoo, zoo.split("test"), flat[zoo.split("test")])


def test_features_are_those_of_the_spec(small_zoo: SmallZoo) -> None:
    features = open_zoo(small_zoo.path).features([0, 11])
    expected = unflatten(small_zoo.spec, small_zoo.flat[[0, 11]])
    assert features.spec == small_zoo.spec
    assert features.channels == 1
    for param in small_zoo.spec.params:
        assert torch.equal(features[param.name], expected[param.name])


def test_features_are_copies(small_zoo: SmallZoo) -> None:
    zoo = open_zoo(small_zoo.path)
    for tensor in zoo.features(slice(None)).tensors:
        tensor.zero_()
    assert same(zoo, slice(None), small_zoo.flat)
    assert same(open_zoo(small_zoo.path), slice(None), small_zoo.flat)


def test_table_columns_and_splits(small_zoo: SmallZoo) -> None:
    zoo = open_zoo(small_zoo.path)
    assert len(zoo) == zoo.table.num_rows == 12
    assert zoo.column("number").tolist() == small_zoo.numbers.tolist()
    assert zoo.column("label").tolist() == (small_zoo.numbers % 10).tolist()
    assert zoo.column("psnr").dtype == np.float32
    assert zoo.column("diverged").dtype == bool
    parts = [zoo.split(name) for name in ("train", "val", "test")]
    assert sorted(np.concatenate(parts).tolist()) == list(range(12))
    assert all((np.diff(part) > 0).all() for part in parts)
    assert set(zoo.column("split")[parts[0]]) == {"train"}
    assert repr(zoo).endswith("zoo': 12 siren networks of 13 parameters)")


def test_unknown_names_offer_the_nearest(small_zoo: SmallZoo) -> None:
    zoo = open_zoo(small_zoo.path)
    with pytest.raises(UnknownNameError, match='did you mean "label"'):
        zoo.column("labels")
    with pytest.raises(UnknownNameError, match='did you mean "train"'):
        zoo.split("trian")


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([3, 12], "row 12 does not exist: .* has rows 0 to 11"),
        ([-1], "row -1 does not exist"),
        (12, "row 12 does not exist"),
        (np.zeros(12, dtype=bool), "flatnonzero"),
        (np.zeros((2, 2), dtype=np.int64), "in one dimension"),
        (np.array([0.0]), "type float64"),
    ],
)
def test_rows_that_do_not_exist(small_zoo: SmallZoo, rows: object, told: str) -> None:
    with pytest.raises(DataError, match=told):
        open_zoo(small_zoo.path).features(rows)  # type: ignore[arg-type]


def test_checksum_follows_the_content(small_zoo: SmallZoo) -> None:
    zoo = open_zoo(small_zoo.path)
    moved = shutil.copytree(small_zoo.path, small_zoo.path.parent / "moved")
    assert open_zoo(moved).checksum == zoo.checksum
    small_zoo.file(2, "parquet").unlink()
    assert open_zoo(small_zoo.path).checksum != zoo.checksum
    small_zoo.flat[11, 3] += 1
    small_zoo.write(2)
    assert open_zoo(small_zoo.path).checksum != zoo.checksum


def test_a_worker_opens_the_zoo_itself(small_zoo: SmallZoo) -> None:
    zoo = open_zoo(small_zoo.path)
    zoo.features([0, 11])
    sent = pickle.dumps(zoo)
    assert len(sent) < 500
    assert same(pickle.loads(sent), [0, 11], small_zoo.flat[[0, 11]])


def test_only_some_rows(small_zoo: SmallZoo) -> None:
    """By numbers, by a mask and twice in a row: table, splits and weights stay together."""
    zoo = open_zoo(small_zoo.path)
    mask = zoo.column("split") == "train"
    for part, rows in (
        (zoo.only([8, 2, 11]), [8, 2, 11]),
        (zoo.only(slice(None, None, 3)), [0, 3, 6, 9]),
        (zoo.only(mask), np.flatnonzero(mask).tolist()),
        (zoo.only(torch.from_numpy(mask)), np.flatnonzero(mask).tolist()),
        (zoo.only([8, 2, 11, 5]).only([3, 0]), [5, 8]),
        (zoo.only(np.zeros(12, bool)), []),
    ):
        assert len(part) == len(rows)
        assert part.column("number").tolist() == small_zoo.numbers[rows].tolist()
        assert same(part, slice(None), small_zoo.flat[rows])
        assert (part.split("train") == np.flatnonzero(mask[rows])).all()
        assert same(pickle.loads(pickle.dumps(part)), slice(None), small_zoo.flat[rows])
        assert part.checksum != zoo.checksum
        assert "planned" not in repr(part)
    assert same(zoo.only([8, 2, 11]), [2, 0], small_zoo.flat[[11, 8]])
    assert zoo.only([8, 2]).checksum == zoo.only([8, 2]).checksum != zoo.only([2, 8]).checksum
    with pytest.raises(DataError, match="row 3 does not exist"):
        zoo.only([8, 2, 11]).features(3)
    with pytest.raises(DataError, match=r"booleans have shape \(3,\); expected one for each of 12 rows"):
        zoo.only(np.ones(3, bool))


def test_a_zoo_in_the_making_opens(unmade: SmallZoo) -> None:
    unmade.write()
    empty = open_zoo(unmade.path)
    assert len(empty) == len(empty.features()) == len(empty.split("train")) == 0
    assert "0 of 12 planned siren networks" in repr(empty)
    with pytest.raises(DataError, match="row 0 does not exist: .* holds no networks yet"):
        empty.features(0)
    unmade.write(0)
    unmade.write(2)
    partial = open_zoo(unmade.path)
    assert "7 of 12 planned" in repr(partial)
    assert same(partial, slice(None), unmade.flat[[0, 1, 2, 3, 4, 10, 11]])
    assert partial.column("number").tolist() == unmade.numbers[[0, 1, 2, 3, 4, 10, 11]].tolist()


# Damage


def test_changed_bit_in_the_weights(small_zoo: SmallZoo) -> None:
    flip(small_zoo.file(1), -1)
    zoo = open_zoo(small_zoo.path)
    with pytest.raises(FormatError, match=r"shard 1 is damaged: .*00001.safetensors.*weightspace zoo make"):
        zoo.features([0, 5])
    assert same(zoo, [0, 11], small_zoo.flat[[0, 11]])


@pytest.mark.parametrize("ending", ["safetensors", "parquet"])
@pytest.mark.parametrize("kept", [0, 10, -1])
def test_file_cut_short(small_zoo: SmallZoo, ending: str, kept: int) -> None:
    path = small_zoo.file(1, ending)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(FormatError, match=f"shard 1 is damaged: .*00001.{ending}.*zoo make.*skip_damaged=True"):
        open_zoo(small_zoo.path)


def test_changed_bit_in_the_table(small_zoo: SmallZoo) -> None:
    flip(small_zoo.file(1, "parquet"), 40)
    with pytest.raises(FormatError, match="shard 1 is damaged: .*00001.parquet"):
        open_zoo(small_zoo.path)


def test_weights_missing(small_zoo: SmallZoo) -> None:
    small_zoo.file(1).unlink()
    with pytest.raises(FormatError, match=r"shard 1 is damaged: .*00001.safetensors"):
        open_zoo(small_zoo.path)


def test_weights_of_another_shard(small_zoo: SmallZoo) -> None:
    shutil.copy(small_zoo.file(0), small_zoo.file(1))
    with pytest.raises(FormatError, match="shard 1 is damaged: .* has sha256"):
        open_zoo(small_zoo.path).features(5)
    shutil.copy(small_zoo.file(2), small_zoo.file(1))
    with pytest.raises(FormatError, match=r"shard 1 is damaged: .*tells of 5 networks; there are weights of 2"):
        open_zoo(small_zoo.path)


@pytest.mark.parametrize("ending", ["safetensors", "parquet"])
def test_damaged_shards_can_be_left_out(small_zoo: SmallZoo, ending: str) -> None:
    flip(small_zoo.file(1, ending), 40)
    zoo = open_zoo(small_zoo.path, skip_damaged=True)
    assert [problem.shard for problem in zoo.problems] == [1]
    assert same(zoo, slice(None), small_zoo.flat[[0, 1, 2, 3, 4, 10, 11]])
    assert len(pickle.loads(pickle.dumps(zoo))) == 7


def test_shards_with_other_columns(small_zoo: SmallZoo) -> None:
    features, table = small_zoo.part(1)
    small_zoo.write().write(1, features, table.drop_columns(["psnr"]))
    with pytest.raises(FormatError, match="shard 1 of .* expected the same"):
        open_zoo(small_zoo.path)


def test_not_a_zoo(small_zoo: SmallZoo) -> None:
    with pytest.raises(FormatError, match="is not a folder; expected a zoo"):
        open_zoo(small_zoo.path / "zoo.json")
    with pytest.raises(FormatError, match=r"is not a zoo: it holds no zoo.json.*make one"):
        open_zoo(small_zoo.path / "shards")
    (small_zoo.path / "zoo.json").unlink()
    with pytest.raises(FormatError, match="write it again with `weightspace zoo make`"):
        open_zoo(small_zoo.path)


def test_shards_that_may_not_be_listed(small_zoo: SmallZoo, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.listdir", refuse)
    with pytest.raises(DataError, match="cannot list .*shards: Permission denied. Remedy"):
        open_zoo(small_zoo.path)


def test_manifest_of_a_newer_version(small_zoo: SmallZoo) -> None:
    path = small_zoo.path / "zoo.json"
    path.write_text(path.read_text().replace('"version": 2', '"version": 7'))
    with pytest.raises(
        FormatError, match=r"cannot read .*zoo.json: zoo format 7; this weightspace reads formats 1 to 2"
    ):
        open_zoo(small_zoo.path)


def test_manifest_that_was_changed(small_zoo: SmallZoo) -> None:
    path = small_zoo.path / "zoo.json"
    path.write_text(path.read_text().replace("30.0", "20.0"))
    with pytest.raises(FormatError, match="shard 0 .* written for a zoo with another manifest"):
        open_zoo(small_zoo.path)
    path.write_text("{")
    with pytest.raises(FormatError, match="not JSON"):
        open_zoo(small_zoo.path)
