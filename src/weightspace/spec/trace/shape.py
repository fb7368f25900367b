"""Rearranging tensors: other shapes, and several tensors packed into one."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import prod

from weightspace.spec.trace.pairing import broadcast, cut, split_slot
from weightspace.spec.trace.tracer import Tracer
from weightspace.spec.trace.value import UNIT, Dim, Part, Slot, Value, dim_size, fixed, part_size

__all__ = ["collapsed", "reshaped", "shaped", "stack_position"]


def shaped(t: Tracer, value: Value, change: Callable[[tuple[Dim, ...]], tuple[Dim, ...]]) -> Value:
    """A rearrangement; of tensors packed into one, each is rearranged as long as they stay apart."""
    if not value.cases:
        return value.with_dims(change(value.dims))
    cases = tuple(change(case) for case in value.cases)
    if stack_position(t, cases[0]) is None:
        return shaped(t, collapsed(t, value), change)
    return replace(value, dims=cases[0], cases=cases)


def stack_position(t: Tracer, dims: tuple[Dim, ...]) -> int | None:
    """The dimension that counts the packed tensors."""
    stacks = [i for i, dim in enumerate(dims) if len(dim) == 1 and len(dim[0]) == 1 and dim[0][0].stack]
    return stacks[0] if stacks else None


def collapsed(t: Tracer, value: Value) -> Value:
    """Packed tensors as one: what they have in the same spot is the same."""
    if not value.cases:
        return value
    first, *others = value.cases
    plain = Value(tuple(_unstacked(t, dim) for dim in first), zero=value.zero, shared=value.shared)
    for other in others:
        plain = broadcast(t, plain, Value(tuple(_unstacked(t, dim) for dim in other)), t.equal)
    return replace(plain, param=value.param, shared=value.shared)


def _unstacked(t: Tracer, dim: Dim) -> Dim:
    return tuple(tuple(replace(slot, stack=False) for slot in part) for part in dim)


def reshaped(t: Tracer, value: Value, sizes: Sequence[int]) -> Value:
    """The tensor in another shape, read row by row."""
    wanted = _unpacking(t, value, sizes)
    if wanted is not None:
        return wanted
    return shaped(t, value, lambda dims: _regrouped(t, dims, sizes))


def _unpacking(t: Tracer, value: Value, sizes: Sequence[int]) -> Value | None:
    """The tensors that a reshape lays side by side, where a later operation takes them apart."""
    positions = [position for node, position in t.unpacked if node == t.node]
    if not positions or value.cases:
        return None
    at = positions[0]
    whole = _regrouped(t, value.dims, (*sizes[:at], prod(sizes[at:])))
    row = list(t.resolve(whole[-1]))
    pieces, count = [], sizes[at]
    each = dim_size(whole[-1]) // count
    while row:
        if part_size(row[0]) > each and not cut(t, row, each):
            return None
        if part_size(row[0]) != each:
            return None
        pieces.append(row.pop(0))
    stack: Dim = ((Slot(count, stack=True),),)
    cases = tuple((*whole[:-1], stack, *_regrouped(t, ((piece,),), sizes[at + 1 :])) for piece in pieces)
    return replace(value, dims=cases[0], cases=cases)


def _regrouped(t: Tracer, dims: tuple[Dim, ...], sizes: Sequence[int]) -> tuple[Dim, ...]:
    out: list[Dim] = []
    for old, new in _stretches([dim_size(dim) for dim in dims], sizes):
        out += _regroup(t, dims[old], list(sizes[new]), new.start)
    return tuple(out)


def _regroup(t: Tracer, dims: tuple[Dim, ...], sizes: list[int], first: int) -> list[Dim]:
    """One stretch of dimensions as another of the same total."""
    if [dim_size(dim) for dim in dims] == sizes:
        return list(dims)
    long = [dim for dim in dims if dim_size(dim) > 1]
    if [dim_size(dim) for dim in long] == [size for size in sizes if size > 1] and all(
        t.slots((dim,)) == [] for dim in dims if dim_size(dim) == 1
    ):
        return [UNIT if size == 1 else long.pop(0) for size in sizes]
    flat = _flattened(t, dims)
    if flat is not None and len([size for size in sizes if size > 1]) <= 1 and len(flat) > 1:
        whole = next((i for i, size in enumerate(sizes) if size > 1), 0)
        return [flat if i == whole else UNIT for i in range(len(sizes))]
    found = None if flat is None or len(flat) != 1 else _digits(t, list(flat[0]), sizes, first)
    if found is None:
        t.freeze(dims, "its units are regrouped in a way that does not keep them apart")
        return [fixed(size) for size in sizes]
    return found


def _flattened(t: Tracer, dims: tuple[Dim, ...]) -> Dim | None:
    """Several dimensions as one; `None` where a row of sets would stand inside a product."""
    rows: list[Part] = [()]
    for dim in dims:
        resolved = t.resolve(dim)
        if len(resolved) == 1:
            rows = [row + resolved[0] for row in rows]
        elif rows == [()]:
            rows = list(resolved)
        else:
            return None
    return tuple(rows)


def _digits(t: Tracer, slots: list[Slot], sizes: list[int], first: int) -> list[Dim] | None:
    """A product of slots dealt out to dimensions, from the innermost on."""
    out: list[Dim] = []
    for position in reversed(range(len(sizes))):
        taken: list[Slot] = []
        missing = sizes[position]
        while missing > 1 or (slots and slots[-1].size == 1 and (position == 0 or sizes[position] == 1 and not taken)):
            if not slots:
                return None
            slot = slots.pop()
            inner = min(slot.size, missing)
            if missing % inner:
                return None
            pieces = split_slot(t, slot, inner, (t.node, first + position))
            if pieces is None:
                return None
            *outer, last = pieces
            slots, taken, missing = slots + outer, [last, *taken], missing // inner
        out.insert(0, (tuple(taken),))
    return out if not slots else None


def _stretches(old: Sequence[int], new: Sequence[int]) -> Iterable[tuple[slice, slice]]:
    """The shortest stretches of two shapes that hold equally many entries."""
    i = j = 0
    while i < len(old) or j < len(new):
        start, have, need = (i, j), 1, 1
        if i < len(old):
            have, i = old[i], i + 1
        if j < len(new):
            need, j = new[j], j + 1
        while have != need:
            if have < need:
                have, i = have * old[i], i + 1
            else:
                need, j = need * new[j], j + 1
        yield slice(start[0], i), slice(start[1], j)
