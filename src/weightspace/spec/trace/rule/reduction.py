"""Operations that sum, average or compare along dimensions, pool over windows, or resize maps."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch.fx import Node

from weightspace.spec.trace.rule.registry import named_argument, not_understood, output_shape, rule
from weightspace.spec.trace.tracer import Tracer
from weightspace.spec.trace.value import UNIT, Value, fixed

__all__: list[str] = []


# With which powers the factors of the other dimensions leave a summary of some; `None` lets none in.
HOMOGENEOUS: Mapping[str, tuple[int | None, int | None]] = {
    "amax": (1, None), "amin": (1, None), "std": (1, 0), "var": (2, 0), "norm": (1, 0), "linalg_vector_norm": (1, 0),
}  # fmt: skip


def _chosen(x: Value, dim: int | Sequence[int] | None) -> list[int]:
    count = len(x.dims)
    dims = range(count) if dim is None or dim == [] else [dim] if isinstance(dim, int) else dim
    return [d % count for d in dims]


def _reduced(t: Tracer, x: Value, gone: Sequence[int], node: Node) -> Value:
    t.mix(x, gone)
    keep = len(output_shape(node)) == len(x.dims)
    return Value(
        tuple(UNIT if d in gone else dim for d, dim in enumerate(x.dims) if keep or d not in gone), zero=x.zero
    )


@rule("sum", "mean", "nansum")
def total(t: Tracer, node: Node, x: Value, dim: Any = None, keepdim: bool = False, **keywords: Any) -> Value:
    """Sums over dimensions: the units are treated alike, and only unscaled ones can be added."""
    gone = _chosen(x, dim if not isinstance(dim, bool) else None)
    t.unscale([x.dims[d] for d in gone])
    return _reduced(t, x, gone, node)


@rule("amax", "amin", "logsumexp", "var", "std", "prod", "norm", "linalg_vector_norm", "any", "all", "var_mean")
def summary(t: Tracer, node: Node, x: Value, *arguments: Any, **keywords: Any) -> Any:
    """Other summaries that do not ask for the order: what they go over may not scale, what is left may in some."""
    if isinstance(node.meta["val"], list | tuple):
        return not_understood(t, node, f"{node.target} gives several results", x)
    positive, sign = HOMOGENEOUS.get(node.target._opname, (None, None))  # type: ignore[union-attr]
    order = named_argument(node, "ord" if "linalg" in str(node.target) else "p")
    gone = _chosen(x, named_argument(node, "dim"))
    if order == 0:  # it counts what is not zero
        positive = 0
    t.unscale([x.dims[d] for d in gone])
    dims = [dim if d in gone else t.mapped(dim, lambda m: t.power(m, positive, sign)) for d, dim in enumerate(x.dims)]
    return _reduced(t, x.with_dims(tuple(dims)).without_zeros(), gone, node)


@rule("max", "min", "median")
def extremum(t: Tracer, node: Node, x: Value, *arguments: Any, **keywords: Any) -> Any:
    """The largest entry along a dimension; who asks where it stands asks for the order of the units."""
    if arguments and isinstance(arguments[0], Value):
        from weightspace.spec.trace.rule.pointwise import extremum as pointwise

        return pointwise(t, node, x, arguments[0])
    t.unscale(x.dims)
    if not isinstance(node.meta["val"], list | tuple):
        return Value(())
    at = int(keywords.get("dim", arguments[0] if arguments else 0)) % len(x.dims)
    if any(user.args[1:] == (1,) and user.users for user in node.users):
        t.freeze((x.dims[at],), "asked for the position of the largest")
    keep = len(node.meta["val"][0].shape) == len(x.dims)
    t.mix(x, [at])
    value = Value(tuple(UNIT if d == at else dim for d, dim in enumerate(x.dims) if keep or d != at))
    return [value, value]


@rule(
    "argmax",
    "argmin",
    "argsort",
    "sort",
    "topk",
    "cumsum",
    "cumprod",
    "logcumsumexp",
    "kthvalue",
    "cummax",
    "cummin",
)
def ordered(t: Tracer, node: Node, x: Value, *arguments: Any, **keywords: Any) -> Any:
    """Operations along one dimension that ask for the order of its entries; the others are treated alike."""
    named = named_argument(node, "dim")
    if named is None:
        return not_understood(t, node, f"{node.target} asks for the order of all entries", x)
    at = int(named) % max(len(x.dims), 1)
    linear = node.target._opname == "cumsum"  # type: ignore[union-attr]
    if not linear:
        t.unscale(x.dims)
        x = x.without_zeros()
    t.freeze((x.dims[at],), "the order of the units matters")

    def given(out: Any) -> Value:
        same = len(out.shape) == len(x.dims)
        dims = (
            [fixed(out.shape[d]) if d == at else dim for d, dim in enumerate(x.dims)]
            if same
            else [dim for d, dim in enumerate(x.dims) if d != at]
        )
        return Value(tuple(dims))

    outs = node.meta["val"]
    return [given(out) for out in outs] if isinstance(outs, list | tuple) else given(outs)


@rule("softmax", "_softmax", "log_softmax", "_log_softmax", "softmin")
def softmax(t: Tracer, node: Node, x: Value, *arguments: Any, **keywords: Any) -> Value:
    """Along a dimension all units are treated alike; nothing may scale."""
    t.unscale(x.dims)
    t.mix(x, _chosen(x, named_argument(node, "dim")))
    return replace(x.without_zeros(), param=None)


@rule(
    "max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d",
    "max_pool2d_with_indices", "fractional_max_pool2d", "max_pool1d_with_indices", "max_pool3d_with_indices",
)  # fmt: skip
def max_pool(t: Tracer, node: Node, x: Value, *arguments: Any, **keywords: Any) -> Any:
    """The largest entry of each window: positive scales pass."""
    out = _windows(t, node, x)
    # Where the largest stands does not change with its scale.
    largest, positions = (
        out.with_dims(tuple(t.mapped(dim, partial(t.power, positive=power, sign=None)) for dim in out.dims))
        for power in (1, 0)
    )
    return [largest, positions.without_zeros()] if isinstance(node.meta["val"], list | tuple) else largest


@rule(
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "_adaptive_avg_pool2d", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "upsample_linear1d",
    "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d", "_upsample_bilinear2d_aa",
    "_upsample_nearest_exact2d", "_upsample_bicubic2d_aa", "grid_sampler", "_upsample_nearest_exact1d", "lp_pool2d",
)  # fmt: skip
def resample(t: Tracer, node: Node, x: Value, *arguments: Any, **keywords: Any) -> Value:
    """Averages over windows, or between neighbours: linear in the entries, with fixed coefficients."""
    for other in arguments:
        if isinstance(other, Value):
            t.freeze(other.dims, "positions to sample at")
    return _windows(t, node, x)


def _windows(t: Tracer, node: Node, x: Value) -> Value:
    outs = node.meta["val"]
    shape = tuple((outs[0] if isinstance(outs, list | tuple) else outs).shape)
    name = node.target._opname  # type: ignore[union-attr]
    spatial = next((int(c) for c in name if c in "123"), 2)
    t.freeze(x.dims[-spatial:], "positions of a map")
    return Value((*x.dims[:-spatial], *(fixed(n) for n in shape[-spatial:])))


@rule("glu")
def glu(t: Tracer, node: Node, x: Value, dim: int = -1) -> Value:
    """The first half of the units times the sigmoid of the second."""
    from weightspace.spec.trace.rule.pointwise import multiply
    from weightspace.spec.trace.rule.rearrangement import _narrow

    at = dim % len(x.dims)
    half = x.shape[at] // 2
    first, second = (_narrow(t, node, x, at, start, half) for start in (0, half))
    t.unscale(second.dims)
    return multiply(t, node, first, second)
