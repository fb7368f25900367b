"""Tables carried out: fair, resumable, and honest about what diverged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.experiments.bench.conftest import RECIPE, SMALL, table
from torch import nn

from weightspace.cli.main import application
from weightspace.errors import FormatError, TrainingError, UnknownNameError
from weightspace.experiments.bench.evidence import read_evidence
from weightspace.experiments.bench.record import BenchRecord, read_record, read_records, record_path
from weightspace.experiments.bench.run import key_of, run_row, tune
from weightspace.experiments.bench.schedule import Places, run_tables
from weightspace.experiments.bench.significance import MEASURES
from weightspace.experiments.bench.subject import Networks, NetworkSubject, answered
from weightspace.experiments.bench.table import Move, Row
from weightspace.experiments.bench.zoo import ZooRecipe
from weightspace.experiments.choice import ModelChoice
from weightspace.experiments.paper import TABLES
from weightspace.training import read_record as read_run
from weightspace.zoo.generate import CnnSettings, PolicySettings, SirenSettings


@pytest.fixture(scope="module")
def subject(home: Path) -> NetworkSubject:
    return table().data["small"].subject(home)  # type: ignore[return-value]


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_table_leaves_a_record_for_each_row_and_seed(places: Places, workers: int) -> None:
    told: list[tuple[str, int, int]] = []
    tiny = table()
    records = run_tables([tiny], places, workers=workers, report=lambda *words: told.append(words[:3]))
    assert {(record.row, record.seed) for record in records} == {
        (row, seed) for row in ("FlatMLP", "MonomialNFN") for seed in (0, 1)
    }
    assert told[-1] == ("Runs", 4, 4)
    kept = read_records(places.results, "small", "tiny")
    assert {record.key for record in kept} == {record.key for record in records}
    for record in kept:
        assert record.status == "finished"
        assert list(record.scores) == ["accuracy", "nll"]
        assert len(record.predictions) == len(record.targets) == record.zoo["networks"]["test"]
        rightly = [a == b for a, b in zip(record.predictions, record.targets, strict=True)]
        assert record.scores["accuracy"] == pytest.approx(sum(rightly) / len(rightly))
        assert [tried["learning_rate"] for tried in record.tuning] == [1e-3, 1e-2]
        assert record.symmetry_error is not None
    errors = {record.row: record.symmetry_error or 0.0 for record in kept}
    assert errors["MonomialNFN"] < 1e-9 < 1e-3 < errors["FlatMLP"]
    exact = [record for record in kept if record.row == "MonomialNFN"]
    assert all(record.moved["permutations and signs"] == record.scores["accuracy"] for record in exact)


def test_what_is_there_is_not_done_again_and_other_settings_are(places: Places) -> None:
    tiny = table(seeds=(0,), rows=table().rows[:1])
    first = run_tables([tiny], places, workers=1)
    path = record_path(places.results, "small", "tiny", "FlatMLP", 0)
    before = path.stat().st_mtime_ns
    (places.home / "runs").rename(places.home / "gone")
    assert run_tables([tiny], places, workers=1) == first
    assert path.stat().st_mtime_ns == before
    assert not (places.home / "runs").exists()
    other = replace(tiny, training={"small": replace(tiny.training["small"], steps=5)})
    (again,) = run_tables([other], places, workers=1)
    assert again.steps == 5
    assert again.key != first[0].key


def test_the_rate_is_chosen_without_the_test_split(subject: NetworkSubject, places: Places) -> None:
    tiny = table()
    tried = tune(tiny, tiny.rows[1], "small", subject, places.home)
    assert all(0 <= each["validation"] <= 1 for each in tried)
    runs = [read_run(path.parent) for path in sorted(places.home.rglob("rate-*/record.json"))]
    validation = subject.data(tiny.rows[1]).val.target.tolist()
    assert len(runs) == 2
    assert all(run.targets == validation and run.steps == 1 for run in runs)


def test_the_best_rate_is_taken(subject: NetworkSubject, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = [{"learning_rate": 1e-3, "validation": 0.2}, {"learning_rate": 1e-2, "validation": 0.5}]
    scores.append({"learning_rate": 1e-1, "validation": None})
    monkeypatch.setattr("weightspace.experiments.bench.run.tune", lambda *_: scores)
    tiny = table()
    record = run_row(tiny, tiny.rows[0], "small", 0, subject, places.home)
    assert record.settings["settings"]["learning_rate"] == 1e-2


def test_a_run_that_diverges_is_a_record(subject: NetworkSubject, places: Places) -> None:
    broken = Row("broken", ModelChoice(f"{__name__}:NoNumber"))
    record = run_row(table(), broken, "small", 0, subject, places.home)
    assert record.status == "diverged"
    assert "loss" in record.message
    assert record.scores == {}
    assert record.predictions == []
    assert record.validation is None


class NoNumber(nn.Module):
    def __init__(self, spec: object, readout: object) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(float("nan")))

    def forward(self, x):  # type: ignore[no-untyped-def]
        return self.scale * torch.ones(len(x), 10)


def test_a_run_of_another_model_is_not_taken_for_this_one(subject: NetworkSubject, places: Places) -> None:
    tiny, row = table(rates=(1e-2,)), Row("own", ModelChoice(f"{__name__}:Wide"))
    run_row(tiny, row, "small", 0, subject, places.home)
    Wide.width = 5
    try:
        with pytest.raises(TrainingError, match="holds a run with other settings"):
            run_row(tiny, row, "small", 0, subject, places.home)
    finally:
        Wide.width = 3


class Wide(nn.Module):
    width = 3

    def __init__(self, spec: object, readout: object) -> None:
        super().__init__()
        self.lines = nn.Sequential(nn.Linear(1, self.width), nn.Linear(self.width, 10))

    def forward(self, x):  # type: ignore[no-untyped-def]
        return self.lines(x.tensors[0].flatten(1).mean(1, keepdim=True))


def test_records_of_older_settings_stay_off_the_page(places: Places) -> None:
    tiny = table(seeds=(0,), rows=table().rows[:1])
    run_tables([tiny], places, workers=1)
    assert read_evidence(tiny, "small", places.results).records
    other = replace(tiny, training={"small": replace(tiny.training["small"], steps=5)})
    assert not read_evidence(other, "small", places.results).records


def test_a_share_takes_the_first_networks_of_the_training_split_alone(subject: NetworkSubject) -> None:
    whole, part = Row("all", SMALL), Row("part", SMALL, share=0.25, study="labels")
    all_of, some = subject.data(whole), subject.data(part)
    assert len(some.train) == round(0.25 * len(all_of.train))
    assert torch.equal(some.train.target, all_of.train.target[: len(some.train)])
    assert len(some.test) == len(all_of.test)
    assert len(some.val) == len(all_of.val)


def test_preparations_change_weights_and_keep_answers_of_exact_models(subject: NetworkSubject) -> None:
    plain, folded = Row("plain", SMALL), Row("canonical", SMALL, "canonical", ("fold", "canonical"))
    before, after = subject.data(plain).test.features, subject.data(folded).test.features
    assert not torch.equal(before.tensors[0], after.tensors[0])
    model = subject.build(folded, 0)
    assert (subject.measure(folded, model).symmetry_error or 0) < 1e-6
    assert answered(model, subject.data(folded).test)[0].shape == (len(before), 10)


def test_scales_are_moved_by_decades(home: Path) -> None:
    data = Networks(RECIPE, "class", moves=(Move("once"), Move("phases", phases=True)))
    moved = data.subject(home)
    flat = Row("FlatMLP", ModelChoice("FlatMLP", options={"hidden": 8}))
    torch.manual_seed(0)
    measured = moved.measure(flat, moved.build(flat, 0))
    assert set(measured.moved) == {"once", "phases"}


@pytest.mark.parametrize("name", sorted(TABLES))
def test_tables_are_plain_settings(name: str) -> None:
    each = TABLES[name]
    assert len({row.name for row in each.rows}) == len(each.rows)
    assert each.measures[0].partition("_")[0] in MEASURES  # else there are no intervals
    files = {record_path(BASE, "small", name, row.name, 0) for row in each.rows}
    assert len(files) == len(each.rows)
    for scale in ("small", "full"):
        assert hash(each.data[scale]) == hash(each.data[scale])
        keys = {key_of(each, row, scale, seed) for row in each.rows for seed in each.seeds}
        assert len(keys) == len(each.rows) * len(each.seeds)


BASE = Path("results")


@pytest.mark.parametrize(
    "recipe",
    [
        ZooRecipe("a", SirenSettings(hidden=(8, 4), omega=15.0, views=2), 40, "mnist"),
        ZooRecipe("b", CnnSettings(steps=(5, 20), activation="tanh"), 4, "cifar10-gs"),
        ZooRecipe("c", PolicySettings("acrobot", iterations=12), 5),
    ],
    ids=lambda recipe: recipe.name,
)
def test_the_command_of_a_zoo_makes_that_zoo(recipe: ZooRecipe) -> None:
    words = recipe.command.split()
    assert words[:3] == ["weightspace", "zoo", "make"]
    _, bound, _ = application().parse_args(words[1:], exit_on_error=False, print_error=False)
    assert bound.arguments["settings"] == recipe.settings
    assert bound.arguments["count"] == recipe.count
    assert bound.arguments["order"].out.name == recipe.folder
    assert not recipe.images or bound.arguments["source"].data == recipe.images


def test_records_that_are_none_are_named(places: Places) -> None:
    tiny = table(seeds=(0,), rows=table().rows[:1])
    (record,) = run_tables([tiny], places, workers=1)
    path = record.write(places.results)
    assert read_record(path) == record
    for content in (b"", b"[]", b"{}", path.read_bytes()[:-200], json.dumps({"format": "other"}).encode()):
        path.write_bytes(content)
        with pytest.raises(FormatError, match="no record of a comparison"):
            read_record(path)


def test_names_that_do_not_exist() -> None:
    with pytest.raises(UnknownNameError, match="row of tiny"):
        table().row("NP")
    with pytest.raises(UnknownNameError, match="track"):
        Row("a", SMALL, "weight")
    with pytest.raises(UnknownNameError, match="question"):
        Networks(RECIPE, "clas")
    assert isinstance(BenchRecord.__doc__, str)
