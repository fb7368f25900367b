"""What a model is asked to do: the loss, the score and the targets of each task (floor 6). A task knows no model."""

from weightspace.tasks.change import CHANGES, changed
from weightspace.tasks.classify import Classify
from weightspace.tasks.edit import EditImages
from weightspace.tasks.judge import PredictReturn
from weightspace.tasks.predict import PredictAccuracy, Regression, tau_ceiling
from weightspace.tasks.regret import regret
from weightspace.tasks.roll import Forecast

__all__ = [
    "CHANGES",
    "Classify",
    "EditImages",
    "Forecast",
    "PredictAccuracy",
    "PredictReturn",
    "Regression",
    "changed",
    "regret",
    "tau_ceiling",
]
