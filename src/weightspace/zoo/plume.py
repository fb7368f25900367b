"""How sets of smoke plumes lie on disk, and reading them.

.. code-block:: text

    plume.json                what is simulated: kind, settings, tasks, shape; and the digest of every file that is done
    runs/3_2.safetensors      one tensor "velocity" (frame, component, row, column) of the task (3, 2)

A file counts once the manifest has its digest; the manifest is written anew, at once or not at all, when files have
been added.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from weightspace.disk import LEFTOVER, sweep, write_atomic
from weightspace.errors import DataError, FormatError, ShapeError, unknown
from weightspace.zoo.format import read_stored
from weightspace.zoo.store import Problem
from weightspace.zoo.window import PROTOCOLS, Protocol, Task, Windows

__all__ = ["DTYPES", "MANIFEST_FILE", "PlumeManifest", "PlumeWriter", "Plumes", "check_plumes", "open_plumes"]

FORMAT = "weightspace-plumes"
VERSION = 1
MANIFEST_FILE = "plume.json"
RUN_FOLDER = "runs"
DTYPES = {"float32": torch.float32, "float16": torch.float16}
"""Types of stored frames."""

_TENSOR = "velocity"
_STORED = {"float32": ("F32", "<f4"), "float16": ("F16", "<f2")}
_AGAIN = "Remedy: `weightspace zoo make plume` with the same settings simulates just what is missing or damaged."


@dataclass(frozen=True, kw_only=True)
class PlumeManifest:
    """What a set of plumes is, and which of its runs are done.

    Args:
        kind: translation, rotation, scale or levels.
        settings: that it was made with, as JSON knows them.
        tasks: the numbers of each run.
        shape: of each run: frames, 2, rows, columns.
        dtype: float32 or float16.
        files: sha256 and size in bytes of each file that is done, by its name. All else is the set's identity.

    Example:
        >>> manifest = PlumeManifest(kind="rotation", settings={}, tasks=((1, 0),), shape=(5, 2, 8, 8))
        >>> PlumeManifest.from_json(manifest.to_json()) == manifest
        True
    """

    kind: str
    settings: Mapping[str, Any]
    tasks: tuple[Task, ...]
    shape: tuple[int, int, int, int]
    dtype: str = "float32"
    files: Mapping[str, tuple[str, int]] = field(default_factory=dict)

    def identity(self) -> dict[str, Any]:
        """The entries that make a set this set, as JSON values."""
        entries = {
            "format": FORMAT,
            "version": VERSION,
            "kind": self.kind,
            "settings": dict(self.settings),
            "tasks": self.tasks,
            "shape": self.shape,
            "dtype": self.dtype,
        }
        plain: dict[str, Any] = json.loads(json.dumps(entries))
        return plain

    def to_json(self) -> str:
        """The text of ``plume.json``."""
        return json.dumps({**self.identity(), "files": dict(self.files)}, indent=1) + "\n"

    @staticmethod
    def from_json(text: str | bytes) -> "PlumeManifest":
        """The manifest that :meth:`to_json` wrote.

        Raises:
            FormatError: not JSON, another format, a newer version, or an entry missing.
        """
        try:
            plain = json.loads(text)
        except ValueError as failure:
            raise FormatError(
                f"not JSON ({failure}). Remedy: restore it, or make the set in a new folder."
            ) from failure
        if not isinstance(plain, dict) or plain.get("format") != FORMAT:
            raise FormatError(f'not the manifest of plumes: it has no entry "format": "{FORMAT}".')
        if plain.get("version") != VERSION:
            raise FormatError(
                f"plume format {plain.get('version')!r}; this weightspace reads format {VERSION}. "
                f"Remedy: upgrade weightspace, or make the set in another folder with this one."
            )
        try:
            return _manifest(plain)
        except (KeyError, TypeError, ValueError, AttributeError) as failure:
            raise FormatError(
                f"entry missing or damaged: {failure!r}. Remedy: restore it, or make the set in a new folder."
            ) from failure


def _manifest(plain: Mapping[str, Any]) -> PlumeManifest:
    frames, components, height, width = map(int, plain["shape"])
    if plain["dtype"] not in DTYPES:
        raise ValueError(f"dtype {plain['dtype']!r}")
    return PlumeManifest(
        kind=str(plain["kind"]),
        settings=dict(plain["settings"]),
        tasks=tuple(tuple(map(int, task)) for task in plain["tasks"]),
        shape=(frames, components, height, width),
        dtype=plain["dtype"],
        files={str(name): (str(digest), int(size)) for name, (digest, size) in plain["files"].items()},
    )


class PlumeWriter:
    """Writes a set of plumes run by run, or goes on with one. Runs that are damaged do not count as done.

    Args:
        path: the folder; made where it does not exist.
        manifest: what the set is. A set that is there must be the same.

    Raises:
        FormatError: the folder holds another set, or something else.
        StorageError: the folder cannot be written.

    Example:
        >>> import tempfile
        >>> manifest = PlumeManifest(kind="rotation", settings={}, tasks=((1, 0), (2, 1)), shape=(5, 2, 8, 8))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     PlumeWriter(folder, manifest).write({(1, 0): torch.zeros(5, 2, 8, 8)})
        ...     PlumeWriter(folder, manifest).done
        frozenset({(1, 0)})
    """

    def __init__(self, path: str | Path, manifest: PlumeManifest) -> None:
        self.path = Path(path)
        known = _existing(self.path, manifest)
        for folder in (self.path, self.path / RUN_FOLDER):
            sweep(folder)
        files = known.files if known is not None else {}
        self.manifest = replace(manifest, files={name: files[name] for name in files if _sound(self.path, known, name)})
        if known is None or known.files != self.manifest.files:
            write_atomic(self.path / MANIFEST_FILE, self.manifest.to_json().encode())

    @property
    def done(self) -> frozenset[Task]:
        """The tasks whose runs are there and sound."""
        return frozenset(task for task in self.manifest.tasks if _name(task) in self.manifest.files)

    def write(self, runs: Mapping[Task, Tensor]) -> None:
        """Commits runs, all of them or none.

        Shapes:
            runs: ``(frame, 2, row, column)`` each.

        Raises:
            ShapeError: frames of another shape or type than the manifest says.
            DataError: a task that the set does not have, or velocities that are not finite.
            StorageError: the disk is full or may not be written. The other runs are unharmed.
        """
        files = dict(self.manifest.files)
        for task, frames in runs.items():
            _check_frames(self.manifest, task, frames)
            content = save({_TENSOR: frames.contiguous()})
            write_atomic(self.path / RUN_FOLDER / _name(task), content)
            files[_name(task)] = (hashlib.sha256(content).hexdigest(), len(content))
        manifest = replace(self.manifest, files=files)
        write_atomic(self.path / MANIFEST_FILE, manifest.to_json().encode())
        self.manifest = manifest


class Plumes:
    """A set of plumes on disk; made by :func:`open_plumes`.

    Args:
        path: the folder.
        manifest: what the set is.

    Attributes:
        manifest: what the set is and how it was made.
    """

    def __init__(self, path: Path, manifest: PlumeManifest) -> None:
        self.path = path
        self.manifest = manifest
        self._mapped: dict[Task, np.ndarray] = {}

    def __repr__(self) -> str:
        frames, _, height, width = self.manifest.shape
        planned = len(self.manifest.tasks)
        count = f"{len(self.tasks)}" + (f" of {planned} planned" if planned > len(self.tasks) else "")
        return f"Plumes({str(self.path)!r}: {count} {self.manifest.kind} runs, {frames} frames of {height} x {width})"

    def __reduce__(self) -> tuple[object, ...]:
        # A worker process maps the files itself; the frames do not travel.
        return open_plumes, (self.path,)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The numbers of each run that is there."""
        return tuple(task for task in self.manifest.tasks if _name(task) in self.manifest.files)

    @property
    def protocol(self) -> Protocol:
        """How the set is cut into windows by default.

        Raises:
            UnknownNameError: a kind without one.
        """
        if self.manifest.kind not in PROTOCOLS:
            raise unknown("kind of plumes", self.manifest.kind, PROTOCOLS)
        return PROTOCOLS[self.manifest.kind]

    def frames(self, task: Task) -> np.ndarray:
        """Velocity of one run, mapped from the disk and not to be written to; verified in full when first asked for.

        Entry ``[t, 0, i, j]`` is the x component on the left face of the cell in row ``i`` and column ``j``,
        ``[t, 1, i, j]`` the y component on the face towards row ``i - 1``.

        Shapes:
            result: ``(frame, 2, row, column)``.

        Raises:
            DataError: a task that the set does not have, or that is not simulated yet.
            FormatError: its file is missing or damaged.
        """
        if task not in self._mapped:
            if task not in self.manifest.tasks:
                raise DataError(f"task {task} is not among those of {self!r}: {_listed(self.manifest.tasks)}.")
            if task not in self.tasks:
                raise DataError(f"task {task} of {self!r} is not simulated yet. {_AGAIN}")
            offset = _verified(self.path, self.manifest, _name(task))
            kind, file = _STORED[self.manifest.dtype][1], self.path / RUN_FOLDER / _name(task)
            self._mapped[task] = np.asarray(np.memmap(file, kind, "r", offset=offset, shape=self.manifest.shape))
        return self._mapped[task]

    def windows(
        self,
        part: str,
        *,
        outputs: int | None = None,
        protocol: Protocol | None = None,
        tasks: Sequence[Task] | None = None,
    ) -> Windows:
        """Pairs of past and next frames of one part of the set.

        Args:
            part: ``train``, ``valid``, ``future`` (later frames of the tasks trained on) or ``domain`` (other tasks).
            outputs: how many next frames; by default as the protocol has it for the part.
            protocol: how the set is cut; by default :attr:`protocol`.
            tasks: the tasks that count, in place of the protocol's.

        Raises:
            UnknownNameError: a part that the protocol does not have.
            DataError: a task that is not there, or runs that are too short for the protocol.
        """
        return (protocol or self.protocol).windows(self.frames, self.manifest.tasks, part, outputs, tasks)


def open_plumes(path: str | Path) -> Plumes:
    """A set of plumes on disk, ready to read; one that is still being made opens with the runs it has.

    Args:
        path: the folder.

    Raises:
        FormatError: no plumes there, a damaged manifest, or one of a newer version.

    Example:
        >>> from weightspace.errors import FormatError
        >>> try:
        ...     open_plumes("no/such/folder")
        ... except FormatError as failure:
        ...     print(failure)
        no/such/folder holds no plume.json; expected a set of plumes. Remedy: `weightspace zoo make plume` makes one.
    """
    return Plumes(Path(path), _read(Path(path)))


def check_plumes(path: str | Path) -> list[Problem]:
    """Everything that is wrong with the runs of a set, every byte of them read.

    Raises:
        FormatError: no plumes there, or their manifest cannot be read.
    """
    root, problems = Path(path), []
    manifest = _read(root)
    for number, task in enumerate(manifest.tasks):
        if _name(task) in manifest.files:
            try:
                _verified(root, manifest, _name(task))
            except FormatError as failure:
                problems.append(Problem(number, str(failure)))
    return problems


def _name(task: Task) -> str:
    return "_".join(map(str, task)) + ".safetensors"


def _listed(tasks: Sequence[Task]) -> str:
    return ", ".join(map(str, tasks))


def _read(path: Path) -> PlumeManifest:
    file = path / MANIFEST_FILE
    if not file.is_file():
        raise FormatError(
            f"{path} holds no {MANIFEST_FILE}; expected a set of plumes. "
            f"Remedy: `weightspace zoo make plume` makes one."
        )
    try:
        return PlumeManifest.from_json(file.read_bytes())
    except OSError as failure:
        raise FormatError(f"cannot read {file}: {failure.strerror}. Remedy: make it readable for you.") from failure
    except FormatError as failure:
        raise FormatError(f"cannot read {file}: {failure}") from failure


def _existing(path: Path, manifest: PlumeManifest) -> PlumeManifest | None:
    """The manifest of a set to go on with, None where a new one may be made."""
    if (path / MANIFEST_FILE).exists():
        known = _read(path)
        here, there = manifest.identity(), known.identity()
        told = [
            f"{name} is {there[name]!r} there and {here[name]!r} here" for name in here if here[name] != there[name]
        ]
        if told:
            raise FormatError(
                f"{path} holds plumes that were made otherwise: {'; '.join(told)}. "
                f"Remedy: use the settings of that set to go on with it, or give another folder."
            )
        return known
    if path.exists() and not path.is_dir():
        raise FormatError(f"{path} is a file; expected a folder for the plumes. Remedy: give another path.")
    foreign = [entry.name for entry in sorted(path.iterdir()) if _foreign(entry)] if path.exists() else []
    if foreign:
        raise FormatError(
            f"{path} is no set of plumes (no {MANIFEST_FILE}) but holds {foreign[0]}; nothing was touched. "
            f"Remedy: give a new or empty folder."
        )
    return None


def _foreign(entry: Path) -> bool:
    return not entry.name.endswith(LEFTOVER)


def _sound(path: Path, manifest: PlumeManifest | None, name: str) -> bool:
    with contextlib.suppress(FormatError):
        return manifest is not None and _verified(path, manifest, name) > 0
    return False


def _verified(path: Path, manifest: PlumeManifest, name: str) -> int:
    """Where the values of a run begin in its file, after every byte was compared with what the manifest says.

    Raises:
        FormatError: the file is missing, cut short, damaged, or holds something else.
    """
    file, (digest, size) = path / RUN_FOLDER / name, manifest.files[name]
    try:
        found = file.stat().st_size
        if found != size:
            raise FormatError(f"{found:,} bytes; expected {size:,}")
        with file.open("rb") as content:
            told = hashlib.file_digest(content, "sha256").hexdigest()
        if told != digest:
            raise FormatError(f"sha256 {told[:16]}...; expected {digest[:16]}...")
        stored = read_stored(file, _TENSOR)
        expected = (_STORED[manifest.dtype][0], manifest.shape)
        if (stored.dtype, stored.shape) != expected:
            raise FormatError(f"values {(stored.dtype, stored.shape)}; expected {expected}")
    except (FormatError, OSError) as failure:
        raise FormatError(f"run {file} is damaged: {failure}. {_AGAIN}") from failure
    return stored.offset


def _check_frames(manifest: PlumeManifest, task: Task, frames: Tensor) -> None:
    if task not in manifest.tasks:
        raise DataError(f"task {task} is not among those of the set: {_listed(manifest.tasks)}.")
    expected = (manifest.shape, DTYPES[manifest.dtype])
    if (tuple(frames.shape), frames.dtype) != expected:
        raise ShapeError(f"frames of task {task} are {(tuple(frames.shape), frames.dtype)}; expected {expected}.")
    if not frames.isfinite().all():
        raise DataError(f"frames of task {task} hold values that are not finite. Remedy: store float32, not float16.")
