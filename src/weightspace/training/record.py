"""The record of a run: one JSON file with everything that a report or a reader asks for later."""

import hashlib
import json
import math
import platform
import resource
import sys
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weightspace import __version__
from weightspace.disk import write_atomic
from weightspace.errors import FormatError, TrainingError

__all__ = [
    "CURVES",
    "RunRecord",
    "claim",
    "describe",
    "digest",
    "finite",
    "listed",
    "peak_memory",
    "read_record",
    "versions",
    "write_json",
]

CURVES = ("step", "seconds", "train_loss", "validation_loss", "validation_score")
RECORD, SETTINGS = "record.json", "settings.json"


@dataclass(frozen=True)
class RunRecord:
    """What a run was given and what came of it. Lists are plain, so that the record is JSON as it stands."""

    status: str
    """finished, or diverged."""
    message: str
    """What went wrong; empty for a run that finished."""
    settings: dict[str, Any]
    """The contents of settings.json: the settings, task, model, data and notes that make this run this run."""
    digest: str
    """A hash of these settings: equal digests, equal runs."""
    seed: int
    """The seed of the run."""
    steps: int
    """Optimisation steps of the whole run, as given or as bought by the budget."""
    evaluate_every: int
    """Steps between two validations."""
    curves: dict[str, list[Any]]
    """By name, one entry per validation: step, seconds, train_loss, validation_loss, validation_score. A loss is a
    mean, of training since the validation before. A score that is not a finite number is None."""
    best_step: int
    """The step with the best validation score."""
    validation_score: float | None
    """The best validation score."""
    test_loss: float | None
    """The loss on the test split with the best checkpoint; None unless finished."""
    test_score: float | None
    """The score on the test split with the best checkpoint; None unless finished."""
    predictions: list[Any]
    """The answer for each item of the test split, in its order."""
    targets: list[Any]
    """The target of each item of the test split, or what stands for it where it is an image."""
    parameters: int
    """Numbers that were trained."""
    seconds: float
    """Time spent on training and validation, over all the sittings that the run took."""
    peak_memory: int
    """The most memory that the process held, in bytes."""
    zoo_checksum: str
    """The checksum of the data, as the caller passed it."""
    versions: dict[str, str] = field(default_factory=dict)
    """Versions of weightspace, torch and python."""
    device: str = "cpu"
    """Where the run took place."""
    threads: int = 1
    """Threads of PyTorch on the CPU: results are the same to the bit only at equal numbers."""
    processes: int = 1
    """Processes that shared the run."""
    notices: list[str] = field(default_factory=list)
    """What a reader should know, such as a damaged checkpoint that was passed over."""
    errors: list[Any] = field(default_factory=list)
    """How wrong the answer for each item of the test split is; empty where the task does not tell."""
    measures: dict[str, float | None] = field(default_factory=dict)
    """What the answers on the test split are worth, by name; empty where the task does not tell more than a score."""

    def write(self, folder: Path) -> None:
        """Put the record into a run folder."""
        write_json(folder / RECORD, asdict(self))


def read_record(folder: Path) -> RunRecord:
    """The record in a run folder.

    Raises:
        FormatError: when there is none that can be read.
    """
    path = folder / RECORD
    try:
        return RunRecord(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise FormatError(f"{path} is not the record of a run ({error}): delete {folder} and train again.") from error


def describe(model: nn.Module, task: Any, settings: Any, sizes: dict[str, int], **notes: Any) -> dict[str, Any]:
    """What makes a run this run, as JSON values: two runs with equal descriptions are the same run.

    The model is described by its class and the names, shapes and types of its parameters and buffers.

    Args:
        model: to be trained.
        task: a dataclass, or anything with a class name.
        settings: a dataclass.
        sizes: items by split.
        notes: whatever else tells runs apart, as JSON values.
    """
    state = sorted((n, tuple(v.shape), str(v.dtype)) for n, v in model.state_dict(keep_vars=True).items())
    shapes = hashlib.sha256(repr(state).encode()).hexdigest()[:16]
    about = asdict(task) if is_dataclass(task) and not isinstance(task, type) else {}
    parts = {
        "settings": asdict(settings),
        "task": {"name": type(task).__name__, **about},
        "model": {"name": type(model).__name__, "shapes": shapes},
        "data": sizes,
        **notes,
    }
    return json.loads(json.dumps(parts))


def digest(description: dict[str, Any]) -> str:
    """A hash of a description."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]


def claim(folder: Path, description: dict[str, Any], *, begun: bool) -> RunRecord | None:
    """Take a run folder for this run; gives its record when the run has already finished.

    Args:
        folder: made if need be.
        description: from `describe`.
        begun: whether a checkpoint lies in the folder. Until then its settings may still be changed, unless a record
            is there: a run that is over stays what it was, even where somebody has deleted its checkpoints.

    Raises:
        TrainingError: when the folder belongs to another run, naming the settings that differ, or when the run in
            it diverged.
        StorageError: when it cannot be written.
        FormatError: when its files are damaged.
    """
    path = folder / SETTINGS
    if not begun and not (folder / RECORD).exists():
        write_json(path, description)
        return None
    try:
        kept = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise FormatError(f"{path} cannot be read ({error}): delete {folder} and train again.") from error
    differing = _differences(kept, description)
    if differing:
        raise TrainingError(
            f"{folder} holds a run with other settings: {'; '.join(differing)}. "
            "Choose another folder, delete this one, or use its settings to go on with it."
        )
    record = read_record(folder) if (folder / RECORD).exists() else None
    if record is not None and record.status != "finished":
        raise TrainingError(record.message)
    return record


def write_json(path: Path, value: Any) -> None:
    """Write JSON that a person can read, whole or not at all."""
    write_atomic(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def finite(value: float) -> float | None:
    """The number, or None where JSON has no word for it."""
    return value if math.isfinite(value) else None


def listed(predictions: Tensor) -> list[Any]:
    """Predictions as lists, with None for what is not finite."""
    if not predictions.is_floating_point() or bool(predictions.isfinite().all()):
        return predictions.tolist()
    flat: list[Any] = [finite(value) for value in predictions.flatten().tolist()]
    for size in reversed(predictions.shape[1:]):
        flat = [flat[at : at + size] for at in range(0, len(flat), size)]
    return flat


def versions() -> dict[str, str]:
    """Versions of what computes."""
    return {"weightspace": __version__, "torch": str(torch.__version__), "python": platform.python_version()}


def peak_memory() -> int:
    """The most memory that this process has held, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _differences(kept: Any, given: Any, name: str = "") -> list[str]:
    """The leaves where two descriptions differ, as text."""
    if kept == given:
        return []
    if isinstance(kept, dict) and isinstance(given, dict):
        keys = list(dict.fromkeys([*kept, *given]))
        return [
            line for key in keys for line in _differences(kept.get(key), given.get(key), f"{name}.{key}".lstrip("."))
        ]
    return [f"{name} is {kept!r} there and {given!r} here"]
