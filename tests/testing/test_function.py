"""`function_error` and its assertion: every way to call a module and to answer, and specs that are wrong."""

import copy
from dataclasses import dataclass, replace

import pytest
import torch
from tests.laws.registry import MODULES, mlp
from torch import Tensor, nn

from weightspace.errors import DataError, ShapeError
from weightspace.spec import (
    FIXED,
    PERMUTATION,
    POSITIVE,
    SIGN,
    Axis,
    Leg,
    NetworkSpec,
    ParamSpec,
    Sine,
    Symmetry,
    View,
    spec_of,
)
from weightspace.testing import Blueprint, Layer, assert_function_preserved, function_changes, function_error


@dataclass
class Answer:
    logits: Tensor
    note: str = ""


class Reader(nn.Module):
    """Tokens, a mask and numbers by keyword in; a dataclass, a mapping or a tuple out."""

    def __init__(self, answer: str = "dataclass") -> None:
        super().__init__()
        self.embedding = nn.Embedding(7, 3)
        self.body = mlp((3, 4, 2), nn.ReLU())
        self.answer = answer

    def forward(self, tokens: Tensor, *, mask: Tensor, numbers: Tensor | None = None) -> object:
        assert tokens.dtype == torch.int64
        assert mask.dtype == torch.bool
        x = self.body(self.embedding(tokens) * mask.unsqueeze(-1) + (0 if numbers is None else numbers.sum()))
        return {"dataclass": Answer(x, "n"), "mapping": {"x": x, "length": 3}, "tuple": (x, (x.argmax(-1), None))}[
            self.answer
        ]


def reader_spec(module: Reader) -> NetworkSpec:
    """The spec of the chain inside."""
    inner = spec_of(module.body)
    params = tuple(
        replace(p, name=f"body.{p.name}", view=replace(p.view, key=f"body.{p.view.key}")) for p in inner.params
    )
    return NetworkSpec(inner.axes, params)


TOKENS = {"tokens": torch.tensor([[0, 6, 2]]), "mask": torch.tensor([[True, True, False]])}


@pytest.mark.parametrize("answer", ["dataclass", "mapping", "tuple"])
@pytest.mark.parametrize("more", [{}, {"numbers": torch.rand(2)}, {"numbers": None}])
def test_integers_keywords_and_structured_answers(answer: str, more: dict) -> None:
    module = Reader(answer)
    assert function_error(module, reader_spec(module), {**TOKENS, **more}) < 1e-9
    assert_function_preserved(module, reader_spec(module), {**TOKENS, **more})


def test_a_tensor_a_list_and_a_tuple() -> None:
    module, x = mlp((2, 3, 1), nn.Tanh()), torch.randn(5, 2)
    errors = {function_error(module, spec_of(module), inputs) for inputs in (x, [x], (x,), {"input": x})}
    assert len(errors) == 1
    for inputs in ((), {}, []):
        with pytest.raises(ShapeError, match="at least one example input"):
            assert_function_preserved(module, spec_of(module), inputs)


def wrong_power(spec: NetworkSpec, name: str) -> NetworkSpec:
    """The spec with one parameter's legs turned the wrong way round."""
    turned = [
        replace(p, legs=tuple(Leg(leg.axis, tuple(-k for k in leg.powers)) for leg in p.legs)) if p.name == name else p
        for p in spec.params
    ]
    return replace(spec, params=tuple(turned))


@pytest.mark.parametrize("name", ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight"])
def test_a_wrong_power_is_caught_and_its_axis_named(name: str) -> None:
    module, _ = MODULES["relu"]
    with pytest.raises(AssertionError, match=rf"Axis '[02]' \(POSITIVE\) alone.*'{name}' \["):
        assert_function_preserved(module, wrong_power(spec_of(module), name), torch.randn(5, 2))
    assert_function_preserved(module, spec_of(module), torch.randn(5, 2))


def test_the_message() -> None:
    module = mlp((2, 4, 1), nn.GELU())
    spec = replace(spec_of(mlp((2, 4, 1), nn.ReLU())), places=spec_of(module).places)
    message = (
        r"the function changes with its own weights: error \S+ at the output, entry \(\d, 0\) > tolerance \S+ "
        r"\(inputs times 1e-?\d, seed 5\). Axis '0' \(POSITIVE\) alone causes \S+; it is carried, with these powers, "
        r"by '0.weight' \[1\], '0.bias' \[1\], '2.weight' \[-1\]."
    )
    with pytest.raises(AssertionError, match=message):
        assert_function_preserved(module, spec, torch.randn(5, 2), seed=5)


def stream(tie: str = "s") -> NetworkSpec:
    """Of `Blueprint(2, (Layer(3), Layer(4, skip="sum")), 1)` with its first activation the identity.

    Args:
        tie: the axis behind the sum; another than "s" misses that the sum ties both.
    """
    axes = [Axis("in", 2, FIXED), Axis("out", 1, FIXED), Axis("s", 3, POSITIVE), Axis("h", 4, POSITIVE)]
    up, body = Leg("s", (1,)), "2.body"
    params = {
        "0.weight": (up, Leg("in")),
        "0.bias": (up,),
        f"{body}.0.weight": (Leg("h", (1,)), Leg("s", (-1,))),
        f"{body}.0.bias": (Leg("h", (1,)),),
        f"{body}.2.weight": (Leg(tie, (1,)), Leg("h", (-1,))),
        f"{body}.2.bias": (Leg(tie, (1,)),),
        "3.weight": (Leg("out"), Leg(tie, (-1,))),
        "3.bias": (Leg("out"),),
    }
    axes += [Axis(tie, 3, POSITIVE)] if tie != "s" else []
    return NetworkSpec(tuple(axes), tuple(ParamSpec(n, legs, "weight", View(n)) for n, legs in params.items()))


def test_a_missed_residual_tie_is_caught() -> None:
    module, inputs = Blueprint(2, (Layer(3, "identity"), Layer(4, "relu", skip="sum")), 1).build()
    assert_function_preserved(module, stream(), inputs)
    with pytest.raises(AssertionError, match="the function changes"):
        assert_function_preserved(module, stream(tie="t"), inputs)


class Heads(nn.Module):
    """Units in heads, mixed and added: unit `u` of head `h` answers to itself, so both ends of the mixing are one."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.mix, self.down = nn.Linear(2, 6), nn.Linear(6, 6, bias=False), nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(x)
        return self.down((x + self.mix(x)).reshape(-1, 3, 2).softmax(-1).flatten(1))


HEAD, UNIT, IN, OUT = Leg("head"), Leg("unit"), Leg("in"), Leg("out")
HEADS = NetworkSpec(
    (
        Axis("in", 2, FIXED),
        Axis("out", 1, FIXED),
        Axis("head", 3, PERMUTATION),
        Axis("unit", 2, PERMUTATION, within="head"),
    ),
    (
        ParamSpec("up.weight", (HEAD, UNIT, IN), "weight", View("up.weight", (6, 2))),
        ParamSpec("up.bias", (HEAD, UNIT), "bias", View("up.bias", (6,))),
        ParamSpec("mix.weight", (HEAD, UNIT, HEAD, UNIT), "weight", View("mix.weight", (6, 6))),
        ParamSpec("down.weight", (OUT, HEAD, UNIT), "weight", View("down.weight", (1, 6))),
    ),
)


def test_nested_units_and_a_pairing_that_is_forgotten() -> None:
    module = Heads()
    assert_function_preserved(module, HEADS, torch.randn(5, 2))
    flat = {"head": Axis("head", 3, PERMUTATION), "unit": Axis("unit", 2, PERMUTATION)}
    forgotten = replace(HEADS, axes=tuple(flat.get(axis.name, axis) for axis in HEADS.axes))
    # One permutation for the units of all heads is still a symmetry, though not the whole of it.
    assert_function_preserved(module, forgotten, torch.randn(5, 2))
    apart = tuple(
        replace(p, legs=(HEAD, UNIT, Leg("other"), Leg("inner"))) if p.name == "mix.weight" else p for p in HEADS.params
    )
    more = (Axis("other", 3, PERMUTATION), Axis("inner", 2, PERMUTATION, within="other"))
    with pytest.raises(AssertionError, match="the function changes"):
        assert_function_preserved(module, replace(HEADS, axes=HEADS.axes + more, params=apart), torch.randn(5, 2))


def normed_spec(gain: Symmetry = PERMUTATION) -> NetworkSpec:
    """Of a linear layer, a LayerNorm and a linear layer."""
    axes = (Axis("in", 2, FIXED), Axis("out", 1, FIXED), Axis("h", 4, PERMUTATION), Axis("gain", 4, gain))
    params = {
        "0.weight": (Leg("h"), Leg("in")),
        "0.bias": (Leg("h"),),
        "1.weight": (Leg("gain"),),
        "1.bias": (Leg("h"),),
        "2.weight": (Leg("out"), Leg("h")),
    }
    return NetworkSpec(axes, tuple(ParamSpec(n, legs, "weight", View(n)) for n, legs in params.items()))


def test_initial_weights_hide_errors_that_random_ones_show() -> None:
    """All gains are one at first, so that reordering them alone changes nothing."""
    module, x = nn.Sequential(nn.Linear(2, 4), nn.LayerNorm(4), nn.Linear(4, 1)), torch.randn(5, 2)
    assert (
        function_error(module, normed_spec(), x)
        < 1e-9
        < 1e-2
        < function_error(module, normed_spec(), x, randomise=True)
    )
    assert_function_preserved(module, normed_spec(), x, randomise=False)
    with pytest.raises(AssertionError, match="changes with random weights: .* Axis 'gain'"):
        assert_function_preserved(module, normed_spec(), x)


def test_random_variances_are_positive() -> None:
    module, x = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4)), torch.randn(50, 2)
    h = Leg("h")
    params = [
        ParamSpec(f"1.{n}", (h,), r, View(f"1.{n}"))
        for n, r in (("weight", "gain"), ("bias", "shift"), ("running_mean", "mean"), ("running_var", "variance"))
    ]
    weight = ParamSpec("0.weight", (h, Leg("in")), "weight", View("0.weight"))
    bias = ParamSpec("0.bias", (h,), "bias", View("0.bias"))
    spec = NetworkSpec((Axis("h", 4, FIXED), Axis("in", 2, FIXED)), (weight, bias, *params))
    assert function_error(module, spec, x, randomise=True) == 0


def test_the_module_is_not_touched() -> None:
    module = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 1))
    spec = NetworkSpec(
        (Axis("o", 1, FIXED), Axis("i", 3, FIXED)), (ParamSpec("w", (Leg("o"), Leg("i")), "weight", View("3.weight")),)
    )
    module[0].eval()
    before, modes = copy.deepcopy(module.state_dict()), [part.training for part in module.modules()]
    draws = torch.get_rng_state()
    for training in (False, True):
        assert function_error(module, spec, torch.randn(6, 2, generator=torch.Generator()), training=training) == 0
    assert torch.equal(draws, torch.get_rng_state())
    assert modes == [part.training for part in module.modules()]
    for key, tensor in module.state_dict().items():
        assert torch.equal(tensor, before[key])
        assert tensor.dtype == before[key].dtype


def test_modes() -> None:
    """While training, BatchNorm forgets the scale that comes in only up to its epsilon."""

    class Mode(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp((2, 3, 1), nn.ReLU())

        def forward(self, x: Tensor) -> Tensor:
            return self.body(x) if not self.training else self.body(x) + self.body[0].weight.sum()

    module = Mode()
    spec = reader_spec(module)
    assert function_error(module, spec, torch.randn(5, 2)) < 1e-9
    assert function_error(module, spec, torch.randn(5, 2), training=True) > 1e-2
    module.eval()
    assert function_error(module, spec, torch.randn(5, 2), training=True) < 1e-9


def test_modules_that_ask_for_fewer_digits_get_them_all() -> None:
    class Narrow(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp((2, 3, 1), nn.Tanh())

        def forward(self, x: Tensor) -> Tensor:
            x = self.body(x.float()) + self.body(x.to(torch.bfloat16)).half() + self.body(torch.zeros(2))
            return torch.softmax(x, 0, dtype=torch.float32) * x.to(dtype=torch.float32)

    module = Narrow()
    assert 0 < function_error(module, reader_spec(module), torch.randn(5, 2)) < 1e-10
    assert torch.get_default_dtype() == torch.float32


def test_an_ill_conditioned_network_is_no_false_alarm() -> None:
    torch.manual_seed(0)
    module, x = mlp((2, 16, 16, 16, 1), Sine(30.0)), torch.randn(9, 2)
    assert function_error(module, spec_of(module), x) > 1e-11
    assert_function_preserved(module, spec_of(module), x)
    with pytest.raises(AssertionError, match="> tolerance 1e-14"):
        assert_function_preserved(module, spec_of(module), x, tolerance=1e-14)


def test_chaos_tells_nothing() -> None:
    class Chaos(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = mlp((2, 3, 1), nn.Tanh())

        def forward(self, x: Tensor) -> Tensor:
            return (1e14 * self.body(x)).sin()

    with pytest.raises(AssertionError, match="nothing can be told"):
        assert_function_preserved(Chaos(), reader_spec(Chaos()), torch.randn(5, 2).clamp(0.5))


def test_a_module_that_is_no_function() -> None:
    class Counter(nn.Module):
        count = 0

        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(2, 3)

        def forward(self, x: Tensor) -> Tensor:
            Counter.count += 1
            return self.linear(x) + Counter.count

    axes = (Axis("o", 3, FIXED), Axis("i", 2, FIXED))
    spec = NetworkSpec(axes, (ParamSpec("w", (Leg("o"), Leg("i")), "weight", View("linear.weight")),))
    with pytest.raises(AssertionError, match="No axis of the spec moves"):
        assert_function_preserved(Counter(), spec, torch.randn(5, 2), tolerance=1e-9)


def test_tied_weights_move_together() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Linear(2, 3, bias=False)
            self.again = nn.Linear(2, 3, bias=False)
            self.again.weight = self.up.weight

        def forward(self, x: Tensor) -> Tensor:
            return (self.up(x).tanh() * self.again(x)).sum(-1)

    spec = NetworkSpec(
        (Axis("h", 3, SIGN), Axis("i", 2, FIXED)),
        (ParamSpec("w", (Leg("h", (1,)), Leg("i")), "weight", View("up.weight")),),
    )
    assert_function_preserved(Tied(), spec, torch.randn(5, 2))


def test_changes_are_told_by_decade() -> None:
    module, x = nn.Sequential(nn.Linear(2, 4), nn.ReLU6(), nn.Linear(4, 1)), torch.randn(5, 2)
    right, wrong = (spec_of(nn.Sequential(nn.Linear(2, 4), a, nn.Linear(4, 1))) for a in (nn.ReLU6(), nn.ReLU()))
    changes = function_changes(module, right, x)
    assert [change.decade for change in changes] == list(range(-3, 4))
    assert all(change.telling and change.error <= change.allowed for change in changes)
    changes = function_changes(module, wrong, x, tolerance=0.1)
    assert {change.allowed for change in changes} == {0.1}
    assert max(change.error for change in changes) > 0.1
    tokens = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 1))
    ids = torch.arange(5)
    assert [change.decade for change in function_changes(tokens, spec_of(tokens, ids), ids)] == [0]


def test_positional_and_keyword_arguments_together() -> None:
    module, x = nn.Linear(2, 3), torch.randn(5, 2)
    both = ((), {"input": x})
    assert function_error(module, spec_of(module, both), both) == 0


def test_what_cannot_be_tried_is_refused() -> None:
    module, x = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1)), torch.randn(5, 2)
    spec = spec_of(module)
    with pytest.raises(DataError, match="elements is 0"):
        function_error(module, spec, x, elements=0)
    with pytest.raises(DataError, match="tolerance is -1"):
        function_changes(module, spec, x, tolerance=-1.0)
