"""The core of the kit: any answer is compared to the last tensor, and rounding is told from faults."""

import math
from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from weightspace.errors import ShapeError
from weightspace.testing import assert_orbit, orbit_error, tolerance_of
from weightspace.testing.orbit import conditioning_of, deviation, tensors_of

Pair = namedtuple("Pair", "left right")
X = torch.tensor([[1.0, -2.0], [0.5, 3.0]], dtype=torch.float64)


@dataclass
class Answer:
    loss: Tensor
    rest: object = None


class Opaque:
    """Holds something, and says nothing about it."""


def flip(x: Tensor) -> Tensor:
    return x.flip(0)


def test_every_tensor_of_an_answer_is_found() -> None:
    answer = {
        "a": [X, (X, None)],
        "b": Answer(X, Pair(1.5, "text")),
        "c": OrderedDict(d=X),
        "e": nn.utils.rnn.pack_sequence([X]),
    }
    names = [name.removeprefix("the output") for name in tensors_of(answer)]
    assert names[:5] == ["['a'][0]", "['a'][1][0]", "['b'].loss", "['b'].rest[0]", "['c']['d']"]
    assert names[5:] == ["['e'][0]", "['e'][1]"]
    with pytest.raises(ShapeError, match="Opaque, which cannot be looked into"):
        tensors_of((X, Opaque()))


@pytest.mark.parametrize(
    ("wrap", "where"),
    [
        (lambda x: x, "the output, entry (1, 0)"),
        (lambda x: Answer(X, {"k": x}), "the output.rest['k'], entry (1, 0)"),
        (lambda x: (X, [x]), "the output[1][0], entry (1, 0)"),
        (lambda x: x[1, 0], "the output"),
        (lambda x: float(x[1, 0]), "the output"),
        (lambda x: x.to(torch.complex128), "the output, entry (1, 0)"),
    ],
)
def test_the_worst_entry_is_named(wrap, where: str) -> None:
    wrong = X.clone()
    wrong[1, 0] += 1e-3
    found = deviation(wrap(X), wrap(wrong))
    assert found.where == where
    assert 1e-4 < found.error < 1e-2


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        (None, None, "gave NoneType without any tensor"),
        ((X, X), (X,), "when moved"),
        ({"a": X}, {"b": X}, "when moved"),
        (X, X[:1], r"shape \(2, 2\) first and \(1, 2\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(one: object, other: object, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        deviation(one, other)


def test_integers_and_booleans_are_compared_too() -> None:
    assert deviation(X > 0, X > 0).error == 0
    assert deviation((X > 0, X.argmax(0)), (X > 0, X.argmin(0))).error >= 1
    assert deviation(torch.tensor([2**53 + 1]), torch.tensor([2**53 + 1])).error == 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_type_of_the_numbers_is_inferred(dtype: torch.dtype) -> None:
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert_orbit(lambda x: x.softmax(0), flip, flip, x)
    with pytest.raises(AssertionError, match=r"error .* at the output, entry \(\d+, \d+\) > tolerance .* \(seed 0\)"):
        assert_orbit(lambda x: x.cumsum(0), flip, flip, x)
    fault = 3 * tolerance_of(dtype)
    with pytest.raises(AssertionError, match="the law does not hold"):
        assert_orbit(lambda x: x + fault * x.roll(1, 0), flip, flip, x)
    assert_orbit(lambda x: x + fault * x.roll(1, 0), flip, flip, x, tolerance=0.9)


def test_somebody_elses_layer_on_somebody_elses_group() -> None:
    """Attention without positions commutes with reordering the tokens; with a causal mask it does not."""
    torch.manual_seed(0)
    layer, tokens = nn.MultiheadAttention(4, 2, batch_first=True).double().eval(), torch.randn(2, 5, 4).double()
    mask, perm = torch.ones(5, 5, dtype=torch.bool).triu(1), torch.randperm(5)
    back = perm.argsort()
    assert_orbit(lambda x: layer(x, x, x)[0], lambda x: x[:, perm], lambda y: y[:, back], tokens)
    with pytest.raises(AssertionError):
        assert_orbit(lambda x: layer(x, x, x, attn_mask=mask)[0], lambda x: x[:, perm], lambda y: y[:, back], tokens)


def test_tolerances() -> None:
    assert tolerance_of(torch.float64) < tolerance_of(torch.float32) < tolerance_of(torch.float16)
    assert tolerance_of(torch.float64, 0.01) == tolerance_of(torch.float64)
    assert tolerance_of(torch.float64, math.inf) == 1e-2
    assert tolerance_of(torch.bfloat16, 1e9) == tolerance_of(torch.bfloat16)


def test_an_ill_conditioned_law_is_no_false_alarm() -> None:
    """Rounding the sum of many numbers of both signs changes it; a sine of large numbers shows it."""
    x = torch.randn(10_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert conditioning_of(lambda x: x.sum().mul(1e3).sin(), x, torch.float64) > 100
    error = orbit_error(lambda x: x.sum().mul(1e3).sin(), flip, lambda y: y, x)
    assert tolerance_of(torch.float64) / 100 < error
    assert_orbit(lambda x: x.sum().mul(1e3).sin(), flip, lambda y: y, x)
