"""Random networks for property tests: chains, residual sums, concatenations, dense and convolutional."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor, nn

from weightspace.errors import SpecError, unknown
from weightspace.spec import ACTIVATIONS

__all__ = ["PLAIN", "SKIPS", "Blueprint", "Concatenation", "Layer", "ResidualSum", "random_module"]

PLAIN = ("gelu", "identity", "leaky_relu", "relu", "relu6", "sigmoid", "sine", "softplus", "tanh")
"""Activations that are drawn unless others are asked for: at least one of every symmetry."""

SKIPS = ("none", "sum", "concatenation")
CONVOLUTION = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
NORM = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
POOL = (nn.Identity, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)
EXTENT = 5  # positions along each spatial dimension of an example
EXAMPLES = 4


@dataclass(frozen=True)
class Layer:
    """One hidden layer of a random network.

    Args:
        width: number of units.
        activation: a name of the table of activations, or `"prelu"`, whose slopes are parameters.
        bias: whether the units have one.
        kernel: positions along each spatial dimension; dense layers have none.
        norm: a BatchNorm between weights and activation, its statistics and gains random.
        skip: `"none"`; `"sum"` adds the input to a second set of weights that leads from the units back to the width
            of the input; `"concatenation"` sets the units beside the input. Even kernels then count as one more.
    """

    width: int
    activation: str = "relu"
    bias: bool = True
    kernel: int = 1
    norm: bool = False
    skip: str = "none"


@dataclass(frozen=True)
class Blueprint:
    """What a network is made of. It prints as it is typed, so that a failing test can be run again.

    Args:
        inputs: units of the input.
        layers: the hidden layers.
        outputs: units of the output.
        spatial: number of spatial dimensions: `0` for dense layers, `1` to `3` for convolutions, behind which the
            positions are averaged and a dense layer reads the channels.

    Raises:
        SpecError: more spatial dimensions than three, or a skip that does not exist.
        UnknownNameError: an activation that is not in the table.

    Example:
        >>> module, (x,) = Blueprint(2, (Layer(3, "tanh"), Layer(4, "relu", skip="sum")), 1).build(seed=0)
        >>> module(x).shape
        torch.Size([4, 1])
    """

    inputs: int
    layers: tuple[Layer, ...]
    outputs: int
    spatial: int = 0

    def __post_init__(self) -> None:
        if self.spatial not in range(4):
            raise SpecError(f"a blueprint with {self.spatial} spatial dimensions; expected 0 (dense layers) to 3.")
        for layer in self.layers:
            if layer.skip not in SKIPS:
                raise unknown("skip", layer.skip, SKIPS)
            if layer.activation != "prelu" and layer.activation not in ACTIVATIONS:
                raise unknown("activation", layer.activation, [*ACTIVATIONS, "prelu"])

    def build(self, seed: int = 0) -> tuple[nn.Module, tuple[Tensor, ...]]:
        """The network in evaluation mode with random parameters, and a tuple of example inputs in float32.

        Args:
            seed: of the parameters and the inputs; torch's own random state stays as it is.
        """
        generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):  # layers draw initial values, which are replaced
            module = self._module().eval()
        _randomise(module, generator)
        return module, (torch.randn(EXAMPLES, self.inputs, *[EXTENT] * self.spatial, generator=generator),)

    def _module(self) -> nn.Sequential:
        stages: list[nn.Module] = []
        width = self.inputs
        for layer in self.layers:
            stages += self._stages(layer, width)
            width = {"sum": width, "concatenation": width + layer.width, "none": layer.width}[layer.skip]
        if self.spatial:
            stages += [POOL[self.spatial](1), nn.Flatten()]
        return nn.Sequential(*stages, nn.Linear(width, self.outputs))

    def _stages(self, layer: Layer, width: int) -> list[nn.Module]:
        """The modules of one layer whose input has `width` units."""
        stages = [self._linear(layer, width, layer.width)]
        if layer.norm:
            stages.append(NORM[self.spatial](layer.width))
        stages.append(_activation(layer))
        if layer.skip == "sum":
            return [ResidualSum(nn.Sequential(*stages, self._linear(layer, layer.width, width)))]
        return [Concatenation(nn.Sequential(*stages))] if layer.skip == "concatenation" else stages

    def _linear(self, layer: Layer, before: int, after: int) -> nn.Module:
        if not self.spatial:
            return nn.Linear(before, after, bias=layer.bias)
        kernel = layer.kernel if layer.skip == "none" else layer.kernel | 1
        return CONVOLUTION[self.spatial](before, after, kernel, padding=kernel // 2, bias=layer.bias)


class ResidualSum(nn.Module):
    """`x + body(x)`."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Any shape that the body keeps."""
        return x + self.body(x)


class Concatenation(nn.Module):
    """The units of `x` and those of `body(x)`, side by side."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        """Shape `(batch, units, *positions)` in; the body keeps batch and positions."""
        return torch.cat([x, self.body(x)], dim=1)


class Applied(nn.Module):
    """An activation of the table that torch has no module for.

    Args:
        name: the row of the table.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        """Elementwise, any shape."""
        return ACTIVATIONS[self.name].function(x)

    def extra_repr(self) -> str:
        """The row, for `print(module)`."""
        return repr(self.name)


def random_module(
    seed: int,
    *,
    depth: tuple[int, int] = (1, 3),
    width: tuple[int, int] = (1, 5),
    kernel: tuple[int, int] = (1, 3),
    spatial: Sequence[int] = (0, 1, 2),
    activations: Sequence[str] = PLAIN,
    skips: Sequence[str] = SKIPS,
    norms: bool = True,
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """A random network with example inputs, the same for the same arguments on every machine.

    Args:
        seed: of the architecture, the parameters and the inputs.
        depth: least and largest number of hidden layers.
        width: least and largest number of units of the input, of each layer and of the output.
        kernel: least and largest kernel of convolutions.
        spatial: numbers of spatial dimensions to choose from; `0` means dense layers.
        activations: names of the table of activations to choose from.
        skips: what to choose from: `"none"`, `"sum"`, `"concatenation"`.
        norms: whether a layer may have a BatchNorm.

    Example:
        >>> module, inputs = random_module(0, spatial=(0,), skips=("none",), norms=False)
        >>> torch.equal(module(*inputs), random_module(0, spatial=(0,), skips=("none",), norms=False)[0](*inputs))
        True
    """
    random = Random(seed)
    layers = tuple(
        Layer(
            width=random.randint(*width),
            activation=random.choice(activations),
            bias=random.random() < 0.7,
            kernel=random.randint(*kernel),
            norm=norms and random.random() < 0.3,
            skip=random.choice(skips),
        )
        for _ in range(random.randint(*depth))
    )
    blueprint = Blueprint(random.randint(*width), layers, random.randint(*width), random.choice(spatial))
    return blueprint.build(seed)


def _activation(layer: Layer) -> nn.Module:
    if layer.activation == "prelu":
        return nn.PReLU(layer.width)
    made = ACTIVATIONS[layer.activation].module
    return Applied(layer.activation) if made is None else made()


def _randomise(module: nn.Module, generator: torch.Generator) -> None:
    """Random values for every parameter and statistic: weights of zero or one, and equal ones, hide errors."""
    for name, tensor in module.state_dict().items():
        if not tensor.is_floating_point():
            continue
        fan_in = tensor[0].numel() if tensor.ndim > 1 else 4
        normal = torch.randn(tensor.shape, generator=generator) / fan_in**0.5
        tensor.copy_(torch.exp(normal) if name.endswith("running_var") else normal)
