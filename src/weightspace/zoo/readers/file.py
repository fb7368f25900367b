"""One file or folder per network, read some at a time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from weightspace.errors import FormatError
from weightspace.weights import WeightFeatures, flatten
from weightspace.weights.source.file import read_state
from weightspace.zoo.readers.architecture import Architecture
from weightspace.zoo.readers.tree import digest_of

__all__ = ["Files", "finite"]

Loaded = tuple[Mapping[str, Tensor], Mapping[str, Any]]


def _state(path: Path) -> Loaded:
    return read_state(path), {}


@dataclass(frozen=True, eq=False)
class Files:
    """The files of networks of one architecture.

    Args:
        root: the source's folder.
        names: of the networks, one per row.
        architecture: which all of them must have.
        load: tensors of one network and the columns that only its file tells.
        digest: sha256 of what was read.
    """

    root: Path
    names: Sequence[str]
    architecture: Architecture
    load: Callable[[Path], Loaded] = _state
    digest: Callable[[Path], str] = digest_of

    def digest_of(self, row: int) -> str:
        """sha256 of the file of one row as it is now."""
        return self.digest(self.root / self.names[row])

    def read(self, rows: Sequence[int]) -> tuple[WeightFeatures, Mapping[str, Any]]:
        """The networks of some rows, with the columns ``file``, ``sha256``, ``stored``, ``diverged`` and their own.

        Raises:
            FormatError: a file that is damaged, would have to run code, or holds another architecture.
        """
        states: list[Mapping[str, Tensor]] = []
        columns: dict[str, list[Any]] = {"file": [], "sha256": [], "stored": []}
        for row in rows:
            path = self.root / self.names[row]
            tensors, told = self.load(path)
            state, stored = self.architecture.fitted(path, tensors)
            states.append(state)
            own = {"file": self.names[row], "sha256": self.digest(path), "stored": stored, **told}
            for key, value in own.items():
                columns.setdefault(key, []).append(value)
            if any(len(column) != len(states) for column in columns.values()):
                raise FormatError(f"{path} tells {', '.join(told) or 'nothing'} beside its tensors, unlike the others.")
        features = self.architecture.features(states)
        return features, {**columns, "diverged": ~finite(features)}


def finite(features: WeightFeatures) -> torch.Tensor:
    """Which networks have finite weights alone.

    Shapes:
        result: ``(batch,)``, bool.
    """
    return flatten(features).isfinite().all(dim=1)
