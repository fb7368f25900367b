"""Run on its own, without the wrappers that check shapes: every plan gives the same when compiled as one graph."""

import logging

import torch

from weightspace.groups import ball, box, dihedral, symmetric
from weightspace.matrices import Convolution, Plan


def main() -> None:
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    for group, support in ((dihedral(5), box(dihedral(5), 1)), (symmetric(3), ball(symmetric(3), 1))):
        convolve = Convolution(group, support)
        x, weight = torch.randn(2, group.order, 2), torch.randn(convolve.taps, 3, 2)
        for plan in (*Plan, None):
            torch.compiler.reset()
            compiled = torch.compile(convolve, backend="eager", fullgraph=True)
            torch.testing.assert_close(compiled(x, weight, plan), convolve(x, weight, plan))


if __name__ == "__main__":
    main()
