"""Pairing the dimensions of two tensors: entry by entry, or summed over."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from weightspace.spec.trace.atom import Atom
from weightspace.spec.trace.tracer import Tracer
from weightspace.spec.trace.value import UNIT, Dim, Mark, Part, Slot, Value, dim_size, part_size, uniform

__all__ = [
    "align",
    "beside",
    "broadcast",
    "check_pairs",
    "check_value",
    "combine",
    "contract",
    "cut",
    "split_slot",
    "spread",
]


Pair = tuple[Slot | None, Slot | None]
Rows = list[list[Pair]]
Combine = Callable[[Mark, Mark], Mark]


def align(t: Tracer, x: Dim, y: Dim, reason: str) -> Rows:
    """The slots of two dimensions of one length, pairwise; units that meet become the same units."""
    rows = _align_rows(t, x, y)
    if rows is None:
        t.freeze((x, y), reason)
        rows = [[(_one_fixed(t, x), _one_fixed(t, y))]]
    _merge(t, [pair for row in rows for pair in row], reason)
    return rows


def _one_fixed(t: Tracer, dim: Dim) -> Slot:
    slots = t.slots((dim,))
    only_zero = bool(slots) and all(slot.uniform for slot in slots)
    return Slot(dim_size(dim), uniform=only_zero, zero=only_zero and all(slot.zero for slot in slots))


def _align_rows(t: Tracer, x: Dim, y: Dim) -> Rows | None:
    xs, ys = list(t.resolve(x)), list(t.resolve(y))
    rows = []
    while xs and ys:
        a, b = part_size(xs[0]), part_size(ys[0])
        if a != b:
            if not cut(t, *((xs, b) if a > b else (ys, a))):
                return None
            continue
        row = _align_parts(t, xs.pop(0), ys.pop(0))
        if row is None:
            return None
        rows.append(row)
    return rows


def cut(t: Tracer, parts: list[Part], at: int) -> bool:
    """Cut the first of a row of parts in two, in place. False where it cannot be."""
    first, *rest = parts[0]
    inner = part_size(tuple(rest))
    if at % inner:
        return False
    sizes = (at // inner, first.size - at // inner)
    if t.is_free(first) and first.atom is not None:
        t.forest.concat(t.forest.find(first.atom), sizes[0])
        halves = [piece[0] for piece in t._parts(first)]
    else:
        halves = [replace(first, size=size, atom=None) for size in sizes]
    parts[:1] = [(half, *rest) for half in halves]
    return True


def _align_parts(t: Tracer, x: Part, y: Part) -> list[Pair] | None:
    xs, ys = list(x), list(y)
    row: list[Pair] = []
    while xs or ys:
        a, b = xs.pop() if xs else None, ys.pop() if ys else None
        if a is not None and (b is None or (a.size == 1 != b.size)):
            row.append((a, None))
            ys += [b] if b else []
        elif b is not None and (a is None or (b.size == 1 != a.size)):
            row.append((None, b))
            xs += [a] if a else []
        elif a is not None and b is not None:
            inner = min(a.size, b.size)
            pieces_a, pieces_b = split_slot(t, a, inner), split_slot(t, b, inner)
            if pieces_a is None or pieces_b is None:
                return None
            (*outer_a, a), (*outer_b, b) = pieces_a, pieces_b
            xs, ys = [*xs, *outer_a], [*ys, *outer_b]
            row.append((a, b))
    return row[::-1]


def split_slot(t: Tracer, slot: Slot, inner: int, view: tuple[str, int] | None = None) -> list[Slot] | None:
    """The slot as an outer one and one of `inner` values; `None` where it cannot be."""
    if slot.size == inner:
        return [slot]
    if slot.size % inner:
        return None
    if not t.is_free(slot) or slot.atom is None:
        return [replace(slot, size=n, atom=None, stack=False) for n in (slot.size // inner, inner)]
    atom = t.forest.find(slot.atom)
    if atom.join is not None:
        return None
    t.forest.product(atom, inner, view)
    return list(t._parts(slot)[0])


def _merge(t: Tracer, pairs: Sequence[Pair], reason: str) -> None:
    reason = f"{reason} ({t.where})" if t.where else reason
    for a, b in pairs:
        if a is None or b is None:  # one unit, spread over many
            lone = a or b
            if lone is not None and lone.atom is not None:
                t.forest.freeze(lone.atom, reason)
        elif a.atom is not None and b.atom is not None:
            t.forest.merge(a.atom, b.atom, reason)
        elif t.is_free(a) and t.is_fixed(b) and a.atom is not None:
            t.forest.freeze(a.atom, f"paired with positions that are no units, {reason}")
        elif t.is_free(b) and t.is_fixed(a) and b.atom is not None:
            t.forest.freeze(b.atom, f"paired with positions that are no units, {reason}")


def check_pairs(t: Tracer, rows: Rows) -> None:
    """What nests may be paired only where the sets it nests in are paired too."""
    first, second = ([[pair[side] for pair in row] for row in rows] for side in (0, 1))
    both = [[a for a, b in row if b is not None and b.atom is not None] for row in rows]
    t.forest.check_nesting(*(_leaves_of(t, slots) for slots in (both, first, second)))


def _leaves_of(t: Tracer, rows: Iterable[Iterable[Slot | None]]) -> list[list[Atom]]:
    return [[leaf for slot in row for leaf in t.free_leaves(slot)] for row in rows]


def check_value(t: Tracer, value: Value) -> None:
    """What nests must stand beside the set it nests in."""
    t.forest.check_nesting(_leaves_of(t, [part for dim in value.dims for part in t.resolve(dim)]))


def combine(t: Tracer, rows: Rows, change: Combine, *, zero: Callable[[bool, bool], bool]) -> Dim:
    """The dimension that two paired ones give; `zero` tells whether the result is zero where one of them is."""
    return tuple(tuple(_combined(t, a, b, change, zero) for a, b in row) for row in rows)


def _combined(t: Tracer, a: Slot | None, b: Slot | None, change: Combine, zero: Callable[[bool, bool], bool]) -> Slot:
    some = a or b
    if some is None or a is None or b is None:
        return Slot(1) if some is None else some
    if zero(a.zero, b.zero):
        return Slot(a.size, uniform=True, zero=True)
    if a.zero or b.zero:
        return b if a.zero else a
    marks = tuple(change(p, q) for p, q in _zip(t, a, b))
    atom = a.atom or b.atom
    if atom is None:
        return Slot(a.size, None, marks, uniform=a.uniform and b.uniform)
    return Slot(a.size, t.forest.find(atom), marks)


def _zip(t: Tracer, a: Slot, b: Slot) -> list[tuple[Mark, Mark]]:
    first, second = t.marks(a), t.marks(b)
    count = max(len(first), len(second))
    wide = [m if len(m) == count else (m[0],) * count for m in (first, second)]
    return list(zip(*wide, strict=True))


def broadcast(t: Tracer, x: Value, y: Value, change: Combine, *, product: bool = False) -> Value:
    """Two tensors, entry by entry. In a sum, a tensor that is zero demands nothing."""
    count = max(len(x.dims), len(y.dims))
    xs, ys = (UNIT,) * (count - len(x.dims)) + x.dims, (UNIT,) * (count - len(y.dims)) + y.dims
    if not product and (x.zero or y.zero):
        change = lambda a, b: a if y.zero else b  # noqa: E731
    zero = (lambda a, b: a or b) if product else (lambda a, b: a and b)
    dims, paired = [], []
    for a, b in zip(xs, ys, strict=True):
        rows = spread(t, a, b)
        paired += rows
        dims.append(combine(t, rows, change, zero=zero))
    check_pairs(t, paired)
    return Value(tuple(dims), zero=(x.zero or y.zero) if product else (x.zero and y.zero))


def spread(t: Tracer, a: Dim, b: Dim) -> Rows:
    """Two dimensions paired; one of length one is spread over the other."""
    if dim_size(a) == 1 != dim_size(b):
        _freeze_lone(t, a)
        a = uniform(dim_size(b))
    elif dim_size(b) == 1 != dim_size(a):
        _freeze_lone(t, b)
        b = uniform(dim_size(a))
    return align(t, a, b, "units of two tensors meet that do not correspond")


def _freeze_lone(t: Tracer, dim: Dim) -> None:
    t.unscale((dim,))
    t.freeze((dim,), "one unit is spread over many")


def contract(t: Tracer, x: Value, xs: str, y: Value, ys: str, out: str) -> Value:
    """The sum of products over the letters that are not in `out`, as by `einsum(f"{xs},{ys}->{out}")`."""
    left, right = dict(zip(xs, x.dims, strict=True)), dict(zip(ys, y.dims, strict=True))
    result: dict[str, Dim] = {}
    summed: list[Pair] = []
    paired: Rows = []
    for letter in dict.fromkeys(xs + ys):
        if letter not in left or letter not in right:
            dim = left.get(letter, right.get(letter, UNIT))
            result[letter] = dim
            if letter not in out:
                t.unscale((dim,))
            continue
        rows = spread(t, left[letter], right[letter])
        paired += rows
        result[letter] = combine(t, rows, t.times, zero=lambda a, b: a or b)
        if letter not in out:
            summed += [pair for row in rows for pair in row]
            t.unscale((result[letter],))
    check_pairs(t, paired)
    for operand, letters in ((x, xs), (y, ys)):
        t.mix(operand, [d for d, letter in enumerate(letters) if letter not in out])
    value = Value(tuple(result[letter] for letter in out), zero=x.zero or y.zero)
    return _placed(t, x, xs, y, ys, out, value, summed)


def _placed(t: Tracer, x: Value, xs: str, y: Value, ys: str, out: str, value: Value, summed: list[Pair]) -> Value:
    """The result, at a new place where a parameter leads to it."""
    if (x.param is None) == (y.param is None):
        return value
    param, own, other = (x.param, xs, ys) if x.param else (y.param, ys, xs)
    ends = [end for a, b in summed for end in t.ends(*((b, a) if x.param else (a, b)))]
    targets = set(own) - set(other)
    dims = [
        t.at_new_place(dim, param, ends) if letter in targets else beside(t, dim)
        for letter, dim in zip(out, value.dims, strict=True)
    ]
    return replace(value, dims=tuple(dims))


def beside(t: Tracer, dim: Dim) -> Dim:
    """The dimension without places at positions: what a parameter leads to stands elsewhere."""
    return tuple(
        tuple(replace(slot, marks=()) if t.is_fixed(slot) else slot for slot in part) for part in t.resolve(dim)
    )
