"""The rows: networks of every kind that `spec_of` reads, and weight spaces written by hand."""

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

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
    Sine,
    Symmetry,
    View,
    spec_of,
)


def mlp(widths: tuple[int, ...], *activations: nn.Module, bias: bool = True) -> nn.Sequential:
    """A multilayer perceptron; a single activation is used behind every hidden layer."""
    pairs = list(pairwise(widths))
    behind = list(activations) * (len(pairs) - 1) if len(activations) == 1 else list(activations)
    layers: list[nn.Module] = []
    for position, (before, after) in enumerate(pairs):
        layers.append(nn.Linear(before, after, bias=bias))
        if position < len(pairs) - 1:
            layers.append(behind[position])
    return nn.Sequential(*layers)


def cnn(activation: type[nn.Module]) -> nn.Sequential:
    """Two convolutions, global average pooling, a dense layer."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, stride=2, padding=1),
        activation(),
        nn.Conv2d(3, 4, 2, bias=False),
        activation(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )


def flattened_cnn() -> nn.Sequential:
    """A convolution whose feature map is flattened without pooling: four positions per channel."""
    return nn.Sequential(nn.Conv2d(1, 3, 2), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(12, 2))


class Applied(nn.Module):
    """A function that torch has no module for."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        """Shape unchanged."""
        return self.function(x)


class Residual(nn.Module):
    """A LayerNorm and two layers beside a residual stream, between an embedding of the input and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(2, 3), nn.LayerNorm(3), nn.Linear(3, 1)
        self.up, self.down = nn.Linear(3, 2), nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Shape `(batch, 2)` to `(batch, 1)`."""
        h = self.first(x)
        return self.last(h + self.down(self.up(self.norm(h)).relu()))


class Recurrent(nn.Module):
    """A recurrent layer whose states are read by a dense one."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(layer.hidden_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape `(batch, steps, 2)` to `(batch, steps, 1)`."""
        return self.head(self.layer(x)[0])


class Joined(nn.Module):
    """Two scales of a map, joined as a U-Net joins them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 2, 1), nn.Conv2d(2, 2, 2, stride=2)
        self.up, self.last = nn.ConvTranspose2d(2, 1, 2, stride=2), nn.Conv2d(3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape `(batch, 1, height, width)`, kept."""
        above = self.first(x).relu()
        return self.last(torch.cat([above, self.up(self.second(above).relu()).relu()], 1))


def convolved(*middle: nn.Module, channels: int) -> nn.Sequential:
    """Two pointwise convolutions around other layers."""
    return nn.Sequential(nn.Conv2d(1, channels, 1), *middle, nn.Conv2d(channels, 1, 1)).eval()


MODULES: Mapping[str, tuple[nn.Module, tuple[int, ...]]] = {
    "relu": (mlp((2, 3, 2, 1), nn.ReLU()), (2,)),
    "leaky": (mlp((2, 4, 2), nn.LeakyReLU(0.1)), (2,)),
    "tanh": (mlp((2, 3, 2, 1), nn.Tanh()), (2,)),
    "siren": (mlp((2, 3, 2, 1), Sine(30.0)), (2,)),
    "siren-two-layers": (mlp((2, 3, 1), Sine(3.0)), (2,)),
    "gelu": (mlp((2, 3, 2, 1), nn.GELU()), (2,)),
    "identity": (mlp((2, 3, 2), nn.Identity()), (2,)),
    "relu-gelu": (mlp((2, 3, 3, 2), nn.ReLU(), nn.GELU()), (2,)),
    "gelu-tanh": (mlp((2, 3, 3, 2), nn.GELU(), nn.Tanh()), (2,)),
    "relu-tanh": (mlp((2, 3, 2, 1), nn.ReLU(), nn.Tanh()), (2,)),
    "no-bias": (mlp((2, 3, 2, 1), nn.ReLU(), bias=False), (2,)),
    "one-unit": (mlp((2, 3, 1, 1), nn.GELU()), (2,)),
    "one-unit-sine": (mlp((1, 1, 1, 1), Sine(3.0)), (1,)),
    "one-layer": (nn.Linear(2, 3), (2,)),
    "cnn-relu": (cnn(nn.ReLU), (1, 6, 6)),
    "cnn-tanh": (cnn(nn.Tanh), (1, 6, 6)),
    "cnn-flattened": (flattened_cnn(), (1, 3, 3)),
    "conv-last": (nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Conv2d(2, 2, 1)), (1, 4, 4)),
    "batch-norm": (convolved(nn.BatchNorm2d(2), nn.ReLU(), channels=2), (1, 3, 3)),
    "depthwise": (convolved(nn.ReLU(), nn.Conv2d(3, 3, 2, groups=3), nn.ReLU(), channels=3), (1, 3, 3)),
    "grouped": (convolved(nn.ReLU(), nn.Conv2d(4, 4, 1, groups=2), nn.Tanh(), channels=4), (1, 3, 3)),
    "prelu": (mlp((2, 3, 1), nn.PReLU(3)), (2,)),
    "residual-norm": (Residual(), (2,)),
    "joined": (Joined(), (1, 4, 4)),
    "lstm": (Recurrent(nn.LSTM(2, 2, batch_first=True)), (3, 2)),
    "gru": (Recurrent(nn.GRU(2, 2, batch_first=True)), (3, 2)),
    "rnn-relu": (Recurrent(nn.RNN(2, 3, nonlinearity="relu", batch_first=True)), (3, 2)),
    "encoder": (
        nn.Sequential(nn.Linear(2, 4), nn.TransformerEncoderLayer(4, 2, 3, batch_first=True), nn.Linear(4, 1)).eval(),
        (3, 2),
    ),
}


def written(axes: tuple[Axis, ...], **params: tuple[Leg, ...]) -> NetworkSpec:
    """A spec written by hand, without places and wires."""
    return NetworkSpec(axes, tuple(ParamSpec(name, legs, "weight", View(name)) for name, legs in params.items()))


def recurrent(symmetry: Symmetry, size: int) -> NetworkSpec:
    """A recurrent layer: the hidden axis twice in one parameter."""
    h = Leg("h", (1,) * len(symmetry.factors))
    axes = (Axis("i", 2, FIXED), Axis("h", size, symmetry))
    return written(axes, recurrent=(h, h), weight=(h, Leg("i")), bias=(h,))


def heads(symmetry: Symmetry, units: int, into: tuple[int, ...], out_of: tuple[int, ...]) -> NetworkSpec:
    """Values and outputs of attention heads: dimensions nested in heads."""
    axes = (
        Axis("i", 2, FIXED),
        Axis("o", 2, FIXED),
        Axis("head", 3, PERMUTATION),
        Axis("unit", units, symmetry, within="head"),
    )
    return written(
        axes,
        value=(Leg("head"), Leg("unit", into), Leg("i")),
        output=(Leg("o"), Leg("head"), Leg("unit", out_of)),
    )


def residual(symmetry: Symmetry) -> NetworkSpec:
    """A residual stream: one axis in all tensors."""
    up, down = Leg("s", (1,)), Leg("s", (-1,))
    axes = (Axis("i", 1, FIXED), Axis("s", 3, symmetry), Axis("h", 2, symmetry))
    block = {"first": (Leg("h", (1,)), down), "second": (up, Leg("h", (-1,)))}
    return written(axes, embed=(up, Leg("i")), **block, bias=(up,), read=(Leg("i"), down))


NESTED_TWICE = written(
    (Axis("head", 2, PERMUTATION), Axis("unit", 2, PERMUTATION, within="head")),
    mix=(Leg("head"), Leg("unit"), Leg("head"), Leg("unit")),
)
TWO_FACTORS = written(
    (Axis("i", 2, FIXED), Axis("h", 3, Symmetry(True, (Factor.POSITIVE, Factor.POSITIVE)))),
    received=(Leg("h", (1, 0)), Leg("i")),
    depthwise=(Leg("h", (-1, 1)),),
    bias=(Leg("h", (0, 1)),),
    out=(Leg("i"), Leg("h", (0, -1))),
)
ALL_PERMUTED = spec_of(mlp((2, 3, 2), nn.GELU())).with_symmetry(PERMUTATION, axes=("input", "0", "2"))

SPECS: Mapping[str, NetworkSpec] = {
    **{name: spec_of(module, torch.zeros(2, *shape)) for name, (module, shape) in MODULES.items()},
    "all-permuted": ALL_PERMUTED,
    "recurrent-permutation": recurrent(PERMUTATION, 4),
    "recurrent-three-units": recurrent(PERMUTATION, 3),
    "recurrent-two-units": recurrent(PERMUTATION, 2),
    "recurrent-one-unit": recurrent(PERMUTATION, 1),
    "recurrent-sign": recurrent(SIGN, 3),
    "residual-sign": residual(SIGN),
    "residual-positive": residual(POSITIVE),
    "heads-nonzero": heads(NONZERO, 3, (1, 1), (1, -1)),
    "heads-permutation": heads(PERMUTATION, 2, (), ()),
    "heads-one-unit": heads(PERMUTATION, 1, (), ()),
    "nested-twice": NESTED_TWICE,
    "two-factors": TWO_FACTORS,
}

# Chains of one to five layers with every kind of activation, and how many linear maps are equivariant, by formulas.
CHAINS: Mapping[str, tuple[nn.Module, int]] = {
    "2-1 without bias": (mlp((2, 1), bias=False), 4),
    "2-3-1, ReLU": (mlp((2, 3, 1), nn.ReLU()), 11),
    "2-3-3, sine": (mlp((2, 3, 3), Sine()), 45),
    "2-3-2, sine, without biases": (mlp((2, 3, 2), Sine(), bias=False), 16),
    "2-3-2, cosine": (mlp((2, 3, 2), Applied(torch.cos)), 29),
    "2-3-2, absolute value": (mlp((2, 3, 2), Applied(torch.abs)), 17),
    "2-3-2, square": (mlp((2, 3, 2), Applied(torch.square)), 17),
    "2-3-2, sigmoid": (mlp((2, 3, 2), nn.Sigmoid()), 74),
    "2-3-3-1, ReLU": (mlp((2, 3, 3, 1), nn.ReLU()), 13),
    "2-3-3-1, tanh": (mlp((2, 3, 3, 1), nn.Tanh()), 15),
    "2-3-3-1, GELU": (mlp((2, 3, 3, 1), nn.GELU()), 75),
    "2-3-3-2, ReLU": (mlp((2, 3, 3, 2), nn.ReLU()), 19),
    "2-3-3-2, tanh": (mlp((2, 3, 3, 2), nn.Tanh()), 23),
    "2-3-3-2, GELU": (mlp((2, 3, 3, 2), nn.GELU()), 114),
    "1-2-2-2-1, ReLU": (mlp((1, 2, 2, 2, 1), nn.ReLU()), 10),
    "1-2-3-2-1, tanh, GELU, ReLU": (mlp((1, 2, 3, 2, 1), nn.Tanh(), nn.GELU(), nn.ReLU()), 21),
    "1-2-2-2-2-1, ReLU": (mlp((1, 2, 2, 2, 2, 1), nn.ReLU()), 12),
    "1-2-2-2-2-1, sine": (mlp((1, 2, 2, 2, 2, 1), Sine()), 14),
    "1-2-2-2-2-1, GELU": (mlp((1, 2, 2, 2, 2, 1), nn.GELU()), 139),
    "2-2-2-2-2-2, sine, without biases": (mlp((2, 2, 2, 2, 2, 2), Sine(), bias=False), 11),
}
