"""Sets of plumes: what is simulated, how it lies on disk, and the windows on it."""

import errno
import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from weightspace.errors import DataError, FormatError, ShapeError, StorageError, UnknownNameError
from weightspace.zoo import PROTOCOLS, Plumes, Windows, check_plumes, open_plumes
from weightspace.zoo.generate import PlumeSettings, make_plumes
from weightspace.zoo.generate import plume as recipe
from weightspace.zoo.generate.plume import KINDS, coarsen, runs_of, shrink, start, turn
from weightspace.zoo.plume import PlumeManifest, PlumeWriter

SHORT = PlumeSettings(kind="rotation", steps=40, coarsening=8)
MANIFEST = PlumeManifest(
    kind="rotation", settings={"steps": 6}, tasks=((1, 0), (2, 1), (3, 2)), shape=(5, 2, 4, 4), dtype="float32"
)


def frames(seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(seed)).to(dtype)


def written(path: Path, manifest: PlumeManifest = MANIFEST) -> Path:
    kind = getattr(torch, manifest.dtype)
    PlumeWriter(path, manifest).write({task: frames(task[0], kind) for task in manifest.tasks})
    return path


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plumes") / "rotation"
    make_plumes(folder, SHORT)
    return folder


# What is simulated


def test_levels_have_the_errors_that_were_published() -> None:
    """Ten numbers that a comment of the published program states, from nothing but its settings."""
    straight = [replace(run, turns=0) for run in runs_of(PlumeSettings(kind="levels"))]
    strengths = sorted({run.force for run in straight})
    smoke, kept = start([replace(straight[0], force=force) for force in strengths]), []
    for step in range(59):
        smoke.step()
        if step >= 20:
            kept.append(smoke.faces()[..., :64, :64])
    runs = dict(zip(strengths, torch.stack(kept, 1), strict=True))
    found = []
    for level in range(10):
        first, *others = [runs[run.force] for run in straight if run.task[0] == level]
        found.append(float(sum((first - other).abs().mean() for other in others) / 3))
    assert np.round(found, 3).tolist() == [0, 0.17, 0.313, 0.435, 0.541, 0.63, 0.709, 0.78, 0.84, 0.896]


def test_the_lists_of_tasks_are_those_of_the_sets() -> None:
    for kind, counts in {"translation": (25, 10, 0), "rotation": (25, 10, 1), "scale": (28, 10, 0)}.items():
        protocol, tasks = PROTOCOLS[kind], {run.task for run in runs_of(PlumeSettings(kind=kind))}
        trained, held_out = set(protocol.training or ()), set(protocol.held_out)
        assert not trained & held_out
        assert trained | held_out <= tasks
        assert (len(trained), len(held_out), len(tasks - trained - held_out)) == counts
    assert PROTOCOLS["rotation"].tasks("domain", ())[0] == (6, 1)
    assert len(runs_of(PlumeSettings(kind="levels"))) == 40


def test_breaking_goes_from_equal_forces_to_the_published_ones() -> None:
    def sizes(kind: str, breaking: float) -> list[tuple[float, ...]]:
        runs = runs_of(PlumeSettings(kind=kind, breaking=breaking))
        return [(max(map(abs, run.force)), max(map(abs, run.right or run.force))) for run in runs]

    assert sizes("translation", 1.0)[0] == pytest.approx((0.1, 0.2))
    assert sizes("translation", 0.0)[0] == (0.15, 0.15)
    published, even, half = (np.array(sizes("rotation", breaking))[:, 0].reshape(9, 4) for breaking in (1.0, 0.0, 0.5))
    assert published[0] == pytest.approx([0.01, 0.02, 0.033, 0.04])
    assert np.ptp(even, 1).max() == 0
    assert even.mean(1) == pytest.approx(published.mean(1))
    assert half == pytest.approx((even + published) / 2)
    assert np.ptp(np.array(sizes("levels", 0.0))) == 0
    assert sizes("levels", 1.0)[39][0] == pytest.approx(0.005 * 29)


def test_turning_is_that_of_a_vector_field() -> None:
    """Four turns are none; a run towards another wall is a run that was turned. Level 0 is symmetric to the bit."""
    smoke = start(runs_of(SHORT)[:1])
    for _ in range(10):
        smoke.step()
    faces = smoke.faces()[0]
    turned = turn(faces, 1)
    assert torch.equal(turn(turned, 3), faces)
    other = start([replace(runs_of(SHORT)[1], force=(-0.01, 0.0))])
    for _ in range(10):
        other.step()
    assert (other.faces()[0] - turned).abs().max() < 1e-5
    assert (other.faces()[0] - turn(faces, 3)).abs().max() > 1e-2
    level = start(runs_of(PlumeSettings(kind="levels"))[:4])
    for _ in range(20):
        level.step()
    assert all(torch.equal(level.faces()[0], other) for other in level.faces())


def test_coarse_faces_have_no_divergence() -> None:
    smoke = start(runs_of(SHORT)[2:3])
    for _ in range(20):
        smoke.step()
    x, y = coarsen(smoke.faces()[0].double(), 4)
    assert (x[:-1, 1:] - x[:-1, :-1] + y[1:, :-1] - y[:-1, :-1]).abs().max() < 1e-4
    assert x.abs().max() > 0.05
    assert x[0, 3] == pytest.approx(smoke.faces()[0, 0, :4, 12].double().mean())
    assert y[3, 0] == pytest.approx(smoke.faces()[0, 1, 12, :4].double().mean())
    with pytest.raises(ShapeError, match="multiple of the factor 7"):
        coarsen(torch.zeros(2, 65, 65), 7)


@pytest.mark.parametrize("number", range(38))
def test_shrinking_is_trilinear_as_published(number: int) -> None:
    scale = float(np.linspace(1, 5, 41)[number])
    run = runs_of(PlumeSettings(kind="scale"))[number]
    picture = torch.randn(2, 2, run.side + 1, run.side + 1, generator=torch.Generator().manual_seed(number))
    volume = picture.transpose(0, 1)[None]
    wanted = functional.interpolate(
        volume, scale_factor=(1, 1 / scale, 1 / scale), mode="trilinear", align_corners=True
    )
    found = shrink(picture, scale)
    assert found.shape == wanted[0].transpose(0, 1).shape
    assert (found - wanted[0].transpose(0, 1)).abs().max() < 2e-4
    assert min(found.shape[2:]) >= 64


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_made_and_cut_as_it_says(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = PlumeSettings(kind=kind, steps=13, coarsening=4)
    few = runs_of(settings)[:3]
    monkeypatch.setattr(recipe, "runs_of", lambda settings: few)
    plumes = make_plumes(tmp_path / "set", settings)
    assert plumes.tasks == tuple(run.task for run in few)
    smoke = start(few[:1])
    for _ in range(KINDS[kind].first + 1):
        smoke.step()
    faces = smoke.faces()
    coarse = shrink(faces, 4.0) if kind == "scale" else coarsen(faces, 4)
    assert torch.equal(torch.from_numpy(plumes.frames(few[0].task)[0].copy()), coarse[0, :, :16, :16])
    assert len(plumes.frames(few[0].task)) == settings.frames


@pytest.mark.parametrize(
    ("change", "error", "told"),
    [
        ({"kind": "rotate"}, UnknownNameError, 'did you mean "rotation"'),
        ({"precision": "float61"}, UnknownNameError, 'did you mean "float16"'),
        ({"breaking": 1.5}, DataError, "breaking is 1.5"),
        ({"breaking": float("nan")}, DataError, "breaking is nan"),
        ({"kind": "scale", "breaking": 0.5}, DataError, "resolution"),
        ({"steps": 1}, DataError, "expected 2 to"),
        ({"steps": 0}, DataError, "steps is 0"),
        ({"coarsening": 3}, DataError, "coarsening is 3"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        PlumeSettings(**change)


def test_steps_are_as_published_for_each_kind() -> None:
    assert {kind: PlumeSettings(kind=kind).frames for kind in KINDS} == {
        "translation": 310,
        "rotation": 309,
        "scale": 309,
        "levels": 50,
    }
    assert replace(PlumeSettings(), kind="levels").total == 61


# On disk


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    plumes = open_plumes(written(tmp_path / "set"))
    for task in MANIFEST.tasks:
        assert np.array_equal(plumes.frames(task), frames(task[0]).numpy())
    with pytest.raises(ValueError, match="read-only"):
        plumes.frames((1, 0))[0] = 1
    assert np.array_equal(pickle.loads(pickle.dumps(plumes)).frames((2, 1)), plumes.frames((2, 1)))
    half = open_plumes(written(tmp_path / "half", replace(MANIFEST, dtype="float16")))
    assert np.array_equal(half.frames((1, 0)), frames(1, torch.float16).numpy())
    assert check_plumes(tmp_path / "half") == []


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-4])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(("spoil", "told"), [(cut, "bytes; expected"), (flip, "sha256"), (Path.unlink, "No such file")])
def test_a_damaged_run_is_named_and_simulated_again(made: Path, tmp_path: Path, spoil: Callable, told: str) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "set"))
    before = {task: np.array(open_plumes(folder).frames(task)) for task in ((3, 2), (4, 3))}
    spoil(folder / "runs" / "3_2.safetensors")
    (problem,) = check_plumes(folder)
    for word in (told, "3_2.safetensors", "Remedy"):
        assert word in str(problem)
    spoilt = open_plumes(folder)
    with pytest.raises(FormatError, match="is damaged"):
        spoilt.frames((3, 2))
    assert np.array_equal(spoilt.frames((4, 3)), before[4, 3])
    counted: list[int] = []
    again = make_plumes(folder, SHORT, progress=counted.append)
    assert counted[0] == 35 * SHORT.total
    assert sum(counted) == 36 * SHORT.total
    assert np.array_equal(again.frames((3, 2)), before[3, 2])
    assert check_plumes(folder) == []


def test_an_interruption_keeps_what_is_done_and_the_rest_is_the_same(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(steps: int) -> None:
        counted.append(steps)
        if sum(counted) > 16 * SHORT.total:
            raise KeyboardInterrupt

    counted: list[int] = []
    monkeypatch.setattr(recipe, "_CELLS", 5 * 64 * 64)
    with pytest.raises(KeyboardInterrupt):
        make_plumes(tmp_path / "set", SHORT, progress=stop)
    kept = open_plumes(tmp_path / "set")
    assert 0 < len(kept.tasks) < 36
    assert "planned" in repr(kept)
    with pytest.raises(DataError, match="not simulated yet"):
        kept.frames((36, 3))
    whole, before = make_plumes(tmp_path / "set", SHORT), open_plumes(made)
    assert all(np.array_equal(whole.frames(task), before.frames(task)) for task in before.tasks)
    assert (tmp_path / "set" / "plume.json").read_bytes() == (made / "plume.json").read_bytes()


def test_a_full_disk_harms_nothing_that_is_there(tmp_path: Path, refuse: Callable) -> None:
    folder = tmp_path / "set"
    writer = PlumeWriter(folder, MANIFEST)
    writer.write({(1, 0): frames(1)})
    refuse("fsync", errno.ENOSPC)
    with pytest.raises(StorageError, match="disk is full"):
        writer.write({(2, 1): frames(2)})
    assert writer.done == {(1, 0)}
    assert open_plumes(folder).tasks == ((1, 0),)


def test_another_set_or_another_folder_is_left_alone(made: Path, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="made otherwise"):
        make_plumes(made, replace(SHORT, breaking=0.5))
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FormatError, match=r"holds thesis\.txt; nothing was touched"):
        PlumeWriter(tmp_path, MANIFEST)
    with pytest.raises(FormatError, match="is a file"):
        PlumeWriter(tmp_path / "thesis.txt", MANIFEST)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda plain: plain | {"format": "weightspace-zoo"}, "not the manifest of plumes"),
        (lambda plain: plain | {"version": 99}, "upgrade weightspace"),
        (lambda plain: plain | {"shape": [1, 2]}, "entry missing or damaged"),
        (lambda plain: plain | {"dtype": "float61"}, "float61"),
        (lambda plain: plain | {"files": []}, "entry missing or damaged"),
        (lambda plain: {key: value for key, value in plain.items() if key != "tasks"}, "tasks"),
    ],
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, spoil: Callable, told: str) -> None:
    file = written(tmp_path / "set") / "plume.json"
    file.write_text(json.dumps(spoil(json.loads(file.read_text()))))
    with pytest.raises(FormatError, match=told):
        open_plumes(tmp_path / "set")
    file.write_text("{")
    with pytest.raises(FormatError, match="not JSON"):
        open_plumes(tmp_path / "set")


def test_a_file_of_another_run_is_refused(tmp_path: Path) -> None:
    """Even where the manifest was written to agree with it."""
    folder = written(tmp_path / "set")
    save_file({"velocity": torch.zeros(2, 2, 4, 4)}, folder / "other")
    content = (folder / "other").read_bytes()
    (folder / "runs" / "1_0.safetensors").write_bytes(content)
    plain = json.loads((folder / "plume.json").read_text())
    digest = hashlib.sha256(content).hexdigest()
    plain["files"]["1_0.safetensors"] = [digest, len(content)]
    (folder / "plume.json").write_text(json.dumps(plain))
    with pytest.raises(FormatError, match="expected"):
        open_plumes(folder).frames((1, 0))


def test_frames_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    writer = PlumeWriter(tmp_path / "set", MANIFEST)
    for task, given, error in (
        ((9, 9), frames(), DataError),
        ((1, 0), frames()[1:], ShapeError),
        ((1, 0), frames(dtype=torch.float16), ShapeError),
        ((1, 0), frames() / 0, DataError),
    ):
        with pytest.raises(error):
            writer.write({task: given})
    assert writer.done == frozenset()
    with pytest.raises(DataError, match=r"task \(9, 9\)"):
        Plumes(tmp_path / "set", MANIFEST).frames((9, 9))


# Windows


def clock(count: int = 309) -> np.ndarray:
    """A run whose frames hold their own number."""
    return np.broadcast_to(np.arange(count, dtype=np.float32)[:, None, None, None], (count, 2, 3, 3))


@pytest.mark.parametrize(
    ("part", "count", "first", "last"),
    [
        ("train", 25 * 160, 22, 181),
        ("valid", 25 * 40, 182, 221),
        ("future", 25 * 50, 222, 271),
        ("domain", 1000, 22, 121),
    ],
)
def test_windows_are_those_of_the_protocol(part: str, count: int, first: int, last: int) -> None:
    windows = PROTOCOLS["rotation"].windows(lambda task: clock(), (), part)
    assert len(windows) == count == PROTOCOLS["rotation"].counts((), 309)[part]
    for number, middle in ((0, first), (count - 1, last)):
        past, following = windows[number]
        assert past[:, 0, 0, 0].tolist() == list(range(middle - 10, middle))
        outputs = 20 if part in ("future", "domain") else 6
        assert following[:, 0, 0, 0].tolist() == list(range(middle, middle + outputs))


def test_a_batch_is_its_windows(made: Path) -> None:
    protocol = replace(
        PROTOCOLS["rotation"], mid=12, parts={"train": (0, 5), "domain": (0, 5)}, outputs={"train": 6, "domain": 9}
    )
    windows = open_plumes(made).windows("train", protocol=protocol, tasks=[(1, 0), (32, 3)])
    past, following = windows.batch([7, 0, 9])
    assert past.shape == (3, 10, 2, 8, 8)
    assert following.shape == (3, 6, 2, 8, 8)
    for row, number in enumerate((7, 0, 9)):
        assert torch.equal(past[row], windows[number][0])
        assert torch.equal(following[row], windows[number][1])
    assert np.array_equal(past[0], open_plumes(made).frames((32, 3))[4:14])
    assert open_plumes(made).windows("domain", protocol=protocol)[0][1].shape[0] == 9
    with pytest.raises(IndexError):
        windows.batch([10])


def test_windows_that_there_are_not_are_refused(made: Path) -> None:
    plumes = open_plumes(made)
    with pytest.raises(DataError, match="simulate more steps"):
        plumes.windows("train")
    with pytest.raises(UnknownNameError, match='did you mean "future"'):
        plumes.windows("futur")
    with pytest.raises(DataError, match="outputs is 0"):
        Windows([clock()], range(10, 12), past=10, outputs=0)
    with pytest.raises(DataError, match="of one shape"):
        Windows([clock(), clock(20)], range(10, 12), past=10, outputs=1)
    with pytest.raises(DataError, match="mid no smaller"):
        replace(PROTOCOLS["rotation"], mid=5)
    with pytest.raises(DataError, match="same names"):
        replace(PROTOCOLS["rotation"], parts={"train": (0, 1)})
