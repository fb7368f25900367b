"""The solver: a slow twin in plain loops, the laws of the flow, and frames of an independent program."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.oracles.smoke import Box, dense_pressure
from torch import Tensor

from weightspace.errors import DataError, ShapeError
from weightspace.zoo.generate import smoke as solver
from weightspace.zoo.generate.plume import PlumeSettings, runs_of, start
from weightspace.zoo.generate.smoke import Lookup, Pressure, Smoke

FROZEN = Path(__file__).parent / "phiflow.safetensors"


def small(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Two boxes of 6 by 7 cells with forces so strong that smoke is thrown against the walls."""
    chance = torch.Generator().manual_seed(0)
    inflow = torch.zeros(2, 6, 7, dtype=dtype)
    inflow[0, 1:3, 2:4], inflow[1, 3:5, 4:6] = 1, 0.5
    force = 0.3 * torch.randn(2, 2, 6, 7, generator=chance, dtype=torch.float64)
    return inflow, force.to(dtype), torch.tensor([0.5, 1.0], dtype=dtype)


def deviation(steps: int = 12) -> float:
    """How far the solver is from plain loops, in parts of the largest value."""
    inflow, force, time_step = small()
    fast = Smoke(inflow, force, time_step)
    boxes = [Box(*parts) for parts in zip(inflow.numpy(), force.numpy(), time_step.tolist(), strict=True)]
    for _ in range(steps):
        fast.step()
        for box in boxes:
            box.step()
    found = []
    for number, box in enumerate(boxes):
        faces = fast.faces()[number].numpy()
        pairs = ((faces[0, :-1], box.x), (faces[1, :, :-1], box.y), (fast.smoke[number].numpy(), box.smoke))
        found += [np.abs(here - there).max() / np.abs(there).max() for here, there in pairs]
    return float(max(found))


def test_every_step_is_that_of_the_plain_loops() -> None:
    assert deviation() < 1e-12


@pytest.mark.parametrize("part", ["limits", "walls", "pressure", "force"])
def test_a_wrong_step_is_caught(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = lambda self, low, high: (low.fill_(-torch.inf), high.fill_(torch.inf))  # noqa: E731
    shifted = lambda self: self._y[:, 1:-1, 1:-1].add_(self.smoke[:, 1:] * self._force[:, 1, 1:])  # noqa: E731
    wrong: dict[str, tuple[object, str, Callable]] = {
        "limits": (Lookup, "limits", unlimited),
        "walls": (solver, "_extend", lambda field: None),
        "pressure": (Pressure, "__call__", lambda self, divergence: 0.5 * divergence),
        "force": (Smoke, "_push", shifted),
    }
    monkeypatch.setattr(*wrong[part])
    assert deviation() > 1e-6


@pytest.mark.parametrize("sides", [(5, 5), (4, 7), (9, 2)])
def test_pressure_is_that_of_least_squares(sides: tuple[int, int]) -> None:
    divergence = torch.randn(3, *sides, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    divergence -= divergence.mean((1, 2), keepdim=True)
    found = Pressure(*sides, divergence)(divergence)
    for one, asked in zip(found, divergence, strict=True):
        assert np.abs(one.numpy() - dense_pressure(asked.numpy())).max() < 1e-12


def test_a_simulation_is_the_same_to_the_bit_beside_any_others() -> None:
    runs = runs_of(PlumeSettings(kind="rotation"))
    together, alone = start(runs[::5]), start(runs[15:16])
    for _ in range(40):
        together.step()
        alone.step()
    assert torch.equal(together.faces()[3], alone.faces()[0])


@pytest.mark.parametrize(("task", "bound"), [((3, 2), 2e-5), ((36, 3), 1e-4)])
def test_no_cell_is_a_source(task: tuple[int, int], bound: float) -> None:
    smoke = start([run for run in runs_of(PlumeSettings(kind="rotation")) if run.task == task])
    for _ in range(30):
        smoke.step()
    assert smoke.divergence().abs().max() < bound
    assert smoke.faces().abs().max() > 0.1


def test_equal_forces_in_four_directions_give_runs_that_are_turned() -> None:
    """Round-off is amplified by the flow, so that later frames differ more."""
    smoke = start(runs_of(PlumeSettings(kind="rotation", breaking=0.0))[:4])
    for step in range(1, 31):
        smoke.step()
        if step in (10, 30):
            first, *others = smoke.smoke
            spread = [(torch.rot90(first, -turns) - other).abs().max() for turns, other in enumerate(others, start=1)]
            assert max(spread) / first.max() < {10: 2e-5, 30: 5e-4}[step]
    published = start(runs_of(PlumeSettings(kind="rotation"))[:4])
    for _ in range(10):
        published.step()
    assert (torch.rot90(published.smoke[0], -1) - published.smoke[1]).abs().max() > 1e-2


def test_frames_are_those_of_phiflow() -> None:
    """Until the flow's own instability takes over, which no two programs survive alike."""
    frozen = load_file(FROZEN)
    for kind in ("rotation", "translation"):
        runs = {run.task: run for run in runs_of(PlumeSettings(kind=kind))}
        names = [name for name in frozen if name.startswith(kind)]
        smoke = start([runs[tuple(map(int, name.split("_")[1:]))] for name in names])
        for step in range(31):
            smoke.step()
            if step in (5, 10, 20, 30):
                for name, faces in zip(names, smoke.faces(), strict=True):
                    wanted = frozen[name][(5, 10, 20, 30).index(step)]
                    found = faces[:, ::2, ::2]
                    assert (found - wanted).norm() / wanted.norm() < 1e-4, (name, step)
    assert len(frozen) == 3


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        (lambda i, f, t: (i[0], f, t), ShapeError, "inflow has shape"),
        (lambda i, f, t: (i, f[:, :1], t), ShapeError, "force has shape"),
        (lambda i, f, t: (i, f, t[:1]), ShapeError, "time_step"),
        (lambda i, f, t: (i, f.float(), t), DataError, "force has type torch.float32"),
        (lambda i, f, t: (i / 0, f, t), DataError, "inflow holds a value that is not finite"),
    ],
)
def test_what_does_not_fit_is_refused(change: Callable, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        Smoke(*change(*small()))
