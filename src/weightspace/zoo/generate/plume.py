r"""Sets of smoke plumes whose dynamics are symmetric up to a known degree.

Smoke comes in through a disc and pushes the air that it stands in. In each set the place, direction or size of the
plume is a transformation of the first one's, and so are the frames, as far as the force is transformed with it: by how
much the force differs is ``breaking``. All lengths are cells, all times steps.

References:
    Wang, Walters, Yu, *Approximately Equivariant Networks for Imperfectly Symmetric Dynamics*, ICML 2022; the numbers
    below are those of the program that its authors published.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby, product
from pathlib import Path
from threading import Event, Lock

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from weightspace.errors import DataError, ShapeError, unknown
from weightspace.zoo.generate.smoke import Smoke
from weightspace.zoo.generate.thread import one_thread_per_operation, side_by_side
from weightspace.zoo.plume import DTYPES, PlumeManifest, Plumes, PlumeWriter, open_plumes
from weightspace.zoo.window import Task

__all__ = ["KINDS", "PlumeSettings", "Run", "coarsen", "make_plumes", "runs_of", "shrink", "start", "turn"]

SIDE = 64
"""Cells along each side of the box; of the smallest box where sizes differ."""

_RADIUS = 5
# Where the smoke of each direction comes in, and where it is pushed.
_CENTRES = ((32.0, 5.0), (59.0, 32.0), (32.0, 59.0), (5.0, 32.0))
_UNITS = ((0, 1), (-1, 0), (0, -1), (1, 0))
# The third is what the published program says, not a slip of this one.
_STRENGTHS = (0.01, 0.01, 0.011, 0.01)
# Cells that one thread moves side by side: more do not fit its caches, fewer leave it waiting for the interpreter.
_CELLS = 18 * SIDE * SIDE
_MOST_STEPS = 100_000


@dataclass(frozen=True)
class Run:
    """One simulation.

    Args:
        task: its numbers within the set.
        centre: of the disc where smoke comes in, x and y.
        force: on a unit of smoke in the left half of the box, x and y component.
        time_step: for which velocity carries itself along in each step.
        right: force in the right half; None where it is the same.
        edge: factor of the force in the first and in the last row.
        scale: of the box and the disc; the side is cut down to whole cells.
        turns: quarter turns, from x to y, of the finished frames.
    """

    task: Task
    centre: tuple[float, float]
    force: tuple[float, float]
    time_step: float
    right: tuple[float, float] | None = None
    edge: float = 1.0
    scale: float = 1.0
    turns: int = 0

    @property
    def side(self) -> int:
        """Cells along each side of the box."""
        return int(SIDE * self.scale)


@dataclass(frozen=True)
class _Kind:
    """What a set is: its runs by the degree of breaking, and which frames count.

    Args:
        runs: the simulations at a degree of breaking.
        steps: of the published set.
        first: frame that is kept first.
        last: how many frames at the end are dropped.
        resized: whether boxes have different sizes, each frame being shrunk to the smallest. Their forces fit.
    """

    runs: Callable[[float], Iterator[Run]]
    steps: int = 310
    first: int = 1
    last: int = 0
    resized: bool = False


def _translation(breaking: float) -> Iterator[Run]:
    """Discs on a lattice; the force is one in the left half of the box and another in the right."""
    left, right = 0.15 - 0.05 * breaking, 0.15 + 0.05 * breaking
    for x, y in product(range(8, 64, 8), range(5, 30, 5)):
        yield Run((x, y), (x, y), (0.0, left), 0.5, right=(0.0, right), edge=0.5)


def _rotation(breaking: float) -> Iterator[Run]:
    """Discs at the four walls, pushed away from them; nine blocks of four forces that grow from run to run."""
    for block in range(9):
        published = [(4 * block + j + 1) * strength for j, strength in enumerate(_STRENGTHS)]
        even = sum(published) / 4
        for j, strength in enumerate(published):
            size = (1 - breaking) * even + breaking * strength
            x, y = _UNITS[j]
            yield Run((4 * block + j + 1, j), _CENTRES[j], (x * size, y * size), 1.0)


def _scale(_: float) -> Iterator[Run]:
    """Boxes, discs and forces that grow together; only their resolution differs."""
    for number, scale in enumerate(np.linspace(1, 5, 41)[:38].tolist()):
        yield Run((number,), (32 * scale, 5 * scale), (0.0, 0.1 * scale), 0.5, scale=scale)


def _levels(breaking: float) -> Iterator[Run]:
    """Ten sets of four runs with forces that differ more from set to set, the frames turned towards each wall."""
    for level, j in product(range(10), range(4)):
        yield Run((level, j), _CENTRES[0], (0.0, 0.005 * (2 + breaking * level * j)), 0.5, turns=j)


KINDS = {
    "translation": _Kind(_translation, first=0),
    "rotation": _Kind(_rotation),
    "scale": _Kind(_scale, resized=True),
    "levels": _Kind(_levels, steps=61, first=10, last=1),
}
"""The sets by their names."""


@dataclass(frozen=True)
class PlumeSettings:
    r"""Which set of plumes is simulated, and what is kept of it.

    ``breaking`` :math:`b` says how much the force differs between transformed runs; 0 is not at all, 1 as published:

    * translation: :math:`0.15 - 0.05 b` in the left half of the box, :math:`0.15 + 0.05 b` in the right;
    * rotation: run :math:`k = 4i + j + 1` has the force :math:`(1 - b) \bar F_i + b F_k` with :math:`F_k = 0.01 k`
      (:math:`0.011 k` for :math:`j = 2`) and :math:`\bar F_i` the mean of its block of four directions :math:`j`;
    * levels: direction :math:`j` of level :math:`m` has the force :math:`0.005 (2 + b m j)`;
    * scale: the force is transformed as it should be; symmetry is broken by the resolution alone, so that `b` is 1.

    Args:
        kind: translation, rotation, scale or levels.
        breaking: from 0 to 1.
        steps: of each simulation; by default as published, 310 (61 for levels).
        coarsening: fine cells along each side of a coarse one, for cheap runs: a power of two up to 16.
        precision: float32 or float16, in which frames are stored. They are computed in float32.

    Raises:
        UnknownNameError: a kind or precision that does not exist.
        DataError: a number out of its range.

    Example:
        >>> settings = PlumeSettings(kind="levels", coarsening=2)
        >>> settings.total, settings.side, settings.frames
        (61, 32, 50)
    """

    kind: str = "rotation"
    breaking: float = 1.0
    steps: int | None = None
    coarsening: int = 1
    precision: str = "float32"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise unknown("kind of plumes", self.kind, KINDS)
        if self.precision not in DTYPES:
            raise unknown("precision", self.precision, DTYPES)
        kind = KINDS[self.kind]
        fewest = kind.first + kind.last + 1
        if not fewest <= self.total <= _MOST_STEPS:
            raise DataError(f"steps is {self.steps}; expected {fewest} to {_MOST_STEPS:,}: {self.kind} drops some.")
        if not 0 <= self.breaking <= 1:
            raise DataError(f"breaking is {self.breaking}; expected 0 (symmetric) to 1 (as published).")
        if kind.resized and self.breaking != 1:
            raise DataError(
                f"breaking is {self.breaking} for {self.kind}; expected 1: its force is symmetric as it is, and what "
                f"breaks the symmetry is the resolution."
            )
        if self.coarsening not in (1, 2, 4, 8, 16):
            raise DataError(f"coarsening is {self.coarsening}; expected 1, 2, 4, 8 or 16.")

    @property
    def side(self) -> int:
        """Rows and columns of a frame."""
        return SIDE // self.coarsening

    @property
    def frames(self) -> int:
        """How many are kept of each simulation."""
        return self.total - KINDS[self.kind].first - KINDS[self.kind].last

    @property
    def total(self) -> int:
        """Steps of each simulation."""
        return KINDS[self.kind].steps if self.steps is None else self.steps


def runs_of(settings: PlumeSettings) -> tuple[Run, ...]:
    """All simulations of a set, in order.

    Example:
        >>> [len(runs_of(PlumeSettings(kind=kind))) for kind in KINDS]
        [35, 36, 38, 40]
    """
    return tuple(KINDS[settings.kind].runs(settings.breaking))


def start(runs: Sequence[Run], dtype: torch.dtype = torch.float32) -> Smoke:
    """Simulations of runs in boxes of one size, before their first step.

    Args:
        runs: what is simulated.
        dtype: float32 or float64.

    Example:
        >>> smoke = start(runs_of(PlumeSettings(kind="rotation"))[:4])
        >>> smoke.step()
        >>> smoke.smoke.sum((1, 2))
        tensor([80., 80., 80., 80.])
    """
    (side,) = {run.side for run in runs}
    centres = torch.arange(side, dtype=torch.float64) + 0.5
    inflow = torch.zeros(len(runs), side, side, dtype=dtype)
    force = torch.zeros(len(runs), 2, side, side, dtype=torch.float64)
    for number, run in enumerate(runs):
        x, y = run.centre
        inflow[number] = (centres - x).square() + (centres[:, None] - y).square() <= (_RADIUS * run.scale) ** 2
        for half, push in ((slice(side // 2), run.force), (slice(side // 2, None), run.right or run.force)):
            force[number, :, :, half] = torch.tensor(push, dtype=torch.float64)[:, None, None]
        force[number, :, [0, -1]] *= run.edge
    return Smoke(inflow, force.to(dtype), torch.tensor([run.time_step for run in runs], dtype=dtype))


def turn(faces: Tensor, turns: int) -> Tensor:
    r"""Velocity on the faces of square boxes, turned by right angles from x to y: every face comes to lie on a face.

    With :math:`R` the turn, the velocity at :math:`p` becomes :math:`R v(R^{-1} p)`.

    Shapes:
        faces, result: ``(..., 2, n + 1, n + 1)``, as :meth:`Smoke.faces` gives them.

    Args:
        faces: velocity; the last row of the x component and the last column of the y component are zero.
        turns: how many right angles.

    Example:
        >>> faces = torch.zeros(2, 3, 3)
        >>> faces[0, 0, 1] = 1  # to the right, in the lower row
        >>> turn(faces, 1)[1, 1, 1].item()  # up, in the right column
        1.0
    """
    for _ in range(turns % 4):
        x, y = faces[..., 0, :-1, :], faces[..., 1, :, :-1]
        turned = torch.zeros_like(faces)
        turned[..., 0, :-1, :] = -y.flip(-2).mT
        turned[..., 1, :, :-1] = x.flip(-2).mT
        faces = turned
    return faces


def coarsen(faces: Tensor, factor: int) -> Tensor:
    """Velocity on the faces of larger cells: the mean over the faces that each of them is made of.

    What flows through a face is what flows through its parts, so that no divergence comes in.

    Shapes:
        faces: ``(..., 2, n + 1, n + 1)``, as :meth:`Smoke.faces` gives them; result: the same with ``n / factor``.

    Args:
        faces: velocity.
        factor: fine cells along each side of a coarse one.

    Raises:
        ShapeError: a side that the factor does not divide.

    Example:
        >>> coarsen(torch.ones(2, 9, 9), 4).shape
        torch.Size([2, 3, 3])
    """
    side = faces.shape[-1] - 1
    if side % factor:
        raise ShapeError(f"{side} cells along a side; expected a multiple of the factor {factor}.")
    few = side // factor
    x = faces[..., 0, :-1, ::factor].reshape(*faces.shape[:-3], few, factor, few + 1).mean(-2)
    y = faces[..., 1, ::factor, :-1].reshape(*faces.shape[:-3], few + 1, few, factor).mean(-1)
    return torch.stack([functional.pad(x, (0, 0, 0, 1)), functional.pad(y, (0, 1))], -3)


def shrink(faces: Tensor, scale: float) -> Tensor:
    """Frames made smaller as the published scale set has them: bilinear, the corners staying where they are.

    Time stays as it is, so that this is what trilinear interpolation gives. Both components are taken as pictures,
    without regard to where their faces lie, and keep their unit.

    Shapes:
        faces: ``(batch, 2, n + 1, n + 1)``; result: ``(batch, 2, m, m)`` with ``m`` the whole part of
        ``(n + 1) / scale``.

    Example:
        >>> shrink(torch.ones(1, 2, 141, 141), 2.2).shape
        torch.Size([1, 2, 64, 64])
    """
    side = int(faces.shape[-1] * (1 / scale))
    return functional.interpolate(faces, size=(side, side), mode="bilinear", align_corners=True)


def make_plumes(path: str | Path, settings: PlumeSettings, *, progress: Callable[[int], None] | None = None) -> Plumes:
    """A set of plumes on disk; a second call goes on where the first stopped.

    Uses as many threads as ``torch.get_num_threads()``, each with simulations of its own. What is simulated beside what
    does not change a bit of it.

    Args:
        path: the folder of the set.
        settings: what is simulated.
        progress: called with the number of steps that have just been done, those found on disk included; there are
            ``settings.total`` for each run.

    Raises:
        FormatError: a set with other settings in the folder, or something else.
        StorageError: the folder cannot be written.

    Example:
        >>> import tempfile
        >>> settings = PlumeSettings(kind="rotation", steps=3, coarsening=8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plumes = make_plumes(folder, settings)
        ...     len(plumes.tasks), plumes.frames((3, 2)).shape
        (36, (2, 2, 8, 8))
    """
    runs = runs_of(settings)
    manifest = PlumeManifest(
        kind=settings.kind,
        settings=asdict(settings) | {"steps": settings.total},
        tasks=tuple(run.task for run in runs),
        shape=(settings.frames, 2, settings.side, settings.side),
        dtype=settings.precision,
    )
    writer = PlumeWriter(path, manifest)
    missing = [run for run in runs if run.task not in writer.done]
    told = _locked(progress)
    told((len(runs) - len(missing)) * settings.total)
    with one_thread_per_operation() as threads:
        parts = list(_parts(missing, threads))
        with closing(side_by_side(partial(_simulate, settings, told), parts, threads=threads)) as made:
            for part, frames in zip(parts, made, strict=True):
                writer.write({run.task: frames[number] for number, run in enumerate(part)})
    return open_plumes(path)


def _locked(progress: Callable[[int], None] | None) -> Callable[[int], None]:
    """The same for calls from several threads."""
    lock = Lock()

    def told(steps: int) -> None:
        if progress is not None and steps:
            with lock:
                progress(steps)

    return told


def _parts(runs: Sequence[Run], threads: int) -> Iterator[list[Run]]:
    """Runs in boxes of one size that a thread simulates side by side."""
    for side, group in groupby(runs, lambda run: run.side):
        same = list(group)
        most = max(1, min(_CELLS // side**2, -(-len(same) // threads)))
        for first in range(0, len(same), most):
            yield same[first : first + most]


def _simulate(settings: PlumeSettings, told: Callable[[int], None], stop: Event, runs: list[Run]) -> Tensor:
    """The frames ``(run, frame, 2, side, side)``; cut short where the caller has given up."""
    smoke, first = start(runs), KINDS[settings.kind].first
    frames = torch.empty(len(runs), settings.frames, 2, settings.side, settings.side, dtype=DTYPES[settings.precision])
    for step in range(settings.total):
        if stop.is_set():
            break
        smoke.step()
        if 0 <= step - first < settings.frames:
            frames[:, step - first] = _kept(settings, runs, smoke.faces())
        told(len(runs))
    return frames


def _kept(settings: PlumeSettings, runs: list[Run], faces: Tensor) -> Tensor:
    """What is kept of a step: the faces at the left of and below each cell."""
    if KINDS[settings.kind].resized:
        (run,) = runs
        faces = shrink(faces, run.scale * settings.coarsening) / run.scale
    elif settings.coarsening > 1:
        faces = coarsen(faces, settings.coarsening)
    if any(run.turns for run in runs):
        faces = torch.stack([turn(one, run.turns) for run, one in zip(runs, faces, strict=True)])
    return faces[..., : settings.side, : settings.side]
