"""What is beyond noise: against closed forms, slow loops, planted differences, and a mutant that forgets the pairs."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from tests.oracles.bootstrap import drawn
from tests.reports.bench_sample import record, table

from weightspace.experiments.bench.record import BenchRecord
from weightspace.experiments.bench.significance import MEASURES, Noise, resampled, resamples
from weightspace.experiments.bench.table import Row
from weightspace.experiments.choice import ModelChoice

TABLE = table([Row(name, ModelChoice("NP")) for name in ("first", "second")])


def run(row: str, predictions: list[Any], targets: list[Any], seed: int = 0) -> BenchRecord:
    whole = record(TABLE, TABLE.row(row), seed, items=5)
    return dataclasses.replace(whole, predictions=predictions, targets=targets)


def errors(row: str, values: np.ndarray, seed: int = 0) -> BenchRecord:
    return run(row, values.tolist(), [], seed)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("empty", [False, True])
def test_draws_equal_the_loops(measure: str, empty: bool) -> None:
    draw = np.random.default_rng(0)
    # Few distinct values: ties in answers, in truths and in both.
    targets = [] if empty else draw.integers(0, 6, 40).tolist()
    predictions = draw.integers(0, 6, 40).tolist()
    counts = resamples(40, draws=25)
    found = resampled(measure, predictions, targets, counts)
    if empty and measure == "tau":
        assert found is None
        return
    if empty and measure == "accuracy":
        expected = drawn("mse", predictions, [], counts)
    else:
        expected = drawn(measure, predictions, targets, counts)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_tau_of_more_items_than_a_block_and_of_equal_answers() -> None:
    draw = np.random.default_rng(1)
    targets = draw.normal(size=700)
    predictions = targets + draw.normal(size=700)
    counts = resamples(700, draws=3)
    expected = drawn("tau", predictions.tolist(), targets.tolist(), counts)
    np.testing.assert_allclose(resampled("tau", predictions.tolist(), targets.tolist(), counts), expected, atol=1e-12)
    np.testing.assert_array_equal(resampled("tau", [0.5] * 700, targets.tolist(), counts), 0.0)


def test_each_draw_takes_as_many_items_as_there_are() -> None:
    counts = resamples(37, draws=500)
    assert (counts[0] == 1).all()
    assert (counts.sum(1) == 37).all()
    # Each item is taken a binomial number of times: mean 1, variance 1 - 1/37.
    np.testing.assert_allclose(counts[1:].mean(0), 1, atol=0.25)
    np.testing.assert_allclose(counts[1:].var(), 1 - 1 / 37, rtol=0.05)


def test_intervals_have_the_width_of_the_normal_approximation() -> None:
    draw = np.random.default_rng(2)
    one, other = draw.normal(1.0, 0.3, 800), draw.normal(1.0, 0.4, 800)
    found = Noise("mse").difference([errors("first", one)], [errors("second", other)])
    assert found is not None
    half = 1.96 * (one - other).std() / np.sqrt(800)
    assert found.value == pytest.approx((one - other).mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.06)
    right = draw.uniform(size=800) < 0.7
    alone = Noise("accuracy").interval([run("first", right.astype(int).tolist(), [1] * 800)])
    assert alone is not None
    assert (alone.high - alone.low) / 2 == pytest.approx(
        1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 800), rel=0.06
    )


def test_runs_that_differ_are_noise_as_well() -> None:
    draw = np.random.default_rng(3)
    base, shifts = draw.normal(1.0, 0.2, 600), np.array([-0.1, 0.0, 0.1])
    first = [errors("first", base + shift, seed) for seed, shift in enumerate(shifts)]
    second = [errors("second", base, seed) for seed in range(3)]
    items = Noise("mse", over_runs=False).difference(first, second)
    both = Noise("mse").difference(first, second)
    assert items is not None
    assert both is not None
    # On every draw of items the difference is 0; what is left is the mean of three shifts, drawn with replacement.
    assert items.low == pytest.approx(0, abs=1e-9)
    assert items.high == pytest.approx(0, abs=1e-9)
    assert both.high - both.low > 2 * shifts.std() / np.sqrt(3)
    single = (
        Noise("mse").difference(first[:1], second[:1]),
        Noise("mse", over_runs=False).difference(first[:1], second[:1]),
    )
    assert single[0] == single[1]


def test_an_exchange_of_rows_turns_the_sign_and_nothing_else() -> None:
    draw = np.random.default_rng(4)
    first = [errors("first", draw.normal(1.0, 0.2, 100), seed) for seed in range(3)]
    second = [errors("second", draw.normal(1.1, 0.2, 100), seed) for seed in range(3)]
    noise = Noise("mse")
    one, other = noise.difference(first, second), noise.difference(second, first)
    assert one is not None
    assert other is not None
    assert (one.value, one.sign) == (pytest.approx(-other.value), -other.sign)
    assert one.low == pytest.approx(-other.high, abs=2e-3)


def planted(gain: float, seed: int = 5) -> tuple[list[BenchRecord], list[BenchRecord]]:
    """Errors of two rows that share what makes an item hard, which is far larger than what tells them apart."""
    draw = np.random.default_rng(seed)
    hard = draw.exponential(1.0, 400)
    return (
        [errors("first", hard + draw.normal(0, 0.02, 400), number) for number in range(2)],
        [errors("second", hard + gain + draw.normal(0, 0.02, 400), number) for number in range(2)],
    )


def unpaired(self: Noise, given: BenchRecord) -> np.ndarray | None:
    """A mutant: each run is measured on draws of its own."""
    counts = resamples(len(given.predictions), self.draws, seed=1 + 10 * given.seed + (given.row == "second"))
    return resampled(self.measure, given.predictions, given.targets, counts)


def test_a_planted_difference_is_found_by_pairs_and_only_by_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Noise("mse").difference(*planted(0.02))
    assert found is not None
    assert found.sign == -1
    assert found.low < -0.02 < found.high
    monkeypatch.setattr(Noise, "_run", unpaired)
    missed = Noise("mse").difference(*planted(0.02))
    assert missed is not None
    assert not missed.beyond


def test_where_there_is_no_difference_few_intervals_exclude_0() -> None:
    wrong = 0
    for seed in range(80):
        draw = np.random.default_rng([6, seed])
        hard = draw.normal(size=150)
        pair = ([errors(name, hard + draw.normal(size=150))] for name in ("first", "second"))
        found = Noise("mse", draws=400).difference(*pair)
        assert found is not None
        wrong += found.beyond
    assert wrong <= 10  # 4 are expected; more than 10 come once in 400 times


def test_tau_tells_better_orders_from_worse() -> None:
    draw = np.random.default_rng(7)
    truth, common = draw.uniform(size=300), draw.normal(size=300)
    noises = {"first": 0.3, "second": 0.36}
    pair = [[run(name, (truth + size * common).tolist(), truth.tolist())] for name, size in noises.items()]
    found = Noise("tau").difference(*pair)
    assert found is not None
    assert found.sign == 1


def test_a_missing_class_is_wrong_and_a_missing_number_leaves_nothing() -> None:
    found = Noise("accuracy").interval([run("first", [None, 1, 1, 1], [1, 1, 1, 1])])
    assert found is not None
    assert found.value == 0.75
    for measure in ("tau", "mse", "rmse"):
        assert Noise(measure).interval([run("first", [None, 0.5, 0.1], [0.1, 0.2, 0.3])]) is None
    assert Noise("mse").interval([run("first", [None, [0.5, 0.1]], [[0.1, 0.2], [0.3, 0.4]])]) is None


def test_what_cannot_be_paired_has_no_difference() -> None:
    first = run("first", [1, 2, 3], [1, 2, 2])
    noise = Noise("accuracy")
    assert noise.difference([first], [run("second", [1, 2], [1, 2])]) is None
    assert noise.difference([first], [run("second", [1, 2, 3], [1, 2, 3])]) is None
    other = dataclasses.replace(run("second", [1, 2, 3], [1, 2, 2]), zoo={"checksum": "another"})
    assert noise.difference([first], [other]) is None
    assert noise.difference([first], []) is None
    assert Noise("a measure of one's own").difference([first], [first]) is None
    assert Noise("accuracy").interval([run("first", [], [])]) is None


def test_items_that_belong_together_are_drawn_together() -> None:
    """Three copies of each item tell no more than one; as items of their own they would seem to."""
    draw = np.random.default_rng(8)
    one, other = draw.normal(1.0, 0.3, 200), draw.normal(1.0, 0.4, 200)
    groups = np.repeat(np.arange(200)[::-1], 3).tolist()
    once = Noise("mse").difference([errors("first", one[::-1])], [errors("second", other[::-1])])
    pair = errors("first", np.repeat(one, 3)), errors("second", np.repeat(other, 3))
    together = Noise("mse").difference(*([dataclasses.replace(run, groups=groups)] for run in pair))
    apart = Noise("mse").difference([pair[0]], [pair[1]])
    assert once is not None
    assert together is not None
    assert apart is not None
    assert (together.low, together.high) == (pytest.approx(once.low), pytest.approx(once.high))
    assert (together.high - together.low) / (apart.high - apart.low) == pytest.approx(np.sqrt(3), rel=0.1)
    assert Noise("mse").difference([pair[0]], [dataclasses.replace(pair[1], groups=groups)]) is None


def test_groups_of_different_sizes_leave_the_mean_a_mean() -> None:
    values = np.full(30, 0.7)
    sized = dataclasses.replace(errors("first", values), groups=[0] * 20 + list(range(1, 11)))
    found = Noise("mse").interval([sized])
    assert found is not None
    assert (found.low, found.high) == (pytest.approx(0.7), pytest.approx(0.7))
