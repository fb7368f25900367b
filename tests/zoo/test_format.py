"""The format: what is written is read back, and no damaged byte gets through."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from weightspace.errors import FormatError
from weightspace.spec import NetworkSpec, spec_of
from weightspace.zoo.format import (
    Manifest,
    decode_table,
    encode_table,
    encode_weights,
    read_layout,
    rows_digest,
)

SPEC: NetworkSpec = spec_of(nn.Linear(2, 1))
MANIFEST = Manifest(spec=SPEC, recipe="lines", settings={"omega": 30.0, "hidden": (3, 4), "deep": {"a": 1}}, count=7)
TABLE = pa.table({"number": [4, 2, 9], "split": ["train", "test", "train"], "psnr": pa.array([1, 2, 3], pa.float32())})


def test_manifest_survives_its_text() -> None:
    again = Manifest.from_json(MANIFEST.to_json())
    assert again == MANIFEST
    assert again.digest == MANIFEST.digest
    assert again.spec.digest == SPEC.digest


def test_identity_is_everything_but_the_planned_count() -> None:
    assert replace(MANIFEST, count=8).digest == MANIFEST.digest
    assert replace(MANIFEST, count=8).differences(MANIFEST) == {}
    for changed in (
        replace(MANIFEST, recipe="curves"),
        replace(MANIFEST, forward={"offset": 0.5}),
        replace(MANIFEST, source={"checksum": "1"}),
        replace(MANIFEST, spec=spec_of(nn.Linear(3, 1))),
    ):
        assert changed.digest != MANIFEST.digest
        assert changed.differences(MANIFEST)


def test_differences_name_the_entries() -> None:
    other = replace(MANIFEST, settings={"omega": 20.0, "hidden": [3, 4], "deep": {"a": 2}, "seed": 0})
    assert MANIFEST.differences(other) == {
        "settings.omega": (30.0, 20.0),
        "settings.deep.a": (1, 2),
        "settings.seed": (None, 0),
    }


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}])
def test_manifest_refuses_what_json_cannot_hold(value: object) -> None:
    with pytest.raises(FormatError, match="settings of the manifest holds something that JSON cannot"):
        Manifest(spec=SPEC, recipe="lines", settings={"odd": value})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"version": 3}, "zoo format 3; this weightspace reads formats 1 to 2. Remedy: upgrade"),
        ({"format": "other"}, "not the manifest of a zoo"),
        ({"spec": {"axes": 3}}, "entry missing or damaged: not the JSON of a NetworkSpec"),
        ({"settings": 3}, "entry missing or damaged"),
    ],
)
def test_other_manifests(change: dict[str, object], told: str) -> None:
    with pytest.raises(FormatError, match=told):
        Manifest.from_json(json.dumps({**json.loads(MANIFEST.to_json()), **change}))


@pytest.mark.parametrize("text", ["", "{", "[]", "3", b"\xff\xfe\x00"])
def test_text_that_is_no_manifest(text: str | bytes) -> None:
    with pytest.raises(FormatError, match="not JSON|not the manifest"):
        Manifest.from_json(text)


@pytest.mark.parametrize("missing", ["spec", "settings", "forward", "source", "recipe", "count"])
def test_manifest_with_an_entry_missing(missing: str) -> None:
    plain = json.loads(MANIFEST.to_json())
    del plain[missing]
    with pytest.raises(FormatError, match=missing):
        Manifest.from_json(json.dumps(plain))


@given(st.integers(1, 40), st.integers(1, 50))
def test_layout_finds_the_weights(tmp_path_factory: pytest.TempPathFactory, networks: int, parameters: int) -> None:
    path = tmp_path_factory.mktemp("layout") / "weights.safetensors"
    flat = torch.rand(networks, parameters)
    path.write_bytes(encode_weights(flat))
    layout = read_layout(path)
    assert (layout.networks, layout.parameters) == (networks, parameters)
    read = np.fromfile(path, "<f4", offset=layout.offset).reshape(networks, parameters)
    assert np.array_equal(read, flat.numpy())
    with safe_open(path, "pt") as file:
        assert torch.equal(file.get_tensor("weights"), flat)


def test_weights_that_are_a_view_are_written_as_they_look() -> None:
    flat = torch.rand(4, 6)
    assert encode_weights(flat[:, ::2]) == encode_weights(flat[:, ::2].clone())


@pytest.mark.parametrize("kept", [0, 5, 8, 60, -1])
def test_layout_of_a_file_cut_short(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(encode_weights(torch.rand(3, 3))[:kept])
    with pytest.raises(FormatError, match="bytes"):
        read_layout(path)


@pytest.mark.parametrize(
    "tensors",
    [
        {"others": torch.rand(3, 3)},
        {"weights": torch.rand(3, 3, dtype=torch.float64)},
        {"weights": torch.rand(3)},
        {"a": torch.rand(2), "weights": torch.rand(3, 3)},
    ],
)
def test_layout_of_another_safetensors_file(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> None:
    save_file(tensors, tmp_path / "weights.safetensors")
    with pytest.raises(FormatError, match="header"):
        read_layout(tmp_path / "weights.safetensors")


def test_table_survives() -> None:
    weights = b"any bytes"
    table, record = decode_table(encode_table(TABLE, weights, MANIFEST))
    assert table == TABLE
    assert table.schema == TABLE.schema
    assert (record.sha256, record.size) == (hashlib.sha256(weights).hexdigest(), len(weights))
    assert record.manifest == MANIFEST.digest


def test_no_changed_bit_of_a_table_gets_through() -> None:
    content = encode_table(TABLE, b"", MANIFEST)
    whole = decode_table(content)
    noticed = 0
    for position in range(len(content)):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        try:
            table, record = decode_table(bytes(damaged))
        except FormatError:
            noticed += 1
            continue
        # What the record says is compared with the weights and the manifest when a shard is read.
        assert table == whole[0]
    assert noticed > len(content) / 2


@pytest.mark.parametrize("kept", [0, 3, 100, -20, -1])
def test_table_cut_short(kept: int) -> None:
    with pytest.raises(FormatError, match="not a readable table"):
        decode_table(encode_table(TABLE, b"", MANIFEST)[:kept])


def test_table_of_somebody_else() -> None:
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(TABLE, sink)
    with pytest.raises(FormatError, match="not a readable table"):
        decode_table(bytes(sink.getvalue()))


def test_rows_digest_sees_values_alone() -> None:
    pieces = pa.concat_tables([TABLE[:1], TABLE[1:]])
    assert rows_digest(pieces) == rows_digest(TABLE) == rows_digest(pieces.combine_chunks())
    assert rows_digest(pa.concat_tables([TABLE, TABLE])[3:]) == rows_digest(TABLE)


@pytest.mark.parametrize(
    "other",
    [
        TABLE[:2],
        TABLE.rename_columns(["number", "split", "snr"]),
        TABLE.set_column(0, "number", pa.array([4, 2, 8])),
        TABLE.set_column(0, "number", pa.array([4, 2, 9], pa.int32())),
        TABLE.set_column(1, "split", pa.array(["train", "train", "test"])),
        TABLE.select(["split", "number", "psnr"]),
    ],
)
def test_rows_digest_sees_every_value(other: pa.Table) -> None:
    assert rows_digest(other) != rows_digest(TABLE)


@pytest.mark.parametrize(
    ("column", "told"),
    [(pa.array([1, None, 2]), "1 gaps"), (pa.array([[1], [2], [3]]), "expected integers")],
)
def test_table_refuses_columns(column: pa.Array, told: str) -> None:
    with pytest.raises(FormatError, match=told):
        encode_table(TABLE.append_column("odd", column), b"", MANIFEST)
