"""Zoos made of zoos: every network, number and split where it belongs, and nothing that contradicts itself."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.zoo.conftest import SmallZoo
from torch import nn

from weightspace.errors import DataError, FormatError, StorageError, UnknownNameError
from weightspace.spec import Sine, spec_of
from weightspace.weights import unflatten
from weightspace.zoo import MergeSettings, Zoo, ZooWriter, append, check, merge, open_zoo, take, where

Edit = Callable[[pa.Table], pa.Table]


def column(name: str, values: list[object], kind: pa.DataType | None = None) -> Edit:
    """A change of a table of 12 networks: a column anew."""

    def edit(table: pa.Table, start: int) -> pa.Table:
        own = pa.array(values[start : start + table.num_rows], kind)
        if name in table.column_names:
            return table.set_column(table.column_names.index(name), name, own)
        return table.append_column(name, own)

    return edit


def zoo(path: Path, seed: int, *edits: Edit, **changes: object) -> Zoo:
    """A zoo of 12 networks of its own."""
    made = SmallZoo(path)
    made.flat = torch.randn(12, made.spec.numel, generator=torch.Generator().manual_seed(seed))
    writer = ZooWriter(path, replace(made.manifest, **changes))
    for shard, start in enumerate((0, 5, 10)):
        features, table = made.part(shard)
        for edit in edits:
            table = edit(table, start)
        writer.write(shard, features, table)
    return open_zoo(path)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of few networks, cut at other places than those of the sources."""
    monkeypatch.setattr("weightspace.zoo.composition._SHARD_ROWS", 4)


def files(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


# Take


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("rows", [slice(None), slice(2, 11, 2), [7, 0, 3, 11, 10]])
def test_what_is_taken_is_what_was_chosen(tmp_path: Path, rows: object) -> None:
    source = zoo(tmp_path / "a", 0)
    part = source.only(rows)  # type: ignore[arg-type]
    told: list[tuple[int, int]] = []
    made = take(part, tmp_path / "b", progress=lambda *done: told.append(done))
    assert made.table == part.table
    assert torch.equal(made.matrix(), part.matrix())
    assert made.manifest.settings == source.manifest.settings
    (entry,) = made.manifest.provenance
    assert (entry["name"], entry["checksum"], entry["networks"]) == ("a", part.checksum, len(part))
    assert told[-1] == (len(part), len(part))
    assert len(told) == len(made.shards) == -(-len(part) // 4)
    assert check(made.path) == []
    before = files(made.path)
    take(part, made.path)
    assert files(made.path) == before


def test_types_are_changed_on_the_way(tmp_path: Path) -> None:
    source = zoo(tmp_path / "a", 0)
    made = take(source, tmp_path / "b", dtype="fp16")
    assert made.manifest.dtype == "float16"
    assert torch.equal(made.matrix(), source.matrix().half().float())
    again = take(made, tmp_path / "c", dtype="float32")
    assert torch.equal(again.matrix(), made.matrix())
    assert take(made, tmp_path / "d").manifest.dtype == "float16"
    with pytest.raises(UnknownNameError, match="type of weights 'f16'"):
        take(source, tmp_path / "e", dtype="f16")


def test_another_choice_is_not_mixed_in(tmp_path: Path) -> None:
    source = zoo(tmp_path / "a", 0)
    take(source.only([1, 2]), tmp_path / "b")
    with pytest.raises(FormatError, match=r"provenance.0.checksum is .* there and .* here"):
        take(source.only([1, 3]), tmp_path / "b")
    with pytest.raises(DataError, match="nothing is left to be taken"):
        take(source.only([]), tmp_path / "c")
    with pytest.raises(FormatError, match="made otherwise"):
        take(source.only([1]), tmp_path / "a")
    assert len(open_zoo(tmp_path / "a")) == 12


def test_conditions_are_those_of_numpy(tmp_path: Path) -> None:
    source = zoo(
        tmp_path / "a",
        0,
        column("name", ["x", "y z"] * 6),
        column("loss", [0.5, float("nan")] * 6, pa.float64()),
    )
    label, psnr, loss = (source.column(name) for name in ("label", "psnr", "loss"))
    for condition, expected in (
        ("label == 3", label == 3),
        ("label=3", label == 3),
        ("label != 3", label != 3),
        (" psnr >= 3.5e1 ", psnr >= 35),
        ("psnr<35", psnr < 35),
        ("label > 2.5", label > 2.5),
        ("diverged == true", source.column("diverged")),
        ("diverged != True", ~source.column("diverged")),
        ("name == y z", source.column("name") == "y z"),
        ("name == 'y z'", source.column("name") == "y z"),
        ('split != "train"', source.column("split") != "train"),
        ("loss <= 1", loss <= 1),
        ("loss != 1", loss != 1),
    ):
        assert where(source, condition).tolist() == expected.tolist(), condition
    for condition, told in (
        ("label", "is no condition"),
        ("label ==", "cannot be asked of"),
        ("== 3", "is no condition"),
        ("label < low", "cannot be asked of"),
        ("name < 'b'", "cannot be asked of"),
        ("diverged == 1", "cannot be asked of"),
    ):
        with pytest.raises(DataError, match=told):
            where(source, condition)
    with pytest.raises(UnknownNameError, match='did you mean "label"'):
        where(source, "lable == 1")


# Merge


@pytest.mark.usefixtures("few")
def test_merged_networks_are_those_of_the_sources(tmp_path: Path) -> None:
    sources = [zoo(tmp_path / name, seed, settings={"seed": seed, "omega": 30.0}) for seed, name in enumerate("abc")]
    made = merge(sources, tmp_path / "m")
    assert torch.equal(made.matrix(), torch.cat([source.matrix() for source in sources]))
    for name in ("label", "split", "psnr"):
        assert made.column(name).tolist() == [value for source in sources for value in source.column(name).tolist()]
    assert made.column("number").tolist() == list(range(36))
    assert made.column("origin").tolist() == [0] * 12 + [1] * 12 + [2] * 12
    assert made.column("origin_number").tolist() == sources[0].column("number").tolist() * 3
    manifest = made.manifest
    assert (manifest.settings, manifest.recipe, manifest.count) == ({"omega": 30.0}, "siren", 36)
    told = [(entry["name"], entry["checksum"], entry["settings"]["seed"]) for entry in manifest.provenance]
    assert told == [
        (name, source.checksum, seed) for seed, (name, source) in enumerate(zip("abc", sources, strict=True))
    ]
    assert check(made.path) == []
    before = files(made.path)
    merge(sources, made.path)
    assert files(made.path) == before


def test_a_merged_zoo_of_merged_zoos_knows_where_all_come_from(tmp_path: Path) -> None:
    a, b, c = (zoo(tmp_path / name, seed) for seed, name in enumerate("abc"))
    inner = merge([a, b], tmp_path / "ab")
    outer = merge([c, inner], tmp_path / "cab")
    assert [entry["name"] for entry in outer.manifest.provenance] == ["c", "a", "b"]
    assert [len(entry["through"]) for entry in outer.manifest.provenance] == [0, 1, 1]
    assert outer.manifest.provenance[2]["through"][0]["checksum"] == inner.checksum
    assert outer.column("origin").tolist() == [0] * 12 + [1] * 12 + [2] * 12
    assert outer.column("origin_number").tolist() == a.column("number").tolist() * 3


def test_numbers_of_networks_stay_apart_and_parents_follow(tmp_path: Path) -> None:
    """Checkpoints of one network stay together, those of two zoos do not meet."""
    network = column("network", np.repeat(np.arange(6), 2).tolist())
    a = zoo(tmp_path / "a", 0, network)
    number = a.column("number")
    child = column("parent", [-1 if row % 2 == 0 else int(number[row - 1]) for row in range(12)])
    a, b = (zoo(tmp_path / name, seed, network, child) for seed, name in ((0, "x"), (1, "y")))
    made = merge([a, b], tmp_path / "m")
    assert made.column("network").tolist() == np.repeat(np.arange(12), 2).tolist()
    assert made.column("parent").tolist() == [-1 if row % 2 == 0 else row - 1 for row in range(24)]
    grown = append(a.path, b)
    first = int(number.max()) + 1
    assert grown.column("network").tolist() == np.repeat(np.arange(12), 2).tolist()
    assert grown.column("number").tolist() == [*number.tolist(), *range(first, first + 12)]
    assert grown.column("parent").tolist()[12:] == [-1 if row % 2 == 0 else first + row - 1 for row in range(12)]


def test_a_network_of_two_zoos(tmp_path: Path) -> None:
    a = zoo(tmp_path / "a", 0)
    b = take(a.only([3, 8]), tmp_path / "b")
    c = merge([b, zoo(tmp_path / "other", 1)], tmp_path / "c", MergeSettings(columns="common"))
    numbers = a.column("number")
    told = rf"network 0 of .*c is network {numbers[3]} of .*a, weight by weight. Remedy: keep the first"
    with pytest.raises(DataError, match=told):
        merge([a, c], tmp_path / "m", MergeSettings(columns="common"))
    assert not (tmp_path / "m").exists()
    made = merge([a, c], tmp_path / "m", MergeSettings(duplicates="first"))
    assert torch.equal(made.matrix(), torch.cat([a.matrix(), c.matrix(slice(2, None))]))
    assert made.column("origin").tolist() == [0] * 12 + [2] * 12
    both = merge([a, c], tmp_path / "n", MergeSettings(duplicates="all"))
    assert len(both) == 26
    with pytest.raises(FormatError, match=r"provenance.0.merged.duplicates is 'first' there and 'all' here"):
        merge([a, c], tmp_path / "m", MergeSettings(duplicates="all"))


def test_equal_networks_of_one_zoo_are_its_own_affair(tmp_path: Path) -> None:
    """Such as the checkpoints of a network that diverged."""
    made = SmallZoo(tmp_path / "a")
    made.flat[1] = made.flat[0]
    made.write(0, 1, 2)
    assert len(merge([open_zoo(made.path), zoo(tmp_path / "b", 1)], tmp_path / "m")) == 24


def test_an_image_in_two_splits(tmp_path: Path) -> None:
    images = column("image", list(range(12)))
    a = zoo(tmp_path / "a", 0, images, column("split", ["train", "test"] * 6))
    b = zoo(tmp_path / "b", 1, images, column("split", ["train"] * 12))
    with pytest.raises(DataError, match="image 1 is in test in a and in train in b: 6 networks .* Remedy: put them"):
        merge([a, b], tmp_path / "m")
    made = merge([a, b], tmp_path / "m", MergeSettings(splits="first"))
    assert made.column("split").tolist() == ["train", "test"] * 12
    with pytest.raises(DataError, match="image 1 is in test in a"):
        append(a.path, b)
    grown = append(a.path, b, MergeSettings(splits="first"))
    assert grown.column("split").tolist() == ["train", "test"] * 12


def test_the_same_number_in_another_data_set_is_another_image(tmp_path: Path) -> None:
    images = column("image", list(range(12)))
    a = zoo(tmp_path / "a", 0, images, column("split", ["test"] * 12), source={"name": "mnist"})
    b = zoo(tmp_path / "b", 1, images, column("split", ["train"] * 12), source={"name": "fashion"})
    made = merge([a, b], tmp_path / "m")
    assert made.column("split").tolist() == ["test"] * 12 + ["train"] * 12
    assert made.manifest.source == {}
    with pytest.raises(DataError, match="'mnist' and .* of 'fashion', and images are told by their number alone"):
        append(a.path, b)
    # A merged zoo knows the data set of each row.
    c = zoo(tmp_path / "c", 2, images, column("split", ["test"] * 12), source={"name": "fashion"})
    with pytest.raises(DataError, match="image 0 is in train in b and in test in c"):
        merge([made, c], tmp_path / "n")


def test_zoos_of_different_networks(tmp_path: Path) -> None:
    a = zoo(tmp_path / "a", 0)
    module = nn.Sequential(nn.Linear(2, 3), Sine(20.0), nn.Linear(3, 1))
    spec = spec_of(module)
    writer = ZooWriter(tmp_path / "b", replace(a.manifest, spec=spec))
    writer.write(0, unflatten(spec, torch.zeros(2, spec.numel)), a.table.slice(0, 2))
    other = open_zoo(tmp_path / "b")
    with pytest.raises(
        FormatError, match=r"different kinds: places\[\d\] of the spec is .*30.0.* here and .*20.0.* there"
    ):
        merge([a, other], tmp_path / "m")
    with pytest.raises(FormatError, match="forward.offset is None here and 0.5 there"):
        merge([a, zoo(tmp_path / "c", 1, forward={"offset": 0.5})], tmp_path / "m")
    with pytest.raises(FormatError, match="different kinds"):
        append(a.path, other)
    with pytest.raises(DataError, match="1 zoos are given"):
        merge([a], tmp_path / "m")


def test_other_columns(tmp_path: Path) -> None:
    a, b = zoo(tmp_path / "a", 0), zoo(tmp_path / "b", 1, column("extra", [1.0] * 12))
    with pytest.raises(FormatError, match="column 'extra' is in .*b'. and not in all"):
        merge([a, b], tmp_path / "m")
    assert "extra" not in merge([b, a], tmp_path / "m", MergeSettings(columns="common")).table.column_names
    with pytest.raises(FormatError, match="column 'psnr' has type float in .*a and int64 in"):
        merge([a, zoo(tmp_path / "c", 2, column("psnr", list(range(12))))], tmp_path / "n")


def test_types_of_merged_zoos(tmp_path: Path) -> None:
    a, b = zoo(tmp_path / "a", 0, dtype="bfloat16"), zoo(tmp_path / "b", 1, dtype="bfloat16")
    c = zoo(tmp_path / "c", 2)
    assert merge([a, b], tmp_path / "ab").manifest.dtype == "bfloat16"
    assert merge([a, c], tmp_path / "ac").manifest.dtype == "float32"
    assert merge([a, c], tmp_path / "h", MergeSettings(dtype="fp16")).manifest.dtype == "float16"


# Append


@pytest.mark.usefixtures("few")
def test_appended_networks_stand_behind_and_nothing_else_changes(tmp_path: Path) -> None:
    a, b, c = (zoo(tmp_path / name, seed) for seed, name in enumerate("abc"))
    before = files(a.path)
    told: list[tuple[int, int]] = []
    made = append(a.path, b.only(slice(5)), progress=lambda *done: told.append(done))
    assert told == [(4, 5), (5, 5)]
    assert {name: content for name, content in files(a.path).items() if name in before and "shards" in name} == {
        name: content for name, content in before.items() if "shards" in name
    }
    assert torch.equal(made.matrix(), torch.cat([a.matrix(), b.matrix(slice(5))]))
    assert (made.manifest.count, made.manifest.digest) == (17, a.manifest.digest)
    assert (made.manifest.appended[0]["name"], made.manifest.appended[0]["networks"]) == ("b", 5)
    assert len(np.unique(made.column("number"))) == 17
    made = append(a.path, c)
    after = files(a.path)
    # Each again: what is there is not added twice.
    append(a.path, b.only(slice(5)))
    append(a.path, c)
    assert files(a.path) == after
    assert torch.equal(open_zoo(a.path).matrix(), torch.cat([a.matrix(), b.matrix(slice(5)), c.matrix()]))
    assert check(a.path) == []


def test_a_shard_of_appended_networks_is_made_again(tmp_path: Path) -> None:
    a, b = zoo(tmp_path / "a", 0), zoo(tmp_path / "b", 1)
    append(a.path, b)
    before = files(a.path)
    (a.path / "shards" / "00003.parquet").unlink()
    with pytest.raises(DataError, match="12 of 24 planned .* is not complete"):
        append(a.path, zoo(tmp_path / "c", 2))
    append(a.path, b)
    assert files(a.path) == before


def test_a_zoo_with_appended_networks_keeps_them(tmp_path: Path) -> None:
    """The recipe that made it may repair its own shards, but not write over those behind."""
    a = zoo(tmp_path / "a", 0)
    append(a.path, zoo(tmp_path / "b", 1))
    made = SmallZoo(a.path)
    made.flat = torch.randn(12, made.spec.numel, generator=torch.Generator().manual_seed(0))
    before = files(a.path)
    made.file(1).unlink()
    assert made.write(1).done == {0, 1, 2, 3}
    assert files(a.path) == before
    with pytest.raises(FormatError, match="cannot grow: networks of 'b' were appended"):
        ZooWriter(a.path, replace(made.manifest, count=13))
    assert files(a.path) == before


def test_what_cannot_be_appended(tmp_path: Path) -> None:
    a, b = zoo(tmp_path / "a", 0), zoo(tmp_path / "b", 1)
    for settings in (MergeSettings(dtype="bf16"), MergeSettings(columns="common")):
        with pytest.raises(DataError, match="leave dtype and columns out"):
            append(a.path, b, settings)
    with pytest.raises(DataError, match="weight by weight"):
        append(a.path, a)
    with pytest.raises(DataError, match="no networks are left"):
        append(a.path, a, MergeSettings(duplicates="first"))
    assert len(open_zoo(a.path)) == 12


def test_weights_that_do_not_fit_are_not_planned(tmp_path: Path) -> None:
    a = zoo(tmp_path / "a", 0, dtype="float16")
    large = SmallZoo(tmp_path / "b")
    large.flat[11, 0] = 1e5
    large.write(0, 1, 2)
    before = files(a.path)
    with pytest.raises(FormatError, match=f"network {large.numbers[11]} cannot be stored as float16"):
        append(a.path, open_zoo(large.path))
    assert files(a.path) == before
    assert append(a.path, zoo(tmp_path / "c", 1)).manifest.dtype == "float16"


def test_appended_to_a_merged_zoo(tmp_path: Path) -> None:
    """It tells where every network comes from, and goes on to do so."""
    a, b, c, d = (zoo(tmp_path / name, seed) for seed, name in enumerate("abcd"))
    made = merge([a, b], tmp_path / "m")
    append(made.path, merge([c, d], tmp_path / "n"))
    grown = append(made.path, zoo(tmp_path / "e", 5))
    assert grown.column("origin").tolist() == [place for place in range(5) for _ in range(12)]
    after = files(made.path)
    (made.path / "shards" / "00001.parquet").unlink()
    append(made.path, open_zoo(tmp_path / "n"))
    assert files(made.path) == after
    last = merge([grown, zoo(tmp_path / "f", 6)], tmp_path / "o")
    assert [entry["name"] for entry in last.manifest.provenance] == list("abcdef")
    assert last.column("origin").tolist() == [place for place in range(6) for _ in range(12)]


def test_another_process_that_writes(tmp_path: Path) -> None:
    import fcntl
    import os

    a = zoo(tmp_path / "a", 0)
    other = os.open(a.path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with pytest.raises(StorageError, match="another process is writing to .*a; nothing was touched. Remedy: wait"):
        ZooWriter(a.path, a.manifest)
    assert len(open_zoo(a.path)) == 12
    os.close(other)
    first, second = ZooWriter(a.path, a.manifest), ZooWriter(a.path, a.manifest)
    del first
    other = os.open(a.path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    del second
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_evil_provenance(tmp_path: Path) -> None:
    a = zoo(tmp_path / "a", 0)
    plain = json.loads((a.path / "zoo.json").read_text())
    for change in ({"appended": [{"networks": "many"}]}, {"appended": 3}, {"provenance": [3]}, {"dtype": "int8"}):
        (a.path / "zoo.json").write_text(json.dumps({**plain, **change}))
        with pytest.raises(FormatError, match="entry missing or damaged"):
            open_zoo(a.path)


@pytest.mark.parametrize("values", [[5] * 12, [-1] * 12, ["a"] * 12])
def test_origins_that_lead_nowhere(tmp_path: Path, values: list[object]) -> None:
    a = zoo(tmp_path / "a", 0, column("origin", values), column("origin_number", list(range(12))))
    with pytest.raises(FormatError, match="that do not lead to the 1 entries of its provenance"):
        merge([zoo(tmp_path / "b", 1), a], tmp_path / "m")


def test_columns_of_texts(tmp_path: Path) -> None:
    """Networks and images that somebody told by names."""
    edits = [column(name, [f"{name} {row // 2}" for row in range(12)]) for name in ("network", "image")]
    split = column("split", ["train"] * 12)
    made = merge([zoo(tmp_path / "a", 0, *edits, split), zoo(tmp_path / "b", 1, *edits, split)], tmp_path / "m")
    assert made.column("network").tolist()[:3] == ["network 0", "network 0", "network 1"]
