"""The straight line between networks, and the barrier on it."""

import pytest
import torch
from tests.gauge.rows import generator
from tests.laws.registry import SPECS, mlp
from torch import nn

from weightspace.errors import ShapeError
from weightspace.gauge import align, barrier_curve, interpolate, recalibrate
from weightspace.spec import FIXED, Axis, Leg, NetworkSpec, ParamSpec, View, spec_of
from weightspace.testing import random_features
from weightspace.weights import act, features_of, sample_element


def test_ends_are_exact() -> None:
    x, y = (random_features(SPECS["relu"], 1, generator=generator(seed)) for seed in (0, 1))
    line = interpolate(x, y, 7)
    assert len(line) == 7
    for a, b, t in zip(x.tensors, y.tensors, line.tensors, strict=True):
        assert torch.equal(t[0], a[0])
        assert torch.equal(t[-1], b[0])
        torch.testing.assert_close(t[3], (a[0] + b[0]) / 2)


def test_a_hidden_copy_has_a_barrier_and_the_aligned_one_has_none() -> None:
    template = mlp((2, 16, 1), nn.ReLU()).double()
    x = features_of(spec_of(template), template)
    hidden = act(sample_element(x.spec, 1, generator=generator()), x)
    points = torch.randn(50, 2, generator=generator(), dtype=torch.float64)
    answers = template(points).detach()

    def loss(module: nn.Module) -> float:
        return (module(points) - answers).square().mean().item()

    before = barrier_curve(hidden, x, template, loss)
    after = barrier_curve(align(hidden, x).features, x, template, loss)
    assert before.barrier > 1e-3
    assert abs(after.barrier) < 1e-12
    assert before.positions == tuple(pytest.approx(k / 10) for k in range(11))
    assert before.barrier == pytest.approx(max(before.losses), rel=1e-6)


def test_the_barrier_is_measured_from_the_line_between_the_ends() -> None:
    spec = spec_of(nn.Linear(1, 1, bias=False))
    x, y = (random_features(spec, 1).map(lambda t, v=v: torch.full_like(t, v)) for v in (0.0, 1.0))
    curve = barrier_curve(x, y, nn.Linear(1, 1, bias=False).double(), lambda m: 5 * m.weight.item(), steps=4)
    assert curve.barrier == pytest.approx(0, abs=1e-12)
    assert curve.losses == pytest.approx((0, 5 / 3, 10 / 3, 5))


def normalised() -> nn.Sequential:
    return nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Dropout(0.5), nn.Linear(4, 1)).double()


def test_statistics_are_the_plain_average() -> None:
    module, batches = normalised(), [torch.randn(8, 2, generator=generator(k)).double() for k in range(3)]
    module[1].running_mean += 100
    recalibrate(module, batches)
    ahead = [module[0](batch) for batch in batches]
    torch.testing.assert_close(module[1].running_mean, torch.stack([h.mean(0) for h in ahead]).mean(0))
    torch.testing.assert_close(module[1].running_var, torch.stack([h.var(0) for h in ahead]).mean(0))
    assert not any(part.training for part in module.modules())
    assert module[1].momentum == 0.1


def test_modules_without_statistics_are_left_alone() -> None:
    module = mlp((2, 3, 1), nn.ReLU())
    recalibrate(module, [])
    assert module.training
    still = nn.BatchNorm1d(2, track_running_stats=False)
    recalibrate(still, [])
    assert still.training


def test_statistics_are_estimated_anew_on_the_line() -> None:
    """Those of the template mean nothing to the networks on the line."""
    template, batches = normalised(), [torch.randn(64, 2, generator=generator()).double()]
    template[1].running_mean += 100
    names = {"0.weight": (4, 2), "0.bias": (4,), "1.weight": (4,), "1.bias": (4,), "4.weight": (1, 4), "4.bias": (1,)}
    sizes = {size for shape in names.values() for size in shape}
    axes = tuple(Axis(str(size), size, FIXED) for size in sizes)
    legs = {name: tuple(Leg(str(size)) for size in shape) for name, shape in names.items()}
    spec = NetworkSpec(axes, tuple(ParamSpec(name, legs[name], "weight", View(name)) for name in names))
    x, y = (random_features(spec, 1, generator=generator(seed)) for seed in (1, 2))
    means: list[float] = []

    def loss(module: nn.Module) -> float:
        means.append((module[1].running_mean - module[0](batches[0]).mean(0)).abs().max().item())
        return 0.0

    barrier_curve(x, y, template, loss, steps=3, calibrate=batches)
    assert max(means) < 1e-12
    means.clear()
    barrier_curve(x, y, template, loss, steps=3)
    assert min(means) > 90


def test_wrong_lines_are_refused() -> None:
    x, y = random_features(SPECS["relu"], 2), random_features(SPECS["tanh"], 1)
    with pytest.raises(ShapeError, match="from 2 networks to 1"):
        interpolate(x, x[0], 5)
    with pytest.raises(ShapeError, match="in 1 steps"):
        interpolate(x[0], x[1], 1)
    with pytest.raises(ShapeError, match="given to a layer"):
        interpolate(y, x[0], 5)


def test_an_iterator_of_batches_is_refused_at_its_end() -> None:
    module = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1)).eval()
    batch = torch.randn(8, 2)
    x = features_of(spec_of(module), module)
    for calibrate in ([], iter([batch])):
        with pytest.raises(ShapeError, match="no inputs to estimate statistics by"):
            barrier_curve(x, x, module, lambda m: m(batch).square().mean().item(), calibrate=calibrate)
