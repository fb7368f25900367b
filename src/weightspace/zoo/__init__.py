"""Zoos: many networks on disk with a table, their splits, and the real images they were made from (floor 5)."""

from weightspace.zoo.dataset import Zoo, open_zoo
from weightspace.zoo.format import Manifest
from weightspace.zoo.sources import Images, load_images, load_or_digits
from weightspace.zoo.split import assign
from weightspace.zoo.store import Problem, ZooWriter, check

__all__ = [
    "Images",
    "Manifest",
    "Problem",
    "Zoo",
    "ZooWriter",
    "assign",
    "check",
    "load_images",
    "load_or_digits",
    "open_zoo",
]
