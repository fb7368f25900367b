"""Which factors each activation lets through, with the source of each statement.

An activation `f` lets a factor `d` through where a number `phi` exists with `f(d x) = phi f(x)` for all `x`: units may
then be multiplied by `d` on the way in and divided by `phi` on the way out. For a positive `d` continuity leaves only
powers, `phi = d**p`; for `d = -1` it leaves `1` and `-1`. The table names these two numbers for every activation.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.spec.network import NONZERO, PERMUTATION, POSITIVE, SIGN, Symmetry

__all__ = ["ACTIVATIONS", "Activation", "Sine", "activation_of", "activation_of_operation"]

Law = tuple[Fraction | int | None, int | None]
Constants = tuple[tuple[str, float], ...]


class Sine(nn.Module):
    """`sin(omega * x)`, the activation of SIRENs.

    Args:
        omega: the frequency, in radians per unit of input.

    Example:
        >>> Sine(2.0)(torch.tensor(0.25 * torch.pi))
        tensor(1.)

    References:
        Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions", NeurIPS 2020, eq. 1.
    """

    def __init__(self, omega: float = 30.0) -> None:
        super().__init__()
        self.omega = float(omega)

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return torch.sin(self.omega * x)

    def extra_repr(self) -> str:
        """The frequency, for `print(module)`."""
        return f"omega={self.omega:g}"


@dataclass(frozen=True)
class Activation:
    """One row of the table.

    A row of `ACTIVATIONS` speaks of the default constants of its function; `at` gives the row for others.

    Args:
        name: how specs call it.
        positive: the power `p` with which a positive factor leaves: `f(d x) = d**p f(x)` for all `d > 0` and all `x`
            where `f` is defined. With `0` it may enter and vanishes; with `None` no positive factor may enter.
        sign: what a change of sign becomes: `1` if it passes (odd), `0` if it may enter and vanishes (even), `None`
            if it may not enter.
        function: the activation itself, with the constants by keyword.
        constants: names of the constants that belong to the function.
        source: why the factors are what they are.
        operations: the aten operations that compute it: the part of the name between `aten.` and the overload,
            without the underscore of the forms that work in place.
        module: the torch module class that computes it, if it has no parameters of its own.
        elementwise: false where entries are mixed along one dimension, the constant `dim`. The units of that
            dimension may still be reordered, all of them or none.
        law: from the constants to `(positive, sign)`, where these depend on them.

    Example:
        >>> row = ACTIVATIONS["power"].at((("exponent", 4.0),))
        >>> row.positive, row.sign
        (4, 0)
    """

    name: str
    positive: Fraction | int | None
    sign: int | None
    function: Callable[..., Tensor]
    constants: tuple[str, ...]
    source: str
    operations: tuple[str, ...] = ()
    module: type[nn.Module] | None = None
    elementwise: bool = True
    law: Callable[..., Law] | None = None

    @property
    def symmetry(self) -> Symmetry:
        """What passes unchanged, `f(d x) = d f(x)`, so that one and the same factor is met on both sides.

        It leaves out the factors that are changed on the way through: those of `x**p`, whose positive factors leave
        with another power, and the signs that the absolute value takes. `positive` and `sign` tell these as well.

        Example:
            >>> ACTIVATIONS["relu"].symmetry, ACTIVATIONS["abs"].symmetry, ACTIVATIONS["square"].symmetry
            (POSITIVE, POSITIVE, PERMUTATION)
        """
        passes = {(True, True): NONZERO, (True, False): POSITIVE, (False, True): SIGN, (False, False): PERMUTATION}
        return passes[self.positive == 1, self.sign == 1]

    def at(self, constants: Constants) -> "Activation":
        """The row for these constants, which may let more or fewer factors through than the default ones."""
        if self.law is None:
            return self
        positive, sign = self.law(**dict(constants))
        return replace(self, positive=positive, sign=sign)


MONOMIAL = "Tran et al., NeurIPS 2024 (Monomial-NFN): positive scales for ReLU, signs for tanh and sine"
HOMOGENEOUS = "piecewise linear with its only kink at zero: positively homogeneous"
LINEAR = "linear: every invertible matrix passes, monomial ones among them"
MONOMIAL_FUNCTION = "(d x)^p = d^p x^p; (-1)^p is the parity of an integer p; other powers have no negative inputs"
ODD = "odd and not homogeneous"
EVEN = "even and not homogeneous"
NEITHER = "neither odd nor even, not homogeneous: no linear factor passes"
BOUNDED = "clipped on one side: homogeneous where the bound is zero, else nothing passes"
BOUNDS = "clipped at two bounds: odd where they are opposite, else nothing passes"
LOGARITHM = "a positive factor becomes a summand, not a factor; no negative inputs"
MIXING = "invariant to a common shift, not to factors; equivariant to permutations of what it runs over"


def _identity(x: Tensor) -> Tensor:
    return x


def _sine(x: Tensor, omega: float = 30.0) -> Tensor:
    return torch.sin(omega * x)


def _power(x: Tensor, exponent: float = 3.0) -> Tensor:
    return torch.pow(x, exponent)


def _relu_power(x: Tensor, exponent: float = 2.0) -> Tensor:
    return torch.pow(F.relu(x), exponent)


def _rrelu(x: Tensor, lower: float = 1 / 8, upper: float = 1 / 3) -> Tensor:
    return F.leaky_relu(x, (lower + upper) / 2)


def _hardtanh(x: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    return torch.clamp(x, min_val, max_val)  # F.hardtanh refuses equal bounds, which torch.clamp takes


def _at_least(x: Tensor, min: float = 1.0) -> Tensor:
    return torch.clamp(x, min=min)


def _at_most(x: Tensor, max: float = 1.0) -> Tensor:
    return torch.clamp(x, max=max)


def _threshold(x: Tensor, threshold: float = 1.0, value: float = 0.0) -> Tensor:
    return F.threshold(x, threshold, value)


def _elu(x: Tensor, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Tensor:
    return scale * torch.where(x > 0, x, alpha * torch.expm1(input_scale * x.clamp(max=0)))


def _prelu(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.25)  # the slope that torch starts with; it is a parameter, not a constant


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _softmax(x: Tensor, dim: float = -1.0) -> Tensor:
    return F.softmax(x, int(dim))


def _log_softmax(x: Tensor, dim: float = -1.0) -> Tensor:
    return F.log_softmax(x, int(dim))


def _power_law(exponent: float) -> Law:
    if not exponent.is_integer():
        return Fraction(exponent), None
    return int(exponent), int(exponent) % 2


def _relu_power_law(exponent: float) -> Law:
    return (int(exponent) if exponent.is_integer() else Fraction(exponent)), None


def _bounds_law(min_val: float, max_val: float) -> Law:
    # torch.clamp takes bounds in the wrong order and then gives the upper one everywhere: opposite, and yet not odd.
    return None, 1 if min_val == -max_val and min_val <= 0 else None


def _bound_law(max: float) -> Law:
    return (1 if max == 0 else None), None


ACTIVATIONS: dict[str, Activation] = {
    row.name: row
    for row in (
        # Linear: every factor passes.
        Activation("identity", 1, 1, _identity, (), LINEAR, ("alias", "clone", "detach", "positive"), nn.Identity),
        Activation("neg", 1, 1, torch.neg, (), LINEAR, ("neg", "negative")),
        # Positively homogeneous: positive factors pass.
        Activation("relu", 1, None, F.relu, (), MONOMIAL, ("relu",), nn.ReLU),
        Activation(
            "leaky_relu", 1, None, F.leaky_relu, ("negative_slope",), HOMOGENEOUS, ("leaky_relu",), nn.LeakyReLU
        ),
        Activation("prelu", 1, None, _prelu, (), HOMOGENEOUS + ", whatever the slope, a parameter", ("prelu",)),
        Activation("rrelu", 1, None, _rrelu, ("lower", "upper"), HOMOGENEOUS + " (eval mode)", ("rrelu",), nn.RReLU),
        Activation("abs", 1, 0, torch.abs, (), "|d x| = |d| |x|: the sign is taken away", ("abs", "absolute")),
        # Powers: a positive factor leaves with another power than it came in with.
        Activation("square", 2, 0, torch.square, (), MONOMIAL_FUNCTION, ("square",)),
        Activation("power", 3, 1, _power, ("exponent",), MONOMIAL_FUNCTION, ("pow",), law=_power_law),
        Activation(
            "relu_power", 2, None, _relu_power, ("exponent",), "(ReLU(d x))^p = d^p ReLU(x)^p", law=_relu_power_law
        ),
        Activation("sqrt", Fraction(1, 2), None, torch.sqrt, (), MONOMIAL_FUNCTION, ("sqrt",)),
        Activation("rsqrt", Fraction(-1, 2), None, torch.rsqrt, (), MONOMIAL_FUNCTION, ("rsqrt",)),
        Activation("reciprocal", -1, 1, torch.reciprocal, (), MONOMIAL_FUNCTION, ("reciprocal",)),
        Activation("sign", 0, 1, torch.sign, (), "sign(d x) = sign(d) sign(x)", ("sign", "sgn")),
        # Odd: signs pass.
        Activation("tanh", None, 1, torch.tanh, (), MONOMIAL, ("tanh",), nn.Tanh),
        Activation("sine", None, 1, _sine, ("omega",), MONOMIAL, ("sin",), Sine),
        Activation("tan", None, 1, torch.tan, (), ODD, ("tan",)),
        Activation("sinh", None, 1, torch.sinh, (), ODD, ("sinh",)),
        Activation("asinh", None, 1, torch.asinh, (), ODD, ("asinh", "arcsinh")),
        Activation("arcsin", None, 1, torch.asin, (), ODD, ("asin", "arcsin")),
        Activation("arctan", None, 1, torch.atan, (), ODD, ("atan", "arctan")),
        Activation("atanh", None, 1, torch.atanh, (), ODD, ("atanh", "arctanh")),
        Activation("erf", None, 1, torch.erf, (), ODD, ("erf", "special_erf")),
        Activation("erfinv", None, 1, torch.erfinv, (), ODD, ("erfinv", "special_erfinv")),
        Activation("softsign", None, 1, F.softsign, (), ODD, (), nn.Softsign),
        Activation("tanhshrink", None, 1, F.tanhshrink, (), ODD, (), nn.Tanhshrink),
        Activation("softshrink", None, 1, F.softshrink, ("lambd",), ODD, ("softshrink",), nn.Softshrink),
        Activation("hardshrink", None, 1, F.hardshrink, ("lambd",), ODD, ("hardshrink",), nn.Hardshrink),
        Activation(
            "hardtanh",
            None,
            1,
            _hardtanh,
            ("min_val", "max_val"),
            BOUNDS,
            ("hardtanh", "clamp", "clip"),
            nn.Hardtanh,
            law=_bounds_law,
        ),
        Activation(
            "round", None, 1, torch.round, (), ODD + ": halves go to the even neighbour", ("round", "special_round")
        ),
        Activation("trunc", None, 1, torch.trunc, (), ODD, ("trunc", "fix")),
        Activation("frac", None, 1, torch.frac, (), ODD, ("frac",)),
        # Even: signs may enter and vanish.
        Activation("cosine", None, 0, torch.cos, (), EVEN, ("cos",)),
        Activation("cosh", None, 0, torch.cosh, (), EVEN, ("cosh",)),
        Activation("sinc", None, 0, torch.sinc, (), EVEN, ("sinc", "special_sinc")),
        # Nothing passes, with a few constants excepted.
        Activation("clamp_min", None, None, _at_least, ("min",), BOUNDED, ("clamp_min",)),
        Activation("clamp_max", None, None, _at_most, ("max",), BOUNDED, ("clamp_max",), law=_bound_law),
        Activation("relu6", None, None, F.relu6, (), BOUNDS, ("relu6",), nn.ReLU6),
        Activation("threshold", None, None, _threshold, ("threshold", "value"), NEITHER, ("threshold",), nn.Threshold),
        Activation("hardsigmoid", None, None, F.hardsigmoid, (), BOUNDS, ("hardsigmoid",), nn.Hardsigmoid),
        Activation("hardswish", None, None, F.hardswish, (), NEITHER, ("hardswish",), nn.Hardswish),
        Activation("sigmoid", None, None, torch.sigmoid, (), NEITHER, ("sigmoid", "special_expit"), nn.Sigmoid),
        Activation("logsigmoid", None, None, F.logsigmoid, (), NEITHER, ("log_sigmoid",), nn.LogSigmoid),
        Activation("gelu", None, None, F.gelu, (), NEITHER, ("gelu",), nn.GELU),
        Activation("gelu_tanh", None, None, _gelu_tanh, (), NEITHER, ("gelu",)),
        Activation("silu", None, None, F.silu, (), NEITHER, ("silu",), nn.SiLU),
        Activation("mish", None, None, F.mish, (), NEITHER, ("mish",), nn.Mish),
        Activation("softplus", None, None, F.softplus, ("beta", "threshold"), NEITHER, ("softplus",), nn.Softplus),
        Activation("elu", None, None, _elu, ("alpha", "scale", "input_scale"), NEITHER, ("elu",), nn.ELU),
        Activation("selu", None, None, F.selu, (), NEITHER, ("selu",), nn.SELU),
        Activation("celu", None, None, F.celu, ("alpha",), NEITHER, ("celu",), nn.CELU),
        Activation("exp", None, None, torch.exp, (), NEITHER, ("exp",)),
        Activation("exp2", None, None, torch.exp2, (), NEITHER, ("exp2", "special_exp2")),
        Activation("expm1", None, None, torch.expm1, (), NEITHER, ("expm1", "special_expm1")),
        Activation("log", None, None, torch.log, (), LOGARITHM, ("log",)),
        Activation("log1p", None, None, torch.log1p, (), NEITHER, ("log1p", "special_log1p")),
        Activation("log2", None, None, torch.log2, (), LOGARITHM, ("log2",)),
        Activation("log10", None, None, torch.log10, (), LOGARITHM, ("log10",)),
        Activation("logit", None, None, torch.logit, (), NEITHER, ("logit", "special_logit")),
        Activation("erfc", None, None, torch.erfc, (), NEITHER, ("erfc", "special_erfc")),
        Activation("arccos", None, None, torch.acos, (), NEITHER, ("acos", "arccos")),
        Activation("acosh", None, None, torch.acosh, (), NEITHER, ("acosh", "arccosh")),
        Activation("floor", None, None, torch.floor, (), NEITHER, ("floor",)),
        Activation("ceil", None, None, torch.ceil, (), NEITHER, ("ceil",)),
        Activation(
            "softmax",
            None,
            None,
            _softmax,
            ("dim",),
            MIXING,
            ("softmax", "_softmax", "_safe_softmax"),
            nn.Softmax,
            elementwise=False,
        ),
        Activation(
            "log_softmax",
            None,
            None,
            _log_softmax,
            ("dim",),
            MIXING,
            ("log_softmax", "_log_softmax"),
            nn.LogSoftmax,
            elementwise=False,
        ),
    )
}
OPERATIONS: Mapping[str, str] = {
    operation: row.name for row in reversed(ACTIVATIONS.values()) for operation in row.operations
}

# Constants with which a row is another row: that one says more.
SAME: Mapping[tuple[str, tuple[float, ...]], str] = {
    ("leaky_relu", (0.0,)): "relu",
    ("leaky_relu", (1.0,)): "identity",
    ("leaky_relu", (-1.0,)): "abs",
    ("power", (2.0,)): "square",
    ("power", (1.0,)): "identity",
    ("power", (0.5,)): "sqrt",
    ("power", (-0.5,)): "rsqrt",
    ("power", (-1.0,)): "reciprocal",
    ("hardtanh", (0.0, 6.0)): "relu6",
    ("clamp_min", (0.0,)): "relu",
    ("threshold", (0.0, 0.0)): "relu",
    ("softshrink", (0.0,)): "identity",
    ("hardshrink", (0.0,)): "identity",
    ("elu", (0.0, 1.0, 1.0)): "relu",
}

Values = Mapping[str, object]


def _read_clamp(values: Values) -> tuple[str, Values]:
    """One row for two bounds, one for each single bound; an infinite bound is none."""
    low, high = (values.get(end, values.get(f"{end}_val")) for end in ("min", "max"))
    below = low is not None and not (isinstance(low, float) and low == -math.inf)
    above = high is not None and not (isinstance(high, float) and high == math.inf)
    if below and above:
        return "hardtanh", {"min_val": low, "max_val": high}
    if below:
        return "clamp_min", {"min": low}
    return ("clamp_max", {"max": high}) if above else ("identity", {})


def _read_gelu(values: Values) -> tuple[str, Values]:
    return ("gelu_tanh" if values["approximate"] == "tanh" else "gelu"), {}


def _read_rrelu(values: Values) -> tuple[str, Values] | None:
    return None if values["training"] else ("rrelu", values)  # while training, every entry draws a slope


def _read_sin(values: Values) -> tuple[str, Values]:
    return "sine", {"omega": 1.0}


# Operations whose arguments decide which row it is. Everywhere else the arguments are the constants.
READERS: Mapping[str, Callable[[Values], tuple[str, Values] | None]] = {
    "clamp": _read_clamp,
    "clip": _read_clamp,
    "hardtanh": _read_clamp,
    "clamp_min": _read_clamp,
    "clamp_max": _read_clamp,
    "gelu": _read_gelu,
    "rrelu": _read_rrelu,
    "sin": _read_sin,
}
OVERLOADS: Mapping[str, str] = {"pow": "Tensor_Scalar", "softmax": "int", "log_softmax": "int"}


def activation_of_operation(
    operation: str, arguments: Sequence[object], keywords: Mapping[str, object]
) -> tuple[Activation, Constants] | None:
    """The row for one operation of a traced graph and the constants it carries.

    The row's factors are those for the constants found: clipping at -2 and 2 lets signs through, clipping at 0 and 6
    is ReLU6 and lets nothing through. The slope of PReLU is a parameter and no constant; positive factors pass
    whatever it is.

    Args:
        operation: name of the aten operation, such as `"leaky_relu"`, without overload and trailing underscore, or
            `"activation"`, which stands for what `register_activation` added.
        arguments: its arguments behind the tensor, which must be the first one (`2**x` is not in the table).
        keywords: its arguments by keyword; what is left out has the default of aten's schema.

    Returns:
        The row and its constants, or `None` where the table has no such operation, or where a constant is no number
        known at the time of tracing.

    Example:
        >>> row, constants = activation_of_operation("hardtanh", (-2, 2), {})
        >>> row.name, row.sign, constants
        ('hardtanh', 1, (('min_val', -2.0), ('max_val', 2.0)))
        >>> activation_of_operation("pow", (2,), {})[0].name
        'square'
        >>> activation_of_operation("sort", (), {}) is None
        True
    """
    if operation == "activation":
        name = arguments[0] if arguments else keywords.get("name")
        return (ACTIVATIONS[name], ()) if isinstance(name, str) and name in ACTIVATIONS else None
    values = _bound(operation, arguments, keywords) if operation in OPERATIONS else None
    if values is None:
        return None
    read = READERS[operation](values) if operation in READERS else (OPERATIONS[operation], values)
    return None if read is None else _row(*read)


def activation_of(module: nn.Module) -> tuple[Activation, Constants] | None:
    """The table's row for a module with the constants it carries, or `None` where the table has no such row.

    A leaky ReLU of slope `-1` is the absolute value and one of slope `1` the identity. Modules with parameters of
    their own (`PReLU`) have no row: more than their name must be read.

    Example:
        >>> row, constants = activation_of(Sine(30.0))
        >>> row.name, row.symmetry, constants
        ('sine', SIGN, (('omega', 30.0),))
    """
    row = next((row for row in ACTIVATIONS.values() if type(module) is row.module), None)
    if row is None:
        return None
    # Torch's modules keep their constants under the names that the operation gives its arguments.
    if row.operations and type(module).__module__.startswith("torch.nn."):
        operation = row.operations[0]
        keywords = {name: getattr(module, name) for name in _schema(operation)[0] if hasattr(module, name)}
        return activation_of_operation(operation, (), keywords)
    return _row(row.name, {name: getattr(module, name) for name in row.constants})


def _row(name: str, values: Values) -> tuple[Activation, Constants] | None:
    """The row of a name for its constants among the values, moved to the row that says more."""
    numbers = [values.get(constant) for constant in ACTIVATIONS[name].constants]
    if not all(isinstance(number, int | float) and abs(number) < math.inf for number in numbers):  # a NaN is not less
        return None
    constants = tuple(float(number) for number in numbers if isinstance(number, int | float))
    if (name, constants) in SAME:
        return ACTIVATIONS[SAME[name, constants]], ()
    named = tuple(zip(ACTIVATIONS[name].constants, constants, strict=True))
    return ACTIVATIONS[name].at(named), named


def _bound(operation: str, arguments: Sequence[object], keywords: Mapping[str, object]) -> Values | None:
    """The arguments behind the tensor by name, with the schema's defaults; `None` where they do not fit it."""
    names, defaults = _schema(operation)
    if len(arguments) > len(names) or not set(keywords) <= set(names):
        return None
    values = {**defaults, **dict(zip(names, arguments, strict=False)), **keywords}
    return values if set(values) == set(names) else None


@cache
def _schema(operation: str) -> tuple[tuple[str, ...], Values]:
    """Names and defaults of what follows the tensor."""
    packet = getattr(torch.ops.aten, operation)
    arguments = getattr(packet, OVERLOADS.get(operation, "default"))._schema.arguments[1:]
    defaults = {argument.name: argument.default_value for argument in arguments if argument.has_default_value()}
    return tuple(argument.name for argument in arguments), defaults
