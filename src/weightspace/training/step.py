"""One model in training: a step of the optimiser, an evaluation, and the state that both depend on."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from weightspace.errors import DataError, TrainingError
from weightspace.training.optim import adamw, set_rate
from weightspace.training.seed import seed_for
from weightspace.training.settings import TrainSettings
from weightspace.zoo import Zoo

__all__ = ["Evaluation", "Learner", "Split", "Splits", "Task"]


@runtime_checkable
class Task(Protocol):
    """What the model is asked to do. Everything else in training is the same for every task."""

    def check(self, target: Tensor) -> None:
        """Refuse targets that do not belong to this task, with the remedy."""

    def loss(self, output: Any, target: Tensor) -> Tensor:
        """What is minimised: a scalar that can be differentiated."""

    def score(self, output: Any, target: Tensor) -> float:
        """What chooses the best checkpoint; higher is better."""

    def predict(self, output: Any) -> Tensor:
        """The answer for each item, as it is written into the record. Shape `(batch, ...)`."""


@dataclass(frozen=True, eq=False)
class Split:
    """The items of one split.

    Args:
        features: what the model is called with: anything that can be indexed by rows (a slice or an int64 tensor),
            has a length, and can be moved by `.to(device)`: a `WeightFeatures`, a tensor.
        target: what the task compares the answer with. Shape `(items, ...)`.

    Raises:
        DataError: when the two do not pair up.
    """

    features: Any
    target: Tensor

    def __post_init__(self) -> None:
        if self.target.ndim == 0 or len(self.features) != len(self.target):
            raise DataError(
                f"{len(self.features)} items with targets of shape {tuple(self.target.shape)}: "
                "expected one target for each item, along the first dimension."
            )

    def __len__(self) -> int:
        return len(self.target)

    def batch(self, rows: slice | Tensor, device: torch.device) -> tuple[Any, Tensor]:
        """The features and targets of some rows, on a device."""
        return self.features[rows].to(device), self.target[rows].to(device)


@dataclass(frozen=True, eq=False)
class Splits:
    """The data of a run: what is learnt from, what chooses the checkpoint, and what is looked at once, at the end.

    Raises:
        DataError: when a split is empty.
    """

    train: Split
    val: Split
    test: Split

    @classmethod
    def of(cls, zoo: Zoo, task: Any) -> "Splits":
        """The networks of a zoo in their splits, with the targets that the task reads off the zoo's table.

        Raises:
            DataError: a split is empty, or an entry of the table is no target of the task.
        """
        rows = {name: zoo.split(name) for name in ("train", "val", "test")}
        return cls(**{name: Split(zoo.features(chosen), task.targets(zoo, chosen)) for name, chosen in rows.items()})

    def map(self, prepare: Callable[[Any], Any]) -> "Splits":
        """The same items with their features prepared, such as by `gauge.fold_phases`."""
        return Splits(*(Split(prepare(part.features), part.target) for part in (self.train, self.val, self.test)))

    def __post_init__(self) -> None:
        for name, size in self.sizes.items():
            if size == 0:
                raise DataError(
                    f"the {name} split is empty: expected at least one item. Use more data or other shares."
                )

    @property
    def sizes(self) -> dict[str, int]:
        """Items by split."""
        return {"train": len(self.train), "val": len(self.val), "test": len(self.test)}


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model makes of a split: mean loss, score, and the answer for each item (on the CPU)."""

    loss: float
    score: float
    predictions: Tensor


class Learner:
    """A model with its task, optimiser and device.

    Lightning Fabric owns device, precision and backward pass. Its wrappers around the module, clipping and the
    optimiser are left out: on one device they do nothing, and cost a small model 5 % of its step.

    Args:
        model: called with features; trained in place and moved to the device.
        task: gives loss and score.
        settings: of the run.

    Raises:
        TrainingError: when nothing can be trained or the device does not exist.
    """

    def __init__(self, model: nn.Module, task: Task, settings: TrainSettings) -> None:
        self._trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not self._trained:
            raise TrainingError(f"{type(model).__name__} has no parameter that requires a gradient: nothing to train.")
        self.task, self._settings = task, settings
        self._fabric = Fabric(accelerator=_accelerator(settings.device), devices=1)
        self.device: torch.device = self._fabric.device
        # Moved before the optimiser is made, so that the fused update finds its parameters where they will stay.
        self.model = model.to(self.device)
        self._optimiser = adamw(model, weight_decay=settings.weight_decay)

    @property
    def parameters(self) -> int:
        """Numbers that are trained."""
        return sum(parameter.numel() for parameter in self._trained)

    @contextmanager
    def chance(self) -> Iterator[None]:
        """Within it the global random state belongs to this run; after it, the caller's is back."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed_for(self._settings.seed, "dropout"))
            yield

    def step(self, split: Split, rows: Tensor, rate: float) -> Tensor:
        """One update on the items in these rows; gives the loss before it, on the device."""
        features, target = split.batch(rows, self.device)
        set_rate(self._optimiser, rate)
        self._optimiser.zero_grad()
        with self._fabric.autocast():
            loss = self.task.loss(self.model(features), target)
        self._fabric.backward(loss)
        if self._settings.clip is not None:
            clip_grad_norm_(self._trained, self._settings.clip)
        self._optimiser.step()
        return loss.detach()

    @torch.no_grad()
    def evaluate(self, split: Split) -> Evaluation:
        """Loss, score and answers on all items of a split, each of which is read once."""
        self.model.eval()
        parts = (
            split.batch(slice(at, at + self._settings.batch), self.device)
            for at in range(0, len(split), self._settings.batch)
        )
        with self._fabric.autocast():
            outputs, targets = zip(*((self.model(features), target) for features, target in parts), strict=True)
        self.model.train()
        output, target = torch.cat(outputs), torch.cat(targets)
        loss, score = self.task.loss(output, target), self.task.score(output, target)
        return Evaluation(loss.item(), float(score), self.task.predict(output).cpu())

    def tensors(self) -> dict[str, Tensor]:
        """Copies of all that the next step depends on: model, optimiser and random state, by name."""
        out = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self._optimiser.state.get(parameter, {}).items():
                out[f"optimiser/{name}/{key}"] = value
        out["random/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            out["random/cuda"] = torch.cuda.get_rng_state(self.device)
        for name, value in out.items():
            if not isinstance(value, Tensor):
                raise TrainingError(f"{name} is a {type(value).__name__}: a model's state must be tensors to be kept.")
        return {name: value.detach().clone() for name, value in out.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to where `tensors` was called."""
        self.restore_model(tensors)
        self._optimiser.state.clear()
        for name, parameter in self.model.named_parameters():
            kept = _below(tensors, f"optimiser/{name}/")
            if kept:
                # A copy, since updates are made in place.
                self._optimiser.state[parameter] = {
                    key: value.to(self.device, copy=True) for key, value in kept.items()
                }
        torch.set_rng_state(tensors["random/cpu"])
        if self.device.type == "cuda" and "random/cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random/cuda"], self.device)

    def restore_model(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the model's weights and buffers alone."""
        self.model.load_state_dict(_below(tensors, "model/"))


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _accelerator(device: str) -> str:
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise TrainingError("device is cuda, but PyTorch sees no GPU here: use cpu or auto.")
    return device
