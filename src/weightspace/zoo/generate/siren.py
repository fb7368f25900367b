r"""SIRENs fitted to images, many side by side: one network per image, the image read back from its weights.

A SIREN maps a pixel's coordinates to its colour through layers :math:`h_l = \sin z_l`,
:math:`z_l = \omega (W_l h_{l-1} + b_l)`, and a linear output :math:`y = W h_L + b`. All of them are tiny, so a loop
that fits one after the other mostly waits for the interpreter. Here the gradient is written out by hand over a chunk
of networks, with three observations that make it cheap:

* Coordinates form a grid, and the first layer is linear in them. With :math:`\alpha` from the row and :math:`\beta`
  from the column, :math:`\sin(\alpha + \beta) = \sin\alpha\cos\beta + \cos\alpha\sin\beta`: sines of
  ``height + width`` numbers per unit instead of ``height * width``, and the cosine of the gradient comes with them.
* Derivatives need nothing but the kept cosines: :math:`\partial h_l / \partial z_l = \cos z_l`, and :math:`\omega`
  is moved onto the small matrices.
* Each chunk belongs to one thread and stays in its cache; no thread ever waits for another inside a step.

Every random draw is keyed by the seed and the network's number, so neither chunks nor threads change a network.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.nn import functional

from weightspace.errors import DataError, ShapeError, TrainingError, unknown
from weightspace.spec import Sine, spec_of
from weightspace.weights import WeightFeatures, features_of
from weightspace.zoo.dataset import Zoo, open_zoo
from weightspace.zoo.format import Manifest
from weightspace.zoo.sources import Images
from weightspace.zoo.split import assign
from weightspace.zoo.store import ZooWriter

__all__ = [
    "SHARD",
    "SirenSettings",
    "fit_sirens",
    "forward_pass",
    "initial_state",
    "learning_rate",
    "make_siren_zoo",
    "render",
    "siren",
]

SHARD = 256
"""Networks per shard: what an interrupted run loses at most."""

_INITS = ("independent", "shared")
_MOMENTS = (0.9, 0.999)
_EPSILON = 1e-8
_FINAL_RATE = 0.1

State = dict[str, Tensor]


@dataclass(frozen=True)
class SirenSettings:
    """How SIRENs are fitted.

    Args:
        hidden: units of each hidden layer, one entry per layer.
        omega: frequency of the sines, in radians per unit of their input.
        steps: Adam steps per network, each on all pixels.
        learning_rate: step size of Adam at the start; it falls along a cosine to a tenth.
        init: "independent" draws each network by its number; "shared" starts all of them as network 0.
        seed: key of the initial weights, not negative.
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
    init: str = "independent"
    seed: int = 0
    chunk: int = 16

    def __post_init__(self) -> None:
        for name in ("steps", "chunk", "omega", "learning_rate"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise TrainingError(f"{name} is {value}; expected a number above 0.")
        if not self.hidden or min(self.hidden) < 1:
            raise TrainingError(
                f"hidden is {self.hidden}; expected one number of units per hidden layer, each above 0."
            )
        if self.seed < 0:
            raise TrainingError(f"seed is {self.seed}; expected 0 or more.")
        if self.init not in _INITS:
            raise unknown("initialisation", self.init, _INITS)


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
    return dict(zip(shapes, _blocks(flat, shapes), strict=True))


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
    start = initial_state(settings, numbers, channels)
    flat = torch.cat([block.flatten(1) for block in start.values()], 1).to(images.dtype)
    stop, fitted = Event(), []
    with _one_thread_per_operation() as threads, ThreadPoolExecutor(threads) as pool:
        try:
            chunks = zip(flat.split(settings.chunk), planes.split(settings.chunk), strict=True)
            for weights, psnr in pool.map(partial(_fit_chunk, settings, stop), *zip(*chunks, strict=True)):
                fitted.append((weights, psnr))
                if progress is not None:
                    progress(len(psnr))
        finally:
            # An interrupt leaves no thread working on what nobody waits for.
            stop.set()
    weights, psnr = (torch.cat(parts) for parts in zip(*fitted, strict=True))
    shapes = _shapes(settings, channels)
    return dict(zip(shapes, _blocks(weights, shapes), strict=True)), psnr


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

    Example:
        >>> state = initial_state(SirenSettings(), torch.arange(5))
        >>> render(state, SirenSettings(), 28, 20).shape
        torch.Size([5, 28, 20])
    """
    state = networks.to_state() if isinstance(networks, WeightFeatures) else networks
    tensors = [tensor.detach() for tensor in state.values()]
    grid = _grid(height, width, tensors[0])
    # A few networks at a time: the values of all units at all pixels of a whole zoo would not fit into memory.
    images = [_colours(parts, settings.omega, grid) for parts in zip(*(t.split(64) for t in tensors), strict=True)]
    planes = torch.cat(images).reshape(-1, height, width, images[0].shape[2])
    return planes[..., 0] if planes.shape[3] == 1 else planes


def make_siren_zoo(
    path: str | Path,
    images: Images,
    settings: SirenSettings,
    *,
    count: int,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Zoo:
    """A zoo of SIRENs on disk, one per image of a data set; a second call goes on where the first one stopped.

    Network ``i`` is fitted to the ``i``-th image of a seeded permutation of the training images, so a zoo that is
    asked for more networks later keeps those it has. Splits belong to images.

    Args:
        path: the zoo's folder.
        images: the data set.
        settings: how each network is fitted.
        count: networks wanted, at most one per image.
        seed: key of the choice of images and of their splits.
        progress: called with the number of networks that are newly there, those found on disk included.

    Raises:
        DataError: more networks than images.
        StorageError: the folder cannot be written.
        FormatError: a zoo with other settings in the folder.

    Example:
        >>> import tempfile
        >>> from weightspace.zoo import load_images
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     zoo = make_siren_zoo(folder, load_images("digits"), SirenSettings((8,), steps=5), count=12)
        ...     len(zoo), zoo.table.column_names
        (12, ['number', 'image', 'label', 'split', 'psnr', 'diverged', 'seed'])
    """
    if not 0 < count <= len(images):
        raise DataError(
            f"count is {count}; {images.name} has {len(images)} images: ask for 1 to {len(images)} networks."
        )
    channels = 1 if images.train.ndim == 3 else images.train.shape[3]
    manifest = Manifest(
        spec=spec_of(siren(settings, channels)),
        recipe="siren",
        settings={key: value for key, value in asdict(settings).items() if key != "chunk"} | {"image_seed": seed},
        forward=forward_pass(settings) | {"height": images.train.shape[1], "width": images.train.shape[2]},
        source={"name": images.name, "checksum": images.checksum},
        count=count,
    )
    chosen = np.random.default_rng(seed).permutation(len(images))[:count]
    writer = ZooWriter(path, manifest)
    for shard, first in enumerate(range(0, count, SHARD)):
        ids = chosen[first : first + SHARD]
        if writer.rows.get(shard, 0) < len(ids):
            writer.write(shard, *_fit_shard(images, ids, first, settings, seed, progress, manifest))
        elif progress is not None:
            progress(len(ids))
    return open_zoo(path)


def _fit_shard(
    images: Images,
    ids: np.ndarray,
    first: int,
    settings: SirenSettings,
    seed: int,
    progress: Callable[[int], None] | None,
    manifest: Manifest,
) -> tuple[WeightFeatures, pa.Table]:
    """The networks of one shard and their rows."""
    numbers = torch.arange(first, first + len(ids))
    targets = torch.from_numpy(images.train[ids]).float() / 255
    state, psnr = fit_sirens(targets, numbers, settings, progress=progress)
    table = pa.table(
        {
            "number": numbers.numpy(),
            "image": ids.astype(np.int64),
            "label": images.labels[ids].astype(np.int64),
            "split": pa.array(assign(ids, seed=seed).tolist(), pa.string()),
            "psnr": psnr.numpy(),
            "diverged": psnr.isnan().numpy(),
            "seed": np.full(len(ids), settings.seed, np.int64),
        }
    )
    return features_of(manifest.spec, state), table


class _Chunk:
    """A few networks that one thread fits, with every buffer and view that a step needs.

    Parameters, gradients and Adam's moments are one matrix ``(network, parameter)`` each, so that the optimiser is
    seven operations; the layers see views of them. Nothing is allocated in a step but small matrices.
    """

    def __init__(self, flat: Tensor, targets: Tensor, settings: SirenSettings) -> None:
        networks, channels, height, width = targets.shape
        shapes = _shapes(settings, channels)
        self.omega, self.targets = settings.omega, targets.flatten(2)
        self.parameters = flat.clone()
        self.scaled, self.gradient, self.mean, self.square, self.scale = (torch.zeros_like(flat) for _ in range(5))
        inner = flat.shape[1] - channels * (settings.hidden[-1] + 1)
        # Inside a sine only omega * W and omega * b occur: scaling parameters and gradients as blocks does them all.
        self.factors = torch.ones_like(flat[0]).index_fill_(0, torch.arange(inner), settings.omega)
        self.weights, self.biases = _layers(self.scaled, shapes)
        self.weight_gradients, self.bias_gradients = _layers(self.gradient, shapes)
        self._allocate(settings.hidden, height, width)

    def _allocate(self, hidden: Sequence[int], height: int, width: int) -> None:
        """Room for the values at all units and pixels, and for the first layer's rows and columns."""
        like, networks = self.parameters, len(self.parameters)
        sizes = [(networks, units, height * width) for units in hidden]
        self.sines, self.cosines = ([like.new_empty(size) for size in sizes] for _ in range(2))
        widest = like.new_empty(networks, max(hidden), height * width)
        self.above = [widest[:, :units] for units in hidden]
        grid = _grid(height, width, like)
        self.rows, self.columns = grid[::width, 0], grid[:width, 1]
        # Rows for row, column and one: the first layer's weights and bias get their gradients in one product.
        self.lifted = torch.cat([grid, torch.ones_like(grid[:, :1])], 1).T.contiguous()
        self.sides = like.new_empty(2, networks, hidden[0], height + width)
        self.plane = (networks, hidden[0], height, width)

    def outputs(self) -> Tensor:
        """Colours ``(network, channel, pixel)``; sines and cosines of all layers are kept for the gradient."""
        torch.mul(self.parameters, self.factors, out=self.scaled)
        self._first_layer()
        for level in range(1, len(self.sines)):
            sine, cosine = self.sines[level], self.cosines[level]
            torch.baddbmm(self.biases[level], self.weights[level], self.sines[level - 1], out=cosine)
            _sine_and_cosine(cosine, sine)
        return torch.baddbmm(self.biases[-1], self.weights[-1], self.sines[-1])

    def _first_layer(self) -> None:
        """Sine and cosine of a sum of a row's and a column's part, by the addition theorems."""
        cosine, sine = self.sides
        height = len(self.rows)
        torch.addcmul(self.biases[0], self.weights[0][..., :1], self.rows, out=cosine[..., :height])
        torch.mul(self.weights[0][..., 1:], self.columns, out=cosine[..., height:])
        _sine_and_cosine(cosine, sine)
        row_sine, row_cosine = sine[..., :height, None], cosine[..., :height, None]
        column_sine, column_cosine = sine[:, :, None, height:], cosine[:, :, None, height:]
        torch.mul(row_sine, column_cosine, out=self.sines[0].view(self.plane)).addcmul_(row_cosine, column_sine)
        plane = torch.mul(row_cosine, column_cosine, out=self.cosines[0].view(self.plane))
        plane.addcmul_(row_sine, column_sine, value=-1)

    def backward(self, error: Tensor) -> None:
        """Writes the gradient, given that of the loss by the outputs. Uses up the cosines."""
        self.weight_gradients[-1].copy_(torch.bmm(error, self.sines[-1].mT))
        torch.sum(error, 2, keepdim=True, out=self.bias_gradients[-1])
        torch.bmm(self.weights[-1].mT, error, out=self.above[-1])
        for level in range(len(self.sines) - 1, 0, -1):
            change = self.cosines[level].mul_(self.above[level])
            self.weight_gradients[level].copy_(torch.bmm(change, self.sines[level - 1].mT))
            torch.sum(change, 2, keepdim=True, out=self.bias_gradients[level])
            torch.bmm(self.weights[level].mT, change, out=self.above[level - 1])
        lifted = functional.linear(self.cosines[0].mul_(self.above[0]), self.lifted)
        self.weight_gradients[0].copy_(lifted[..., :2])
        self.bias_gradients[0].copy_(lifted[..., 2:])
        self.gradient.mul_(self.factors)

    def step(self, number: int, rate: float) -> None:
        """One step of Adam, numbered from 1, down the mean squared error."""
        error = self.outputs().sub_(self.targets)
        self.backward(error.mul_(2 / self.targets[0].numel()))
        first, second = _MOMENTS
        self.mean.lerp_(self.gradient, 1 - first)
        self.square.mul_(second).addcmul_(self.gradient, self.gradient, value=1 - second)
        torch.sqrt(self.square, out=self.scale).div_(math.sqrt(1 - second**number)).add_(_EPSILON)
        self.parameters.addcdiv_(self.mean, self.scale, value=-rate / (1 - first**number))

    def psnr(self) -> Tensor:
        """Of the clamped outputs, in dB; nan where a network's outputs are not finite."""
        error = self.outputs().clamp_(0, 1).sub_(self.targets)
        return -10 * error.square_().mean((1, 2)).log10_()


def _sine_and_cosine(angle: Tensor, sine: Tensor) -> None:
    """Writes the sine beside the angle, and the cosine in its place."""
    # NumPy's float32 sine is vectorised on every machine; torch's goes through a library that, on some, takes 2.6
    # times as long (1.17 against 0.45 ns).
    np.sin(angle.numpy(), out=sine.numpy())
    np.cos(angle.numpy(), out=angle.numpy())


def _fit_chunk(settings: SirenSettings, stop: Event, flat: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Fitted parameters and their PSNR; cut short where the caller has given up."""
    chunk = _Chunk(flat, targets, settings)
    # A network that diverges is reported by its PSNR; sines of infinities warn of nothing new.
    with np.errstate(invalid="ignore"):
        for step in range(settings.steps):
            if stop.is_set():
                break
            chunk.step(step + 1, learning_rate(settings, step))
        return chunk.parameters, chunk.psnr()


@contextmanager
def _one_thread_per_operation() -> Iterator[int]:
    """Holds torch to one thread per operation; gives the number of threads that it had before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield before
    finally:
        torch.set_num_threads(before)


def _shapes(settings: SirenSettings, channels: int) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter by its key in the state dict of :func:`siren`, in order."""
    shapes: dict[str, tuple[int, ...]] = {}
    widths = (2, *settings.hidden, channels)
    for layer, (below, units) in enumerate(zip(widths, widths[1:], strict=False)):
        shapes |= {f"{2 * layer}.weight": (units, below), f"{2 * layer}.bias": (units,)}
    return shapes


def _bounds(settings: SirenSettings, shapes: Mapping[str, tuple[int, ...]]) -> Iterator[float]:
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


def _blocks(flat: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> list[Tensor]:
    """Views of a matrix ``(network, parameter)``, one per shape: ``(network, *shape)``."""
    columns = flat.split([math.prod(shape) for shape in shapes.values()], 1)
    return [block.unflatten(1, shape) for block, shape in zip(columns, shapes.values(), strict=True)]


def _layers(flat: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> tuple[list[Tensor], list[Tensor]]:
    """Views of a matrix ``(network, parameter)``: weights ``(network, out, in)`` and biases ``(network, out, 1)``."""
    blocks = _blocks(flat, shapes)
    return blocks[::2], [bias[..., None] for bias in blocks[1::2]]


def _grid(height: int, width: int, like: Tensor) -> Tensor:
    """Coordinates ``(pixel, 2)`` of all pixels, row by row, from -1 to 1 along each side."""
    sides = [torch.linspace(-1, 1, size, dtype=like.dtype) for size in (height, width)]
    return torch.cartesian_prod(*sides)


def _colours(tensors: Sequence[Tensor], omega: float, grid: Tensor) -> Tensor:
    """Clamped outputs ``(network, pixel, channel)`` at any points, by the plain forward pass."""
    weights, biases = tensors[::2], [bias[:, None] for bias in tensors[1::2]]
    values = grid.expand(len(weights[0]), -1, -1)
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        values = torch.sin(omega * torch.baddbmm(bias, values, weight.mT))
    return torch.baddbmm(biases[-1], values, weights[-1].mT).clamp_(0, 1)


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
