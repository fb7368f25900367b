r"""Smoke that rises in closed boxes: many simulations side by side, on a staggered grid.

Smoke is known at the centres of cells, velocity on their faces (a MAC grid): its x component where two cells are
neighbours in a row, its y component where they are in a column. Cells have side 1, rows run along y, and nothing passes
a wall. A step of a simulation with inflow :math:`I`, force per smoke :math:`f` and time step :math:`\Delta t`:

1. Smoke is carried along by the velocity for a time of 1, by MacCormack's scheme. With :math:`A` the lookup against the
   velocity and :math:`A^-` the one along it, it becomes :math:`A s + (s - A^- A s) / 2`, held within the four values
   that :math:`A` looked up; then the inflow is added.
2. Velocity is carried along by itself for a time of :math:`\Delta t` (semi-Lagrangian: one lookup), and each face
   is pushed by :math:`f s`, the mean of its two cells.
3. The gradient of a pressure is subtracted that leaves no divergence. The Laplacian with Neumann boundaries is diagonal
   in cosines, so that the pressure is exact up to rounding, by products with matrices as small as a side of the box.

Beyond the walls smoke goes on as it is at the wall; velocity is zero there.

References:
    Selle, Fedkiw, Kim, Liu, Rossignac, *An Unconditionally Stable MacCormack Method*, J. Sci. Comput. 2008, with the
    limiter of section 4; Stam, *Stable Fluids*, SIGGRAPH 1999; Harlow, Welch, Phys. Fluids 1965 (the grid).
"""

import torch
from torch import Tensor

from weightspace.errors import DataError, ShapeError

__all__ = ["Lookup", "Pressure", "Smoke"]


class Lookup:
    """Bilinear values of fields at points anywhere; beyond its border a field goes on as it is there.

    Args:
        points: how many per simulation, and before it how many simulations: ``(simulations, points)``.
        field: rows and columns of the fields.
        like: a tensor of the type to compute in.

    Attributes:
        corners: the four values around each point, of the last call.

    Example:
        >>> ramp = torch.arange(12.0).reshape(1, 3, 4)
        >>> lookup = Lookup((1, 2), (3, 4), ramp)
        >>> lookup(ramp, torch.tensor([[0.5, 9.0]]), torch.tensor([[1.25, -1.0]]))
        tensor([[3.2500, 8.0000]])
    """

    def __init__(self, points: tuple[int, int], field: tuple[int, int], like: Tensor) -> None:
        self.field = field
        self.corners = [like.new_empty(points) for _ in range(4)]
        self._row, self._column = like.new_empty(points), like.new_empty(points)
        self._index = torch.empty(points, dtype=torch.int64)

    def __call__(self, fields: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """The values, in memory that the next call uses again. Rows and columns are used up.

        Shapes:
            fields: ``(simulation, row, column)``; rows, columns, result: ``(simulation, point)``.
        """
        height, width = self.field
        # The last row is looked up as the end of the row before it, so that four corners always exist.
        torch.floor(rows.clamp_(0, height - 1), out=self._row).clamp_(max=height - 2)
        torch.floor(columns.clamp_(0, width - 1), out=self._column).clamp_(max=width - 2)
        rows.sub_(self._row)
        columns.sub_(self._column)
        # Exact in single precision up to 2^24 values.
        self._index.copy_(self._column.add_(self._row, alpha=width))
        flat = fields.flatten(1)
        for corner, shift in zip(self.corners, (0, 1, width, width + 1), strict=True):
            torch.gather(flat[:, shift:], 1, self._index, out=corner)
        low_low, low_high, high_low, high_high = self.corners
        torch.lerp(low_low, low_high, columns, out=self._row)
        torch.lerp(high_low, high_high, columns, out=self._column)
        return torch.lerp(self._row, self._column, rows, out=self._row)

    def limits(self, low: Tensor, high: Tensor) -> None:
        """Writes the least and the greatest of the four values around each point."""
        first, second, third, fourth = self.corners
        for choose, out in ((torch.minimum, low), (torch.maximum, high)):
            choose(first, second, out=self._column)
            choose(third, fourth, out=out)
            choose(self._column, out, out=out)


class Pressure:
    r"""The pressure whose Laplacian is a given divergence, with no flow through the walls.

    The matrix :math:`C_{ki} = c_k \cos(\pi k (i + 1/2) / n)` is orthogonal and diagonalises second differences with
    Neumann boundaries: :math:`\lambda_k = 2 - 2 \cos(\pi k / n)`. So :math:`p = -C^T ((C d C'^T)_{kl} / (\lambda_k +
    \lambda'_l)) C'`; the constant, of which the Laplacian knows nothing, is zero.

    Args:
        height: rows.
        width: columns.
        like: a tensor of the type to compute in.

    Example:
        >>> pressure = Pressure(2, 3, torch.zeros(0, dtype=torch.float64))(torch.eye(2, 3, dtype=torch.float64)[None])
        >>> bool(pressure.sum().abs() < 1e-12)
        True
    """

    def __init__(self, height: int, width: int, like: Tensor) -> None:
        (self._down, first), (self._across, second) = (_cosines(side) for side in (height, width))
        total = first[:, None] + second
        total[0, 0] = torch.inf
        self._factors = (-1 / total).to(like.dtype)
        self._down, self._across = self._down.to(like.dtype), self._across.to(like.dtype)

    def __call__(self, divergence: Tensor) -> Tensor:
        """Shapes: divergence, result: ``(simulation, row, column)``."""
        simulations = len(divergence)
        # A product of its own for each simulation: what one is given then depends on no other, to the bit.
        down, across = (matrix.expand(simulations, -1, -1) for matrix in (self._down, self._across))
        spectrum = torch.bmm(torch.bmm(down, divergence), across.mT).mul_(self._factors)
        return torch.bmm(torch.bmm(down.mT, spectrum), across)


class Smoke:
    """Simulations that take their steps together; none of them depends on another, to the bit.

    Shapes:
        inflow: ``(simulation, height, width)``; force: ``(simulation, 2, height, width)``; time_step:
        ``(simulation,)``.

    Args:
        inflow: smoke that comes in at each step. It decides whether to compute in float32 or float64.
        force: on a unit of smoke in each cell, x and y component. Any two sizes broadcast: 1 in place of height
            or width.
        time_step: for which velocity carries itself along in each step.

    Attributes:
        time: steps so far.

    Symmetry:
        Turning inflow and force of a square box by a right angle turns smoke and velocity.

    Raises:
        ShapeError: sizes that do not fit.
        DataError: a value that is not finite, or another type.

    Example:
        >>> inflow = torch.zeros(1, 8, 8, dtype=torch.float64)
        >>> inflow[:, 1, 3:5] = 1
        >>> smoke = Smoke(inflow, torch.tensor([0, 0.1]).reshape(1, 2, 1, 1).double(), torch.ones(1).double())
        >>> for _ in range(10):
        ...     smoke.step()
        >>> smoke.faces().shape, bool(smoke.faces()[0, 1, 2, 4] > 0), bool(smoke.divergence().abs().max() < 1e-12)
        (torch.Size([1, 2, 9, 9]), True, True)
    """

    def __init__(self, inflow: Tensor, force: Tensor, time_step: Tensor) -> None:
        _check(inflow, force, time_step)
        count, height, width = inflow.shape
        self.time = 0
        self._inflow = inflow
        self._force = force.expand(count, 2, height, width)
        self._pushed = [bool(component.any()) for component in self._force.unbind(1)]
        self._time_step = time_step[:, None, None]
        # One row or column more on each side that has no wall faces: what lies beyond the walls.
        self._smoke = inflow.new_zeros(count, height + 2, width + 2)
        self._x = inflow.new_zeros(count, height + 2, width + 1)
        self._y = inflow.new_zeros(count, height + 1, width + 2)
        self._pressure = Pressure(height, width, inflow)
        self._lookups = [
            Lookup((count, rows * columns), (field.shape[1], field.shape[2]), inflow)
            for field, (rows, columns) in zip((self._smoke, self._x, self._y), self._sizes, strict=True)
        ]
        self._allocate()

    @property
    def smoke(self) -> Tensor:
        """At the centres of the cells, ``(simulation, height, width)``; a view of what the next step changes."""
        return self._smoke[:, 1:-1, 1:-1]

    def faces(self) -> Tensor:
        """Velocity, ``(simulation, 2, height + 1, width + 1)``, a copy.

        Entry ``[0, i, j]`` is the x component on the face at ``x = j`` of row ``i``, ``[1, i, j]`` the y component on
        the face at ``y = i`` of column ``j``. The last row of the one and the last column of the other are zero.
        """
        return torch.stack([self._x[:, 1:], self._y[:, :, 1:]], 1)

    def divergence(self) -> Tensor:
        """What flows out of each cell, ``(simulation, height, width)``: zero up to rounding after each step."""
        x, y = self._x[:, 1:-1], self._y[:, :, 1:-1]
        return (x[:, :, 1:] - x[:, :, :-1]).add_(y[:, 1:]).sub_(y[:, :-1])

    def step(self) -> None:
        """One step of all simulations."""
        # Sums of neighbours: half of them is the velocity at the centres, a quarter of two the one on other faces.
        torch.add(self._x[:, :, :-1], self._x[:, :, 1:], out=self._x_sums)
        torch.add(self._y[:, :-1], self._y[:, 1:], out=self._y_sums)
        self._carry_smoke()
        self._carry_velocity()
        self._push()
        self._project()
        self.time += 1

    @property
    def _sizes(self) -> tuple[tuple[int, int], ...]:
        """Rows and columns of what is moved: smoke, and the faces between cells."""
        height, width = self._inflow.shape[1:]
        return (height, width), (height, width - 1), (height - 1, width)

    def _allocate(self) -> None:
        count, height, width = self._inflow.shape
        empty, like = self._inflow.new_empty, self._inflow
        self._x_sums, self._y_sums = empty(count, height + 2, width), empty(count, height, width + 2)
        self._carried = torch.zeros_like(self._smoke)
        self._low, self._high = empty(count, height * width), empty(count, height * width)
        self._rows = [empty(count, rows, columns) for rows, columns in self._sizes]
        self._columns = [empty(count, rows, columns) for rows, columns in self._sizes]
        self._speeds = [empty(count, rows, columns) for rows, columns in self._sizes]
        # Where each centre and face lies in its own field, which may begin beyond a wall.
        down, across = (torch.arange(1, side + 1, dtype=like.dtype) for side in (height, width))
        self._places = [(down[:, None], across), (down[:, None], across[:-1]), (down[:-1, None], across)]

    def _carry_smoke(self) -> None:
        lookup, (rows, columns) = self._lookups[0], self._places[0]
        x, y = self._x_sums[:, 1:-1], self._y_sums[:, :, 1:-1]
        torch.add(rows, y, alpha=-0.5, out=self._rows[0])
        torch.add(columns, x, alpha=-0.5, out=self._columns[0])
        carried = self._carried[:, 1:-1, 1:-1]
        back = lookup(self._smoke, self._rows[0].flatten(1), self._columns[0].flatten(1))
        carried.copy_(back.view_as(carried))
        lookup.limits(self._low, self._high)
        _extend(self._carried)
        torch.add(rows, y, alpha=0.5, out=self._rows[0])
        torch.add(columns, x, alpha=0.5, out=self._columns[0])
        again = lookup(self._carried, self._rows[0].flatten(1), self._columns[0].flatten(1)).view_as(carried)
        moved = again.sub_(self.smoke).mul_(-0.5).add_(carried)
        low, high = self._low.view_as(moved), self._high.view_as(moved)
        torch.clamp(moved, low, high, out=moved)
        torch.add(moved, self._inflow, out=self.smoke)
        _extend(self._smoke)

    def _carry_velocity(self) -> None:
        """Leaves the carried components in memory of the lookups: both are looked up in the velocity as it was."""
        y_on_x, x_on_y = self._speeds[1:]
        torch.add(self._y_sums[:, :, 1:-2], self._y_sums[:, :, 2:-1], out=y_on_x).mul_(0.25)
        torch.add(self._x_sums[:, 1:-2], self._x_sums[:, 2:-1], out=x_on_y).mul_(0.25)
        x, y = self._x[:, 1:-1, 1:-1], self._y[:, 1:-1, 1:-1]
        carried = []
        for face, (field, x_speed, y_speed) in enumerate(((self._x, x, y_on_x), (self._y, x_on_y, y)), start=1):
            rows, columns = self._places[face]
            torch.addcmul(rows, self._time_step, y_speed, value=-1, out=self._rows[face])
            torch.addcmul(columns, self._time_step, x_speed, value=-1, out=self._columns[face])
            found = self._lookups[face](field, self._rows[face].flatten(1), self._columns[face].flatten(1))
            carried.append(found.view_as(y_speed))
        x.copy_(carried[0])
        y.copy_(carried[1])

    def _push(self) -> None:
        """Adds the force, the mean of the two cells of each face."""
        for component, (velocity, axis) in enumerate(((self._x, 2), (self._y, 1))):
            if self._pushed[component]:
                pushed = torch.mul(self.smoke, self._force[:, component], out=self._rows[0])
                faces, side = velocity[:, 1:-1, 1:-1], pushed.shape[axis] - 1
                faces.add_(pushed.narrow(axis, 0, side), alpha=0.5).add_(pushed.narrow(axis, 1, side), alpha=0.5)

    def _project(self) -> None:
        pressure = self._pressure(self.divergence())
        self._x[:, 1:-1, 1:-1].sub_(pressure[:, :, 1:]).add_(pressure[:, :, :-1])
        self._y[:, 1:-1, 1:-1].sub_(pressure[:, 1:]).add_(pressure[:, :-1])


def _extend(field: Tensor) -> None:
    """Beyond the walls smoke is as it is at the wall."""
    field[:, 0].copy_(field[:, 1])
    field[:, -1].copy_(field[:, -2])
    field[:, :, 0].copy_(field[:, :, 1])
    field[:, :, -1].copy_(field[:, :, -2])


def _cosines(side: int) -> tuple[Tensor, Tensor]:
    """The orthogonal matrix of the discrete cosine transform, and the eigenvalue that belongs to each row."""
    numbers = torch.arange(side, dtype=torch.float64)
    matrix = torch.cos(torch.pi / side * numbers[:, None] * (numbers + 0.5)).mul_((2 / side) ** 0.5)
    matrix[0] = side**-0.5
    return matrix, 2 - 2 * torch.cos(torch.pi / side * numbers)


def _check(inflow: Tensor, force: Tensor, time_step: Tensor) -> None:
    if inflow.ndim != 3 or min(inflow.shape) < 1 or min(inflow.shape[1:]) < 2:
        raise ShapeError(
            f"inflow has shape {tuple(inflow.shape)}; expected (simulation, height, width), none of them 0 and two "
            f"cells or more along each side."
        )
    wanted = (len(inflow), 2, *inflow.shape[1:])
    fits = force.ndim == 4 and all(size in (1, full) for size, full in zip(force.shape, wanted, strict=True))
    if not fits or force.shape[1] != 2 or time_step.shape != inflow.shape[:1]:
        raise ShapeError(
            f"force has shape {tuple(force.shape)} and time_step {tuple(time_step.shape)}; expected {wanted} (or 1 in "
            f"place of a size but the 2) and ({len(inflow)},), one per simulation of the inflow."
        )
    for name, tensor in (("inflow", inflow), ("force", force), ("time_step", time_step)):
        if tensor.dtype not in (torch.float32, torch.float64) or tensor.dtype != inflow.dtype:
            raise DataError(f"{name} has type {tensor.dtype}; expected all three in float32 or all in float64.")
        if not tensor.isfinite().all():
            raise DataError(f"{name} holds a value that is not finite. Remedy: look where it comes from.")
