"""Networks of TensorFlow's axis order in plain loops: kernels (height, width, in, out), images (height, width, in)."""

from __future__ import annotations

import numpy as np


def convolve(image: np.ndarray, kernel: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """A convolution without padding: `(height, width, in)` to `(height', width', out)`."""
    tall, wide, _, channels = kernel.shape
    rows = (image.shape[0] - tall) // stride + 1
    columns = (image.shape[1] - wide) // stride + 1
    out = np.zeros((rows, columns, channels))
    for row in range(rows):
        for column in range(columns):
            patch = image[row * stride : row * stride + tall, column * stride : column * stride + wide]
            for channel in range(channels):
                out[row, column, channel] = (patch * kernel[:, :, :, channel]).sum() + bias[channel]
    return out


def small_cnn(flat: np.ndarray, layout: list[tuple[str, tuple[int, ...]]], image: np.ndarray, activation) -> np.ndarray:
    """Logits of the Small CNN Zoo's network for one grey image `(height, width)`, weights in the layout's order."""
    variables, start = {}, 0
    for name, shape in layout:
        stop = start + int(np.prod(shape))
        variables[name] = flat[start:stop].astype(np.float64).reshape(shape)
        start = stop
    values = image[:, :, None].astype(np.float64)
    layers = list(dict.fromkeys(name.rpartition("/")[0] for name, _ in layout))
    for layer in layers[:-1]:
        values = activation(convolve(values, variables[f"{layer}/kernel:0"], variables[f"{layer}/bias:0"], 2))
    return values.mean(axis=(0, 1)) @ variables[f"{layers[-1]}/kernel:0"] + variables[f"{layers[-1]}/bias:0"]
