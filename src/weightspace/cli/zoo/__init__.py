"""The verbs of ``weightspace zoo``."""

__all__: list[str] = []
