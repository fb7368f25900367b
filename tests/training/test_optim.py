"""Learning rate, weight decay, seeds, order and plan against what they are said to be."""

import itertools
import math

import pytest
import torch
from torch import nn

from weightspace.errors import TrainingError, UnknownNameError
from weightspace.training.optim import adamw, learning_rate
from weightspace.training.plan import Plan, by_seconds, by_steps
from weightspace.training.seed import Order, generator, seed_for


def test_the_rate_rises_and_falls() -> None:
    rates = [learning_rate(step, 100, peak=2.0, warmup=0.1, schedule="cosine") for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert max(rates) == rates[9] == rates[10] == 2.0
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(1.0)
    assert 0 < rates[-1] < 0.01
    assert {learning_rate(s, 9, peak=1.0, warmup=0.0, schedule="constant") for s in range(9)} == {1.0}
    assert learning_rate(0, 1, peak=1.0, warmup=1.0, schedule="cosine") == 1.0
    with pytest.raises(UnknownNameError, match='did you mean "constant"'):
        learning_rate(0, 1, peak=1.0, warmup=0.0, schedule="konstant")


def test_decay_spares_offsets_and_scales() -> None:
    model = nn.ModuleDict({"map": nn.Linear(3, 4), "norm": nn.LayerNorm(4), "frozen": nn.Linear(2, 2)})
    model["frozen"].requires_grad_(False)
    model["wide"] = nn.Module()
    model["wide"].bias = nn.Parameter(torch.zeros(4, 5))
    decayed, spared = adamw(model, weight_decay=0.5).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.5, 0.0)
    assert [id(p) for p in decayed["params"]] == [id(model["map"].weight)]
    assert len(spared["params"]) == 4


def test_the_fused_update_is_adamw() -> None:
    """Against the formula, in double precision."""
    model = nn.Linear(3, 2, bias=False).double()
    weight = model.weight.detach().clone()
    optimiser = adamw(model, weight_decay=0.1)
    first, second = torch.zeros_like(weight), torch.zeros_like(weight)
    for step in range(1, 6):
        gradient = torch.full_like(weight, 0.3 * step)
        model.weight.grad = gradient
        optimiser.step()
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        weight = weight * (1 - 1e-3 * 0.1)
        weight -= 1e-3 * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
    assert torch.allclose(model.weight, weight, rtol=1e-12)


def test_seeds_are_told_apart() -> None:
    seeds = {seed_for(seed, purpose) for seed in range(50) for purpose in ("dropout", "order/0", "order/1")}
    assert len(seeds) == 150
    assert all(0 <= seed < 2**63 for seed in seeds)
    draws = [torch.rand(1000, generator=generator(0, purpose)) for purpose in ("one", "two")]
    assert abs(torch.corrcoef(torch.stack(draws))[0, 1]) < 0.1


def test_an_epoch_reads_each_item_once() -> None:
    order = Order(count=23, batch=5, seed=3)
    epochs = [torch.cat([order.rows(4 * epoch + step) for step in range(4)]) for epoch in range(40)]
    assert all(len(epoch.unique()) == 20 for epoch in epochs)
    assert len({tuple(epoch.tolist()) for epoch in epochs}) == 40
    assert len(torch.cat(epochs).unique()) == 23
    backwards = Order(count=23, batch=5, seed=3)
    assert (
        torch.cat([backwards.rows(step) for step in reversed(range(8))])
        .sort()
        .values.equal(torch.cat(epochs[:2]).sort().values)
    )
    assert not Order(23, 5, seed=4).rows(0).equal(order.rows(0))
    with pytest.raises(TrainingError, match="set batch to 4 or less"):
        Order(count=4, batch=5, seed=0)


class Clock:
    """Time that passes only when something is said to take some."""

    def __init__(self, step: float, evaluation: float) -> None:
        self.now, self.prices, self.slow = 0.0, {"step": step, "evaluation": evaluation}, itertools.chain([30, 9, 9])

    def step(self, number: int) -> None:
        self.now += self.prices["step"] * next(self.slow, 1)

    def evaluate(self) -> None:
        self.now += self.prices["evaluation"]


@pytest.mark.parametrize("every", [None, 7])
@pytest.mark.parametrize(("step", "evaluation"), [(0.01, 0.05), (0.01, 2.0), (1.0, 0.0), (0.001, 0.0)])
def test_a_budget_is_spent_and_not_overspent(step: float, evaluation: float, every: int | None) -> None:
    clock = Clock(step, evaluation)
    plan = by_seconds(60.0, every, clock.step, clock.evaluate, clock=lambda: clock.now)
    spent = clock.now + plan.steps * step + math.ceil(plan.steps / plan.evaluate_every) * evaluation
    assert 60 - 2 * step - 2 * evaluation <= spent <= 60 + step + evaluation
    if every is None:
        assert evaluation * plan.steps / plan.evaluate_every <= 0.21 * 60


def test_a_budget_too_small_still_gives_a_step() -> None:
    clock = Clock(5.0, 1.0)
    assert by_seconds(1.0, None, clock.step, clock.evaluate, clock=lambda: clock.now) == Plan(1, 1)
    assert by_steps(7, None) == Plan(7, 1)
    assert by_steps(7, 3) == Plan(7, 3)
