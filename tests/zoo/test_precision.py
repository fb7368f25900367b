"""Weights in fewer bits: rounded to the nearest, refused where a number would be lost; zoos of version 1."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.zoo.conftest import SPEC, SmallZoo, flip
from torch import Tensor

from weightspace.errors import FormatError
from weightspace.weights import flatten, unflatten
from weightspace.zoo import ZooWriter, check, open_zoo
from weightspace.zoo.format import Manifest
from weightspace.zoo.precision import PRECISIONS, rounded

OLD = Path(__file__).parent / "version1"
# What weightspace gave for this zoo when it wrote it.
OLD_CHECKSUM = "f3896d544171ae4a8f08742998a31af4ae46a39a9ea70fa9e116bf5e530c639f"
NUMBERS = np.array([7])


def bits(values: Tensor) -> Tensor:
    return values.view(torch.int32)


def nearest_bfloat16(value: float) -> float:
    """By bisection over all that the upper half of a float32 can be: the nearest, the even one of two."""
    upper = int(np.float32(abs(value)).view(np.uint32)) >> 16
    near = [int(np.uint32(up << 16)) for up in (upper, upper + 1)]
    below, above = (float(np.uint32(up).view(np.float32)) for up in near)
    left, right = abs(value) - below, above - abs(value)
    chosen = below if left < right or (left == right and upper % 2 == 0) else above
    return float(np.copysign(chosen, value))


@given(st.floats(-(2.0**126), 2.0**126, width=32, allow_subnormal=False))
def test_bfloat16_is_the_nearest(value: float) -> None:
    flat = torch.full((1, SPEC.numel), value)
    assert rounded(flat, "bfloat16", SPEC, NUMBERS)[0, 0].item() == nearest_bfloat16(value)


@pytest.mark.parametrize("name", PRECISIONS)
def test_a_zoo_in_any_type_is_read_as_float32(unmade: SmallZoo, name: str) -> None:
    unmade.manifest = replace(unmade.manifest, dtype=name)
    unmade.write(0, 1, 2)
    zoo, kind = open_zoo(unmade.path), PRECISIONS[name].torch
    expected = unmade.flat.to(kind)
    rows = [11, 0, 4, 5, 5]
    assert zoo.manifest.dtype == name
    assert torch.equal(flatten(zoo.features()), expected.float())
    assert torch.equal(zoo.matrix(rows), expected.float()[rows])
    for other in (torch.float64, torch.bfloat16, torch.float16):
        found = zoo.features(rows, dtype=other)
        assert found.dtype == other
        assert torch.equal(flatten(found), expected[rows].to(other))
    assert check(unmade.path) == []
    assert unmade.file(0).stat().st_size - zoo._shards[0].layout.offset == 5 * SPEC.numel * kind.itemsize
    flip(unmade.file(1), -1)
    with pytest.raises(FormatError, match="shard 1 is damaged"):
        open_zoo(unmade.path).features(6)


def test_long_rows_are_read_like_short_ones(unmade: SmallZoo, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two ways of copying rows against a plain loop, at every type, and in pieces."""
    for name in PRECISIONS:
        made = SmallZoo(unmade.path / name)
        made.manifest = replace(made.manifest, dtype=name)
        made.write(0, 1, 2)
        zoo, rows = open_zoo(made.path), np.random.default_rng(0).integers(0, 12, 40)
        short = zoo.matrix(rows)
        assert torch.equal(short, torch.stack([made.flat.to(PRECISIONS[name].torch).float()[row] for row in rows]))
        monkeypatch.setattr("weightspace.zoo.dataset._CACHED", 150)
        assert torch.equal(zoo.matrix(rows), short)
        monkeypatch.setattr("weightspace.zoo.dataset._LONG_ROW", 1)
        assert torch.equal(zoo.matrix(rows), short)
        monkeypatch.undo()


def test_what_is_not_finite_stays(unmade: SmallZoo) -> None:
    """Networks that diverged are part of a zoo."""
    unmade.flat[0, :3] = torch.tensor([float("inf"), float("-inf"), float("nan")])
    for name in PRECISIONS:
        made = SmallZoo(unmade.path / name)
        made.flat, made.manifest = unmade.flat, replace(made.manifest, dtype=name)
        made.write(0)
        read = open_zoo(made.path).matrix(0)[0, :3]
        assert (read[0], read[1], read[2].isnan().item()) == (float("inf"), float("-inf"), True)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        (
            "float16",
            7e4,
            r"network 23 cannot be .* float16: 0.weight\[1, 1\] is 70000, beyond 65504.*store it as bfloat16",
        ),
        ("bfloat16", 3.4e38, r"0.weight\[1, 1\] is 3.4e\+38, beyond 3.38953e\+38. Remedy: store it as float32"),
    ],
)
def test_a_weight_that_does_not_fit_is_refused(unmade: SmallZoo, name: str, value: float, told: str) -> None:
    unmade.numbers[6] = 23
    column = next(i for i, row in enumerate(flat_names()) if row == "0.weight[1, 1]")
    unmade.flat[6, column] = value
    unmade.manifest = replace(unmade.manifest, dtype=name)
    writer = unmade.write(0)
    with pytest.raises(FormatError, match=told):
        writer.write(1, *unmade.part(1))
    assert writer.done == {0}
    assert len(open_zoo(unmade.path)) == 5


def flat_names() -> list[str]:
    """The name of every column of flat weights, by loops."""
    names = []
    for param in SPEC.params:
        for index in np.ndindex(*SPEC.shape(param.name)):
            names.append(f"{param.name}[{', '.join(map(str, index))}]")
    return names


def test_every_weight_is_named_rightly() -> None:
    for column, name in enumerate(flat_names()):
        flat = torch.zeros(1, SPEC.numel)
        flat[0, column] = 1e5
        with pytest.raises(FormatError) as failure:
            rounded(flat, "float16", SPEC, NUMBERS)
        assert f": {name} is 100000" in str(failure.value)


def test_a_shard_of_another_type_is_damage(unmade: SmallZoo) -> None:
    unmade.write(0)
    half = SmallZoo(unmade.path.parent / "half")
    half.manifest = replace(half.manifest, dtype="bfloat16")
    half.write(0)
    shutil.copy(half.file(0), unmade.file(0))
    with pytest.raises(FormatError, match="shard 0 is damaged: .* holds weights of BF16; expected float32"):
        open_zoo(unmade.path)


# Version 1


def test_a_zoo_of_version_1_opens_unchanged(tmp_path: Path) -> None:
    path = Path(shutil.copytree(OLD, tmp_path / "old"))
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    assert b'"version": 1' in before[path / "zoo.json"]
    zoo, same = open_zoo(path), SmallZoo(tmp_path / "unused")
    assert torch.equal(flatten(zoo.features()), same.flat)
    assert (zoo.manifest, zoo.checksum) == (same.manifest, OLD_CHECKSUM)
    assert check(path) == []
    assert ZooWriter(path, same.manifest).done == {0, 1, 2}
    assert before == {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}


def test_a_zoo_of_version_1_may_grow(tmp_path: Path) -> None:
    path = Path(shutil.copytree(OLD, tmp_path / "old"))
    same = SmallZoo(path)
    writer = ZooWriter(path, replace(same.manifest, count=20))
    assert writer.done == {0, 1, 2}
    numbers = same.part(2)[1].set_column(0, "number", [[200, 201]])
    writer.write(3, unflatten(SPEC, same.flat[:2]), numbers)
    assert b'"version": 2' in (path / "zoo.json").read_bytes()
    assert len(open_zoo(path)) == 14
    assert check(path) == []


def test_a_zoo_of_today_in_float32_has_the_bytes_of_version_1(small_zoo: SmallZoo) -> None:
    """What upgrading rests on: the identity of a manifest did not change."""
    assert Manifest.from_json((OLD / "zoo.json").read_bytes()).digest == small_zoo.manifest.digest
    for shard in range(3):
        assert small_zoo.file(shard).read_bytes() == (OLD / "shards" / f"{shard:05d}.safetensors").read_bytes()
    assert replace(small_zoo.manifest, dtype="float16").digest != small_zoo.manifest.digest
