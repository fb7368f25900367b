"""ScaleGMN's kinds of edges and its edges are listed in different orders: with several outputs units are not alike.

Edges run unit by unit, kinds of the last layer output by output. Each weight so gets the vector of an output by its
unit.
"""

import torch
from torch import nn

from weightspace.spec import spec_of
from weightspace.testing import invariance_error


def error(outputs, kinds):
    """How far from invariant sums over edges are that were multiplied by the number of their kind."""
    spec = spec_of(nn.Sequential(nn.Linear(2, 4), nn.GELU(), nn.Linear(4, outputs)))
    kind = torch.tensor(kinds(4, outputs)).reshape(4, outputs)  # as edges run: by unit, then by output

    def summed(x):
        return torch.einsum("boj,jo->bo", x["2.weight"][..., 0], 1 + kind.double())

    return invariance_error(summed, spec)


def published(units, outputs):
    return [output for output in range(outputs) for _ in range(units)]


def right(units, outputs):
    return [output for _ in range(units) for output in range(outputs)]


assert error(1, published) < 1e-12  # with a single output the two are the same
assert error(3, published) > 0.1
assert error(3, right) < 1e-12
print(f"kinds in another order than edges: error {error(3, published):.2f} with 3 outputs; in the same: below 1e-12")
