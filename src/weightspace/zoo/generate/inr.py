r"""ReLU networks fitted to images: on plain coordinates, on those of a positional encoding, on random Fourier features.

A point :math:`x` is read as it is, or as :math:`\sin(2\pi B x), \cos(2\pi B x)` for the frequencies :math:`B`, in
cycles per unit, which are the same for all networks of a zoo and are no parameters of theirs. A positional encoding has
the octaves :math:`2^{k-1}` of each coordinate; the others are drawn from a normal distribution.

References:
    Mildenhall et al., *NeRF: Representing Scenes as Neural Radiance Fields for View Synthesis*, 2020, eq. 4. Tancik et
    al., *Fourier Features Let Networks Learn High Frequency Functions in Low Dimensional Domains*, 2020, section 6.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from weightspace.errors import DataError, ShapeError, TrainingError, unknown
from weightspace.zoo.generate.chunk import blocks, grid
from weightspace.zoo.generate.field import Field, Fitting, falling, first_weights
from weightspace.zoo.generate.thread import one_thread_per_operation, side_by_side

__all__ = ["ENCODINGS", "FourierFeatures", "InrSettings", "fit_inrs", "forward_pass", "frequencies", "inr"]

ENCODINGS = ("plain", "positional", "fourier")
"""What networks read of a point."""

_OCTAVES, _DRAWN, _DEVIATION = 4, 16, 1.0
# Of the random frequencies, apart from the streams of the networks.
_KEY = 0xF0


@dataclass(frozen=True)
class InrSettings:
    """How ReLU networks are fitted to images.

    Args:
        encoding: what they read of a point: plain (row and column), positional or fourier.
        features: of positional, octaves per coordinate (4 if left out); of fourier, random frequencies (16 if left
            out). Each gives a sine and a cosine.
        deviation: of the random frequencies of fourier, in cycles per unit; an image is two units wide. 1 if left out.
        hidden: units of each hidden layer, one entry per layer.
        steps: Adam steps per network, each on all pixels.
        learning_rate: step size of Adam at the start; it falls along a cosine to a tenth.
        views: networks per image, each from a start of its own.
        seed: key of the initial weights and of the random frequencies, from 0 to 2^63 - 1.
        chunk: networks that one thread fits side by side; a matter of speed alone.

    Raises:
        TrainingError: a number out of its range, or one that the encoding does not have.
        UnknownNameError: an encoding that does not exist.

    Example:
        >>> InrSettings("positional").widths(channels=1)
        (16, 32, 32, 1)
    """

    encoding: str = "fourier"
    features: int | None = None
    deviation: float | None = None
    hidden: tuple[int, ...] = (32, 32)
    steps: int = 200
    learning_rate: float = 1e-2
    views: int = 1
    seed: int = 0
    chunk: int = 16

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise unknown("encoding", self.encoding, ENCODINGS)
        for name, without in (("features", ("plain",)), ("deviation", ("plain", "positional"))):
            if getattr(self, name) is not None and self.encoding in without:
                raise TrainingError(f"{name} is {getattr(self, name)}, but the encoding {self.encoding} has none.")
        for name in ("features", "deviation", "steps", "learning_rate", "views", "chunk"):
            value = getattr(self, name)
            # A comparison with nan is false.
            if value is not None and not 0 < value < 1e38:
                raise TrainingError(f"{name} is {value}; expected a number above 0 and below 1e38.")
        if not self.hidden or min(self.hidden) < 1:
            raise TrainingError(
                f"hidden is {self.hidden}; expected one number of units per hidden layer, each above 0."
            )
        if not 0 <= self.seed < 2**63:
            raise TrainingError(f"seed is {self.seed}; expected 0 to 2^63 - 1.")

    def widths(self, channels: int) -> tuple[int, ...]:
        """Numbers of features, of units of each hidden layer, and of colours."""
        found = frequencies(self)
        return (2 if found is None else 2 * len(found), *self.hidden, channels)


class FourierFeatures(nn.Module):
    r"""Sines of all frequencies at points, then the cosines: :math:`\sin(2\pi B x), \cos(2\pi B x)`.

    Shapes:
        input: ``(..., coordinate)``; output: ``(..., 2 * frequency)``.

    Args:
        frequencies: :math:`B`, ``(frequency, coordinate)``, in cycles per unit.

    Example:
        >>> FourierFeatures(torch.tensor([[0.25, 0.0]]))(torch.tensor([[1.0, 5.0]])).round(decimals=3)
        tensor([[1., -0.]])
    """

    def __init__(self, frequencies: Tensor) -> None:
        super().__init__()
        # No part of the networks: a zoo's manifest records them once.
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, points: Tensor) -> Tensor:
        """The features of points."""
        angles = 2 * torch.pi * points @ self.frequencies.T  # type: ignore[operator]
        return torch.cat([angles.sin(), angles.cos()], -1)

    def extra_repr(self) -> str:
        """How many, for `print(module)`."""
        return f"{len(self.frequencies)} frequencies"  # type: ignore[arg-type]


def frequencies(settings: InrSettings) -> Tensor | None:
    """The frequencies of an encoding, in cycles per unit; None where points are read as they are.

    Shapes:
        result: ``(frequency, 2)``, float32.

    Example:
        >>> frequencies(InrSettings("positional", features=2))
        tensor([[0.5000, 0.0000],
                [0.0000, 0.5000],
                [1.0000, 0.0000],
                [0.0000, 1.0000]])
    """
    if settings.encoding == "plain":
        return None
    if settings.encoding == "positional":
        octaves = 2.0 ** (torch.arange(settings.features or _OCTAVES) - 1)
        return (octaves[:, None, None] * torch.eye(2)).flatten(0, 1)
    drawn = np.random.default_rng([settings.seed, _KEY]).standard_normal((settings.features or _DRAWN, 2))
    return torch.from_numpy(drawn).float() * (settings.deviation or _DEVIATION)


def inr(settings: InrSettings, channels: int = 1, recorded: Sequence[Sequence[float]] | None = None) -> nn.Sequential:
    """The architecture as a torch module, freshly initialised by torch; a template for specs and modules.

    Args:
        settings: its ``encoding`` and ``hidden`` count.
        channels: colours per pixel.
        recorded: the frequencies that a zoo's manifest records. Default: those of the settings.

    Symmetry:
        the units of each hidden layer may be permuted and scaled by positive numbers.

    Example:
        >>> inr(InrSettings("positional", hidden=(8,)))
        Sequential(
          (encoding): FourierFeatures(8 frequencies)
          (0): Linear(in_features=16, out_features=8, bias=True)
          (1): ReLU()
          (2): Linear(in_features=8, out_features=1, bias=True)
        )
    """
    found = frequencies(settings) if recorded is None else torch.tensor(recorded, dtype=torch.float32)
    widths = settings.widths(channels)
    parts: list[tuple[str, nn.Module]] = [] if found is None else [("encoding", FourierFeatures(found))]
    for layer, (below, units) in enumerate(zip(widths, widths[1:], strict=False)):
        parts += [(str(2 * layer), nn.Linear(below, units)), (str(2 * layer + 1), nn.ReLU())]
    return nn.Sequential(OrderedDict(parts[:-1]))


def forward_pass(settings: InrSettings) -> dict[str, Any]:
    """Everything beside the weights that turns a network into an image, as a zoo's manifest records it.

    Example:
        >>> forward_pass(InrSettings("positional", features=1))["frequencies"]
        [[0.5, 0.0], [0.0, 0.5]]
    """
    found = frequencies(settings)
    encoded = {"encoding": "plain"}
    if found is not None:
        encoded = {"encoding": "sin(2 pi B x), cos(2 pi B x)", "frequencies": found.double().tolist()}  # type: ignore[dict-item]
    return {
        "layers": "relu(W x + b), the last one W x + b",
        **encoded,
        "coordinates": "row, column",
        "coordinate_range": [-1.0, 1.0],
        "output_offset": 0.0,
        "colour_range": [0.0, 1.0],
    }


def fit_inrs(
    images: Tensor, numbers: Tensor, settings: InrSettings, *, progress: Callable[[int], None] | None = None
) -> tuple[dict[str, Tensor], Tensor]:
    r"""One network per image, fitted by Adam on the mean squared error over all pixels and colours.

    Uses as many threads as ``torch.get_num_threads()``, each with a chunk of its own. The result depends on the thread
    count in no bit, and on the chunk by rounding only.

    Shapes:
        images: ``(n, height, width)`` or ``(n, height, width, 3)``; numbers: ``(n,)``;
        result: ``(n, *shape)`` per key of the state dict, and ``(n,)``.

    Args:
        images: colours in [0, 1]; float32, or float64 to compute in it.
        numbers: the networks' numbers, not negative: what their initial weights are drawn by.
        settings: architecture and steps.
        progress: called with the number of networks that have just been finished.

    Returns:
        The stacked state dict, and the peak signal-to-noise ratio of each clamped image in dB; nan where a network
        diverged.

    Raises:
        ShapeError: images or numbers of another shape.
        DataError: colours that are not finite or not in [0, 1].

    Example:
        >>> ramp = torch.linspace(0, 1, 8).expand(1, 8, 8)
        >>> state, psnr = fit_inrs(ramp, torch.tensor([0]), InrSettings("plain", hidden=(16,), steps=100))
        >>> state["0.weight"].shape, bool(psnr > 20)
        (torch.Size([1, 16, 2]), True)
    """
    _check(images, numbers)
    field, features = _problem(images, settings)
    channels = field.widths[-1]
    targets = images.detach().reshape(len(images), -1, channels).mT.contiguous()
    start = first_weights(field, settings.seed, numbers.tolist()).to(images.dtype)
    parts, fitted = zip(start.split(settings.chunk), targets.split(settings.chunk), strict=True), []
    with (
        one_thread_per_operation() as threads,
        closing(side_by_side(partial(_fit_chunk, settings, field, features), parts, threads=threads)) as made,
    ):
        for weights, psnr in made:
            fitted.append((weights, psnr))
            if progress is not None:
                progress(len(psnr))
    weights, psnr = (torch.cat(column) for column in zip(*fitted, strict=True))
    return dict(zip(field.shapes, blocks(weights, field.shapes), strict=True)), psnr


def _problem(images: Tensor, settings: InrSettings) -> tuple[Field, Tensor]:
    """The architecture, and the features ``(feature, pixel)`` of all pixels."""
    points, found = grid(images.shape[1], images.shape[2], images.dtype), frequencies(settings)
    features = points if found is None else FourierFeatures(found.to(images.dtype))(points)
    return Field(settings.widths(images.shape[3] if images.ndim == 4 else 1), "relu"), features.T.contiguous()


def _fit_chunk(
    settings: InrSettings, field: Field, features: Tensor, stop: Event, part: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Fitted parameters and their PSNR; cut short where the caller has given up."""
    start, targets = part
    fitting = Fitting(field, start)
    for step in range(settings.steps):
        if stop.is_set():
            break
        fitting.step(features, targets, step + 1, falling(settings.learning_rate, step, settings.steps))
    error = fitting.outputs(features).clamp_(0, 1).sub_(targets)
    return fitting.parameters, -10 * error.square_().mean((1, 2)).log10_()


def _check(images: Tensor, numbers: Tensor) -> None:
    if images.ndim not in (3, 4) or not len(images):
        raise ShapeError(f"images have shape {tuple(images.shape)}; expected (n, height, width[, channels]), n > 0.")
    # A comparison with nan is false.
    if not ((images >= 0) & (images <= 1)).all():
        raise DataError("images have colours outside of [0, 1], or some that are not finite. Remedy: divide by 255.")
    if numbers.shape != (len(images),) or numbers.is_floating_point() or int(numbers.min()) < 0:
        raise ShapeError(
            f"numbers have shape {tuple(numbers.shape)} and type {numbers.dtype}; expected ({len(images)},) integers "
            f"from 0, one per image."
        )
