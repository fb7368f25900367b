"""Changes of images in plain loops, level by level and pixel by pixel."""

import math
from fractions import Fraction

Grid = list[list[int]]


def dilated(image: Grid) -> Grid:
    """The largest of the pixels about each."""
    height, width = len(image), len(image[0])
    return [
        [
            max(
                image[r][c]
                for r in range(max(0, row - 1), min(height, row + 2))
                for c in range(max(0, column - 1), min(width, column + 2))
            )
            for column in range(width)
        ]
        for row in range(height)
    ]


def equalised(image: Grid, tiles: int = 3, clip: float = 1.0) -> Grid:
    """Contrast-limited adaptive histogram equalisation."""
    height, width = len(image), len(image[0])
    tall, wide = math.ceil(height / tiles), math.ceil(width / tiles)
    maps = [
        [
            _mapping(
                [
                    image[_reflected(row, height)][_reflected(column, width)]
                    for row in range(i * tall, (i + 1) * tall)
                    for column in range(j * wide, (j + 1) * wide)
                ],
                clip,
            )
            for j in range(tiles)
        ]
        for i in range(tiles)
    ]
    return [
        [_mixed(maps, _place(row, tall), _place(column, wide), image[row][column], tiles) for column in range(width)]
        for row in range(height)
    ]


def _place(pixel: int, side: int) -> Fraction:
    """Of a pixel among the middles of tiles, the first of which is at 0."""
    return Fraction(pixel, side) - Fraction(1, 2)


def _reflected(place: int, size: int) -> int:
    return place if place < size else 2 * (size - 1) - place


def _mapping(pixels: list[int], clip: float) -> list[int]:
    counts = [0] * 256
    for pixel in pixels:
        counts[pixel] += 1
    limit, excess = max(1, math.floor(clip * len(pixels) / 256)), 0
    for level in range(256):
        while counts[level] > limit:
            counts[level] -= 1
            excess += 1
    whole, rest = divmod(excess, 256)
    for level in range(256):
        counts[level] += whole
    level, step = 0, max(1, 256 // rest) if rest else 1
    while rest and level < 256:
        counts[level] += 1
        level, rest = level + step, rest - 1
    made, total = [], 0
    for count in counts:
        total += count
        made.append(min(255, round(Fraction(total * 255, len(pixels)))))
    return made


def _mixed(maps: list[list[list[int]]], down: Fraction, along: Fraction, level: int, tiles: int) -> int:
    total = Fraction(0)
    for i in (math.floor(down), math.floor(down) + 1):
        for j in (math.floor(along), math.floor(along) + 1):
            weight = (1 - abs(down - i)) * (1 - abs(along - j))
            total += weight * maps[min(max(i, 0), tiles - 1)][min(max(j, 0), tiles - 1)][level]
    return round(total)


def lab(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """CIELAB, white D65, of sRGB colours between 0 and 1."""
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue))
    x = 0.412453 * r + 0.357580 * g + 0.180423 * b
    y = 0.212671 * r + 0.715160 * g + 0.072169 * b
    z = 0.019334 * r + 0.119193 * g + 0.950227 * b
    whites = (0.412453 + 0.357580 + 0.180423, 1.0, 0.019334 + 0.119193 + 0.950227)
    fx, fy, fz = (_bent(value / white) for value, white in zip((x, y, z), whites, strict=True))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def _bent(t: float) -> float:
    return t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29
