"""The card of a zoo, and zoos as data sets of the Hugging Face library."""

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests.zoo.conftest import SmallZoo

from weightspace.errors import DataError, FormatError
from weightspace.zoo import (
    ZooWriter,
    check,
    export,
    from_dataset,
    merge,
    open_zoo,
    take,
    to_dataset,
    write_card,
)
from weightspace.zoo.card import _size, card


def front(text: str) -> dict[str, str]:
    """The flat entries of the front matter."""
    found = re.fullmatch(r"---\n(.*?)\n---\n.*", text, re.DOTALL)
    assert found is not None
    return dict(line.split(": ", 1) for line in found[1].splitlines() if ": " in line)


def test_a_card_tells_what_the_hub_asks_for(small_zoo: SmallZoo) -> None:
    zoo = open_zoo(small_zoo.path)
    told = front(card(zoo, license="cc-by-4.0"))
    assert told["license"] == "cc-by-4.0"
    assert told["pretty_name"] == '"zoo"'
    assert told["    path"] == '"shards/*.parquet"'
    text = card(zoo)
    assert front(text)["license"] == "unknown"
    assert "size_categories:\n- n<1K\n" in text
    for fact in ('- "weightspace"', '- "siren"', "12 trained networks of 13 parameters", "| psnr | 30 |", zoo.checksum):
        assert fact in text
    with pytest.raises(FormatError, match="is no name of a licence"):
        card(zoo, license="MIT\nevil: true")


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "n<1K"), (999, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (10**8, "100M<n<1B"), (10**9, "1B<n<10B")],
)
def test_sizes_are_the_hubs_own(count: int, told: str) -> None:
    assert _size(count) == told


def test_the_front_matter_is_yaml(small_zoo: SmallZoo) -> None:
    """Whatever a zoo is called."""
    yaml = pytest.importorskip("yaml")
    zoo = open_zoo(small_zoo.path)
    for recipe in ("siren", "a: b", "- x", "'\"\n---\n", "{}", "ü"):
        zoo.manifest = replace(zoo.manifest, recipe=recipe)
        plain = yaml.safe_load(card(zoo, license="mit").split("\n---\n")[0])
        assert plain["tags"][-1] == recipe
        assert plain["configs"] == [
            {"config_name": "default", "data_files": [{"split": "networks", "path": "shards/*.parquet"}]}
        ]


def test_a_card_that_somebody_wrote_stays(small_zoo: SmallZoo) -> None:
    zoo, path = open_zoo(small_zoo.path), small_zoo.path / "README.md"
    assert write_card(zoo, license="mit")
    first = path.read_text()
    assert write_card(zoo)
    assert path.read_text() == first
    path.write_text("my own words")
    assert not write_card(zoo)
    assert path.read_text() == "my own words"
    assert write_card(zoo, replace=True)
    assert front(path.read_text())["license"] == "unknown"
    # A folder with a card is a zoo of which the manifest may be written again.
    (small_zoo.path / "zoo.json").unlink()
    assert ZooWriter(small_zoo.path, small_zoo.manifest).done == {0, 1, 2}


def test_zoos_of_zoos_have_cards_that_name_them(small_zoo: SmallZoo, tmp_path: Path) -> None:
    zoo = open_zoo(small_zoo.path)
    made = merge(
        [take(zoo.only(slice(5)), tmp_path / "a"), take(zoo.only(slice(5, 12)), tmp_path / "b")], tmp_path / "m"
    )
    text = (made.path / "README.md").read_text()
    assert text.count(made.manifest.provenance[0]["checksum"]) == 1
    assert "## Put together from" in text
    assert "| zoo | 7 |" in text
    assert check(made.path) == []


# Data sets


@pytest.fixture(scope="module", autouse=True)
def own_cache_of_datasets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The library keeps a cache in the home of the person who runs the tests."""
    datasets = pytest.importorskip("datasets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.mktemp("datasets"))
        yield


def same(found: pa.Table, expected: pa.Table) -> bool:
    return bool(found == expected and found.schema == expected.schema)


def test_there_and_back_to_the_byte(small_zoo: SmallZoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo = open_zoo(small_zoo.path)
    monkeypatch.setattr("weightspace.zoo.composition._SHARD_ROWS", 5)
    dataset = to_dataset(zoo)
    assert len(dataset) == 12
    assert dataset[3]["weights"] == small_zoo.flat[3].tolist()
    again = from_dataset(dataset, zoo.manifest, tmp_path / "again")
    assert again.checksum == zoo.checksum
    for file in small_zoo.path.rglob("*.*"):
        if file.is_file():
            assert (tmp_path / "again" / file.relative_to(small_zoo.path)).read_bytes() == file.read_bytes()
    from_dataset(dataset, zoo.manifest, tmp_path / "again")
    spec = from_dataset(dataset, zoo.spec, tmp_path / "spec", dtype="bf16")
    assert (spec.manifest.recipe, spec.manifest.dtype, len(spec)) == ("dataset", "bfloat16", 12)
    assert same(spec.table, zoo.table)


def test_a_data_set_of_somebody_else(small_zoo: SmallZoo, tmp_path: Path) -> None:
    from datasets import Dataset

    rows = small_zoo.flat.double().tolist()
    made = from_dataset(
        Dataset.from_dict({"weights": rows, "name": list("abcdefghijkl")}), small_zoo.spec, tmp_path / "z"
    )
    assert torch.equal(made.matrix(), small_zoo.flat)
    assert made.column("number").tolist() == list(range(12))
    assert made.column("name").tolist() == list("abcdefghijkl")
    assert len(from_dataset(Dataset.from_dict({"weights": rows}), small_zoo.spec, tmp_path / "bare")) == 12
    for columns, told in (
        ({"flat": rows}, "expected one named 'weights'"),
        ({"weights": [row[:-1] for row in rows]}, "expected 13 numbers in each"),
        ({"weights": [rows[0][:-1], [*rows[1], 1.0]]}, "expected 13 numbers in each"),
        ({"weights": [1.0, 2.0]}, "expected lists of floating"),
        ({"weights": rows, "name": [None] * 11 + ["x"]}, "gaps"),
        ({"weights": rows, "number": [1] * 12}, "names a network twice"),
    ):
        with pytest.raises(FormatError, match=told):
            from_dataset(Dataset.from_dict(columns), small_zoo.spec, tmp_path / "refused")
        shutil.rmtree(tmp_path / "refused", ignore_errors=True)


def test_a_zoo_as_parquet_files(small_zoo: SmallZoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import load_dataset

    monkeypatch.setattr("weightspace.zoo.composition._SHARD_ROWS", 5)
    zoo, dest = open_zoo(small_zoo.path), tmp_path / "out"
    told: list[tuple[int, int]] = []
    export(zoo, dest, license="mit", progress=lambda *done: told.append(done))
    assert told == [(5, 12), (10, 12), (12, 12)]
    whole = {file.name: file.read_bytes() for file in dest.rglob("*") if file.is_file()}
    table = pq.read_table(dest / "data")
    assert np.array_equal(np.stack(table["weights"].to_numpy()), small_zoo.flat.numpy())
    # Interrupted: what is missing is written, and nothing else.
    (dest / "data" / "00001.parquet").unlink()
    (dest / "README.md").unlink()
    export(zoo, dest, license="mit")
    assert whole == {file.name: file.read_bytes() for file in dest.rglob("*") if file.is_file()}
    dataset = load_dataset(str(dest), split="networks")
    assert from_dataset(dataset, zoo.manifest, tmp_path / "again").checksum == zoo.checksum
    assert json.loads(whole["manifest.json"])["checksum"] == zoo.checksum
    with pytest.raises(FormatError, match="holds something else"):
        export(zoo.only(slice(3)), dest)
    with pytest.raises(FormatError, match="holds something else"):
        export(zoo, small_zoo.path)


def test_without_the_library(small_zoo: SmallZoo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(DataError, match=r"not installed. Remedy: pip install 'weightspace\[hub\]'"):
        to_dataset(open_zoo(small_zoo.path))
    # An export needs none.
    export(open_zoo(small_zoo.path), small_zoo.path.parent / "out")


def test_a_column_of_that_name(small_zoo: SmallZoo) -> None:
    writer = small_zoo.write()
    for shard in range(3):
        features, table = small_zoo.part(shard)
        writer.write(shard, features, table.append_column("weights", pa.array([1.0] * table.num_rows)))
    with pytest.raises(DataError, match="has a column 'weights' of its own"):
        to_dataset(open_zoo(small_zoo.path))


def test_names_that_no_file_can_hold(small_zoo: SmallZoo) -> None:
    zoo = open_zoo(small_zoo.path)
    zoo.manifest = replace(zoo.manifest, recipe="\ud800", provenance=[{"name": "\ud800 | a\n# b"}, {}])
    assert write_card(zoo)
    assert "| ? a # b |" in (small_zoo.path / "README.md").read_text()


def test_the_hub_reads_the_tables_by_the_card(small_zoo: SmallZoo) -> None:
    from datasets import load_dataset

    zoo = open_zoo(small_zoo.path)
    write_card(zoo)
    dataset = load_dataset(str(small_zoo.path), split="networks")
    assert dataset["number"][:] == zoo.column("number").tolist()
