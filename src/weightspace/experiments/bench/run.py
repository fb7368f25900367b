"""One row of a table: its learning rate chosen on validation items, then a run for each seed, each looked at once."""

import hashlib
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from weightspace.errors import TrainingError
from weightspace.experiments.bench.record import BenchRecord, record_path
from weightspace.experiments.bench.subject import answered
from weightspace.experiments.bench.table import Measured, Row, Subject, Table
from weightspace.training import RunRecord, Splits, TrainSettings, read_record, train
from weightspace.training.record import finite

__all__ = ["key_of", "run_row", "tune"]

DIGITS = 6
"""Decimals of answers and targets in records."""


def key_of(table: Table, row: Row, scale: str, seed: int) -> str:
    """What makes a run this run, in 16 letters: equal keys, equal runs. The data need not be there."""
    shown = {"published", "study", "track", "name"}
    chosen = {name: value for name, value in asdict(row).items() if name not in shown} | {"model": row.model.plain}
    parts = {
        "row": chosen,
        "data": repr(table.data[scale]),
        "training": asdict(table.training[scale]),
        "rates": table.rates,
        "tuning": table.tuning,
        "first": table.seeds[0],
        "seed": seed,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=repr).encode()).hexdigest()[:16]


def tune(table: Table, row: Row, scale: str, subject: Subject, home: Path) -> list[dict[str, Any]]:
    """Try the table's learning rates on its first seed, for a share of the steps; the test split is not looked at.

    Args:
        table: of the row.
        row: whose rate is chosen.
        scale: of the run.
        subject: of the table.
        home: where runs are kept, so that they are not done again.

    Returns:
        Each rate with the best validation score, None where it diverged.
    """
    if len(table.rates) == 1:
        return [{"learning_rate": table.rates[0], "validation": None}]
    data = subject.data(row)
    unseen = replace(data, test=data.val)
    tried = []
    for rate in table.rates:
        settings = _settings(table, row, scale, table.seeds[0], rate)
        steps = max(1, round(table.tuning * (settings.steps or 1)))
        short = replace(settings, steps=steps, evaluate_every=max(1, steps // 5))
        folder = _folder(table, row, scale, table.seeds[0], home) / f"rate-{rate:g}"
        record = _train(subject, row, unseen, short, folder)[1]
        tried.append({"learning_rate": rate, "validation": record.validation_score if _sound(record) else None})
    return tried


def run_row(table: Table, row: Row, scale: str, seed: int, subject: Subject, home: Path) -> BenchRecord:
    """Train a row's model with the rate that was chosen for it, and measure it on the test split, once.

    Args:
        table: of the row.
        row: what is trained.
        scale: of the run.
        seed: of the run.
        subject: of the table.
        home: where runs are kept; one that was interrupted is gone on with.

    Returns:
        The record; also of a run that diverged.
    """
    tried = tune(table, row, scale, subject, home)
    rate = max(tried, key=lambda each: -math.inf if each["validation"] is None else each["validation"])["learning_rate"]
    settings = _settings(table, row, scale, seed, rate)
    data = subject.data(row)
    model, run = _train(subject, row, data, settings, _folder(table, row, scale, seed, home) / "run")
    scores, predictions, targets, measured = _judged(table, subject, row, model, data, run)
    return BenchRecord(
        table=table.name,
        row=row.name,
        track=row.track,
        study=row.study,
        scale=scale,
        seed=seed,
        settings={"choice": row.model.plain, "prepare": list(row.prepare), "share": row.share, **run.settings},
        zoo=dict(subject.about),
        tuning=tried,
        status=run.status,
        message=run.message,
        validation=run.validation_score,
        scores=scores,
        predictions=predictions,
        targets=targets,
        groups=list(subject.groups) if targets or predictions else [],
        moved=dict(measured.moved),
        symmetry_error=measured.symmetry_error,
        parameters=run.parameters,
        steps=run.steps,
        seconds=run.seconds,
        peak_memory=run.peak_memory,
        curves=run.curves,
        versions=run.versions,
        device=run.device,
        threads=run.threads,
        key=key_of(table, row, scale, seed),
    )


def _judged(
    table: Table, subject: Subject, row: Row, model: nn.Module, data: Splits, run: RunRecord
) -> tuple[dict[str, float | None], list[Any], list[Any], Measured]:
    """Measures, answers, truths, and what else is measured; nothing of a model that diverged."""
    if not _sound(run):
        return {}, [], [], Measured({}, None)
    output, target = answered(model, data.test)
    found = subject.task.measures(output, target)
    scores = {name: finite(found[name]) for name in table.measures}
    if target.ndim > 1:  # of images and frames the errors are kept
        return scores, _rounded(subject.task.errors(output, target)), [], subject.measure(row, model)
    return scores, _rounded(subject.task.predict(output)), _rounded(target), subject.measure(row, model)


def _train(
    subject: Subject,
    row: Row,
    data: Splits,
    settings: TrainSettings,
    folder: Path,
) -> tuple[nn.Module, RunRecord]:
    """A trained model with its record; also one that diverged, which is a result like others."""
    model = subject.build(row, settings.seed)
    try:
        return model, train(model, subject.task, data, settings, out=folder)
    except TrainingError as error:
        record = read_record(folder) if (folder / "record.json").exists() else None
        # A folder of another run has a record too, which is none of this model's.
        if record is None or _sound(record) or record.message != str(error):
            raise
        return model, record


def _settings(table: Table, row: Row, scale: str, seed: int, rate: float) -> TrainSettings:
    return replace(table.training[scale], **{"learning_rate": rate, **row.training, "seed": seed})


def _folder(table: Table, row: Row, scale: str, seed: int, home: Path) -> Path:
    place = record_path(home / "runs", scale, table.name, row.name, seed)
    return place.parent.parent / f"{place.stem}-{key_of(table, row, scale, seed)[:8]}"


def _sound(record: RunRecord) -> bool:
    return record.status == "finished"


def _rounded(values: torch.Tensor) -> list[Any]:
    if not values.is_floating_point():
        return values.tolist()
    return [None if (known := finite(value)) is None else round(known, DIGITS) for value in values.double().tolist()]
