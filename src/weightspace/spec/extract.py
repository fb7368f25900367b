"""From a torch module to the spec of its weight space."""

from dataclasses import dataclass, field
from enum import Enum

from torch import nn

from weightspace.errors import SpecError
from weightspace.spec.activation import ACTIVATIONS, activation_of
from weightspace.spec.network import FIXED, PERMUTATION, Axis, Leg, NetworkSpec, ParamSpec, Place, Symmetry, View, Wire

__all__ = ["spec_of"]

# Layers that pass every unit through unchanged or treat all units alike, linearly and without parameters.
POOLINGS = (nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool3d)
IDENTITIES = (nn.Identity, nn.Dropout)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
AFFINE = (nn.Linear, *CONVOLUTIONS)
MAP_DIMENSIONS: dict[type[nn.Module], int] = {
    **{kind: 1 + number for number, kind in enumerate(CONVOLUTIONS)},
    **{kind: 1 + number // 2 for number, kind in enumerate(POOLINGS)},
}


def spec_of(module: nn.Module) -> NetworkSpec:
    """The weight space of a chain of layers: `Sequential` MLPs and CNNs, nested or not, or a single layer.

    Understood are `Linear`, `Conv1d/2d/3d` (without groups), with or without bias, the activations of
    `weightspace.spec.ACTIVATIONS`, average and adaptive average pooling, dropout, identity and `Flatten`. Behind a
    flattened feature map each channel owns several inputs of the next layer; they become a fixed axis of positions.

    Args:
        module: the network; its weights are not read, only their shapes.

    Raises:
        SpecError: a module that is not understood, named with its path and the remedy.

    Example:
        >>> spec = spec_of(nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1)))
        >>> print(spec.report())
        33 parameters in 4 blocks
        axis input: 2 units, FIXED (identity)
        axis 0: 8 units, POSITIVE (relu)
        axis 2: 1 units, FIXED (identity)
        weight 0.weight: 0[1] x input
        bias 0.bias: 0[1]
        weight 2.weight: 2 x 0[-1]
        bias 2.bias: 2
    """
    chain = _Chain()
    for name, layer in _layers(module, ""):
        chain.read(name, layer)
    return chain.spec()


def _layers(module: nn.Module, prefix: str) -> list[tuple[str, nn.Module]]:
    """The layers of nested `Sequential` containers with their paths, in the order of computation."""
    if type(module) is not nn.Sequential:
        return [(prefix, module)]
    # Not named_children: it leaves out the second use of a module, and one ReLU object often serves several layers.
    children = [(f"{prefix}.{name}".lstrip("."), child) for name, child in module._modules.items() if child is not None]
    return [pair for name, child in children for pair in _layers(child, name)]


class _Shape(Enum):
    """What flows between layers."""

    VECTOR = "vectors"
    MAP = "feature maps"
    FLATTENED = "flattened feature maps"


@dataclass
class _Chain:
    """The layers read so far. A layer's units get their symmetry when the whole chain is known."""

    axes: list[Axis] = field(default_factory=list)
    params: list[ParamSpec] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    wires: list[Wire] = field(default_factory=list)
    shape: _Shape | None = None
    dimensions: int = 0
    weights: set[int] = field(default_factory=set)

    def read(self, name: str, layer: nn.Module) -> None:
        """Take one more layer into account."""
        if isinstance(layer, IDENTITIES):
            return
        if type(layer) in AFFINE and isinstance(layer, AFFINE):  # subclasses may compute something else
            self._affine(name, layer)
        elif type(layer) in POOLINGS:
            self._pooling(name, layer)
        elif type(layer) is nn.Flatten:
            self._flatten(name, layer)
        else:
            self._activation(name, layer)

    def _affine(self, name: str, layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d) -> None:
        out_units, in_units, *kernel = layer.weight.shape
        if not self.places:
            self._add_axis("input", in_units, FIXED)
            self.places.append(Place("input", "input"))
        self._own_weights(name, layer)
        source = self.places[-1]
        positions = self._positions(name, layer, in_units)
        target = {"": "output", "input": "input.units"}.get(name, name)  # "input" names the network's own inputs
        self._add_axis(target, out_units, PERMUTATION)
        self.places.append(Place(target, target))
        kernel_axes = [self._add_axis(f"{target}.kernel{i}", size, FIXED) for i, size in enumerate(kernel)]
        legs = (Leg(target), Leg(source.axis), *(Leg(axis) for axis in (*positions, *kernel_axes)))
        self._add_param(name, "weight", legs, source.name, target)
        if layer.bias is not None:
            self._add_param(name, "bias", (Leg(target),), None, target)
        self.shape, self.dimensions = _Shape.MAP if kernel else _Shape.VECTOR, len(kernel)

    def _own_weights(self, name: str, layer: nn.Module) -> None:
        """Refuse weights that another layer shares, or that are computed from other parameters at every call."""
        if layer._parameters.get("weight") is None:
            raise _refusal(name, layer, "its weight is computed from other parameters; remove that and read it again")
        for role, tensor in layer.named_parameters(recurse=False):
            if id(tensor) in self.weights:
                raise _refusal(name, layer, f"its {role} is used twice, and tied weights are not read yet")
            self.weights.add(id(tensor))

    def _positions(self, name: str, layer: nn.Module, in_units: int) -> list[str]:
        """The axis of positions that each unit of the layer before owns in this layer's inputs, if any."""
        taken = _Shape.MAP if isinstance(layer, CONVOLUTIONS) else _Shape.VECTOR
        fits = self.shape in (None, taken) or (self.shape is _Shape.FLATTENED and taken is _Shape.VECTOR)
        if self.shape is not None and not fits:
            raise _refusal(name, layer, f"it takes {taken.value} but the layers before it give {self.shape.value}")
        if isinstance(layer, CONVOLUTIONS) and self.shape is _Shape.MAP:
            self._same_dimensions(name, layer)
        if isinstance(layer, CONVOLUTIONS) and layer.groups != 1:
            raise _refusal(name, layer, "grouped convolutions are not read yet")
        given = self.axis(self.places[-1].axis).size
        each, rest = divmod(in_units, given)
        if rest or (each != 1 and self.shape is not _Shape.FLATTENED):
            raise _refusal(name, layer, f"it takes {in_units} inputs where the layers before it give {given}")
        return [self._add_axis(f"{name}.position", each, FIXED)] if each > 1 else []

    def _pooling(self, name: str, layer: nn.Module) -> None:
        self._needs_layer(name, layer)
        if self.shape is not _Shape.MAP and self.shape is not None:
            raise _refusal(name, layer, f"it pools feature maps; on {self.shape.value} it would mix the units")
        self._same_dimensions(name, layer)

    def _same_dimensions(self, name: str, layer: nn.Module) -> None:
        """Torch takes a batch of maps for a single map of one dimension more, and then mixes the units."""
        takes = MAP_DIMENSIONS[type(layer)]
        if takes != self.dimensions:
            raise _refusal(name, layer, f"it takes maps of {takes} dimensions, not of {self.dimensions}")

    def _flatten(self, name: str, layer: nn.Flatten) -> None:
        if (layer.start_dim, layer.end_dim) != (1, -1):
            raise _refusal(name, layer, "only Flatten(1, -1) keeps the networks' batch apart")
        if self.shape is _Shape.MAP:
            self.shape = _Shape.FLATTENED

    def _activation(self, name: str, layer: nn.Module) -> None:
        found = activation_of(layer)
        if found is None:
            raise _refusal(name, layer, f"known activations are {', '.join(sorted(ACTIVATIONS))}")
        self._needs_layer(name, layer)
        row, constants = found
        place = self.places[-1]
        if place.activation != "identity":
            raise _refusal(name, layer, f"a second activation behind {place.activation!r} is not read yet")
        self.places[-1] = Place(place.name, place.axis, row.name, constants)

    def _needs_layer(self, name: str, layer: nn.Module) -> None:
        if not self.places:
            raise _refusal(name, layer, "it stands in front of the first layer with weights")

    def _add_axis(self, name: str, size: int, symmetry: Symmetry) -> str:
        self.axes.append(Axis(name, size, symmetry))
        return name

    def _add_param(self, name: str, role: str, legs: tuple[Leg, ...], source: str | None, target: str) -> None:
        key = f"{name}.{role}".lstrip(".")
        self.params.append(ParamSpec(key, legs, role, View(key)))
        self.wires.append(Wire(key, source, target))

    def axis(self, name: str) -> Axis:
        """The axis of this name."""
        return next(axis for axis in self.axes if axis.name == name)

    def spec(self) -> NetworkSpec:
        """The finished spec: hidden units have their activation's symmetry, inputs and outputs none."""
        if not self.params:
            raise SpecError("the module has no Linear or convolution layer, so there are no weights to describe.")
        hidden = {place.axis: ACTIVATIONS[place.activation].symmetry for place in self.places[1:-1]}
        axes = tuple(Axis(a.name, a.size, hidden.get(a.name, FIXED)) for a in self.axes)
        params = tuple(
            ParamSpec(
                p.name, tuple(_powered(leg, hidden, incoming=i == 0) for i, leg in enumerate(p.legs)), p.role, p.view
            )
            for p in self.params
        )
        return NetworkSpec(axes, params, tuple(self.places), tuple(self.wires))


def _powered(leg: Leg, hidden: dict[str, Symmetry], *, incoming: bool) -> Leg:
    factors = hidden[leg.axis].factors if leg.axis in hidden else ()
    return Leg(leg.axis, tuple(1 if incoming else -1 for _ in factors))


def _refusal(name: str, layer: nn.Module, reason: str) -> SpecError:
    return SpecError(
        f"cannot read the symmetry of {type(layer).__name__} at {name or 'the top level'!r} ({layer}): {reason}. "
        "Use a Sequential of Linear, Conv, pooling, dropout, Flatten and known activations, "
        "or write the NetworkSpec by hand."
    )
