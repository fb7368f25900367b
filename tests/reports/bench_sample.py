"""Tables with made-up records, drawn from a seed: what pages of results are tested on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from weightspace.experiments.bench.record import BenchRecord
from weightspace.experiments.bench.table import Move, Published, Row, Table
from weightspace.experiments.choice import ModelChoice
from weightspace.training.record import write_json

MOVES = (Move("permutations", 0.0), Move("scales 0.1 to 10", 1.0), Move("scales 0.001 to 1000", 3.0))
STEPS = 2000


def choice(name: str, **options: Any) -> ModelChoice:
    return ModelChoice("weightspace.models:Any", options={"name": name, **options})


def table(
    rows: Sequence[Row], name: str = "inr-mnist", measures: tuple[str, ...] = ("accuracy",), *, higher: bool = True
) -> Table:
    question = "Which class does a network draw, told from nothing but its weights?"
    return Table(name, "Digits drawn by networks", question, measures, higher, {}, {}, tuple(rows))


def comparison(name: str = "inr-mnist", measures: tuple[str, ...] = ("accuracy",), *, higher: bool = True) -> Table:
    """Many rows on three tracks, an ablation and fewer labels."""
    names = ["FlatMLP", "StatNN", "DeepSets", "NP", "HNP", "MonomialNFN", "MAGEPNFN"]
    names += ["ScaleGMN", "GMN", "GaugeGMN", "NGGNN", "Phased"]
    printed = Published(0.75 if higher else 0.03, "Some authors, *A paper*, Table 1", "another corpus")
    rows = [Row(n, choice(n), published=printed if n in ("NP", "ScaleGMN") else None) for n in names]
    rows += [Row("ScaleGMN-B", choice("ScaleGMN-B"), published=Published(0.8 if higher else 0.02, "Others, Table 2"))]
    folded = ("StatNN", "NP", "MonomialNFN", "MAGEPNFN", "GMN", "ScaleGMN-B")
    rows += [Row(f"{n}, folded", choice(n), "canonical", ("fold",)) for n in folded]
    rows += [Row("FlatMLP, canonical", choice("FlatMLP"), "canonical")]
    rows += [Row("FunctionProbe", choice("FunctionProbe"), "probes"), Row("ScaleGMN-B, probes", choice("b"), "probes")]
    rows += [
        Row(f"ScaleGMN-B, {part}", choice("ScaleGMN-B", part=part), study="ablation") for part in ("one way", "no norm")
    ]
    rows += [
        Row(f"{n}, {share:.0%} of networks", choice(n), share=share, study="labels")
        for n in ("FlatMLP", "MAGEPNFN", "ScaleGMN-B")
        for share in (0.01, 0.1, 0.3)
    ]
    return table(rows, name, measures, higher=higher)


def strength(row: Row) -> float:
    """How good a made-up model is, from 0 to 1."""
    known = {"FlatMLP": 0.2, "StatNN": 0.35, "DeepSets": 0.4, "NP": 0.55, "HNP": 0.56, "MonomialNFN": 0.62}
    known |= {"MAGEPNFN": 0.7, "ScaleGMN": 0.74, "ScaleGMN-B": 0.82, "GMN": 0.6, "GaugeGMN": 0.735, "Phased": 0.79}
    base = known.get(row.name.split(",")[0], 0.5)
    return base * (1 + 0.15 * np.log10(row.share)) - 0.05 * (row.study == "ablation")


def record(table: Table, row: Row, seed: int = 0, items: int = 400, **changes: Any) -> BenchRecord:
    """What a run might have found; the answers, the score and the curves fit each other."""
    number = list(table.rows).index(row)
    draw = np.random.default_rng([1, seed, number])
    common = np.random.default_rng([2]).normal(size=items)
    predictions, targets, score = answers(table.measures[0], strength(row), common, draw)
    worth = score if table.higher else -score
    falls = row.name in ("NP", "HNP", "StatNN", "FlatMLP")
    turn = 1 if table.higher else -1
    moved = {
        move.name: float(score - turn * abs(score) * (0.12 * move.log_scale if falls else 1e-6 * place))
        for place, move in enumerate(MOVES)
    }
    along = np.arange(1, 21)
    curve = [
        float(turn * worth * (1 - np.exp(-k / (3 + number % 5))))
        if table.higher
        else float(score * (1 + 2 * np.exp(-k / 4)))
        for k in along
    ]
    whole = BenchRecord(
        table=table.name,
        row=row.name,
        track=row.track,
        study=row.study,
        scale="small",
        seed=seed,
        settings={
            "settings": {"steps": STEPS, "batch": 64, "learning_rate": 0.003, "augment": {"noise": 0.0}, "seed": seed},
            "task": {"name": "Classify", "classes": 10},
            "model": {"name": row.model.name, "preset": None, "options": {}},
        },
        zoo={
            "name": "digits",
            "command": "weightspace zoo make inr digits --count 4000 --seed 0",
            "seed": 0,
            "checksum": "5f3a9d0c1e",
            "networks": {"train": 3000, "val": 600, "test": items},
        },
        tuning=[{"learning_rate": rate, "validation": score - 0.01 * place} for place, rate in enumerate(table.rates)],
        status="finished",
        message="",
        validation=score,
        scores={name: score if place == 0 else score / 2 for place, name in enumerate(table.measures)},
        predictions=predictions,
        targets=targets,
        moved=moved,
        symmetry_error=None if row.name == "FlatMLP" else 10.0 ** -(14 - number % 4),
        parameters=int(1000 * 1.9**number) if not row.study else 5000,
        steps=STEPS,
        seconds=float(20 * (1 + number % 7) * draw.uniform(0.9, 1.1)),
        peak_memory=(500 + 40 * number) * 2**20,
        curves={
            "step": [int(k * STEPS // 20) for k in along],
            "seconds": [float(k) for k in along],
            "train_loss": [1.0 / k for k in along],
            "validation_loss": [1.1 / k for k in along],
            "validation_score": curve,
        },
        versions={"weightspace": "0.1.0", "torch": "2.9.0", "python": "3.12.1"},
        device="cpu",
        threads=2,
    )
    return dataclasses.replace(whole, **changes)


def answers(
    measure: str, level: float, common: np.ndarray, draw: np.random.Generator
) -> tuple[list[Any], list[Any], float]:
    """Answers, truths and the score; items have a hardness in common over all rows."""
    noise = 0.9 * common + 0.45 * draw.normal(size=len(common))
    if measure == "accuracy":
        targets = np.arange(len(common)) % 10
        right = noise < np.quantile(common, min(max(level, 0.02), 0.98))
        predictions = np.where(right, targets, (targets + 1) % 10)
        return predictions.tolist(), targets.tolist(), float(right.mean())
    if measure == "tau":
        from scipy.stats import kendalltau

        targets = np.random.default_rng(3).uniform(size=len(common)).round(3)
        guesses = level * targets + 0.3 * (1 - level) * noise
        return guesses.tolist(), targets.tolist(), float(kendalltau(guesses, targets).statistic)
    errors = 0.05 * (1.1 - level) * np.exp(0.5 * noise)
    return errors.tolist(), [], float(errors.mean())


def diverged(whole: BenchRecord) -> BenchRecord:
    nothing: dict[str, Any] = {"scores": {}, "predictions": [], "targets": [], "moved": {}, "symmetry_error": None}
    return dataclasses.replace(
        whole, status="diverged", message="the loss is nan at step 120", validation=None, **nothing
    )


def fill(results: Path, table: Table, seeds: Sequence[int] = (0, 1, 2), items: int = 400) -> list[BenchRecord]:
    """Records of all rows, on disk."""
    records = [record(table, row, seed, items) for row in table.rows for seed in seeds]
    for whole in records:
        whole.write(results)
    return records


def fill_costs(results: Path, table: Table) -> None:
    """What steps and answers cost, as it lies beside the records."""
    rows = {
        row.name: {"step": 0.004 * (1 + place), "step_memory": place * 2**22, "answer": 0.001, "answer_memory": 2**20}
        for place, row in enumerate(table.rows)
        if not row.study
    }
    write_json(
        results / "small" / table.name / "costs.json",
        {"format": "weightspace-costs", "version": 1, "batch": 64, "rows": rows},
    )
