"""Kills a run that writes a zoo at points drawn from a seed, lets it go on, and compares every byte of what comes out.

A process of its own, because it forks; each run is a child that kills itself by SIGKILL at one of the calls that reach
the disk, in the middle of a file's content too. Prints what it did as JSON.

    python tests/zoo/killed.py SEED TRIALS [make take merge append]
"""

import hashlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random

import torch

import weightspace.disk
import weightspace.zoo.composition
import weightspace.zoo.generate.recipe
import weightspace.zoo.store
from weightspace.zoo import check, load_images, open_zoo
from weightspace.zoo.composition import append, merge, take
from weightspace.zoo.generate import SirenSettings, make_siren_zoo

SETTINGS = SirenSettings((3,), steps=2)
IMAGES = load_images("digits")


def made(path: Path, seed: int = 0) -> None:
    make_siren_zoo(path, IMAGES, SETTINGS, count=20, seed=seed)


def ways(root: Path) -> Mapping[str, Callable[[Path], object]]:
    """What is killed, each into a folder."""
    one, other = (root / name for name in "ab")
    made(one)
    make_siren_zoo(other, IMAGES, SirenSettings((3,), steps=2, seed=1), count=16)

    def appended(out: Path) -> None:
        made(out)
        append(out, open_zoo(other))

    return {
        "make": made,
        "take": lambda out: take(open_zoo(one).only(slice(2, 19)), out, dtype="bf16"),
        "merge": lambda out: merge([open_zoo(one), open_zoo(other)], out),
        "append": appended,
    }


class Points:
    """The calls that reach the disk, counted; the last of them ends the process."""

    def __init__(self, chance: Random, last: int | None) -> None:
        self.chance, self.last, self.passed = chance, last, 0
        for name in ("replace", "unlink", "mkdir"):
            setattr(os, name, self.counted(getattr(os, name)))
        # What a process wrote survives it without being synced, which would take most of the time here.
        os.fsync = self.counted(lambda _: None)
        weightspace.disk._fill = self.filled(weightspace.disk._fill)

    def ends(self) -> bool:
        self.passed += 1
        return self.passed == self.last

    def counted(self, call: Callable) -> Callable:
        def counting(*args: object, **kwargs: object) -> object:
            if self.ends():
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return counting

    def filled(self, fill: Callable[[Path, bytes], None]) -> Callable[[Path, bytes], None]:
        def filling(part: Path, content: bytes) -> None:
            if self.ends():
                part.write_bytes(content[: self.chance.randrange(len(content) + 1)])
                os.kill(os.getpid(), signal.SIGKILL)
            fill(part, content)

        return filling


def child(work: Callable[[Path], object], out: Path, chance: Random, last: int | None) -> tuple[bool, int]:
    """Whether a run in a child was killed, and how many points it passed."""
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        try:
            points = Points(chance, last)
            work(out)
            os.write(writing, str(points.passed).encode())
        except BaseException as failure:  # nothing may escape into the parent's code
            os.write(writing, repr(failure).encode())
            os._exit(1)
        os._exit(0)
    os.close(writing)
    _, status = os.waitpid(process, 0)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    if os.WIFSIGNALED(status):
        return True, 0
    if status:
        raise SystemExit(told.decode())
    return False, int(told)


def digest(path: Path) -> dict[str, str]:
    """Checksums of all files, but for what a killed run left half written."""
    files = [file for file in sorted(path.rglob("*")) if file.is_file()]
    return {str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def trials(work: Callable[[Path], object], root: Path, chance: Random, count: int) -> dict[str, int]:
    """Runs that are killed one to three times, against one that is not."""
    _, points = child(work, root / "whole" / "zoo", chance, None)
    expected, kills = digest(root / "whole" / "zoo"), 0
    for trial in range(count):
        out = root / str(trial) / "zoo"  # a card has the name of its folder
        for _ in range(chance.randrange(1, 4)):
            killed, _ = child(work, out, Random(chance.random()), chance.randrange(1, points + 1))
            kills += killed
            if (out / "zoo.json").exists():
                assert check(out) == [], check(out)
                open_zoo(out).features()
        child(work, out, chance, None)
        assert digest(out) == expected, (trial, sorted(set(digest(out).items()) ^ set(expected.items())))
    return {"files": len(expected), "points": points, "kills": kills}


@contextmanager
def careless(path: Path, content: bytes) -> Iterator[Callable[[], None]]:
    """A mutant of what writes files: straight into their places."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weightspace.disk._fill(path, content)
    yield lambda: None


def caught(work: Callable[[Path], object], root: Path, chance: Random, count: int) -> bool:
    """Whether a writer that is careless is found out."""
    # Writing over what a killed run left is no error of its own.
    fill = weightspace.disk._fill
    weightspace.disk._fill = lambda path, content: (path.unlink(missing_ok=True), fill(path, content))[1]
    weightspace.zoo.store.staged, staged = careless, weightspace.zoo.store.staged
    try:
        trials(work, root, chance, count)
    except AssertionError:
        return True
    finally:
        weightspace.zoo.store.staged, weightspace.disk._fill = staged, fill
    return False


def main(seed: int, count: int, kinds: Sequence[str]) -> dict[str, object]:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = ways(Path(folder))
        told: dict[str, object] = {
            kind: trials(found[kind], Path(folder) / kind, Random(f"{seed} {kind}"), count) for kind in kinds or found
        }
        told["mutant"] = caught(found["take"], Path(folder) / "mutant", Random(seed), 20)
        return told


if __name__ == "__main__":
    # Several shards of a few networks: the same paths in less time.
    weightspace.zoo.composition._SHARD_ROWS = 7
    weightspace.zoo.generate.recipe.SHARD = 7
    sys.stdout.write(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])))
