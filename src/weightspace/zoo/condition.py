"""Conditions on the columns of a zoo's table, as one types them: ``test_accuracy >= 0.5``."""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from weightspace.errors import DataError
from weightspace.zoo.dataset import Zoo

__all__ = ["where"]

_FORM = re.compile(r"\s*(?P<column>\w+)\s*(?P<sign>==|!=|<=|>=|=|<|>)\s*(?P<value>.*\S)\s*")
_SIGNS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TRUTH = {"true": True, "false": False}


def where(zoo: Zoo, condition: str) -> npt.NDArray[np.bool_]:
    """Which networks of a zoo meet a condition.

    Shapes:
        result: ``(len(zoo),)``.

    Args:
        zoo: the zoo.
        condition: a column, one of ``== != < <= > >=``, and a number, ``true``, ``false`` or a text, which may stand in
            quotes. Numbers that are NaN meet ``!=`` alone.

    Raises:
        DataError: not of that form, or a value that is not of the column's kind.
        UnknownNameError: no such column.
    """
    match = _FORM.fullmatch(condition)
    if match is None:
        raise DataError(
            f"{condition!r} is no condition; expected a column, one of {', '.join(_SIGNS)}, and a value, "
            'such as "test_accuracy >= 0.5".'
        )
    sign, column = match["sign"], zoo.column(match["column"])
    value = _value(zoo.table.schema.field(match["column"]), match["value"], sign)
    return np.asarray(_SIGNS[sign](column, value), dtype=np.bool_)


def _value(field: pa.Field, text: str, sign: str) -> Any:
    """The value as the column's kind has it."""
    kind = field.type
    ordered = sign not in ("=", "==", "!=")
    if pa.types.is_string(kind) and not ordered:
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
    if pa.types.is_boolean(kind) and not ordered and text.lower() in _TRUTH:
        return _TRUTH[text.lower()]
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        for read in (int, float):
            try:
                return read(text)
            except ValueError:
                continue
    raise DataError(
        f"column {field.name!r} holds {kind}, which {sign} {text} cannot be asked of. Remedy: compare numbers with "
        "numbers; texts, and true or false, by == and != alone."
    )
