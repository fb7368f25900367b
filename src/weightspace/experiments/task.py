"""Which task a column of a zoo asks for, and a task from the settings of its run."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from weightspace.errors import DataError, FormatError, unknown
from weightspace.models import Invariant
from weightspace.tasks import Classify, PredictAccuracy, PredictReturn
from weightspace.zoo import Zoo

__all__ = ["TASKS", "ZooTask", "readout_of", "task_for", "task_from", "told"]

ZooTask = Classify | PredictAccuracy | PredictReturn
TASKS: Mapping[str, type[ZooTask]] = {kind.__name__: kind for kind in (Classify, PredictAccuracy, PredictReturn)}
"""The tasks that a zoo's table can set, by name."""


def task_for(zoo: Zoo, target: str) -> ZooTask:
    """What a column asks for: integers are classes, one more than the largest; numbers from 0 to 1 are accuracies.

    In a zoo of policies the column `scaled_return` holds returns.

    Raises:
        UnknownNameError: no such column.
        DataError: an empty zoo, or a column of something else.
    """
    entries = zoo.column(target)
    if len(entries) and np.issubdtype(entries.dtype, np.integer):
        return Classify(classes=int(entries.max()) + 1, target=target)
    if len(entries) and np.issubdtype(entries.dtype, np.floating):
        if zoo.manifest.recipe == "policy" and target == PredictReturn.target:
            return PredictReturn.of(zoo)
        return PredictAccuracy(target=target)
    raise DataError(
        f"column {target!r} of {zoo!r} holds {len(entries)} entries of type {entries.dtype}: expected classes, as "
        "integers from 0, or accuracies, as numbers from 0 to 1. Choose another column with --target."
    )


def task_from(plain: Mapping[str, Any], source: str) -> ZooTask:
    """The task that settings.json of a run describes.

    Args:
        plain: its entry `task`.
        source: the file, for messages.

    Raises:
        UnknownNameError: a task that is not set by a zoo's table.
        FormatError: an entry that describes no task.

    Example:
        >>> task_from({"name": "Classify", "classes": 3, "target": "label"}, "settings.json")
        Classify(classes=3, target='label')
    """
    name = str(plain.get("name"))
    if name not in TASKS:
        raise unknown(f"task in {source}", name, TASKS)
    known = {field.name for field in fields(TASKS[name])}
    try:
        return TASKS[name](**{key: _tupled(value) for key, value in plain.items() if key in known})
    except TypeError as error:
        raise FormatError(f"the task in {source} is {dict(plain)}: {error}.") from error


def _tupled(value: Any) -> Any:
    """JSON has no tuples."""
    return tuple(value) if isinstance(value, list) else value


def readout_of(task: ZooTask) -> Invariant:
    """What a task asks a model for: a logit per class, or one number.

    Example:
        >>> readout_of(Classify(classes=3)).outputs
        3
    """
    return Invariant(task.classes if isinstance(task, Classify) else 1)


def told(task: ZooTask, score: float | None) -> str:
    """A score in words.

    Example:
        >>> told(Classify(classes=3), 0.5), told(PredictAccuracy(), 0.25)
        ('50.0%', 'rank correlation 0.250')
    """
    if score is None:
        return "no score"
    return f"{score:.1%}" if isinstance(task, Classify) else f"rank correlation {score:.3f}"
