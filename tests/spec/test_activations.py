"""The activation table: every factor it allows passes, every factor it forbids has a counterexample."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.errors import SpecError
from weightspace.spec import (
    ACTIVATIONS,
    FIXED,
    NONZERO,
    PERMUTATION,
    POSITIVE,
    SIGN,
    Activation,
    Factor,
    Sine,
    Symmetry,
    activation_of,
    activation_of_operation,
    register_activation,
    registered_activations,
)

MAGNITUDES = torch.logspace(-3, 3, 121, dtype=torch.float64)
INPUTS = torch.cat([-MAGNITUDES.flip(0), torch.zeros(1, dtype=torch.float64), MAGNITUDES])  # beyond every bound
SCALES = [10.0 ** (half / 2) for half in range(-6, 7) if half]
BUILT_IN = tuple(ACTIVATIONS)

# Constants other than the default ones: what an operation is called with, and the row that it must be read as.
CONSTANTS: list[tuple[str, tuple[object, ...], str, Fraction | int | None, int | None]] = [
    ("leaky_relu", (0.2,), "leaky_relu", 1, None),
    ("leaky_relu", (-0.5,), "leaky_relu", 1, None),
    ("leaky_relu", (0,), "relu", 1, None),
    ("leaky_relu", (1,), "identity", 1, 1),
    ("leaky_relu", (-1.0,), "abs", 1, 0),
    ("threshold", (0, 0), "relu", 1, None),
    ("threshold", (0, 1), "threshold", None, None),
    ("threshold", (1, 1), "threshold", None, None),
    ("hardtanh", (), "hardtanh", None, 1),
    ("hardtanh", (-2, 2), "hardtanh", None, 1),
    ("hardtanh", (-2, 1), "hardtanh", None, None),
    ("hardtanh", (0.0, 6.0), "relu6", None, None),
    ("hardtanh", (0, 1), "hardtanh", None, None),
    ("clamp", (0,), "relu", 1, None),
    ("clamp", (0, float("inf")), "relu", 1, None),
    ("clamp", (-float("inf"), float("inf")), "identity", 1, 1),
    ("clamp", (None, 0), "clamp_max", 1, None),
    ("clamp", (None, 2.0), "clamp_max", None, None),
    ("clamp", (-1,), "clamp_min", None, None),
    ("clamp", (-3, 3), "hardtanh", None, 1),
    ("clip", (-3, 4), "hardtanh", None, None),
    ("clamp_min", (0,), "relu", 1, None),
    ("clamp_max", (0,), "clamp_max", 1, None),
    ("softshrink", (0,), "identity", 1, 1),
    ("softshrink", (2,), "softshrink", None, 1),
    ("hardshrink", (0,), "identity", 1, 1),
    ("elu", (0.5,), "elu", None, None),
    ("elu", (0,), "relu", 1, None),
    ("celu", (0.5,), "celu", None, None),
    ("softplus", (2.0, 5.0), "softplus", None, None),
    ("pow", (0,), "power", 0, 0),
    ("pow", (1,), "identity", 1, 1),
    ("pow", (2,), "square", 2, 0),
    ("pow", (3,), "power", 3, 1),
    ("pow", (4.0,), "power", 4, 0),
    ("pow", (-1,), "reciprocal", -1, 1),
    ("pow", (-2,), "power", -2, 0),
    ("pow", (0.5,), "sqrt", Fraction(1, 2), None),
    ("pow", (-0.5,), "rsqrt", Fraction(-1, 2), None),
    ("pow", (1.5,), "power", Fraction(3, 2), None),
    ("rrelu", (0.1, 0.3), "rrelu", 1, None),
]
# What cannot be called without arguments; a tensor stands for itself.
ARGUMENTS: dict[str, tuple[object, ...]] = {
    "pow": (3,),
    "threshold": (1.0, 0.0),
    "clamp": (-1, 1),
    "clip": (-1, 1),
    "clamp_min": (1,),
    "clamp_max": (1,),
    "prelu": (torch.tensor([0.25]),),
    "softmax": (-1,),
    "log_softmax": (-1,),
    "_softmax": (-1, False),
    "_log_softmax": (-1, False),
    "_safe_softmax": (-1,),
}


def agree(a: Tensor, b: Tensor) -> Tensor:
    """Entry by entry to 1e-12 relative; where neither is a number, the function is not defined."""
    near = (a - b).abs() <= 1e-12 * torch.maximum(a.abs(), b.abs())
    return near | (a == b) | (a.isnan() & b.isnan())


def passes(f: Callable[[Tensor], Tensor], factor: float, phi: float, x: Tensor = INPUTS) -> bool:
    return bool(agree(f(factor * x), phi * f(x)).all())


def lawful(row: Activation, f: Callable[[Tensor], Tensor] | None = None, x: Tensor = INPUTS) -> bool:
    """Does every factor pass that the row lets pass?"""
    f = f or row.function
    scales = [] if row.positive is None else [passes(f, d, d ** float(row.positive), x) for d in SCALES]
    signs = [] if row.sign is None else [passes(f, -1.0, (-1.0) ** row.sign, x)]
    return all(scales + signs)


def has_multiplier(f: Callable[[Tensor], Tensor], factor: float, x: Tensor) -> bool:
    """Is there any number `phi` with `f(factor x) = phi f(x)`? A quotient at one input settles which."""
    y = f(x)
    quotients = (f(factor * x) / y)[y.isfinite() & (y != 0)]
    quotients = quotients[quotients.isfinite() & (quotients != 0)]
    return len(quotients) > 0 and passes(f, factor, quotients[len(quotients) // 2].item(), x)


def complete(row: Activation, f: Callable[[Tensor], Tensor] | None = None) -> bool:
    """Is there a counterexample wherever the row says that nothing may enter?"""
    f = f or row.function
    # One huge entry rules a softmax alone, which then looks linear; a row of small entries tells the difference.
    x = INPUTS if row.elementwise else torch.stack([INPUTS, 1e-3 * INPUTS])
    scales = row.positive is not None or not any(has_multiplier(f, d, x) for d in (0.1, 2.0))
    signs = row.sign is not None or not has_multiplier(f, -1.0, x)
    return scales and signs


def test_the_table_has_what_networks_use() -> None:
    named = "relu leaky_relu prelu relu6 hardsigmoid hardswish hardtanh softshrink hardshrink tanhshrink tanh sine erf"
    named += " arctan softsign abs square cosine sigmoid gelu silu softplus elu selu softmax identity power relu_power"
    assert set(named.split()) <= set(BUILT_IN)
    assert len(BUILT_IN) >= 30
    assert all(name == ACTIVATIONS[name].name and ACTIVATIONS[name].source for name in BUILT_IN)


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_factor_that_is_allowed_passes_and_no_other(name: str) -> None:
    row = ACTIVATIONS[name]
    assert lawful(row)
    assert complete(row)
    assert Factor.POSITIVE not in row.symmetry.factors or row.positive == 1
    assert Factor.SIGN not in row.symmetry.factors or row.sign == 1


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("gelu", {"positive": 1}),
        ("relu6", {"positive": 1}),
        ("relu", {"sign": 1}),
        ("relu", {"positive": 2}),
        ("tanh", {"positive": 1}),
        ("abs", {"sign": 1}),
        ("square", {"positive": 1}),
        ("reciprocal", {"positive": 1}),
        ("hardswish", {"positive": 1}),
        ("softplus", {"sign": 0}),
        ("softmax", {"positive": 0}),
    ],
)
def test_a_wrong_row_is_caught(name: str, wrong: dict[str, int]) -> None:
    assert not lawful(replace(ACTIVATIONS[name], **wrong))


def test_only_six_decades_catch_relu6() -> None:
    """Between its bounds ReLU6 is homogeneous."""
    mutant = replace(ACTIVATIONS["relu6"], positive=1)
    assert lawful(mutant, x=INPUTS[INPUTS.abs() <= 6e-3])
    assert not lawful(mutant)


@pytest.mark.parametrize(
    ("name", "shy"), [("relu", "positive"), ("tanh", "sign"), ("cosine", "sign"), ("square", "positive")]
)
def test_a_row_that_is_too_shy_is_caught(name: str, shy: str) -> None:
    assert not complete(replace(ACTIVATIONS[name], **{shy: None}))


def call(operation: str, arguments: tuple[object, ...]) -> Callable[[Tensor], Tensor]:
    return lambda x: getattr(torch.ops.aten, operation)(
        x, *(a.to(x.dtype) if isinstance(a, Tensor) else a for a in arguments)
    )


@pytest.mark.parametrize(("operation", "arguments", "name", "positive", "sign"), CONSTANTS)
def test_constants_decide_what_passes(
    operation: str, arguments: tuple[object, ...], name: str, positive: Fraction | int | None, sign: int | None
) -> None:
    found = activation_of_operation(operation, arguments, {})
    assert found is not None
    row, constants = found
    f = call(operation, arguments)
    assert (row.name, row.positive, row.sign) == (name, positive, sign)
    assert agree(row.function(INPUTS, **dict(constants)), f(INPUTS)).all()
    assert ACTIVATIONS[row.name].at(constants) == row
    assert lawful(row, f)
    assert complete(row, f)


@given(low=st.floats(-50, 50), high=st.floats(-50, 50))
def test_no_bounds_let_too_much_through(low: float, high: float) -> None:
    for bounds in ((low, high), (low, -low), (-low, low)):
        found = activation_of_operation("clamp", bounds, {})
        assert found is not None
        assert lawful(found[0], call("clamp", bounds))


class Calls(nn.Module):
    """A module that is one call."""

    def __init__(self, f: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: Tensor) -> Tensor:
        return self.f(x)


def exported(module: nn.Module) -> tuple[str, tuple[object, ...], dict[str, object]]:
    """The last operation of the traced module: base name, arguments behind the tensor, keywords."""
    graph = torch.export.export(module.eval(), (INPUTS,), strict=False).graph
    node = [node for node in graph.nodes if node.op == "call_function"][-1]
    return str(node.target).split(".")[1].removesuffix("_"), tuple(node.args[1:]), dict(node.kwargs)


@pytest.mark.parametrize(
    "operation", sorted({operation for name in BUILT_IN for operation in ACTIVATIONS[name].operations})
)
def test_operations_are_found_in_a_trace(operation: str) -> None:
    """What torch records is read as the row that lists it, and that row computes the same."""
    f = call(operation, ARGUMENTS.get(operation, ()))
    name, arguments, keywords = exported(Calls(f))
    found = activation_of_operation(name, arguments, keywords)
    assert found is not None
    row, constants = found
    assert operation in row.operations or name != operation
    assert agree(row.function(INPUTS, **dict(constants)), f(INPUTS)).all()
    assert complete(row, f)
    assert lawful(row, f)


@pytest.mark.parametrize(
    ("f", "name"),
    [
        (lambda x: F.gelu(x, approximate="tanh"), "gelu_tanh"),
        (F.gelu, "gelu"),
        (F.rrelu, "rrelu"),
        (lambda x: x**2, "square"),
        (lambda x: x.clamp(min=0), "relu"),
        (lambda x: F.softmax(x, -1, dtype=torch.float64), "softmax"),
        (lambda x: F.relu((x * 1), inplace=True), "relu"),
        (lambda x: F.hardtanh(x, 0, 6), "relu6"),
        (torch.sin, "sine"),
    ],
)
def test_functions_are_found_in_a_trace(f: Callable[[Tensor], Tensor], name: str) -> None:
    found = activation_of_operation(*exported(Calls(f)))
    assert found is not None
    assert found[0].name == name


def test_what_is_not_understood_is_none() -> None:
    nodes = torch.fx.Graph()
    node = nodes.placeholder("x")
    for operation, arguments, keywords in (
        ("sort", (), {}),
        ("activation", ("nobody",), {}),
        ("activation", (), {}),
        ("pow", (node,), {}),
        ("pow", (torch.ones(2),), {}),
        ("pow", (), {}),
        ("clamp", (torch.zeros(2), torch.ones(2)), {}),
        ("clamp", (node, None), {}),
        ("leaky_relu", (float("nan"),), {}),
        ("leaky_relu", (), {"slope": 0.1}),
        ("leaky_relu", (0.1, 0.2), {}),
        ("rrelu", (0.1, 0.3, True), {}),
        ("round", (), {"decimals": 2}),
        ("softmax", (None,), {}),
    ):
        assert activation_of_operation(operation, arguments, keywords) is None, (operation, arguments, keywords)


MODULES: list[tuple[nn.Module, str, dict[str, float]]] = [
    (nn.LeakyReLU(0.2), "leaky_relu", {"negative_slope": 0.2}),
    (nn.LeakyReLU(-1.0), "abs", {}),
    (nn.RReLU().eval(), "rrelu", {"lower": 1 / 8, "upper": 1 / 3}),
    (Sine(3), "sine", {"omega": 3.0}),
    (nn.Softsign(), "softsign", {}),
    (nn.Tanhshrink(), "tanhshrink", {}),
    (nn.Hardtanh(-2, 2), "hardtanh", {"min_val": -2.0, "max_val": 2.0}),
    (nn.Hardtanh(0, 6), "relu6", {}),
    (nn.ReLU6(), "relu6", {}),
    (nn.GELU("tanh"), "gelu_tanh", {}),
    (nn.ELU(0.5), "elu", {"alpha": 0.5, "scale": 1.0, "input_scale": 1.0}),
    (nn.Softmax(0), "softmax", {"dim": 0.0}),
    (nn.Threshold(0, 0), "relu", {}),
]


@pytest.mark.parametrize(("module", "name", "constants"), MODULES, ids=str)
def test_modules_are_found_with_their_constants(module: nn.Module, name: str, constants: dict[str, float]) -> None:
    found = activation_of(module)
    assert found is not None
    row, given_constants = found
    assert (row.name, dict(given_constants)) == (name, constants)
    assert agree(row.function(INPUTS, **constants), module(INPUTS)).all()


@pytest.mark.parametrize("name", [name for name in BUILT_IN if ACTIVATIONS[name].module not in (None, nn.Threshold)])
def test_every_module_of_the_table_is_found(name: str) -> None:
    kind = ACTIVATIONS[name].module
    assert kind is not None
    module = (kind(dim=0) if not ACTIVATIONS[name].elementwise else kind()).eval()
    found = activation_of(module)
    assert found is not None
    assert found[0].name == name


def test_other_modules_are_none() -> None:
    class Loud(nn.ReLU):
        """A subclass may compute something else."""

    for module in (nn.Linear(2, 2), nn.PReLU(), nn.Softmax(), nn.RReLU().train(), Loud()):
        assert activation_of(module) is None


# Registration


class Cubic(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x**3


class Bounded(nn.Module):
    """Odd where its bounds are opposite."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(self.low, self.high)


class PerUnit(nn.Module):
    def __init__(self, units: int = 1) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.full((units,), 0.5))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.slope * x)


@pytest.fixture(autouse=True)
def _own_table() -> Iterator[None]:
    """What a test registers is gone after it."""
    yield
    for name in set(ACTIVATIONS) - set(BUILT_IN):
        del ACTIVATIONS[name]


def operations(module: nn.Module) -> list[tuple[str, tuple[object, ...]]]:
    with registered_activations(module):
        graph = torch.export.export(module, (torch.randn(2, 3),), strict=False).graph
    return [(str(node.target), tuple(node.args[1:])) for node in graph.nodes if node.op == "call_function"]


def test_a_class_names_itself_in_a_trace_and_nowhere_else() -> None:
    assert register_activation(Cubic, SIGN) is Cubic
    module = nn.Sequential(nn.Linear(3, 3), Cubic(), nn.Linear(3, 3))
    assert [target for target, _ in operations(module)] == [
        "aten.linear.default",
        "weightspace.activation.default",
        "aten.linear.default",
    ]
    assert operations(module)[1][1] == ("Cubic",)
    plain = torch.export.export(module, (torch.randn(2, 3),), strict=False).graph
    assert not any("weightspace" in str(node.target) for node in plain.nodes)
    x = torch.randn(2, 3, requires_grad=True)
    Cubic()(x).sum().backward()
    assert torch.equal(x.grad, 1 + 3 * x.detach() ** 2)
    assert torch.equal(Cubic()(x), x + x**3)


def test_a_registered_row_is_found() -> None:
    register_activation(Cubic, SIGN, name="cubic")
    found = activation_of_operation("activation", ("cubic",), {})
    assert found is not None
    assert found == activation_of(Cubic())
    assert (found[0].positive, found[0].sign, found[0].symmetry, found[1]) == (None, 1, SIGN, ())
    assert lawful(found[0])


def test_a_function_names_itself_in_a_trace_and_nowhere_else() -> None:
    @register_activation(symmetry=POSITIVE)
    def half(x: Tensor) -> Tensor:
        """Keeps its docstring."""
        return torch.where(x > 0, x, 0.5 * x)

    assert half.__doc__ == "Keeps its docstring."
    assert operations(Calls(half)) == [("weightspace.activation.default", ("half",))]
    x = torch.tensor([-2.0, 3.0], requires_grad=True)
    half(x).sum().backward()
    assert x.grad.tolist() == [0.5, 1.0]
    with registered_activations():
        assert half(x.detach()).tolist() == [-1.0, 3.0]  # a traced graph of functions can be run
    del ACTIVATIONS["half"]
    assert not any("weightspace" in target for target, _ in operations(Calls(half)))


def test_a_decorated_class_stays_the_class() -> None:
    @register_activation(symmetry=NONZERO)
    class Double(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    assert isinstance(Double, type)
    assert operations(nn.Sequential(Double())) == [("weightspace.activation.default", ("Double",))]


def test_nothing_is_left_behind() -> None:
    register_activation(Cubic, SIGN)
    module = Cubic()
    with registered_activations(module), registered_activations(module):
        assert "forward" in vars(module)
    assert "forward" not in vars(module)
    with pytest.raises(KeyError), registered_activations(module):
        raise KeyError
    assert "forward" not in vars(module)


def test_without_the_module_classes_are_seen_through() -> None:
    register_activation(Cubic, SIGN)
    with registered_activations():
        assert Cubic()(torch.ones(1)).item() == 2
        assert exported(Cubic())[0] != "activation"


def test_a_module_in_a_graph_cannot_be_run_without_its_constants() -> None:
    register_activation(Cubic, SIGN)
    module = Cubic()
    with registered_activations(module):
        program = torch.export.export(module, (torch.ones(2),), strict=False)
    with pytest.raises(SpecError, match="run the module"):
        program.module()(torch.ones(2))


@pytest.mark.parametrize(
    ("f", "claim"),
    [
        (F.gelu, POSITIVE),
        (F.gelu, SIGN),
        (F.relu6, POSITIVE),
        (lambda x: x.clamp(-900, 900), POSITIVE),
        (F.relu, SIGN),
        (F.relu, NONZERO),
        (torch.tanh, NONZERO),
        (torch.abs, NONZERO),
        (torch.square, POSITIVE),
        (lambda x: torch.softmax(x, -1), PERMUTATION),
        (lambda x: x - x.mean(), PERMUTATION),
        (lambda x: x.cumsum(-1), POSITIVE),
        (lambda x: x + torch.randn_like(x), PERMUTATION),
        (lambda x: x.sum(), PERMUTATION),
        (lambda x: None, PERMUTATION),
        (lambda x: x @ torch.ones(7, dtype=x.dtype), PERMUTATION),
        (F.relu, FIXED),
        (F.relu, Symmetry(True, (Factor.POSITIVE, Factor.POSITIVE))),
    ],
)
def test_false_claims_are_refused(f: Callable[[Tensor], Tensor], claim: Symmetry) -> None:
    with pytest.raises(SpecError):
        register_activation(f, claim, name="claimed")
    assert "claimed" not in ACTIVATIONS


def test_a_false_claim_is_answered_with_a_counterexample() -> None:
    with pytest.raises(
        SpecError, match=r"'clipped' is claimed to be POSITIVE, but f\(d x\) = 6 .* Claim less"
    ) as caught:
        register_activation(F.relu6, POSITIVE, name="clipped")
    assert "d = " in str(caught.value)
    assert register_activation(F.relu6, PERMUTATION, name="clipped")(torch.tensor(7.0)) == 6


def test_functions_that_work_in_place_are_checked_on_copies() -> None:
    register_activation(lambda x: x.mul_(2), NONZERO, name="twice")
    with pytest.raises(SpecError, match="'square in place'"):
        register_activation(lambda x: x.pow_(2), POSITIVE, name="square in place")


def test_names_are_given_once() -> None:
    register_activation(Cubic, SIGN)
    assert register_activation(Cubic, SIGN) is Cubic  # a notebook's cell run twice
    with pytest.raises(SpecError, match="already has an activation 'Cubic'"):
        register_activation(Cubic, PERMUTATION)
    with pytest.raises(SpecError, match="already has an activation 'Cubic'"):
        register_activation(torch.tanh, SIGN, name="Cubic")
    with pytest.raises(SpecError, match="already has an activation 'relu'"):
        register_activation(torch.tanh, SIGN, name="relu")
    with pytest.raises(SpecError, match="in the table already, as 'Cubic'"):
        register_activation(Cubic, SIGN, name="another")
    with pytest.raises(SpecError, match="in the table already, as 'tanh'"):
        register_activation(nn.Tanh, SIGN)
    with pytest.raises(SpecError, match="lambda has no name"):
        register_activation(lambda x: x, SIGN)


@pytest.mark.parametrize("what", [nn.ReLU(), int, 3, "relu"])
def test_other_things_are_refused(what: object) -> None:
    with pytest.raises(SpecError, match="neither a subclass of nn.Module nor a function"):
        register_activation(what, PERMUTATION)


def test_a_class_with_arguments_needs_an_example() -> None:
    with pytest.raises(SpecError, match="pass example=an instance"):
        register_activation(Bounded, SIGN)
    with pytest.raises(SpecError, match="expected an instance of the class"):
        register_activation(Bounded, SIGN, example=nn.ReLU())
    with pytest.raises(SpecError, match="'Bounded' is claimed to be SIGN"):
        register_activation(Bounded, SIGN, example=Bounded(-1, 2))
    register_activation(Bounded, SIGN, example=Bounded(-1, 1))
    assert operations(nn.Sequential(Bounded(-7, 7)))[0][1] == ("Bounded",)
    module = nn.Sequential(nn.Linear(3, 3), Bounded(-1, 2))
    with pytest.raises(SpecError, match="'Bounded' at '1' .* is claimed to be SIGN"):
        operations(module)
    assert "forward" not in vars(module[1])


def test_numbers_that_differ_between_units_are_refused() -> None:
    register_activation(PerUnit, POSITIVE)
    assert operations(PerUnit())[0][1] == ("PerUnit",)
    with pytest.raises(SpecError, match="'slope' of 3 entries"):
        operations(nn.Sequential(PerUnit(3)))
    with pytest.raises(SpecError, match="'slope' of 3 entries"):
        register_activation(PerUnit, POSITIVE, name="other", example=PerUnit(3))


def test_a_forward_put_on_one_instance_is_left_alone() -> None:
    register_activation(Cubic, SIGN)
    module = Cubic()
    vars(module)["forward"] = forward = lambda x: torch.relu(x)
    assert operations(module) == [("aten.relu.default", ())]
    assert vars(module)["forward"] is forward
