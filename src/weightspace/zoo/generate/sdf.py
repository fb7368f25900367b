"""Networks that hold three-dimensional shapes: the signed distance of a point to a shape's surface."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from weightspace.errors import DataError, TrainingError, unknown
from weightspace.spec import Sine, spec_of
from weightspace.zoo.dataset import Zoo
from weightspace.zoo.format import Manifest
from weightspace.zoo.generate.chunk import blocks
from weightspace.zoo.generate.draw import stream
from weightspace.zoo.generate.engine import Engine
from weightspace.zoo.generate.field import ACTIVATIONS, Field, Fitting, falling, first_weights
from weightspace.zoo.generate.plan import Columns, Networks, Plan, Progress, Recipe, fill, stored
from weightspace.zoo.generate.shape import FAMILIES, distances, draw_shapes, sample_points
from weightspace.zoo.generate.thread import one_thread_per_operation, side_by_side
from weightspace.zoo.split import assign

__all__ = ["SdfSettings", "fit_sdfs", "make_sdf_zoo", "sdf", "sdf_recipe"]

_SHARD = 256
_LEARNT, _ASKED = 0, 1


@dataclass(frozen=True)
class SdfSettings:
    """How networks are fitted to the signed distances of shapes.

    Args:
        activation: sine or relu.
        hidden: units of each hidden layer, one entry per layer.
        omega: frequency of the sines, in radians per unit of their input. 15 if left out; relu has none.
        points: that a network learns from, half of them near its shape's surface.
        batch: points in a step, in turn.
        steps: Adam steps per network.
        learning_rate: step size of Adam at the start; it falls along a cosine to a tenth.
        evaluated: other points that errors are told on, half of them near the surface.
        seed: key of shapes, points, initial weights and splits, from 0 to 2^63 - 1.
        chunk: networks that one thread fits side by side; a matter of speed alone.

    Raises:
        TrainingError: a number out of its range, or a frequency for relu.
        UnknownNameError: an activation that does not exist.

    Example:
        >>> SdfSettings(hidden=(16,)).field.widths
        (3, 16, 1)
    """

    activation: str = "sine"
    hidden: tuple[int, ...] = (32, 32)
    omega: float | None = None
    points: int = 4096
    batch: int = 512
    steps: int = 400
    learning_rate: float = 5e-3
    evaluated: int = 2048
    seed: int = 0
    chunk: int = 8

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise unknown("activation", self.activation, ACTIVATIONS)
        if self.omega is not None and self.activation != "sine":
            raise TrainingError(f"omega is {self.omega}, but the activation {self.activation} has no frequency.")
        for name in ("omega", "points", "batch", "steps", "learning_rate", "evaluated", "chunk"):
            value = getattr(self, name)
            # A comparison with nan is false.
            if value is not None and not 0 < value < 1e38:
                raise TrainingError(f"{name} is {value}; expected a number above 0 and below 1e38.")
        if self.points < 2 or self.evaluated < 2 or self.batch > self.points:
            raise TrainingError(
                f"points, batch and evaluated are {self.points}, {self.batch} and {self.evaluated}; expected at least "
                f"2 points of each kind, and a batch of no more than there are."
            )
        if not self.hidden or min(self.hidden) < 1:
            raise TrainingError(f"hidden is {self.hidden}; expected a number of units per hidden layer, each above 0.")
        if not 0 <= self.seed < 2**63:
            raise TrainingError(f"seed is {self.seed}; expected 0 to 2^63 - 1.")

    @property
    def field(self) -> Field:
        """The architecture."""
        return Field((3, *self.hidden, 1), self.activation, 15.0 if self.omega is None else self.omega)


def sdf(settings: SdfSettings) -> nn.Sequential:
    """The architecture as a torch module, freshly initialised by torch; a template for specs and modules.

    Symmetry:
        the units of each hidden layer may be permuted; their signs be turned for sine, scaled by positive numbers for
        relu.

    Example:
        >>> sdf(SdfSettings(hidden=(8,)))
        Sequential(
          (0): Linear(in_features=3, out_features=8, bias=True)
          (1): Sine(omega=15)
          (2): Linear(in_features=8, out_features=1, bias=True)
        )
    """
    widths, parts = settings.field.widths, []
    for below, units in zip(widths, widths[1:-1], strict=False):
        between = Sine(settings.field.omega) if settings.activation == "sine" else nn.ReLU()
        parts += [nn.Linear(below, units), between]
    return nn.Sequential(*parts, nn.Linear(widths[-2], 1))


def fit_sdfs(
    numbers: Tensor, settings: SdfSettings, *, progress: Callable[[int], None] | None = None
) -> tuple[dict[str, Tensor], dict[str, np.ndarray]]:
    """One network per shape, fitted by Adam on the mean squared error of its signed distances.

    Shapes, points and first weights are drawn by the seed and the number alone. The result depends on the number of
    threads in no bit, and on the chunk by rounding only.

    Shapes:
        numbers: ``(n,)``; result: ``(n, *shape)`` per key of the state dict, and columns ``(n,)``.

    Args:
        numbers: of shapes and networks, not negative.
        settings: architecture, points and steps.
        progress: called with the number of networks that have just been finished.

    Returns:
        The stacked state dict, and the columns ``label``, ``error``, ``surface_error``: the mean absolute error at
        points anywhere in the cube, and at points near the surface.

    Raises:
        DataError: no networks, or a negative number.

    Example:
        >>> state, columns = fit_sdfs(torch.arange(3), SdfSettings(hidden=(16,), steps=100, chunk=3))
        >>> state["0.weight"].shape, bool((columns["error"] < 0.3).all())
        (torch.Size([3, 16, 3]), True)
    """
    if not len(numbers) or int(numbers.min()) < 0:
        raise DataError(f"numbers are {numbers.tolist()}; expected at least one network, none negative.")
    made, parts = [], [part.tolist() for part in numbers.split(settings.chunk)]
    with (
        one_thread_per_operation() as threads,
        closing(side_by_side(partial(_fit_chunk, settings), parts, threads=threads)) as fitted,
    ):
        for one in fitted:
            made.append(one)
            if progress is not None:
                progress(len(one[0]))
    flat, label, error, surface = (torch.cat(column) for column in zip(*made, strict=True))
    shapes = settings.field.shapes
    state = dict(zip(shapes, blocks(flat, shapes), strict=True))
    return state, {"label": label.numpy(), "error": error.numpy(), "surface_error": surface.numpy()}


def make_sdf_zoo(
    path: str | Path,
    settings: SdfSettings,
    *,
    count: int,
    progress: Callable[[int], None] | None = None,
    engine: str | Engine = "local",
    dtype: str = "float32",
) -> Zoo:
    """A zoo of networks that hold shapes, on disk; a second call goes on where the first one stopped.

    Network ``i`` holds shape ``i``: a sphere, box, torus, capsule or a union of two, of random pose and size. Its
    family is the ``label``.

    Args:
        path: the zoo's folder.
        settings: how each network is fitted.
        count: networks wanted; a zoo that holds more keeps them.
        progress: called with the number of networks that are newly there, those found on disk included.
        engine: "local"; "ray": shards are tasks of Ray; or an :class:`Engine`, which may say where the cluster is.
        dtype: in which weights are stored: float32 (fp32), bfloat16 (bf16) or float16 (fp16); they are trained in
            float32.

    Raises:
        DataError: no networks.
        UnknownNameError: an engine or a type that does not exist.
        StorageError: the folder cannot be written.
        FormatError: a zoo with other settings in the folder, or a weight that the type cannot hold.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     zoo = make_sdf_zoo(folder, SdfSettings(hidden=(8,), steps=5), count=6)
        ...     len(zoo), zoo.table.column_names
        (6, ['number', 'label', 'error', 'surface_error', 'diverged', 'split', 'seed'])

    References:
        Park et al., *DeepSDF: Learning Continuous Signed Distance Functions for Shape Representation*, CVPR 2019.
    """
    return fill(path, stored(sdf_recipe(settings, count=count), dtype), progress, engine)


def sdf_recipe(settings: SdfSettings, *, count: int) -> Recipe:
    """How :func:`make_sdf_zoo` makes a zoo.

    Raises:
        DataError: no networks.
    """
    if count < 1:
        raise DataError(f"count is {count}; expected at least 1 network.")

    make = partial(_shard, settings)
    return Recipe(partial(_manifest, settings, count), make, Plan(count, _SHARD), settings.steps, settings.chunk)


def _shard(settings: SdfSettings, numbers: Tensor, progress: Progress | None) -> tuple[Networks, Columns]:
    """The networks of some numbers with their table."""
    state, told = fit_sdfs(numbers, settings, progress=progress)
    ids = numbers.numpy()
    return state, {
        "number": ids,
        **told,
        "diverged": np.isnan(told["error"]),
        "split": pa.array(assign(ids, seed=settings.seed).tolist(), pa.string()),
        "seed": np.full(len(ids), settings.seed, np.int64),
    }


def _fit_chunk(settings: SdfSettings, stop: Event, numbers: list[int]) -> tuple[Tensor, ...]:
    """Parameters, labels and errors; cut short where the caller has given up."""
    shapes = draw_shapes(numbers, settings.seed)
    points = sample_points(shapes, numbers, settings.points, settings.seed, _LEARNT)
    orders = [stream(settings.seed, number, "batches").permutation(settings.points) for number in numbers]
    points = points.gather(1, torch.from_numpy(np.stack(orders))[..., None].expand_as(points))
    targets = distances(shapes, points)[:, None]
    features = points.mT.contiguous()
    fitting = Fitting(settings.field, first_weights(settings.field, settings.seed, numbers))
    batches = settings.points // settings.batch
    for step in range(settings.steps):
        if stop.is_set():
            break
        first = step % batches * settings.batch
        shown = slice(first, first + settings.batch)
        rate = falling(settings.learning_rate, step, settings.steps)
        fitting.step(features[..., shown], targets[..., shown], step + 1, rate)
    asked = sample_points(shapes, numbers, settings.evaluated, settings.seed, _ASKED)
    gaps = (fitting.outputs(asked.mT.contiguous())[:, 0] - distances(shapes, asked)).abs()
    near = settings.evaluated // 2
    return fitting.parameters, shapes.labels, gaps[:, :-near].mean(1), gaps[:, -near:].mean(1)


def _manifest(settings: SdfSettings, count: int) -> Manifest:
    field = settings.field
    told: dict[str, Any] = {"omega": field.omega} if field.activation == "sine" else {}
    return Manifest(
        spec=spec_of(sdf(settings), torch.zeros(1, 3)),
        recipe="sdf",
        settings={name: value for name, value in asdict(settings).items() if name != "chunk"},
        forward={
            "layers": f"{'sin(omega * (W x + b))' if told else 'relu(W x + b)'}, the last one W x + b",
            **told,
            "input": "a point (x, y, z) of the cube from -1 to 1",
            "output": "signed distance to the surface, negative inside",
            "families": list(FAMILIES),
        },
        source={"name": "shapes by formula"},
        count=count,
    )
