"""Shards made as tasks of Ray: the zoo is the local one to the byte, whatever dies or is interrupted on the way."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from weightspace.cli.main import main
from weightspace.errors import DataError, TrainingError, UnknownNameError
from weightspace.zoo import Examples, FitSettings, Hyperparameters, Images, Zoo, check, fit, open_zoo
from weightspace.zoo.generate import (
    CnnSettings,
    Engine,
    PolicySettings,
    SirenSettings,
    make_cnn_zoo,
    make_policy_zoo,
    make_siren_zoo,
)
from weightspace.zoo.generate.engine import made_by
from weightspace.zoo.generate.plan import Progress, fill
from weightspace.zoo.generate.recipe import siren_recipe

SIRENS = SirenSettings(hidden=(4,), steps=3, chunk=2)
RAY = Engine("ray")
Maker = Callable[..., Zoo]


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The Ray that the engine starts for itself where there is none, kept for all tests; gives its address."""
    from weightspace.zoo.generate import cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setattr(os, "cpu_count", lambda: 2)
        with cluster._connection(None, threads=1):
            yield cluster.ray.get_runtime_context().gcs_address
    assert not cluster.ray.is_initialized()


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("recipe.SHARD", "recipe.CNN_SHARD", "policy_zoo.POLICY_SHARD"):
        monkeypatch.setattr(f"weightspace.zoo.generate.{place}", 4)


def images() -> Images:
    chance = np.random.default_rng(0)
    train = chance.integers(0, 256, (60, 6, 6)).astype(np.uint8)
    return Images("noise", train, np.arange(60) % 10, "0" * 64, "Drawn by the test.")


def sirens(path: Path, count: int = 10, **given: object) -> Zoo:
    return make_siren_zoo(path, images(), SIRENS, count=count, **given)


def fitted(path: Path, **given: object) -> Zoo:
    x = torch.linspace(-1, 1, 40)[:, None]
    return fit(
        nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)),
        nn.MSELoss(),
        Examples((x, x**2)),
        Hyperparameters(count=6, learning_rate=0.1),
        steps=4,
        checkpoints=(0.0, 1.0),
        out=path,
        settings=FitSettings(shard=4),
        **given,
    )


CNNS = CnnSettings(steps=(2, 4), batch=4, images=40, evaluated=10)
POLICIES = PolicySettings(hidden=(4,), iterations=2, directions=2, checkpoints=(1.0,), spoilt=(), episodes=2)
MAKERS: dict[str, Maker] = {
    "sirens": sirens,
    "cnns": lambda path, **given: make_cnn_zoo(path, images(), CNNS, count=6, **given),
    "policies": lambda path, **given: make_policy_zoo(path, POLICIES, count=6, **given),
    "any module": fitted,
}


def content(path: Path) -> dict[str, bytes]:
    """Every byte of a zoo: manifest, weights and tables."""
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("kind", MAKERS)
def test_is_the_local_zoo_to_the_byte(kind: str, cluster: str, tmp_path: Path) -> None:
    seen: list[int] = []
    here = MAKERS[kind](tmp_path / "here")
    there = MAKERS[kind](tmp_path / "there", engine="ray", progress=seen.append)
    assert here.checksum == there.checksum
    assert content(tmp_path / "here") == content(tmp_path / "there")
    assert sorted(seen, reverse=True) == ([4, 4, 2] if kind == "sirens" else [4, 2])


def test_comparison_catches_another_start(cluster: str, tmp_path: Path) -> None:
    sirens(tmp_path / "here")
    make_siren_zoo(tmp_path / "there", images(), replace(SIRENS, seed=1), count=10, engine=RAY)
    assert content(tmp_path / "here") != content(tmp_path / "there")


def test_no_more_shards_wait_than_two_for_each_place(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from weightspace.zoo.generate.cluster import ray

    wait, out = ray.wait, []

    def watched(tasks: list[object], **given: object) -> object:
        out.append(len(tasks))
        return wait(tasks, **given)

    monkeypatch.setattr(ray, "wait", watched)
    shards = {number: torch.arange(number, number + 2) for number in range(9)}
    made = dict(made_by(RAY, lambda numbers, _: int(numbers.sum()), shards, None))
    assert made == {number: 2 * number + 1 for number in shards}
    assert max(out) == 4


def test_errors_are_those_of_the_shard(cluster: str) -> None:
    def refuse(numbers: Tensor, _: Progress | None) -> None:
        raise DataError(f"shard of {len(numbers)} is wrong.")

    with pytest.raises(DataError, match=r"^shard of 3 is wrong\.$"):
        list(made_by(RAY, refuse, {0: torch.arange(3)}, None))


def test_workers_of_another_version_are_refused(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weightspace.zoo.generate.cluster._versions", lambda: ("0.0", "0.0"))
    with pytest.raises(TrainingError, match=r"expected \('0.0', '0.0'\), as here. Remedy: install the same"):
        list(made_by(RAY, lambda *_: None, {0: torch.arange(1)}, None))


def test_one_connection_at_a_time(cluster: str) -> None:
    with pytest.raises(TrainingError, match=r"connected to Ray already; .* \(other:1\) .* Remedy: leave out"):
        list(made_by(Engine("ray", "other:1"), lambda *_: None, {0: torch.arange(1)}, None))


def test_a_task_asks_for_as_many_processors_as_it_has_threads(cluster: str) -> None:
    """And is refused where no machine has as many, instead of waiting for ever."""
    torch.set_num_threads(2)
    try:
        made = list(made_by(RAY, lambda *_: torch.get_num_threads(), {0: torch.arange(1)}, None))
        assert made == [(0, 2)]
        torch.set_num_threads(3)
        with pytest.raises(TrainingError, match=r"has 3 threads, .* no machine .* Remedy: start with fewer"):
            list(made_by(RAY, lambda *_: None, {0: torch.arange(1)}, None))
    finally:
        torch.set_num_threads(1)


def dies(folder: Path, times: int, make: Callable[..., object]) -> Callable[..., object]:
    """Kills its own process once the first networks of a shard are finished, the first so many times."""

    def kill(_: int) -> None:
        deaths = len(list(folder.iterdir()))
        if deaths < times:
            (folder / str(deaths)).touch()
            os.kill(os.getpid(), signal.SIGKILL)

    def mortal(numbers: Tensor, _: Progress | None) -> object:
        return make(numbers, kill if 4 in numbers else None)

    return mortal


def test_a_killed_worker_is_replaced(cluster: str, tmp_path: Path) -> None:
    recipe = siren_recipe(images(), SIRENS, count=10)
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    fill(tmp_path / "there", replace(recipe, make=dies(deaths, 1, recipe.make)), engine=RAY)
    assert len(list(deaths.iterdir())) == 1
    sirens(tmp_path / "here")
    assert content(tmp_path / "here") == content(tmp_path / "there")


@pytest.mark.parametrize("first", ["local", "ray"])
def test_either_engine_goes_on_with_the_other(first: str, cluster: str, tmp_path: Path) -> None:
    told: list[int] = []

    def interrupt(count: int) -> None:
        told.append(count)
        if sum(told) >= 6:
            raise KeyboardInterrupt

    whole, resumed = sirens(tmp_path / "whole"), []
    with pytest.raises(KeyboardInterrupt):
        sirens(tmp_path / "cut", engine=first, progress=interrupt)
    # Ray tells of shards, of which the last is shorter; the local engine of chunks.
    assert len(open_zoo(tmp_path / "cut")) == (4 if first == "local" else sum(told))
    second = "local" if first == "ray" else "ray"
    assert sirens(tmp_path / "cut", engine=second, progress=resumed.append).checksum == whole.checksum
    assert sum(resumed) == 10
    assert content(tmp_path / "cut") == content(tmp_path / "whole")


def test_ctrl_c_keeps_what_was_made(cluster: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "zoo"

    def interrupt() -> None:
        # The table commits a shard; a minute is for a machine that is busy with other tests.
        for _ in range(1200):
            if list(out.glob("shards/*.parquet")):
                break
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    sender = Thread(target=interrupt)
    sender.start()
    words = ("zoo", "make", "--data", "digits", "--hidden", "8", "--steps", "300", "--count", "1790", "--engine", "ray")
    assert main([*words, "--out", str(out)]) == 130
    sender.join()
    assert "run the same command again" in capfd.readouterr().err
    assert 4 <= len(open_zoo(out)) < 1790
    assert check(out) == []


def test_workers_that_always_die_are_given_up(cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("weightspace.zoo.generate.cluster._RETRIES", 0)
    recipe = siren_recipe(images(), SIRENS, count=10)
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    with pytest.raises(TrainingError, match=r"gave up shard 1 after 0 .* Remedy: see that workers have enough memory"):
        fill(tmp_path / "zoo", replace(recipe, make=dies(deaths, 9, recipe.make)), engine=RAY)
    assert len(sirens(tmp_path / "zoo")) == 10


def test_what_is_under_way_is_cancelled_when_the_caller_stops(cluster: str, tmp_path: Path) -> None:
    def make(numbers: Tensor, _: Progress | None) -> None:
        while int(numbers[0]) and not (tmp_path / "go").exists():
            time.sleep(0.05)

    with closing(made_by(RAY, make, {number: torch.tensor([number]) for number in range(4)}, None)) as made:
        assert next(made) == (0, None)
    # The places are free again, though nobody let the others go.
    assert dict(made_by(RAY, lambda numbers, _: len(numbers), {9: torch.arange(3)}, None)) == {9: 3}
    assert not (tmp_path / "go").exists()


# Without Ray


def test_names_and_addresses() -> None:
    with pytest.raises(UnknownNameError, match="unknown engine 'rya': did you mean \"ray\"?"):
        Engine("rya")
    with pytest.raises(TrainingError, match=r"address of Ray \(auto\) .* 'local', which has no use .* Remedy: ask"):
        Engine("local", "auto")


def test_ray_is_asked_for_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "weightspace.zoo.generate.cluster", raising=False)
    with pytest.raises(TrainingError, match=r"needs the package ray.*Remedy: pip install 'weightspace\[ray\]'"):
        sirens(tmp_path, engine="ray")
    assert len(sirens(tmp_path)) == 10


def test_where_ray_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address given, else that of RAY_ADDRESS, else a Ray of its own, which has no dashboard and tells nobody."""
    from weightspace.zoo.generate import cluster

    asked: list[dict[str, object]] = []
    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster.ray, "init", lambda **options: asked.append(options))
    monkeypatch.setattr(cluster.ray, "shutdown", lambda: None)
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED", raising=False)
    for address, variable in ((None, None), (None, "head:6379"), ("other:6379", "head:6379")):
        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        if variable is not None:
            monkeypatch.setenv("RAY_ADDRESS", variable)
        with cluster._connection(address, threads=1):
            assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    assert [options["address"] for options in asked] == ["local", "head:6379", "other:6379"]
    assert [options.get("include_dashboard") for options in asked] == [False, None, None]


def test_an_address_where_no_ray_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from weightspace.zoo.generate import cluster

    def refused(**_: object) -> None:
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(cluster.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster.ray, "init", refused)
    with pytest.raises(TrainingError, match=r"cannot connect to Ray at 'far:6379': Could not .* Remedy: check the add"):
        list(made_by(Engine("ray", "far:6379"), lambda *_: None, {0: torch.arange(1)}, None))


def test_a_plan_is_for_this_machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["zoo", "make", "mlp", "--out", str(tmp_path / "zoo"), "--plan", "--engine", "ray"]) == 2
    assert "measured on this machine alone" in capsys.readouterr().err
