"""Networks that map points to values, fitted one at a time: plain layers, autograd and `torch.optim.Adam`."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from weightspace.spec import Sine


def layers(widths: Sequence[int], activation: str, omega: float) -> nn.Sequential:
    """The architecture in float64."""
    parts: list[nn.Module] = []
    for below, units in zip(widths, widths[1:-1], strict=False):
        parts += [nn.Linear(below, units), nn.ReLU() if activation == "relu" else Sine(omega)]
    return nn.Sequential(*parts, nn.Linear(widths[-2], widths[-1])).double()


def load(network: nn.Module, flat: Tensor) -> None:
    """Parameters from one flat vector."""
    nn.utils.vector_to_parameters(flat.double(), network.parameters())


def fit_one(network: nn.Module, batches: Sequence[tuple[Tensor, Tensor]], rates: Sequence[float]) -> Tensor:
    """Fits a network in place to features `(point, feature)` and values `(point, value)`; gives its parameters."""
    optimiser = torch.optim.Adam(network.parameters(), lr=1.0)
    for (features, targets), rate in zip(batches, rates, strict=True):
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        (network(features) - targets).square().mean().backward()
        optimiser.step()
    return nn.utils.parameters_to_vector(network.parameters()).detach()


def gradient(network: nn.Module, features: Tensor, targets: Tensor) -> Tensor:
    """Of the mean squared error, flat."""
    loss = (network(features) - targets).square().mean()
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(network.parameters()))])


def fourier(point: Sequence[float], frequencies: Tensor) -> list[float]:
    """Sines of all frequencies at a point, then the cosines."""
    angles = [2 * torch.pi * sum(f * x for f, x in zip(row, point, strict=True)) for row in frequencies.tolist()]
    sines = [float(torch.sin(torch.tensor(angle, dtype=torch.float64))) for angle in angles]
    return sines + [float(torch.cos(torch.tensor(angle, dtype=torch.float64))) for angle in angles]
