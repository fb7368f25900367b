"""SIRENs fitted one at a time: plain layers, autograd and `torch.optim.Adam`."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn


def fit_one(
    network: nn.Module,
    start: Mapping[str, Tensor],
    image: Tensor,
    steps: int,
    rate: float,
    moments: tuple[float, float] = (0.9, 0.999),
) -> Tensor:
    """Fits one network in place to an image `(height, width[, channels])`; gives its last colours, not clamped."""
    network.to(image.dtype).load_state_dict({key: tensor.to(image.dtype) for key, tensor in start.items()})
    optimiser = torch.optim.Adam(network.parameters(), lr=rate, betas=moments)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * (0.1 + 0.9 * (1 + math.cos(math.pi * step / steps)) / 2)
        optimiser.zero_grad()
        (colours(network, image) - image).square().mean().backward()
        optimiser.step()
    return colours(network, image).detach()


def colours(network: nn.Module, like: Tensor) -> Tensor:
    """The network's value at each pixel, asked one by one."""
    height, width = like.shape[:2]
    points = [[_side(row, height), _side(column, width)] for row in range(height) for column in range(width)]
    return network(torch.tensor(points, dtype=like.dtype)).reshape(like.shape)


def _side(position: int, size: int) -> float:
    return -1.0 + 2.0 * position / (size - 1) if size > 1 else -1.0
