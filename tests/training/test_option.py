"""What the options of a run do, each against what it says, and that a run with all of them resumes to the bit."""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from weightspace.errors import TrainingError, UnknownNameError
from weightspace.spec import spec_of
from weightspace.tasks import Classify
from weightspace.testing import random_features
from weightspace.training import Augmentation, Split, Splits, TrainSettings, checkpoint, train
from weightspace.training.average import Average
from weightspace.training.checkpoint import Checkpoint, Checkpoints
from weightspace.training.optim import learning_rate
from weightspace.training.seed import Order, generator
from weightspace.training.step import Learner
from weightspace.weights import WeightFeatures, act, flatten, sample_element

TASK = Classify(3)


def plain(seed: int = 0) -> nn.Module:
    """A model that treats every item by itself."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def losses(lab, out: Path, **settings: object) -> list[float]:
    record = train(plain(), TASK, lab.data, replace(lab.settings, **settings), out=out)
    return record.curves["train_loss"] + record.curves["validation_loss"]


@pytest.mark.parametrize("parts", [2, 5, 12])
def test_a_batch_in_parts_is_the_same_batch(lab, tmp_path: Path, parts: int) -> None:
    whole, in_parts = losses(lab, tmp_path / "whole"), losses(lab, tmp_path / "parts", accumulate=parts)
    assert in_parts == pytest.approx(whole, rel=1e-5)


def test_a_mutant_that_takes_the_mean_of_parts_is_caught(lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve items in five parts: parts of three items weigh more than parts of two."""
    whole = losses(lab, tmp_path / "whole")
    gradient = Learner.losses

    def alike(self: Learner, batch: list, number: int) -> Tensor:
        return gradient(self, [(features[:2], target[:2]) for features, target in batch], number)

    monkeypatch.setattr(Learner, "losses", alike)
    assert losses(lab, tmp_path / "parts", accumulate=5) != pytest.approx(whole, rel=1e-3)


def test_the_average_is_what_is_evaluated_and_kept(lab, tmp_path: Path) -> None:
    settings = replace(lab.settings, average=0.9, steps=7, evaluate_every=7)
    model = plain()
    record = train(model, TASK, lab.data, settings, out=tmp_path / "run")
    twin, order = Learner(plain(), TASK, replace(settings, average=0.0)), Checkpoints(tmp_path / "run" / "checkpoints")
    kept = order.read(7).tensors
    average = {name: value.detach().clone() for name, value in plain().named_parameters()}
    rows = Order(50, settings.batch, settings.seed)
    for step in range(7):
        rate = learning_rate(step, 7, peak=settings.learning_rate, warmup=settings.warmup, schedule="cosine")
        twin.step(twin.read(lab.data.train, rows.rows(step)), step, rate)
        decay = min(0.9, (2 + step) / (11 + step))
        for name, value in twin.model.named_parameters():
            average[name] = decay * average[name] + (1 - decay) * value.detach()
    for name, value in average.items():
        torch.testing.assert_close(kept[f"average/{name}"], value)
        torch.testing.assert_close(model.state_dict()[name], value)
        assert not kept[f"model/{name}"].allclose(value)
    assert record.predictions == model(lab.data.test.features).argmax(1).tolist()


def test_the_parameters_come_back_from_under_the_average() -> None:
    model = plain()
    average = Average(model, 0.5)
    with torch.no_grad():
        model[0].weight += 1
    before = model[0].weight.detach().clone()
    with suppress(KeyboardInterrupt), average.in_place():
        assert not model[0].weight.equal(before)
        raise KeyboardInterrupt
    assert model[0].weight.equal(before)


def test_patience_ends_a_run(lab, tmp_path: Path) -> None:
    settings = replace(lab.settings, learning_rate=1e-30, evaluate_every=2, patience=3)
    record = train(plain(), TASK, lab.data, settings, out=tmp_path)
    assert record.curves["step"] == [2, 4, 6, 8]
    assert (record.best_step, record.steps, record.status) == (2, 24, "finished")
    assert train(plain(), TASK, lab.data, settings, out=tmp_path) == record


def test_bfloat16_is_near_float32(lab, tmp_path: Path) -> None:
    exact, near = losses(lab, tmp_path / "exact"), losses(lab, tmp_path / "near", precision="bfloat16")
    assert near != exact
    assert near == pytest.approx(exact, rel=0.05)


def test_what_differs_from_run_to_run_is_refused(lab, tmp_path: Path) -> None:
    class Seen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map, self.seen = nn.Linear(8, 3), []

        def forward(self, x: Tensor) -> Tensor:
            self.seen.append(torch.are_deterministic_algorithms_enabled())
            return self.map(x)

    for wanted in (True, False):
        model = Seen()
        train(model, TASK, lab.data, replace(lab.settings, deterministic=wanted), out=tmp_path / str(wanted))
        assert set(model.seen) == {wanted}
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.slow
def test_compiled_is_the_same(lab, tmp_path: Path) -> None:
    eager, compiled = losses(lab, tmp_path / "eager"), losses(lab, tmp_path / "compiled", compile=True)
    assert compiled == pytest.approx(eager, rel=1e-5)


def test_a_task_may_bring_its_own_step(lab, tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Twice(Classify):
        def step(self, model, features: Tensor, target: Tensor) -> Tensor:
            return 2 * self.loss(model(features), target)

    settings = replace(lab.settings, steps=1, evaluate_every=1)
    once, twice = (train(plain(), task, lab.data, settings, out=tmp_path / str(task)) for task in (TASK, Twice(3)))
    assert twice.curves["train_loss"][0] == pytest.approx(2 * once.curves["train_loss"][0])


def test_a_run_with_every_option_resumes_to_the_bit(lab, tmp_path: Path) -> None:
    lab.settings = replace(lab.settings, accumulate=2, average=0.8, patience=100, deterministic=True)
    whole = lab.run(tmp_path / "whole")
    for calls in (9, 14, 20):
        lab.broken_off(tmp_path / "broken", calls)
    assert lab.same(whole, lab.run(tmp_path / "broken"))


def test_a_checkpoint_of_the_first_version_is_read(lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As version 1 wrote it: the random state has no number."""
    old = Checkpoint(3, 2, {"random/cpu": torch.get_rng_state(), "model/x": torch.ones(1)}, {"step": 3})
    monkeypatch.setattr(checkpoint, "VERSION", 1)
    (tmp_path / "old.safetensors").write_bytes(old.to_bytes())
    monkeypatch.undo()
    found = Checkpoint.read(tmp_path / "old.safetensors")
    assert sorted(found.tensors) == ["model/x", "random/0/cpu"]
    assert (found.step, found.best, found.state) == (3, 2, {"step": 3})


SPEC = spec_of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3)))


def functions(x: WeightFeatures) -> Tensor:
    """What each network answers at some points."""
    points = torch.randn(9, 2, generator=torch.Generator().manual_seed(0)).to(x.dtype)
    w, b, v, c = (tensor[..., 0] for tensor in x.tensors)
    hidden = (torch.einsum("nij,pj->npi", w, points) + b[:, None]).relu()
    return torch.einsum("nki,npi->npk", v, hidden) + c[:, None]


def test_augmentation_by_symmetry_keeps_every_function() -> None:
    x, target = random_features(SPEC, 20).to(torch.float32), torch.arange(20)
    moved, mixture = Augmentation(symmetry=True, log_scale=2.0)(x, target, generator(0, "augment"))
    assert mixture == [(1.0, target)]
    torch.testing.assert_close(functions(moved), functions(x), rtol=1e-3, atol=1e-3)
    assert not flatten(moved).allclose(flatten(x))
    again, _ = Augmentation(symmetry=True, log_scale=2.0)(x, target, generator(0, "augment"))
    assert flatten(again).equal(flatten(moved))


def test_augmentation_by_noise_has_the_size_it_says() -> None:
    x = random_features(SPEC, 4000).map(lambda tensor: 7 * tensor)
    noisy, _ = Augmentation(noise=0.1)(x, torch.zeros(4000), generator(0, "augment"))
    for before, after in zip(x.tensors, noisy.tensors, strict=True):
        size = before.square().flatten(1).mean(1).sqrt().view(-1, *(1 for _ in before.shape[1:]))
        assert ((after - before) / size).square().mean().sqrt().item() == pytest.approx(0.1, rel=0.05)


def test_augmentation_by_mixing_aligns_first() -> None:
    """Hidden copies of one network: mixed without alignment they would be something else."""
    one = random_features(SPEC, 1)
    copies = act(sample_element(SPEC, 6, generator=torch.Generator().manual_seed(1)), one)
    mixed, ((share, target), (rest, other)) = Augmentation(mixup=0.5)(copies, torch.arange(6), generator(0, "augment"))
    assert share + rest == 1.0
    assert 0 < share < 1
    assert sorted(other.tolist()) == target.tolist() == list(range(6))
    torch.testing.assert_close(functions(mixed), functions(copies))
    unaligned = share * flatten(copies) + rest * flatten(copies[other])
    assert not flatten(mixed).allclose(unaligned)


def test_augmented_runs_resume_to_the_bit(tmp_path: Path) -> None:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map, self.left = nn.Linear(SPEC.numel, 2), 99

        def forward(self, x: WeightFeatures) -> Tensor:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return self.map(flatten(x))

    x = random_features(SPEC, 40).to(torch.float32)
    split = Split(x, (flatten(x)[:, 0] > 0).long())
    augment = Augmentation(symmetry=True, noise=0.05, mixup=0.3)
    settings = TrainSettings(steps=6, batch=8, evaluate_every=2, device="cpu", augment=augment)

    def run(out: str, left: int = 99) -> list:
        torch.manual_seed(0)
        model = Flat()
        model.left = left
        return train(model, Classify(2), Splits(split, split, split), settings, out=tmp_path / out).predictions

    whole = run("whole")
    with pytest.raises(KeyboardInterrupt):
        run("broken", 17)
    assert run("broken") == whole


def test_impossible_options_are_refused(lab, tmp_path: Path) -> None:
    for wrong, message in (
        ({"accumulate": 65}, "accumulate is 65: expected at most the 64 networks"),
        ({"average": 1.0}, "average is 1.0: expected a decay from 0 to below 1"),
        ({"patience": 0}, "patience is 0: expected at least 1"),
    ):
        with pytest.raises(TrainingError, match=message):
            TrainSettings(steps=1, **wrong)
    with pytest.raises(UnknownNameError, match="unknown precision 'bfloat32': did you mean \"float32\""):
        TrainSettings(steps=1, precision="bfloat32")
    with pytest.raises(TrainingError, match=r"augment.noise is -1.0: expected a finite number"):
        Augmentation(noise=-1.0)
    lab.settings = replace(lab.settings, augment=Augmentation(symmetry=True))
    with pytest.raises(TrainingError, match="augmentation is for batches of WeightFeatures.*found Tensor"):
        lab.run(tmp_path)
