"""Readers of the zoos that the field has: each format in a file of its own."""

from weightspace.zoo.readers.collection import ImportSettings
from weightspace.zoo.readers.transfer import FORMATS, import_zoo

__all__ = ["FORMATS", "ImportSettings", "import_zoo"]
