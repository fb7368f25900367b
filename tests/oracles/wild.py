"""A convolutional network with skips, one number at a time."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def logits(image: np.ndarray, layers: Sequence[Mapping[str, Any]], state: Mapping[str, np.ndarray]) -> np.ndarray:
    """Outputs for one image `(row, column)`."""
    planes = image[None]
    for number, layer in enumerate(layers):
        weight, bias = (state[f"convolutions.{number}.{kind}"] for kind in ("weight", "bias"))
        given = _convolved(planes, weight, bias, layer["stride"])
        flat = [math.tanh(value) if layer["activation"] == "tanh" else max(0.0, value) for value in given.ravel()]
        activated = np.array(flat).reshape(given.shape)
        planes = planes + activated if layer["skip"] else activated
    return state["dense.weight"] @ planes.mean((1, 2)) + state["dense.bias"]


def _convolved(planes: np.ndarray, weight: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    side = weight.shape[2]
    framed = np.pad(planes, [(0, 0), (side // 2, side // 2), (side // 2, side // 2)])
    rows, columns = ((size - 1) // stride + 1 for size in planes.shape[1:])
    out = np.zeros((len(weight), rows, columns))
    for channel in range(len(weight)):
        for row in range(rows):
            for column in range(columns):
                patch = framed[:, row * stride : row * stride + side, column * stride : column * stride + side]
                out[channel, row, column] = (patch * weight[channel]).sum() + bias[channel]
    return out
