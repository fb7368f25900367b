"""Operations that move entries and compute nothing."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.fx import Node

from weightspace.spec.trace.pairing import broadcast, cut
from weightspace.spec.trace.rule.contraction import repeated
from weightspace.spec.trace.rule.registry import named_argument, not_understood, output_shape, rule
from weightspace.spec.trace.shape import collapsed, reshaped, shaped, stack_position
from weightspace.spec.trace.tracer import Tracer
from weightspace.spec.trace.value import UNIT, Dim, Part, Slot, Value, dim_size, fixed, part_size, uniform

__all__ = ["ENTRY", "stretch"]

ENTRY = "indexes the entries of a table"


@rule(
    "clone", "contiguous", "detach", "alias", "to", "_to_copy", "type_as", "lift_fresh_copy", "lift", "dropout",
    "native_dropout", "feature_dropout", "alpha_dropout", "float", "half", "double", "bfloat16",
    "requires_grad", "positive", "_assert_tensor_metadata", "resolve_conj",
    packed=True,
)  # fmt: skip
def same(t: Tracer, node: Node, x: Value, *arguments: Any, **keywords: Any) -> Value:
    """The entries as they are. A dropout keeps or drops them, but treats all units alike."""
    if _is_rounded(node) or ("alpha" in str(node.target) and named_argument(node, "train")):
        x = collapsed(t, x)
        t.unscale(x.dims)
        return replace(x.without_zeros(), param=None)
    return x


def _is_rounded(node: Node) -> bool:
    """Whether an operation turns real numbers to integers or to truth values."""
    before, after = node.args[0], node.meta["val"]
    kind = before.meta["val"].dtype if isinstance(before, Node) else after.dtype
    return (
        kind.is_floating_point and isinstance(after, Tensor) and not (after.is_floating_point() or after.is_complex())
    )


@rule("view", "reshape", "_unsafe_view", "flatten", "unflatten", "view_copy", "view_as", "reshape_as", packed=True)
def reshape(t: Tracer, node: Node, x: Value, *arguments: Any, **keywords: Any) -> Value:
    """Another shape, the entries in the same order."""
    return reshaped(t, x, output_shape(node))


@rule("unsqueeze", packed=True)
def unsqueeze(t: Tracer, node: Node, x: Value, dim: int) -> Value:
    """A new dimension of length one."""
    at = dim % (len(x.dims) + 1)
    return shaped(t, x, lambda dims: (*dims[:at], UNIT, *dims[at:]))


@rule("squeeze", packed=True)
def squeeze(t: Tracer, node: Node, x: Value, dim: int | Sequence[int] | None = None) -> Value:
    """Without dimensions of length one."""
    count = len(x.dims)
    chosen = range(count) if dim is None else [d % count for d in ([dim] if isinstance(dim, int) else dim)]
    gone = [d for d in chosen if x.shape[d] == 1]
    for dims in x.cases or (x.dims,):  # each of the tensors that are packed has a unit of its own there
        for d in gone:
            _lone(t, dims[d])
    return shaped(t, x, lambda dims: tuple(one for d, one in enumerate(dims) if d not in gone))


def _lone(t: Tracer, dim: Dim) -> None:
    t.unscale((dim,))
    t.freeze((dim,), "the only unit of its kind loses its dimension")


@rule("permute", packed=True)
def permute(t: Tracer, node: Node, x: Value, order: Sequence[int]) -> Value:
    """Dimensions in another order."""
    return shaped(t, x, lambda dims: tuple(dims[d] for d in order))


@rule("transpose", "swapaxes", "swapdims", packed=True)
def transpose(t: Tracer, node: Node, x: Value, first: int, second: int) -> Value:
    """Two dimensions exchanged."""
    order = list(range(len(x.dims)))
    order[first], order[second] = order[second], order[first]
    return permute(t, node, x, order)


@rule("t", "numpy_T", "mT", "adjoint", "matrix_H", packed=True)
def turned(t: Tracer, node: Node, x: Value) -> Value:
    """The last two dimensions exchanged."""
    return x if len(x.dims) < 2 else transpose(t, node, x, -2, -1)


@rule("movedim", packed=True)
def movedim(t: Tracer, node: Node, x: Value, source: int | Sequence[int], target: int | Sequence[int]) -> Value:
    """Dimensions moved to other positions."""
    count = len(x.dims)
    sources = [s % count for s in ([source] if isinstance(source, int) else source)]
    targets = [s % count for s in ([target] if isinstance(target, int) else target)]
    rest = iter(d for d in range(count) if d not in sources)
    at = dict(zip(targets, sources, strict=True))
    return permute(t, node, x, [at[d] if d in at else next(rest) for d in range(count)])


@rule("expand", "expand_as", "broadcast_to")
def expand(t: Tracer, node: Node, x: Value, *arguments: Any, **keywords: Any) -> Value:
    """Dimensions of length one made longer: the tensor does not depend on them."""
    shape = output_shape(node)
    dims = (UNIT,) * (len(shape) - len(x.dims)) + x.dims
    out = []
    for dim, size in zip(dims, shape, strict=True):
        if dim_size(dim) != size:
            _lone_spread(t, dim)
            dim = uniform(size, zero=x.zero)
        out.append(dim)
    return Value(tuple(out), zero=x.zero, param=x.param)


def _lone_spread(t: Tracer, dim: Dim) -> None:
    t.unscale((dim,))
    t.freeze((dim,), "one unit is spread over many")


@rule("broadcast_tensors", "meshgrid")
def broadcast_tensors(t: Tracer, node: Node, tensors: Sequence[Value], **keywords: Any) -> Any:
    """Several tensors in one shape; only positions are read."""
    if any(t.is_free(slot) for x in tensors for slot in t.slots(x.dims)):
        return not_understood(t, node, "tensors with units are broadcast to each other", *tensors)
    return [Value(tuple(fixed(n) for n in out.shape)) for out in node.meta["val"]]


@rule("repeat", "tile")
def repeat(t: Tracer, node: Node, x: Value, times: Sequence[int]) -> Value:
    """The tensor several times in a row, along each dimension."""
    dims = (UNIT,) * (len(times) - len(x.dims)) + x.dims
    times = (1,) * (len(dims) - len(times)) + tuple(times)
    wide: list[Dim] = []
    for dim, count in zip(dims, times, strict=True):
        wide += [uniform(count), dim]
    value = Value(tuple(wide), zero=x.zero)
    return reshaped(t, value, output_shape(node))


@rule("repeat_interleave")
def repeat_interleave(t: Tracer, node: Node, x: Value, times: Any, dim: int | None = None, **keywords: Any) -> Value:
    """Every entry several times in a row."""
    if not isinstance(times, int) or dim is None:
        return not_understood(t, node, "entries are repeated by varying counts", x)
    return repeated(t, x, dim % len(x.dims), times)


@rule("cat", "concat", "concatenate")
def cat(t: Tracer, node: Node, tensors: Sequence[Value], dim: int = 0) -> Value:
    """Tensors behind each other along one dimension."""
    tensors = [x for x in tensors if x.shape != (0,)]
    at = dim % len(tensors[0].dims)
    row: Dim = ()
    first = tensors[0]
    for x in tensors:
        row += t.resolve(x.dims[at])
    rest = first.with_dims((*first.dims[:at], UNIT, *first.dims[at + 1 :]))
    for x in tensors[1:]:
        other = x.with_dims((*x.dims[:at], UNIT, *x.dims[at + 1 :]))
        rest = broadcast(t, rest, other, t.equal)
    dims = (*rest.dims[:at], t.resolve(row), *rest.dims[at + 1 :])
    return Value(dims, zero=all(x.zero for x in tensors))


@rule("stack")
def stack(t: Tracer, node: Node, tensors: Sequence[Value], dim: int = 0) -> Value:
    """Tensors side by side along a new dimension: they stay apart as long as they can."""
    at = dim % (len(tensors[0].dims) + 1)
    counter: Dim = ((Slot(len(tensors), stack=True),),)
    cases = tuple((*x.dims[:at], counter, *x.dims[at:]) for x in tensors)
    if len(tensors) == 1:
        return tensors[0].with_dims((*tensors[0].dims[:at], UNIT, *tensors[0].dims[at:]))
    return Value(cases[0], zero=all(x.zero for x in tensors), cases=cases)


def _narrow(t: Tracer, node: Node, x: Value, at: int, start: int, length: int) -> Value:
    """Entries `start` to `start + length` of one dimension."""
    size = x.shape[at]
    if length == size:
        return x
    if x.cases and stack_position(t, x.dims) == at and length == 1:
        case = x.cases[start]
        return x.with_dims((*case[:at], UNIT, *case[at + 1 :]))
    x = collapsed(t, x)
    return x.with_dims((*x.dims[:at], _piece(t, x.dims[at], start, length), *x.dims[at + 1 :]))


def stretch(t: Tracer, x: Value, start: int, length: int) -> Value:
    """Entries `start` to `start + length` of the last dimension."""
    return x.with_dims((*x.dims[:-1], _piece(t, x.dims[-1], start, length)))


def _piece(t: Tracer, dim: Dim, start: int, length: int) -> Dim:
    resolved = t.resolve(dim)
    slots = t.slots((dim,))
    if all(slot.uniform for slot in slots):
        return uniform(length, zero=all(slot.zero for slot in slots))
    if not any(t.is_free(slot) for slot in slots):
        return fixed(length)
    if length == 1 and _want(t, resolved):
        return UNIT
    row, passed = list(resolved), list[Part]()
    for entries in (start, length):
        passed = []
        while (missing := entries - sum(part_size(part) for part in passed)) > 0:
            if part_size(row[0]) > missing and not cut(t, row, missing):
                t.freeze((dim,), "a stretch of units is read that cuts through others")
                return fixed(length)
            passed.append(row.pop(0))
    return tuple(passed)


def _want(t: Tracer, dim: Dim) -> bool:
    """Ask for tensors to be unpacked where one of them is picked; freeze what cannot be."""
    atoms = [slot.atom for part in dim for slot in part if slot.atom is not None]
    for atom in atoms:
        if atom.view is not None:
            t.wanted.add(atom.view)
    t.freeze((dim,), "one unit is picked by its index")
    return True


@rule("select", packed=True)
def select(t: Tracer, node: Node, x: Value, dim: int, index: int) -> Value:
    """One entry of a dimension."""
    at = dim % len(x.dims)
    piece = _narrow(t, node, x, at, index % x.shape[at], 1)
    if x.shape[at] == 1:
        return squeeze(t, node, x, at)
    return piece if piece.cases else piece.with_dims((*piece.dims[:at], *piece.dims[at + 1 :]))


@rule("slice", packed=True)
def slice_(
    t: Tracer, node: Node, x: Value, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Value:
    """A stretch of a dimension."""
    at = dim % len(x.dims)
    chosen = range(x.shape[at])[slice(start, end, step)]
    if step != 1:
        x = collapsed(t, x)
        t.freeze((x.dims[at],), "units are read in steps")
        return x.with_dims((*x.dims[:at], fixed(len(chosen)), *x.dims[at + 1 :]))
    return _narrow(t, node, x, at, chosen.start, len(chosen))


@rule("narrow", packed=True)
def narrow(t: Tracer, node: Node, x: Value, dim: int, start: int, length: int) -> Value:
    """A stretch of a dimension."""
    at = dim % len(x.dims)
    return _narrow(t, node, x, at, start % x.shape[at], length)


@rule("unbind", packed=True)
def unbind(t: Tracer, node: Node, x: Value, dim: int = 0) -> list[Value]:
    """Every entry of a dimension."""
    return [select(t, node, x, dim, index) for index in range(x.shape[dim])]


@rule("chunk", "split", "split_with_sizes", "tensor_split", packed=True)
def split(t: Tracer, node: Node, x: Value, sizes: Any = None, dim: int = 0, **keywords: Any) -> list[Value]:
    """A dimension in stretches."""
    at = dim % len(x.dims)
    lengths = [out.shape[at] for out in node.meta["val"]]
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    return [_narrow(t, node, x, at, start, length) for start, length in zip(starts, lengths, strict=True)]


@rule("flip", "roll")
def turned_round(t: Tracer, node: Node, x: Value, first: Any, second: Any = None) -> Value:
    """Entries in another order along some dimensions, all of them if none are named."""
    named = first if node.target._opname == "flip" else second  # type: ignore[union-attr]
    chosen = range(len(x.dims)) if not named and named != 0 else [named] if isinstance(named, int) else named
    at = [d % len(x.dims) for d in chosen]
    t.freeze([x.dims[d] for d in at], "units change their order")
    return x.with_dims(tuple(fixed(dim_size(dim)) if d in at else dim for d, dim in enumerate(x.dims)))


@rule("index")
def index(t: Tracer, node: Node, x: Value, indices: Sequence[Value | None]) -> Value:
    """Entries picked by tensors of indices: those dimensions are read one by one."""
    at = [d for d, one in enumerate(indices) if one is not None]
    t.freeze([x.dims[d] for d in at], "units are picked by their index")
    t.freeze([dim for one in indices if one is not None for dim in one.dims], "units are used as indices")
    shape = output_shape(node)
    kept = [dim for d, dim in enumerate(x.dims) if d not in at]
    picked = [fixed(n) for n in shape]
    together = at == list(range(at[0], at[-1] + 1))
    new = len(shape) - len(kept)
    before = at[0] if together else 0
    return (
        x.with_dims((*x.dims[:before], *picked[before : before + new], *kept[before:]))
        if together
        else Value((*picked[:new], *kept))
    )


@rule("index_select")
def index_select(t: Tracer, node: Node, x: Value, dim: int, chosen: Value) -> Value:
    """Entries of one dimension picked by indices."""
    at = dim % len(x.dims)
    t.freeze((x.dims[at],), "units are picked by their index")
    t.freeze(chosen.dims, "units are used as indices")
    return x.with_dims((*x.dims[:at], fixed(output_shape(node)[at]), *x.dims[at + 1 :]))


@rule("embedding")
def embedding(t: Tracer, node: Node, weight: Value, chosen: Value, *arguments: Any, **keywords: Any) -> Value:
    """A row of the table for every index."""
    t.freeze((*weight.dims[:1], *chosen.dims), ENTRY)
    t.play("embedding", weight)
    t.hints.setdefault((str(weight.param), 0), "entry")
    units = t.at_new_place(weight.dims[1], weight.param, ())
    return Value((*(fixed(n) for n in chosen.shape), units))


@rule("embedding_bag")
def embedding_bag(
    t: Tracer, node: Node, weight: Value, chosen: Value, offsets: Value, by_count: bool = False, mode: int = 0,
    sparse: bool = False, weights: Value | None = None, *arguments: Any,
) -> list[Value]:  # fmt: skip
    """The sum, the mean or the largest (mode 2) of some rows of the table, for every bag of indices."""
    units = embedding(t, node, weight, chosen).dims[-1]
    for other in (offsets, weights):
        if other is not None:
            t.unscale(other.dims)
            t.freeze(other.dims, "positions in bags")
    if mode == 2:
        units = t.mapped(units, lambda m: t.power(m, 1, None))
    bags, *rest = node.meta["val"]
    return [Value((fixed(bags.shape[0]), units)), *(Value(tuple(fixed(n) for n in one.shape)) for one in rest)]


@rule("pad", "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad1d", "replication_pad2d")
def pad(t: Tracer, node: Node, x: Value, widths: Sequence[int], *arguments: Any, **keywords: Any) -> Value:
    """Entries added at the ends of the last dimensions; zeros beside units are sets of their own."""
    named = [a for a in (*arguments, *keywords.values()) if isinstance(a, str)]
    number = next((a for a in (*arguments, *keywords.values()) if isinstance(a, int | float)), 0)
    constant = named in ([], ["constant"]) and "ation" not in node.target._opname  # type: ignore[union-attr]
    dims = list(x.dims)
    for place in range(len(widths) // 2):
        at, (low, high) = len(dims) - 1 - place, widths[2 * place : 2 * place + 2]
        if not low and not high:
            continue
        if constant and number == 0 and low >= 0 and high >= 0 and any(t.is_free(s) for s in t.slots((dims[at],))):
            ends = [((Slot(n, uniform=True, zero=True),),) if n else () for n in (low, high)]
            dims[at] = t.resolve((*ends[0], *t.resolve(dims[at]), *ends[1]))
            continue
        t.freeze((dims[at],), "units are padded")
        if number != 0:
            t.unscale(dims)
        dims[at] = fixed(dim_size(dims[at]) + low + high)
    return Value(tuple(dims))


@rule("pixel_shuffle")
def pixel_shuffle(t: Tracer, node: Node, x: Value, factor: int) -> Value:
    """Groups of channels laid out as the pixels of squares."""
    *batch, channels, height, width = x.shape
    wide = reshaped(t, x, (*batch, channels // factor**2, factor * factor, height, width))
    at = len(batch)
    t.freeze((wide.dims[at + 1], *wide.dims[at + 2 :]), "channels become pixels")
    return wide.with_dims((*wide.dims[: at + 1], fixed(height * factor), fixed(width * factor)))


@rule("tril", "triu")
def triangle(t: Tracer, node: Node, x: Value, *arguments: Any, **keywords: Any) -> Value:
    """Zeros on one side of the diagonal of the last two dimensions."""
    t.freeze(x.dims[-2:], "rows and columns are compared by their index")
    return x.with_dims((*x.dims[:-2], *(fixed(n) for n in x.shape[-2:])))


@rule("diagonal", "diag")
def diagonal(t: Tracer, node: Node, x: Value, *arguments: Any, **keywords: Any) -> Value:
    """Entries whose indices are alike: not read."""
    return not_understood(t, node, "a diagonal is read", x)


@rule("copy")
def copied(t: Tracer, node: Node, x: Value, source: Value, *arguments: Any, **keywords: Any) -> Value:
    """The source in the shape of the tensor that it is written to."""
    return broadcast(t, Value(tuple(uniform(n) for n in x.shape)), replace(source, param=None), t.times, product=True)


@rule("slice_scatter", "select_scatter")
def scattered(t: Tracer, node: Node, x: Value, source: Value, dim: int = 0, *arguments: Any) -> Value:
    """A tensor with a stretch of one dimension written over: that dimension is read by its index."""
    at = dim % len(x.dims)
    if source.shape == x.shape:
        return source
    picked = [] if len(source.dims) < len(x.dims) else [source.dims[at]]
    t.freeze((x.dims[at], *picked), "a stretch of units is written over")
    rest = source.dims if len(source.dims) < len(x.dims) else (*source.dims[:at], *source.dims[at + 1 :])
    others = Value((*x.dims[:at], *x.dims[at + 1 :]), zero=x.zero)
    total = broadcast(t, others, Value(rest, zero=source.zero), t.equal)
    return Value((*total.dims[:at], fixed(x.shape[at]), *total.dims[at:]), zero=total.zero)
