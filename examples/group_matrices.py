"""Draws group matrices: equal colours are equal entries.

    python examples/group_matrices.py [--out matrices.png]

On top circulants of one ring and of two, of a dihedral group and of the permutations of three letters. Below what
leaves symmetry behind, weights that change with the position and a low rank added; and what commutes with the turns of
a square on its pixels, which are no group.
"""

import argparse
from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from weightspace.groups import (
    ball,
    box,
    cyclic,
    dihedral,
    direct_product,
    p4,
    point_group,
    quotient,
    symmetric,
    tied_pattern,
)
from weightspace.matrices import GroupMatrix, LowRankGroupMatrix, ModulatedGroupMatrix


def numbered(matrix: GroupMatrix) -> Tensor:
    """The matrix with the numbers 1, 2, ... for its weights."""
    taps = len(matrix.elements)
    return GroupMatrix(matrix.group, torch.arange(1.0, taps + 1), matrix.support).to_dense()


def matrices() -> dict[str, Tensor]:
    """Titles and dense matrices; zeros stay white."""
    torch.manual_seed(0)
    ring, rings, polygon = cyclic(16), direct_product(cyclic(4), cyclic(4)), dihedral(8)
    letters = symmetric(3)
    band = box(ring, 2)
    weights = torch.linspace(1, 3, len(band))
    base = GroupMatrix(ring, weights, band)
    bend = torch.linspace(-1, 1, 16)[None]
    turned = quotient(point_group(p4(4))).representation(torch.tensor([16]))
    pattern = tied_pattern(turned, turned)
    return {
        "cyclic(16)": numbered(GroupMatrix(ring, torch.zeros(16))),
        "cyclic(4) x cyclic(4)": numbered(GroupMatrix(rings, torch.zeros(16))),
        "dihedral(8)": numbered(GroupMatrix(polygon, torch.zeros(16))),
        "symmetric(3), near": numbered(GroupMatrix(letters, torch.zeros(4), ball(letters, 1))),
        "cyclic(16), box of radius 2": base.to_dense(),
        "the same, modulated": ModulatedGroupMatrix(base, weights.flip(0)[None], bend).to_dense(),
        "the same plus rank 1": LowRankGroupMatrix(base, torch.randn(16, 1), torch.randn(16, 1)).to_dense(),
        "quarter turns of 4 x 4 pixels": pattern.expand(torch.arange(pattern.size) + 1.0),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw and save."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", default="matrices.png")
    figure, axes = plt.subplots(2, 4, figsize=(12, 6.4), layout="constrained")
    for axis, (title, matrix) in zip(axes.flat, matrices().items(), strict=True):
        axis.imshow(matrix.masked_fill(matrix == 0, float("nan")).numpy(), cmap="viridis", interpolation="nearest")
        axis.set(title=title, xticks=[], yticks=[])
    figure.savefig(options.parse_args(arguments).out, dpi=80)


if __name__ == "__main__":
    main()
