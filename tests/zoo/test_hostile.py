"""Bytes of a stranger: a zoo or an error that says why not, and never a file outside of the folder."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.zoo.conftest import SmallZoo

from weightspace.errors import DataError, FormatError, WeightspaceError
from weightspace.zoo import ZooWriter, check, open_zoo
from weightspace.zoo.format import Manifest, read_layout

HUGE = "1" * 4000
EVIL = [
    "null",
    "true",
    "-1",
    "0",
    "3",
    str(2**31),
    str(2**63),
    str(2**70),
    HUGE,
    "1e400",
    "-1e400",
    "NaN",
    "1.5",
    '""',
    '"../../../etc/passwd"',
    '"\\u0000"',
    '"\\ud800"',
    "[]",
    "{}",
    "[[]]",
    "[" * 50 + "]" * 50,
    '{"a": {"a": {"a": []}}}',
]


def refusal(work: Callable[[], object]) -> str | None:
    """What the package says of it; any other error is one of the package."""
    try:
        work()
    except WeightspaceError as failure:
        return str(failure)
    return None


def readable(path: Path) -> None:
    """Reads all there is of a zoo; whatever is wrong must be said by an error of the package's own."""
    for work in (lambda: open_zoo(path).features(), lambda: check(path), lambda: open_zoo(path, skip_damaged=True)):
        told = refusal(work)
        assert told is None or len(told) < 5000


# Changed anywhere

Change = tuple[str, float, int]
CHANGES = st.lists(
    st.tuples(st.sampled_from(["set", "flip", "cut", "drop", "add", "copy"]), st.floats(0, 1), st.integers(0, 255)),
    min_size=1,
    max_size=4,
)


def changed(content: bytes, changes: list[Change]) -> bytes:
    out = bytearray(content)
    for kind, place, value in changes:
        at = min(int(place * len(out)), len(out) - 1)
        match kind:
            case _ if at < 0:
                break
            case "set":
                out[at] = value
            case "flip":
                out[at] ^= 1 << value % 8
            case "cut":
                del out[at:]
            case "drop":
                del out[at : at + 1 + value % 16]
            case "add":
                out[at:at] = bytes([value]) * (1 + value % 9)
            case "copy":
                out[at:at] = out[at : at + value]
    return bytes(out)


@pytest.mark.parametrize("file", ["zoo.json", "shards/00001.safetensors", "shards/00001.parquet"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(changes=CHANGES)
def test_any_change_of_a_file(small_zoo: SmallZoo, file: str, changes: list[Change]) -> None:
    path = small_zoo.path / file
    before = path.read_bytes()
    path.write_bytes(changed(before, changes))
    try:
        readable(small_zoo.path)
        if file != "zoo.json":
            found = open_zoo(small_zoo.path, skip_damaged=True)
            assert torch.equal(found.matrix(slice(5)), small_zoo.flat[:5])
    finally:
        path.write_bytes(before)


# Changed where it hurts


def nodes(plain: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The place of every value of a JSON text."""
    yield path
    pairs = plain.items() if isinstance(plain, dict) else enumerate(plain) if isinstance(plain, list) else ()
    for key, value in pairs:
        yield from nodes(value, (*path, key))


def replaced(plain: Any, path: tuple[Any, ...], text: str) -> str:
    """The JSON text with one value replaced by any text."""
    if not path:
        return text
    mark = "c0ffee-mark"
    out = json.loads(json.dumps(plain))
    inner = out
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = mark
    return json.dumps(out).replace(f'"{mark}"', text)


def test_every_entry_of_a_manifest(small_zoo: SmallZoo) -> None:
    plain = json.loads(small_zoo.manifest.to_json())
    plain["appended"] = [{"name": "x", "networks": 0, "first_shard": 3, "checksum": "0", "origins": [{"name": "y"}]}]
    refused = 0
    for path in nodes(plain):
        for evil in EVIL:
            told = refusal(partial(Manifest.from_json, replaced(plain, path, evil)))
            assert told is None or len(told) < 5000
            refused += told is not None
    assert refused > 1000


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"format": "weightspace-zoo", "version": ' + HUGE * 3 + "}",
        '{"format": "weightspace-zoo", "version": {}}',
        '{"format": "weightspace-zoo", "version": true}',
        '{"format": "weightspace-zoo", "version": 0}',
        '{"format": "weightspace-zoo", "version": -1}',
        '{"format": "weightspace-zoo", "version": 1.0}',
        '{"format": "weightspace-zoo", "version": 1}',
    ],
)
def test_manifests_of_nobody(text: str) -> None:
    with pytest.raises(FormatError):
        Manifest.from_json(text)


@pytest.mark.parametrize("size", [2**31, 2**62, 2**63, 2**64, 10**30])
def test_networks_of_absurd_size(small_zoo: SmallZoo, size: int) -> None:
    path = small_zoo.path / "zoo.json"
    plain = json.loads(path.read_text())
    for axis in plain["spec"]["axes"]:
        axis[1] = size
    shutil.rmtree(small_zoo.path / "shards")
    path.write_text(json.dumps(plain))
    readable(small_zoo.path)


def header(path: Path, text: str | bytes, weights: bytes = b"") -> None:
    content = text.encode() if isinstance(text, str) else text
    path.write_bytes(len(content).to_bytes(8, "little") + content + weights)


def test_every_entry_of_a_header(small_zoo: SmallZoo, tmp_path: Path) -> None:
    content = small_zoo.file(0).read_bytes()
    length = int.from_bytes(content[:8], "little")
    plain = json.loads(content[8 : 8 + length])
    path = tmp_path / "evil.safetensors"
    for place in nodes(plain):
        for evil in EVIL:
            text = replaced(plain, place, evil)
            header(path, text, content[8 + length :])
            if refusal(partial(read_layout, path)) is None:
                assert json.loads(text)["weights"] == plain["weights"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        b"\xff" * 8,
        (2**63).to_bytes(8, "little") + b"{}",
        (2**20 + 1).to_bytes(8, "little") + b" " * (2**20 + 1),
        (100_000).to_bytes(8, "little") + b"[" * 100_000,
        b"\x02\x00\x00\x00\x00\x00\x00\x00[]",
    ],
)
def test_headers_of_nobody(small_zoo: SmallZoo, content: bytes) -> None:
    small_zoo.file(0).write_bytes(content)
    with pytest.raises(FormatError, match=r"shard 0 is damaged: .*00000.safetensors"):
        open_zoo(small_zoo.path)
    assert [problem.shard for problem in check(small_zoo.path)] == [0]


@pytest.mark.parametrize("shape", [[-5, -13], [65], [1] * 40 + [5, 13], [5.0, 13], ["5", 13], [True, 65], [5, 13, 1]])
def test_shapes_of_nobody(small_zoo: SmallZoo, shape: list[object]) -> None:
    entry = {"weights": {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * 65]}}
    header(small_zoo.file(0), json.dumps(entry), b"\0" * 4 * 65)
    with pytest.raises(FormatError, match="shard 0 is damaged: .*the header describes"):
        open_zoo(small_zoo.path)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b'{"sha256": 3, "size": 4, "manifest": "", "rows": ""}',
        b'{"sha256": "", "size": "4", "manifest": "", "rows": ""}',
        b'{"sha256": "", "size": 4, "manifest": "", "rows": "", "more": 1}',
        b'{"sha256": "", "size": 1e400, "manifest": "", "rows": ""}',
        None,
    ],
)
def test_records_of_nobody(small_zoo: SmallZoo, record: bytes | None) -> None:
    file = small_zoo.file(0, "parquet")
    table = pq.read_table(file).replace_schema_metadata(None if record is None else {b"weightspace": record})
    pq.write_table(table, file)
    with pytest.raises(FormatError, match="shard 0 is damaged: .*not a readable table"):
        open_zoo(small_zoo.path)


def test_tables_of_another_kind(small_zoo: SmallZoo) -> None:
    """Columns that no zoo has, with a record that is right: the digest is anyone's to compute."""
    features, table = small_zoo.part(0)
    writer = small_zoo.write()
    for odd in (
        table.drop_columns(["number"]),
        table.set_column(0, "number", pa.array(["a"] * 5)),
        table.set_column(0, "number", table["number"].cast(pa.float64())),
        table.drop_columns(["split"]),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("weightspace.zoo.store._check_table", lambda *_: None)
            patch.setattr("weightspace.zoo.store.rounded", lambda flat, *_: flat)
            try:
                writer.write(0, features, odd)
            except KeyError:
                continue
        with pytest.raises(FormatError, match="expected number and split"):
            open_zoo(small_zoo.path)
        assert [problem.shard for problem in check(small_zoo.path)] == [0]


def test_a_million_rows_that_are_not_there(small_zoo: SmallZoo) -> None:
    """A table of a few bytes can claim any number of rows; it is asked before it is read."""
    file = small_zoo.file(0, "parquet")
    pq.write_table(pa.table({"number": pa.array([0] * 1_000_000, pa.int64())}), file)
    with pytest.raises(FormatError, match="it tells of 1,000,000 networks; there are weights of 5"):
        open_zoo(small_zoo.path)


def test_names_of_nobody(small_zoo: SmallZoo) -> None:
    """Digits that are none, and other ways to write a number."""
    for name in ("²", "٣", "3", "000000003", "-1", "1e3", "..", "9" * 100, "00003.x"):
        shutil.copy(small_zoo.file(0, "parquet"), small_zoo.path / "shards" / f"{name}.parquet")
    assert len(open_zoo(small_zoo.path)) == 12
    assert check(small_zoo.path) == []


# Links


@pytest.mark.parametrize("file", ["zoo.json", "shards", "shards/00001.safetensors", "shards/00001.parquet"])
def test_links_out_of_the_folder(small_zoo: SmallZoo, tmp_path: Path, file: str) -> None:
    path, outside = small_zoo.path / file, tmp_path / "outside"
    shutil.move(path, outside)
    for target in (outside, Path(os.path.relpath(outside, path.parent))):
        path.symlink_to(target)
        with pytest.raises(FormatError, match="is a link to .*outside, out of the zoo; it was not read. Remedy: copy"):
            open_zoo(small_zoo.path)
        path.unlink()


@pytest.mark.parametrize("file", ["zoo.json", "shards/00001.safetensors", "shards/00001.parquet"])
def test_links_to_nowhere_in_circles_and_pipes(small_zoo: SmallZoo, file: str) -> None:
    path = small_zoo.path / file
    path.unlink()
    path.symlink_to("nowhere")
    with pytest.raises(WeightspaceError):
        open_zoo(small_zoo.path)
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises(WeightspaceError):
        open_zoo(small_zoo.path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(WeightspaceError):
        open_zoo(small_zoo.path)
    path.unlink()
    path.mkdir()
    with pytest.raises(WeightspaceError):
        open_zoo(small_zoo.path)


def test_links_within_the_folder_are_followed(small_zoo: SmallZoo) -> None:
    shutil.move(small_zoo.path / "shards", small_zoo.path / "elsewhere")
    (small_zoo.path / "shards").symlink_to("elsewhere")
    assert torch.equal(open_zoo(small_zoo.path).matrix(), small_zoo.flat)


@pytest.mark.parametrize("below", [".", "zoos/mine"])
def test_a_snapshot_of_the_hub(small_zoo: SmallZoo, tmp_path: Path, below: str) -> None:
    """As snapshot_download lays it out: files are links to blobs of the same repository."""
    repository = tmp_path / "hub" / "datasets--me--zoo"
    root = repository / "snapshots" / "0123abcd" / below
    blobs = repository / "blobs"
    blobs.mkdir(parents=True)
    for number, file in enumerate(sorted(small_zoo.path.rglob("*"))):
        if file.is_file():
            place = root / file.relative_to(small_zoo.path)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, blobs / str(number))
            place.symlink_to(os.path.relpath(blobs / str(number), place.parent))
    zoo = open_zoo(root)
    assert torch.equal(zoo.matrix(), small_zoo.flat)
    assert zoo.checksum == open_zoo(small_zoo.path).checksum
    # The blobs of another repository are none of its own.
    other = tmp_path / "hub" / "datasets--you--zoo" / "blobs"
    shutil.copytree(blobs, other)
    file = root / "shards" / "00000.parquet"
    blob = other / file.resolve().name
    file.unlink()
    file.symlink_to(blob)
    with pytest.raises(FormatError, match="datasets--you--zoo/blobs/.*, out of the zoo; it was not read"):
        open_zoo(root)


# A system that refuses


@pytest.mark.parametrize("name", ["zoo.json", "00001.safetensors", "00001.parquet"])
def test_files_that_may_not_be_read(small_zoo: SmallZoo, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """For everyone: the tests may run as a user who may read everything."""
    real = Path.open

    def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == name:
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(WeightspaceError, match=f"{name}: .*Permission denied"):
        open_zoo(small_zoo.path)
    if name != "zoo.json":
        assert [problem.shard for problem in check(small_zoo.path)] == [1]


def test_a_folder_that_may_not_be_listed_stops_the_writer(small_zoo: SmallZoo, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> list[str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.listdir", refuse)
    with pytest.raises(DataError, match="cannot list"):
        ZooWriter(small_zoo.path, small_zoo.manifest)
