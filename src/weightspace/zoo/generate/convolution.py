r"""Forward and backward passes of a few small CNNs side by side on one thread, as batched matrix products.

Each network is three 3 x 3 convolutions of stride 2 without padding on a grey image of 32 x 32, the mean over all
positions, and a dense layer. A convolution of stride 2 reads even and odd rows and columns apart, so a layer's input is
kept as four *planes*: a matrix with one row per image and position ``(i, j)`` and the channels of pixels
``(2i + p, 2j + q)``, for the four parities ``(p, q)``, side by side in its columns. Then

* the tap :math:`(2a + p, 2b + q)` of every output :math:`(i, j)` is the row ``width * a + b`` further on, so a
  convolution is four products of one matrix, shifted by whole rows, and nothing is copied;
* with the plane of even rows and odd columns first, the planes that a shift needs lie side by side.

What a shift carries over the border of an image lands in rows that no valid output has; their gradient is zero, so they
change nothing. The first layer reads its nine pixels and a constant, which carries the bias, from patches that are cut
out of the images once (:mod:`weightspace.zoo.generate.pixels`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["CHANNELS", "PLANES", "SIDE", "TAPS", "Layers", "Passes", "kernel_entries", "layers", "packing"]

SIDE = 32
"""Rows and columns of an image."""

CHANNELS = 16
"""Units of each convolution."""

PLANES = ((0, 1), (0, 0), (1, 0), (1, 1))
"""Parity of row and column of each plane, in the order of their columns."""

TAPS = 9
_SHIFTS = ((0, 0), (0, 1), (1, 0), (1, 1))
# Positions along each side of a plane, and those that hold a valid output of the layer that reads the plane.
_SECOND, _THIRD, _LAST = 8, 4, 3


def _planes_of(shift: tuple[int, int]) -> list[int]:
    """Numbers of the planes that a shift reads: those whose tap lies in the kernel."""
    return [at for at, parity in enumerate(PLANES) if all(2 * s + p <= 2 for s, p in zip(shift, parity, strict=True))]


def packing(channels: int, classes: int) -> Tensor:
    """Where each packed parameter stands in the flat vector of a network's state dict.

    Packed are: the first kernel as ``(tap and bias, channel)``; of the two others one matrix
    ``(plane and channel below, channel)`` per shift, then the bias; the dense layer as ``(channel, class)`` and bias.

    Shapes:
        result: ``(parameters,)``, int64.

    Example:
        >>> len(packing(16, 10))
        4970
    """
    first = torch.arange(channels * TAPS).view(channels, TAPS).T
    parts, at = [first, torch.arange(channels) + first.numel()], channels * (TAPS + 1)
    for _ in range(2):
        kernel = torch.arange(at, at + channels * channels * TAPS).view(channels, channels, 3, 3)
        for a, b in _SHIFTS:
            taps = [(2 * a + PLANES[plane][0], 2 * b + PLANES[plane][1]) for plane in _planes_of((a, b))]
            parts += [kernel[:, :, row, column].T for row, column in taps]
        at += kernel.numel() + channels
        parts.append(torch.arange(at - channels, at))
    parts.append(torch.arange(at, at + channels * classes).view(classes, channels).T)
    parts.append(torch.arange(at + channels * classes, at + channels * classes + classes))
    return torch.cat([part.flatten() for part in parts])


def kernel_entries(channels: int, classes: int) -> Tensor:
    """Which packed parameters are entries of a kernel or of the dense matrix: all but the biases.

    Shapes:
        result: ``(parameters,)``, bool.

    Example:
        >>> int((~kernel_entries(16, 10)).sum())
        58
    """
    sizes = (TAPS * channels, TAPS * channels**2, TAPS * channels**2, channels * classes)
    parts = [torch.arange(size + width) < size for size, width in zip(sizes, (*[channels] * 3, classes), strict=True)]
    return torch.cat(parts)[packing(channels, classes)]


@dataclass(frozen=True)
class Kernel:
    """A convolution on planes: its matrix ``(network, plane and channel, channel)`` for each shift, and its bias."""

    pieces: Sequence[Tensor]
    bias: Tensor


@dataclass(frozen=True)
class Layers:
    """Views of a matrix of packed parameters, or of their gradients, layer by layer."""

    first: Tensor
    second: Kernel
    third: Kernel
    dense: Tensor
    bias: Tensor


def layers(packed: Tensor, channels: int, classes: int) -> Layers:
    """The layers of packed networks.

    Shapes:
        packed: ``(network, parameter)``, in the order of :func:`packing`.
    """
    shapes = [(TAPS + 1, channels)]
    for _ in range(2):
        shapes += [(len(_planes_of(shift)) * channels, channels) for shift in _SHIFTS] + [(1, channels)]
    shapes += [(channels, classes), (1, classes)]
    columns = packed.split([rows * width for rows, width in shapes], 1)
    first, *others = (part.unflatten(1, shape) for part, shape in zip(columns, shapes, strict=True))
    return Layers(first, Kernel(others[:4], others[4]), Kernel(others[5:9], others[9]), *others[10:])


class Passes:
    """Room for the values of some networks at a batch of images each, and the two passes through them.

    Args:
        networks: how many.
        batch: images of each.
        channels: of the convolutions.
        classes: of the dense layer.
        activation: relu or tanh.
        like: gives the type of numbers.

    Attributes:
        bytes: room for images as they are stored, ``(plane, network x image, position x tap)``, uint8.
        patches: the images that are shown, ``(plane, network, image and position, tap)``.
        second, third, last: values after each convolution.
        masks: one where a value is kept in training, else zero; none without dropout.
    """

    def __init__(self, networks: int, batch: int, channels: int, classes: int, activation: str, like: Tensor) -> None:
        self.activation, self._images = activation, (networks, batch)
        second, third = batch * _SECOND**2, batch * _THIRD**2
        self.second, self._second_gradient = (like.new_zeros(networks, second, 4 * channels) for _ in range(2))
        self.third, self._third_gradient = (like.new_zeros(networks, third, 4 * channels) for _ in range(2))
        self.last, self._last_gradient = (like.new_zeros(networks, third, channels) for _ in range(2))
        self._between, self._between_gradient = (like.new_zeros(networks, second, channels) for _ in range(2))
        self.bytes = torch.empty(len(PLANES), networks * batch, _SECOND**2 * (TAPS + 1), dtype=torch.uint8)
        self.patches = like.new_empty(len(PLANES), networks, second, TAPS + 1)
        self.masks: tuple[Tensor, ...] = ()

    def drop(self, chance: Tensor, rates: Tensor) -> None:
        """Sets which values are dropped in the next passes: those whose random byte is below the network's rate.

        Shapes:
            chance: ``(network, bytes)``, uint8, one byte per entry of the values; rates: ``(network,)``, uint8.
        """
        values = (self.second, self.third, self.last)
        if not self.masks:
            self.masks = tuple(torch.empty_like(value) for value in values)
        for part, mask in zip(chance.split([value[0].numel() for value in values], 1), self.masks, strict=True):
            torch.ge(part.view(mask.shape), rates[:, None, None], out=mask)

    @property
    def entries(self) -> int:
        """Values of one network that may be dropped: bytes that :meth:`drop` needs."""
        return sum(value[0].numel() for value in (self.second, self.third, self.last))

    def forward(self, weights: Layers) -> Tensor:
        """Logits ``(network, image, class)`` of the images in `patches`; values are kept for the gradient."""
        channels = self.last.shape[2]
        for plane, part in enumerate(self.patches):
            columns = self.second[..., plane * channels : (plane + 1) * channels]
            torch.bmm(part, weights.first, out=columns)
        self._activate(0, self.second)
        _convolve(self.second, weights.second, self._between, _SECOND)
        for ours, theirs in self._sides(self._between, self.third):
            theirs.copy_(ours)
        self._activate(1, self.third)
        _convolve(self.third, weights.third, self.last, _THIRD)
        self._activate(2, self.last)
        self.pooled = self._valid(self.last).mean((2, 3))
        return torch.baddbmm(weights.bias, self.pooled, weights.dense)

    def backward(self, weights: Layers, gradients: Layers, error: Tensor) -> None:
        """Writes the gradient, given that of the loss by the logits of the last forward pass.

        Shapes:
            error: ``(network, image, class)``.
        """
        torch.bmm(self.pooled.mT, error, out=gradients.dense)
        torch.sum(error, 1, keepdim=True, out=gradients.bias)
        pooled = torch.bmm(error, weights.dense.mT).div_(_LAST**2)
        # Elsewhere it may hold what a network left that diverged.
        self._last_gradient.zero_()
        self._valid(self._last_gradient).copy_(pooled[:, :, None, None])
        self._deactivate(2, self._last_gradient, self.last)
        _kernel_gradient(self.third, self._last_gradient, gradients.third, _THIRD)
        _input_gradient(self._third_gradient, weights.third, self._last_gradient, _THIRD)
        self._deactivate(1, self._third_gradient, self.third)
        for ours, theirs in self._sides(self._between_gradient, self._third_gradient):
            ours.copy_(theirs)
        _kernel_gradient(self.second, self._between_gradient, gradients.second, _SECOND)
        _input_gradient(self._second_gradient, weights.second, self._between_gradient, _SECOND)
        self._deactivate(0, self._second_gradient, self.second)
        channels = self.last.shape[2]
        for plane, part in enumerate(self.patches):
            columns = self._second_gradient[..., plane * channels : (plane + 1) * channels]
            # The first product overwrites what is there, even where it is not a number.
            gradients.first.baddbmm_(part.mT, columns, beta=int(plane > 0))

    def _activate(self, level: int, values: Tensor) -> None:
        if self.activation == "relu":
            values.clamp_(min=0)
        else:
            # NumPy's is vectorised on every machine; torch's took 13 times as long on one.
            np.tanh(values.numpy(), out=values.numpy())
        if self.masks:
            values.mul_(self.masks[level])

    def _deactivate(self, level: int, gradient: Tensor, values: Tensor) -> None:
        if self.activation == "relu":
            # What was dropped is zero, and so is its derivative.
            torch.ops.aten.threshold_backward.grad_input(gradient, values, 0, grad_input=gradient)
            return
        torch.ops.aten.tanh_backward.grad_input(gradient, values, grad_input=gradient)
        if self.masks:
            gradient.mul_(self.masks[level])

    def _valid(self, values: Tensor) -> Tensor:
        """The positions that the mean is taken over: ``(network, image, row, column, channel)``."""
        return values.view(*self._images, _THIRD, _THIRD, -1)[:, :, :_LAST, :_LAST]

    def _sides(self, plain: Tensor, planes: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Views of the second layer's output by parity, each beside its plane of the third layer's input."""
        channels = plain.shape[2]
        split = plain.view(*self._images, _THIRD, 2, _THIRD, 2, channels)
        whole = planes.view(*self._images, _THIRD, _THIRD, len(PLANES), channels)
        return [(split[:, :, :, p, :, q], whole[..., at, :]) for at, (p, q) in enumerate(PLANES)]


def _shifted(planes: Tensor, width: int) -> list[Tensor]:
    """What each shift reads: rows from ``width * a + b`` on, the columns of its planes."""
    rows, channels = planes.shape[1] - width - 1, planes.shape[2] // len(PLANES)
    views = []
    for a, b in _SHIFTS:
        here, start = _planes_of((a, b)), width * a + b
        views.append(planes[:, start : start + rows, here[0] * channels : (here[-1] + 1) * channels])
    return views


def _convolve(planes: Tensor, kernel: Kernel, out: Tensor, width: int) -> None:
    """The convolution of planes whose positions stand ``width`` to a row."""
    first, *others = _shifted(planes, width)
    valid = out[:, : first.shape[1]]
    torch.baddbmm(kernel.bias, first, kernel.pieces[0], out=valid)
    for part, piece in zip(others, kernel.pieces[1:], strict=True):
        valid.baddbmm_(part, piece)


def _kernel_gradient(planes: Tensor, above: Tensor, gradient: Kernel, width: int) -> None:
    torch.sum(above, 1, keepdim=True, out=gradient.bias)
    for part, piece in zip(_shifted(planes, width), gradient.pieces, strict=True):
        torch.bmm(part.mT, above[:, : part.shape[1]], out=piece)


def _input_gradient(planes: Tensor, kernel: Kernel, above: Tensor, width: int) -> None:
    """Writes the gradient by the planes."""
    first, *others = _shifted(planes, width)
    above = above[:, : first.shape[1]]
    planes[:, first.shape[1] :].zero_()
    first.baddbmm_(above, kernel.pieces[0].mT, beta=0)
    for part, piece in zip(others, kernel.pieces[1:], strict=True):
        part.baddbmm_(above, piece.mT)
