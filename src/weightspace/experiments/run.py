"""A run on a zoo, and its folder, which says all that is needed to use what was learnt.

.. code-block:: text

    settings.json       what makes the run this run: settings, task, model with preset and options, digest of the spec
    record.json         curves and results
    zoo.json            where the zoo lay, or all of several, and its checksum
    spec.json           the space of the networks that the model reads, or the list of all of several
    model/              the best model: by `models.save`, or the state of a model of one's own
    calibration.safetensors, evaluations/, checkpoints/
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import torch as files
from torch import nn

from weightspace import models
from weightspace.disk import staged, write_atomic
from weightspace.errors import FormatError, SpecError, TrainingError, WeightspaceError
from weightspace.experiments.choice import ModelChoice
from weightspace.experiments.spaces import Space, checksum_of, open_all, place_of, space_of, zoos_of
from weightspace.experiments.task import ZooTask, readout_of, task_from
from weightspace.models.construction import arguments
from weightspace.spec import NetworkSpec
from weightspace.spec.difference import difference
from weightspace.training import RunRecord, read_record
from weightspace.training.processes import accelerator
from weightspace.training.record import write_json
from weightspace.zoo import Zoo, open_zoo

__all__ = ["Run", "keep", "leads", "open_run", "read_json"]

SETTINGS, ZOO, SPEC, MODEL = "settings.json", "zoo.json", "spec.json", "model"
OWN, STATE = "own.json", "own.safetensors"
OWN_FORMAT, VERSION = "weightspace-own-model", 1


def leads() -> bool:
    """Whether this process is the one, of several that train together, which writes and prints."""
    together = torch.distributed.is_available() and torch.distributed.is_initialized()
    return (torch.distributed.get_rank() if together else int(os.environ.get("RANK", "0"))) == 0


def keep(model: nn.Module, choice: ModelChoice, zoo: Zoo | Sequence[Zoo], out: Path) -> None:
    """Put what was learnt into the folder of a run, beside its record; the same however often it is done.

    Args:
        model: with the best weights.
        choice: of the model.
        zoo: that it was trained on, or the zoos.
        out: the folder.

    Raises:
        StorageError: it cannot be written; each file is there whole or not at all.
    """
    zoos = zoos_of(zoo)
    space, places = space_of(zoos), [str(one.path.resolve()) for one in zoos]
    sizes = {name: sum(len(one.split(name)) for one in zoos) for name in ("train", "val", "test")}
    where = {"path": places[0]} if len(zoos) == 1 else {"paths": places}
    write_json(out / ZOO, {**where, "checksum": checksum_of(zoos), "networks": sizes})
    plain = [json.loads(spec.to_json()) for spec in space] if isinstance(space, tuple) else None
    text = space.to_json() if isinstance(space, NetworkSpec) else json.dumps(plain)
    write_atomic(out / SPEC, text.encode())
    if choice.packaged:
        models.save(model, out / MODEL)
        return
    content = files.save({name: value.detach().cpu().clone() for name, value in model.state_dict().items()})
    head = {"format": OWN_FORMAT, "version": VERSION, **choice.plain, "sha256": hashlib.sha256(content).hexdigest()}
    text = json.dumps(head, indent=1) + "\n"
    with staged(out / MODEL / STATE, content) as move_state, staged(out / MODEL / OWN, text.encode()) as move_head:
        move_state()
        move_head()


@dataclass(frozen=True)
class Run:
    """A finished run in its folder; made by `open_run`.

    Args:
        folder: of the run.
        description: settings.json.
        record: record.json.
        task: what was asked of the model.
        choice: the model.
        spec: the space of the networks that it reads, or those of several zoos.
        zoo_paths: where the zoo lay, or the zoos.
    """

    folder: Path
    description: Mapping[str, Any]
    record: RunRecord
    task: ZooTask
    choice: ModelChoice
    spec: Space
    zoo_paths: tuple[Path, ...]

    @property
    def specs(self) -> tuple[NetworkSpec, ...]:
        """The spaces of the networks that the model reads."""
        return (self.spec,) if isinstance(self.spec, NetworkSpec) else self.spec

    @property
    def batch(self) -> int:
        """Networks that the model answers for at once."""
        return int(self.description["settings"]["batch"])

    def model(self, given: str | None = None, *, device: str = "auto") -> nn.Module:
        """The best model of the run, in evaluation mode.

        Args:
            given: for a model of one's own its import path, `package.module:Model`, once more: what a file names is
                never imported, since importing runs code.
            device: cpu, cuda, or auto (cuda if there is one).

        Raises:
            TrainingError: a model of one's own that is not named again, or a model of the package that is; no such
                device.
            FormatError: files that are missing, damaged, or do not fit the model.
        """
        model = self._packaged_model(given) if self.choice.packaged else self._own_model(given)
        return model.to(accelerator(device)).eval()

    def _packaged_model(self, given: str | None) -> nn.Module:
        if given is not None and given != self.choice.name:
            raise TrainingError(f"the model of {self.folder} is {self.choice.name}, not {given}: leave the model out.")
        model = models.load(self.folder / MODEL)
        if arguments(model).get("spec") != self.spec:
            raise FormatError(f"{self.folder / MODEL} reads other networks than the run's: it is of another run.")
        return model

    def _own_model(self, given: str | None) -> nn.Module:
        path = self.folder / MODEL / STATE
        if given is None:
            raise TrainingError(
                f"the model of {self.folder} is {self.choice.name}: code, which is run only where you name it. Where "
                f"you trust it, give --model {self.choice.name}."
            )
        head = read_json(self.folder / MODEL / OWN)
        if head.get("format") != OWN_FORMAT or head.get("version") != VERSION:
            raise FormatError(f"{self.folder / MODEL / OWN} is not of format {OWN_FORMAT} {VERSION}: train again.")
        try:
            content = path.read_bytes()
            state = files.load(content)
        except (OSError, SafetensorError) as error:
            raise FormatError(f"{path} cannot be read ({error}): train again.") from error
        if hashlib.sha256(content).hexdigest() != head.get("sha256"):
            raise FormatError(f"{path} is damaged: its checksum is not that in {OWN}. Train again.")
        choice = ModelChoice(given, self.choice.preset, self.choice.options)
        model = choice.build(self.spec, readout_of(self.task), seed=0)
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise FormatError(f"{path} does not fit {given}: {error}. Give the model that was trained.") from error
        return model

    def zoo(self, path: Path | None = None) -> Zoo:
        """A zoo of the run's networks; by default the one that it was trained on, where it lay.

        Raises:
            FormatError: no zoo there, or several.
            SpecError: a zoo of other networks.
        """
        found = self.zoos(path)
        if len(found) > 1:
            raise FormatError(f"{place_of(found)} are several zoos; expected one. Remedy: choose one of them.")
        return found[0]

    def zoos(self, path: Path | None = None) -> tuple[Zoo, ...]:
        """The zoo in a folder, or the zoos of the collection in it; by default what the run was trained on.

        Raises:
            FormatError: no zoo there.
            SpecError: a zoo of other networks.
        """
        try:
            found = open_all(path) if path else tuple(open_zoo(place) for place in self.zoo_paths)
        except FormatError as error:
            if path is not None:
                raise
            raise FormatError(f"{error} The run was trained on a zoo there; give its new place.") from error
        for zoo in found:
            self.expect(zoo.spec, f"those of {zoo.path}")
        return found

    def expect(self, spec: NetworkSpec, which: str) -> None:
        """Refuse networks that the model does not read.

        Args:
            spec: their space.
            which: what they are, as it reads in a sentence.

        Raises:
            SpecError: another space, with the first difference.
        """
        if spec in self.specs:
            return
        many = f"networks of {len(self.specs)} other spaces; of the first, " if len(self.specs) > 1 else ""
        apart = many + difference(self.specs[0], spec, "the networks of the run", which)
        raise SpecError(f"the model of {self.folder} reads other networks: {apart}. Train a model for them.")


def open_run(folder: Path) -> Run:
    """The finished run in a folder.

    Raises:
        TrainingError: a run that has not finished.
        FormatError: no run there, one that was not made by `weightspace train`, or damaged files.

    Example:
        >>> open_run(Path("no/such/run"))
        Traceback (most recent call last):
        weightspace.errors.FormatError: no/such/run holds no run: settings.json cannot be read...
    """
    description = read_json(folder / SETTINGS, f"{folder} holds no run: ")
    about = description.get("about", {})
    if not isinstance(about, dict) or not isinstance(about.get("model"), dict):
        raise FormatError(
            f"{folder} does not say which model it trained: expected a run of `weightspace train`. Train again."
        )
    if not (folder / "record.json").exists():
        raise TrainingError(f"the run in {folder} has not finished: go on with it by the same `weightspace train`.")
    record = read_record(folder)
    if record.status != "finished":
        raise TrainingError(f"the run in {folder} has no model to use: {record.message}")
    try:
        chosen = ModelChoice(**about["model"])
        spec = _read_space(folder / SPEC, about["spec"])
        where = read_json(folder / ZOO)
        places = tuple(Path(place) for place in where.get("paths") or [where["path"]])
    except (OSError, KeyError, TypeError, ValueError, WeightspaceError) as error:
        raise FormatError(
            f"{folder} is not complete ({error}). Go on with it by the same `weightspace train`, which writes what is "
            "missing."
        ) from error
    task = task_from(description["task"], str(folder / SETTINGS))
    return Run(folder, description, record, task, chosen, spec, places)


def _read_space(path: Path, digests: str | list[str]) -> Space:
    """What the model of a run reads; `digests` are those in its settings.

    Raises:
        SpecError: a damaged file, or one of another run.
        OSError, ValueError: a file that cannot be read.
    """
    text = path.read_text()
    plain = json.loads(text)
    alone = isinstance(plain, dict)
    specs = (NetworkSpec.from_json(text),) if alone else tuple(NetworkSpec.from_json(json.dumps(one)) for one in plain)
    if [spec.digest for spec in specs] != ([digests] if isinstance(digests, str) else digests):
        raise SpecError("it is of another run")
    return specs[0] if alone else specs


def read_json(path: Path, ahead: str = "") -> dict[str, Any]:
    """An object in a JSON file. Raises `FormatError`, its message begun with `ahead`, where there is none."""
    try:
        plain = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise FormatError(f"{ahead}{path.name} cannot be read in {path.parent} ({why}).") from error
    if not isinstance(plain, dict):
        raise FormatError(f"{ahead}{path} holds a {type(plain).__name__}: expected an object with names.")
    return plain
