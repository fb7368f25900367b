"""`weightspace evaluate` and `predict` with runs of `train`, on a real zoo and on files."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.cli.conftest import Program
from torch import nn

from weightspace.cli.main import main
from weightspace.errors import TrainingError
from weightspace.experiments.calibration import calibrate, calibration_of
from weightspace.experiments.run import open_run
from weightspace.spec import Sine
from weightspace.training import read_record
from weightspace.weights import act, sample_element
from weightspace.zoo import Zoo, open_zoo

OWN = """
from torch import nn
from weightspace.layers import ParameterScale
from weightspace.weights import flatten

class Line(nn.Module):
    def __init__(self, spec, readout, *, width=8):
        super().__init__()
        self.norm = ParameterScale(spec)
        self.body = nn.Sequential(nn.Linear(spec.numel, width), nn.ReLU(), nn.Linear(width, readout.outputs))

    def forward(self, x):
        return self.body(flatten(self.norm(x)))
"""


@pytest.fixture(scope="module")
def learnt(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("use") / "run"
    words = ["train", made, "--out", out, "--model", "StatNN", "--steps", 12, "--batch", 32]
    assert main([str(word) for word in words]) == 0
    return out


@pytest.fixture
def there(learnt: Path, tmp_path: Path) -> Path:
    """The run, in a copy that the test may spoil."""
    return Path(shutil.copytree(learnt, tmp_path / "run"))


def network(zoo: Path, row: int = 0) -> dict[str, torch.Tensor]:
    """The state dict of one network of a zoo."""
    x = open_zoo(zoo).features([row])
    return {param.view.key: x[param.name][0, ..., 0].contiguous() for param in x.spec.params}


def test_a_run_says_all_that_is_needed(learnt: Path, made: Path) -> None:
    settings = json.loads((learnt / "settings.json").read_text())
    assert settings["about"]["model"] == {"name": "StatNN", "preset": "demo", "options": {}}
    assert settings["about"]["spec"] == open_zoo(made).spec.digest
    assert json.loads((learnt / "zoo.json").read_text())["path"] == str(made.resolve())
    names = {path.name for path in learnt.iterdir()}
    assert {"settings.json", "record.json", "zoo.json", "spec.json", "model", "calibration.safetensors"} <= names


def test_an_evaluation_finds_the_score_of_the_record(run: Program, there: Path) -> None:
    record = read_record(there)
    first = run("evaluate", there)
    assert first.code == 0, first.err
    assert "looked at once already" in first.out
    assert "before" not in first.out
    path = Path(first.out.splitlines()[-1])
    found = json.loads(path.read_text())
    assert (found["score"], found["predictions"]) == (record.test_score, record.predictions)
    assert found["loss"] == pytest.approx(record.test_loss)
    assert "evaluated 1 time before" in run("evaluate", there).out
    assert json.loads(path.read_text())["looks"] == 2


@pytest.mark.parametrize(
    ("split", "told"), [("train", "has learnt from"), ("val", "chosen the checkpoint"), ("all", "among them")]
)
def test_an_evaluation_says_what_a_split_is_to_the_run(run: Program, there: Path, split: str, told: str) -> None:
    assert told in run("evaluate", there, "--split", split).out


def test_another_zoo_is_told_and_other_networks_are_refused(run: Program, there: Path, tmp_path: Path) -> None:
    for name, more in (("more", ("--hidden", 8, "--seed", 5)), ("wide", ("--hidden", 9))):
        words = ("zoo", "make", "--data", "digits", "--steps", 2, "--count", 40, "--out", tmp_path / name)
        assert run(*words, *more).code == 0
    told = run("evaluate", there, "--zoo", tmp_path / "more", "--split", "all")
    assert told.code == 0, told.err
    assert "another zoo than the run was trained on" in told.out
    refused = run("evaluate", there, "--zoo", tmp_path / "wide")
    assert refused.code == 2
    assert "has shape (8, 2) in the networks of the run, (9, 2) in those of" in refused.err
    assert run("evaluate", there, "--split", "tset").code == 2
    assert not list(there.glob("evaluations/*-test.json"))


def test_networks_from_files_and_from_the_zoo_are_answered_alike(
    run: Program, there: Path, made: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "networks"
    folder.mkdir()
    save_file(network(made, 3), folder / "a.safetensors")
    torch.save({"state_dict": network(made, 4), "epoch": 3}, folder / "b.pt")
    out = tmp_path / "answers.json"
    told = run("predict", folder, made, "--rows", 3, 4, "--with", there, "--json", out)
    assert told.code == 0, told.err
    found = json.loads(out.read_text())["predictions"]
    assert [each["network"].split("/")[-1] for each in found] == ["a.safetensors", "b.pt", *found_names(made, (3, 4))]
    for one, other in ((found[0], found[2]), (found[1], found[3])):
        assert one["probability"] == pytest.approx(other["probability"])
        assert (one["classes"], one["answer"]) == (other["classes"], other["answer"])
    assert run("predict", folder, "--with", there, "--json", out).code == 2, "a file that is there is not written over"


def found_names(zoo: Path, rows: tuple[int, ...]) -> list[str]:
    return [f"{zoo.name} network {open_zoo(zoo).column('number')[row]}" for row in rows]


def test_far_networks_are_warned_of_and_copies_are_not(run: Program, there: Path, made: Path, tmp_path: Path) -> None:
    x = open_zoo(made).features([0])
    copy = act(sample_element(x.spec, 1, generator=torch.Generator().manual_seed(0)), x)
    state = {param.view.key: copy[param.name][0, ..., 0].contiguous() for param in x.spec.params}
    save_file(state, tmp_path / "copy.safetensors")
    save_file({key: 100 * tensor for key, tensor in state.items()}, tmp_path / "loud.safetensors")
    save_file({key: torch.randn_like(tensor) for key, tensor in state.items()}, tmp_path / "random.safetensors")
    told = run("predict", *(tmp_path / f"{name}.safetensors" for name in ("copy", "loud", "random")), "--with", there)
    assert told.code == 0, told.err
    assert "loud.safetensors is far" in told.err
    assert "random.safetensors is far" in told.err
    assert "copy.safetensors" not in told.err


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda s: s.pop(sorted(s)[0]), "lacks '0.bias'"),
        (lambda s: s.update({"9.weight": torch.ones(3)}), "holds '9.weight'"),
        (lambda s: s.update({"0.bias": torch.ones(9)}), "'0.bias' has shape (9,)"),
        (lambda s: s.update({"0.bias": torch.full((8,), torch.nan)}), "not finite"),
    ],
)
def test_networks_that_are_no_such_networks_are_refused(
    run: Program, there: Path, made: Path, tmp_path: Path, change: object, told: str
) -> None:
    state = network(made)
    change(state)
    save_file(state, tmp_path / "odd.safetensors")
    found = run("predict", tmp_path / "odd.safetensors", "--with", there)
    assert found.code == 2
    assert told in found.err


def test_modules_are_read_by_what_they_compute(run: Program, there: Path, made: Path, tmp_path: Path) -> None:
    settings = open_zoo(made).manifest.settings
    same = nn.Sequential(nn.Linear(2, 8), Sine(settings["omega"]), nn.Linear(8, 1))
    assert {k: v.shape for k, v in same.state_dict().items()} == {k: v.shape for k, v in network(made).items()}
    save_file(network(made), tmp_path / "a.safetensors")
    words = ("predict", tmp_path / "a.safetensors", "--with", there)
    told = run(*words, "--activation", "relu")
    assert told.code == 2
    assert "(sine" in told.err
    assert "POSITIVE (relu)" in told.err
    assert run(*words, "--rows", 1).code == 2


def test_the_test_split_is_never_read_for_a_calibration(
    there: Path, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = open_run(there)
    zoo, seen = open_zoo(made), set()
    features = Zoo.features
    monkeypatch.setattr(Zoo, "features", lambda self, rows: seen.update(map(int, rows)) or features(self, rows))
    found = calibrate(run, run.model(), zoo)
    assert seen == {*zoo.split("train"), *zoo.split("val")}
    kept = calibration_of(run, run.model())
    assert torch.equal(found.scores, kept.scores)
    assert torch.equal(found.distances, kept.distances)


def test_a_damaged_calibration_is_a_message_and_a_missing_one_is_made_again(
    run: Program, there: Path, made: Path
) -> None:
    path = there / "calibration.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-9])
    told = run("predict", made, "--rows", 0, "--with", there)
    assert told.code == 2
    assert "Delete it" in told.err
    path.unlink()
    assert run("predict", made, "--rows", 0, "--with", there).code == 0
    assert path.read_bytes() == content


def test_a_model_of_ones_own_is_imported_only_where_it_is_named(
    run: Program, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_line.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    words = ("train", made, "--out", "own", "--model", "my_line:Line", "--option", "width=5", "--steps", 3)
    first = run(*words)
    assert first.code == 0, first.err
    assert run(*words).out == first.out
    del sys.modules["my_line"]
    told = run("evaluate", "own")
    assert told.code == 2
    assert "--model my_line:Line" in told.err
    assert "my_line" not in sys.modules
    found = run("evaluate", "own", "--model", "my_line:Line")
    assert found.code == 0, found.err
    state = load_file("own/model/own.safetensors")
    assert state["body.0.weight"].shape[0] == 5
    (tmp_path / "my_line.py").write_text(OWN.replace("width=8", "width=8, more=3").replace("body", "other"))
    del sys.modules["my_line"]
    assert "does not fit" in run("evaluate", "own", "--model", "my_line:Line").err
    content = bytearray(Path("own/model/own.safetensors").read_bytes())
    content[-1] ^= 1
    Path("own/model/own.safetensors").write_bytes(content)
    assert "damaged" in run("evaluate", "own", "--model", "my_line:Line").err
    del sys.modules["my_line"]


def test_folders_that_are_no_finished_runs_are_messages(run: Program, there: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no run" in run("evaluate", tmp_path / "empty").err
    record = (there / "record.json").read_text()
    (there / "record.json").write_text(record.replace('"finished"', '"diverged"'))
    assert "no model to use" in run("evaluate", there).err
    (there / "record.json").unlink()
    with pytest.raises(TrainingError, match="has not finished"):
        open_run(there)
    (there / "record.json").write_text(record)
    (there / "spec.json").unlink()
    assert "writes what is missing" in run("evaluate", there).err


def test_a_run_that_was_cut_short_after_its_record_is_completed(run: Program, made: Path, there: Path) -> None:
    for path in ("zoo.json", "model/model.json", "calibration.safetensors"):
        (there / path).unlink()
    words = ("train", made, "--out", there, "--model", "StatNN", "--steps", 12, "--batch", 32)
    assert run(*words).code == 0
    assert run("predict", made, "--rows", 0, "--with", there).code == 0


def test_runs_are_listed_grouped_and_drawn(run: Program, there: Path, made: Path, tmp_path: Path) -> None:
    words = ("train", made, "--out", tmp_path / "other", "--model", "ScaleGMN", "--option", "channels=4", "rounds=1")
    assert run(*words, "--steps", 3, "--learning-rate", 0.01).code == 0
    told = run("runs", tmp_path)
    assert told.code == 0, told.err
    assert {line.split()[0] for line in told.out.splitlines()[1:3]} == {"run", "other"}
    assert "settings.learning_rate: 0.001, 0.01" in told.out
    assert "about.model.options.channels: 4, None" in told.out
    files = ("--json", tmp_path / "runs.json", "--report", tmp_path / "runs.html")
    grouped = run("runs", tmp_path, "--by", "model", "learning_rate", *files)
    assert grouped.code == 0, grouped.err
    plain = json.loads((tmp_path / "runs.json").read_text())
    assert [group["by"]["model"] for group in plain["groups"]] != []
    assert {row["model"]: row["status"] for row in plain["runs"]} == {"StatNN": "finished", "ScaleGMN": "finished"}
    assert "<svg" in (tmp_path / "runs.html").read_text()
    assert "exists" in run("runs", tmp_path, *files).err
    assert 'did you mean "model"' in run("runs", tmp_path, "--by", "modell").err


def test_words_that_are_no_options_are_messages(run: Program, made: Path, tmp_path: Path) -> None:
    words = ("train", made, "--out", tmp_path / "r", "--steps", 1, "--model", "ScaleGMN", "--option")
    for option, told in (("channels", "name=value"), ("channels=x", "expected int"), ("chanels=4", "did you mean")):
        assert told in run(*words, option).err
    assert not (tmp_path / "r").exists()
