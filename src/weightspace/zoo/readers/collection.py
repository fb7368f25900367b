"""What a reader finds in a source, its weights not yet read, and what it is told beside the source."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from torch import nn

from weightspace.errors import DataError
from weightspace.spec import NetworkSpec
from weightspace.weights import WeightFeatures

__all__ = ["Collection", "ImportSettings", "Request"]


@dataclass(frozen=True)
class ImportSettings:
    """What a format leaves open; each format takes some of these and refuses the others.

    Args:
        activation: what stands between the layers: relu, tanh, sine:omega=20. For small-cnn-zoo also the choice of the
            networks that have it; any takes all of them and knows only that units may be permuted.
        module: package.module:factory, a function without arguments that makes a network of the architecture. Importing
            and calling it runs its code.
        inputs: shapes of example inputs of that module, such as 1,3,32,32, one for each argument.
        spec: a description of the weight space, as weightspace spec --json writes it.
        labels: a csv file with the column file and one row per network; labels.csv in the source where there is one.
        split: the published split: a csv file of row numbers (small-cnn-zoo), a json file of paths (dws-siren).
        split_points: first images of val and of test (nfn-siren).
        final: the last checkpoint of each run alone (small-cnn-zoo).
        count: networks that the source must hold, as its description says.
        seed: key of splits that are drawn, where none is published.
        fractions: expected shares of train, val and test where they are drawn.

    Raises:
        DataError: a number out of its range.
    """

    activation: str | None = None
    module: str | None = None
    inputs: tuple[str, ...] = ()
    spec: Path | None = None
    labels: Path | None = None
    split: Path | None = None
    split_points: tuple[int, int] = (45_000, 50_000)
    final: bool = False
    count: int | None = None
    seed: int = 0
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise DataError(f"count is {self.count}; expected at least 1 network.")
        if not 0 <= self.split_points[0] <= self.split_points[1]:
            raise DataError(f"split_points are {self.split_points}; expected two image numbers in ascending order.")
        if self.inputs and self.module is None:
            raise DataError(f"inputs are {self.inputs}, but no module is given that takes them; leave them out.")
        ways = {"activation": self.activation, "module": self.module, "spec": self.spec}
        given = [name for name, value in ways.items() if value is not None]
        if len(given) > 1:
            raise DataError(f"{' and '.join(given)} each say what the architecture is; give one of them.")


@dataclass(frozen=True, eq=False)
class Request:
    """What a reader is asked for.

    Args:
        root: the source's folder, without links in its path.
        settings: what the format leaves open.
        template: a module of the architecture.
        example_inputs: what it is called with.
        spec: the weight space.
    """

    root: Path
    settings: ImportSettings
    template: nn.Module | None = None
    example_inputs: Any = None
    spec: NetworkSpec | None = None


@dataclass(frozen=True, eq=False)
class Collection:
    """The networks of a source: what is known of all of them, and a way to read some.

    Args:
        spec: the weight space.
        table: one row per network, with ``number`` and ``split``.
        read: gives the networks of some rows, float32, with the columns that only their files tell.
        digest: sha256 of the file of one row as it is now; None where the manifest has that of all.
        settings: what tells this zoo from others made of the same source, as JSON.
        forward: what turns weights into answers, as far as the format says.
        source: the files with sizes and checksums, and counts, as JSON.
        notes: what the user should know of how the source was read.
    """

    spec: NetworkSpec
    table: pa.Table
    read: Callable[[Sequence[int]], tuple[WeightFeatures, Mapping[str, Any]]]
    settings: Mapping[str, Any]
    forward: Mapping[str, Any]
    source: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    digest: Callable[[int], str] | None = None
