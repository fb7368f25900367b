"""CNNs trained one at a time: plain layers, autograd and the optimisers of `torch.optim`, dropout mask by mask."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = 16
PARITIES = [(0, 1), (0, 0), (1, 0), (1, 1)]


def optimiser_of(network: nn.Module, name: str, rate: float) -> torch.optim.Optimizer:
    if name == "adam":
        return torch.optim.Adam(network.parameters(), lr=rate, eps=1e-7)
    if name == "rmsprop":
        return torch.optim.RMSprop(network.parameters(), lr=rate, alpha=0.9, eps=1e-7)
    return torch.optim.SGD(network.parameters(), lr=rate, momentum=0.9)


def load(network: nn.Module, flat: Tensor) -> None:
    """Weights of a flat vector in the order of the state dict."""
    nn.utils.vector_to_parameters(flat, network.parameters())


def train_one(
    network: nn.Sequential, pixels: Tensor, labels: Tensor, order: Tensor, about: dict
) -> Iterator[tuple[float, Tensor]]:
    """Trains a network in place; gives the loss of each step's batch and the weights after the step.

    Args:
        network: convolutions and activations in turn, then pooling and a dense layer.
        pixels: `(image, 1, 32, 32)`.
        labels: `(image,)`.
        order: images of each step.
        about: rate, decay, optimiser, dropped (in 256ths) and chance, the stream of what is dropped.
    """
    optimiser = optimiser_of(network, about["optimiser"], about["rate"])
    for rows in order:
        optimiser.zero_grad()
        masks = drawn_masks(about["chance"], len(rows)) if about["any dropout"] else None
        values, kept = pixels[rows], 1 - about["dropped"] / 256
        for level, (layer, activation) in enumerate(zip(network[0:6:2], network[1:6:2], strict=True)):
            values = activation(layer(values))
            if masks is not None:
                values = values * (masks[level] >= about["dropped"]) / kept
        loss = functional.cross_entropy(network[8](values.mean((2, 3))), labels[rows])
        squares = sum(p.square().sum() for name, p in network.named_parameters() if name.endswith("weight"))
        (loss + about["decay"] * squares).backward()
        optimiser.step()
        yield loss.item(), nn.utils.parameters_to_vector(network.parameters()).detach().clone()


def drawn_masks(chance: np.random.Generator, batch: int) -> list[Tensor]:
    """The random byte of every value after each convolution, `(image, channel, row, column)`."""
    sizes = [batch * 64 * 4 * CHANNELS, batch * 16 * 4 * CHANNELS, batch * 16 * CHANNELS]
    raw = chance.bit_generator.random_raw(-(-sum(sizes) // 8)).view(np.uint8)[: sum(sizes)]
    second, third, last = (torch.from_numpy(part.copy()) for part in np.split(raw, np.cumsum(sizes)[:-1]))
    return [
        by_parity(second.view(batch, 8, 8, 4, CHANNELS), 15),
        by_parity(third.view(batch, 4, 4, 4, CHANNELS), 7),
        last.view(batch, 4, 4, CHANNELS)[:, :3, :3].permute(0, 3, 1, 2),
    ]


def by_parity(planes: Tensor, side: int) -> Tensor:
    """Four planes, one per parity of row and column, as one image: entry by entry."""
    whole = torch.zeros(len(planes), CHANNELS, side, side, dtype=planes.dtype)
    for row in range(side):
        for column in range(side):
            plane = PARITIES.index((row % 2, column % 2))
            whole[:, :, row, column] = planes[:, row // 2, column // 2, plane]
    return whole
