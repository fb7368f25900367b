"""Conformal prediction keeps the truth as often as asked; a bound that forgets the new network does not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from weightspace.errors import DataError
from weightspace.experiments.conformal import bound, class_sets, interval, scores
from weightspace.tasks import Classify, PredictAccuracy

TRIALS, KNOWN = 4000, 10


def naive(known: Tensor, coverage: float) -> float:
    """The mutant: the plain quantile of the known scores."""
    return known.sort().values[math.ceil(len(known) * coverage - 1e-9) - 1].item()


def kept(rule: object, coverage: float) -> float:
    """How often the score of one more draw is within the bound, for accuracies with errors of any size."""
    chance = torch.Generator().manual_seed(0)
    truth = torch.rand(TRIALS, KNOWN + 1, generator=chance, dtype=torch.float64)
    output = torch.logit(truth) + torch.randn(truth.shape, generator=chance, dtype=torch.float64).pow(3)
    task, hits = PredictAccuracy(), 0
    for answers, true in zip(output, truth, strict=True):
        known = scores(task, answers[:-1, None], true[:-1])
        low, high = interval(task.predict(answers[-1:, None]), rule(known, coverage))
        hits += bool((low <= true[-1:]) & (true[-1:] <= high))
    return hits / TRIALS


@pytest.mark.parametrize("coverage", [0.5, 0.8])
def test_intervals_hold_the_truth_as_often_as_asked(coverage: float) -> None:
    exact = math.ceil((KNOWN + 1) * coverage) / (KNOWN + 1)
    error = 3.3 * math.sqrt(exact * (1 - exact) / TRIALS)
    assert abs(kept(bound, coverage) - exact) < error
    assert exact >= coverage


def test_the_plain_quantile_is_caught() -> None:
    assert kept(naive, 0.9) < 0.9 - 3.3 * math.sqrt(0.09 / TRIALS) < kept(bound, 0.9)


def test_sets_of_classes_hold_the_truth_as_often_as_asked() -> None:
    chance = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(200 * 51, 4, generator=chance, dtype=torch.float64)
    true = torch.multinomial((logits + torch.randn(logits.shape, generator=chance)).softmax(-1), 1, generator=chance)
    found = scores(Classify(4), logits, true[:, 0]).reshape(200, 51)
    hits, sizes = [], []
    for row, part, target in zip(found, logits.reshape(200, 51, 4), true.reshape(200, 51), strict=True):
        sets = class_sets(part.softmax(-1)[-1:], bound(row[:-1], 0.8))
        hits.append(bool(sets[0, target[-1]]))
        sizes.append(int(sets.sum()))
    assert sum(hits) / 200 > 0.8 - 3.3 * math.sqrt(0.16 / 200)
    assert 1 <= min(sizes) <= max(sizes) <= 4


def test_scores_are_what_the_formulas_say() -> None:
    output, target = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 3.0]]), torch.tensor([0, 1])
    slow = [1 - math.exp(o[t]) / sum(math.exp(v) for v in o) for o, t in zip(output.tolist(), target, strict=True)]
    assert scores(Classify(3), output, target).tolist() == pytest.approx(slow)
    one = scores(PredictAccuracy(), torch.tensor([[0.3]]), torch.tensor([0.9]))
    assert one.item() == pytest.approx(abs(1 / (1 + math.exp(-0.3)) - 0.9))


def test_too_few_networks_give_everything() -> None:
    assert bound(torch.arange(5.0), 0.9) == math.inf
    low, high = interval(torch.tensor([0.4]), math.inf)
    assert (low.item(), high.item()) == (0, 1)
    assert class_sets(torch.tensor([[0.9, 0.1]]), math.inf).all()
    # An equality of (n + 1) c with a whole number survives rounding: 0.7 * 10 is a little more than 7.
    assert bound(torch.arange(9.0), 0.7) == 6


@pytest.mark.parametrize("coverage", [0, 1, -0.1, 90, math.nan])
def test_a_coverage_that_is_no_share_is_refused(coverage: float) -> None:
    with pytest.raises(DataError, match="such as 0.9"):
        bound(torch.arange(9.0), coverage)
