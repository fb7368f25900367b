r"""SIRENs fitted to images, many side by side: one network per image, the image read back from its weights.

All of them are tiny, so a loop that fits one after the other mostly waits for the interpreter. Here the gradient is
written out by hand over a chunk of networks (:mod:`weightspace.zoo.generate.chunk`), and each chunk belongs to one
thread: no thread ever waits for another inside a step.

Every random draw is keyed by the seed and the network's number, so neither chunks nor threads change where a network
starts.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from weightspace.errors import DataError, ShapeError, TrainingError, unknown
from weightspace.spec import Sine
from weightspace.weights import WeightFeatures
from weightspace.zoo.generate.chunk import Chunk, Shapes, blocks, grid
from weightspace.zoo.generate.thread import one_thread_per_operation, side_by_side

__all__ = ["SirenSettings", "fit_sirens", "forward_pass", "initial_state", "learning_rate", "render", "siren"]

_INITS = ("independent", "shared")
_FINAL_RATE = 0.1
_MOMENTS = (0.9, 0.999)

State = dict[str, Tensor]


@dataclass(frozen=True)
class SirenSettings:
    """How SIRENs are fitted.

    Args:
        hidden: units of each hidden layer, one entry per layer.
        omega: frequency of the sines, in radians per unit of their input.
        steps: Adam steps per network, each on all pixels.
        learning_rate: step size of Adam at the start; it falls along a cosine to a tenth.
        moments: what Adam keeps of its means of the gradient and of its square in each step. With 0.7 and 0.9, and a
            learning rate of 0.01, half the steps reach the same images.
        init: "independent" draws each network by its number; "shared" starts all of them as network 0.
        views: networks per image, each from a start of its own.
        seed: key of the initial weights, from 0 to 2^63 - 1.
        chunk: networks that one thread fits side by side; a matter of speed alone.

    Raises:
        TrainingError: a number out of its range.
        UnknownNameError: an initialisation that does not exist.

    Example:
        >>> SirenSettings(hidden=(16,), steps=50).omega
        30.0
    """

    hidden: tuple[int, ...] = (32, 32)
    omega: float = 30.0
    steps: int = 100
    learning_rate: float = 5e-3
    moments: tuple[float, float] = _MOMENTS
    init: str = "independent"
    views: int = 1
    seed: int = 0
    chunk: int = 16

    def __post_init__(self) -> None:
        for name in ("steps", "views", "chunk", "omega", "learning_rate"):
            value = getattr(self, name)
            # Up to what single precision holds; a comparison with nan is false.
            if not 0 < value < 1e38:
                raise TrainingError(f"{name} is {value}; expected a number above 0 and below 1e38.")
        if not self.hidden or min(self.hidden) < 1:
            raise TrainingError(
                f"hidden is {self.hidden}; expected one number of units per hidden layer, each above 0."
            )
        if not all(0 <= kept < 1 for kept in self.moments):
            raise TrainingError(f"moments are {self.moments}; expected two numbers from 0 to below 1.")
        if not 0 <= self.seed < 2**63:
            raise TrainingError(f"seed is {self.seed}; expected 0 to 2^63 - 1.")
        if self.init not in _INITS:
            raise unknown("initialisation", self.init, _INITS)
        if self.init == "shared" and self.views > 1:
            raise TrainingError(f"views is {self.views}; from a shared start all views of an image would be the same.")


def siren(settings: SirenSettings, channels: int = 1) -> nn.Sequential:
    """The architecture as a torch module, freshly initialised by torch; a template for specs and modules.

    Args:
        settings: its ``hidden`` and ``omega`` count.
        channels: colours per pixel.

    Example:
        >>> siren(SirenSettings(hidden=(8,)))
        Sequential(
          (0): Linear(in_features=2, out_features=8, bias=True)
          (1): Sine(omega=30)
          (2): Linear(in_features=8, out_features=1, bias=True)
        )
    """
    layers: list[nn.Module] = []
    for units, below in zip(settings.hidden, (2, *settings.hidden), strict=False):
        layers += [nn.Linear(below, units), Sine(settings.omega)]
    return nn.Sequential(*layers, nn.Linear(settings.hidden[-1], channels))


def forward_pass(settings: SirenSettings) -> dict[str, Any]:
    """Everything beside the weights that turns a network into an image, as a zoo's manifest records it.

    Example:
        >>> forward_pass(SirenSettings())["coordinates"]
        'row, column'
    """
    return {
        "layers": "sin(omega * (W x + b)), the last one W x + b",
        "omega": float(settings.omega),
        "coordinates": "row, column",
        "coordinate_range": [-1.0, 1.0],
        "output_offset": 0.0,
        "colour_range": [0.0, 1.0],
    }


def learning_rate(settings: SirenSettings, step: int) -> float:
    """The step size at one step, counted from 0: a cosine from ``settings.learning_rate`` down to a tenth of it.

    Example:
        >>> [round(learning_rate(SirenSettings(steps=4, learning_rate=1.0), step), 3) for step in range(4)]
        [1.0, 0.868, 0.55, 0.232]
    """
    cosine = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    return settings.learning_rate * (_FINAL_RATE + (1 - _FINAL_RATE) * cosine)


def initial_state(settings: SirenSettings, numbers: Tensor, channels: int = 1) -> State:
    r"""Initial weights: uniform with the bounds that keep every layer's input spread alike.

    Weights lie within :math:`1/n` in the first layer and :math:`\sqrt{6/n}/\omega` in the others, biases within
    :math:`1/\sqrt n`, for a layer of :math:`n` inputs. Each network has a random stream of its own.

    Shapes:
        numbers: ``(n,)``; result: ``(n, *shape)`` per key of the state dict.

    Args:
        settings: ``init`` and ``seed`` say which streams are drawn from.
        numbers: network numbers, not negative.
        channels: colours per pixel.

    Example:
        >>> one, both = (initial_state(SirenSettings(), torch.tensor(numbers)) for numbers in ([7], [3, 7]))
        >>> torch.equal(one["2.weight"][0], both["2.weight"][1])
        True

    References:
        Sitzmann et al., *Implicit Neural Representations with Periodic Activation Functions*, NeurIPS 2020, section
        3.2; biases as their published code draws them.
    """
    shapes = _shapes(settings, channels)
    bounds = [
        torch.full((math.prod(shape),), bound)
        for shape, bound in zip(shapes.values(), _bounds(settings, shapes), strict=True)
    ]
    keys = [0] * len(numbers) if settings.init == "shared" else numbers.tolist()
    draws = [torch.rand(sum(map(len, bounds)), generator=_stream(settings.seed, key)) for key in keys]
    flat = (2 * torch.stack(draws) - 1) * torch.cat(bounds)
    return dict(zip(shapes, blocks(flat, shapes), strict=True))


def fit_sirens(
    images: Tensor,
    numbers: Tensor,
    settings: SirenSettings,
    *,
    progress: Callable[[int], None] | None = None,
) -> tuple[State, Tensor]:
    r"""One SIREN per image, fitted by Adam on the mean squared error over all pixels and colours.

    Uses as many threads as ``torch.get_num_threads()``, each with a chunk of its own; torch is held to one thread per
    operation meanwhile. The result depends on the thread count in no bit, and on the chunk by rounding only.

    Shapes:
        images: ``(n, height, width)`` or ``(n, height, width, 3)``; numbers: ``(n,)``;
        result: ``(n, *shape)`` per key of the state dict, and ``(n,)``.

    Args:
        images: colours in [0, 1]; float32, or float64 to compute in it.
        numbers: the networks' numbers, not negative: what their initial weights are drawn by.
        settings: architecture, steps and initialisation.
        progress: called with the number of networks that have just been finished.

    Returns:
        The stacked state dict, and the peak signal-to-noise ratio of each rendered image in dB,
        :math:`-10 \log_{10}` of the mean squared error. It is nan where a network diverged; such a network is left
        as it is and touches no other.

    Raises:
        ShapeError: images or numbers of another shape.
        DataError: colours that are not finite or not in [0, 1], or a type that is not floating point.

    Example:
        >>> ramp = torch.linspace(0, 1, 8).expand(1, 8, 8)
        >>> state, psnr = fit_sirens(ramp, torch.tensor([0]), SirenSettings(hidden=(16, 16), steps=60))
        >>> state["0.weight"].shape, bool(psnr > 30)
        (torch.Size([1, 16, 2]), True)
    """
    _check_images(images)
    _check_numbers(numbers, len(images))
    channels = images.shape[3] if images.ndim == 4 else 1
    planes = images.detach().reshape(*images.shape[:3], channels).permute(0, 3, 1, 2).contiguous()
    shapes, start = _shapes(settings, channels), initial_state(settings, numbers, channels)
    flat = torch.cat([block.flatten(1) for block in start.values()], 1).to(images.dtype)
    chunks, fitted = zip(flat.split(settings.chunk), planes.split(settings.chunk), strict=True), []
    with one_thread_per_operation() as threads:
        made = side_by_side(partial(_fit_chunk, settings, shapes), chunks, threads=threads)
        with closing(made):
            for weights, psnr in made:
                fitted.append((weights, psnr))
                if progress is not None:
                    progress(len(psnr))
    weights, psnr = (torch.cat(parts) for parts in zip(*fitted, strict=True))
    return dict(zip(shapes, blocks(weights, shapes), strict=True)), psnr


def render(networks: Mapping[str, Tensor] | WeightFeatures, settings: SirenSettings, height: int, width: int) -> Tensor:
    """The images that networks hold, at any resolution.

    Shapes:
        result: ``(n, height, width)``, or ``(n, height, width, channels)`` for more than one colour.

    Args:
        networks: a stacked state dict, or features with one channel.
        settings: its ``omega`` counts.
        height: rows.
        width: columns.

    Returns:
        Colours, clamped to [0, 1].

    Raises:
        ShapeError: networks of another architecture.

    Example:
        >>> state = initial_state(SirenSettings(), torch.arange(5))
        >>> render(state, SirenSettings(), 28, 20).shape
        torch.Size([5, 28, 20])
    """
    weights, biases = _stacks(networks.to_state() if isinstance(networks, WeightFeatures) else networks)
    points = grid(height, width, weights[0].dtype)
    # A few networks at a time: the values of all units at all pixels of a whole zoo would not fit into memory.
    images = [
        _colours([weight[part] for weight in weights], [bias[part] for bias in biases], settings.omega, points)
        for part in torch.arange(len(weights[0])).split(64)
    ]
    planes = torch.cat(images).reshape(-1, height, width, images[0].shape[2])
    return planes[..., 0] if planes.shape[3] == 1 else planes


def _fit_chunk(
    settings: SirenSettings, shapes: Shapes, stop: Event, part: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Fitted parameters and their PSNR; cut short where the caller has given up."""
    flat, targets = part
    chunk = Chunk(flat, targets, shapes, settings.omega, settings.moments)
    # A network that diverges is reported by its PSNR; sines of infinities warn of nothing new.
    with np.errstate(invalid="ignore"):
        for step in range(settings.steps):
            if stop.is_set():
                break
            chunk.step(step + 1, learning_rate(settings, step))
        return chunk.parameters, chunk.psnr()


def _shapes(settings: SirenSettings, channels: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter by its key in the state dict of :func:`siren`, in order."""
    shapes: dict[str, tuple[int, ...]] = {}
    widths = (2, *settings.hidden, channels)
    for layer, (below, units) in enumerate(zip(widths, widths[1:], strict=False)):
        shapes |= {f"{2 * layer}.weight": (units, below), f"{2 * layer}.bias": (units,)}
    return shapes


def _bounds(settings: SirenSettings, shapes: Shapes) -> Iterator[float]:
    """Of the uniform distribution of each parameter's start, in the order of the shapes."""
    for key, shape in shapes.items():
        if key.endswith("weight"):
            below = shape[1]
            yield 1 / below if key.startswith("0.") else math.sqrt(6 / below) / settings.omega
        else:
            yield 1 / math.sqrt(below)


def _stream(seed: int, number: int) -> torch.Generator:
    """The random stream of one network."""
    key = np.random.SeedSequence([seed, number]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(key) >> 1)


def _stacks(state: Mapping[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Weights and biases of all layers, by their keys: a state dict that was stored may come back in another order."""
    layers = range(0, len(state), 2)
    try:
        weights, biases = ([state[f"{layer}.{kind}"].detach() for layer in layers] for kind in ("weight", "bias"))
    except KeyError as missing:
        raise ShapeError(
            f"the networks have no parameter {missing} among {', '.join(state)}; expected weight and bias of layers "
            f"0, 2, 4 and so on. Remedy: render networks of the architecture that `siren` gives."
        ) from None
    return weights, biases


def _colours(weights: list[Tensor], biases: list[Tensor], omega: float, points: Tensor) -> Tensor:
    """Clamped outputs ``(network, pixel, channel)`` at any points, by the plain forward pass."""
    values = points.expand(len(weights[0]), -1, -1)
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        values = torch.sin(omega * torch.baddbmm(bias[:, None], values, weight.mT))
    return torch.baddbmm(biases[-1][:, None], values, weights[-1].mT).clamp_(0, 1)


def _check_images(images: Tensor) -> None:
    shape = tuple(images.shape)
    if images.ndim not in (3, 4) or (images.ndim == 4 and shape[3] != 3) or 0 in shape:
        raise ShapeError(f"images have shape {shape}; expected (n, height, width) or (n, height, width, 3), not empty.")
    if images.dtype not in (torch.float32, torch.float64):
        raise DataError(f"images have type {images.dtype}; expected float32 colours in [0, 1]: divide bytes by 255.")
    # A comparison with nan is false, so that this refuses nan as well.
    outside = ~((images >= 0) & (images <= 1)).flatten(1).all(1)
    if outside.any():
        worst = images[outside][0]
        raise DataError(
            f"image {int(outside.nonzero()[0])} has colours from {worst.min():g} to {worst.max():g}; "
            f"expected finite values in [0, 1]."
        )


def _check_numbers(numbers: Tensor, count: int) -> None:
    if numbers.shape != (count,) or numbers.is_floating_point():
        raise ShapeError(
            f"numbers have shape {tuple(numbers.shape)} and type {numbers.dtype}; expected ({count},) integers, "
            f"one per image."
        )
    if (numbers < 0).any():
        raise DataError(f"network number {int(numbers.min())} is negative; expected 0 or more.")
