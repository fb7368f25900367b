"""Networks from files and factories: state dicts, exported programs, chains guessed from shapes."""

from weightspace.weights.source.reading import Reading, read_source, read_sources
from weightspace.weights.source.source import Source

__all__ = ["Reading", "Source", "read_source", "read_sources"]
