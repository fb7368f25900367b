"""Zoos of perceptrons and transformers, the data that they learn from, and what a zoo will take."""

from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from weightspace.errors import DataError, TrainingError, UnknownNameError, WeightspaceError
from weightspace.spec import spec_of
from weightspace.tasks import PredictAccuracy
from weightspace.weights import act, sample_element
from weightspace.zoo.generate import estimate as estimating
from weightspace.zoo.generate.architecture import MlpSettings, TransformerSettings
from weightspace.zoo.generate.classifier import Architecture, Regime, build, classifier_task, make_classifier_zoo
from weightspace.zoo.generate.estimate import collection_estimate, estimate, policy_estimate, task_estimate
from weightspace.zoo.generate.hyperparameters import Choice, LogUniform, Uniform, Value
from weightspace.zoo.generate.plan import Plan, Recipe
from weightspace.zoo.generate.policy import PolicySettings
from weightspace.zoo.generate.template import modules, settings_of, template
from weightspace.zoo.tabular import TABLES, load_table

SMALL = Regime(steps=(3, 9), batch=10, checkpoints=(0.5, 1.0), interval=2, chunk=3)


@pytest.mark.parametrize("name", sorted(TABLES))
def test_tables_are_standardised_by_what_is_learnt_from(name: str) -> None:
    table = load_table(name)
    total = len(table.train) + len(table.test)
    assert len(table.test) == total // 5
    assert sorted(table.train_labels.unique().tolist()) == list(range(table.classes))
    assert sorted(table.test_labels.unique().tolist()) == list(range(table.classes))
    assert table.train.mean(0).abs().max() < 1e-5
    deviation = table.train.std(0)
    assert (((deviation - 1).abs() < 1e-3) | (deviation == 0)).all()
    assert table.test.isfinite().all()


def test_a_table_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnknownNameError, match='did you mean "wine"'):
        load_table("whine")


@pytest.mark.parametrize(
    "architecture",
    [MlpSettings((6, 5), "relu"), MlpSettings((6,), "tanh"), TransformerSettings(width=4, heads=2, hidden=6, blocks=1)],
)
def test_rows_and_modules_of_a_zoo(architecture: Architecture, tmp_path: Path) -> None:
    """Every row is what its module does; the spec's symmetries keep the module's function."""
    table = load_table("digits")
    zoo = make_classifier_zoo(tmp_path, table, architecture, SMALL, count=5)
    assert len(zoo) == 10
    assert settings_of(zoo.manifest) == architecture
    inputs = table.test if isinstance(architecture, MlpSettings) else table.test.view(-1, 8, 8)
    assert spec_of(template(zoo.manifest), inputs[:2]) == zoo.spec
    for row, network in enumerate(modules(zoo)):
        logits = network(inputs)
        right = (logits.argmax(1) == table.test_labels).float().mean().item()
        assert zoo.column("test_accuracy")[row] == pytest.approx(right, abs=1e-3)
        assert zoo.column("test_loss")[row] == pytest.approx(cross_entropy(logits, table.test_labels).item(), rel=1e-3)
    assert np.allclose(zoo.column("gap"), zoo.column("train_accuracy") - zoo.column("test_accuracy"))
    moved = act(sample_element(zoo.spec, len(zoo), generator=torch.Generator().manual_seed(0)), zoo.features())
    for before, after in zip(modules(zoo), moved.to_modules(template(zoo.manifest)), strict=True):
        torch.testing.assert_close(after(inputs[:9]), before(inputs[:9]), rtol=1e-3, atol=1e-4)
    accuracies = PredictAccuracy().targets(zoo, np.arange(len(zoo)))
    assert accuracies.tolist() == zoo.column("test_accuracy").tolist()


def test_networks_learn_wine(tmp_path: Path) -> None:
    regime = replace(SMALL, steps=(150, 150), learning_rate=(3e-3, 1e-2), weight_decay=(1e-6, 1e-4), fractions=(1.0,))
    zoo = make_classifier_zoo(tmp_path, load_table("wine"), MlpSettings((16,)), regime, count=4)
    final = zoo.only(zoo.column("final"))
    assert (final.column("test_accuracy") > 0.8).all()
    curve = final.column("loss_curve")[0]
    assert len(curve) == 75
    assert curve[-10:].mean() < curve[0]


def test_attention_is_that_of_the_formula() -> None:
    """One token at a time, in plain loops."""
    network = build(TransformerSettings(width=4, heads=2, hidden=6, blocks=1), (3, 5), 2)
    block, values = network.blocks[0], torch.randn(1, 3, 5, generator=torch.Generator().manual_seed(0))
    tokens: Tensor = network.embed(values) + network.place
    shown = block.first(tokens)[0]
    query, key, value = block.query(shown), block.key(shown), block.value(shown)
    mixed = torch.zeros(3, 4)
    for head in range(2):
        units = slice(2 * head, 2 * head + 2)
        for place in range(3):
            weights = torch.stack([query[place, units] @ key[other, units] for other in range(3)]) / 2**0.5
            mixed[place, units] = sum(w * v for w, v in zip(weights.softmax(0), value[:, units], strict=True))
    tokens = tokens + block.join(mixed)
    tokens = tokens + block.fall(torch.nn.functional.gelu(block.rise(block.second(tokens))))
    torch.testing.assert_close(network.out(network.norm(tokens).mean(1)), network(values))


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (lambda: MlpSettings((3, 0)), TrainingError, "widths are"),
        (lambda: MlpSettings(activation="rlu"), UnknownNameError, "relu"),
        (lambda: TransformerSettings(width=5), TrainingError, "multiple of the heads"),
        (lambda: Regime(steps=(0, 3)), TrainingError, "steps"),
        (lambda: Regime(dropout=(0.0, 1.0)), TrainingError, "dropout"),
        (lambda: Regime(optimisers=("rmsprop",)), UnknownNameError, "rmsprop"),
        (lambda: Regime(fractions=(0.0,)), TrainingError, "train_fraction"),
        (lambda: Regime(chunk=0), TrainingError, "chunk"),
        (lambda: classifier_task(load_table("wine"), MlpSettings(), SMALL, count=0), DataError, "count is 0"),
        (lambda: classifier_task(load_table("wine"), TransformerSettings(), SMALL, count=1), DataError, "square"),
        (
            lambda: classifier_task(load_table("wine"), MlpSettings(), replace(SMALL, batch=999), count=1),
            DataError,
            "fewer than a batch",
        ),
    ],
)
def test_wrong_settings_are_refused(wrong: Callable[[], Any], error: type[WeightspaceError], text: str) -> None:
    with pytest.raises(error, match=text):
        wrong()


def test_an_estimate_scales_with_what_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that a step of a network moves by 10 ms and a call by 50 ms is told rightly."""
    now, task = [0.0], classifier_task(load_table("wine"), MlpSettings((4,)), SMALL, count=40)
    state, _ = task.recipe().make(torch.arange(1), None)

    def of_share(share: float) -> Recipe:
        steps = max(1, round(200 * share))

        def make(numbers: Tensor, progress: object) -> Any:
            now[0] += 0.05 + 0.01 * steps * len(numbers)
            rows = {key: value.repeat(len(numbers), *[1] * (value.ndim - 1)) for key, value in state.items()}
            return rows, {"number": list(range(2 * len(numbers)))}

        return Recipe(task.manifest, make, Plan(40, 8, rows=2), steps, chunk=4)

    monkeypatch.setattr(estimating.time, "perf_counter", lambda: now[0])
    told = estimate(of_share(1.0), of_share)
    # Calls are few beside 200 steps of 40 networks, 80 seconds: at most 0.05 for each network.
    assert 80 <= told.seconds <= 82.01
    size = task.blueprint.numel * 4 * 80
    assert size < told.disk < size + 80 * 600 + 10_000
    assert told.memory > size


@pytest.mark.parametrize(("alone", "shared"), [(0.3, 0.01), (0.02, 0.02)])
def test_an_estimate_counts_steps_that_networks_share(
    alone: float, shared: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step costs something by itself and something for each network; those that are over leave the others alone."""
    now, task = [0.0], classifier_task(load_table("wine"), MlpSettings((4,)), SMALL, count=16)
    state, _ = task.recipe().make(torch.arange(1), None)

    def cost(counts: list[int]) -> float:
        return sum(alone + shared * sum(count > step for count in counts) for step in range(max(counts))) / 100

    def of_share(share: float, *, alike: bool = False) -> Recipe:
        own = [max(1, round((275 if alike else 100 + 50 * (number % 8)) * share)) for number in range(16)]

        def make(numbers: Tensor, progress: object) -> Any:
            now[0] += cost([own[number] for number in numbers.tolist()])
            rows = {key: value.repeat(len(numbers), *[1] * (value.ndim - 1)) for key, value in state.items()}
            return rows, {"number": list(range(2 * len(numbers)))}

        return Recipe(task.manifest, make, Plan(16, 16, rows=2), float(np.mean(own)), chunk=8)

    monkeypatch.setattr(estimating.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(estimating.torch, "get_num_threads", lambda: 1)
    true = 2 * cost([100 + 50 * number for number in range(8)])
    assert estimate(of_share(1.0), of_share).seconds == pytest.approx(true, rel=0.1)
    if alone > shared:
        # Were all tried with the same number of steps, the few that go on alone would be missed.
        missed = estimate(of_share(1.0), partial(of_share, alike=True)).seconds
        assert missed < 0.8 * true


def test_an_estimate_of_a_collection_asks_every_zoo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Zoos whose steps cost 1, 5 and 30 ms: what one of them costs says nothing of the others."""
    now, costs = [0.0], (0.001, 0.005, 0.03)
    tasks = [classifier_task(load_table("wine"), MlpSettings((width,)), SMALL, count=20) for width in (3, 4, 5)]
    states = [task.recipe().make(torch.arange(1), None)[0] for task in tasks]

    def of_share(share: float) -> list[Recipe]:
        steps = max(1, round(100 * share))

        def make(kind: int, numbers: Tensor, progress: object) -> Any:
            now[0] += 0.01 + costs[kind] * steps * len(numbers)
            rows = {key: value.repeat(len(numbers), *[1] * (value.ndim - 1)) for key, value in states[kind].items()}
            return rows, {"number": list(range(2 * len(numbers)))}

        return [
            Recipe(task.manifest, partial(make, kind), Plan(20, 8, rows=2), steps, chunk=4)
            for kind, task in enumerate(tasks)
        ]

    monkeypatch.setattr(estimating.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(estimating.torch, "get_num_threads", lambda: 1)
    true = 20 * 100 * sum(costs)
    told = collection_estimate(of_share(1.0), of_share)
    assert told.networks == 60
    assert told.seconds == pytest.approx(true, rel=0.02)
    size = sum(task.blueprint.numel * 4 * 40 for task in tasks)
    assert size < told.disk < size + 120 * 600 + 30_000
    missed = collection_estimate(of_share(1.0)[:1], lambda share: of_share(share)[:1])
    assert 3 * missed.seconds < 0.2 * true


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (80, 8),
        (LogUniform(40, 160), LogUniform(4.0, 16.0)),
        (Uniform(4, 50), Uniform(1.0, 5.0)),
        (Choice([20, 40]), Choice([2, 4])),
        ([30, 5], [3, 1]),
    ],
)
def test_every_network_takes_a_share_of_its_own_steps(steps: Value, expected: Value) -> None:
    assert estimating._shortened_value(steps, 0.1) == expected


def test_policies_are_planned_with_as_many_checkpoints() -> None:
    settings = PolicySettings(hidden=(4,), iterations=6, checkpoints=(0.0, 0.5, 1.0), spoilt=(), episodes=2)
    told = policy_estimate(replace(settings, directions=2), count=3)
    assert told.networks == 3
    assert told.steps == 6
    assert 0 < told.seconds < 100
    assert told.disk > 9 * 30 * 4


def test_an_estimate_of_networks_that_cannot_be_had_is_refused() -> None:
    task = classifier_task(load_table("wine"), MlpSettings((4,)), SMALL, count=4)
    told = task_estimate(task)
    assert told.networks == 4
    assert told.seconds > 0
    task.blueprint.module.append(torch.nn.BatchNorm1d(3))
    with pytest.raises(TrainingError, match="running statistics"):
        task_estimate(task)


def test_settings_are_those_of_the_manifest(tmp_path: Path) -> None:
    zoo = make_classifier_zoo(tmp_path, load_table("wine"), MlpSettings((3,)), SMALL, count=1)
    kept = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(SMALL).items() if name != "chunk"}
    assert zoo.manifest.settings == {"widths": [3], "activation": "relu"} | kept
