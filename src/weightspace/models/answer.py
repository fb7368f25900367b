"""What networks answer to the same inputs, all networks of a batch at once."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional as F

from weightspace.errors import ShapeError, SpecError
from weightspace.spec import ACTIVATIONS, NetworkSpec, Place, Wire
from weightspace.spec.activations import activation_of
from weightspace.weights import WeightFeatures
from weightspace.weights.source.chain import Chain
from weightspace.zoo.generate.convolution import SIDE
from weightspace.zoo.generate.ensemble import vectorised_attention
from weightspace.zoo.generate.template import described

__all__ = ["Answers", "Inputs"]

_REMEDY = "Remedy: say how the networks compute, as a zoo does: network=zoo.generate.describe(zoo.manifest)."
_TOGETHER = 64
"""Networks that are asked at a time where nothing is learnt: convolutions hold many values of each."""

State = Mapping[str, Tensor]
"""The weights of each network, `(network, *shape)` by name."""

Step = Callable[[Tensor, State], Tensor]
"""One operation: values `(network, input, ...)`, the first dimension 1 where all share them, and weights, to others."""


@dataclass(frozen=True)
class Inputs:
    """What the networks read.

    Args:
        shape: of one input.
        centre: the middle of what they were made for.
        spread: half the width of the range where `uniform`, else the standard deviation.
        uniform: whether all of a range is meant, as for coordinates.
    """

    shape: tuple[int, ...]
    centre: float = 0.0
    spread: float = 1.0
    uniform: bool = False

    def draw(self, count: int) -> Tensor:
        """Random inputs `(count, *shape)`."""
        noise = 2 * torch.rand(count, *self.shape) - 1 if self.uniform else torch.randn(count, *self.shape)
        return self.centre + self.spread * noise


@dataclass(frozen=True)
class Dense:
    """A linear layer by the names of its parameters, the bias `None` where it has none."""

    weight: str
    bias: str | None

    def __call__(self, values: Tensor, state: State) -> Tensor:
        """One product of matrices for all networks."""
        weight = state[self.weight]
        rows = values.flatten(1, -2).expand(len(weight), -1, -1)
        out = rows @ weight.mT if self.bias is None else torch.baddbmm(state[self.bias][:, None], rows, weight.mT)
        return out.unflatten(1, values.shape[1:-1])


@dataclass(frozen=True)
class Convolved:
    """A convolution in two dimensions: the networks are the groups of one convolution."""

    layer: nn.Conv2d
    weight: str
    bias: str | None

    def __call__(self, values: Tensor, state: State) -> Tensor:
        """One convolution for all networks."""
        weight, layer = state[self.weight], self.layer
        bias = None if self.bias is None else state[self.bias].flatten()
        shared = len(values) == 1 and layer.groups == 1  # then the channels of all networks read the same ones
        given = values if shared else values.expand(len(weight), *values.shape[1:])
        maps = given.transpose(0, 1).flatten(1, 2)
        groups = 1 if shared else len(weight) * layer.groups
        out = F.conv2d(maps, weight.flatten(0, 1), bias, layer.stride, layer.padding, layer.dilation, groups)
        return out.unflatten(1, (len(weight), -1)).transpose(0, 1)


@dataclass(frozen=True)
class Activated:
    """An activation of the table, with its constants."""

    name: str
    constants: tuple[tuple[str, float], ...] = ()

    def __call__(self, values: Tensor, state: State) -> Tensor:
        """Every value by itself."""
        return ACTIVATIONS[self.name].function(values, **dict(self.constants))


@dataclass(frozen=True)
class Common:
    """A module that is the same in all networks, such as a pooling."""

    module: nn.Module

    def __call__(self, values: Tensor, state: State) -> Tensor:
        """All inputs of all networks as one batch."""
        return self.module(values.flatten(0, 1)).unflatten(0, values.shape[:2])


@dataclass(frozen=True)
class Own:
    """Any other module, with the weights of each network in it."""

    module: nn.Module
    names: tuple[tuple[str, str], ...]
    """Its parameters: as it calls them, and as the state does."""

    def __call__(self, values: Tensor, state: State) -> Tensor:
        """The module, vectorised over networks."""
        own = {name: state[key] for name, key in self.names}
        given = values.expand(len(next(iter(own.values()))), *values.shape[1:])
        with vectorised_attention():
            return vmap(lambda one, shown: functional_call(self.module, one, (shown,)))(own, given)


class Answers:
    """The networks of a space as one function of their weights and of inputs.

    Linear layers are products of matrices with a dimension for the networks, convolutions have the networks as groups;
    other modules are vectorised. It holds no weights that could be trained.

    Args:
        spec: space of the networks.
        network: how they compute, from `zoo.generate.describe`. `None` reads it off the spec, which says it of linear
            layers one behind another with elementwise activations, but for numbers that a module multiplies or adds.

    Shapes:
        Features with one channel and inputs `(input, *shape)` to `(network, input, output)`.

    Raises:
        SpecError: networks whose computation is not described.
        ShapeError: a description of other networks than those of the spec.

    Example:
        >>> from weightspace.spec import spec_of
        >>> from weightspace.weights import features_of
        >>> nets = [nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 3)) for _ in range(5)]
        >>> spec, shown = spec_of(nets[0]), torch.randn(7, 2)
        >>> told = Answers(spec)(features_of(spec, nets), shown)
        >>> torch.allclose(told, torch.stack([net(shown) for net in nets]), atol=1e-6)
        True
    """

    def __init__(self, spec: NetworkSpec, network: Mapping[str, Any] | None = None) -> None:
        self.spec, self.network = spec, network
        self._template: nn.Module | None = None
        if network is None:
            self.inputs = _inputs_of_chain(spec)
            self._steps = _chain(spec)
            return
        self._template = _fitting(described(network, spec), spec)
        self.inputs = _inputs(network, self._template)
        if isinstance(self._template, Chain):  # the spec says the same of it, and products of matrices are faster
            self._steps = _chain(spec)
        else:
            self._steps = _steps(self._template, "", {param.view.key for param in spec.params})

    def __getstate__(self) -> dict[str, Any]:
        return {"spec": self.spec, "network": self.network}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]  # modules of others may hold what cannot be pickled

    @property
    def outputs(self) -> int:
        """How many numbers each network answers to an input."""
        blank = WeightFeatures(self.spec, [torch.zeros(1, *self.spec.shape(p.name), 1) for p in self.spec.params])
        with torch.no_grad():
            return self(blank, torch.zeros(1, *self.inputs.shape)).shape[2]

    def __call__(self, x: WeightFeatures, inputs: Tensor) -> Tensor:
        """Ask all networks."""
        x.expect(self.spec, channels=1)
        if not torch.is_grad_enabled() and len(x) > _TOGETHER:
            return torch.cat([self(x[at : at + _TOGETHER], inputs) for at in range(0, len(x), _TOGETHER)])
        state, values = self._state(x), inputs[None]
        for step in self._steps:
            values = step(values, state)
        return values.expand(len(x), *values.shape[1:]).flatten(2)

    def _state(self, x: WeightFeatures) -> dict[str, Tensor]:
        if self._template is None or isinstance(self._template, Chain):
            return {name: tensor[..., 0] for name, tensor in x.items()}
        self._template.to(x.device, x.dtype)  # what it holds beside weights, such as frequencies
        return x.to_state()


def _fitting(template: nn.Module, spec: NetworkSpec) -> nn.Module:
    """The template, if its weights are those of the spec."""
    state = template.state_dict()
    for param in spec.params:
        found = tuple(state[param.view.key].shape) if param.view.key in state else "nothing"
        if found != spec.stored_shape(param.name):
            raise ShapeError(
                f"the networks that are described have {found} at {param.view.key!r}, those of the spec "
                f"{spec.stored_shape(param.name)}: give the description of the same networks."
            )
    return template


def _steps(module: nn.Module, prefix: str, told: set[str]) -> list[Step]:
    """What a module does, one step after another; `told` are the keys that the spec knows."""
    if type(module) is nn.Sequential:
        return [step for name, child in module.named_children() for step in _steps(child, f"{prefix}{name}.", told)]
    names = tuple((name, prefix + name) for name in module.state_dict() if prefix + name in told)
    if not names:
        row = activation_of(module)
        return [Common(module) if row is None or not row[0].elementwise else Activated(row[0].name, row[1])]
    if len(names) == len(module.state_dict()):
        bias = f"{prefix}bias" if getattr(module, "bias", None) is not None else None
        if type(module) is nn.Linear:
            return [Dense(f"{prefix}weight", bias)]
        if type(module) is nn.Conv2d and module.padding_mode == "zeros":
            return [Convolved(module, f"{prefix}weight", bias)]
    return [Own(module, names)]


def _chain(spec: NetworkSpec) -> list[Step]:
    """Linear layers one behind another, as the spec's wires join them."""
    steps: list[Step] = []
    used: set[str] = set()
    if not spec.places:
        raise _untold("it does not say how its parameters are joined")
    for before, place in pairwise(spec.places):
        carriers = [wire for wire in spec.wires if wire.target == place.name and wire.source is not None]
        biases = [wire.param for wire in spec.wires if wire.target == place.name and wire.source is None]
        if len(carriers) != 1 or carriers[0].source != before.name or len(biases) > 1:
            raise _untold(f"what enters {place.name!r} is no single layer behind {before.name!r}")
        steps += _layer(spec, before, place, carriers[0], biases[0] if biases else None)
        used |= {name for name in (carriers[0].param, *biases) if name is not None}
    left = [param.name for param in spec.params if param.name not in used]
    if left:
        raise _untold(f"{left[0]!r} stands outside of its layers")
    for place in spec.places[1:-1]:
        _check_nothing_else(spec, place)
    return steps


def _check_nothing_else(spec: NetworkSpec, place: Place) -> None:
    """Refuse units that may do less than their activations allow: something else is done to them, such as a softmax."""
    if place.axis in (spec.places[0].axis, spec.places[-1].axis):
        return
    rows = [ACTIVATIONS[other.activation].at(other.constants) for other in spec.places if other.axis == place.axis]
    passes = set.intersection(*(set(row.symmetry.factors) for row in rows))
    if not spec.axis(place.axis).symmetry.permutes or passes - set(spec.axis(place.axis).symmetry.factors):
        raise _untold(
            f"units of {place.axis!r} have the symmetry {spec.axis(place.axis).symmetry}, and "
            f"{place.activation!r} alone would let more through"
        )


def _layer(spec: NetworkSpec, before: Place, place: Place, carrier: Wire, bias: str | None) -> list[Step]:
    """One layer with the activation behind it."""
    row = ACTIVATIONS.get(place.activation)
    if row is None or not row.elementwise:
        raise _untold(f"{place.activation!r} at {place.name!r} is no elementwise activation")
    activated: list[Step] = [] if row.name == "identity" else [Activated(row.name, place.constants)]
    if carrier.param is None:
        if bias is not None:
            raise _untold(f"{bias!r} stands outside of its layers")
        return activated
    legs = tuple(leg.axis for leg in spec.param(carrier.param).legs)
    if legs != (place.axis, before.axis) or place.axis == before.axis or place.merge != "sum":
        raise _untold(f"{carrier.param!r}, of {', '.join(legs)}, is no matrix from {before.axis!r} to {place.axis!r}")
    return [Dense(carrier.param, bias), *activated]


def _untold(reason: str) -> SpecError:
    return SpecError(
        f"the spec alone does not tell what these networks compute: {reason}. Expected linear layers one behind "
        f"another with elementwise activations. {_REMEDY}"
    )


def _inputs_of_chain(spec: NetworkSpec) -> Inputs:
    """Networks with sines read coordinates from -1 to 1; others numbers around zero."""
    if not spec.places:
        raise _untold("it does not say how its parameters are joined")
    sines = any(place.activation == "sine" for place in spec.places)
    return Inputs((spec.axis(spec.places[0].axis).size,), uniform=sines)


def _inputs(network: Mapping[str, Any], template: nn.Module) -> Inputs:
    """What networks of a zoo read, by its forward pass."""
    forward = network["forward"]
    try:
        if "coordinate_range" in forward:
            low, high = forward["coordinate_range"]
            return Inputs((len(forward["coordinates"].split(",")),), (low + high) / 2, (high - low) / 2, uniform=True)
        shape = tuple(forward.get("input_shape", (1, SIDE, SIDE)))
        if "pixel_range" in forward:
            # Two standard deviations fill the range. Where no size is told, positions are averaged and any will do.
            low, high = forward["pixel_range"]
            return Inputs(shape, (low + high) / 2, (high - low) / 4)
        if "input_shape" in forward:
            return Inputs(shape)
    except (TypeError, ValueError, AttributeError) as failure:
        raise SpecError(f"the forward pass {forward} is damaged ({failure!r}). {_REMEDY}") from failure
    first = next((layer for layer in template.modules() if isinstance(layer, nn.Linear)), None)
    if first is None or not isinstance(template, nn.Sequential):
        raise SpecError(f"the forward pass {forward} does not say what the networks read. {_REMEDY}")
    return Inputs((first.in_features,), uniform=network["recipe"] == "sdf")
