"""The demo: from real images to networks fitted to them, to models that read those networks, to one fair table."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from weightspace import models
from weightspace.disk import write_atomic
from weightspace.errors import DataError, FormatError, unknown
from weightspace.experiments.equivalent import change_under
from weightspace.experiments.picture import orbit_walk, tied_entries
from weightspace.experiments.record import DemoRecord, ModelResult, read_demo
from weightspace.gauge.phase import fold_phases, phases, shift_phases
from weightspace.layers import permutation_spec
from weightspace.spec import spec_of
from weightspace.tasks import Classify
from weightspace.training import Pace, Splits, TrainSettings, train
from weightspace.training.record import peak_memory
from weightspace.weights import WeightFeatures, act, sample_element
from weightspace.zoo import Images, Zoo, load_or_digits
from weightspace.zoo.generate import SirenSettings, make_siren_zoo, render
from weightspace.zoo.generate.siren import siren

__all__ = ["MODELS", "DemoSettings", "run_demo"]

DemoModel = models.FlatMLP | models.StatNN | models.HNP | models.MonomialNFN | models.MAGEPNFN | models.ScaleGMN
MODELS: dict[str, type[DemoModel]] = {
    model.__name__: model
    for model in (models.FlatMLP, models.StatNN, models.NP, models.MonomialNFN, models.MAGEPNFN, models.ScaleGMN)
}
SPLITS = ("train", "val", "test")

Progress = Callable[[str, int, int, str], None]
"""Called with the stage, what is done, out of how much, and a word on how it goes."""


@dataclass(frozen=True)
class DemoSettings:
    """What the demo does. Everything that changes a number is here, so that the record can repeat it."""

    out: Path = Path("weightspace-demo")
    """Folder of the run; each data set and initialisation gets a folder of its own in it."""
    data: str = "mnist"
    """Whose images: mnist, fashion-mnist, cifar10, cifar10-gs or digits."""
    count: int = 8000
    """Networks to fit, one per image; a tenth each is kept for validation and for the test."""
    init: str = "independent"
    """Where fitting starts: each network from random weights of its own ("independent"), or all alike ("shared")."""
    omega: float = 15.0
    """Frequency of the fitted networks' sines. The literature's is 30; lower ones are easier to read from weights."""
    fit_steps: int = 100
    """Optimisation steps per fitted network."""
    fit_rate: float = 6e-3
    """Step size of these steps."""
    fold: bool = True
    """Bring the phases of all sines into one range before any model reads the networks (the guide on phases)."""
    seconds: float = 45.0
    """Training time per model, the same for all."""
    learning_rate: float = 5e-3
    """Largest learning rate, the same for all models."""
    weight_decay: float = 0.1
    """Decoupled weight decay, the same for all models."""
    dropout: float = 0.5
    """Share of the head's hidden units that are dropped while training, the same for all models."""
    seed: int = 0
    """Seed of the models, of the order of their data, and of the symmetries they are tested with."""
    folder: Path | None = None
    """Where the original files of the data set lie, if you have them already."""
    offline: bool = False
    """Use no package registry; the images come from the folder, the cache, or scikit-learn's digits."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise DataError(f"count is {self.count}; expected at least one network.")
        # These check themselves: now, and not when the images are there and the networks fitted.
        self.siren, self.training, models.Invariant(outputs=1, dropout=self.dropout)

    @property
    def siren(self) -> SirenSettings:
        """How the networks are fitted."""
        return SirenSettings(omega=self.omega, steps=self.fit_steps, learning_rate=self.fit_rate, init=self.init)

    @property
    def training(self) -> TrainSettings:
        """How every model is trained."""
        return TrainSettings(
            seconds=self.seconds, seed=self.seed, learning_rate=self.learning_rate, weight_decay=self.weight_decay
        )

    def home(self, images: str) -> Path:
        """The folder of a run on these images; the digits that stand in for others have a folder of their own."""
        return self.out / f"{images}-{self.init}-{self.count}"


def run_demo(settings: DemoSettings, progress: Progress | None = None) -> DemoRecord:
    """Do everything the demo does, or go on with it; a demo that has finished answers from its record.

    Fits one SIREN per image into a zoo, trains every model of `MODELS` on the same split for the same time, measures
    how each answers when the test networks are replaced by equivalent ones, and keeps the arrays for the pictures.

    Args:
        settings: what to do and where.
        progress: told how each stage goes.

    Raises:
        WeightspaceError: whatever a stage cannot do, with the remedy; what was finished before is kept.
    """
    finished = _finished(settings, settings.data)
    if finished is not None:
        return finished
    images = load_or_digits(settings.data, folder=settings.folder, offline=settings.offline)
    return _finished(settings, images.name) or _Demo(settings, images, progress or (lambda *_: None)).run()


def _finished(settings: DemoSettings, images: str) -> DemoRecord | None:
    """The record of an earlier run on these images with the same settings, if there is one."""
    try:
        record = read_demo(settings.home(images))
    except FormatError:
        return None
    return record if record.settings == _plain(settings) else None


def _plain(settings: DemoSettings) -> dict[str, Any]:
    """The settings that change a result, as JSON values."""
    return {key: value for key, value in asdict(settings).items() if key not in ("out", "folder", "offline")}


@dataclass
class _Demo:
    """One sitting of a demo run."""

    settings: DemoSettings
    images: Images
    progress: Progress
    stages: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home = self.settings.home(self.images.name)
        self._times = self.home / f"stages-{_digest(_plain(self.settings))}.json"
        if self._times.exists():
            self.stages = json.loads(self._times.read_text())

    def run(self) -> DemoRecord:
        """Every stage, each of which goes on from what is there."""
        with self.stage("fit"):
            zoo = self.fit()
        results = tuple(self.result(name, zoo) for name in MODELS)
        with self.stage("pictures"):
            record = self.record(zoo, results)
        record.write(self.home)
        return record

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time of a stage, over all sittings, interrupted ones included."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.stages[name] = self.stages.get(name, 0.0) + time.perf_counter() - started
            write_atomic(self._times, json.dumps(self.stages).encode())

    def fit(self) -> Zoo:
        """The zoo: one network per image."""
        count, done = min(self.settings.count, len(self.images)), 0

        def advance(networks: int) -> None:
            nonlocal done
            done += networks
            self.progress("Fitting networks", done, count, "")

        return make_siren_zoo(self.home / "zoo", self.images, self.settings.siren, count=count, progress=advance)

    def result(self, name: str, zoo: Zoo) -> ModelResult:
        """Train one model and measure it before and after the symmetry."""
        classes = int(zoo.column("label").max()) + 1
        task = Classify(classes)
        data = Splits.of(zoo, task).map(self.prepared)
        torch.manual_seed(self.settings.seed)
        model = build(name, zoo, models.Invariant(classes, dropout=self.settings.dropout))
        model.norm.fit(data.train.features)
        settings = self.settings.training

        def advance(pace: Pace) -> None:
            known = "" if pace.score is None else f", validation {pace.score:.0%}"
            self.progress(f"Training {name}", pace.step, pace.steps, f"loss {pace.loss:.2f}{known}")

        chosen = {"dropout": self.settings.dropout, "fold": self.settings.fold, "zoo": zoo.checksum}
        key = _digest({**asdict(settings), **chosen})
        with self.stage(f"train {name}"):
            folder = self.home / "runs" / f"{name}-seed{self.settings.seed}-{key}"
            run = train(model, task, data, settings, out=folder, progress=advance)
        with self.stage("symmetry"):
            moved = self.prepared(self.disguised(zoo.features(zoo.split("test"))))
            return ModelResult(name, run, change_under(model.cpu(), data.test.features, moved, data.test.target))

    def prepared(self, x: WeightFeatures) -> WeightFeatures:
        """Networks as the models read them."""
        return fold_phases(x) if self.settings.fold else x

    def disguised(self, x: WeightFeatures) -> WeightFeatures:
        """Other networks with the same functions: units permuted, signs flipped and, where folded, phases shifted."""
        generator = torch.Generator().manual_seed(self.settings.seed)
        moved = act(sample_element(x.spec, len(x), generator=generator), x)
        if not self.settings.fold:
            return moved
        turns = {
            place: torch.randint(-3, 4, turns.shape, generator=generator).to(turns)
            for place, turns in phases(moved).items()
        }
        return shift_phases(moved, turns)

    def record(self, zoo: Zoo, results: tuple[ModelResult, ...]) -> DemoRecord:
        """What was measured, with the arrays for the pictures."""
        arrays, moves = self._pictures(zoo)
        small = spec_of(siren(SirenSettings(hidden=(3, 3))))
        patterns = {"tied_monomial": small, "tied_permutation": permutation_spec(small)}
        tied = {name: tied_entries(spec) for name, spec in patterns.items()}
        psnr = zoo.column("psnr")
        about = {
            "images": self.images.name,
            "checksum": zoo.checksum,
            "splits": {name: len(zoo.split(name)) for name in SPLITS},
            "parameters": zoo.spec.numel,
            "psnr": float(psnr.mean()),
            "psnr_lowest": float(psnr.min()),
            "classes": int(zoo.column("label").max()) + 1,
            "forward": dict(zoo.manifest.forward),
        }
        return DemoRecord(
            settings=_plain(self.settings),
            note=self.images.note,
            zoo=about,
            results=results,
            stages=self.stages,
            peak_memory=peak_memory(),
            moves=moves,
            blocks=tuple((p.name, torch.Size(small.shape(p.name)).numel()) for p in small.params),
            free={name: parameters for name, (_, parameters) in tied.items()},
            arrays={**arrays, **{name: matrix for name, (matrix, _) in tied.items()}},
        )

    def _pictures(self, zoo: Zoo) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
        """Test images beside what their networks draw, and the walk of one network along its orbit."""
        rows = zoo.split("test")[:15]
        height, width = self.images.train.shape[1:3]

        def draw(x: WeightFeatures) -> torch.Tensor:
            return render(x, self.settings.siren, height, width)

        walk, frames, moves = orbit_walk(zoo.features(rows[:1]), draw, frames=16, seed=self.settings.seed)
        largest = max(zoo.spec.params, key=lambda param: torch.Size(zoo.spec.shape(param.name)).numel()).name
        arrays = {
            "originals": self.images.train[zoo.column("image")[rows]],
            "rendered": draw(zoo.features(rows)).numpy(),
            "labels": zoo.column("label")[rows],
            "psnr": zoo.column("psnr")[rows],
            "orbit_weights": torch.cat([x[largest][..., 0] for x in walk]).numpy(),
            "orbit_images": frames,
        }
        return arrays, tuple(moves)


def build(name: str, zoo: Zoo, readout: models.Readout) -> DemoModel:
    """A model of the demo by its name. Raises `UnknownNameError` for another."""
    if name not in MODELS:
        raise unknown("model", name, MODELS)
    return MODELS[name].preset("demo", zoo.spec, readout)


def _digest(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:8]
