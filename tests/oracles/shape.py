"""Distances to shapes by their surfaces: the nearest of very many points on it, and whether a point lies inside."""

import numpy as np

RNG = np.random.default_rng(0)
COUNT = 60_000


def surface(part: int, a: float, b: float, c: float) -> np.ndarray:
    """Points that cover the surface of a primitive in its own frame."""
    u, v = RNG.random(COUNT), RNG.random(COUNT)
    if part == 0:
        return a * _directions()
    if part == 1:
        points = RNG.uniform(-1, 1, (COUNT, 3)) * [a, b, c]
        side, axis = RNG.choice([-1.0, 1.0], COUNT), RNG.integers(3, size=COUNT)
        points[np.arange(COUNT), axis] = side * np.array([a, b, c])[axis]
        return points
    if part == 2:
        turn, tube = 2 * np.pi * u, 2 * np.pi * v
        ring = a + b * np.cos(tube)
        return np.stack([ring * np.cos(turn), ring * np.sin(turn), b * np.sin(tube)], 1)
    turn = 2 * np.pi * u
    wall = np.stack([b * np.cos(turn), b * np.sin(turn), a * (2 * v - 1)], 1)
    caps = b * _directions()
    caps[:, 2] += a * np.sign(caps[:, 2])
    return np.concatenate([wall, caps])


def inside(part: int, point: np.ndarray, a: float, b: float, c: float) -> bool:
    """Whether a point of a primitive's own frame lies in it."""
    x, y, z = point
    if part == 0:
        return x * x + y * y + z * z < a * a
    if part == 1:
        return abs(x) < a and abs(y) < b and abs(z) < c
    if part == 2:
        return (np.sqrt(x * x + y * y) - a) ** 2 + z * z < b * b
    return any(x * x + y * y + (z - end) ** 2 < b * b for end in (a, -a)) or (x * x + y * y < b * b and abs(z) < a)


def signed_distance(part: int, points: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Of points in a primitive's own frame."""
    cover = surface(part, *sizes)
    return np.array([np.sqrt(((cover - p) ** 2).sum(1).min()) * (-1 if inside(part, p, *sizes) else 1) for p in points])


def _directions() -> np.ndarray:
    drawn = RNG.standard_normal((COUNT, 3))
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
