"""Zoos: networks on disk with a table, their splits, the images they were made from; smoke plumes (floor 5)."""

from weightspace.zoo.collection import open_zoos
from weightspace.zoo.dataset import Zoo, open_zoo
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
    "Plumes",
    "Problem",
    "Protocol",
    "Uniform",
    "Windows",
    "Zoo",
    "ZooWriter",
    "assign",
    "background",
    "check",
    "check_plumes",
    "digits_zoo",
    "fit",
    "load_images",
    "load_or_digits",
    "load_pictures",
    "noisy",
    "open_plumes",
    "open_zoo",
    "open_zoos",
    "rectangles",
    "rotated",
    "turn",
]
