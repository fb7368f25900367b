"""Networks of anyone's module: side by side against one at a time, and what must not depend on how the work is cut."""

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.oracles.fit import train_alone
from torch import Tensor, nn
from torch.nn import functional

from weightspace.errors import DataError, FormatError, StorageError, TrainingError, UnknownNameError, WeightspaceError
from weightspace.spec import NetworkSpec
from weightspace.weights import flatten
from weightspace.zoo import (
    Augment,
    Choice,
    EarlyStop,
    Examples,
    FitSettings,
    Hyperparameters,
    LogUniform,
    Uniform,
    Zoo,
    check,
    fit,
    open_zoo,
)
from weightspace.zoo.generate import ensemble, keyed
from weightspace.zoo.generate.blueprint import Blueprint
from weightspace.zoo.generate.ensemble import Ensemble
from weightspace.zoo.generate.fit import Task
from weightspace.zoo.generate.hyperparameters import values_of


class Block(nn.Module):
    """A residual step."""

    def __init__(self, width: int, rate: float) -> None:
        super().__init__()
        self.norm, self.rise, self.fall = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.drop = nn.Dropout(rate)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.drop(self.fall(self.drop(functional.gelu(self.rise(self.norm(x))))))


def residual(rate: float = 0.0) -> nn.Module:
    """A network that is not one of the package's."""
    return nn.Sequential(nn.Linear(4, 6), Block(6, rate), Block(6, rate), nn.LayerNorm(6), nn.Linear(6, 3))


def blobs(count: int, seed: int) -> tuple[Tensor, Tensor]:
    chance = torch.Generator().manual_seed(seed)
    targets = torch.arange(count) % 3
    return torch.randn(count, 4, generator=chance) + targets[:, None] * 1.5, targets


def accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.argmax(-1) == targets).float().mean()


DATA = Examples(blobs(60, 0), blobs(20, 1), blobs(30, 2), name="blobs")
LOSS = nn.CrossEntropyLoss()
GIVEN = Hyperparameters(
    count=7,
    learning_rate=LogUniform(1e-3, 1e-2),
    weight_decay=LogUniform(1e-4, 1e-1),
    optimiser=Choice(("sgd", "adam", "adamw")),
    init=Choice(("own", "he_normal", "orthogonal", "truncated_normal")),
    init_scale=Uniform(0.5, 1.0),
    train_fraction=Choice((0.5, 1.0)),
)
SETTINGS = FitSettings(batch=5, metrics={"accuracy": accuracy}, evaluated=25, interval=1, shard=4, chunk=3)


SPECS: dict[str, NetworkSpec] = {}


def noise(inputs: Tensor, numbers: Tensor) -> Tensor:
    return inputs + 0.1 * (numbers - 0.5)


@pytest.fixture(autouse=True)
def _specs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading a spec takes half a second; modules that say the same of themselves have the same one."""
    read = Blueprint.spec

    def known(self: Blueprint, inputs: Tensor) -> NetworkSpec:
        name = repr(self.module)
        if name not in SPECS:
            SPECS[name] = read(self, inputs)
        return SPECS[name]

    monkeypatch.setattr(Blueprint, "spec", known)


def make(out: Path, **change: Any) -> Zoo:
    """A small zoo, some of it otherwise."""
    words: dict[str, Any] = {
        "template": residual(),
        "loss": LOSS,
        "data": DATA,
        "hyperparameters": GIVEN,
        "steps": Uniform(4, 12),
        "checkpoints": (0.25, 1.0),
        "settings": SETTINGS,
    } | change
    return fit(**words, out=out)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo that was made without interruption."""
    folder = tmp_path_factory.mktemp("fit") / "whole"
    make(folder)
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def task_of(given: Hyperparameters, steps: int = 10) -> Task:
    return Task(Blueprint(residual()), LOSS, DATA, given, steps, (1.0,), SETTINGS)


def largest_gap(given: Hyperparameters) -> float:
    """Largest difference of losses and weights between side by side and alone, over ten steps."""
    task = task_of(given)
    together = Ensemble(task.program(), DATA, 1)
    together.fill([lambda number=number: task.trainee(number) for number in reversed(range(task.count))], task.count)
    members = list(together.members)
    alone = [train_alone(residual(), one.weights, LOSS, DATA.train, one.order, one.given) for one in members]
    gap = 0.0
    for _ in range(10):
        together.advance()
        for row, network in enumerate(alone):
            loss, weights = next(network)
            gap = max(gap, abs(loss - together.losses[row].item()))
            gap = max(gap, (weights - together.parameters[row]).abs().max().item())
    return gap


@pytest.mark.parametrize("optimiser", ["sgd", "adam", "adamw"])
def test_equals_one_at_a_time_with_torch_optim(optimiser: str) -> None:
    assert largest_gap(replace(GIVEN, count=3, optimiser=optimiser, momentum=Uniform(0.1, 0.9))) < 2e-5


def test_equals_one_at_a_time_with_mixed_optimisers() -> None:
    assert largest_gap(replace(GIVEN, optimiser=["sgd", "adam", "adamw"] * 2 + ["sgd"])) < 2e-5


@pytest.mark.parametrize("mutant", ["betas", "coupled decay", "batches of another", "momentum"])
def test_comparison_catches_mutants(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = replace(GIVEN, count=3, optimiser="adamw", weight_decay=0.1)
    if mutant == "betas":
        monkeypatch.setattr(ensemble, "_ADAM", (0.9, 0.99, 1e-8))
    elif mutant == "coupled decay":
        start = Ensemble._start

        def coupled(self: Ensemble, row: int, member: Any) -> None:
            start(self, row, member)
            self._descent.decay[row], self._descent.shrink[row] = member.given.weight_decay, 0

        monkeypatch.setattr(Ensemble, "_start", coupled)
    elif mutant == "momentum":
        given = replace(given, optimiser="sgd", momentum=Uniform(0.1, 0.8))
        monkeypatch.setattr(ensemble, "factors", lambda name, constants: (0.9, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0))
    else:
        differentiate = Ensemble._differentiate

        def turned(self: Ensemble) -> None:
            orders = [member.order for member in self.members]
            for member, order in zip(self.members, orders[1:] + orders[:1], strict=True):
                member.order = order
            differentiate(self)

        monkeypatch.setattr(Ensemble, "_differentiate", turned)
    assert largest_gap(given) > 1e-4


def test_rows_hold_what_the_networks_are(whole: Path) -> None:
    """Every row's loss and accuracy are those of its module, taken out of the zoo."""
    zoo = open_zoo(whole)
    assert len(zoo) == 14
    assert not check(whole)
    assert zoo.column("final").tolist() == [False, True] * 7
    modules = zoo.features().to_modules(residual().eval())
    for part, (inputs, targets) in DATA.parts.items():
        if part == "train":
            continue
        for row, module in enumerate(modules):
            outputs = module(inputs[:25])
            assert zoo.column(f"{part}_loss")[row] == pytest.approx(LOSS(outputs, targets[:25]).item(), rel=1e-4)
            assert zoo.column(f"{part}_accuracy")[row] == pytest.approx(accuracy(outputs, targets[:25]).item())
    assert np.allclose(zoo.column("gap"), zoo.column("train_accuracy") - zoo.column("test_accuracy"))
    for number in range(7):
        given = values_of(GIVEN, number, steps=Uniform(4, 12))
        for name in ("learning_rate", "optimiser", "init", "train_fraction", "steps", "order_seed"):
            assert zoo.column(name)[2 * number] == getattr(given, name)
        assert zoo.column("step")[2 * number : 2 * number + 2].tolist() == [round(0.25 * given.steps), given.steps]
        assert len(zoo.column("loss_curve")[2 * number + 1]) == given.steps
    assert zoo.manifest.forward["trained_by"].startswith("torch.func")


def test_train_metrics_are_told_on_the_networks_own_examples(whole: Path) -> None:
    zoo, task = open_zoo(whole), Task(Blueprint(residual()), LOSS, DATA, GIVEN, Uniform(4, 12), (0.25, 1.0), SETTINGS)
    for row in (1, 13):
        own = task.examples_of(task.given(row // 2))[:25]
        (module,) = zoo.features(row).to_modules(residual().eval())
        assert zoo.column("train_loss")[row] == pytest.approx(
            LOSS(module(DATA.train[0][own]), DATA.train[1][own]).item(), rel=1e-4
        )


def test_losses_of_the_first_ten_steps_do_not_depend_on_chunks(tmp_path: Path) -> None:
    """Draws belong to networks: batches, augmentation and dropout are the same whoever stands beside."""
    change = {
        "template": residual(0.3),
        "data": replace(DATA, augment=Augment(noise, 4)),
        "hyperparameters": replace(GIVEN, dropout=Uniform(0.1, 0.5), learning_rate=1e-3),
        "steps": 10,
    }
    curves = []
    for chunk in (1, 3, 7):
        zoo = make(tmp_path / str(chunk), **change, settings=replace(SETTINGS, chunk=chunk, shard=7))
        curves.append(np.stack(zoo.only(zoo.column("final")).column("loss_curve")))
    assert curves[0].shape == (7, 10)
    assert np.abs(curves[1] - curves[0]).max() < 1e-4
    assert np.abs(curves[2] - curves[0]).max() < 1e-4


def test_masks_keyed_by_place_in_the_chunk_would_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    change = {"template": residual(0.3), "hyperparameters": replace(GIVEN, learning_rate=1e-3), "steps": 10}
    whole = make(tmp_path / "whole", **change, settings=replace(SETTINGS, chunk=7, shard=7))
    arrange = Ensemble._arrange

    def by_place(self: Ensemble, *, resized: bool) -> None:
        arrange(self, resized=resized)
        self._keys = torch.arange(len(self.members))

    monkeypatch.setattr(Ensemble, "_arrange", by_place)
    other = make(tmp_path / "other", **change, settings=replace(SETTINGS, chunk=3, shard=7))
    gaps = [abs(a - b).max() for a, b in zip(whole.column("loss_curve"), other.column("loss_curve"), strict=True)]
    assert max(gaps) > 1e-2


def test_equal_settings_make_equal_bytes_with_any_number_of_threads(tmp_path: Path, whole: Path) -> None:
    for name, threads in (("one", 1), ("two", 2)):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            make(tmp_path / name)
        finally:
            torch.set_num_threads(before)
    assert content(tmp_path / "one") == content(tmp_path / "two") == content(whole)


@pytest.mark.parametrize("at", [1, 9, 17])
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(
    at: int, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in any step of any chunk, then started again."""
    advance, calls = Ensemble.advance, 0

    def killed(self: Ensemble) -> Any:
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt
        return advance(self)

    with monkeypatch.context() as patch:
        patch.setattr(Ensemble, "advance", killed)
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path / "cut")
    assert len(open_zoo(tmp_path / "cut")) < 14
    make(tmp_path / "cut")
    assert content(tmp_path / "cut") == content(whole)


def test_a_run_that_was_killed_between_shards_keeps_the_first(whole: Path, tmp_path: Path) -> None:
    done: list[int] = []

    def stop(count: int) -> None:
        done.append(count)
        if sum(done) >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "cut", progress=stop)
    assert len(open_zoo(tmp_path / "cut")) == 8
    done.clear()
    assert make(tmp_path / "cut", progress=lambda count: done.append(count)).checksum == open_zoo(whole).checksum
    assert done[0] == 4
    assert sum(done) == 7


def test_a_zoo_grows_and_keeps_its_networks(tmp_path: Path) -> None:
    small = make(tmp_path, hyperparameters=replace(GIVEN, count=5))
    before, splits = flatten(small.features()), small.column("split")
    grown = make(tmp_path)
    torch.testing.assert_close(flatten(grown.features(slice(10))), before, rtol=0, atol=1e-5)
    assert (grown.column("split")[:10] == splits).all()


def test_a_network_that_diverges_is_marked_and_harms_no_other(tmp_path: Path) -> None:
    given = Hyperparameters(learning_rate=[1e-3, 1e30, 1e-3], optimiser="sgd")
    zoo = make(tmp_path / "a", hyperparameters=given, steps=8, checkpoints=(0, 4, 8))
    assert zoo.column("diverged").tolist() == [False] * 3 + [False, True, True] + [False] * 3
    assert flatten(zoo.features()).isfinite().all()
    alone = make(
        tmp_path / "b", hyperparameters=replace(given, learning_rate=[1e-3] * 3), steps=8, checkpoints=(0, 4, 8)
    )
    torch.testing.assert_close(flatten(zoo.features([6, 7, 8])), flatten(alone.features([6, 7, 8])), rtol=0, atol=1e-6)


def test_a_network_that_no_longer_gets_better_ends_and_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that learn nothing end at the third look; the others go on in a smaller company, unchanged."""
    given = Hyperparameters(learning_rate=[1e-20, 2e-3, 1e-20, 2e-3], seed=1)
    settings = replace(SETTINGS, early=EarlyStop(every=2, patience=2, least=1e-6), chunk=4)
    sizes: list[int] = []
    advance = Ensemble.advance

    def noted(self: Ensemble) -> Any:
        sizes.append(len(self.members))
        return advance(self)

    monkeypatch.setattr(Ensemble, "advance", noted)
    zoo = make(tmp_path / "a", hyperparameters=given, steps=12, settings=settings)
    final = zoo.only(zoo.column("final"))
    assert final.column("step").tolist() == [6, 12, 6, 12]
    assert final.column("stopped_early").tolist() == [True, False, True, False]
    assert sizes == [4] * 6 + [2] * 6
    free = make(tmp_path / "b", hyperparameters=given, steps=12, settings=replace(settings, early=None))
    torch.testing.assert_close(flatten(zoo.features([3, 7])), flatten(free.features([3, 7])), rtol=0, atol=1e-5)


def test_columns_and_seeds_say_what_networks_share(tmp_path: Path) -> None:
    given = Hyperparameters(learning_rate=[0.01, 0.01, 0.02], init_seed=[5, 5, 6], order_seed=[1, 2, 1])
    zoo = make(tmp_path, hyperparameters=given, checkpoints=(0, 3), steps=3)
    start = flatten(zoo.features([0, 2, 4]))
    assert torch.equal(start[0], start[1])
    assert not torch.equal(start[0], start[2])
    task = task_of(given)
    orders = [task.trainee(number).order for number in range(3)]
    assert torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[1])


def test_a_draw_does_not_depend_on_the_other_entries() -> None:
    fixed = replace(GIVEN, weight_decay=0.0, optimiser="sgd", count=100)
    for number in range(5):
        first, second = (values_of(given, number, steps=5) for given in (GIVEN, fixed))
        assert first.learning_rate == second.learning_rate
        assert first.train_fraction == second.train_fraction


@pytest.mark.parametrize("init", ["own", "glorot_normal", "he_normal", "orthogonal", "normal", "truncated_normal"])
def test_first_weights(init: str) -> None:
    """Scaled by the factor; gains stay one; biases are zero but for the module's own way."""
    plain = task_of(replace(GIVEN, init=init, init_scale=1.0)).trainee(0).weights
    scaled = task_of(replace(GIVEN, init=init, init_scale=0.5)).trainee(0).weights
    blueprint = Blueprint(residual())
    for name, value in blueprint.views(plain[None]).items():
        other = blueprint.views(scaled[None])[name]
        assert torch.allclose(other, value * 0.5 if value.ndim > 2 else value)
        if name.endswith("weight") and value.ndim == 2:
            assert bool((value == 1).all())
        elif name.endswith("bias") and init != "own":
            assert not value.any()
        elif name.endswith("weight"):
            assert value.std() > 0


def test_dropout_drops_its_share_and_other_values_each_time() -> None:
    chance = keyed.Chance()
    layer = keyed.KeyedDropout(0.25, chance)
    with chance.of(torch.tensor(7), None):
        first, second = layer(torch.ones(100, 100)), layer(torch.ones(100, 100))
    assert (first == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert first.max().item() == pytest.approx(1 / 0.75)
    assert ((first == 0) & (second == 0)).float().mean().item() == pytest.approx(0.0625, abs=0.02)
    with chance.of(torch.tensor(7), torch.tensor(0.5)):
        assert (layer(torch.ones(100, 100)) == 0).float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert torch.equal(layer.eval()(torch.ones(3)), torch.ones(3))


def test_numbers_are_uniform_and_unlike_at_neighbouring_keys() -> None:
    chance, drawn = keyed.Chance(), []
    for key in range(50):
        with chance.of(torch.tensor(key), None):
            drawn.append(chance.uniform((400,)))
    values = torch.stack(drawn)
    counts = torch.histc(values, 20, 0, 1)
    # Chi-squared with 19 degrees of freedom: 43.8 in one of a thousand cases.
    assert ((counts - 1000) ** 2 / 1000).sum() < 43.8
    assert torch.corrcoef(values).fill_diagonal_(0).abs().max() < 0.25
    assert len(values.unique()) > 19_900


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(x[:, None] * torch.ones(1, 3, 1)).mean(1))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.out = nn.Linear(4, 3)
        self.out.bias.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.second(torch.tanh(self.first(x))))


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(4, 3))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.table


CONVOLUTION = nn.Sequential(
    *(nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 4, 2, padding=1), nn.GroupNorm(2, 4), nn.PReLU(), nn.MaxPool2d(3)),
    *(nn.Dropout(0.2), nn.Flatten(), nn.Linear(4, 3)),
)
KINDS = {"attention": Attention(), "tied and frozen": Tied(), "a function": Own, "convolution": CONVOLUTION}


@pytest.mark.parametrize("template", KINDS.values(), ids=KINDS)
def test_modules_of_any_kind(template: Any, tmp_path: Path) -> None:
    zoo = make(tmp_path, template=template, steps=3)
    module = template if isinstance(template, nn.Module) else template()
    for row, network in enumerate(zoo.features().to_modules(module.eval())):
        loss = LOSS(network(DATA.test[0][:25]), DATA.test[1][:25]).item()
        assert zoo.column("test_loss")[row] == pytest.approx(loss, rel=1e-3)


class Random(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x) + torch.randn(3)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(4, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x[:, None])[0][:, 0]


class Branching(Random):
    def forward(self, x: Tensor) -> Tensor:
        return self.out(x) if x.sum().item() > 0 else -self.out(x)


class Counting(Random):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.out(x)


def sequence(*parts: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 3), *parts)


@pytest.mark.parametrize(
    ("template", "text"),
    [
        (lambda: sequence(nn.BatchNorm1d(3)), "BatchNorm1d '1' keeps running statistics.*GroupNorm"),
        (Counting, "buffer 'calls' changes in training"),
        (Random, "draw random numbers in nn.Dropout modules"),
        (Branching, "torch.where"),
        (lambda: sequence(nn.RReLU()), "RReLU '1' draws random numbers"),
        (lambda: sequence(nn.Dropout2d()), "Dropout2d"),
        (lambda: nn.TransformerEncoderLayer(4, 2, 8), "MultiheadAttention 'self_attn' drops values"),
        (lambda: sequence(nn.Dropout(1.0)), "rate 1.0"),
        (lambda: nn.Linear(5, 3), "does not take inputs of shape"),
        (lambda: sequence().double(), "torch.float64"),
        (lambda: nn.ReLU(), "no parameters to train"),
        (Recurrent, "loop over nn.Linear"),
        (lambda: nn.LazyLinear(3), "has no shape yet"),
        (lambda: 3, "gives int"),
        (Own(), "'table' belongs to a module without reset_parameters"),
    ],
)
def test_modules_that_cannot_be_had_are_refused(template: Any, text: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=text):
        make(tmp_path / "zoo", template=template)
    assert not (tmp_path / "zoo").exists()


def test_losses_and_metrics_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="the loss cannot be run"):
        make(tmp_path, loss=nn.CrossEntropyLoss(reduction="none"))
    with pytest.raises(TrainingError, match="metric 'm' has shape"):
        make(tmp_path, settings=replace(SETTINGS, metrics={"m": lambda outputs, targets: outputs.mean(-1)}))
    with pytest.raises(TrainingError, match="metric 'm' cannot be run"):
        make(tmp_path, settings=replace(SETTINGS, metrics={"m": lambda outputs, targets: outputs.mean().item()}))


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        (lambda: Hyperparameters(), TrainingError, "give a count"),
        (lambda: Hyperparameters(count=3, momentum=[0.1, 0.2]), TrainingError, "momentum is a column of 2 values"),
        (lambda: Hyperparameters(count=1, learning_rate=0), TrainingError, "learning_rate is 0"),
        (lambda: Hyperparameters(count=1, dropout=1.0), TrainingError, "dropout is 1.0"),
        (lambda: Hyperparameters(count=1, train_fraction=1.5), TrainingError, "train_fraction"),
        (lambda: Hyperparameters(count=1, init_seed=0.5), TrainingError, "a whole number"),
        (lambda: Hyperparameters(count=1, learning_rate="fast"), TrainingError, "'fast'"),
        (lambda: Hyperparameters(count=1, optimiser="adan"), UnknownNameError, 'did you mean "adam"'),
        (lambda: Hyperparameters(count=1, init=Choice(("he",))), UnknownNameError, "initialisation"),
        (lambda: Hyperparameters(count=1, seed=-1), TrainingError, "seed is -1"),
        (lambda: LogUniform(0.0, 1.0), TrainingError, "not positive"),
        (lambda: Uniform(2.0, 1.0), TrainingError, "not in order"),
        (lambda: Choice(()), TrainingError, "no options"),
        (lambda: FitSettings(batch=0), TrainingError, "batch is 0"),
        (lambda: FitSettings(metrics={"loss": accuracy}), TrainingError, "named 'loss'"),
        (lambda: EarlyStop(every=0), TrainingError, "every"),
        (lambda: Augment(noise, 0), DataError, "numbers is 0"),
        (lambda: Examples((torch.zeros(3, 2), torch.zeros(2))), DataError, "3 inputs and 2 targets"),
        (lambda: Examples(blobs(3, 0), test=(torch.zeros(3, 5), torch.zeros(3))), DataError, "inputs of test"),
        (lambda: Examples((torch.full((3, 2), torch.nan), torch.zeros(3))), DataError, "not finite"),
        (lambda: task_of(GIVEN, steps=0), TrainingError, "steps is 0"),
        (lambda: replace(task_of(GIVEN), checkpoints=(0.5,)), TrainingError, "checkpoints are"),
        (lambda: replace(task_of(GIVEN), checkpoints=(3, 1)), TrainingError, "checkpoints are"),
        (lambda: replace(task_of(GIVEN), steps=[1, 2]), TrainingError, "column of 2 values"),
        (lambda: replace(task_of(GIVEN), settings=replace(SETTINGS, batch=61)), DataError, "fewer than a batch of 61"),
        (
            lambda: replace(task_of(GIVEN), data=Examples(blobs(9, 0)), settings=replace(SETTINGS, early=EarlyStop())),
            DataError,
            "validation",
        ),
    ],
)
def test_wrong_settings_are_refused(wrong: Callable[[], Any], error: type[WeightspaceError], text: str) -> None:
    with pytest.raises(error, match=text):
        wrong()


def test_other_settings_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "zoo", steps=2)
    make(tmp_path / "zoo", steps=2, settings=replace(SETTINGS, chunk=1))
    for change, text in (
        ({"steps": 3}, "steps is 2 there and 3 here"),
        ({"loss": nn.CrossEntropyLoss(label_smoothing=0.1)}, "settings.loss"),
        ({"data": replace(DATA, train=blobs(60, 9))}, "source.checksum"),
        ({"hyperparameters": replace(GIVEN, momentum=0.5)}, "momentum"),
    ):
        with pytest.raises(FormatError, match=text):
            make(tmp_path / "zoo", **({"steps": 2} | change))
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("Dear")
    with pytest.raises(FormatError, match=r"holds dear\.txt; nothing was touched"):
        make(tmp_path / "letters", steps=2)
    with pytest.raises(FormatError, match="is a file"):
        make(tmp_path / "letters" / "dear.txt", steps=2)


def test_a_full_disk_leaves_the_shards_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make(tmp_path / "whole", steps=2)
    sync = os.fsync
    calls = 0

    def full(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"disk is full.*Remedy"):
            make(tmp_path / "cut", steps=2)
    assert len(open_zoo(tmp_path / "cut")) == 8
    assert make(tmp_path / "cut", steps=2).checksum == whole.checksum
