"""The record of a demo run: what it was given, what was measured, and the arrays that its pictures are made of."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from weightspace.disk import write_atomic
from weightspace.errors import FormatError
from weightspace.experiments.equivalent import Change
from weightspace.training import RunRecord

__all__ = ["DemoRecord", "ModelResult", "read_demo"]

RECORD, ARRAYS = "demo.json", "demo.npz"


@dataclass(frozen=True)
class ModelResult:
    """One model: its training run, and what became of its answers under the symmetry."""

    name: str
    run: RunRecord
    change: Change


@dataclass(frozen=True, eq=False)
class DemoRecord:
    """Everything a demo run measured.

    Args:
        settings: the run's settings, as JSON values.
        note: where the images came from.
        zoo: what the zoo is: checksum, networks per split, parameters per network, mean PSNR in dB, settings.
        results: one entry per model.
        stages: seconds per stage.
        peak_memory: largest resident memory, in bytes.
        moves: what was done to reach each frame of the orbit.
        blocks: names and sizes of the parameters along the tied patterns.
        free: free parameters of each tied pattern, by name.
        arrays: originals, rendered, labels, psnr, orbit_weights, orbit_images, tied_monomial, tied_permutation.
    """

    settings: Mapping[str, Any]
    note: str
    zoo: Mapping[str, Any]
    results: tuple[ModelResult, ...]
    stages: Mapping[str, float]
    peak_memory: int
    moves: tuple[str, ...]
    blocks: tuple[tuple[str, int], ...]
    free: Mapping[str, int]
    arrays: Mapping[str, np.ndarray]

    def write(self, folder: Path) -> None:
        """Put the record into a folder: one JSON file and one file of arrays, each written whole or not at all."""
        buffer = BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **self.arrays)
        write_atomic(folder / ARRAYS, buffer.getvalue())
        plain = asdict(self) | {"arrays": sorted(self.arrays)}
        write_atomic(folder / RECORD, json.dumps(plain, indent=1).encode())


def read_demo(folder: Path) -> DemoRecord:
    """The record in a demo's folder.

    Raises:
        FormatError: there is none that can be read.
    """
    try:
        plain = json.loads((folder / RECORD).read_text())
        with np.load(folder / ARRAYS, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in plain["arrays"]}
        results = [ModelResult(r["name"], RunRecord(**r["run"]), Change(**r["change"])) for r in plain["results"]]
        blocks = tuple((name, size) for name, size in plain["blocks"])
        lists = {"results": tuple(results), "moves": tuple(plain["moves"]), "blocks": blocks, "arrays": arrays}
        return DemoRecord(**{**plain, **lists})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FormatError(
            f"{folder} holds no record of a finished demo ({error}); run `weightspace demo --out {folder}` to make it."
        ) from error
