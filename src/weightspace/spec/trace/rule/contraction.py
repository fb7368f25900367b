"""Operations that sum products: dense layers, convolutions, matrix products, attention."""

from collections.abc import Sequence
from typing import Any

from torch.fx import Node

from weightspace.spec.trace.pairing import align, beside, broadcast, contract
from weightspace.spec.trace.rule.registry import not_understood, output_shape, rule
from weightspace.spec.trace.shape import reshaped
from weightspace.spec.trace.tracer import End, Tracer
from weightspace.spec.trace.value import UNIT, Value, dim_size, fixed, uniform

__all__: list[str] = []

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
KERNEL = "kernel positions are fixed"


def _add(t: Tracer, x: Value, bias: Value | None) -> Value:
    """The value with a bias added, which leads to the place that the value is at."""
    if bias is None:
        return x
    total = broadcast(t, x, bias, t.equal)
    t.play("bias", bias)
    wire_in(t, total, bias)
    return total


def wire_in(t: Tracer, total: Value, bias: Value) -> None:
    """Let a parameter that was added lead to the places of the sum."""
    if bias.param is None:
        return
    for wide, own in zip(reversed(total.dims), reversed(bias.dims), strict=False):
        for slot, mine in zip(t.slots((wide,)), t.slots((own,)), strict=False):
            for mark, leaf, how in zip(t.leaf_marks(slot), t.own_leaves(slot), t.leaf_marks(mine), strict=False):
                if mark.place is not None and mine.atom is not None:
                    t.wire(bias.param, None, mark.place, End(leaf, how))


@rule("linear")
def linear(t: Tracer, node: Node, x: Value, weight: Value, bias: Value | None = None) -> Value:
    """`x W^T + b`."""
    batch = LETTERS[2 : 2 + len(x.dims) - 1]
    if len(weight.dims) == 1:
        return _add(t, contract(t, x, batch + "k", weight, "k", batch), bias)
    return _add(t, contract(t, x, batch + "k", weight, "ak", batch + "a"), bias)


@rule("addmm")
def addmm(t: Tracer, node: Node, bias: Value, x: Value, y: Value, *, beta: float = 1, alpha: float = 1) -> Value:
    """`b + x y`."""
    return _add(t, contract(t, x, "ik", y, "kj", "ij"), bias)


@rule("matmul", "mm", "bmm")
def matmul(t: Tracer, node: Node, x: Value, y: Value) -> Value:
    """The matrix product of the last two dimensions, the others broadcast."""
    xs = "k" if len(x.dims) == 1 else "ik"
    ys = "k" if len(y.dims) == 1 else "kj"
    free = [letter for letter in LETTERS if letter not in "ijk"]
    batch = max(len(x.dims) - len(xs), len(y.dims) - len(ys))
    letters = "".join(free[:batch])
    xs, ys = letters[batch - (len(x.dims) - len(xs)) :] + xs, letters[batch - (len(y.dims) - len(ys)) :] + ys
    out = letters + ("i" if "i" in xs else "") + ("j" if "j" in ys else "")
    return contract(t, x, xs, y, ys, out)


@rule("baddbmm")
def baddbmm(t: Tracer, node: Node, bias: Value, x: Value, y: Value, *, beta: float = 1, alpha: float = 1) -> Value:
    """`b + x y` for a batch of matrices."""
    product = matmul(t, node, x, y)
    return product if beta == 0 else _add(t, product, bias)


@rule("einsum")
def einsum(t: Tracer, node: Node, equation: str, operands: Sequence[Value], path: Any = None) -> Value:
    """Products of any number of tensors, summed over letters."""
    terms, out = _written_out(equation.replace(" ", ""), [len(x.dims) for x in operands])
    if any(len(set(term)) < len(term) for term in terms):
        return not_understood(t, node, f"einsum {equation!r} is not read", *operands)
    value, term = operands[0], terms[0]
    for position in range(1, len(operands)):
        later = set("".join(terms[position + 1 :]) + out)
        kept = "".join(x for x in dict.fromkeys(term + terms[position]) if x in later)
        value, term = contract(t, value, term, operands[position], terms[position], kept), kept
    if term != out:
        lost = [dim for letter, dim in zip(term, value.dims, strict=True) if letter not in out]
        t.unscale(lost)
        dims = dict(zip(term, value.dims, strict=True))
        value = value.with_dims(tuple(dims[letter] for letter in out))
    return value


def _written_out(equation: str, counts: Sequence[int]) -> tuple[list[str], str]:
    """The letters of each operand and of the result, with letters for dots, and a result where none is named."""
    inputs, arrow, out = equation.partition("->")
    terms = inputs.split(",")
    dots = [count - len(term) + 3 if "..." in term else 0 for term, count in zip(terms, counts, strict=True)]
    spare = "".join(letter for letter in LETTERS if letter not in equation)[: max(dots)]
    if not arrow:
        letters = sorted(set(inputs) - set(",."))
        out = "..." * ("..." in inputs) + "".join(letter for letter in letters if inputs.count(letter) == 1)
    terms = [term.replace("...", spare[len(spare) - count :]) for term, count in zip(terms, dots, strict=True)]
    return terms, out.replace("...", spare)


@rule("outer")
def outer(t: Tracer, node: Node, x: Value, y: Value) -> Value:
    """All products of the entries of two vectors."""
    return contract(t, x, "i", y, "j", "ij")


@rule("bilinear")
def bilinear(t: Tracer, node: Node, x: Value, y: Value, weight: Value, bias: Value | None = None) -> Value:
    """`sum_ij x_i W_kij y_j + b_k`."""
    batch = LETTERS[: len(x.dims) - 1]
    half = contract(t, x, batch + "I", weight, "KIJ", batch + "KJ")
    return _add(t, contract(t, half, batch + "KJ", y, batch + "J", batch + "K"), bias)


@rule("conv1d", "conv2d", "conv3d")
def convolution(
    t: Tracer,
    node: Node,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    """Each group of output channels sums over its own group of input channels, at every kernel position."""
    return _convolution(t, node, x, weight, bias, groups, transposed=False)


@rule("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def transposed_convolution(
    t: Tracer,
    node: Node,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Value:
    """As a convolution, with input channels first in the weight."""
    return _convolution(t, node, x, weight, bias, groups, transposed=True)


def _convolution(
    t: Tracer, node: Node, x: Value, weight: Value, bias: Value | None, groups: int, *, transposed: bool
) -> Value:
    spatial = len(weight.dims) - 2
    for axis in range(spatial):
        t.hints.setdefault((str(weight.param), 2 + axis), f"kernel{axis}")
    t.freeze((*x.dims[-spatial:], *weight.dims[2:]), KERNEL)
    channels = len(x.dims) - spatial - 1
    batch, size = LETTERS[:channels], dim_size(x.dims[channels])
    whole = x.with_dims(x.dims[: channels + 1])
    shape = output_shape(node)
    if groups == 1:
        value = contract(t, whole, batch + "Z", Value(weight.dims[:2]), "ZX" if transposed else "XZ", batch + "X")
        rows = align(t, whole.dims[-1], weight.dims[0 if transposed else 1], KERNEL)
    else:
        data = reshaped(t, whole, (*x.shape[:channels], groups, size // groups))
        outer = reshaped(t, Value(weight.dims[:1]), (groups, dim_size(weight.dims[0]) // groups))
        kernel = Value((*outer.dims, weight.dims[1]))
        value = contract(t, data, batch + "YZ", kernel, "YZX" if transposed else "YXZ", batch + "YX")
        value = reshaped(t, value, shape[: channels + 1])
        rows = align(t, data.dims[-1], kernel.dims[1 if transposed else 2], KERNEL)
        # Where each group has a single channel, that channel leads to the group's outputs.
        rows += align(t, data.dims[-2], kernel.dims[0], KERNEL) if size == groups else []
    ends = [end for row in rows for pair in row for end in t.ends(*pair)]
    units = t.at_new_place(value.dims[-1], weight.param, ends)
    value = Value((*(beside(t, dim) for dim in value.dims[:-1]), units, *(fixed(n) for n in shape[channels + 1 :])))
    if bias is not None:
        bias = bias.with_dims((*bias.dims, *[UNIT] * spatial))
    return _add(t, value, bias)


@rule("scaled_dot_product_attention")
def attention(
    t: Tracer,
    node: Node,
    query: Value,
    key: Value,
    value: Value,
    mask: Value | None = None,
    dropout: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    """`softmax(q k^T) v`: dimensions of queries and keys are paired, and nothing may scale the scores."""
    if enable_gqa and query.shape[-3] != key.shape[-3]:
        repeat = query.shape[-3] // key.shape[-3]
        key, value = (repeated(t, v, len(v.dims) - 3, repeat) for v in (key, value))
    batch = LETTERS[: len(query.dims) - 2]
    scores = contract(t, query, batch + "XZ", key, batch + "YZ", batch + "XY")
    if mask is not None:
        scores = broadcast(t, scores, mask, t.equal)
    t.unscale(scores.dims)
    if is_causal:
        t.freeze(scores.dims[-2:], "what comes later is masked")
    t.mix(scores, [len(scores.dims) - 1])
    return contract(t, scores.without_zeros(), batch + "XY", value, batch + "YZ", batch + "XZ")


def repeated(t: Tracer, value: Value, dim: int, times: int) -> Value:
    """Every unit of a dimension `times` times in a row, as by `repeat_interleave`."""
    size = value.shape[dim]
    dims = (*value.dims[: dim + 1], uniform(times), *value.dims[dim + 1 :])
    return reshaped(t, value.with_dims(dims), (*value.shape[:dim], size * times, *value.shape[dim + 1 :]))
