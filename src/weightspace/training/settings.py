"""The settings of a training run: typed, frozen, checked at birth."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from weightspace.errors import TrainingError, unknown
from weightspace.training.augment import Augmentation
from weightspace.training.optim import SCHEDULES
from weightspace.training.processes import PRECISIONS

__all__ = ["TrainSettings"]

DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class TrainSettings:
    """How a model is trained. Give exactly one of `steps` and `seconds`.

    Raises:
        TrainingError: when a value is impossible.
        UnknownNameError: when a schedule or a device does not exist.

    Example:
        >>> TrainSettings(steps=100).batch
        64
        >>> TrainSettings(steps=100, seconds=60.0)
        Traceback (most recent call last):
        weightspace.errors.TrainingError: steps is 100 and seconds is 60.0: give exactly one of the two.
    """

    steps: int | None = None
    """Optimisation steps."""
    seconds: float | None = None
    """A time budget, validation included. The first steps are timed and the budget becomes a number of steps, once."""
    batch: int = 64
    """Networks in a batch, over all processes together."""
    accumulate: int = 1
    """Parts in which a batch is read one after the other, to save memory; the same within rounding but for batch
    normalisation, dropout and augmentation, which see the parts."""
    learning_rate: float = 1e-3
    """The largest learning rate, reached at the end of the warm-up."""
    weight_decay: float = 0.01
    """Decoupled weight decay of AdamW; biases and parameters with fewer than two dimensions have none."""
    warmup: float = 0.05
    """The share of the steps, from 0 to 1, in which the learning rate rises linearly."""
    schedule: str = "cosine"
    """How the learning rate goes on after the warm-up: cosine (to zero) or constant."""
    clip: float | None = 1.0
    """The largest norm of the gradient, over all parameters; None leaves it as it is."""
    average: float = 0.0
    """Decay of the running average of the weights that is evaluated and kept, from 0 (none) to below 1."""
    patience: int | None = None
    """Validations without a better score after which the run ends; None lets it run to its end."""
    evaluate_every: int | None = None
    """Steps between two validations, each of which writes a checkpoint; None means a twentieth of the run."""
    augment: Augmentation = field(default_factory=Augmentation)
    """How networks are changed before the model reads them."""
    seed: int = 0
    """A number of 64 bits; seeds the order of the data, augmentation and dropout. Whoever built the model seeded it."""
    device: str = "auto"
    """Where to train: cpu, cuda, or auto (cuda if there is one)."""
    precision: str = "float32"
    """What products are computed in: float32, or bfloat16 with weights that stay float32."""
    compile: bool = False
    """Compile the model with torch.compile: minutes at the start for less time per step."""
    deterministic: bool = False
    """Refuse operations of PyTorch whose result differs from run to run on one device."""

    def __post_init__(self) -> None:
        if (self.steps is None) == (self.seconds is None):
            raise TrainingError(f"steps is {self.steps} and seconds is {self.seconds}: give exactly one of the two.")
        for name in ("steps", "batch", "accumulate", "patience", "evaluate_every"):
            _require(self, name, lambda value: value >= 1, "at least 1")
        for name in ("seconds", "learning_rate", "clip"):
            _require(self, name, lambda value: value > 0 and math.isfinite(value), "a finite number above 0")
        _require(self, "weight_decay", lambda value: value >= 0 and math.isfinite(value), "a finite number, 0 or more")
        _require(self, "seed", lambda value: -(2**63) <= value < 2**63, "a number of 64 bits")
        _require(self, "average", lambda value: 0 <= value < 1, "a decay from 0 to below 1")
        _require(self, "accumulate", lambda value: value <= self.batch, f"at most the {self.batch} networks of a batch")
        _require(self, "warmup", lambda value: 0 <= value <= 1, "a share from 0 to 1")
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)
        if self.device not in DEVICES:
            raise unknown("device", self.device, DEVICES)
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)


def _require(settings: TrainSettings, name: str, holds: Callable[[float], bool], expected: str) -> None:
    value = getattr(settings, name)
    if value is not None and not holds(value):
        raise TrainingError(f"{name} is {value}: expected {expected}.")
