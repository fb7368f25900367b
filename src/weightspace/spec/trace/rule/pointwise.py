"""Operations on single numbers: sums, products, activations, comparisons, constants."""

from dataclasses import replace
from typing import Any

from torch.fx import Node

from weightspace.spec.activations import ACTIVATIONS, Activation, activation_of_operation
from weightspace.spec.trace.atom import Atom
from weightspace.spec.trace.pairing import broadcast
from weightspace.spec.trace.rule.registry import output_shape, rule
from weightspace.spec.trace.tracer import End, Tracer
from weightspace.spec.trace.value import Mark, Value, fixed, uniform

__all__ = ["activate"]


UNCHANGED = frozenset(
    {"alias", "clone", "contiguous", "detach", "dropout", "feature_dropout", "flatten", "unflatten", "permute"}
    | {"reshape", "squeeze", "t", "to", "transpose", "unsqueeze", "view", "_to_copy", "_unsafe_view"}
)
"""Operations that leave every number as it is, one for one."""


def _number(x: Any) -> bool:
    return isinstance(x, int | float | complex | bool)


@rule("add", "sub", "rsub")
def add(t: Tracer, node: Node, x: Any, y: Any, *, alpha: float = 1) -> Value:
    """A sum: both terms scale alike. A number that is not zero lets nothing scale."""
    if _number(x) or _number(y):
        value, number = (y, x) if _number(x) else (x, y)
        return value if number == 0 else _unscaled(t, value)
    total = broadcast(t, x, y, t.equal)
    return _joined(t, total, x, y, "sum")


def _joined(t: Tracer, total: Value, x: Value, y: Value, merge: str) -> Value:
    """The result as a place of its own, where units of two places (or of a place and a parameter) meet."""
    known = [_ends(t, v) for v in (x, y)]
    params = [(v.param, own) for v, own in zip((x, y), _owned(t, x, y), strict=True) if v.param is not None]

    def change(mark: Mark, leaf: Atom) -> Mark:
        ends = list({end.place: end for own in known for end in own.get(id(leaf), ())}.values())
        beside = [(param, own[id(leaf)]) for param, own in params if id(leaf) in own]
        if len(ends) + len(beside) < 2:
            return mark
        if len(ends) == 1 and merge == "product":  # a gain: it leads from the place to the new one
            return t.open(replace(beside[0][1].mark, place=None), leaf, beside[0][0], ends, onto=mark)
        placed = t.open(mark, leaf, None, ends, merge)
        for param, end in beside:
            t.wire(param, None, str(placed.place), end)
        return placed

    return replace(total, dims=tuple(t.replaced(dim, change) for dim in total.dims), shared=False)


def _ends(t: Tracer, value: Value) -> dict[int, list[End]]:
    """The places at which the units of a tensor stand."""
    out: dict[int, list[End]] = {}
    for slot in t.slots(value.dims):
        for end in t.ends(slot):
            out.setdefault(id(end.leaf), []).append(end)
    return out


def _owned(t: Tracer, *values: Value) -> list[dict[int, End]]:
    """The units of tensors, as they have them."""
    return [
        {
            id(leaf): End(leaf, mark)
            for slot in t.slots(v.dims)
            for mark, leaf in zip(t.leaf_marks(slot), t.own_leaves(slot), strict=False)
        }  # fmt: skip
        for v in values
    ]


def _unscaled(t: Tracer, value: Value) -> Value:
    t.unscale(value.dims)
    return replace(value.without_zeros(), param=None)


@rule("mul")
def multiply(t: Tracer, node: Node, x: Any, y: Any) -> Value:
    """A product: the scales multiply."""
    if _number(x) or _number(y):
        value, number = (y, x) if _number(x) else (x, y)
        return replace(value, zero=value.zero or number == 0)
    if x is y:
        return activate(t, node, x, ACTIVATIONS["square"], ())
    total = broadcast(t, x, y, t.times, product=True)
    return _joined(t, total, x, y, "product")


@rule("div", "true_divide")
def divide(t: Tracer, node: Node, x: Any, y: Any, *, rounding_mode: str | None = None) -> Value:
    """A quotient: the scales divide."""
    if rounding_mode is not None:
        return _each_unscaled(t, node, x, y)
    if _number(y):
        return x
    if _number(x):
        return activate(t, node, y, ACTIVATIONS["reciprocal"], ())
    return replace(broadcast(t, x, y, t.over, product=True), zero=x.zero)


@rule("addcmul")
def addcmul(t: Tracer, node: Node, x: Value, y: Value, z: Value, *, value: float = 1) -> Value:
    """`x + y z`."""
    return add(t, node, x, broadcast(t, y, z, t.times, product=True))


@rule("lerp")
def lerp(t: Tracer, node: Node, x: Value, y: Value, weight: Any) -> Value:
    """A mixture of two tensors; the weight does not scale."""
    total = broadcast(t, x, y, t.equal)
    if isinstance(weight, Value):
        total = broadcast(t, total, _unscaled(t, weight), t.times, product=True)
    return total


@rule("maximum", "minimum")
def extremum(t: Tracer, node: Node, x: Value, y: Value) -> Value:
    """The larger of two numbers: positive scales pass."""
    total = broadcast(t, x, y, t.equal)
    return replace(total, dims=tuple(t.mapped(dim, lambda m: t.power(m, 1, None)) for dim in total.dims), zero=False)


@rule("clamp", "clamp_min", "clamp_max")
def clamp(t: Tracer, node: Node, x: Value, *bounds: Any, **named: Any) -> Value:
    """Between two bounds: an activation where they are numbers, else the larger and the smaller of two tensors."""
    tensors = [bound for bound in (*bounds, *named.values()) if isinstance(bound, Value)]
    for bound in tensors:
        x = extremum(t, node, x, bound)
    if tensors:
        return x
    found = activation_of_operation(node.target._opname.rstrip("_"), bounds, named)  # type: ignore[union-attr]
    return _unscaled(t, x) if found is None else activate(t, node, x, *found)


@rule("where")
def where(t: Tracer, node: Node, condition: Value, x: Any, y: Any) -> Value:
    """A choice between two tensors, by a condition that does not scale."""
    condition = _unscaled(t, condition)
    terms = [v for v in (x, y) if isinstance(v, Value)]
    if any(_number(v) and v != 0 for v in (x, y)):
        terms = [_unscaled(t, term) for term in terms]
    if not terms:
        return condition
    total = terms[0] if len(terms) == 1 else broadcast(t, terms[0], terms[1], t.equal)
    return replace(broadcast(t, replace(total, zero=False), condition, t.times, product=True), param=None)


@rule("masked_fill")
def masked_fill(t: Tracer, node: Node, x: Value, mask: Value, number: Any) -> Value:
    """Entries replaced by a number: by zero, and scales pass."""
    return where(t, node, mask, number if _number(number) else _unscaled(t, number), x)


@rule(
    "eq",
    "ne",
    "lt",
    "le",
    "gt",
    "ge",
    "logical_and",
    "logical_or",
    "logical_xor",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "__and__",
    "__or__",
    "__xor__",
    "remainder",
    "fmod",
    "floor_divide",
    "atan2",
    "hypot",
    "logaddexp",
)
def _each_unscaled(t: Tracer, node: Node, *arguments: Any, **keywords: Any) -> Value:
    """Functions of several numbers of which only this is used: they treat all units alike."""
    values = [_unscaled(t, v) for v in arguments if isinstance(v, Value)]
    total = values[0]
    for value in values[1:]:
        total = broadcast(t, total, value, t.times, product=True)
    return total


@rule("logical_not", "bitwise_not", "isnan", "isinf", "isfinite", "nan_to_num", "lgamma", "digamma")
def _one_unscaled(t: Tracer, node: Node, x: Value, *arguments: Any, **keywords: Any) -> Value:
    return _unscaled(t, x)


@rule("pow")
def power(t: Tracer, node: Node, x: Any, exponent: Any) -> Value:
    """A power: by a constant exponent, scales are taken to it."""
    if _number(x) or isinstance(exponent, Value):
        return _each_unscaled(t, node, x, exponent)
    found = activation_of_operation("pow", (exponent,), {})
    return _unscaled(t, x) if found is None else activate(t, node, x, *found)


@rule("prelu", "_prelu_kernel")
def prelu(t: Tracer, node: Node, x: Value, slope: Value) -> Value:
    """`max(x, 0) + slope min(x, 0)`: positive scales pass, and the slope follows no scale."""
    row = ACTIVATIONS["prelu"]
    t.play("slope", slope)
    slope = replace(_unscaled(t, slope), param=slope.param)
    slopes = slope if len(slope.dims) != 1 or slope.shape == (1,) else _channelwise(x, slope)
    if slope.shape in ((), (1,)):
        t.freeze(slope.dims, "one slope serves all units")
        return activate(t, node, x, row, ())
    return activate(t, node, broadcast(t, x, slopes, t.times, product=True), row, ())


def _channelwise(x: Value, slope: Value) -> Value:
    behind = max(len(x.dims) - 2, 0)
    return slope.with_dims((*slope.dims, *[uniform(1)] * behind))


def activate(t: Tracer, node: Node, x: Value, row: Activation, constants: tuple[tuple[str, float], ...]) -> Value:
    """The value behind an activation, which stands at the place it acts on or at a new one."""

    def passed(mark: Mark) -> Mark:
        return t.power(mark, row.positive, row.sign)

    def placed(mark: Mark, leaf: Atom) -> Mark:
        out = passed(mark)
        if mark.place is None:
            return out
        name = mark.place
        if t.places[name].activation != "identity" or x.shared:
            name = str(t.open(mark, leaf, None, [End(leaf, mark, name)]).place)
        t.places[name].activation, t.places[name].constants = row.name, constants
        return replace(out, place=name)

    out = Value(tuple(t.replaced(dim, placed, outer=passed) for dim in x.dims))
    homogeneous, odd = (row.positive or 0) > 0, row.positive is None and row.sign == 1
    return out if homogeneous or odd else out.without_zeros()  # zero is taken to zero by these alone


@rule("sin")
def sine(t: Tracer, node: Node, x: Value) -> Value:
    """`sin(omega x)`: numbers that its units are multiplied with on the way are the frequency.

    Where something else has come in between, the sine of what arrives at its place is not `sin(omega x)` for any
    `omega`, and none is told.
    """
    omega, origins = _frequency(node.args[0])
    marks = [mark for slot in t.slots(x.dims) for mark in t.leaf_marks(slot)]
    own = omega != 0 and all(mark.place is None or mark.place.split(":")[0] in origins for mark in marks)
    return activate(t, node, x, ACTIVATIONS["sine"], (("omega", omega),) if own else ())


def _frequency(node: Any) -> tuple[float, set[str]]:
    """The number that units are multiplied with on their way to a node, and the nodes that they come from.

    No nodes where several numbers meet.
    """
    omega = 1.0
    while isinstance(node, Node):
        factor = _factor(node)
        if getattr(node.target, "_opname", "") in ("cat", "concat", "concatenate"):
            factors, origins = zip(*(_frequency(part) for part in node.args[0]), strict=True)  # type: ignore[union-attr]
            return omega * factors[0], set().union(*origins) if len(set(factors)) == 1 else set()
        if factor is None:
            return omega, set() if _scaled(node) else {node.name}
        omega, node = omega * factor, next(a for a in node.args if isinstance(a, Node))
    return omega, set()


def _scaled(node: Node) -> bool:
    """Whether an operation takes multiples of its parameters."""
    params = node.args if "addmm" in getattr(node.target, "_opname", "") else node.args[1:]
    return bool({"alpha", "beta"} & set(node.kwargs)) or any(_frequency(param)[0] != 1 for param in params)


def _factor(node: Node) -> float | None:
    """The number that an operation multiplies all numbers with, where it does nothing else."""
    name = getattr(node.target, "_opname", "")
    numbers = [float(a) for a in node.args if isinstance(a, int | float)]
    if name == "mul" and numbers:
        return numbers[0]
    if name in ("div", "true_divide") and isinstance(node.args[0], Node) and numbers not in ([], [0.0]):
        return None if node.kwargs else 1 / numbers[0]
    return -1.0 if name in ("neg", "negative") else 1.0 if name in UNCHANGED else None


@rule("zeros", "zeros_like", "new_zeros")
def zeros(t: Tracer, node: Node, *arguments: Any, **keywords: Any) -> Value:
    """A tensor of zeros."""
    return Value(tuple(uniform(n, zero=True) for n in output_shape(node)), zero=True)


@rule(
    "ones",
    "ones_like",
    "new_ones",
    "full",
    "full_like",
    "new_full",
    "scalar_tensor",
    "empty",
    "empty_like",
    "new_empty",
)
def constant(t: Tracer, node: Node, *arguments: Any, **keywords: Any) -> Value:
    """The same number everywhere."""
    number = next((a for a in reversed(arguments) if _number(a)), 1)
    if "full" in node.target._opname and number == 0:  # type: ignore[union-attr]
        return zeros(t, node)
    return Value(tuple(uniform(n) for n in output_shape(node)))


@rule("arange", "linspace", "eye", "tril_indices", "triu_indices", "bartlett_window", "hann_window")
def positions(t: Tracer, node: Node, *arguments: Any, **keywords: Any) -> Value:
    """Numbers that count positions."""
    return Value(tuple(fixed(n) for n in output_shape(node)))
