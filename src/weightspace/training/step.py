"""One model in training: a step of the optimiser, an evaluation, and the state that both depend on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from weightspace.errors import TrainingError
from weightspace.training.augment import Mixture
from weightspace.training.average import Average
from weightspace.training.data import Split
from weightspace.training.optim import adamw, set_rate
from weightspace.training.processes import Processes
from weightspace.training.seed import generator, seed_for
from weightspace.training.settings import TrainSettings
from weightspace.weights import WeightFeatures

__all__ = ["Batch", "Drawing", "Evaluation", "Learner", "Measuring", "Stepping", "Task"]

Batch = list[tuple[Any, Tensor]]
"""The parts of a batch, each with its targets."""


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


@runtime_checkable
class Stepping(Protocol):
    """A task with a step of its own, where the loss is not one of the model's answer alone."""

    def step(self, model: Callable[..., Any], features: Any, target: Tensor) -> Tensor:
        """What is minimised in training, the mean over the items of a batch: a scalar that can be differentiated."""


@runtime_checkable
class Measuring(Protocol):
    """A task that tells more of answers than a score; both go into the record of a run."""

    def errors(self, output: Any, target: Tensor) -> Tensor:
        """How wrong the answer for each item is, of which means over items can be compared. Shape `(batch,)`."""

    def measures(self, output: Any, target: Tensor) -> dict[str, float]:
        """What the answers are worth, by name."""


@runtime_checkable
class Drawing(Protocol):
    """A task that judges by what comes of the answers, which takes time; its targets are too large for a record."""

    def outcome(self, output: Any) -> Tensor:
        """What comes of answers; all other methods take it in their place. Shape `(batch, ...)`."""

    def brief(self, target: Tensor) -> Tensor:
        """What stands in a record for each target. Shape `(batch, ...)`, few numbers each."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a model makes of a split: mean loss, score, and the answer for each item (on the CPU).

    From a task that is `Measuring`, the error of each item and the measures as well.
    """

    loss: float
    score: float
    predictions: Tensor
    errors: Tensor | None = None
    measures: Mapping[str, float] | None = None


class Learner:
    """A model with its task, optimiser and device, in one of the processes of a run.

    Lightning Fabric owns device, precision and processes. Its wrappers around the module, the backward pass, clipping
    and the optimiser are left out: here they do nothing, and cost a small model 5 % of its step.

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
        self.processes = Processes(settings.device, settings.precision)
        mixed = settings.precision != "float32"
        self._mixed: Callable[[], AbstractContextManager[Any]] = (
            self.processes.fabric.autocast if mixed else nullcontext
        )
        self.device: torch.device = self.processes.device
        # Moved before the optimiser is made, so that the fused update finds its parameters where they will stay.
        self.model = model.to(self.device)
        self._called = torch.compile(self.model) if settings.compile else self.model
        self._optimiser = adamw(model, weight_decay=settings.weight_decay)
        # Asked once: the question takes longer than many answers.
        self._own_step = task.step if isinstance(task, Stepping) else None
        self._outcome = task.outcome if isinstance(task, Drawing) else _itself
        self._average = Average(self.model, settings.average) if settings.average else None

    @property
    def fewest(self) -> int:
        """Items that the model can be trained on at once: two where it normalises over them."""
        norms = (module for module in self.model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
        return 2 if any(norms) else 1

    @property
    def parameters(self) -> int:
        """Numbers that are trained."""
        return sum(parameter.numel() for parameter in self._trained)

    @contextmanager
    def chance(self) -> Iterator[None]:
        """Within it the global random state belongs to this run; after it, the caller's is back."""
        devices = [self.device] if self.device.type == "cuda" else []
        rank = self.processes.rank
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(seed_for(self._settings.seed, f"dropout/{rank}" if rank else "dropout"))
            yield

    def read(self, split: Split, rows: Tensor) -> Batch:
        """This process's share of the items in these rows, in the parts in which it will be learnt from."""
        mine, parts = rows[self.processes.share(len(rows))], self._settings.accumulate
        return [split.batch(part, self.device) for part in (mine.tensor_split(parts) if parts > 1 else (mine,))]

    def step(self, batch: Batch, number: int, rate: float) -> Tensor:
        """One update on a batch.

        Args:
            batch: from `read`.
            number: of the step, from 0.
            rate: the learning rate.

        Returns:
            This process's part of the loss before the update, on the device; the parts of all add up to it.
        """
        set_rate(self._optimiser, rate)
        self._optimiser.zero_grad()
        total = self.losses(batch, number)
        self._add_gradients()
        if self._settings.clip is not None:
            clip_grad_norm_(self._trained, self._settings.clip)
        self._optimiser.step()
        if self._average is not None:
            self._average.update(number + 1)
        return total

    def losses(self, batch: Batch, number: int, first: int = 0, *, eager: bool = False) -> Tensor:
        """The loss of a batch, whose gradients are added to the parameters'.

        Args:
            batch: from `read`, or some parts of it.
            number: of the step.
            first: place in the batch of the first of these parts.
            eager: call the model as it is, where it is compiled.
        """
        model = self.model if eager else self._called
        parts = []
        for part, (features, target) in enumerate(batch, start=first):
            with self._mixed():
                loss = self._loss_of(model, features, target, f"augment/{number}/{self.processes.rank}/{part}")
                # A mean over all items of the batch, on whichever process and in whichever part they are.
                loss = loss if len(target) == self._settings.batch else loss * (len(target) / self._settings.batch)
            loss.backward()
            parts.append(loss.detach())
        return sum(parts[1:], parts[0])

    def _loss_of(self, model: Callable[..., Any], features: Any, target: Tensor, purpose: str) -> Tensor:
        augment = self._settings.augment
        mixture: Mixture = [(1.0, target)]
        if augment.active:
            features, mixture = augment(features, target, generator(self._settings.seed, purpose))
        if self._own_step is not None:
            parts = [share * self._own_step(model, features, one) for share, one in mixture]
        else:
            output = model(features)
            if len(mixture) == 1:
                return self.task.loss(output, mixture[0][1])
            parts = [share * self.task.loss(output, one) for share, one in mixture]
        return sum(parts[1:], parts[0])

    def _add_gradients(self) -> None:
        """The gradients of all processes, added up; none where no process had anything to do with a parameter."""
        if self.processes.count == 1:
            return
        touched = torch.tensor([float(p.grad is not None) for p in self._trained], device=self.device)
        zeros = (torch.zeros_like(p) if p.grad is None else p.grad for p in self._trained)
        gradients = dict(zip(self._trained, zeros, strict=True))
        self.processes.add([*gradients.values(), touched])
        for (parameter, gradient), known in zip(gradients.items(), touched.tolist(), strict=True):
            parameter.grad = gradient if known else None

    @torch.no_grad()
    def evaluate(self, split: Split, *, measured: bool = False) -> Evaluation:
        """Loss, score and answers on all items of a split, each of which is read once, by one of the processes.

        Args:
            split: the items.
            measured: errors and measures as well, where the task tells them.
        """
        share = self.processes.share(len(split))
        self.model.eval()
        with self._average.in_place() if self._average is not None else nullcontext(), self._mixed():
            found = [
                (recorded(self._outcome(self.model(features))), target.cpu())
                for at in range(share.start, share.stop, self._settings.batch)
                for features, target in [
                    split.batch(slice(at, min(at + self._settings.batch, share.stop)), self.device)
                ]
            ]
        self.model.train()
        parts = [part for each in self.processes.gather(found) for part in each]
        output, target = (joined([part[side] for part in parts], self.device) for side in (0, 1))
        loss, score = self.task.loss(output, target), self.task.score(output, target)
        told = Evaluation(loss.item(), float(score), self.task.predict(output).cpu())
        if not measured or not isinstance(self.task, Measuring):
            return told
        errors = self.task.errors(output, target).cpu()
        return replace(told, errors=errors, measures=self.task.measures(output, target))

    def tensors(self) -> dict[str, Tensor]:
        """Copies of all that the next step depends on: model, optimiser, average and random states, by name."""
        out = {f"model/{name}": value for name, value in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self._optimiser.state.get(parameter, {}).items():
                out[f"optimiser/{name}/{key}"] = value
        if self._average is not None:
            out |= {f"average/{name}": value for name, value in self._average.tensors.items()}
        for rank, states in enumerate(self.processes.gather(self._random())):
            out |= {f"random/{rank}/{name}": value for name, value in states.items()}
        for name, value in out.items():
            if not isinstance(value, Tensor):
                raise TrainingError(f"{name} is a {type(value).__name__}: a model's state must be tensors to be kept.")
        return {name: value.detach().clone() for name, value in out.items()}

    def _random(self) -> dict[str, Tensor]:
        states = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self.device)
        return states

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go back to where `tensors` was called. Processes that were not there then draw numbers of their own."""
        self.model.load_state_dict(_below(tensors, "model/"))
        if self._average is not None:
            self._average.restore(_below(tensors, "average/"))
        self._optimiser.state.clear()
        for name, parameter in self.model.named_parameters():
            kept = _below(tensors, f"optimiser/{name}/")
            if kept:
                # A copy, since updates are made in place.
                self._optimiser.state[parameter] = {
                    key: value.to(self.device, copy=True) for key, value in kept.items()
                }
        states = _below(tensors, f"random/{self.processes.rank}/")
        if "cpu" in states:
            torch.set_rng_state(states["cpu"])
        if self.device.type == "cuda" and "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], self.device)

    def restore_model(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the weights that a run gives, which are the average where there is one, and the buffers."""
        self.model.load_state_dict({**_below(tensors, "model/"), **_below(tensors, "average/")})


def recorded(output: Any) -> Any:
    """An answer on the CPU, in float32 at least: what is judged is not rounded further."""
    if isinstance(output, WeightFeatures):
        return output.map(recorded)
    if not isinstance(output, Tensor):
        return output
    half = output.is_floating_point() and output.element_size() < 4
    return output.float().cpu() if half else output.cpu()


def joined(parts: Sequence[Any], device: torch.device) -> Any:
    """Answers of several batches as one, on a device.

    Raises:
        TrainingError: answers that are neither tensors nor features of one weight space.
    """
    if all(isinstance(part, Tensor) for part in parts):
        return torch.cat([part.to(device) for part in parts])
    if all(isinstance(part, WeightFeatures) for part in parts) and len({part.spec for part in parts}) == 1:
        return WeightFeatures.cat([part.to(device) for part in parts])
    kinds = sorted({type(part).__name__ for part in parts})
    raise TrainingError(f"the model answers with {kinds}: expected tensors, or WeightFeatures of one space.")


def _itself(output: Any) -> Any:
    return output


def _below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
