"""Weight spaces with places that no chain has: residual sums, gains, gates, two factors, nested and recurrent units."""

from collections.abc import Mapping

import torch
from tests.laws.registry import SPECS

from weightspace.spec import (
    FIXED,
    NONZERO,
    PERMUTATION,
    POSITIVE,
    SIGN,
    Axis,
    Factor,
    Leg,
    NetworkSpec,
    ParamSpec,
    Place,
    Symmetry,
    View,
    Wire,
)
from weightspace.weights import WeightFeatures

I, O = Axis("i", 2, FIXED), Axis("o", 2, FIXED)  # noqa: E741
INPUT, OUTPUT = Place("input", "i"), Place("output", "o")


def written(axes: tuple[Axis, ...], places: tuple[Place, ...], wires: str, **params: tuple[Leg, ...]) -> NetworkSpec:
    """A spec with its wires as text: `weight:input>hidden bias:>hidden :a>b` and so on."""
    pairs = [text.split(":") for text in wires.split()]
    ends = [(param or None, *[end or None for end in way.split(">")]) for param, way in pairs]
    blocks = tuple(ParamSpec(name, legs, "weight", View(name)) for name, legs in params.items())
    return NetworkSpec(axes, blocks, places, tuple(Wire(*end) for end in ends))


def residual(symmetry: Symmetry) -> NetworkSpec:
    """Two blocks on one stream; the second reads what the first has added."""
    n = len(symmetry.factors)
    up, down = Leg("s", (1,) * n), Leg("s", (-1,) * n)
    return written(
        (I, Axis("s", 4, symmetry), Axis("h", 3, POSITIVE), O),
        (INPUT, Place("s0", "s"), Place("h", "h", "relu"), Place("s1", "s"), OUTPUT),
        "embed:input>s0 bias:>s0 first:s0>h shift:>h second:h>s1 :s0>s1 read:s1>output",
        embed=(up, Leg("i")),
        bias=(up,),
        first=(Leg("h", (1,)), down),
        shift=(Leg("h", (1,)),),
        second=(up, Leg("h", (-1,))),
        read=(Leg("o"), down),
    )


TWO = Symmetry(True, (Factor.POSITIVE, Factor.POSITIVE))
DEPTHWISE = written(
    (I, Axis("h", 3, TWO), Axis("k", 4, FIXED), O),
    (INPUT, Place("received", "h", "relu", (), (1, 0)), Place("own", "h", "relu", (), (0, 1)), OUTPUT),
    "first:input>received depthwise:received>own bias:>own out:own>output",
    first=(Leg("h", (1, 0)), Leg("i")),
    depthwise=(Leg("h", (-1, 1)), Leg("k")),
    bias=(Leg("h", (0, 1)),),
    out=(Leg("o"), Leg("h", (0, -1))),
)
NORMALISED = written(
    (I, Axis("h", 4, Symmetry(True, (Factor.SIGN, Factor.POSITIVE, Factor.POSITIVE))), O),
    (INPUT, Place("ahead", "h", "identity", (), (1, 1, 0)), Place("behind", "h", "relu", (), (0, 0, 1)), OUTPUT),
    "kernel:input>ahead bias:>ahead gain:ahead>behind shift:>behind out:behind>output",
    kernel=(Leg("h", (1, 1, 0)), Leg("i")),
    bias=(Leg("h", (1, 1, 0)),),
    mean=(Leg("h", (1, 1, 0)),),
    variance=(Leg("h", (0, 0, 0)),),
    gain=(Leg("h", (1, -1, 1)),),
    shift=(Leg("h", (0, 0, 1)),),
    out=(Leg("o"), Leg("h", (0, 0, -1))),
)
GROUPS = written(
    (I, Axis("g", 2, PERMUTATION), Axis("c", 3, POSITIVE, "g"), Axis("d", 2, NONZERO, "g"), O),
    (INPUT, Place("c", "c", "relu"), Place("d", "d", "abs", (), (1, 1)), OUTPUT),
    "first:input>c grouped:c>d bias:>d out:d>output",
    first=(Leg("g"), Leg("c", (1,)), Leg("i")),
    grouped=(Leg("g"), Leg("d", (1, 1)), Leg("c", (-1,))),
    bias=(Leg("g"), Leg("d", (1, 1))),
    out=(Leg("o"), Leg("g"), Leg("d", (0, -1))),
)
RECURRENT = written(
    (I, Axis("h", 4, SIGN), O),
    (INPUT, Place("h", "h", "tanh"), OUTPUT),
    "weight:input>h recurrent:h>h bias:>h out:h>output",
    weight=(Leg("h", (1,)), Leg("i")),
    recurrent=(Leg("h", (1,)), Leg("h", (1,))),
    bias=(Leg("h", (1,)),),
    out=(Leg("o"), Leg("h", (1,))),
)
SQUARE = written(
    (I, Axis("h", 3, POSITIVE), O),
    (INPUT, Place("h", "h", "square"), OUTPUT),
    "weight:input>h bias:>h out:h>output",
    weight=(Leg("h", (1,)), Leg("i")),
    bias=(Leg("h", (1,)),),
    out=(Leg("o"), Leg("h", (-2,))),
)
GATED = written(
    (I, Axis("h", 3, TWO), O),
    (
        INPUT,
        Place("up", "h", "identity", (), (1, 0)),
        Place("gate", "h", "relu", (), (0, 1)),
        Place("product", "h", "identity", (), (1, 1), "product"),
        OUTPUT,
    ),
    "up:input>up gate:input>gate bias:>gate :up>product :gate>product down:product>output",
    up=(Leg("h", (1, 0)), Leg("i")),
    gate=(Leg("h", (0, 1)), Leg("i")),
    bias=(Leg("h", (0, 1)),),
    down=(Leg("o"), Leg("h", (-1, -1))),
)
FORGETFUL = written(
    (I, Axis("s", 4, PERMUTATION), O),
    (INPUT, Place("s", "s"), Place("normed", "s"), OUTPUT),
    "embed:input>s gain:>normed shift:>normed read:normed>output",
    embed=(Leg("s"), Leg("i")),
    gain=(Leg("s"),),
    shift=(Leg("s"),),
    read=(Leg("o"), Leg("s")),
)
SCORES = written(
    (I, Axis("head", 3, PERMUTATION), Axis("q", 2, NONZERO, "head"), O),
    (
        INPUT,
        Place("query", "q"),
        Place("key", "q", "identity", (), (1, -1)),
        Place("score", "head", "identity", (), (), "product"),
        OUTPUT,
    ),
    "query:input>query key:input>key :query>score :key>score mix:score>output",
    query=(Leg("head"), Leg("q", (1, 1)), Leg("i")),
    key=(Leg("head"), Leg("q", (1, -1)), Leg("i")),
    mix=(Leg("o"), Leg("head")),
)
# A normalisation over groups of channels: a sign per group ahead of it, a scale per channel behind it.
GROUP_NORMALISED = written(
    (I, Axis("g", 2, SIGN), Axis("c", 3, POSITIVE, "g"), O),
    (INPUT, Place("ahead", "c", "identity", (), (0,)), Place("behind", "c", "relu"), OUTPUT),
    "kernel:input>ahead gain:>behind out:behind>output",
    kernel=(Leg("g", (1,)), Leg("c", (0,)), Leg("i")),
    gain=(Leg("g", (1,)), Leg("c", (1,))),
    out=(Leg("o"), Leg("g", (0,)), Leg("c", (-1,))),
)
WRITTEN: Mapping[str, NetworkSpec] = {
    "residual": residual(POSITIVE),
    "residual-nonzero": residual(NONZERO),
    "depthwise": DEPTHWISE,
    "normalised": NORMALISED,
    "groups": GROUPS,
    "recurrent": RECURRENT,
    "square": SQUARE,
    "gated": GATED,
    "forgetful": FORGETFUL,
    "scores": SCORES,
    "group-normalised": GROUP_NORMALISED,
}
PLACED: Mapping[str, NetworkSpec] = {**{name: spec for name, spec in SPECS.items() if spec.places}, **WRITTEN}
EVERY: Mapping[str, NetworkSpec] = {**SPECS, **WRITTEN}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def apart(x: WeightFeatures, y: WeightFeatures) -> float:
    """The largest difference of two entries, relative to the largest of their parameter; infinite where undefined."""
    errors = [
        ((a - b).abs().max() / (1e-300 + b.abs().max())).item() for a, b in zip(x.tensors, y.tensors, strict=True)
    ]
    return max(error if error == error else float("inf") for error in errors)
