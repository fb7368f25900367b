"""The Small CNN Zoo in the very form in which it is published, and in every form in which it may arrive broken."""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.oracles.tensorflow import small_cnn

from weightspace.errors import DataError, FormatError, SpecError, UnknownNameError, WeightspaceError
from weightspace.spec import PERMUTATION, POSITIVE, SIGN
from weightspace.weights import flatten
from weightspace.zoo import open_zoo
from weightspace.zoo.format import rows_digest
from weightspace.zoo.generate import modules
from weightspace.zoo.readers import ImportSettings, import_zoo, transfer
from weightspace.zoo.readers import small_cnn as reader

LAYOUT = [
    ("sequential/conv2d/bias:0", (16,)),
    ("sequential/conv2d/kernel:0", (3, 3, 1, 16)),
    ("sequential/conv2d_1/bias:0", (16,)),
    ("sequential/conv2d_1/kernel:0", (3, 3, 16, 16)),
    ("sequential/conv2d_2/bias:0", (16,)),
    ("sequential/conv2d_2/kernel:0", (3, 3, 16, 16)),
    ("sequential/dense/bias:0", (10,)),
    ("sequential/dense/kernel:0", (16, 10)),
]
STEPS = (0, 1, 86)
RUNS = 12
RELU = ImportSettings(activation="relu")


class Published:
    """Twelve runs with three checkpoints each; every third of tanh."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.weights = np.random.default_rng(0).normal(size=(RUNS * len(STEPS), 4970)).astype(np.float32) * 0.3
        self.rows = [(run, step) for run in range(RUNS) for step in STEPS]
        np.save(root / "weights.npy", self.weights)
        self.write_layout()
        self.write_metrics()

    def write_layout(self, layout=LAYOUT) -> None:
        lines, start = ["varname,start_idx,end_idx,shape"], 0
        for name, shape in layout:
            stop = start + int(np.prod(shape))
            lines.append(f'{name},{start},{stop},"{shape}"')
            start = stop
        (self.root / "layout.csv").write_text("\n".join(lines) + "\n")

    def metrics(self) -> list[str]:
        names = "config.activation,config.learning_rate,config.init_std,modeldir,step,test_accuracy,train_accuracy"
        lines = [names]
        for run, step in self.rows:
            kind, deviation = self.activation(run), "" if run % 2 else 0.1
            lines.append(f"{kind},{0.01 * (run + 1)},{deviation},/runs/{run},{step},{(run + step) / 100},0.5")
        return lines

    def write_metrics(self, lines: list[str] | None = None) -> None:
        text = "\n".join(self.metrics() if lines is None else lines) + "\n"
        (self.root / "metrics.csv.gz").write_bytes(gzip.compress(text.encode()))

    @staticmethod
    def activation(run: int) -> str:
        return "tanh" if run % 3 == 2 else "relu"

    def write_split(self, header: str = "0") -> tuple[Path, list[int]]:
        order = list(range(len(self.rows)))
        random.Random(3).shuffle(order)
        path = self.root.parent / "split.csv"
        path.write_text("\n".join([header, *map(str, order)]) + "\n")
        return path, order


@pytest.fixture
def published(tmp_path: Path) -> Published:
    return Published(tmp_path / "cifar10")


def logits(zoo, row: int, image: np.ndarray) -> np.ndarray:
    (network,) = modules(zoo, row)
    return network.double()(torch.from_numpy(image)[None, None])[0].detach().numpy()


@pytest.mark.parametrize(("kind", "function"), [("relu", lambda x: np.maximum(x, 0)), ("tanh", np.tanh)])
def test_networks_compute_what_they_computed(published: Published, tmp_path: Path, kind: str, function) -> None:
    zoo = import_zoo("small-cnn-zoo", published.root, tmp_path / "zoo", ImportSettings(activation=kind))
    image = np.random.default_rng(1).normal(size=(15, 15))
    for row in (0, len(zoo) - 1):
        flat = published.weights[zoo.column("number")[row]]
        assert np.abs(logits(zoo, row, image) - small_cnn(flat, LAYOUT, image, function)).max() < 1e-9
    assert {axis.symmetry for axis in zoo.spec.free_axes} == {POSITIVE if kind == "relu" else SIGN}


@pytest.mark.parametrize(
    ("turned", "told"),
    [
        ({4: (3, 2, 1, 0)}, None),
        ({4: (2, 3, 0, 1)}, "in torch's order of axes"),
        ({2: (0, 1)}, "in torch's order of axes"),
    ],
)
def test_a_wrong_order_of_axes_is_seen(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, turned: dict, told: str | None
) -> None:
    """Mutants: height and width exchanged, inputs and outputs exchanged, a dense layer left as it was."""
    monkeypatch.setattr(reader, "_TURNED", reader._TURNED | turned)
    image = np.random.default_rng(1).normal(size=(15, 15))
    if told is not None:
        with pytest.raises(FormatError, match=told):
            import_zoo("small-cnn-zoo", published.root, tmp_path / "zoo", RELU)
        return
    zoo = import_zoo("small-cnn-zoo", published.root, tmp_path / "zoo", RELU)
    oracle = small_cnn(published.weights[0], LAYOUT, image, lambda x: np.maximum(x, 0))
    assert np.abs(logits(zoo, 0, image) - oracle).max() > 1e-3


def test_the_table_keeps_what_is_known(published: Published, tmp_path: Path) -> None:
    zoo = import_zoo("small-cnn-zoo", published.root, tmp_path / "zoo", RELU)
    rows = [row for row, (run, _) in enumerate(published.rows) if published.activation(run) == "relu"]
    assert zoo.column("number").tolist() == rows
    assert zoo.column("step").tolist() == [published.rows[row][1] for row in rows]
    assert zoo.column("checkpoint").tolist() == [0, 1, 2] * 8
    assert zoo.column("final").tolist() == [False, False, True] * 8
    assert np.allclose(zoo.column("learning_rate"), [0.01 * (published.rows[row][0] + 1) for row in rows])
    assert np.isnan(zoo.column("init_std")).tolist() == [published.rows[row][0] % 2 == 1 for row in rows]
    assert np.allclose(zoo.column("gap"), 0.5 - zoo.column("test_accuracy"))
    assert zoo.column("modeldir")[0] == "/runs/0"
    assert not zoo.column("diverged").any()
    told = zoo.manifest.source
    assert (told["networks"], told["imported"]) == (36, 24)
    assert set(told["described"]) == {"weights.npy", "layout.csv", "metrics.csv.gz"}
    assert zoo.manifest.recipe == "small-cnn-zoo"


def test_checkpoints_of_a_run_share_a_split(published: Published, tmp_path: Path) -> None:
    zoo = import_zoo(
        "small-cnn-zoo", published.root, tmp_path / "zoo", ImportSettings("any", fractions=(0.4, 0.3, 0.3))
    )
    assert len(set(zip(zoo.column("network"), zoo.column("split"), strict=True))) == RUNS
    assert set(zoo.column("split")) == {"train", "val", "test"}
    assert {axis.symmetry for axis in zoo.spec.free_axes} == {PERMUTATION}
    with pytest.raises(SpecError, match="Remedy: give a module"):
        modules(zoo, 0)


def split_of_publication(order: list[int], published: Published) -> dict[int, str]:
    """The published program, line by line: of rows in this order the last checkpoints, halves, shuffled and cut."""
    final = [row for row in order if published.rows[row][1] == 86]
    half = int(0.5 * len(final))
    first = list(range(half))
    cut = int(0.8 * len(first))
    random.Random(0).shuffle(first)
    splits = {final[place]: "test" for place in range(half, len(final))}
    splits |= {final[place]: "train" for place in first[:cut]}
    return splits | {final[place]: "val" for place in first[cut:]}


@pytest.mark.parametrize("kind", ["relu", "any"])
def test_the_published_split_is_kept(published: Published, tmp_path: Path, kind: str) -> None:
    path, order = published.write_split()
    settings = ImportSettings(activation=kind, split=path, final=True)
    zoo = import_zoo("small-cnn-zoo", published.root, tmp_path / "zoo", settings)
    found = dict(zip(zoo.column("number").tolist(), zoo.column("split").tolist(), strict=True))
    # The header is row 0 for the published program, which is no last checkpoint here.
    expected = split_of_publication([0, *order], published)
    chosen = {row for row, (run, _) in enumerate(published.rows) if kind == "any" or published.activation(run) == kind}
    assert found == {row: split for row, split in expected.items() if row in chosen}
    whole = import_zoo("small-cnn-zoo", published.root, tmp_path / "whole", ImportSettings(kind, split=path))
    assert set(whole.column("number")) == chosen
    for number, split in zip(whole.column("number").tolist(), whole.column("split").tolist(), strict=True):
        assert split == expected[number - number % 3 + 2]
    assert whole.manifest.settings["split"] == "split.csv"
    assert "split.csv" in whole.manifest.source["described"]


def test_the_published_split_of_many_networks(tmp_path: Path, published: Published) -> None:
    """A hundred networks of one checkpoint each, with a header that is no row of theirs."""
    order = [0, *random.Random(5).sample(range(1, 101), 100)]
    (tmp_path / "split.csv").write_text("\n".join(map(str, order)) + "\n")
    found = reader._published(tmp_path / "split.csv", np.arange(101), np.arange(101) > 0)
    published.rows = [(row, 86 if row else 0) for row in range(101)]
    expected = split_of_publication(order, published)
    assert found.tolist() == ["", *(expected[row] for row in range(1, 101))]
    assert [(found == name).sum() for name in ("train", "val", "test")] == [40, 10, 50]


def test_a_last_checkpoint_that_stands_twice_stays_in_test(published: Published, tmp_path: Path) -> None:
    """As where the header happens to be one: the order counts it twice, but a network has one split."""
    path = tmp_path / "split.csv"
    path.write_text("\n".join(map(str, [2, *reversed(range(36))])) + "\n")
    zoo = import_zoo("small-cnn-zoo", published.root, tmp_path / "zoo", ImportSettings("any", split=path))
    assert len(set(zip(zoo.column("network"), zoo.column("split"), strict=True))) == RUNS
    assert zoo.column("split")[2] == "test"


def test_what_did_not_stay_finite_is_marked(published: Published, tmp_path: Path) -> None:
    published.weights[4, 7] = np.nan
    np.save(published.root / "weights.npy", published.weights)
    zoo = import_zoo("small-cnn-zoo", published.root, tmp_path / "zoo", RELU)
    assert np.flatnonzero(zoo.column("diverged")).tolist() == [4]


def test_layout_in_another_order(published: Published, tmp_path: Path) -> None:
    """Kernels ahead of biases: the layout says where each variable lies."""
    before = import_zoo("small-cnn-zoo", published.root, tmp_path / "a", RELU)
    order = [1, 0, 3, 2, 5, 4, 7, 6]
    starts = np.cumsum([0, *(int(np.prod(shape)) for _, shape in LAYOUT)])
    columns = np.concatenate([np.arange(starts[place], starts[place + 1]) for place in order])
    np.save(published.root / "weights.npy", np.asfortranarray(published.weights[:, columns].astype(np.float64)))
    published.write_layout([LAYOUT[place] for place in order])
    after = import_zoo("small-cnn-zoo", published.root, tmp_path / "b", RELU)
    assert torch.equal(flatten(before.features()), flatten(after.features()))


# Sources that are damaged


def cut(root: Path) -> None:
    path = root / "weights.npy"
    path.write_bytes(path.read_bytes()[:-100])


def pickled(root: Path) -> None:
    np.save(root / "weights.npy", np.array([{"no": "numbers"}], dtype=object), allow_pickle=True)


def fewer(root: Path) -> None:
    np.save(root / "weights.npy", np.load(root / "weights.npy")[:-1])


def narrower(root: Path) -> None:
    np.save(root / "weights.npy", np.load(root / "weights.npy")[:, :-1])


def whole_numbers(root: Path) -> None:
    np.save(root / "weights.npy", np.load(root / "weights.npy").astype(np.int32))


def halved(root: Path) -> None:
    path = root / "metrics.csv.gz"
    path.write_bytes(path.read_bytes()[:-40])


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(root: Path) -> None:
        path = root / name
        packed = name.endswith(".gz")
        text = gzip.decompress(path.read_bytes()).decode() if packed else path.read_text()
        assert old in text
        text = text.replace(old, new, 1)
        path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())

    return change


def outside(root: Path) -> None:
    (root.parent / "elsewhere.npy").write_bytes((root / "weights.npy").read_bytes())
    (root / "weights.npy").unlink()
    (root / "weights.npy").symlink_to(root.parent / "elsewhere.npy")


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (cut, "weights.npy is cut short or no file of numbers"),
        (pickled, "an archive of Python objects is not read"),
        (fewer, "36 rows and .*weights.npy 35"),
        (narrower, r"shape \(36, 4969\); expected floating point numbers, 4970 columns"),
        (whole_numbers, "holds int32"),
        (halved, "metrics.csv.gz cannot be read as a csv file"),
        (edit("metrics.csv.gz", "modeldir", "model_dir"), "no column 'modeldir'; the nearest is 'model_dir'"),
        (edit("metrics.csv.gz", ",86,", ",soon,"), "column 'step' holds something that is no int64"),
        (edit("metrics.csv.gz", "/runs/0,1,", "/runs/0,0,"), "has step 0 of run 0 2 times"),
        (edit("metrics.csv.gz", "train_accuracy", "test_accuracy"), "has the column 'test_accuracy' twice"),
        (
            edit("layout.csv", "dense/kernel:0", "dense/gamma:0"),
            "'sequential/dense/gamma:0'.*end in kernel:0 or bias:0",
        ),
        (
            edit("layout.csv", "conv2d_1/kernel:0", "conv2d_7/kernel:0"),
            "expected a kernel:0 and a bias:0 for each of 4",
        ),
        (edit("layout.csv", '"(3, 3, 1, 16)"', '"(3, 3, 16, 1)"'), "in torch's order of axes; the network has"),
        (edit("layout.csv", '"(16, 10)"', "\"(__import__('os'),)\""), "expected a shape such as"),
        (edit("layout.csv", ",160,176,", ",161,177,"), "overlap or leave gaps"),
        (outside, "is a link to .*elsewhere.npy, out of"),
        (lambda root: (root / "layout.csv").unlink(), "layout.csv cannot be read"),
        (lambda root: (root / "metrics.csv.gz").unlink(), "metrics.csv.gz cannot be read"),
    ],
)
def test_damaged_sources(published: Published, tmp_path: Path, spoil: Callable[[Path], None], told: str) -> None:
    spoil(published.root)
    with pytest.raises(FormatError, match=told):
        import_zoo("small-cnn-zoo", published.root, tmp_path / "zoo", RELU)
    assert not (tmp_path / "zoo").exists()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "several activations .24 of relu, 12 of tanh."),
        ({"activation": "rely"}, 'did you mean "relu"'),
        ({"activation": "relu", "count": 25}, "holds 24 networks .* expected 25"),
        ({"activation": "relu", "labels": Path("labels.csv")}, "takes no labels"),
    ],
)
def test_settings_that_do_not_fit(published: Published, tmp_path: Path, settings: dict, told: str) -> None:
    with pytest.raises((SpecError, FormatError, DataError, UnknownNameError), match=told):
        import_zoo("small-cnn-zoo", published.root, tmp_path / "zoo", ImportSettings(**settings))


@pytest.mark.parametrize(("line", "told"), [("36", "names row 36"), ("-1", "names row -1"), ("x", "no int64")])
def test_splits_of_another_source(published: Published, tmp_path: Path, line: str, told: str) -> None:
    path, _ = published.write_split(header=line)
    with pytest.raises(FormatError, match=told):
        import_zoo("small-cnn-zoo", published.root, tmp_path / "zoo", ImportSettings("relu", split=path))


def test_a_split_that_is_kept_is_not_drawn(published: Published, tmp_path: Path) -> None:
    path, _ = published.write_split()
    with pytest.raises(DataError, match="split, which is kept; seed would not count"):
        import_zoo("small-cnn-zoo", published.root, tmp_path / "zoo", ImportSettings("relu", split=path, seed=1))


# Shard by shard


def test_goes_on_where_it_stopped(published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_SHARD_ROWS", 10)
    told: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        told.append((done, total))
        if len(told) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        import_zoo("small-cnn-zoo", published.root, tmp_path / "zoo", RELU, progress=stop)
    assert told == [(10, 24), (20, 24)]
    assert len(open_zoo(tmp_path / "zoo")) == 20
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "zoo" / "shards").iterdir()}
    zoo = import_zoo("small-cnn-zoo", published.root, tmp_path / "zoo", RELU)
    assert len(zoo) == 24
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    monkeypatch.setattr(transfer, "_SHARD_ROWS", 4096)
    # Shards of another size would leave the old ones behind the new: the same networks twice.
    with pytest.raises(FormatError, match="settings.shard is 10 there and"):
        import_zoo("small-cnn-zoo", published.root, tmp_path / "zoo", RELU)
    once = import_zoo("small-cnn-zoo", published.root, tmp_path / "once", RELU)
    assert torch.equal(flatten(once.features()), flatten(zoo.features()))
    assert rows_digest(once.table) == rows_digest(zoo.table)


def test_another_source_or_other_settings_are_refused(published: Published, tmp_path: Path) -> None:
    import_zoo("small-cnn-zoo", published.root, tmp_path / "zoo", RELU)
    before = open_zoo(tmp_path / "zoo").checksum
    with pytest.raises(FormatError, match="settings.final is False there and True here"):
        import_zoo("small-cnn-zoo", published.root, tmp_path / "zoo", ImportSettings("relu", final=True))
    np.save(published.root / "weights.npy", published.weights + 1)
    with pytest.raises(FormatError, match=r"source.described.weights.npy is"):
        import_zoo("small-cnn-zoo", published.root, tmp_path / "zoo", RELU)
    assert open_zoo(tmp_path / "zoo").checksum == before


def test_weights_are_never_held_in_full(published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are taken from the mapped file at most a shard at a time."""
    monkeypatch.setattr(transfer, "_SHARD_BYTES", 5 * 4 * 4970)
    sizes: list[int] = []
    real = reader._read
    monkeypatch.setattr(reader, "_read", lambda *a: sizes.append(len(a[-1])) or real(*a))
    mapped: list[type] = []
    load = np.load
    monkeypatch.setattr(np, "load", lambda *a, **k: mapped.append(type(load(*a, **k))) or load(*a, **k))
    import_zoo("small-cnn-zoo", published.root, tmp_path / "zoo", RELU)
    assert sizes == [5, 5, 5, 5, 4]
    assert mapped == [np.memmap]


def test_errors_are_those_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for source in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(WeightspaceError, match="Remedy"):
            import_zoo("small-cnn-zoo", source, tmp_path / "zoo")
    with pytest.raises(UnknownNameError, match='did you mean "small-cnn-zoo"'):
        import_zoo("small-cnn", tmp_path, tmp_path / "zoo")
    with pytest.raises(DataError, match="would lie in its source"):
        import_zoo("small-cnn-zoo", tmp_path, tmp_path / "zoo")
