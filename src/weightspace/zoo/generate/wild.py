"""CNNs of many architectures: depth, widths, kernel sizes, activations and skips are drawn for each of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from weightspace.errors import FormatError, TrainingError, unknown
from weightspace.zoo.generate.cnn import ACTIVATIONS

__all__ = ["ConvolutionalNetwork", "Layer", "WildSettings", "architectures", "layers_of"]

_MIXES = ("network", "layer")
_ATTEMPTS = 1000


@dataclass(frozen=True)
class WildSettings:
    """Which architectures there may be.

    Args:
        architectures: how many, all of them different.
        depth: fewest and most convolutions.
        widths: channels that a convolution may have.
        kernels: sides of a kernel; odd, so that a stride of 1 keeps the size.
        activations: relu, tanh.
        mix: "network": all layers of a network have the same activation; "layer": each layer draws its own.
        skip: share of the layers after the first that add their input to what they give; these keep its width and size.
        architecture_seed: key of the architectures, from 0 to 2^63 - 1.

    Raises:
        TrainingError: a number out of its range.
        UnknownNameError: an activation or a way to mix that does not exist.
    """

    architectures: int = 8
    depth: tuple[int, int] = (2, 4)
    widths: tuple[int, ...] = (8, 12, 16)
    kernels: tuple[int, ...] = (3, 5)
    activations: tuple[str, ...] = ("relu", "tanh")
    mix: str = "layer"
    skip: float = 0.4
    architecture_seed: int = 0

    def __post_init__(self) -> None:
        if self.architectures < 1:
            raise TrainingError(f"architectures is {self.architectures}; expected at least 1.")
        if not 1 <= self.depth[0] <= self.depth[1]:
            raise TrainingError(f"depth is {self.depth}; expected two numbers in order, from 1.")
        if not self.widths or min(self.widths) < 1:
            raise TrainingError(f"widths are {self.widths}; expected at least one, each above 0.")
        if not self.kernels or any(side < 1 or side % 2 == 0 for side in self.kernels):
            raise TrainingError(f"kernels are {self.kernels}; expected at least one, each odd.")
        if not 0 <= self.skip <= 1:
            raise TrainingError(f"skip is {self.skip}; expected a share from 0 to 1.")
        if not 0 <= self.architecture_seed < 2**63:
            raise TrainingError(f"architecture_seed is {self.architecture_seed}; expected 0 to 2^63 - 1.")
        self._check_names()

    def _check_names(self) -> None:
        if not self.activations:
            raise TrainingError(f"no activation is given; expected at least one of {', '.join(ACTIVATIONS)}.")
        for name in self.activations:
            if name not in ACTIVATIONS:
                raise unknown("activation", name, ACTIVATIONS)
        if self.mix not in _MIXES:
            raise unknown("mix", self.mix, _MIXES)


@dataclass(frozen=True)
class Layer:
    """One convolution of a network.

    Args:
        width: channels.
        kernel: side of the kernel; the border is padded by half of it.
        stride: in both directions.
        activation: relu or tanh, after the convolution.
        skip: whether the input is added to what the activation gives.
    """

    width: int
    kernel: int
    stride: int
    activation: str
    skip: bool


class ConvolutionalNetwork(nn.Module):
    """Convolutions with skips on a grey image, the mean over all positions, and a dense layer.

    Shapes:
        input: ``(image, 1, height, width)``; output: ``(image, class)``.

    Symmetry:
        channels that a skip joins are one set of units. They may be permuted; their signs be turned where all layers
        that they enter and leave are tanh, and they may be scaled by positive numbers where all are relu.

    Args:
        layers: from the image up.
        classes: outputs.

    Example:
        >>> import torch
        >>> layers = (Layer(8, 5, 2, "tanh", False), Layer(8, 3, 1, "relu", True))
        >>> ConvolutionalNetwork(layers, 10)(torch.zeros(2, 1, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, layers: tuple[Layer, ...], classes: int) -> None:
        super().__init__()
        below = (1, *(layer.width for layer in layers))
        self.skips = tuple(layer.skip for layer in layers)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, layer.width, layer.kernel, layer.stride, layer.kernel // 2)
            for channels, layer in zip(below, layers, strict=False)
        )
        self.activations = nn.ModuleList(ACTIVATIONS[layer.activation]() for layer in layers)
        self.drops = nn.ModuleList(nn.Dropout(0.0) for _ in layers)
        self.dense = nn.Linear(layers[-1].width, classes)

    def forward(self, image: Tensor) -> Tensor:
        """Logits of each image."""
        parts = zip(self.convolutions, self.activations, self.drops, self.skips, strict=True)
        for convolution, activation, drop, skip in parts:
            given = drop(activation(convolution(image)))
            image = image + given if skip else given
        return self.dense(image.mean((2, 3)))


def architectures(settings: WildSettings) -> list[tuple[Layer, ...]]:
    """The architectures, all of them different; each is drawn by its number, so that more of them keep the first.

    Convolutions have stride 2, or 1 where they have a skip.

    Raises:
        TrainingError: settings that do not allow as many.

    Example:
        >>> few, more = (architectures(WildSettings(architectures=count)) for count in (3, 6))
        >>> more[:3] == few, len(set(more))
        (True, 6)
    """
    found: list[tuple[Layer, ...]] = []
    for number in range(settings.architectures):
        chance = np.random.default_rng([settings.architecture_seed, number])
        drawn = (_drawn(settings, chance) for _ in range(_ATTEMPTS))
        new = next((layers for layers in drawn if layers not in found), None)
        if new is None:
            raise TrainingError(
                f"{settings} gave {len(found)} different architectures and no other one in {_ATTEMPTS} draws. "
                f"Remedy: ask for fewer, or allow more depths, widths or kernels."
            )
        found.append(new)
    return found


def layers_of(recorded: list[Mapping[str, Any]]) -> tuple[Layer, ...]:
    """The layers that a zoo's manifest records.

    Raises:
        FormatError: a record that is damaged.

    Example:
        >>> from dataclasses import asdict
        >>> layers = architectures(WildSettings())[0]
        >>> layers_of([asdict(layer) for layer in layers]) == layers
        True
    """
    try:
        layers = tuple(Layer(**layer) for layer in recorded)
        assert layers
        assert all(layer.activation in ACTIVATIONS for layer in layers)
    except (TypeError, AssertionError) as failure:
        raise FormatError(f"the manifest describes the layers {recorded}; expected those of a CNN.") from failure
    return layers


def _drawn(settings: WildSettings, chance: np.random.Generator) -> tuple[Layer, ...]:
    depth = int(chance.integers(settings.depth[0], settings.depth[1] + 1))
    names = chance.choice(settings.activations, depth).tolist()
    if settings.mix == "network":
        names = [names[0]] * depth
    layers: list[Layer] = []
    for activation in names:
        width, kernel = (int(chance.choice(sizes)) for sizes in (settings.widths, settings.kernels))
        skip = bool(chance.random() < settings.skip) and bool(layers)
        layers.append(Layer(layers[-1].width if skip else width, kernel, 1 if skip else 2, activation, skip))
    return tuple(layers)
