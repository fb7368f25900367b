r"""Solid shapes by formula: spheres, boxes, tori, capsules and unions of two, with the signed distance to each.

The signed distance of a point is its distance to the surface, negative inside. In a shape's own frame, with :math:`p`
the point and sizes :math:`a, b, c`:

* sphere: :math:`|p| - a`;
* box: with :math:`q = |p| - (a, b, c)` entry by entry, :math:`|\max(q, 0)| + \min(\max_i q_i, 0)`;
* torus about the third axis: :math:`|(|(p_1, p_2)| - a,\, p_3)| - b`;
* capsule along the third axis: :math:`|p - (0, 0, \mathrm{clamp}(p_3, -a, a))| - b`.

A union is the smaller one of its parts' distances: exact outside, and inside a lower bound of the depth.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weightspace.zoo.generate.draw import stream

__all__ = ["FAMILIES", "Shapes3d", "distances", "draw_shapes", "sample_points"]

FAMILIES = ("sphere", "box", "torus", "capsule", "union")
"""What a shape is; the position is its label."""

_PRIMITIVES = 4
# Points from which those nearest to the surface are taken, for each that is wanted.
_CANDIDATES = 8


@dataclass(frozen=True, eq=False)
class Shapes3d:
    """Some shapes, each of one or two parts.

    Shapes:
        labels: ``(n,)``, int64; parts: ``(n, 2)``, int64; centres, sizes: ``(n, 2, 3)``; frames: ``(n, 2, 3, 3)``.

    Args:
        labels: the family of each.
        parts: the primitive of each part; -1 where there is no second one.
        centres: of the parts.
        frames: rotations; the rows are the axes of a part's own frame.
        sizes: of the parts, as the formulas have them.
    """

    labels: Tensor
    parts: Tensor
    centres: Tensor
    frames: Tensor
    sizes: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def draw_shapes(numbers: list[int], seed: int) -> Shapes3d:
    """Shapes of random family, pose and size, each drawn by the seed and its number alone.

    Families are equally likely; a union has two different primitives that overlap. All lie within the ball of
    radius 0.9 about the origin.

    Args:
        numbers: of the shapes, not negative.
        seed: not negative.

    Example:
        >>> one, both = (draw_shapes(numbers, 0) for numbers in ([4], [2, 4]))
        >>> torch.equal(one.centres[0], both.centres[1]), FAMILIES[int(one.labels[0])]
        (True, 'torus')
    """
    drawn = [_drawn(stream(seed, number, "examples")) for number in numbers]
    labels, parts, *others = (np.stack(column) for column in zip(*drawn, strict=True))
    centres, frames, sizes = (torch.from_numpy(column).float() for column in others)
    return Shapes3d(torch.from_numpy(labels), torch.from_numpy(parts), centres, frames, sizes)


def distances(shapes: Shapes3d, points: Tensor) -> Tensor:
    """Signed distances of points to shapes.

    Shapes:
        points: ``(point, 3)`` for all shapes alike, or ``(shape, point, 3)``; result: ``(shape, point)``.

    Example:
        >>> ball = Shapes3d(
        ...     *(torch.tensor(value) for value in ([0], [[0, -1]])),
        ...     torch.zeros(1, 2, 3),
        ...     torch.eye(3).expand(1, 2, 3, 3),
        ...     torch.full((1, 2, 3), 0.5),
        ... )
        >>> distances(ball, torch.tensor([[0.0, 0.0, 0.0], [0.0, 2.0, 0.0]]))
        tensor([[-0.5000,  1.5000]])
    """
    away = points.expand(len(shapes), -1, -1)[:, None] - shapes.centres[:, :, None]
    own = away @ shapes.frames.mT
    sizes = shapes.sizes[:, :, None]
    found = torch.stack([_sphere(own, sizes), _box(own, sizes), _torus(own, sizes), _capsule(own, sizes)])
    chosen = shapes.parts.clamp(min=0)[None, :, :, None].expand(1, *found.shape[1:])
    of_parts = found.gather(0, chosen)[0]
    return of_parts.masked_fill((shapes.parts < 0)[..., None], torch.inf).amin(1)


def sample_points(shapes: Shapes3d, numbers: list[int], count: int, seed: int, part: int) -> Tensor:
    """Points of the cube from -1 to 1: half of them anywhere, then half near the surface.

    Those near it are, of eight times as many, the ones of the smallest distance.

    Shapes:
        result: ``(shape, count, 3)``.

    Args:
        shapes: to sample about.
        numbers: of the shapes; a shape's points hang on the seed, its number and the part alone.
        count: points of each.
        seed: not negative.
        part: points to learn from and points to be asked at are different ones.

    Example:
        >>> sample_points(draw_shapes([3], 0), [3], 10, 0, 0).shape
        torch.Size([1, 10, 3])
    """
    near = count // 2
    draws = [np.random.default_rng([seed, part, number]) for number in numbers]
    anywhere = _cube([draw.uniform(-1, 1, (count - near, 3)) for draw in draws])
    candidates = _cube([draw.uniform(-1, 1, (_CANDIDATES * near, 3)) for draw in draws])
    order = distances(shapes, candidates).abs().argsort(dim=1, stable=True)[:, :near, None].expand(-1, -1, 3)
    return torch.cat([anywhere, candidates.gather(1, order)], 1)


def _cube(draws: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(draws)).float()


def _drawn(chance: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Label, primitives, centres, frames and sizes of one shape."""
    label = int(chance.integers(len(FAMILIES)))
    alone = label < _PRIMITIVES
    parts = np.array([label, -1]) if alone else chance.permutation(_PRIMITIVES)[:2]
    sizes = np.stack([_sizes(int(part), chance) * (1.0 if alone else 0.75) for part in parts])
    frames = np.stack([_rotation(chance) for _ in parts])
    middle = _within(chance, 0.2)
    # Centres closer than the smallest size: the second part's centre lies in the first, or in the torus's hole.
    centres = np.stack([middle, middle + (0.0 if alone else _within(chance, 0.3))])
    return np.array(label), parts.astype(np.int64), centres, frames, sizes


def _sizes(part: int, chance: np.random.Generator) -> np.ndarray:
    """Sizes for which no primitive leaves the ball of radius 0.65 about its centre."""
    drawn = chance.uniform(0.0, 1.0, 3)
    match part:
        case 1:
            return 0.2 + 0.17 * drawn
        case 2:
            return np.array([0.3 + 0.15 * drawn[0], 0.08 + 0.12 * drawn[1], 0.0])
        case 3:
            return np.array([0.2 + 0.2 * drawn[0], 0.1 + 0.15 * drawn[1], 0.0])
        case _:
            return np.array([0.25 + 0.35 * drawn[0], 0.0, 0.0])


def _rotation(chance: np.random.Generator) -> np.ndarray:
    """A rotation, all equally likely: by a unit quaternion."""
    w, x, y, z = (q := chance.standard_normal(4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _within(chance: np.random.Generator, radius: float) -> np.ndarray:
    """A point of a ball, all equally likely."""
    direction = chance.standard_normal(3)
    return radius * chance.random() ** (1 / 3) * direction / np.linalg.norm(direction)


def _sphere(point: Tensor, sizes: Tensor) -> Tensor:
    return point.norm(dim=-1) - sizes[..., 0]


def _box(point: Tensor, sizes: Tensor) -> Tensor:
    beyond = point.abs() - sizes
    return beyond.clamp(min=0).norm(dim=-1) + beyond.amax(-1).clamp(max=0)


def _torus(point: Tensor, sizes: Tensor) -> Tensor:
    ring = point[..., :2].norm(dim=-1) - sizes[..., 0]
    return torch.hypot(ring, point[..., 2]) - sizes[..., 1]


def _capsule(point: Tensor, sizes: Tensor) -> Tensor:
    along = point[..., 2]
    nearest = torch.minimum(torch.maximum(along, -sizes[..., 0]), sizes[..., 0])
    return torch.hypot(point[..., :2].norm(dim=-1), along - nearest) - sizes[..., 1]
