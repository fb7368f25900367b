"""What a model is asked to do: the loss, the score and the targets of each task (floor 6). A task knows no model."""

from weightspace.tasks.classify import Classify
from weightspace.tasks.predict import PredictAccuracy
from weightspace.tasks.regret import regret
from weightspace.tasks.roll import Forecast

__all__ = ["Classify", "Forecast", "PredictAccuracy", "regret"]
