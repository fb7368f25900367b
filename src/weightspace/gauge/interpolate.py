"""The straight line between two networks, and how much the loss rises along it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from weightspace.errors import ShapeError
from weightspace.weights import WeightFeatures

__all__ = ["BarrierCurve", "barrier_curve", "interpolate", "recalibrate"]


@dataclass(frozen=True)
class BarrierCurve:
    """The loss along the straight line between two networks.

    Args:
        positions: where it was measured, from zero (the first network) to one (the second).
        losses: the loss there.
        barrier: how far the loss rises above the straight line between its ends, at most; zero where it never does.
    """

    positions: tuple[float, ...]
    losses: tuple[float, ...]
    barrier: float


def interpolate(x: WeightFeatures, y: WeightFeatures, steps: int) -> WeightFeatures:
    """Networks on the straight line from `x` to `y` at equal distances, both ends included to the bit.

    Raises:
        ShapeError: more than one network at an end, ends of different spaces, or fewer than two steps.

    Example:
        >>> from weightspace.spec import spec_of
        >>> spec = spec_of(nn.Linear(1, 1, bias=False))
        >>> x, y = (WeightFeatures(spec, [torch.full((1, 1, 1, 1), value)]) for value in (0.0, 1.0))
        >>> interpolate(x, y, steps=5)["weight"].flatten().tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if len(x) != 1 or len(y) != 1 or steps < 2:
        raise ShapeError(
            f"a line from {len(x)} networks to {len(y)} in {steps} steps; give one network at each end and two steps "
            "or more."
        )
    y.expect(x.spec, x.channels)
    t = _positions(steps).to(x.tensors[0])
    pairs = zip(x.tensors, y.tensors, strict=True)
    return WeightFeatures(x.spec, [torch.lerp(a, b, t.reshape(-1, *(1 for _ in a.shape[1:]))) for a, b in pairs])


def _positions(steps: int) -> Float[Tensor, " steps"]:
    return torch.linspace(0, 1, steps, dtype=torch.float64)


def barrier_curve(
    x: WeightFeatures,
    y: WeightFeatures,
    template: nn.Module,
    loss: Callable[[nn.Module], float],
    *,
    steps: int = 11,
    calibrate: Iterable[Tensor | tuple[Tensor, ...]] | None = None,
) -> BarrierCurve:
    """The loss of the networks on the straight line from `x` to `y`, and how far it rises.

    Args:
        x: one network.
        y: another of the same space, as a rule aligned to the first.
        template: a module of their architecture; what the spec does not cover is taken from it.
        loss: of a module in evaluation mode.
        steps: at how many networks, both ends among them.
        calibrate: batches of inputs by which the statistics of BatchNorm are estimated anew for every network on the
            line, ends included: those of two networks say nothing about the networks between them. Iterated once per
            network, so a list or a loader. `None` interpolates the statistics like all else.

    Raises:
        ShapeError: as for `interpolate`; nothing to calibrate with.

    Example:
        >>> from weightspace.spec import spec_of
        >>> spec = spec_of(nn.Linear(1, 1, bias=False))
        >>> x, y = (WeightFeatures(spec, [torch.full((1, 1, 1, 1), value)]) for value in (-1.0, 1.0))
        >>> barrier_curve(x, y, nn.Linear(1, 1, bias=False), lambda m: 1 - m.weight.item() ** 2, steps=3)
        BarrierCurve(positions=(0.0, 0.5, 1.0), losses=(0.0, 1.0, 0.0), barrier=1.0)

    References:
        Frankle et al., "Linear Mode Connectivity and the Lottery Ticket Hypothesis", ICML 2020, on barriers; Jordan et
        al., "REPAIR: REnormalizing Permuted Activations for Interpolation Repair", ICLR 2023, on statistics.
    """
    losses = []
    for module in interpolate(x, y, steps).to_modules(template):
        if calibrate is not None:
            recalibrate(module, calibrate)
        with torch.no_grad():
            losses.append(float(loss(module.eval())))
    t = _positions(steps)
    line = losses[0] * (1 - t) + losses[-1] * t
    barrier = (torch.tensor(losses, dtype=torch.float64) - line).max().item()
    return BarrierCurve(tuple(t.tolist()), tuple(losses), barrier)


def recalibrate(module: nn.Module, inputs: Iterable[Tensor | tuple[Tensor, ...]]) -> None:
    """Estimate the running statistics of every BatchNorm in a module anew, in place.

    They become the plain average over the batches. Only these layers see the batches as in training; dropout stays
    off. A module without them is left as it is.

    Raises:
        ShapeError: no batches.

    Example:
        >>> norm = nn.BatchNorm1d(1)
        >>> recalibrate(norm, [torch.tensor([[1.0], [3.0]])])
        >>> norm.running_mean.item(), norm.running_var.item(), norm.momentum
        (2.0, 2.0, 0.1)
    """
    layers = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    layers = [layer for layer in layers if layer.track_running_stats]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    module.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # torch then takes the plain average over all batches
        layer.train()
    batches = 0
    with torch.no_grad():
        for batch in inputs:
            module(*(batch if isinstance(batch, tuple) else (batch,)))
            batches += 1
    if not batches:
        raise ShapeError(
            "there are no inputs to estimate statistics by; give a list of batches or a loader, as an iterator is at "
            "its end after the first network."
        )
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    module.eval()
