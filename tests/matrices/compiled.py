"""Run on its own, without the wrappers that check shapes: plans and layers give the same when compiled as one graph."""

import logging

import torch

from weightspace.groups import ball, box, dihedral, direct_product, p4, point_group, subgroup, symmetric
from weightspace.matrices import (
    GMCNN,
    Convolution,
    CosetLift,
    CosetPool,
    GainConv,
    GMCNNDynamics,
    GroupPool,
    GroupUNet,
    GroupUnpool,
    LowRankGroupConv,
    ModulatedGroupConv,
    Plan,
)


def main() -> None:
    logging.getLogger("torch._dynamo").setLevel(logging.ERROR)
    for group, support in ((dihedral(5), box(dihedral(5), 1)), (symmetric(3), ball(symmetric(3), 1))):
        convolve = Convolution(group, support)
        x, weight = torch.randn(2, group.order, 2), torch.randn(convolve.taps, 3, 2)
        for plan in (*Plan, None):
            torch.compiler.reset()
            compiled = torch.compile(convolve, backend="eager", fullgraph=True)
            torch.testing.assert_close(compiled(x, weight, plan), convolve(x, weight, plan))
    for layer, length in layers():
        torch.compiler.reset()
        x = torch.randn(2, length, 2)
        torch.testing.assert_close(torch.compile(layer, backend="eager", fullgraph=True)(x), layer(x))


def layers() -> list[tuple[torch.nn.Module, int]]:
    group = direct_product(dihedral(4), dihedral(4))
    held = subgroup(group, [2, 4, 2 * 8, 4 * 8])
    points = point_group(p4(4))
    return [
        (GMCNN(group, 2, 3, box(group, 1), channels=4), 64),
        (GMCNN(group, 2, 3, box(group, 1), channels=4, conv=ModulatedGroupConv), 64),
        (GMCNNDynamics(group, 1, 2, box(group, 1), channels=4, conv=LowRankGroupConv), 64),
        (GMCNNDynamics(group, 1, 2, box(group, 1), channels=4, conv=GainConv), 64),
        (GroupUNet([group, held], 2, 1, channels=4), 64),
        (torch.nn.Sequential(GroupPool(held), GroupUnpool(held)), 64),
        (torch.nn.Sequential(CosetLift(points), CosetPool(points)), 16),
    ]


if __name__ == "__main__":
    main()
