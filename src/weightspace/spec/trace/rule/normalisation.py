"""Normalisations: which factors pass them, and the new ones that stand behind them."""

from collections.abc import Sequence
from typing import Any

from torch.fx import Node

from weightspace.spec.trace.pairing import broadcast
from weightspace.spec.trace.rule.contraction import wire_in
from weightspace.spec.trace.rule.registry import rule
from weightspace.spec.trace.shape import reshaped
from weightspace.spec.trace.tracer import Tracer
from weightspace.spec.trace.value import UNIT, Value, fixed

__all__: list[str] = []


@rule("batch_norm")
def batch_norm(
    t: Tracer,
    node: Node,
    x: Value,
    gain: Value | None,
    shift: Value | None,
    mean: Value | None,
    variance: Value | None,
    training: bool,
    momentum: float,
    epsilon: float,
    *arguments: Any,
) -> Value:
    """`gain (x - mean) / sqrt(variance + epsilon) + shift`, per channel.

    With stored statistics the map is affine, so every scale passes that the mean and the gain go along with. With those
    of the batch a sign passes; a positive factor enters only where epsilon is zero, and vanishes.
    """
    t.unscale([dim for d, dim in enumerate(x.dims) if d != 1])
    x = x.without_zeros()
    if training:
        t.mix(x, [d for d in range(len(x.dims)) if d != 1])
        x = _with_channel(x, t.mapped(x.dims[1], lambda m: t.power(m, 0 if epsilon == 0 else None, 1)))
    t.play("mean", mean)
    t.play("variance", variance)
    if mean is not None and variance is not None:
        t.unscale(variance.dims)
        centred = broadcast(t, x, _channelwise(x, mean), t.equal)
        x = _with_channel(broadcast(t, centred, _channelwise(x, variance), t.times, product=True), centred.dims[1])
    return _affine(t, x, gain, shift, 1, keeps_scale=True)


@rule("_native_batch_norm_legit_no_training", "_native_batch_norm_legit_functional")
def native_batch_norm(t: Tracer, node: Node, *arguments: Any) -> list[Value]:
    """The same among other results, as functional programs have it."""
    name = node.target._opname  # type: ignore[union-attr]
    given = arguments if name.endswith("functional") else (*arguments[:5], False, *arguments[5:])
    out = batch_norm(t, node, *given)
    rest = [Value(tuple(fixed(n) for n in other.shape)) for other in node.meta["val"][1:]]
    return [out, *rest]


def _with_channel(x: Value, channel: Any) -> Value:
    return Value((x.dims[0], channel, *x.dims[2:]))


def _channelwise(x: Value, vector: Value) -> Value:
    return vector.with_dims((*vector.dims, *[UNIT] * (len(x.dims) - 2)))


def _affine(t: Tracer, x: Value, gain: Value | None, shift: Value | None, at: int, *, keeps_scale: bool) -> Value:
    """The value times a gain, plus a shift, both for the units of dimensions `at` onwards of the gain's own number."""
    behind = len(x.dims) - at - (len(gain.dims) if gain is not None else len(shift.dims) if shift is not None else 1)
    ends = [end for slot in t.slots(x.dims[at:]) for end in t.ends(slot)] if keeps_scale else []
    t.play("gain", gain)
    t.play("shift", shift)
    for vector in (gain, shift):
        if vector is None:
            continue
        wide = vector.with_dims((*vector.dims, *[UNIT] * behind))
        x = broadcast(t, x, wide, t.times if vector is gain else t.equal, product=vector is gain)
    leads = gain.param if gain is not None else None
    own = range(at, len(x.dims) - behind)
    dims = [t.at_new_place(dim, leads, ends) if d in own else dim for d, dim in enumerate(x.dims)]
    value = Value(tuple(dims))
    if shift is not None:
        wire_in(t, value, shift.with_dims((*shift.dims, *[UNIT] * behind)))
    return value


@rule("layer_norm")
def layer_norm(
    t: Tracer,
    node: Node,
    x: Value,
    shape: Sequence[int],
    gain: Value | None = None,
    shift: Value | None = None,
    *arguments: Any,
) -> Value:
    """Centred and brought to unit variance along the last dimensions: no unit there may scale by itself."""
    return _normalised(t, x, len(x.dims) - len(shape), gain, shift, unit_sign=None)


@rule("rms_norm")
def rms_norm(
    t: Tracer, node: Node, x: Value, shape: Sequence[int], gain: Value | None = None, epsilon: float | None = None
) -> Value:
    """Divided by the root of the mean square along the last dimensions: signs pass."""
    return _normalised(t, x, len(x.dims) - len(shape), gain, None, unit_sign=1)


def _normalised(
    t: Tracer, x: Value, at: int, gain: Value | None, shift: Value | None, *, unit_sign: int | None
) -> Value:
    """What stands ahead of `at` is normalised apart: a sign of all of it passes."""
    t.mix(x, range(at, len(x.dims)))
    x = x if unit_sign else x.without_zeros()  # what is centred is not zero where it was
    before = [t.mapped(dim, lambda m: t.power(m, None, 1)) for dim in x.dims[:at]]
    along = [t.mapped(dim, lambda m: t.power(m, None, unit_sign)) for dim in x.dims[at:]]
    return _affine(t, Value((*before, *along)), gain, shift, at, keeps_scale=False)


@rule("group_norm")
def group_norm(
    t: Tracer,
    node: Node,
    x: Value,
    groups: int,
    gain: Value | None = None,
    shift: Value | None = None,
    *arguments: Any,
) -> Value:
    """Normalised within each group of channels: channels may move within groups, and groups among each other."""
    shape = x.shape
    wide = reshaped(t, x, (shape[0], groups, shape[1] // groups, *shape[2:]))
    t.mix(wide, range(2, len(wide.dims)))
    wide = wide.without_zeros()
    group = t.mapped(wide.dims[1], lambda m: t.power(m, None, 1))
    t.unscale([dim for d, dim in enumerate(wide.dims) if d != 1])
    x = reshaped(t, wide.with_dims((wide.dims[0], group, *wide.dims[2:])), shape)
    return _affine(t, x, gain, shift, 1, keeps_scale=False)


@rule("instance_norm")
def instance_norm(
    t: Tracer,
    node: Node,
    x: Value,
    gain: Value | None,
    shift: Value | None,
    mean: Value | None,
    variance: Value | None,
    use_input_stats: bool,
    momentum: float,
    epsilon: float,
    *arguments: Any,
) -> Value:
    """Each channel normalised by itself."""
    if not use_input_stats:
        return batch_norm(t, node, x, gain, shift, mean, variance, False, momentum, epsilon)
    if mean is not None and variance is not None:
        t.unscale((*mean.dims, *variance.dims))
    return group_norm(t, node, x, x.shape[1], gain, shift)
