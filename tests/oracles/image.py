"""Variations of images, pixel by pixel."""

import math

import numpy as np


def turned(picture: np.ndarray, degrees: float) -> np.ndarray:
    """Counter-clockwise about the middle, bilinear, black outside. Heights are measured upwards."""
    height, width = picture.shape
    angle, out = math.radians(degrees), np.zeros_like(picture)

    def level(row: int, column: int) -> int:
        return int(picture[row, column]) if 0 <= row < height and 0 <= column < width else 0

    for row in range(height):
        for column in range(width):
            x, y = column - (width - 1) / 2, (height - 1) / 2 - row
            # What is here now was an angle further clockwise.
            length, direction = math.hypot(x, y), math.atan2(y, x) - angle
            old_row = (height - 1) / 2 - length * math.sin(direction)
            old_column = (width - 1) / 2 + length * math.cos(direction)
            top, left = math.floor(old_row), math.floor(old_column)
            total = 0.0
            for i in (top, top + 1):
                for j in (left, left + 1):
                    total += (1 - abs(old_row - i)) * (1 - abs(old_column - j)) * level(i, j)
            out[row, column] = round(total)
    return out


def covered(picture: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """Ink before something else."""
    out = np.zeros_like(picture)
    for place, ink in np.ndenumerate(picture):
        share = int(ink) / 255
        out[place] = round(255 * (share + (1 - share) * behind[place] / 255))
    return out


def noise(white: np.ndarray, width: float, size: int) -> np.ndarray:
    """Levels of smoothed noise, from white noise with a margin."""
    reach = math.ceil(3 * width)

    def weight(d: int) -> float:
        return math.exp(-d * d / (2 * width * width)) if width else 1.0

    scale = sum(weight(d) ** 2 for d in range(-reach, reach + 1))
    out = np.zeros((size, size))
    for row in range(size):
        for column in range(size):
            total = 0.0
            for i in range(-reach, reach + 1):
                for j in range(-reach, reach + 1):
                    total += weight(i) * weight(j) / scale * white[row + reach + i, column + reach + j]
            out[row, column] = 255 * (1 + math.erf(total / math.sqrt(2))) / 2
    return out


def wider(picture: np.ndarray) -> int:
    """The class of an outline, read off its pixels."""
    rows, columns = ({int(i) for i in np.argwhere(picture)[:, axis]} for axis in (0, 1))
    return int(len(columns) > len(rows))
