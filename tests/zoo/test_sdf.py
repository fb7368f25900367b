"""Shapes by formula against their own surfaces, and networks that hold them."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.oracles import field as field_oracle
from tests.oracles import shape as oracle

from weightspace.cli.main import main
from weightspace.errors import DataError, FormatError, TrainingError, UnknownNameError
from weightspace.spec import spec_of
from weightspace.weights import act, sample_element
from weightspace.zoo import assign, open_zoo
from weightspace.zoo.generate import SdfSettings, make_sdf_zoo, modules
from weightspace.zoo.generate import shape as formulas
from weightspace.zoo.generate.draw import stream
from weightspace.zoo.generate.field import falling, first_weights
from weightspace.zoo.generate.sdf import fit_sdfs, sdf
from weightspace.zoo.generate.shape import FAMILIES, distances, draw_shapes, sample_points

SMALL = SdfSettings(hidden=(6, 5), points=32, batch=8, steps=6, evaluated=16, chunk=2)
NUMBERS = list(range(40))
POINTS = np.random.default_rng(1).uniform(-1, 1, (12, 3))


def _own(centre: np.ndarray, frame: np.ndarray) -> np.ndarray:
    """The points in the frame of a part, axis by axis."""
    return np.array([[(point - centre) @ axis for axis in frame] for point in POINTS])


def largest_gap(numbers: list[int]) -> float:
    """Between formulas and surfaces, over shapes; inside of a union a formula may only be nearer."""
    shapes = draw_shapes(numbers, 0)
    given, gaps = distances(shapes, torch.from_numpy(POINTS).float()).numpy(), []
    for row in range(len(numbers)):
        told = []
        for place, part in enumerate(shapes.parts[row].tolist()):
            if part >= 0:
                own = _own(shapes.centres[row, place].numpy(), shapes.frames[row, place].numpy())
                told.append(oracle.signed_distance(part, own, shapes.sizes[row, place].double().numpy()))
        gaps.append(np.abs(given[row] - np.min(told, axis=0)).max())
    return float(max(gaps))


def test_formulas_equal_distances_to_surfaces() -> None:
    """All families, in any pose."""
    labels = draw_shapes(NUMBERS, 0).labels
    some = [int((labels == label).nonzero()[at]) for label in range(len(FAMILIES)) for at in range(2)]
    assert largest_gap(some) < 0.02


@pytest.mark.parametrize("name", ["_sphere", "_box", "_torus", "_capsule"])
def test_comparison_catches_mutants(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    formula, label = getattr(formulas, name), ["_sphere", "_box", "_torus", "_capsule"].index(name)
    monkeypatch.setattr(formulas, name, lambda point, sizes: formula(point.roll(1, -1) * 0.9, sizes))
    number = int((draw_shapes(NUMBERS, 0).labels == label).nonzero()[0])
    assert largest_gap([number]) > 0.03


def test_shapes_keep_to_their_ball_and_frames_are_rotations() -> None:
    shapes = draw_shapes(list(range(300)), 3)
    directions = torch.nn.functional.normalize(torch.randn(500, 3, generator=torch.Generator().manual_seed(0)))
    assert distances(shapes, directions * 0.95).min() > 0
    torch.testing.assert_close(shapes.frames @ shapes.frames.mT, torch.eye(3).expand(300, 2, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(shapes.frames), torch.ones(300, 2), atol=1e-4, rtol=0)
    counts = torch.bincount(shapes.labels)
    assert counts.min() > 30
    unions = shapes.labels == 4
    assert ((shapes.parts[:, 1] >= 0) == unions).all()
    assert (shapes.parts[unions, 0] != shapes.parts[unions, 1]).all()


def test_draws_hang_on_seed_and_number_alone() -> None:
    alone, among = draw_shapes([7], 1), draw_shapes([3, 7, 9], 1)
    assert torch.equal(alone.frames[0], among.frames[1])
    points = [sample_points(shapes, numbers, 10, 1, 0) for shapes, numbers in ((alone, [7]), (among, [3, 7, 9]))]
    assert torch.equal(points[0][0], points[1][1])
    assert not torch.equal(points[0], sample_points(alone, [7], 10, 1, 1))
    assert not torch.equal(draw_shapes([7], 2).centres, alone.centres)


def test_half_of_the_points_lie_near_the_surface() -> None:
    shapes = draw_shapes(NUMBERS, 0)
    away = distances(shapes, sample_points(shapes, NUMBERS, 400, 0, 0)).abs()
    assert (away[:, 200:].amax(1) < away[:, :200].median(1).values).all()
    assert away[:, 200:].mean() < away[:, :200].mean() / 4


@pytest.mark.parametrize("activation", ["sine", "relu"])
def test_networks_equal_those_fitted_one_at_a_time(activation: str) -> None:
    settings = replace(SMALL, activation=activation)
    numbers = [4, 5, 6]
    state, told = fit_sdfs(torch.tensor(numbers), settings)
    field = settings.field
    rates = [falling(settings.learning_rate, step, settings.steps) for step in range(settings.steps)]
    for row, number in enumerate(numbers):
        shape = draw_shapes([number], settings.seed)
        points = sample_points(shape, [number], settings.points, settings.seed, 0)[0]
        points = points[stream(settings.seed, number, "batches").permutation(settings.points)]
        targets = distances(shape, points)[0][:, None].double()
        batches = [(points[at : at + 8].double(), targets[at : at + 8]) for at in (0, 8, 16, 24, 0, 8)]
        network = field_oracle.layers(field.widths, field.activation, field.omega)
        field_oracle.load(network, first_weights(field, settings.seed, [number])[0])
        alone = field_oracle.fit_one(network, batches, rates)
        given = torch.cat([value[row].flatten() for value in state.values()])
        torch.testing.assert_close(given.double(), alone, rtol=1e-3, atol=1e-4)
        asked = sample_points(shape, [number], settings.evaluated, settings.seed, 1)[0]
        gaps = (network(asked.double())[:, 0] - distances(shape, asked)[0]).abs().detach().numpy()
        assert told["error"][row] == pytest.approx(gaps[:8].mean(), rel=1e-2)
        assert told["surface_error"][row] == pytest.approx(gaps[8:].mean(), rel=1e-2)


@pytest.mark.parametrize("activation", ["sine", "relu"])
def test_a_zoo_of_shapes(activation: str, tmp_path: Path) -> None:
    settings = replace(SMALL, activation=activation)
    few = make_sdf_zoo(tmp_path, settings, count=3)
    zoo = make_sdf_zoo(tmp_path, replace(settings, chunk=5), count=7)
    assert zoo.column("label").tolist() == draw_shapes(list(range(7)), 0).labels.tolist()
    assert zoo.column("label")[:3].tolist() == few.column("label").tolist()
    assert zoo.column("split").tolist() == assign(range(7)).tolist()
    assert spec_of(modules(zoo, 0)[0], torch.zeros(1, 3)) == zoo.spec
    assert {str(axis.symmetry) for axis in zoo.spec.free_axes} == {"SIGN" if activation == "sine" else "POSITIVE"}
    moved, points = act(sample_element(zoo.spec, 7, generator=torch.Generator().manual_seed(0)), zoo.features()), POINTS
    shown = torch.from_numpy(points).float()
    for before, after in zip(modules(zoo), moved.to_modules(sdf(settings)), strict=True):
        torch.testing.assert_close(after(shown), before(shown), rtol=1e-3, atol=1e-4)
    with pytest.raises(FormatError):
        make_sdf_zoo(tmp_path, replace(settings, seed=1), count=7)


def test_networks_come_near_to_shapes() -> None:
    _, told = fit_sdfs(torch.arange(4), SdfSettings(hidden=(16, 16), points=1024, steps=150))
    assert told["error"].max() < 0.06
    assert told["surface_error"].max() < 0.06


def test_mistakes_are_named(tmp_path: Path) -> None:
    for change in ({"steps": 0}, {"hidden": ()}, {"batch": 64}, {"seed": -1}, {"learning_rate": float("nan")}):
        with pytest.raises(TrainingError, match="expected"):
            replace(SMALL, **change)  # type: ignore[arg-type]
    with pytest.raises(TrainingError, match="no frequency"):
        replace(SMALL, activation="relu", omega=3.0)
    with pytest.raises(UnknownNameError, match='did you mean "sine"'):
        replace(SMALL, activation="sin")
    with pytest.raises(DataError, match="at least 1 network"):
        make_sdf_zoo(tmp_path, SMALL, count=0)
    with pytest.raises(DataError, match="none negative"):
        fit_sdfs(torch.tensor([-1]), SMALL)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--hidden", "4", "--steps", "3", "--points", "16", "--batch", "8", "--evaluated", "8", "--count", "4"]
    assert main(["zoo", "make", "sdf", "--out", str(tmp_path / "zoo"), "--plan", *small]) == 0
    assert not (tmp_path / "zoo").exists()
    assert main(["zoo", "make", "sdf", "--out", str(tmp_path / "zoo"), *small]) == 0
    assert len(open_zoo(tmp_path / "zoo")) == 4
    assert "off the distances near the surface" in capsys.readouterr().out.replace("\n", " ")


def test_the_example_draws_a_shape_of_each_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Path(__file__).parents[2] / "examples" / "distance_fields.py"
    example = runpy.run_path(str(script))
    scope = example["main"].__globals__
    monkeypatch.setitem(scope, "SdfSettings", lambda: SMALL)
    shaded = example["shaded"]
    monkeypatch.setitem(scope, "shaded", lambda field: shaded(field, side=12))
    path = example["main"](str(tmp_path), count=30)
    assert path.stat().st_size > 5000
    ball = shaded(lambda points: points.norm(dim=1) - 0.5, side=21)
    assert ball[0, 0] == 1.0
    assert ball[7, 8] > ball[13, 13]
