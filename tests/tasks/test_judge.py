"""Prediction of returns, and what more is measured of predictions: against plain loops and scipy."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import kendalltau
from tests.tasks.test_predict import drawn

from weightspace.errors import DataError, UnknownNameError
from weightspace.experiments.task import readout_of, task_for, task_from, told
from weightspace.tasks import Classify, PredictAccuracy, PredictReturn, regret, tau_ceiling
from weightspace.tasks.reliability import calibration_error
from weightspace.training.record import describe
from weightspace.zoo import Zoo
from weightspace.zoo.generate import PolicySettings, make_policy_zoo


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Zoo:
    settings = PolicySettings(hidden=(4,), iterations=4, checkpoints=(0.0, 1.0), spoilt=(0.5,), episodes=4)
    return make_policy_zoo(tmp_path_factory.mktemp("policies"), settings, count=12)


@pytest.mark.parametrize("levels", [2, 5, 40, 10**9])
def test_the_ceiling_is_what_scipy_gives_the_best_prediction_without_ties(levels: int) -> None:
    target = np.random.default_rng(levels).integers(0, levels, 60) / levels
    best = np.empty(60)
    best[np.argsort(target, kind="stable")] = np.arange(60)
    assert tau_ceiling(torch.from_numpy(target)) == pytest.approx(kendalltau(best, target).statistic, abs=1e-12)
    assert tau_ceiling(target) >= abs(kendalltau(np.random.default_rng(1).random(60), target).statistic)


def test_the_ceiling_of_equal_targets_is_not_a_number() -> None:
    assert math.isnan(tau_ceiling(torch.zeros(4)))
    assert math.isnan(tau_ceiling(torch.zeros(1)))


def slow_calibration(said: list[float], true: list[float], bins: int = 15) -> float:
    total = 0.0
    for b in range(bins):
        inside = [i for i, p in enumerate(said) if b / bins < p <= (b + 1) / bins or (b == 0 and p == 0)]
        if inside:
            gap = sum(true[i] for i in inside) / len(inside) - sum(said[i] for i in inside) / len(inside)
            total += len(inside) / len(said) * abs(gap)
    return total


def test_calibration_equals_plain_loops() -> None:
    chance = np.random.default_rng(0)
    said = np.concatenate([chance.random(200), [0.0, 1.0, 1 / 2]])
    true = chance.random(203)
    found = calibration_error(said, true)
    assert found == pytest.approx(slow_calibration(said.tolist(), true.tolist()), abs=1e-12)
    assert calibration_error(said, said) == pytest.approx(0)
    # Other bins are told apart.
    assert found != pytest.approx(slow_calibration(said.tolist(), true.tolist(), bins=14), abs=1e-6)
    assert math.isnan(calibration_error(np.array([math.nan, 0.5]), np.array([0.0, 1.0])))


def test_measures_of_accuracy() -> None:
    output, target = drawn()
    task = PredictAccuracy()
    found, said = task.measures(output, target), torch.sigmoid(output[:, 0])
    assert list(found) == ["tau", "tau ceiling", "r2", "l1", "calibration"]
    assert found["tau"] == task.score(output, target)
    assert found["r2"] == task.r2(output, target)
    assert found["l1"] == pytest.approx((said - target).abs().mean().item())
    assert found["calibration"] == pytest.approx(slow_calibration(said.tolist(), target.tolist()))
    assert task.errors(output, target).tolist() == pytest.approx((said - target).abs().tolist())


def test_measures_of_classes() -> None:
    chance = torch.Generator().manual_seed(0)
    output, target = 3 * torch.randn(90, 4, generator=chance), torch.randint(0, 4, (90,), generator=chance)
    task = Classify(4)
    found, errors = task.measures(output, target), task.errors(output, target)
    said, named = output.double().softmax(-1).max(-1)
    assert found["accuracy"] == task.score(output, target) == pytest.approx(1 - errors.mean().item())
    assert found["nll"] == pytest.approx(task.loss(output, target).item(), rel=1e-5)
    right = (named == target).double().tolist()
    assert found["calibration"] == pytest.approx(slow_calibration(said.tolist(), right), abs=1e-12)
    assert errors.tolist() == [float(a != b) for a, b in zip(named.tolist(), target.tolist(), strict=True)]


def test_measures_of_returns_are_in_their_unit() -> None:
    chance = torch.Generator().manual_seed(0)
    output, target = torch.randn(150, 1, generator=chance), torch.rand(150, generator=chance)
    task = PredictReturn(bounds=(-500.0, 0.0))
    found, accuracy = task.measures(output, target), PredictAccuracy().measures(output, target)
    assert found["l1"] == pytest.approx(500 * accuracy["l1"])
    assert found["regret"] == pytest.approx(500 * regret(output, target, among=100), rel=1e-6)
    assert found["tau"] == accuracy["tau"]
    few = task.measures(output[:7], target[:7])
    assert few["regret"] == pytest.approx(500 * regret(output[:7], target[:7], among=7), rel=1e-6)
    broken = task.measures(torch.full((7, 1), math.nan), target[:7])
    assert math.isnan(broken["regret"])
    assert broken["tau"] == 0


def test_the_column_of_returns_asks_for_this_task(zoo: Zoo) -> None:
    task = task_for(zoo, "scaled_return")
    assert task == PredictReturn.of(zoo) == PredictReturn(bounds=(0.0, 500.0))
    assert len(task.targets(zoo, zoo.split("train"))) == len(zoo.split("train"))
    assert readout_of(task).outputs == 1
    assert told(task, 0.5) == "rank correlation 0.500"
    plain = describe(torch.nn.Linear(1, 1), task, task, {})["task"]
    assert task_from(plain, "settings.json") == task
    # Runs that were made before there was this task.
    old = {"name": "PredictAccuracy", "target": "scaled_return", "kind": "bce"}
    assert task_from(old, "settings.json") == PredictAccuracy("scaled_return")


def test_mistakes_are_told(zoo: Zoo, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"bounds are \(1.0, 1.0\)"):
        PredictReturn(bounds=(1.0, 1.0))
    with pytest.raises(UnknownNameError, match="mse"):
        PredictReturn(kind="mes")
    with pytest.raises(DataError, match="'mean_return' is .* expected numbers from 0 to 1"):
        PredictReturn.of(zoo, "mean_return").targets(zoo, slice(None))
