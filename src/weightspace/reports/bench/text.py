"""Words and values as Markdown shows them, whatever is in them."""

from collections.abc import Mapping
from typing import Any

from weightspace.training.watch import leaves

__all__ = ["code", "plain", "told"]

_SPECIAL = str.maketrans(
    {
        **{mark: f"\\{mark}" for mark in "\\`*_[]|"},
        **{"&": "&amp;", "<": "&lt;", ">": "&gt;", "\n": " ", "\r": " ", "\t": " "},
    }
)
_CODE = ("command", "checksum")


def plain(text: object) -> str:
    r"""Words that are shown as they are, in one cell of a table.

    Example:
        >>> print(plain("a|b <c> *d*"))
        a\|b &lt;c&gt; \*d\*
    """
    return str(text).translate(_SPECIAL)


def code(text: object) -> str:
    r"""Words in a fixed-width font, in one cell of a table.

    Example:
        >>> print(code("zoo make a|b"))
        `zoo make a\|b`
    """
    flat = " ".join(str(text).split()).replace("|", "\\|")
    return f"`` {flat} ``" if "`" in flat else f"`{flat}`"


def told(name: str, value: Any) -> str:
    """A value of a setting or fact, nested ones as names with values.

    Example:
        >>> told("splits", {"train": 3000, "test": 400}), told("checksum", "5f3a")
        ('train 3,000, test 400', '`5f3a`')
    """
    if isinstance(value, Mapping):
        return ", ".join(f"{plain(key)} {told(key, one)}" for key, one in leaves(value).items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(told(name, one) for one in value) or "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    if isinstance(value, int):
        return f"{value:,}" if name != "seed" else str(value)
    if isinstance(value, float):
        return f"{value:g}"
    return code(value) if name in _CODE and value else plain(value)
