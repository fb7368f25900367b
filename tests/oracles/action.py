"""The group's action leg by leg: each reorders the whole tensor and scales it, outer legs ahead of nested ones."""

from torch import Tensor

from weightspace.spec import Element, ParamSpec
from weightspace.weights import WeightFeatures


def act_by_legs(g: Element, x: WeightFeatures) -> WeightFeatures:
    """What `act` gives, with a temporary for every leg."""
    return WeightFeatures(x.spec, [move_by_legs(g, p, t) for p, t in zip(x.spec.params, x.tensors, strict=True)])


def move_by_legs(g: Element, param: ParamSpec, tensor: Tensor) -> Tensor:
    """What `g.move_block` gives."""
    batch = max(len(g), len(tensor))
    tensor = tensor.expand(batch, *tensor.shape[1:])
    within = {axis.name: axis.within for axis in g.axes}
    for position, leg in enumerate(param.legs):
        if leg.axis not in g.parts:
            continue
        dims, outer, place = [position + 1], within[leg.axis], position
        while outer is not None:
            place = max(i for i in range(place) if param.legs[i].axis == outer)
            dims, outer = [place + 1, *dims], within[outer]
        tensor = g.parts[leg.axis].apply(tensor, dims, leg.powers)
    return tensor
