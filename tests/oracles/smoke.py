"""One simulation of smoke, one number at a time: what a point looks up, where it came from, who its neighbours are."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass
class Box:
    """Smoke `(height, width)`, velocity on faces `(height, width + 1)` and `(height + 1, width)`."""

    inflow: np.ndarray
    force: np.ndarray
    time_step: float

    def __post_init__(self) -> None:
        self.height, self.width = self.inflow.shape
        self.smoke = np.zeros((self.height, self.width))
        self.x = np.zeros((self.height, self.width + 1))
        self.y = np.zeros((self.height + 1, self.width))

    def smoke_at(self, row: int, column: int) -> float:
        """Beyond the walls as at the wall."""
        return self.smoke[min(max(row, 0), self.height - 1), min(max(column, 0), self.width - 1)]

    def x_at(self, row: int, column: int) -> float:
        return self.x[row, column] if 0 <= row < self.height and 0 <= column <= self.width else 0.0

    def y_at(self, row: int, column: int) -> float:
        return self.y[row, column] if 0 <= row <= self.height and 0 <= column < self.width else 0.0

    def velocity(self, row: float, column: float) -> tuple[float, float]:
        """At a point of the plane, in cells from the corner: centres of cells lie at halves."""
        return bilinear(self.x_at, row - 0.5, column)[0], bilinear(self.y_at, row, column - 0.5)[0]

    def step(self) -> None:
        self.move_smoke()
        self.move_velocity()
        self.project()

    def move_smoke(self) -> None:
        cells = [(row, column) for row in range(self.height) for column in range(self.width)]
        speeds = {(row, column): self.velocity(row + 0.5, column + 0.5) for row, column in cells}
        before = self.smoke.copy()
        back, low, high = np.zeros_like(before), np.zeros_like(before), np.zeros_like(before)
        for row, column in cells:
            x, y = speeds[row, column]
            back[row, column], corners = bilinear(self.smoke_at, row - y, column - x)
            low[row, column], high[row, column] = min(corners), max(corners)
        self.smoke = back
        moved = np.zeros_like(before)
        for row, column in cells:
            x, y = speeds[row, column]
            again, _ = bilinear(self.smoke_at, row + y, column + x)
            value = back[row, column] + (before[row, column] - again) / 2
            moved[row, column] = min(max(value, low[row, column]), high[row, column])
        self.smoke = moved + self.inflow

    def move_velocity(self) -> None:
        x_new, y_new = self.x.copy(), self.y.copy()
        for row in range(self.height):
            for column in range(1, self.width):
                x, y = self.velocity(row + 0.5, column)
                carried, _ = bilinear(self.x_at, row - self.time_step * y, column - self.time_step * x)
                pushes = [self.smoke[row, cell] * self.force[0, row, cell] for cell in (column - 1, column)]
                x_new[row, column] = carried + sum(pushes) / 2
        for row in range(1, self.height):
            for column in range(self.width):
                x, y = self.velocity(row, column + 0.5)
                carried, _ = bilinear(self.y_at, row - self.time_step * y, column - self.time_step * x)
                pushes = [self.smoke[cell, column] * self.force[1, cell, column] for cell in (row - 1, row)]
                y_new[row, column] = carried + sum(pushes) / 2
        self.x, self.y = x_new, y_new

    def divergence(self) -> np.ndarray:
        return self.x[:, 1:] - self.x[:, :-1] + self.y[1:] - self.y[:-1]

    def project(self) -> None:
        """The pressure by least squares on the matrix of the Laplacian, written entry by entry."""
        pressure = dense_pressure(self.divergence())
        self.x[:, 1:-1] -= pressure[:, 1:] - pressure[:, :-1]
        self.y[1:-1] -= pressure[1:] - pressure[:-1]


def bilinear(value: Callable[[int, int], float], row: float, column: float) -> tuple[float, list[float]]:
    """The value at a point between four, and the four."""
    top, left = math.floor(row), math.floor(column)
    down, right = row - top, column - left
    corners = [value(top + i, left + j) for i in (0, 1) for j in (0, 1)]
    weights = [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right]
    return sum(weight * corner for weight, corner in zip(weights, corners, strict=True)), corners


def dense_pressure(divergence: np.ndarray) -> np.ndarray:
    """The solution of least norm: of all that differ by a constant, the one with mean zero."""
    height, width = divergence.shape
    matrix = np.zeros((height, width, height, width))
    for row in range(height):
        for column in range(width):
            for i, j in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if 0 <= i < height and 0 <= j < width:
                    matrix[row, column, i, j] += 1
                    matrix[row, column, row, column] -= 1
    flat = matrix.reshape(height * width, -1)
    return np.linalg.lstsq(flat, divergence.reshape(-1), rcond=None)[0].reshape(height, width)
