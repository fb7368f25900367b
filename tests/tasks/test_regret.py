"""What choosing by prediction loses: plain loops, the regret of choosing blindly, and what is refused."""

import itertools
import math

import numpy as np
import pytest
import torch

from weightspace.errors import DataError, ShapeError
from weightspace.tasks import regret


def exact(answers: list[float], achieved: list[float], among: int) -> float:
    """Over all sets there are, each once."""
    total, count = 0.0, 0
    for chosen in itertools.combinations(range(len(achieved)), among):
        top = max(answers[row] for row in chosen)
        first = [achieved[row] for row in chosen if answers[row] == top]
        total += max(achieved[row] for row in chosen) - sum(first) / len(first)
        count += 1
    return total / count


def test_draws_come_near_the_mean_over_all_sets() -> None:
    chance = np.random.default_rng(0)
    achieved, answers = chance.uniform(0, 500, 9), chance.integers(0, 4, 9).astype(float)
    for among in (1, 2, 4):
        found = regret(answers, achieved, among=among, draws=20000)
        assert found == pytest.approx(exact(answers.tolist(), achieved.tolist(), among), rel=0.03, abs=1e-12)
    assert regret(answers, achieved, among=9) == pytest.approx(exact(answers.tolist(), achieved.tolist(), 9))


def test_the_right_order_loses_nothing_and_the_opposite_most() -> None:
    achieved = torch.linspace(0, 1, 200)
    assert regret(achieved[:, None] * 3 - 7, achieved) == 0
    blind, worst = regret(torch.zeros(200), achieved), regret(-achieved, achieved)
    # Of a hundred numbers spread evenly over 0 to 1 the largest is about 1, their mean 1/2.
    assert blind == pytest.approx(0.5, abs=0.02)
    assert worst == pytest.approx(1, abs=0.02)


def test_every_model_is_asked_on_the_same_sets() -> None:
    chance = np.random.default_rng(1)
    achieved, answers = chance.uniform(size=150), chance.normal(size=150)
    assert regret(answers, achieved) == regret(np.exp(answers), achieved)
    assert regret(answers, achieved) != regret(answers, achieved, seed=1)


def test_a_choice_by_the_smallest_answer_is_caught() -> None:
    """A mutant: answers upside down."""
    achieved = np.array([0.0, 1.0, 2.0, 3.0])
    assert regret(-achieved, achieved, among=3) > regret(achieved, achieved, among=3)


@pytest.mark.parametrize(
    ("output", "achieved", "words", "error", "text"),
    [
        ([1.0, 2.0], [1.0, 2.0], {}, DataError, "among is 100; 2 networks are given"),
        ([1.0, 2.0], [1.0, 2.0], {"among": 0}, DataError, "among is 0"),
        ([1.0, 2.0], [1.0], {"among": 1}, ShapeError, "2 answers for 1 networks"),
        ([[1.0, 2.0]], [1.0], {"among": 1}, ShapeError, r"output has shape \(1, 2\)"),
        ([math.nan, 2.0], [1.0, 2.0], {"among": 1}, DataError, "output is nan for network 0"),
        ([1.0], [1.0], {"among": 1, "draws": 0}, DataError, "draws is 0"),
        ([1.0], [1.0], {"among": 1, "seed": -1}, DataError, "seed -1"),
    ],
)
def test_bad_input_is_refused(
    output: list, achieved: list, words: dict[str, int], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        regret(np.array(output), np.array(achieved), **words)
