"""Recurrent layers: the state has the units of the recurrent weight's columns, and comes back to them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch.fx import Node

from weightspace.spec.trace.pairing import broadcast, contract
from weightspace.spec.trace.rule.contraction import LETTERS
from weightspace.spec.trace.rule.rearrangement import stack, stretch
from weightspace.spec.trace.rule.registry import not_understood, rule
from weightspace.spec.trace.tracer import End, Tracer
from weightspace.spec.trace.value import Mark, Value, dim_size, fixed

__all__: list[str] = []

GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


@rule("lstm", "gru", "rnn_tanh", "rnn_relu")
def layers(t: Tracer, node: Node, x: Value, state: Any, weights: Sequence[Value], *arguments: Any) -> Any:
    """Stacked recurrent layers, in one direction or both, as `torch.nn.LSTM`, `GRU` and `RNN` run them."""
    if not isinstance(weights, list | tuple) or len(arguments) != 6:
        return not_understood(t, node, "packed sequences are not read", x, state, weights)
    biases, count, _dropout, _train, both, batch_first = arguments
    kind = node.target._opname  # type: ignore[union-attr]
    initial = list(state) if kind == "lstm" else [state]
    t.freeze(x.dims[:-1], "positions of a sequence")
    t.unscale(x.dims[:-1])
    each = len(weights) // (count * (2 if both else 1))
    finals: list[list[Value]] = []
    for layer in range(count):
        outs = []
        for direction in range(2 if both else 1):
            number = layer * (2 if both else 1) + direction
            own = list(weights[number * each : (number + 1) * each])
            starts = [_at(t, one, number) for one in initial]
            finals.append(_unrolled(t, node, kind, x, starts, own, biases=biases))
            outs.append(finals[-1][0])
        x = outs[0].with_dims((*x.dims[:-1], tuple(part for out in outs for part in t.resolve(out.dims[-1]))))
    results = [x]
    for values in zip(*finals, strict=True):
        results.append(_stacked(t, node, values, len(results)))
    return results


def _at(t: Tracer, state: Value, number: int) -> Value:
    """The state that one layer starts from: its last dimension."""
    if not state.zero:
        t.freeze(state.dims[:-1], "states of several layers")
    return Value((state.dims[-1],), zero=state.zero)


def _stacked(t: Tracer, node: Node, values: Sequence[Value], position: int) -> Value:
    """The final states of all layers as one tensor."""
    *batch, _units = node.meta["val"][position].shape
    wide = [value.with_dims((*(fixed(n) for n in batch[1:]), value.dims[-1])) for value in values]
    return stack(t, node, wide, 0)


def _unrolled(
    t: Tracer, node: Node, kind: str, x: Value, starts: Sequence[Value], weights: list[Value], *, biases: bool
) -> list[Value]:
    """One layer in one direction: the state must come out as it went in."""
    recurrent = weights[1]
    t.play("recurrent", recurrent)
    t.play("bias", *(weights[2:4] if biases else ()))
    # What multiplies the recurrent weight scales against its columns.
    inside = recurrent.with_dims((t.mapped(recurrent.dims[1], lambda m: t.over(Mark(), m)),))
    state = [replace(inside, param=None), replace(inside, param=None)]
    after = _cell(t, kind, x, state, weights, biases=biases)
    for old, new, start in zip(state, after, [*starts, *starts[-1:]], strict=False):
        broadcast(t, new, old, t.equal)
        if not start.zero:
            broadcast(t, start, old, t.equal)
    return after


def _cell(t: Tracer, kind: str, x: Value, state: Sequence[Value], weights: list[Value], *, biases: bool) -> list[Value]:
    """One step: the new state, and for an LSTM the new memory."""
    projection = weights.pop() if len(weights) in (3, 5) else None
    given = [_times(t, x, weights[0]), _times(t, state[0], weights[1])]
    if biases:
        given = [broadcast(t, v, replace(b, param=None), t.equal) for v, b in zip(given, weights[2:4], strict=True)]
    size = dim_size(given[0].dims[-1]) // GATES[kind]
    rows = [[stretch(t, v, i * size, size) for i in range(GATES[kind])] for v in given]
    new = _CELLS[kind](t, rows[0], rows[1], state)
    if projection is not None:
        new[0] = _times(t, new[0], projection)
    new[0] = _place(t, kind, x, state, new[0], weights)
    return new


def _times(t: Tracer, x: Value, weight: Value) -> Value:
    """The units alone of `x W^T`; positions are left out."""
    letters = LETTERS[: len(x.dims) - 1]
    value = contract(t, x, letters + "Z", replace(weight, param=None), "YZ", letters + "Y")
    return Value((value.dims[-1],))


def _place(t: Tracer, kind: str, x: Value, state: Sequence[Value], new: Value, weights: Sequence[Value]) -> Value:
    """The state at a place of its own, into which all weights of the layer lead."""
    value = new.with_dims((t.at_new_place(new.dims[-1], None, ()),))
    for slot in t.slots(value.dims):
        for mark, leaf in zip(t.leaf_marks(slot), t.own_leaves(slot), strict=False):
            if mark.place is None:
                continue
            t.places[mark.place].activation = "relu" if kind == "rnn_relu" else "tanh"
            here = End(leaf, mark)
            for source in (end for before in t.slots(x.dims[-1:]) for end in t.ends(before)):
                t.wire(weights[0].param, source, mark.place, here)
            t.wire(weights[1].param, replace(here, place=mark.place), mark.place, here)
            for bias in weights[2:4]:
                t.wire(bias.param, None, mark.place, here)
    return value


def _sum(t: Tracer, *values: Value) -> Value:
    first, *others = values
    for other in others:
        first = broadcast(t, first, other, t.equal)
    return first


def _gate(t: Tracer, *values: Value) -> Value:
    """A sigmoid of a sum."""
    total = _sum(t, *values)
    t.unscale(total.dims)
    return total


def _bent(t: Tracer, value: Value, positive: int | None, sign: int | None) -> Value:
    return value.with_dims(tuple(t.mapped(dim, lambda m: t.power(m, positive, sign)) for dim in value.dims))


def _product(t: Tracer, x: Value, y: Value) -> Value:
    return broadcast(t, x, y, t.times, product=True)


def _lstm(t: Tracer, given: list[Value], carried: list[Value], state: Sequence[Value]) -> list[Value]:
    enter, forget, leave = (_gate(t, given[i], carried[i]) for i in (0, 1, 3))
    content = _bent(t, _sum(t, given[2], carried[2]), None, 1)
    # The memory has the units of the content; with a projection those are not the units of the state.
    memory = _product(t, _product(t, enter, content), forget)
    return [_product(t, leave, _bent(t, memory, None, 1)), memory]


def _gru(t: Tracer, given: list[Value], carried: list[Value], state: Sequence[Value]) -> list[Value]:
    reset, update = (_gate(t, given[i], carried[i]) for i in (0, 1))
    content = _bent(t, _sum(t, given[2], _product(t, reset, carried[2])), None, 1)
    return [_sum(t, _product(t, content, update), state[0])]


def _tanh(t: Tracer, given: list[Value], carried: list[Value], state: Sequence[Value]) -> list[Value]:
    return [_bent(t, _sum(t, given[0], carried[0]), None, 1)]


def _relu(t: Tracer, given: list[Value], carried: list[Value], state: Sequence[Value]) -> list[Value]:
    return [_bent(t, _sum(t, given[0], carried[0]), 1, None)]


_CELLS = {"lstm": _lstm, "gru": _gru, "rnn_tanh": _tanh, "rnn_relu": _relu}


@rule("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
def cell(t: Tracer, node: Node, x: Value, state: Any, *weights: Value | None) -> Any:
    """One step of a recurrent layer."""
    kind = node.target._opname.removesuffix("_cell")  # type: ignore[union-attr]
    states = list(state) if kind == "lstm" else [state]
    batch = x.dims[:-1]
    t.unscale(batch)
    own = [w for w in weights if w is not None]
    units = [Value((one.dims[-1],), zero=one.zero) for one in states]
    new = _cell(t, kind, x, units, own, biases=len(own) > 2)
    if kind == "lstm" and not units[1].zero:
        new[1] = broadcast(t, new[1], units[1], t.equal)
    outs = [Value((*batch, value.dims[-1])) for value in new]
    return outs if kind == "lstm" else outs[0]
