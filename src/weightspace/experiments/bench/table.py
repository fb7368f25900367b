"""What is compared: tables, each with its data, its task and its rows, as plain typed settings."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from weightspace.errors import unknown
from weightspace.experiments.choice import ModelChoice
from weightspace.training import Splits, TrainSettings
from weightspace.training.step import Task

__all__ = ["SCALES", "TRACKS", "Data", "Measured", "Move", "Published", "Row", "Subject", "Table"]

Progress = Callable[[int], None]

SCALES = ("small", "full")
"""small: two cores, minutes to an hour; full: one modern GPU, hours."""

TRACKS: Mapping[str, str] = {
    "weights": "weights only",
    "canonical": "weights brought to a canonical form first",
    "views": "several networks per item",
    "probes": "the network's function is asked as well",
    "shared": "networks that start from the same weights",
    "signals": "no networks, but signals on groups",
}
"""What a row's model is given to go by. Rows of different tracks never stand in one list."""


@dataclass(frozen=True)
class Published:
    """A number that was published for a row.

    Args:
        value: of the table's first measure.
        source: paper and table.
        note: what is known to differ from what is done here.
    """

    value: float
    source: str
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One line of a table: a model, and what is done differently for it.

    Args:
        name: as it is shown; one per table.
        model: the model with its size.
        track: one of `TRACKS`.
        prepare: what is done to networks before the model reads them, see `bench.subject.PREPARATIONS`.
        training: settings that differ from the table's, by name.
        share: of the training networks that are learnt from.
        study: the side question that the row belongs to, such as "ablation" or "labels"; empty for the comparison.
        published: the number in print.

    Raises:
        UnknownNameError: a track that does not exist.
    """

    name: str
    model: ModelChoice
    track: str = "weights"
    prepare: tuple[str, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    share: float = 1.0
    study: str = ""
    published: Published | None = None

    def __post_init__(self) -> None:
        if self.track not in TRACKS:
            raise unknown("track", self.track, TRACKS)


@dataclass(frozen=True)
class Move:
    """A change of the test networks that leaves their functions as they are.

    Args:
        name: as it is shown.
        log_scale: scales lie between `10**-log_scale` and `10**log_scale`; 0 leaves permutations and signs.
        phases: whether the phases of sines are shifted as well, by whole half turns.
    """

    name: str
    log_scale: float = 0.0
    phases: bool = False


@dataclass(frozen=True)
class Measured:
    """What is measured of a trained model beyond its test scores.

    Args:
        moved: by the name of a `Move`, the table's first measure on networks that were moved.
        symmetry_error: how far its answers are from the law that they should follow, in float64; None where there is
            no law.
    """

    moved: Mapping[str, float | None]
    symmetry_error: float | None


@runtime_checkable
class Measuring(Task, Protocol):
    """A task that tells more than a loss and a score."""

    def measures(self, output: Any, target: Tensor) -> dict[str, float]:
        """What answers are worth, by name; the first decides."""

    def errors(self, output: Any, target: Tensor) -> Tensor:
        """How wrong each answer is. Shape `(batch,)`."""


@runtime_checkable
class Subject(Protocol):
    """What the rows of a table are trained and judged on, once its data is there."""

    @property
    def task(self) -> "Measuring":
        """What is asked."""

    @property
    def about(self) -> Mapping[str, Any]:
        """The data: name, command, seed, checksum, and items by split."""

    @property
    def groups(self) -> Sequence[int]:
        """What each test item belongs to, where several are of one network or image; empty where none are."""

    def data(self, row: Row) -> Splits:
        """The three splits as the row's model reads them."""

    def build(self, row: Row, seed: int) -> nn.Module:
        """The row's model, with weights that depend on the seed alone."""

    def measure(self, row: Row, model: nn.Module) -> Measured:
        """What is measured once it is trained."""


@runtime_checkable
class Data(Hashable, Protocol):
    """Where a table's subject comes from: plain settings, hashable, whose `repr` tells them from others."""

    def make(self, home: Path, progress: Progress) -> None:
        """Make the data in a folder, or what is missing of it there.

        Args:
            home: the folder.
            progress: called with the number of items that are newly there.
        """

    def subject(self, home: Path) -> Subject:
        """The subject, whose data has been made in a folder."""


@dataclass(frozen=True)
class Table:
    """A comparison under one protocol.

    Args:
        name: for the command line and for files.
        title: for people.
        question: what it asks, in a sentence or two.
        measures: names of what is measured on the test split, as `task.measures` gives them; the first decides.
        higher: whether more of the first measure is better.
        data: where the subject comes from, by scale.
        training: how every row is trained, by scale.
        rates: learning rates that are tried for every row on its first seed.
        tuning: share of the steps that each of these tries takes.
        seeds: of the runs.
        rows: the lines.

    Raises:
        UnknownNameError: a row that is asked for and is not there.
    """

    name: str
    title: str
    question: str
    measures: tuple[str, ...]
    higher: bool
    data: Mapping[str, Data]
    training: Mapping[str, TrainSettings]
    rows: tuple[Row, ...]
    rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    tuning: float = 0.25
    seeds: tuple[int, ...] = (0, 1, 2)

    def row(self, name: str) -> Row:
        """The row of a name."""
        for row in self.rows:
            if row.name == name:
                return row
        raise unknown(f"row of {self.name}", name, [row.name for row in self.rows])
