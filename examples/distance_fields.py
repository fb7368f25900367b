"""Solid shapes held by networks: a zoo of signed distance fields, and a picture of a shape of each family.

Run it from any folder: `python distance_fields.py`. Half a minute on one core; it writes `distance_fields.png`. Above,
the shapes by their formulas; below, as the networks have them, both seen by sphere tracing; then a slice through the
middle.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import matplotlib
import torch
from torch import Tensor

from weightspace.zoo.generate import SdfSettings, make_sdf_zoo, modules
from weightspace.zoo.generate.shape import FAMILIES, distances, draw_shapes

matplotlib.use("agg")
from matplotlib import pyplot

LIGHT = torch.nn.functional.normalize(torch.tensor([-0.5, 0.7, -0.6]), dim=0)


def plane(side: int, depth: float) -> Tensor:
    """Points of a square across the cube: `(side, side, 3)`, from the top left."""
    across = torch.linspace(-1, 1, side)
    up, right = torch.meshgrid(across.flip(0), across, indexing="ij")
    return torch.stack([right, up, torch.full_like(up, depth)], -1)


def shaded(field: Callable[[Tensor], Tensor], side: int = 160) -> Tensor:
    """What is seen from the front: every ray goes on by the distance that it is told until it is at the surface."""
    points = plane(side, -1.0).reshape(-1, 3)
    for _ in range(80):
        points = points + field(points)[:, None] * torch.tensor([0.0, 0.0, 1.0]) * (points[:, 2:] < 1)
    steps = 1e-3 * torch.eye(3)
    normal = torch.nn.functional.normalize(torch.stack([field(points + e) - field(points - e) for e in steps], -1))
    bright = 0.15 + 0.85 * (normal @ LIGHT).clamp(min=0)
    return torch.where(points[:, 2] < 1, bright, 1.0).view(side, side)


def asked(network: torch.nn.Module, points: Tensor) -> Tensor:
    """The distances that a network tells."""
    with torch.no_grad():
        return network(points)[:, 0]


def main(folder: str = "example", count: int = 64) -> Path:
    """Makes the zoo and draws one shape of each family."""
    zoo = make_sdf_zoo(f"{folder}/shapes", SdfSettings(), count=count)
    for name in ("error", "surface_error"):
        print(f"{name} of {len(zoo)} networks: {zoo.column(name).mean():.4f}, at worst {zoo.column(name).max():.4f}")
    figure, axes = pyplot.subplots(3, len(FAMILIES), figsize=(10, 6.2), layout="constrained")
    for column, family in enumerate(FAMILIES):
        row = zoo.column("label").tolist().index(column)
        shape = draw_shapes([int(zoo.column("number")[row])], 0)
        network = modules(zoo, row)[0]
        fields = [lambda points, shape=shape: distances(shape, points)[0], partial(asked, network)]
        for place, field in enumerate(fields):
            axes[place, column].imshow(shaded(field).numpy(), cmap="gray", vmin=0, vmax=1)
        slices = [field(plane(100, 0.0).reshape(-1, 3)).view(100, 100) for field in fields]
        axes[2, column].imshow(slices[1].numpy(), cmap="RdBu", vmin=-1, vmax=1, extent=(-1, 1, -1, 1))
        for value, colour in zip(slices, ("black", "orange"), strict=True):
            axes[2, column].contour(value.numpy(), [0.0], colors=colour, extent=(-1, 1, 1, -1), linewidths=1)
        axes[0, column].set_title(family)
    for ax, name in zip(axes[:, 0], ("formula", "network", "slice"), strict=True):
        ax.set_ylabel(name)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    path = Path(folder) / "distance_fields.png"
    figure.savefig(path, dpi=80)
    pyplot.close(figure)
    return path


if __name__ == "__main__":
    main()
