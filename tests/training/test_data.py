"""Where batches come from: networks on disk, of several spaces, in several views, read ahead of their steps."""

import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from weightspace.errors import DataError, FormatError
from weightspace.gauge import fold_phases
from weightspace.models import Invariant, ScaleGMN
from weightspace.spec import spec_of
from weightspace.tasks import Classify
from weightspace.testing import random_features
from weightspace.training import Mixed, Split, Splits, Stored, TrainSettings, train
from weightspace.training.feed import feeding
from weightspace.training.seed import Order
from weightspace.weights import flatten
from weightspace.zoo import Zoo, load_images
from weightspace.zoo.generate import SirenSettings, make_siren_zoo

TASK = Classify(10)


@pytest.fixture(scope="module")
def zoos(tmp_path_factory: pytest.TempPathFactory) -> list[Zoo]:
    """Networks of two sizes for the same digits, two views of each."""
    folder, digits = tmp_path_factory.mktemp("zoos"), load_images("digits")
    return [
        make_siren_zoo(folder / str(width), digits, SirenSettings(hidden=(width, width), steps=3), count=count)
        for width, count in ((6, 60), (8, 40))
    ]


def test_networks_on_disk_are_those_in_memory(zoos: list[Zoo]) -> None:
    kept, stored = (Splits.of(zoos[0], TASK, stored=on_disk).map(fold_phases) for on_disk in (False, True))
    assert not stored.train.kept
    for name in ("train", "val", "test"):
        one, other = getattr(kept, name), getattr(stored, name)
        rows = torch.randperm(len(one), generator=torch.Generator().manual_seed(0))
        assert isinstance(other.features, Stored)
        assert flatten(one.features[rows]).equal(flatten(other.features[rows]))
        assert flatten(one.features[2:4]).equal(flatten(other.features[2:4]))
        assert one.target.equal(other.target)
    assert kept.checksum == stored.checksum == zoos[0].checksum


def test_training_from_disk_is_training_from_memory(zoos: list[Zoo], tmp_path: Path) -> None:
    settings = TrainSettings(steps=6, batch=16, device="cpu", evaluate_every=3)
    spec = zoos[0].spec

    def trained(on_disk: bool) -> list:
        torch.manual_seed(0)
        model = ScaleGMN(spec, Invariant(10), channels=4, rounds=1)
        data = Splits.of(zoos[0], TASK, stored=on_disk)
        model.norm.fit(data.train.chunks(7) if on_disk else data.train.features)
        record = train(model, TASK, data, settings, out=tmp_path / str(on_disk))
        return [record.curves["validation_loss"], record.predictions]

    (losses, answers), (losses_2, answers_2) = trained(False), trained(True)
    # The scales are summed chunk by chunk.
    assert losses == pytest.approx(losses_2, rel=1e-5)
    assert answers == answers_2


def test_networks_of_two_spaces_in_one_batch(zoos: list[Zoo]) -> None:
    data = Splits.of(zoos, TASK, stored=True)
    assert isinstance(data.train.features, Mixed)
    first = len(zoos[0].split("train"))
    rows = torch.tensor([first + 1, 2, first, 0])
    features, target = data.train.batch(rows, torch.device("cpu"))
    assert [len(part) for part in features] == [2, 2]
    assert [part.spec for part in features] == [zoo.spec for zoo in zoos]
    wanted = [zoos[0].split("train")[[0, 2]], zoos[1].split("train")[[0, 1]]]
    for part, zoo, expected in zip(features, zoos, wanted, strict=True):
        assert flatten(part).equal(flatten(zoo.features(expected)))
    labels = np.concatenate([zoo.column("label")[expected] for zoo, expected in zip(zoos, wanted, strict=True)])
    assert target.tolist() == labels.tolist()
    assert [len(part) for part in data.train.features[first : first + 2]] == [2]
    assert data.checksum == f"{zoos[0].checksum} {zoos[1].checksum}"


def test_one_model_learns_from_two_spaces(zoos: list[Zoo], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ScaleGMN([zoo.spec for zoo in zoos], Invariant(10), channels=4, rounds=1)
    data = Splits.of(zoos, TASK, stored=True)
    settings = TrainSettings(steps=4, batch=16, accumulate=2, device="cpu", learning_rate=0.01)
    record = train(model, TASK, data, settings, out=tmp_path)
    assert len(record.predictions) == sum(len(zoo.split("test")) for zoo in zoos)
    with torch.no_grad():
        by_hand = [model(zoo.features(zoo.split("test"))).argmax(-1) for zoo in zoos]
    assert record.predictions == torch.cat(by_hand).tolist()


def test_an_epoch_takes_one_view_of_each_item() -> None:
    views = torch.tensor([7, 3, 7, 3, 3, 9])
    order = Order(len(views), batch=3, seed=0, views=views)
    epochs = [order.rows(step) for step in range(60)]
    assert all(sorted(views[rows].tolist()) == [3, 7, 9] for rows in epochs)
    assert torch.cat(epochs).unique().tolist() == [0, 1, 2, 3, 4, 5]
    again = Order(len(views), batch=3, seed=0, views=views)
    assert again.rows(42).equal(epochs[42])


def test_views_are_numbers_of_a_column(zoos: list[Zoo]) -> None:
    data = Splits.of(zoos[0], TASK, views="image")
    assert data.train.views is not None
    assert data.train.views.tolist() == zoos[0].column("image")[zoos[0].split("train")].tolist()
    with pytest.raises(DataError, match=r"column 'psnr' .* holds float\d+: expected integers"):
        Splits.of(zoos[0], TASK, views="psnr")
    with pytest.raises(DataError, match=r"views have shape \(2,\): expected \(3,\)"):
        Split(torch.zeros(3, 1), torch.zeros(3), torch.zeros(2, dtype=torch.int64))


def test_the_feed_keeps_the_order_and_stays_ahead() -> None:
    read: list[int] = []

    def slow(step: int) -> int:
        read.append(step)
        assert threading.current_thread() is not threading.main_thread()
        return step

    with feeding(slow, range(5, 50), ahead=True) as feed:
        assert next(feed) == 5
        patient = time.monotonic() + 10
        while len(read) < 3 and time.monotonic() < patient:
            time.sleep(0.001)
        assert read == [5, 6, 7]
        assert list(feed) == list(range(6, 50))


def test_what_reading_raises_reaches_the_step() -> None:
    def damaged(step: int) -> int:
        if step == 2:
            raise FormatError("shard 3 is damaged")
        return step

    with feeding(damaged, range(9), ahead=True) as feed:
        assert [next(feed), next(feed)] == [0, 1]
        with pytest.raises(FormatError, match="shard 3 is damaged"):
            next(feed)


def test_a_broken_off_feed_leaves_no_thread() -> None:
    before = threading.active_count()
    with suppress(KeyboardInterrupt), feeding(lambda step: step, range(9), ahead=True) as feed:
        next(feed)
        raise KeyboardInterrupt
    assert threading.active_count() == before


def test_scales_from_chunks_are_scales_from_all() -> None:
    from weightspace.layers import ParameterScale

    spec = spec_of(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1)))
    x = random_features(spec, 50)
    whole, parts = ParameterScale(spec).fit(x), ParameterScale(spec).fit(x[at : at + 20] for at in (0, 20, 40))
    torch.testing.assert_close(whole.rms, parts.rms)
    assert [len(part) for part in Split(x, torch.zeros(50)).chunks(20)] == [20, 20, 10]
