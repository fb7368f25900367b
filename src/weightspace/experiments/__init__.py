"""Whole experiments: everything below, put together and measured (floor 8)."""

from weightspace.experiments.calibration import Calibration, calibration_of
from weightspace.experiments.choice import ModelChoice
from weightspace.experiments.comparison import RunRow, find_runs
from weightspace.experiments.demo import DemoSettings, run_demo
from weightspace.experiments.evaluation import Evaluated, evaluate
from weightspace.experiments.learning import train_on
from weightspace.experiments.prediction import Prediction, predict, read_networks
from weightspace.experiments.record import DemoRecord, ModelResult, read_demo
from weightspace.experiments.run import Run, open_run
from weightspace.experiments.similarity import Similarities, linear_cka, representations, similarities
from weightspace.experiments.task import task_for

__all__ = [
    "Calibration",
    "DemoRecord",
    "DemoSettings",
    "Evaluated",
    "ModelChoice",
    "ModelResult",
    "Prediction",
    "Run",
    "RunRow",
    "Similarities",
    "calibration_of",
    "evaluate",
    "find_runs",
    "linear_cka",
    "open_run",
    "predict",
    "read_demo",
    "read_networks",
    "representations",
    "run_demo",
    "similarities",
    "task_for",
    "train_on",
]
