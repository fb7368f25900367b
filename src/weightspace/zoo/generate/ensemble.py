"""Networks of anyone's module in training side by side, by `torch.func`: one program for all of them."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from weightspace.errors import TrainingError
from weightspace.zoo.generate.blueprint import Blueprint
from weightspace.zoo.generate.company import Company, Course
from weightspace.zoo.generate.descent import factors
from weightspace.zoo.generate.examples import Augment, Examples
from weightspace.zoo.generate.hyperparameters import Given
from weightspace.zoo.generate.keyed import Chance, keyed, mixed

__all__ = ["EarlyStop", "Ensemble", "Loss", "Program", "Trainee", "vectorised_attention"]

Loss = Callable[[Tensor, Tensor], Tensor]
"""A number, given outputs and targets of some examples."""

# Examples, and input values of all networks together, that are shown at a time.
_SHOWN, _ROOM = 512, 1 << 22
_GOLDEN = -7046029254386353131
# Betas and epsilon of torch.optim.
_ADAM = (0.9, 0.999, 1e-8)


@dataclass(frozen=True)
class EarlyStop:
    """When a network ends before its last step: it no longer gets better at the validation examples.

    Args:
        every: steps between two looks at the validation loss.
        patience: looks without improvement after which it ends; it keeps the weights that it has then.
        least: by how much the loss must be lower than the lowest so far to count as improvement.

    Raises:
        TrainingError: a number out of its range.
    """

    every: int = 50
    patience: int = 3
    least: float = 0.0

    def __post_init__(self) -> None:
        if self.every < 1 or self.patience < 1 or not 0 <= self.least < math.inf:
            raise TrainingError(f"{self}; expected every and patience from 1, least from 0.")


@dataclass(eq=False)
class Trainee(Course):
    """One network: what it was given, and what has become of it.

    Args:
        given: its hyper-parameters.
        order: the examples of each step, ``(step, example)``.
        key: of what is drawn inside its steps.
        own_rate: whether its dropout rate is its own and not the template's.
        curve: losses of its batches, at the interval that is kept.
        lowest: validation loss so far.
        patience: looks without improvement.
        stopped: whether it ended early.
    """

    given: Given
    order: Tensor
    key: int
    own_rate: bool
    curve: list[float] = field(default_factory=list, kw_only=True)
    lowest: float = field(default=math.inf, kw_only=True)
    patience: int = field(default=0, kw_only=True)
    stopped: bool = field(default=False, kw_only=True)


@contextmanager
def vectorised_attention() -> Iterator[None]:
    """Holds attention to forms that `vmap` knows: fused ones would be run network by network, or not at all."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class Program:
    """A blueprint's loss, its gradient and its outputs, for many networks at a time; of one thread.

    Args:
        blueprint: of the networks.
        loss: of one network's outputs at a batch.
        augment: of the training inputs.

    Raises:
        TrainingError: a module that draws random numbers of its own.
    """

    def __init__(self, blueprint: Blueprint, loss: Loss, augment: Augment | None = None) -> None:
        self.blueprint, self.loss, self._augment = blueprint, loss, augment
        self._chance = Chance()
        self._training = keyed(blueprint.module, self._chance).train()
        self._asked = deepcopy(blueprint.module).eval()
        self._gradients = {
            own: vmap(grad_and_value(self._loss_at), in_dims=(0, 0, 0 if own else None, 0, 0), randomness="error")
            for own in (False, True)
        }

    def _loss_at(
        self, parameters: Mapping[str, Tensor], key: Tensor, rate: Tensor | None, inputs: Tensor, targets: Tensor
    ) -> Tensor:
        """The loss of one network at one batch."""
        with self._chance.of(key, rate):
            if self._augment is not None:
                numbers = self._chance.uniform((len(inputs), self._augment.numbers))
                inputs = self._augment.function(inputs, numbers)
            return self.loss(functional_call(self._training, dict(parameters), (inputs,)), targets)

    def gradient(
        self, views: Mapping[str, Tensor], keys: Tensor, rates: Tensor | None, inputs: Tensor, targets: Tensor
    ) -> tuple[Mapping[str, Tensor], Tensor]:
        """Gradients by name and losses, of each network at its own batch.

        Shapes:
            views: ``(network, *shape)``; keys, rates: ``(network,)``; inputs, targets: ``(network, example, ...)``;
            result: as views, and ``(network,)``.
        """
        return self._gradients[rates is not None](dict(views), keys, rates, inputs, targets)

    def outputs(self, views: Mapping[str, Tensor], inputs: Tensor, rows: Tensor | None = None) -> Tensor:
        """Outputs in `eval` mode, piece by piece.

        Shapes:
            inputs: ``(example, ...)``; rows: ``(network, example)``, which of them each is shown; `None`: all of them;
            result: ``(network, example, ...)``.
        """
        call = vmap(
            lambda parameters, shown: functional_call(self._asked, parameters, (shown,)),
            in_dims=(0, None if rows is None else 0),
            randomness="error",
        )
        networks = len(next(iter(views.values())))
        piece = min(_SHOWN, max(1, _ROOM // (networks * max(1, inputs[0].numel()))))
        pieces = inputs.split(piece) if rows is None else (inputs[part] for part in rows.split(piece, 1))
        with torch.no_grad():
            return torch.cat([call(dict(views), part) for part in pieces], 1)

    def told(self, measure: Loss, outputs: Tensor, targets: Tensor, *, shared: bool) -> Tensor:
        """A loss or metric of each network at all of its outputs: ``(network,)``, float32."""
        with torch.no_grad():
            values = vmap(measure, in_dims=(0, None if shared else 0))(outputs, targets)
        return values.float()


class Ensemble(Company[Trainee]):
    """Networks of one blueprint that take their steps together; those that are over make room.

    Args:
        program: of the steps.
        data: what they learn from.
        interval: of the curves, in steps.
        early: when a network ends early.
        asked: validation examples that early stopping looks at.
    """

    def __init__(
        self, program: Program, data: Examples, interval: int, early: EarlyStop | None = None, asked: int = 2000
    ) -> None:
        super().__init__(torch.zeros(0, program.blueprint.numel))
        self._program, self._data, self._interval, self._early, self._shown = program, data, interval, early, asked

    def _start(self, row: int, member: Trainee) -> None:
        given = member.given
        constants = (given.momentum,) if given.optimiser == "sgd" else _ADAM
        apart = given.optimiser == "adamw"
        self._descent.set(
            row,
            factors("sgd" if given.optimiser == "sgd" else "adam", constants),
            given.learning_rate,
            0.0 if apart else given.weight_decay,
            given.learning_rate * given.weight_decay if apart else 0.0,
        )

    def _arrange(self, *, resized: bool) -> None:
        self._keys = torch.tensor([member.key for member in self.members], dtype=torch.int64)
        rates = [member.given.dropout for member in self.members]
        self._rates = torch.tensor(rates) if any(member.own_rate for member in self.members) else None

    def _differentiate(self) -> None:
        rows = torch.stack([member.order[member.taken] for member in self.members])
        taken = torch.tensor([member.taken for member in self.members])
        inputs, targets = (value[rows] for value in self._data.train)
        keys = mixed(self._keys + taken * _GOLDEN)
        views = self._program.blueprint.views(self.parameters)
        gradients, losses = self._program.gradient(views, keys, self._rates, inputs, targets)
        torch.cat([gradients[name].flatten(1) for name in views], 1, out=self._gradient)
        self.losses = losses.detach()
        for member, loss in zip(self.members, self.losses.tolist(), strict=True):
            if member.taken % self._interval == 0:
                member.curve.append(loss)

    def advance(self) -> list[Trainee]:
        """One step of every network, and a look at the validation examples; gives those that are over now."""
        over = super().advance()
        if self._early is not None and any(member.taken % self._early.every == 0 for member in self.members):
            self._look(self._early)
            over = [member for member in self.members if member.over]
        return over

    def _look(self, early: EarlyStop) -> None:
        assert self._data.validation is not None
        inputs, targets = (value[: self._shown] for value in self._data.validation)
        outputs = self._program.outputs(self._program.blueprint.views(self.parameters), inputs)
        losses = self._program.told(self._program.loss, outputs, targets, shared=True)
        for row, (member, loss) in enumerate(zip(self.members, losses.tolist(), strict=True)):
            if member.over or member.taken % early.every:
                continue
            better = loss < member.lowest - early.least
            member.lowest = min(member.lowest, loss)
            member.patience = 0 if better else member.patience + 1
            if member.patience >= early.patience:
                member.stopped = True
                member.stop(self.parameters[row])
