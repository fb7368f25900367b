"""A chain of layers guessed from the shapes in a state dict, for files that come without their module."""

from collections.abc import Callable, Mapping
from itertools import pairwise
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.errors import SpecError, unknown
from weightspace.spec import ACTIVATIONS

__all__ = ["Chain", "guess_chain"]

REMEDY = "Give the network's own module: a factory package.module:factory."
_CONVOLUTIONS: Mapping[int, type[nn.Conv1d] | type[nn.Conv2d] | type[nn.Conv3d]] = {
    3: nn.Conv1d,
    4: nn.Conv2d,
    5: nn.Conv3d,
}
Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d


class Chain(nn.Module):
    """Layers one after another, with one activation between them, under the names that a state dict gives them.

    Strides, paddings and poolings are not in a state dict, and change no symmetry: convolutions here keep the number of
    positions, and ahead of a linear layer positions are averaged down to as many as it takes.

    Args:
        layers: linear and convolutional layers by name, such as `"layers.0"`, in order.
        activation: what stands between them, elementwise.

    Shapes:
        `(batch, inputs)`, or `(batch, inputs, *positions)` where the first layer is a convolution.
    """

    def __init__(self, layers: Mapping[str, Layer], activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._order = list(layers)
        self._activation = activation
        self._positions: dict[str, int] = {}
        for (_, before), (name, layer) in pairwise(layers.items()):
            if isinstance(layer, nn.Linear) and not isinstance(before, nn.Linear):
                self._positions[name] = layer.in_features // before.out_channels
        # Shorter names first: a layer may be called as the folder of another one is.
        for name in sorted(layers, key=lambda name: name.count(".")):
            *folders, last = name.split(".")
            parent: nn.Module = self
            for folder in folders:
                if not hasattr(parent, folder):
                    parent.add_module(folder, nn.Module())
                parent = getattr(parent, folder)
            parent.add_module(last, layers[name])

    def forward(self, input: Tensor) -> Tensor:  # called so as in nn.Sequential, for specs of equal names
        """All layers, the last one without an activation."""
        for name in self._order:
            if name in self._positions:
                input = F.adaptive_avg_pool1d(input.flatten(2), self._positions[name]).flatten(1)
            input = self.get_submodule(name)(input)
            if name != self._order[-1]:
                input = self._activation(input)
        return input


def guess_chain(state: Mapping[str, Tensor], activation: str | None = None) -> tuple[nn.Module, Tensor]:
    """The chain that fits a state dict, with its weights, and an input for it: a guess that nothing can verify.

    Weights of two dimensions are read as linear layers, of three to five as convolutions, in the order of the state
    dict. Where the numbers of units do not match, sizes that divide are read as groups, or as positions that were
    flattened behind a convolution; everything else is refused.

    Args:
        state: tensors by name.
        activation: name of the activation between the layers in the table `ACTIVATIONS`, with constants where they are
            not the usual ones: `"relu"`, `"sine:omega=10"`. `None` takes one that lets no factor through.

    Raises:
        SpecError: something that is no chain, or cannot be told to be one: normalisations, recurrent layers,
            attention, numbers of units that do not fit.
        UnknownNameError: no such activation.

    Example:
        >>> shapes = {"net.0.weight": (8, 2), "net.0.bias": (8,), "net.2.weight": (1, 8)}
        >>> chain, x = guess_chain({key: torch.zeros(shape) for key, shape in shapes.items()}, "relu")
        >>> chain(x).shape
        torch.Size([2, 1])
        >>> guess_chain({"norm.weight": torch.ones(3)})
        Traceback (most recent call last):
        weightspace.errors.SpecError: 'norm.weight' of shape (3,) is no weight of a linear layer or convolution...
    """
    groups: dict[str, dict[str, Tensor]] = {}
    for key, tensor in state.items():
        name, _, leaf = key.rpartition(".")
        if leaf not in ("weight", "bias"):
            raise SpecError(
                f"{key!r} is neither a weight nor a bias, so the state dict is not read as a chain. {REMEDY}"
            )
        groups.setdefault(name, {})[leaf] = tensor
    for name, group in groups.items():
        _check_layer(name, group)
    for (before, group), (name, after) in pairwise(groups.items()):
        _check_follows(before, group["weight"], name, after["weight"])
    counts = [1, *(len(group["weight"]) for group in groups.values())]
    layers = {name: _layer(group, count) for (name, group), count in zip(groups.items(), counts, strict=False)}
    chain = layers[""] if list(layers) == [""] else Chain(layers, _activation(activation))
    chain.to(next(iter(layers.values())).weight.dtype).load_state_dict(dict(state))
    return chain.eval(), _input(next(iter(layers.values())))


def _check_layer(name: str, group: Mapping[str, Tensor]) -> None:
    """Refuse what is not one linear or convolutional layer."""
    weight, bias = (f"{name}.{leaf}".removeprefix(".") for leaf in ("weight", "bias"))
    if "weight" not in group:
        raise SpecError(f"{bias!r} has no weight beside it. {REMEDY}")
    shape = tuple(group["weight"].shape)
    if len(shape) not in (2, *_CONVOLUTIONS) or not prod(shape):
        raise SpecError(
            f"{weight!r} of shape {shape} is no weight of a linear layer or convolution: a normalisation or a slope, "
            f"perhaps, which is not read without its module. {REMEDY}"
        )
    if "bias" in group and tuple(group["bias"].shape) != shape[:1]:
        raise SpecError(
            f"{bias!r} has shape {tuple(group['bias'].shape)}, where its weight of shape {shape} asks for "
            f"{shape[:1]}. {REMEDY}"
        )


def _check_follows(before: str, first: Tensor, name: str, second: Tensor) -> None:
    """Refuse a layer that does not take what the one ahead of it gives."""
    units, takes = first.shape[0], second.shape[1]
    if second.ndim == 2:
        fits = takes == units if first.ndim == 2 else takes % units == 0
    else:
        groups, rest = divmod(units, takes)
        fits = first.ndim == second.ndim and not rest and second.shape[0] % groups == 0
    if not fits:
        raise SpecError(
            f"'{name}.weight' of shape {tuple(second.shape)} does not follow '{before}.weight' of shape "
            f"{tuple(first.shape)}, so the state dict is not read as a chain. {REMEDY}"
        )


def _layer(group: Mapping[str, Tensor], before: int) -> Layer:
    """The layer of these shapes behind as many units; the first one has no groups."""
    weight, bias = group["weight"], "bias" in group
    if weight.ndim == 2:
        return nn.Linear(weight.shape[1], weight.shape[0], bias=bias)
    groups = max(before // weight.shape[1], 1)
    kernel = tuple(weight.shape[2:])
    kind = _CONVOLUTIONS[weight.ndim]
    return kind(weight.shape[1] * groups, weight.shape[0], kernel, padding="same", groups=groups, bias=bias)  # type: ignore[arg-type]


def _activation(text: str | None) -> Callable[[Tensor], Tensor]:
    if text is None:
        return F.gelu  # any that lets nothing through
    name, _, constants = text.partition(":")
    valid = [row.name for row in ACTIVATIONS.values() if row.elementwise]
    if name not in valid:
        raise unknown("activation", name, valid)
    row = ACTIVATIONS[name]
    values = {}
    for part in filter(None, constants.split(",")):
        key, _, value = part.partition("=")
        if key not in row.constants:
            raise unknown(f"constant of {name}", key, row.constants)
        try:
            values[key] = float(value)
        except ValueError:
            raise SpecError(f"{part!r} of activation {text!r} is no number; write it as {name}:{key}=1.5.") from None
    return lambda x: row.function(x, **values)


def _input(first: Layer) -> Tensor:
    dtype = first.weight.dtype
    if isinstance(first, nn.Linear):
        return torch.randn(2, first.in_features, dtype=dtype)
    return torch.randn(
        2, first.in_channels, *[8 if len(first.kernel_size) < 3 else 4] * len(first.kernel_size), dtype=dtype
    )
