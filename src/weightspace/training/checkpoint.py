"""Checkpoints: one safetensors file each, written whole or not at all, and checked when read.

A file holds named tensors and, in its header, one JSON text: format, version, step, the best step so far, the state of
the run, and a checksum over all of it. Nothing in it is code.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from weightspace.disk import sweep, write_atomic
from weightspace.errors import FormatError

__all__ = ["Checkpoint", "Checkpoints"]

FORMAT, VERSION = "weightspace-checkpoint", 2


def _number_random_states(tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Version 1 knew one process, whose random states had no number."""
    for name in [name for name in tensors if name.startswith("random/")]:
        tensors[name.replace("random/", "random/0/")] = tensors.pop(name)


UPGRADES: Mapping[int, Callable[[dict[str, Tensor], dict[str, Any]], None]] = {1: _number_random_states}
"""What turns the contents of each version into those of the next."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """All that a run needs to go on from a step as if it had never stopped.

    Args:
        step: steps done.
        best: the step, up to this one, with the best validation score.
        tensors: model, optimiser and random state by name.
        state: everything else, as JSON values.
    """

    step: int
    best: int
    tensors: Mapping[str, Tensor]
    state: Mapping[str, Any]

    def to_bytes(self) -> bytes:
        """The contents of a checkpoint file."""
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        head = {"format": FORMAT, "version": VERSION, "step": self.step, "best": self.best, "state": self.state}
        text = json.dumps(head, sort_keys=True, allow_nan=False)
        return save(tensors, {"checkpoint": text, "sha256": _checksum(text, tensors)})

    @classmethod
    def read(cls, path: Path) -> "Checkpoint":
        """The checkpoint in a file.

        Raises:
            FormatError: when the file is missing, damaged, not a checkpoint, or of a later version.
        """
        try:
            with safe_open(path, framework="pt") as file:
                meta = file.metadata() or {}
                # Cloned, because the tensors are views into a file that may be replaced.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
            head = json.loads(meta["checkpoint"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise FormatError(f"{path} cannot be read as a checkpoint ({error or type(error).__name__}).") from error
        found = head.get("format"), head.get("version", 0)
        if found[0] != FORMAT or found[1] not in range(1, VERSION + 1):
            raise _Foreign(
                f"{path} is {found[0]} version {found[1]}: expected {FORMAT}, at most {VERSION}. "
                "Read it with the version of weightspace that wrote it, or a later one."
            )
        if meta.get("sha256") != _checksum(meta["checkpoint"], tensors):
            raise FormatError(f"{path} is damaged: its contents do not match its checksum.")
        for version in range(head["version"], VERSION):
            UPGRADES[version](tensors, head["state"])
        return cls(head["step"], head["best"], tensors, head["state"])


class _Foreign(FormatError):
    """A file that is whole, but not for this version: no reason to pass it over, or to train again."""


class Checkpoints:
    """The checkpoints of a run, a file per step: the last, the one before it, and the best up to each of these.

    Example:
        >>> import tempfile
        >>> files = Checkpoints(Path(tempfile.mkdtemp()))
        >>> for step in (10, 20, 30, 40):
        ...     files.write(Checkpoint(step, best=10, tensors={"weight": torch.ones(2)}, state={}))
        >>> [path.name for path in files.paths()]
        ['000000010.safetensors', '000000030.safetensors', '000000040.safetensors']
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: set[int] = set()

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step is."""
        return self._folder / f"{step:09d}.safetensors"

    def paths(self) -> list[Path]:
        """All checkpoint files, by step."""
        return sorted(self._folder.glob("*.safetensors"))

    def write(self, checkpoint: Checkpoint) -> None:
        """Add a checkpoint, and only then delete those that are no longer needed.

        Raises:
            StorageError: when it cannot be written; the earlier ones are untouched.
        """
        write_atomic(self.path(checkpoint.step), checkpoint.to_bytes())
        needed = {checkpoint.step, checkpoint.best}
        keep = {self.path(step) for step in needed | self._kept}
        self._kept = needed
        for path in self.paths():
            if path not in keep:
                path.unlink(missing_ok=True)
        sweep(self._folder)

    def rehearse(self, checkpoint: Checkpoint) -> None:
        """Write and delete, to learn what it costs."""
        path = self._folder / "rehearsal"
        write_atomic(path, checkpoint.to_bytes())
        path.unlink()

    def read(self, step: int) -> Checkpoint:
        """The checkpoint of a step.

        Raises:
            FormatError: when it is missing or damaged.
        """
        try:
            return Checkpoint.read(self.path(step))
        except _Foreign:
            raise
        except FormatError as error:
            raise FormatError(f"{error} Delete {self._folder.parent} and train again.") from error

    def latest(self) -> tuple[Checkpoint | None, str]:
        """The last good checkpoint whose best one is good as well, and what to tell the user of damaged files.

        The checkpoint is None when there are no files at all; the text is empty when none is damaged.

        Raises:
            FormatError: when there are files and none is good.
        """
        problems: list[str] = []
        for path in reversed(self.paths()):
            try:
                found = Checkpoint.read(path)
                if found.best != found.step:
                    Checkpoint.read(self.path(found.best))
            except _Foreign:
                raise
            except FormatError as error:
                problems.append(str(error))
                continue
            self._kept = {found.step, found.best}
            return found, f"{problems[0]} Going on from {path.name} instead." if problems else ""
        if problems:
            raise FormatError(
                f"{problems[0]} No other checkpoint is good: delete {self._folder.parent} and train again."
            )
        return None, ""


def _checksum(text: str, tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
