"""A model, as words on the command line."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from weightspace.errors import TrainingError
from weightspace.experiments.choice import ModelChoice

__all__ = ["ModelWords", "read_options"]


@dataclass(frozen=True)
class ModelWords:
    """The model that is to be trained."""

    model: str = "MonomialNFN"
    """A model of the package by name, such as MonomialNFN, ScaleGMN or StatNN, or package.module:Model, which is
    imported, called with (spec, readout) and runs its code."""
    preset: str | None = None
    """A size that the model has a name for; by default demo."""
    option: tuple[str, ...] = ()
    """Arguments of the model's constructor in place of those of the preset, as name=value with values in JSON, such as
    channels=32 stem=[16,16]."""

    @property
    def choice(self) -> ModelChoice:
        """What these words say."""
        return ModelChoice(self.model, self.preset, read_options(self.option))


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
