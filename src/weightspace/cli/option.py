"""Options of a model, as words on the command line."""

import json
from collections.abc import Sequence
from typing import Any

from weightspace.errors import TrainingError

__all__ = ["read_options"]


def read_options(words: Sequence[str]) -> dict[str, Any]:
    """Words such as `channels=32` as names with values, which are JSON; what is no JSON is a text.

    Raises:
        TrainingError: a word without a name, or a name that comes twice.

    Example:
        >>> read_options(["channels=32", "stem=[8,8]", "messages=linear", "skip=true"])
        {'channels': 32, 'stem': [8, 8], 'messages': 'linear', 'skip': True}
    """
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.isidentifier() or name in found:
            raise TrainingError(f"option {word!r}: expected name=value, each name once, such as channels=32.")
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found
