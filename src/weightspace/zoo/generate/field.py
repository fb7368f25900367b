r"""Networks that map points to values, fitted side by side on one thread: any input features, sines or ReLUs.

With :math:`x` the features of a point, a network is :math:`h_l = \sigma(z_l)`, :math:`z_l = W_l h_{l-1} + b_l`, and a
linear output. As in :mod:`weightspace.zoo.generate.chunk` the gradient is written out by hand over all networks of a
chunk and everything lies in one matrix; unlike there points need not form a grid, may have any number of features and
may be other ones for each network and step.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from weightspace.errors import unknown
from weightspace.zoo.generate.chunk import Shapes, blocks
from weightspace.zoo.generate.draw import stream

__all__ = ["ACTIVATIONS", "Field", "Fitting", "falling", "first_weights"]

ACTIVATIONS = ("relu", "sine")
"""What stands between the layers."""

_MOMENTS, _EPSILON = (0.9, 0.999), 1e-8
_FINAL_RATE = 0.1


@dataclass(frozen=True)
class Field:
    """The architecture of networks that map points to values.

    Args:
        widths: numbers of features, of units of each hidden layer, and of values.
        activation: relu or sine.
        omega: frequency of the sines, in radians per unit of their input; relu takes no notice.

    Raises:
        UnknownNameError: an activation that does not exist.

    Example:
        >>> list(Field((2, 8, 1), "relu").shapes.items())
        [('0.weight', (8, 2)), ('0.bias', (8,)), ('2.weight', (1, 8)), ('2.bias', (1,))]
    """

    widths: tuple[int, ...]
    activation: str
    omega: float = 1.0

    def __post_init__(self) -> None:
        if self.activation not in ACTIVATIONS:
            raise unknown("activation", self.activation, ACTIVATIONS)

    @property
    def shapes(self) -> Shapes:
        """Shape of each parameter by its key in the state dict of an `nn.Sequential`, in order."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer, (below, units) in enumerate(zip(self.widths, self.widths[1:], strict=False)):
            shapes |= {f"{2 * layer}.weight": (units, below), f"{2 * layer}.bias": (units,)}
        return shapes

    def bounds(self) -> Iterator[float]:
        """Of the uniform distribution of each parameter's start, in the order of the shapes."""
        for key, shape in self.shapes.items():
            below = self.widths[int(key.split(".")[0]) // 2]
            if len(shape) == 1:
                yield 1 / math.sqrt(below)
            elif self.activation == "relu":
                yield math.sqrt(6 / below)
            else:
                yield 1 / below if key.startswith("0.") else math.sqrt(6 / below) / self.omega


def first_weights(field: Field, seed: int, numbers: list[int]) -> Tensor:
    r"""First parameters of networks, each from a random stream of its own, uniform within bounds.

    For a layer of :math:`n` inputs biases lie within :math:`1/\sqrt n`. Weights lie within :math:`\sqrt{6/n}` for relu,
    and for sine within :math:`1/n` in the first layer and :math:`\sqrt{6/n}/\omega` in the others.

    Shapes:
        result: ``(network, parameter)``, float32.

    Example:
        >>> one, both = (first_weights(Field((2, 4, 1), "relu"), 0, numbers) for numbers in ([7], [3, 7]))
        >>> torch.equal(one[0], both[1])
        True

    References:
        He, Zhang, Ren, Sun, *Delving Deep into Rectifiers*, 2015, section 2.2. Sitzmann et al., *Implicit Neural
        Representations with Periodic Activation Functions*, NeurIPS 2020, section 3.2.
    """
    sizes = [math.prod(shape) for shape in field.shapes.values()]
    bounds = np.repeat(list(field.bounds()), sizes)
    draws = [stream(seed, number, "weights").uniform(-1, 1, len(bounds)) * bounds for number in numbers]
    return torch.from_numpy(np.stack(draws)).float()


def falling(rate: float, step: int, steps: int) -> float:
    """The step size at one step, counted from 0: a cosine from `rate` down to a tenth of it.

    Example:
        >>> [round(falling(1.0, step, 4), 3) for step in range(4)]
        [1.0, 0.868, 0.55, 0.232]
    """
    return rate * (_FINAL_RATE + (1 - _FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * step / steps)))


class Fitting:
    """A few networks that one thread fits by Adam on the mean squared error.

    Shapes:
        parameters: ``(network, parameter)``.

    Args:
        field: their architecture.
        parameters: where fitting starts; left as they are.
    """

    def __init__(self, field: Field, parameters: Tensor) -> None:
        self.field, self.parameters = field, parameters.clone()
        self.gradient, self._mean, self._square, self._scale = (torch.zeros_like(parameters) for _ in range(4))
        self._weights, self._biases = _layers(self.parameters, field.shapes)
        self._weight_gradients, self._bias_gradients = _layers(self.gradient, field.shapes)
        self._rooms: dict[int, tuple[list[Tensor], list[Tensor]]] = {}

    def outputs(self, features: Tensor) -> Tensor:
        """Values at points; what the gradient needs is kept.

        Shapes:
            features: ``(feature, point)``, the same for all networks, or ``(network, feature, point)``;
            result: ``(network, value, point)``.
        """
        self._values, self._slopes = self._room(features.shape[-1])
        below = features
        for level, value in enumerate(self._values):
            self._apply(level, below, value)
            if self.field.activation == "relu":
                value.clamp_(min=0)
            else:
                _sine_and_cosine(value.mul_(self.field.omega), self._slopes[level])
            below = value
        return torch.baddbmm(self._biases[-1], self._weights[-1], below)

    def backward(self, features: Tensor, error: Tensor) -> None:
        """Writes the gradient, given that of the loss by the last outputs, at the same features."""
        above = error
        for level in range(len(self._values), 0, -1):
            below = self._values[level - 1]
            self._weight_gradients[level].copy_(torch.bmm(above, below.mT))
            torch.sum(above, 2, keepdim=True, out=self._bias_gradients[level])
            above = torch.bmm(self._weights[level].mT, above)
            if self.field.activation == "relu":
                # An output of zero has no slope, as in autograd.
                torch.ops.aten.threshold_backward.grad_input(above, below, 0.0, grad_input=above)
            else:
                above.mul_(self._slopes[level - 1]).mul_(self.field.omega)
        torch.sum(above, 2, keepdim=True, out=self._bias_gradients[0])
        product = above.flatten(0, 1) @ features.mT if features.ndim == 2 else torch.bmm(above, features.mT)
        self._weight_gradients[0].copy_(product.view_as(self._weight_gradients[0]))

    def step(self, features: Tensor, targets: Tensor, number: int, rate: float) -> None:
        """One step of Adam, numbered from 1.

        Shapes:
            features: as for :meth:`outputs`; targets: ``(network, value, point)``.
        """
        error = self.outputs(features).sub_(targets)
        self.backward(features, error.mul_(2 / targets[0].numel()))
        first, second = _MOMENTS
        self._mean.lerp_(self.gradient, 1 - first)
        self._square.mul_(second).addcmul_(self.gradient, self.gradient, value=1 - second)
        torch.sqrt(self._square, out=self._scale).div_(math.sqrt(1 - second**number)).add_(_EPSILON)
        self.parameters.addcdiv_(self._mean, self._scale, value=-rate / (1 - first**number))

    def _apply(self, level: int, below: Tensor, out: Tensor) -> None:
        weight, bias = self._weights[level], self._biases[level]
        if below.ndim == 3:
            torch.baddbmm(bias, weight, below, out=out)
        else:
            # One product for all networks, which look at the same points.
            torch.matmul(weight.reshape(-1, weight.shape[2]), below, out=out.view(-1, out.shape[2]))
            out.add_(bias)

    def _room(self, points: int) -> tuple[list[Tensor], list[Tensor]]:
        """Room for values and slopes at all hidden units."""
        if points not in self._rooms:
            sizes = [(len(self.parameters), units, points) for units in self.field.widths[1:-1]]
            slopes = sizes if self.field.activation == "sine" else []
            self._rooms[points] = tuple([self.parameters.new_empty(size) for size in kind] for kind in (sizes, slopes))  # type: ignore[assignment]
        return self._rooms[points]


def _sine_and_cosine(angle: Tensor, cosine: Tensor) -> None:
    """Writes the cosine beside the angle, and the sine in its place; by NumPy, which is vectorised everywhere."""
    np.cos(angle.numpy(), out=cosine.numpy())
    np.sin(angle.numpy(), out=angle.numpy())


def _layers(flat: Tensor, shapes: Shapes) -> tuple[list[Tensor], list[Tensor]]:
    """Views of a matrix ``(network, parameter)``: weights ``(network, out, in)`` and biases ``(network, out, 1)``."""
    views = blocks(flat, shapes)
    return views[::2], [bias[..., None] for bias in views[1::2]]
