"""Training: one loop for every task and model, with exact resume, checkpoints and records (floor 7)."""

from weightspace.training.loop import Progress, train
from weightspace.training.record import RunRecord, read_record
from weightspace.training.seed import generator
from weightspace.training.settings import TrainSettings
from weightspace.training.step import Evaluation, Split, Splits, Task

__all__ = [
    "Evaluation",
    "Progress",
    "RunRecord",
    "Split",
    "Splits",
    "Task",
    "TrainSettings",
    "generator",
    "read_record",
    "train",
]
