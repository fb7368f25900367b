"""Zoos: networks on disk with a table, their splits, the images they were made from; smoke plumes (floor 5)."""

from weightspace.zoo.card import write_card
from weightspace.zoo.collection import open_zoos
from weightspace.zoo.composition import MergeSettings, append, merge, take
from weightspace.zoo.condition import where
from weightspace.zoo.dataset import Zoo, open_zoo
from weightspace.zoo.exchange import export, from_dataset, to_dataset
from weightspace.zoo.format import Manifest
from weightspace.zoo.generate.digits import digits_zoo
from weightspace.zoo.generate.ensemble import EarlyStop
from weightspace.zoo.generate.examples import Augment, Examples
from weightspace.zoo.generate.fit import FitSettings, fit
from weightspace.zoo.generate.hyperparameters import Choice, Hyperparameters, LogUniform, Uniform
from weightspace.zoo.picture import load_pictures
from weightspace.zoo.plume import Plumes, check_plumes, open_plumes
from weightspace.zoo.sources import Images, load_images, load_or_digits
from weightspace.zoo.split import assign
from weightspace.zoo.store import Problem, ZooWriter, check
from weightspace.zoo.variation import background, noisy, rectangles, rotated, turn
from weightspace.zoo.window import PROTOCOLS, Protocol, Windows

__all__ = [
    "PROTOCOLS",
    "Augment",
    "Choice",
    "EarlyStop",
    "Examples",
    "FitSettings",
    "Hyperparameters",
    "Images",
    "LogUniform",
    "Manifest",
    "MergeSettings",
    "Plumes",
    "Problem",
    "Protocol",
    "Uniform",
    "Windows",
    "Zoo",
    "ZooWriter",
    "append",
    "assign",
    "background",
    "check",
    "check_plumes",
    "digits_zoo",
    "export",
    "fit",
    "from_dataset",
    "load_images",
    "load_or_digits",
    "load_pictures",
    "merge",
    "noisy",
    "open_plumes",
    "open_zoo",
    "open_zoos",
    "rectangles",
    "rotated",
    "take",
    "to_dataset",
    "turn",
    "where",
    "write_card",
]
