"""Who watches a run: curves for TensorBoard, as a table, or for anybody's own logger, without a step written twice.

A watcher has the part of the interface of Lightning Fabric's `Logger` that a run needs, so every logger of Lightning is
one. Files of watchers are for the eye: what the package itself reads again stands in checkpoints and in the record.
"""

import csv
import io
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.record_writer import masked_crc32c
from tensorboardX.summary import scalar, text

from weightspace.disk import write_atomic, writing
from weightspace.errors import TrainingError, WeightspaceError, unknown
from weightspace.weights.source.factory import imported, is_factory

__all__ = ["CURVES_FOLDER", "CsvCurves", "TensorBoardCurves", "Watched", "Watcher", "check_names", "leaves", "watchers"]

CURVES_FOLDER = "curves"
"""The folder of the curves in that of a run."""


@runtime_checkable
class Watcher(Protocol):
    """What is told how a run goes: the interface of `lightning_fabric.loggers.Logger`, as far as a run uses it."""

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Take the numbers that were measured at a step."""

    def log_hyperparams(self, params: Any) -> None:
        """Take what the run was given, once, at its start."""

    def finalize(self, status: str) -> None:
        """Put everything in its place; `status` is finished, diverged or interrupted."""


class TensorBoardCurves:
    """Event files that TensorBoard shows, one for each sitting of a run.

    A sitting that goes on from step `s` marks its file as starting anew at `s + 1`: TensorBoard then drops what an
    earlier sitting wrote of later steps, before it was broken off.

    Args:
        folder: of the event files; made if need be.
        step: steps that the run has done; what files in the folder say of later ones counts no more.

    Raises:
        StorageError: the folder cannot be written.

    References:
        `SessionLog` in TensorBoard's event.proto: what a START at step `s` says of earlier files.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> curves = TensorBoardCurves(folder)
        >>> curves.log_metrics({"train_loss": 0.5}, step=10)
        >>> curves.finalize("finished")
        >>> len(list(folder.glob("events.out.tfevents.*")))
        1
    """

    def __init__(self, folder: Path, *, step: int = 0) -> None:
        sitting = len(list(folder.glob("events.out.tfevents.*")))
        # TensorBoard reads files in the order of their names: the number tells two sittings within a second apart.
        self._path = folder / f"events.out.tfevents.{int(time.time()):010d}.{sitting:04d}"
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._append({"file_version": "brain.Event:2"})
        if sitting:
            self._append({"step": step + 1, "session_log": SessionLog(status=SessionLog.SessionStatus.START)})

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a point to each curve; it is in the file when this returns, whatever becomes of the run."""
        self._append(*({"step": step, "summary": scalar(name, value)} for name, value in metrics.items()))

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        """Show the settings as a table, under the tab of texts."""
        rows = [f"| {name} | {str(value).replace('|', '&#124;')} |" for name, value in leaves(params).items()]
        self._append({"step": 0, "summary": text("settings", "\n".join(["| setting | value |", "|---|---|", *rows]))})

    def finalize(self, status: str) -> None:
        """Nothing is left to do: every point is in its place."""

    def _append(self, *events: dict[str, Any]) -> None:
        # Not by tensorboardX's SummaryWriter: what is under way in its thread is lost when a run is killed.
        messages = [Event(wall_time=time.time(), **event).SerializeToString() for event in events]
        with writing(self._path), self._path.open("ab") as file:
            file.write(b"".join(map(_record, messages)))


class CsvCurves:
    """One table of all curves, a row for each step at which something was measured.

    The file is written anew each time, whole or not at all, so that a run may be broken off at any moment. A name that
    appears late gets a column of its own; its earlier cells are empty.

    Args:
        path: the file.
        step: steps that the run has done; rows of later ones, from a sitting that was broken off, are dropped.

    Raises:
        TrainingError: a file of that name that is no such table.
        StorageError: it cannot be written.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "curves.csv"
        >>> curves = CsvCurves(path)
        >>> curves.log_metrics({"train_loss": 0.5}, step=10)
        >>> curves.log_metrics({"train_loss": 0.25, "validation_score": 0.75}, step=20)
        >>> print(path.read_text())
        step,train_loss,validation_score
        10,0.5,
        20,0.25,0.75
    """

    def __init__(self, path: Path, *, step: int = 0) -> None:
        self._path = path
        self._rows = {number: row for number, row in _read_table(path).items() if number <= step}

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add numbers to the row of a step."""
        if step is None:
            raise TrainingError(f"{self._path.name} was given {sorted(metrics)} without a step; expected one.")
        plain = {name: repr(float(value)) for name, value in metrics.items()}
        self._rows[step] = {**self._rows.get(step, {}), **plain}
        names = list(dict.fromkeys(name for row in self._rows.values() for name in row))
        buffer = io.StringIO()
        table = csv.DictWriter(buffer, ["step", *names], restval="", lineterminator="\n")
        table.writeheader()
        table.writerows({"step": number, **self._rows[number]} for number in sorted(self._rows))
        write_atomic(self._path, buffer.getvalue().encode())

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        """Nothing: settings stand in settings.json of the run."""

    def finalize(self, status: str) -> None:
        """Nothing is left to do: every row is in its place."""


_OWN: Mapping[str, Callable[[Path, int], Watcher]] = {
    "tensorboard": lambda folder, step: TensorBoardCurves(folder, step=step),
    "csv": lambda folder, step: CsvCurves(folder / "curves.csv", step=step),
}


def watchers(names: Sequence[str], folder: Path, *, step: int = 0) -> list[Watcher]:
    """The watchers of a run, by name.

    Args:
        names: `tensorboard`, `csv`, or `package.module:make`, which is imported and called with a folder, as a `Path`,
            and gives a watcher: any logger of Lightning, such as `lightning_fabric.loggers:TensorBoardLogger`, or a
            function of your own that returns one. Importing and calling it runs its code.
        folder: of the run; watchers get the folder `curves` in it.
        step: steps that the run has done already. The package's own watchers forget later ones; others have to know
            themselves what to do with a step that comes twice.

    Raises:
        UnknownNameError: a name that does not exist.
        TrainingError: code that fails, or gives something that is no watcher.
        SpecError: a module that cannot be imported.
        StorageError: the folder cannot be written.

    Example:
        >>> import tempfile
        >>> [type(watcher).__name__ for watcher in watchers(["csv", "tensorboard"], Path(tempfile.mkdtemp()))]
        ['CsvCurves', 'TensorBoardCurves']
        >>> watchers(["tensorbaord"], Path("run"))
        Traceback (most recent call last):
        weightspace.errors.UnknownNameError: unknown watcher 'tensorbaord': did you mean "tensorboard"?...
    """
    check_names(names)
    curves = folder / CURVES_FOLDER
    return [_OWN[name](curves, step) if name in _OWN else _called(name, curves) for name in names]


def check_names(names: Sequence[str]) -> None:
    """Refuse names that `watchers` does not know. Raises `UnknownNameError`."""
    for name in names:
        if name not in _OWN and not is_factory(name):
            raise unknown("watcher", name, [*_OWN, "package.module:make"])


class Watched:
    """Several watchers as one. One that fails ends no run: it is left out from then on, and told about once.

    Args:
        parts: the watchers.
        tell: called with a sentence about a watcher that failed.

    Example:
        >>> watched = Watched([], tell=print)
        >>> watched.log_metrics({"train_loss": 0.5, "validation_score": None}, step=1)
    """

    def __init__(self, parts: Sequence[Watcher], tell: Callable[[str], None]) -> None:
        self._parts, self._tell = list(parts), tell

    def log_metrics(self, metrics: Mapping[str, float | None], step: int) -> None:
        """Tell all watchers what was measured; what was not (`None`) is left out."""
        known = {name: float(value) for name, value in metrics.items() if value is not None}
        self._each(lambda watcher: watcher.log_metrics(known, step))

    def log_hyperparams(self, params: Mapping[str, Any]) -> None:
        """Tell all watchers what the run was given, with dotted names."""
        self._each(lambda watcher: watcher.log_hyperparams(leaves(params)))

    def finalize(self, status: str) -> None:
        """Tell all watchers that it is over."""
        self._each(lambda watcher: watcher.finalize(status))

    def _each(self, call: Callable[[Watcher], None]) -> None:
        for watcher in list(self._parts):
            try:
                call(watcher)
            except Exception as error:  # of others' code and services, whatever it is: the run goes on
                self._parts.remove(watcher)
                kind = "" if isinstance(error, WeightspaceError) else f"{type(error).__name__}: "
                self._tell(f"{type(watcher).__name__} failed and watches no more: {kind}{error}")


def _called(name: str, folder: Path) -> Watcher:
    make = imported(name)
    try:
        made = make(folder)
    except Exception as error:  # whatever others' code does
        raise TrainingError(
            f"the watcher {name} failed: {type(error).__name__}: {error}. It is called with one argument, the folder "
            "of the curves; write a function of one argument around it that gives it what else it takes."
        ) from error
    if not isinstance(made, Watcher):
        raise TrainingError(
            f"{name} gave a {type(made).__name__}, which cannot watch: expected log_metrics, log_hyperparams and "
            "finalize, as Lightning's loggers have them."
        )
    return made


def _record(message: bytes) -> bytes:
    """A message as event files hold it: its length and itself, each with a check sum behind it."""
    length = struct.pack("<Q", len(message))
    return b"".join(
        [length, struct.pack("<I", masked_crc32c(length)), message, struct.pack("<I", masked_crc32c(message))]
    )


def _read_table(path: Path) -> dict[int, dict[str, str]]:
    """The rows of a table by step, without empty cells; none where there is no file."""
    if not path.exists():
        return {}
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file, strict=True))
        return {int(row["step"]): {k: v for k, v in row.items() if k != "step" and v} for row in rows}
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise TrainingError(
            f"{path} is no table of curves ({error!r}): move it away, or train in another folder."
        ) from error


def leaves(plain: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one table with dotted names."""
    found: dict[str, Any] = {}
    for key, value in plain.items():
        found |= leaves(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
