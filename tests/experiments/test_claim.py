"""Claims: each rule says yes, no, within noise and not measured where that is what was planted."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from tests.reports.bench_sample import choice, record, table

from weightspace.experiments.bench.cost import Cost
from weightspace.experiments.bench.evidence import Evidence, Outcome
from weightspace.experiments.bench.record import BenchRecord
from weightspace.experiments.bench.significance import Noise
from weightspace.experiments.bench.table import Row, Table
from weightspace.experiments.paper.claim import (
    CLAIMS,
    Claim,
    Costs,
    EveryPart,
    Falls,
    FewerLabels,
    FewerParameters,
    SmallestLevel,
    Steady,
    Verdict,
    Versus,
    VersusBest,
    findings,
)

ON = ("inr-mnist",)
YES, NO, NOISE, MISSING = Verdict.YES, Verdict.NO, Verdict.NOISE, Verdict.MISSING


def evidence(levels: Mapping[str, float], rows: Sequence[Row] = (), higher: bool = True, **changes: Any) -> Evidence:
    """Rows that share how hard items are; a row of level 0.1 more is better by that, and noise is far smaller."""
    whole: Table = table(
        [*(Row(name, choice(name)) for name in levels if name not in {row.name for row in rows}), *rows],
        measures=("mse",),
        higher=higher,
    )
    outcomes = {}
    for row in whole.rows:
        runs = [_run(whole, row, seed, levels[row.name]) for seed in range(2)] if row.name in levels else []
        outcomes[row.name] = Outcome(row, tuple(dataclasses.replace(run, **changes) for run in runs))
    return Evidence(whole, "small", outcomes, noise=Noise("mse"))


def _run(whole: Table, row: Row, seed: int, level: float) -> BenchRecord:
    hard = np.random.default_rng(0).normal(size=200)
    own = np.random.default_rng([1, seed, list(whole.rows).index(row)]).normal(0, 0.02, size=200)
    values = hard + own + (level if whole.higher else -level)
    made = record(whole, row, seed, items=5, scores={"mse": float(values.mean())})
    return dataclasses.replace(made, predictions=values.tolist(), targets=[])


def verdicts(claim: Claim, *known: Evidence) -> list[Verdict]:
    return [finding.verdict for finding in findings(claim, {"inr-mnist": list(known)} if known else {})]


@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize(("gain", "expected"), [(0.1, YES), (-0.1, NO), (0.0, NOISE)])
def test_rows_against_each_other(gain: float, expected: Verdict, higher: bool) -> None:
    known = evidence({"NP": 0.5, "HNP": 0.5 + gain}, higher=higher)
    assert verdicts(Versus("HNP above NP", ON, ("HNP",), ("NP",)), known) == [expected]
    assert verdicts(VersusBest("HNP best", ON, ("HNP",)), known) == [expected]


def test_what_has_not_run_is_not_measured() -> None:
    claim = Versus("HNP above NP", ON, ("HNP",), ("NP",))
    assert verdicts(claim) == [MISSING]
    assert verdicts(claim, evidence({"NP": 0.5})) == [MISSING]
    assert verdicts(claim, evidence({"NP": 0.5}, [Row("HNP", choice("HNP"))])) == [MISSING]
    assert verdicts(claim, evidence({"NP": 0.5, "HNP": 0.6}, status="diverged")) == [MISSING]
    for claim in CLAIMS:
        assert {finding.verdict for finding in findings(claim, {})} == {MISSING}


def test_tracks_are_not_compared() -> None:
    known = evidence({"NP": 0.5, "HNP": 0.9}, [Row("HNP", choice("HNP"), "probes")])
    assert verdicts(Versus("HNP above NP", ON, ("HNP",), ("NP",)), known) == [MISSING]
    assert verdicts(VersusBest("HNP best", ON, ("HNP",)), known) == [MISSING]


def test_the_best_of_some_stands_against_the_best_of_the_others() -> None:
    known = evidence({"a": 0.5, "a, other": 0.7, "b": 0.6, "c": 0.65})
    assert verdicts(VersusBest("a best", ON, ("a",)), known) == [YES]
    assert verdicts(VersusBest("b best", ON, ("b",)), known) == [NO]


@pytest.mark.parametrize(("sizes", "expected"), [((1000, 100), YES), ((1000, 101), MISSING)])
def test_fewer_parameters_must_be_few_enough(sizes: tuple[int, int], expected: Verdict) -> None:
    known = sized(evidence({"HNP": 0.5, "MonomialNFN": 0.6}), dict(zip(("HNP", "MonomialNFN"), sizes, strict=True)))
    assert verdicts(FewerParameters("a tenth", ON, "MonomialNFN", "HNP", 0.1), known) == [expected]


def test_the_smallest_variant_that_is_level_is_found() -> None:
    known = sized(
        evidence({"CNN": 0.5, "GM-CNN": 0.5, "GM-CNN, tiny": 0.3, "GM-CNN, big": 0.7}),
        {"CNN": 1000, "GM-CNN": 200, "GM-CNN, tiny": 50, "GM-CNN, big": 3000},
    )
    claim = SmallestLevel("fewer", ON, "GM-CNN", "CNN")
    (found,) = findings(claim, {"inr-mnist": [known]})
    assert found.verdict is YES
    assert found.numbers.startswith("200 to 1,000 parameters, a share of 0.2")
    assert verdicts(SmallestLevel("fewer", ON, "CNN", "GM-CNN"), known) == [NO]


def sized(known: Evidence, sizes: Mapping[str, int]) -> Evidence:
    outcomes = {
        name: Outcome(one.row, tuple(dataclasses.replace(run, parameters=sizes[name]) for run in one.runs))
        for name, one in known.outcomes.items()
    }
    return dataclasses.replace(known, outcomes=outcomes, noise=known.noise)


@pytest.mark.parametrize(("change", "steady", "falls"), [(0.0019, YES, NO), (-0.0021, NO, YES), (0.0021, NO, NO)])
def test_moves_that_change_a_score(change: float, steady: Verdict, falls: Verdict) -> None:
    known = evidence({"NP": 0.5})
    runs = known.outcomes["NP"].runs
    moved = tuple(
        dataclasses.replace(run, moved={"none": run.scores["mse"], "far": (run.scores["mse"] or 0) + change})
        for run in runs
    )
    known = dataclasses.replace(known, outcomes={"NP": Outcome(known.outcomes["NP"].row, moved)})
    assert verdicts(Steady("steady", ON, ("NP",)), known) == [steady]
    assert verdicts(Falls("falls", ON, ("NP",)), known) == [falls]


def test_fewer_labels_are_compared_at_the_fewest_that_both_had() -> None:
    rows = [
        Row(f"{name}, {share:.0%}", choice(name), share=share, study="labels")
        for name, share in (("FlatMLP", 0.1), ("FlatMLP", 0.01), ("ScaleGMN", 0.1))
    ]
    levels = {"FlatMLP": 0.9, "ScaleGMN": 0.5, "FlatMLP, 10%": 0.2, "FlatMLP, 1%": 0.1, "ScaleGMN, 10%": 0.4}
    (found,) = findings(FewerLabels("few", ON, ("ScaleGMN",), ("FlatMLP",)), {"inr-mnist": [evidence(levels, rows)]})
    assert found.verdict is YES
    assert found.numbers.startswith("300 networks")


def test_every_part_is_asked_for() -> None:
    rows = [Row(f"ScaleGMN, {part}", choice("ScaleGMN"), study="ablation") for part in ("one", "two", "three")]
    levels = {"ScaleGMN": 0.5, "ScaleGMN, one": 0.3, "ScaleGMN, two": 0.5, "ScaleGMN, three": 0.7}
    assert verdicts(EveryPart("parts", ON), evidence(levels, rows)) == [YES, NOISE, NO]


def test_costs_are_shown() -> None:
    cost = Cost(step=0.01, step_memory=2**20, answer=0.001, answer_memory=2**21)
    known = dataclasses.replace(evidence({"NP": 0.5}), costs={"NP": cost})
    (found,) = findings(Costs("cost", ON), {"inr-mnist": [known]})
    assert found.numbers == "NP: a step 10.0 ms and 1 MiB, an answer 1.0 ms and 2 MiB"
