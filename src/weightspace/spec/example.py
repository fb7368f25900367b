"""Example inputs for a module that is read without any: found by trying what its first layer can take."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from weightspace.errors import SpecError
from weightspace.spec.trace import quiet

__all__ = ["example_inputs_of"]

BATCH, LENGTH = 2, 8
# Sizes of images that are common, then all small ones.
SIZES = list(dict.fromkeys([32, 28, 64, 16, 8, 96, 128, 224, 256, *range(1, 129)]))


def example_inputs_of(module: nn.Module) -> tuple[Tensor, ...]:
    """Inputs that the module accepts, from the layer that comes first in it.

    Raises:
        SpecError: none were found; the module then has to be read with inputs of the user's.

    Example:
        >>> cnn = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(64, 2))
        >>> [tuple(x.shape) for x in example_inputs_of(cnn)]
        [(2, 3, 6, 6)]
    """
    for candidate in _candidates(module):
        if _accepts(module, candidate):
            return (candidate,)
    raise SpecError(
        f"no inputs were found that {type(module).__name__} accepts; call spec_of(module, example_inputs) with a "
        "tensor, a tuple of arguments or a dict of keyword arguments, as you would call the module with."
    )


def _candidates(module: nn.Module) -> Iterator[Tensor]:
    """What the first layer with weights could take, in the precision and on the device of the weights."""
    first = next((layer for layer in module.modules() if layer._parameters), None)
    weight = next((p for p in module.parameters() if p.is_floating_point()), torch.zeros(()))
    if isinstance(first, nn.Embedding):
        yield torch.arange(BATCH * LENGTH, device=weight.device).reshape(BATCH, LENGTH) % first.num_embeddings
    elif first is not None:
        yield from (torch.randn(shape, device=weight.device, dtype=weight.dtype) for shape in _shapes(first))


def _shapes(layer: nn.Module) -> Iterator[tuple[int, ...]]:
    """Shapes of inputs that a layer takes, the likelier ones first."""
    match layer:
        case nn.Linear(in_features=units):
            yield from ((BATCH, units), (BATCH, LENGTH, units))
        case nn.modules.conv._ConvNd(in_channels=channels, kernel_size=kernel):
            yield from ((BATCH, channels, *[size] * len(kernel)) for size in SIZES)
        case nn.RNNBase(input_size=units) | nn.MultiheadAttention(embed_dim=units):
            yield (BATCH, LENGTH, units)
        case nn.RNNCellBase(input_size=units):
            yield (BATCH, units)
        case nn.modules.batchnorm._BatchNorm(num_features=units) | nn.GroupNorm(num_channels=units):
            yield from ((BATCH, units, *[LENGTH] * dimensions) for dimensions in range(4))
        case nn.LayerNorm(normalized_shape=shape) | nn.RMSNorm(normalized_shape=shape):
            yield (BATCH, *shape)


def _accepts(module: nn.Module, candidate: Tensor) -> bool:
    """Whether the module runs on such an input, computed with shapes alone."""
    with quiet(), FakeTensorMode(allow_non_fake_inputs=True) as mode, torch.no_grad():
        try:
            module(mode.from_tensor(candidate))
        except Exception:  # whatever a module of the user's raises on inputs that it was not made for
            return False
    return True
