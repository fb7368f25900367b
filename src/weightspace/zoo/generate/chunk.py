r"""The steps of a few SIRENs side by side on one thread: forward pass, gradient and Adam written out by hand.

A SIREN maps a pixel's coordinates to its colour through layers :math:`h_l = \sin z_l`,
:math:`z_l = \omega (W_l h_{l-1} + b_l)`, and a linear output :math:`y = W h_L + b`. Three observations make a step
cheap:

* Coordinates form a grid, and the first layer is linear in them. With :math:`\alpha` from the row and :math:`\beta`
  from the column, :math:`\sin(\alpha + \beta) = \sin\alpha\cos\beta + \cos\alpha\sin\beta`: sines of
  ``height + width`` numbers per unit instead of ``height * width``, and the cosine of the gradient comes with them.
* Derivatives need nothing but the kept cosines: :math:`\partial h_l / \partial z_l = \cos z_l`, and :math:`\omega`
  is moved onto the small matrices.
* Parameters, gradients and Adam's moments are one matrix each, and all of it stays in one core's cache.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Chunk", "Shapes", "blocks", "grid"]

Shapes = Mapping[str, tuple[int, ...]]
"""Shape of each parameter by its key in the state dict: weight and bias of each layer in turn."""

_EPSILON = 1e-8


class Chunk:
    """A few networks that one thread fits, with every buffer and view that a step needs.

    Parameters, gradients and Adam's moments are one matrix ``(network, parameter)`` each, so that the optimiser is
    seven operations; the layers see views of them. Nothing is allocated in a step but small matrices.

    Shapes:
        parameters: ``(network, parameter)``; targets: ``(network, channel, height, width)``.

    Args:
        parameters: where fitting starts; left as they are.
        targets: colours in [0, 1].
        shapes: of the networks' parameters.
        omega: frequency of the sines.
        moments: what Adam keeps of its means of the gradient and of its square in each step.
    """

    def __init__(
        self,
        parameters: Tensor,
        targets: Tensor,
        shapes: Shapes,
        omega: float,
        moments: tuple[float, float] = (0.9, 0.999),
    ) -> None:
        self.moments = moments
        self.parameters, self.targets = parameters.clone(), targets.flatten(2)
        self.scaled, self.gradient, self.mean, self.square, self.scale = (
            torch.zeros_like(parameters) for _ in range(5)
        )
        self.weights, self.biases = _layers(self.scaled, shapes)
        self.weight_gradients, self.bias_gradients = _layers(self.gradient, shapes)
        hidden = [bias.shape[1] for bias in self.biases[:-1]]
        # Inside a sine only omega * W and omega * b occur: scaling parameters and gradients as blocks does them all.
        self.factors = torch.full_like(parameters[0], omega)
        self.factors[-(hidden[-1] + 1) * targets.shape[1] :] = 1
        self._allocate(hidden, *targets.shape[2:])

    def _allocate(self, hidden: list[int], height: int, width: int) -> None:
        """Room for the values at all units and pixels, and for the first layer's rows and columns."""
        like, networks = self.parameters, len(self.parameters)
        sizes = [(networks, units, height * width) for units in hidden]
        self.sines, self.cosines = ([like.new_empty(size) for size in sizes] for _ in range(2))
        widest = like.new_empty(networks, max(hidden), height * width)
        self.above = [widest[:, :units] for units in hidden]
        points = grid(height, width, like.dtype)
        self.rows, self.columns = points[::width, 0], points[:width, 1]
        # Rows for row, column and one: the first layer's weights and bias get their gradients in one product.
        self.lifted = torch.cat([points, torch.ones_like(points[:, :1])], 1).T.contiguous()
        self.sides = like.new_empty(2, networks, hidden[0], height + width)
        self.plane = (networks, hidden[0], height, width)

    def outputs(self) -> Tensor:
        """Colours ``(network, channel, pixel)``; sines and cosines of all layers are kept for the gradient."""
        torch.mul(self.parameters, self.factors, out=self.scaled)
        self._first_layer()
        for level in range(1, len(self.sines)):
            sine, cosine = self.sines[level], self.cosines[level]
            torch.baddbmm(self.biases[level], self.weights[level], self.sines[level - 1], out=cosine)
            _sine_and_cosine(cosine, sine)
        return torch.baddbmm(self.biases[-1], self.weights[-1], self.sines[-1])

    def _first_layer(self) -> None:
        """Sine and cosine of a sum of a row's and a column's part, by the addition theorems."""
        cosine, sine = self.sides
        height = len(self.rows)
        torch.addcmul(self.biases[0], self.weights[0][..., :1], self.rows, out=cosine[..., :height])
        torch.mul(self.weights[0][..., 1:], self.columns, out=cosine[..., height:])
        _sine_and_cosine(cosine, sine)
        row_sine, row_cosine = sine[..., :height, None], cosine[..., :height, None]
        column_sine, column_cosine = sine[:, :, None, height:], cosine[:, :, None, height:]
        torch.mul(row_sine, column_cosine, out=self.sines[0].view(self.plane)).addcmul_(row_cosine, column_sine)
        plane = torch.mul(row_cosine, column_cosine, out=self.cosines[0].view(self.plane))
        plane.addcmul_(row_sine, column_sine, value=-1)

    def backward(self, error: Tensor) -> None:
        """Writes the gradient, given that of the loss by the outputs. Uses up the cosines."""
        self.weight_gradients[-1].copy_(torch.bmm(error, self.sines[-1].mT))
        torch.sum(error, 2, keepdim=True, out=self.bias_gradients[-1])
        torch.bmm(self.weights[-1].mT, error, out=self.above[-1])
        for level in range(len(self.sines) - 1, 0, -1):
            change = self.cosines[level].mul_(self.above[level])
            self.weight_gradients[level].copy_(torch.bmm(change, self.sines[level - 1].mT))
            torch.sum(change, 2, keepdim=True, out=self.bias_gradients[level])
            torch.bmm(self.weights[level].mT, change, out=self.above[level - 1])
        lifted = functional.linear(self.cosines[0].mul_(self.above[0]), self.lifted)
        self.weight_gradients[0].copy_(lifted[..., :2])
        self.bias_gradients[0].copy_(lifted[..., 2:])
        self.gradient.mul_(self.factors)

    def step(self, number: int, rate: float) -> None:
        """One step of Adam, numbered from 1, down the mean squared error."""
        error = self.outputs().sub_(self.targets)
        self.backward(error.mul_(2 / self.targets[0].numel()))
        first, second = self.moments
        self.mean.lerp_(self.gradient, 1 - first)
        self.square.mul_(second).addcmul_(self.gradient, self.gradient, value=1 - second)
        torch.sqrt(self.square, out=self.scale).div_(math.sqrt(1 - second**number)).add_(_EPSILON)
        self.parameters.addcdiv_(self.mean, self.scale, value=-rate / (1 - first**number))

    def psnr(self) -> Tensor:
        """Of the clamped outputs, in dB; nan where a network's outputs are not finite."""
        error = self.outputs().clamp_(0, 1).sub_(self.targets)
        return -10 * error.square_().mean((1, 2)).log10_()


def _sine_and_cosine(angle: Tensor, sine: Tensor) -> None:
    """Writes the sine beside the angle, and the cosine in its place."""
    # NumPy's float32 sine is vectorised on every machine; torch's goes through a library that, on some, takes 2.6
    # times as long (1.17 against 0.45 ns).
    np.sin(angle.numpy(), out=sine.numpy())
    np.cos(angle.numpy(), out=angle.numpy())


def blocks(flat: Tensor, shapes: Shapes) -> list[Tensor]:
    """Views of a matrix ``(network, parameter)``, one per shape: ``(network, *shape)``.

    Example:
        >>> [tuple(block.shape) for block in blocks(torch.zeros(5, 9), {"0.weight": (3, 2), "0.bias": (3,)})]
        [(5, 3, 2), (5, 3)]
    """
    columns = flat.split([math.prod(shape) for shape in shapes.values()], 1)
    return [block.unflatten(1, shape) for block, shape in zip(columns, shapes.values(), strict=True)]


def _layers(flat: Tensor, shapes: Shapes) -> tuple[list[Tensor], list[Tensor]]:
    """Views of a matrix ``(network, parameter)``: weights ``(network, out, in)`` and biases ``(network, out, 1)``."""
    views = blocks(flat, shapes)
    return views[::2], [bias[..., None] for bias in views[1::2]]


def grid(height: int, width: int, dtype: torch.dtype) -> Tensor:
    """Coordinates ``(pixel, 2)`` of all pixels, row by row, from -1 to 1 along each side.

    Example:
        >>> grid(2, 2, torch.float32)
        tensor([[-1., -1.],
                [-1.,  1.],
                [ 1., -1.],
                [ 1.,  1.]])
    """
    sides = [torch.linspace(-1, 1, size, dtype=dtype) for size in (height, width)]
    return torch.cartesian_prod(*sides)
