"""A small zoo to read, damage and write to."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from weightspace.spec import NetworkSpec, Sine, spec_of
from weightspace.weights import WeightFeatures, unflatten
from weightspace.zoo import Manifest, ZooWriter, assign

SPEC = spec_of(nn.Sequential(nn.Linear(2, 3), Sine(30.0), nn.Linear(3, 1)))


class SmallZoo:
    """Three shards of 5, 5 and 2 networks: the rows as they must be read back, and a way to write them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.spec: NetworkSpec = SPEC
        self.manifest = Manifest(
            spec=SPEC, recipe="siren", settings={"hidden": [3], "omega": 30.0}, source={"name": "noise"}, count=12
        )
        self.flat = torch.randn(12, SPEC.numel, generator=torch.Generator().manual_seed(0))
        self.numbers = np.random.default_rng(0).permutation(100)[:12]
        self.sizes = (5, 5, 2)

    def part(self, shard: int) -> tuple[WeightFeatures, pa.Table]:
        """The networks and the table of one shard."""
        start = sum(self.sizes[:shard])
        rows = slice(start, start + self.sizes[shard])
        numbers = self.numbers[rows]
        table = pa.table(
            {
                "number": numbers,
                "label": numbers % 10,
                "split": assign(numbers).tolist(),
                "psnr": np.linspace(30, 40, len(numbers), dtype=np.float32),
                "diverged": np.arange(len(numbers)) == 1,
            }
        )
        return unflatten(SPEC, self.flat[rows]), table

    def write(self, *shards: int) -> ZooWriter:
        """Goes on with the zoo by these shards."""
        writer = ZooWriter(self.path, self.manifest)
        for shard in shards:
            writer.write(shard, *self.part(shard))
        return writer

    def file(self, shard: int, ending: str = "safetensors") -> Path:
        return self.path / "shards" / f"{shard:05d}.{ending}"


@pytest.fixture
def unmade(tmp_path: Path) -> SmallZoo:
    return SmallZoo(tmp_path / "zoo")


@pytest.fixture
def small_zoo(unmade: SmallZoo) -> SmallZoo:
    unmade.write(0, 1, 2)
    return unmade


def flip(path: Path, position: int) -> None:
    """Changes one bit of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
