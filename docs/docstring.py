"""How the site reads the docstrings: a section ``Example`` is code, a Sphinx role is the name of its target."""

import re
from typing import Any

import griffe

__all__ = ["Docstring"]


class Docstring(griffe.Extension):
    """Rewrites docstrings before they are parsed."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by griffe for every object that it has read."""
        if obj.docstring is not None:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r":[a-z]+:`~?([^`]+)`", r"`\1`", text)
