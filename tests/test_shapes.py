"""The wrapper that checks signatures while testing refuses what jaxtyping's own refuses."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jaxtyping
import pytest
import torch
from beartype import beartype
from jaxtyping import Float
from tests.shapes import REAL, jaxtyped, may_name_shapes
from torch import Tensor

from weightspace.weights import WeightFeatures

BOTH = pytest.mark.parametrize("wrap", [REAL, jaxtyped], ids=["jaxtyping", "ours"])
MATRIX, OTHER = torch.zeros(2, 3), torch.zeros(4, 3)


def same(a: Float[Tensor, "n m"], b: Float[Tensor, "n m"]) -> Float[Tensor, " n"]:
    return (a + b).sum(1)


def turned(a: Float[Tensor, "n m"]) -> Float[Tensor, "m n"]:
    return a


def nested(a: list[Float[Tensor, "n m"]], b: Float[Tensor, " n"] | None = None) -> None:
    pass


def plain(a: int) -> str:
    return "one" if a == 1 else a


@dataclass
class Pair:
    a: Float[Tensor, "n m"]
    b: Float[Tensor, "n m"]


@BOTH
@pytest.mark.parametrize(
    ("target", "right", "wrong"),
    [
        (same, (MATRIX, MATRIX), (MATRIX, OTHER)),
        (turned, (torch.zeros(2, 2),), (MATRIX,)),
        (nested, ([MATRIX], torch.zeros(2)), ([MATRIX], torch.zeros(3))),
        (plain, (1,), (2,)),
        (plain, (1,), ("1",)),
        (Pair, (MATRIX, MATRIX), (MATRIX, OTHER)),
    ],
)
def test_refused_alike(
    wrap: Callable[..., Any], target: Callable[..., Any], right: tuple[Any, ...], wrong: tuple[Any, ...]
) -> None:
    if target is Pair:
        target = dataclass(type("Pair", (), {"__annotations__": Pair.__annotations__}))
    target = wrap(target, typechecker=beartype)
    target(*right)
    with pytest.raises(Exception, match=r"(?i)type|violates|expected"):
        target(*wrong)


def test_signatures_without_shapes_need_no_record() -> None:
    assert not may_name_shapes(plain)
    assert may_name_shapes(same)
    assert may_name_shapes(nested)


def test_the_package_is_checked() -> None:
    assert jaxtyping.jaxtyped is jaxtyped
    with pytest.raises(Exception, match="violates"):
        WeightFeatures("no spec", [MATRIX])
