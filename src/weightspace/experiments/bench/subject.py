"""Tables on zoos: networks as a row's model reads them, the task, and what is measured in the end."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from weightspace.errors import unknown
from weightspace.experiments.bench.table import Measured, Move, Row
from weightspace.experiments.bench.zoo import ZooRecipe
from weightspace.experiments.choice import fit_scale
from weightspace.gauge import canonicalise, fold_phases
from weightspace.gauge.phase import phases, shift_phases
from weightspace.models import Edit, Invariant, Readout
from weightspace.tasks import Classify, EditImages, PredictAccuracy, PredictReturn
from weightspace.testing import equivariance_error, invariance_error
from weightspace.training import Split, Splits
from weightspace.training.record import finite
from weightspace.training.step import joined, recorded
from weightspace.weights import WeightFeatures, act, sample_element
from weightspace.zoo import Zoo

__all__ = ["ASKS", "PREPARATIONS", "NetworkSubject", "Networks", "answered"]

Prepare = Callable[[WeightFeatures], WeightFeatures]
NetworkTask = Classify | PredictAccuracy | PredictReturn | EditImages

PREPARATIONS: Mapping[str, Prepare] = {"fold": fold_phases, "canonical": canonicalise}
"""What can be done to networks before a model reads them; other networks with the same functions come out."""

ASKS = ("class", "accuracy", "return", "dilate", "contrast")
"""What can be asked of a zoo's networks."""


@dataclass(frozen=True)
class Networks:
    """The networks of a zoo, and what is asked of them.

    Args:
        recipe: of the zoo.
        ask: one of `ASKS`.
        views: the column that is equal for views of one item.
        dropout: share of the head's hidden units that are dropped while training, for all models.
        moves: ways to move the test networks, that answers are looked at once more.

    Raises:
        UnknownNameError: something that cannot be asked.
    """

    recipe: ZooRecipe
    ask: str
    views: str | None = None
    dropout: float = 0.0
    moves: tuple[Move, ...] = ()

    def __post_init__(self) -> None:
        if self.ask not in ASKS:
            raise unknown("question", self.ask, ASKS)

    def subject(self, home: Path, progress: Callable[[int], None] | None = None) -> "NetworkSubject":
        """The subject, with its zoo in the folder `zoos` of a home."""
        zoo = self.recipe.make(home / "zoos", progress)
        return NetworkSubject(zoo, self._task(zoo), self)

    def _task(self, zoo: Zoo) -> NetworkTask:
        if self.ask == "class":
            return Classify(int(zoo.column("label").max()) + 1)
        if self.ask == "accuracy":
            return PredictAccuracy()
        if self.ask == "return":
            return PredictReturn()
        return EditImages.of(zoo, self.recipe.load_images(), self.ask)


@dataclass(eq=False)
class NetworkSubject:
    """Networks with a task.

    Args:
        zoo: the networks.
        task: what is asked.
        given: what the table says of them.
    """

    zoo: Zoo
    task: NetworkTask
    given: Networks
    _splits: dict[tuple[str, ...], Splits] = field(default_factory=dict)

    @property
    def about(self) -> dict[str, Any]:
        """What the records say of the data."""
        return {
            "name": self.given.recipe.folder,
            "command": self.given.recipe.command,
            "seed": self.given.recipe.settings.seed,
            "checksum": self.zoo.checksum,
            "networks": self._read(()).sizes,
        }

    @property
    def readout(self) -> Readout:
        """What is asked of a model."""
        if isinstance(self.task, EditImages):
            return Edit()
        return Invariant(self.task.classes if isinstance(self.task, Classify) else 1, dropout=self.given.dropout)

    def data(self, row: Row) -> Splits:
        """The splits, prepared, with the row's share of the training networks."""
        splits = self._read(row.prepare)
        count = max(1, round(row.share * len(splits.train)))
        return splits if count == len(splits.train) else replace(splits, train=_first(splits.train, count))

    def build(self, row: Row, seed: int) -> nn.Module:
        """The model, which has seen the sizes of the training networks' weights."""
        model = row.model.told(self.zoo.manifest).build(self.zoo.spec, self.readout, seed=seed)
        fit_scale(model, self.data(row).train.chunks())
        return model

    def measure(self, row: Row, model: nn.Module) -> Measured:
        """The first measure on moved test networks, and the error of the model's law."""
        rows = self.zoo.split("test")
        target, raw = self._read(()).test.target, self.zoo.features(rows)
        prepare = partial(_prepared, names=row.prepare)
        moved = {
            move.name: self._first_measure(model, Split(prepare(_moved(raw, move)), target))
            for move in self.given.moves
        }
        error = equivariance_error if isinstance(self.task, EditImages) else invariance_error
        return Measured(moved, finite(error(Prepared(model, prepare), self.zoo.spec)))

    def _first_measure(self, model: nn.Module, split: Split) -> float | None:
        values = self.task.measures(*answered(model, split))
        return finite(next(iter(values.values())))

    def _read(self, names: tuple[str, ...]) -> Splits:
        if names not in self._splits:
            splits = Splits.of(self.zoo, self.task, views=self.given.views)
            self._splits[names] = splits.map(partial(_prepared, names=names)) if names else splits
        return self._splits[names]


class Prepared(nn.Module):
    """A model together with what is done to networks before it reads them."""

    def __init__(self, model: nn.Module, prepare: Prepare) -> None:
        super().__init__()
        self.model, self._prepare = model, prepare

    def forward(self, x: WeightFeatures) -> Tensor | WeightFeatures:
        """The model's answer."""
        return self.model(self._prepare(x))


def answered(model: nn.Module, split: Split, batch: int = 256) -> tuple[Any, Tensor]:
    """What a model answers for the items of a split, in evaluation mode, and their targets; both on the CPU."""
    model.eval()
    device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
    with torch.no_grad():
        parts = [
            recorded(model(split.batch(slice(start, start + batch), device)[0]))
            for start in range(0, len(split), batch)
        ]
    return joined(parts, torch.device("cpu")), split.target.cpu()


def _prepared(x: WeightFeatures, names: tuple[str, ...]) -> WeightFeatures:
    for name in names:
        x = PREPARATIONS[name](x)
    return x


def _moved(x: WeightFeatures, move: Move) -> WeightFeatures:
    """Other networks with the same functions, the same for every model."""
    generator = torch.Generator().manual_seed(0)
    x = act(sample_element(x.spec, len(x), generator=generator, log_scale=move.log_scale), x)
    if not move.phases:
        return x
    turns = {
        place: torch.randint(-3, 4, found.shape, generator=generator).to(found) for place, found in phases(x).items()
    }
    return shift_phases(x, turns)


def _first(split: Split, count: int) -> Split:
    """The first items of a split."""
    views = None if split.views is None else split.views[:count]
    return Split(split.features[:count], split.target[:count], views)
