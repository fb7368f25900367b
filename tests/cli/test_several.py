"""`weightspace train` on a folder of zoos, and `evaluate`, `predict` and `runs` with what came of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tests.cli.conftest import Program

from weightspace.cli.main import main
from weightspace.errors import DataError, FormatError, SpecError
from weightspace.experiments import ModelChoice, task_for, train_on
from weightspace.experiments.calibration import calibrate, calibration_of
from weightspace.experiments.distance import statistics
from weightspace.experiments.evaluation import evaluate
from weightspace.experiments.prediction import predict, read_networks
from weightspace.experiments.run import open_run
from weightspace.experiments.spaces import open_all
from weightspace.training import TrainSettings, read_record
from weightspace.zoo import Zoo, open_zoos

# Half a minute for all: zoos of two kinds are made first.
pytestmark = pytest.mark.slow

SMALL = ("--data", "digits", "--steps", "1", "6", "--batch", "8", "--checkpoints", "1.0", "--count")
LEARN = ("--target", "test_accuracy", "--steps", "2", "--batch", "8")


def called(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ReLU and tanh networks, whose tensors have the same names and shapes."""
    out = tmp_path_factory.mktemp("several") / "mixed"
    assert called("zoo", "make", "mixed", "--out", out, "--images", 60, "--evaluated", 40, *SMALL, 44) == 0
    return out


@pytest.fixture(scope="module")
def wild(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks of two depths, told apart by their tensors."""
    out = tmp_path_factory.mktemp("several") / "wild"
    kinds = ("--architectures", 2, "--depth", 1, 2, "--widths", 3, "--widths", 4, "--architecture-seed", 1)
    assert called("zoo", "make", "wild", "--out", out, *kinds, *SMALL, 44) == 0
    assert len({len(zoo.spec.params) for zoo in open_zoos(out)}) == 2
    return out


@pytest.fixture(scope="module")
def learnt(mixed: Path) -> Path:
    out = mixed.parent / "run"
    assert called("train", mixed, "--out", out, "--model", "ScaleGMN", *LEARN) == 0
    return out


@pytest.fixture(scope="module")
def learnt_wild(wild: Path) -> Path:
    out = wild.parent / "run"
    assert called("train", wild, "--out", out, "--model", "GMN", *LEARN) == 0
    return out


def state(zoo: Zoo, row: int = 0) -> dict[str, torch.Tensor]:
    return {key: value[0] for key, value in zoo.features([row]).to_state().items()}


def test_a_run_of_several_zoos_says_all_that_is_needed(learnt: Path, mixed: Path, run: Program) -> None:
    zoos = open_zoos(mixed)
    record, opened = read_record(learnt), open_run(learnt)
    assert record.zoo_checksum == " ".join(zoo.checksum for zoo in zoos)
    assert len(record.predictions) == sum(len(zoo.split("test")) for zoo in zoos)
    assert opened.spec == tuple(zoo.spec for zoo in zoos)
    assert json.loads((learnt / "settings.json").read_text())["about"]["spec"] == [one.digest for one in opened.specs]
    assert opened.zoo_paths == tuple(zoo.path.resolve() for zoo in zoos)
    again = run("train", mixed, "--out", learnt, "--model", "ScaleGMN", *LEARN)
    assert again.code == 0
    assert "after 2 steps" in again.out


@pytest.mark.slow
@pytest.mark.parametrize("model", ["GaugeGMN", "NGGNN"])
def test_other_models_of_several_spaces_learn_too(model: str, wild: Path, tmp_path: Path, run: Program) -> None:
    told = run("train", wild, "--out", tmp_path / "run", "--model", model, *LEARN)
    assert told.code == 0, told.err
    assert run("evaluate", tmp_path / "run").code == 0


OWN = """
import torch
from torch import nn
from weightspace.weights import WeightFeatures, flatten

class Lines(nn.Module):
    def __init__(self, specs, readout):
        super().__init__()
        self.lines = nn.ModuleDict({spec.digest: nn.Linear(spec.numel, readout.outputs) for spec in specs})

    def forward(self, x):
        parts = [x] if isinstance(x, WeightFeatures) else x
        return torch.cat([self.lines[part.spec.digest](flatten(part)) for part in parts])
"""


def test_a_model_of_ones_own_is_given_all_specs(
    wild: Path, tmp_path: Path, run: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_lines.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    told = run("train", wild, "--out", tmp_path / "run", "--model", "own_lines:Lines", *LEARN)
    assert told.code == 0, told.err
    assert run("evaluate", tmp_path / "run", "--model", "own_lines:Lines").code == 0
    answered = run("predict", wild, "--rows", 0, "--with", tmp_path / "run", "--model", "own_lines:Lines")
    assert answered.code == 0, answered.err
    assert len(answered.out.splitlines()) == 3


def test_models_of_one_space_are_refused_with_those_of_several(mixed: Path, tmp_path: Path, run: Program) -> None:
    for model in ("StatNN", "MonomialNFN", "Phased"):
        told = run("train", mixed, "--out", tmp_path / "run", "--model", model, *LEARN)
        assert told.code == 2
        assert f"{model} reads networks of one weight space, and these zoos have 2" in told.err
        assert "GMN, GaugeGMN, NGGNN, ScaleGMN" in told.err


def test_an_evaluation_finds_the_score_of_the_record(learnt: Path, mixed: Path, run: Program, tmp_path: Path) -> None:
    there, record = Path(shutil.copytree(learnt, tmp_path / "run")), read_record(learnt)
    told = run("evaluate", there)
    assert told.code == 0, told.err
    assert "looked at once already" in told.out
    found = json.loads(Path(told.out.splitlines()[-1]).read_text())
    assert (found["score"], found["predictions"]) == (record.test_score, record.predictions)
    assert len(set(found["numbers"])) == len(found["numbers"])
    part = run("evaluate", there, "--zoo", mixed / "tanh")
    assert "1 of the 2 zoos that the run was trained on" in part.out
    assert "looked at once already" in part.out
    opened = open_run(there)
    each = [evaluate(opened, opened.model(), zoo)[0] for zoo in open_zoos(mixed)]
    assert [number for one in each for number in one.predictions] == found["predictions"]


def test_every_network_is_calibrated_within_its_own_space(learnt: Path, mixed: Path) -> None:
    opened, zoos = open_run(learnt), open_zoos(mixed)
    kept, fresh = calibration_of(opened, opened.model()), calibrate(opened, opened.model(), zoos)
    assert torch.equal(kept.scores, fresh.scores)
    assert torch.equal(kept.distances, fresh.distances)
    assert list(kept.around) == [zoo.spec.digest for zoo in zoos]
    assert len(kept.scores) == sum(len(zoo.split("val")) for zoo in zoos)
    relu, tanh = (zoo.features(zoo.split("val")) for zoo in zoos)
    own = torch.cat([kept.distance(relu), kept.distance(tanh)])
    torch.testing.assert_close(own.sort().values, kept.distances, rtol=1e-9, atol=0)
    # Where tanh networks are compared with ReLU networks, they do not stand.
    assert len(statistics(relu)[0]) != len(statistics(tanh)[0])


def test_networks_of_either_space_are_predicted(learnt: Path, mixed: Path, run: Program, tmp_path: Path) -> None:
    both = run("predict", mixed, "--rows", 3, "--with", learnt, "--json", tmp_path / "both.json")
    assert both.code == 0, both.err
    found = json.loads((tmp_path / "both.json").read_text())["predictions"]
    assert [Path(one["network"].split()[0]).name for one in found] == ["relu", "tanh"]
    for zoo, one in zip(open_zoos(mixed), found, strict=True):
        opened = open_run(learnt)
        model = opened.model()
        (alone,) = predict(opened, model, calibration_of(opened, model), ["it"], zoo.features([3]))
        assert (alone.answer, alone.low, alone.distance) == (one["answer"], one["low"], one["distance"])
    assert found[0]["answer"] != found[1]["answer"]


def test_a_state_dict_is_taken_for_the_space_that_has_its_tensors(
    learnt_wild: Path, wild: Path, tmp_path: Path
) -> None:
    opened, zoos = open_run(learnt_wild), open_zoos(wild)
    for name, zoo in zip("ab", zoos, strict=True):
        torch.save(state(zoo, 1), tmp_path / f"{name}.pt")
    names, x = read_networks(opened, [tmp_path / "b.pt", tmp_path / "a.pt"])
    assert [Path(name).stem for name in names] == ["b", "a"]
    assert [part.spec for part in x] == [zoos[1].spec, zoos[0].spec]
    for part, zoo in zip(x, zoos[::-1], strict=True):
        assert all(
            torch.equal(mine, theirs) for mine, theirs in zip(part.tensors, zoo.features([1]).tensors, strict=True)
        )
    torch.save({"weight": torch.zeros(2)}, tmp_path / "odd.pt")
    with pytest.raises(Exception, match="its tensors are not those"):
        read_networks(opened, [tmp_path / "odd.pt"])


def test_a_state_dict_of_two_spaces_is_no_guess(learnt: Path, mixed: Path, run: Program, tmp_path: Path) -> None:
    torch.save(state(open_zoos(mixed)[0]), tmp_path / "net.pt")
    told = run("predict", tmp_path / "net.pt", "--with", learnt)
    assert told.code == 2
    assert "may be of 2 of the weight spaces" in told.err
    assert "--module" in told.err


def test_networks_of_another_space_are_refused(learnt: Path, learnt_wild: Path, mixed: Path, wild: Path) -> None:
    with pytest.raises(SpecError, match="networks of 2 other spaces"):
        open_run(learnt).zoos(wild)
    with pytest.raises(FormatError, match="are several zoos; expected one"):
        open_run(learnt).zoo(mixed)
    assert [zoo.spec for zoo in open_run(learnt_wild).zoos()] == [zoo.spec for zoo in open_all(wild)]


def test_runs_of_a_part_and_of_the_whole_are_told_apart(
    learnt: Path, mixed: Path, run: Program, tmp_path: Path
) -> None:
    shutil.copytree(learnt, tmp_path / "whole")
    assert called("train", mixed / "relu", "--out", tmp_path / "part", "--model", "ScaleGMN", *LEARN) == 0
    told = run("runs", tmp_path, "--by", "model")
    assert told.code == 0, told.err
    assert len([line for line in told.out.splitlines() if "ScaleGMN" in line]) == 2


def test_a_zoo_without_networks_to_learn_from_is_refused(mixed: Path, tmp_path: Path) -> None:
    relu, tanh = open_zoos(mixed)
    zoos = [relu, tanh.only(tanh.split("test"))]
    settings = TrainSettings(steps=1, batch=8)
    with pytest.raises(DataError, match="no networks in its training split"):
        train_on(zoos, ModelChoice("GMN"), task_for(zoos, "test_accuracy"), settings, out=tmp_path / "run")


def test_classes_are_those_of_all_zoos(mixed: Path) -> None:
    relu, tanh = open_zoos(mixed)
    few = relu.only([0, 1])
    assert task_for([few, tanh], "network").classes == int(tanh.column("network").max()) + 1
    assert task_for([tanh, few], "network") == task_for([few, tanh], "network")
