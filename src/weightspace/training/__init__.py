"""Training: one loop for every task and model, with exact resume, checkpoints and records (floor 7)."""

from weightspace.training.augment import Augmentation
from weightspace.training.data import Mixed, Split, Splits, Stored
from weightspace.training.loop import train
from weightspace.training.record import RunRecord, read_record
from weightspace.training.run import Pace, Progress
from weightspace.training.seed import generator
from weightspace.training.settings import TrainSettings
from weightspace.training.step import Evaluation, Task

__all__ = [
    "Augmentation",
    "Evaluation",
    "Mixed",
    "Pace",
    "Progress",
    "RunRecord",
    "Split",
    "Splits",
    "Stored",
    "Task",
    "TrainSettings",
    "generator",
    "read_record",
    "train",
]
