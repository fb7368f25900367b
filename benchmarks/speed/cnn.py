"""Training many small CNNs: one network at a time, vmap, grouped convolutions, unfolded patches, and by hand.

All ways take the gradient of the same networks at the same images, on one thread, in turns; the best turn of each
counts. Figures are milliseconds of processor time for one network's batch, forward and backward, without optimiser;
`ratio` is to the fastest of the loops over networks. `step` is a whole step of the package, with optimiser, data and
the dropout of its default settings. `shares` takes a step of eight networks apart: microseconds of processor time per
network, and the rates of the products, operations at positions that no valid output has not counted. Prints one JSON
object.

    python benchmarks/speed/cnn.py [--batch 32] [--chunks 4 8 16 32] [--turns 5]
"""

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from weightspace.allocator import keep_freed_memory
from weightspace.zoo.generate.cnn import CnnSettings, member, state_of
from weightspace.zoo.generate.convolution import (
    Passes,
    _convolve,
    _input_gradient,
    _kernel_gradient,
    layers,
    packing,
)
from weightspace.zoo.generate.group import Group
from weightspace.zoo.generate.pixels import Pixels, prepare

State = dict[str, Tensor]
Logits = Callable[[State, Tensor], Tensor]


def single(state: State, images: Tensor) -> Tensor:
    values = images
    for key in ("0", "2", "4"):
        values = functional.relu(functional.conv2d(values, state[f"{key}.weight"], state[f"{key}.bias"], stride=2))
    return functional.linear(values.mean((2, 3)), state["8.weight"], state["8.bias"])


def loop(state: State, images: Tensor) -> Tensor:
    rows = range(len(images))
    return torch.stack([single({key: value[row] for key, value in state.items()}, images[row]) for row in rows])


def loop_channels_last(state: State, images: Tensor) -> Tensor:
    return loop(state, images.flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, images.shape[:2]))


def vmap(state: State, images: Tensor) -> Tensor:
    return torch.func.vmap(single)(state, images)


def grouped(state: State, images: Tensor) -> Tensor:
    """The channels of all networks side by side, one group each."""
    networks, batch = images.shape[:2]
    values = images[:, :, 0].transpose(0, 1)
    for key in ("0", "2", "4"):
        weight, bias = state[f"{key}.weight"].flatten(0, 1), state[f"{key}.bias"].flatten()
        values = functional.relu(functional.conv2d(values, weight, bias, stride=2, groups=networks))
    pooled = values.mean((2, 3)).view(batch, networks, -1).transpose(0, 1)
    return torch.baddbmm(state["8.bias"][:, None], pooled, state["8.weight"].mT)


def unfolded(state: State, images: Tensor) -> Tensor:
    """Patches as rows of a matrix, and batched products."""
    values = images
    for key in ("0", "2", "4"):
        cut = values.unfold(3, 3, 2).unfold(4, 3, 2).permute(0, 1, 3, 4, 2, 5, 6)
        rows = cut.flatten(4).flatten(1, 3)
        products = torch.baddbmm(state[f"{key}.bias"][:, None], rows, state[f"{key}.weight"].flatten(2).mT)
        values = functional.relu(products).view(*cut.shape[:4], -1).permute(0, 1, 4, 2, 3)
    return torch.baddbmm(state["8.bias"][:, None], values.mean((3, 4)), state["8.weight"].mT)


def by_autograd(way: Logits, flat: Tensor, images: Tensor, labels: Tensor) -> Callable[[], Tensor]:
    def gradient() -> Tensor:
        weights = flat.clone().requires_grad_()
        logits = way(state_of(weights, CnnSettings()), images)
        functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum").backward()
        return weights.grad / images.shape[1]

    return gradient


def by_hand(flat: Tensor, data: Pixels, rows: Tensor) -> Callable[[], Tensor]:
    order = packing(16, 10)
    packed, gradient, back = flat[:, order], torch.empty_like(flat), order.argsort()
    weights, gradients = layers(packed, 16, 10), layers(gradient, 16, 10)
    passes = Passes(*rows.shape, 16, 10, "relu", packed)

    def take() -> Tensor:
        labels = data.gather(rows, passes)
        error = passes.forward(weights).softmax(2).sub_(functional.one_hot(labels, 10))
        passes.backward(weights, gradients, error.div_(rows.shape[1]))
        return gradient[:, back]

    return take


def step(settings: CnnSettings, data: Pixels, networks: int) -> Callable[[], object]:
    group = Group(data, settings.activation, settings.batch, 10)
    group.fill([partial(member, settings, len(data), 10, number) for number in range(networks)], networks)
    return group.advance


def measure(networks: int, batch: int, turns: int) -> dict[str, float]:
    """Milliseconds of one network's batch, by way."""
    chance = np.random.default_rng(0)
    pixels, labels = chance.integers(0, 256, (500, 32, 32), np.uint8), chance.integers(0, 10, 500)
    data, rows = prepare(pixels, labels), torch.from_numpy(chance.integers(0, 500, (networks, batch)))
    images = torch.from_numpy(pixels)[rows][:, :, None] * (2 / 255) - 1
    settings = CnnSettings(batch=batch, images=500, steps=(1000, 1000))
    order = packing(16, 10).argsort()
    flat = torch.stack([member(settings, 500, 10, number).weights[order] for number in range(networks)])
    ways: dict[str, Callable[[], object]] = {
        way.__name__.replace("_", " "): by_autograd(way, flat, images, data.labels[rows])
        for way in (loop, loop_channels_last, vmap, grouped, unfolded)
    }
    ways["by hand"] = by_hand(flat, data, rows)
    first, last = ways["loop"](), ways["by hand"]()
    torch.testing.assert_close(last, first, rtol=1e-3, atol=1e-5)
    for activation in ("relu", "tanh"):
        ways[f"step, {activation}"] = step(CnnSettings(activation, batch=batch, steps=(1000, 1000)), data, networks)
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(turns):
        for name, way in ways.items():
            start = time.process_time()
            way()
            best[name] = min(best[name], time.process_time() - start)
    return {name: 1e3 * seconds / networks for name, seconds in best.items()}


def shares(batch: int, turns: int, networks: int = 8) -> dict[str, float]:
    """Microseconds of one network's step, part by part; GFLOP/s of the products at valid positions."""
    chance = np.random.default_rng(0)
    data = prepare(chance.integers(0, 256, (500, 32, 32), np.uint8), chance.integers(0, 10, 500))
    group = Group(data, "relu", batch, 10)
    settings = CnnSettings(batch=batch, images=500, steps=(1000, 1000))
    group.fill([partial(member, settings, 500, 10, number) for number in range(networks)], networks)
    group.advance()
    passes, weights, gradients = group._passes, group._views, group._gradients
    rows = torch.from_numpy(chance.integers(0, 500, (networks, batch)))
    bytes_, error = group._chance(), torch.full((networks, batch, 10), 1e-3)
    small, between, last = passes._third_gradient, passes._between_gradient, passes._last_gradient
    spare = torch.empty_like(group.parameters)
    parts: dict[str, Callable[[], object]] = {
        "images": lambda: data.gather(rows, passes),
        "random bytes": group._chance,
        "masks": lambda: passes.drop(bytes_, group._dropped),
        "forward": lambda: passes.forward(weights),
        "back": lambda: passes.backward(weights, gradients, error),
        "optimiser": lambda: group._descent.step(group.parameters, group._gradient.mul_(0), spare),
        "second convolution": lambda: _convolve(passes.second, weights.second, passes._between, 8),
        "second, its kernel": lambda: _kernel_gradient(passes.second, between, gradients.second, 8),
        "second, its input": lambda: _input_gradient(passes._second_gradient, weights.second, between, 8),
        "third convolution": lambda: _convolve(passes.third, weights.third, passes.last, 4),
        "third, its kernel": lambda: _kernel_gradient(passes.third, last, gradients.third, 4),
        "third, its input": lambda: _input_gradient(small, weights.third, last, 4),
        "whole step": group.advance,
    }
    best = dict.fromkeys(parts, float("inf"))
    for _ in range(10 * turns):
        for name, part in parts.items():
            start = time.process_time()
            part()
            best[name] = min(best[name], 1e6 * (time.process_time() - start) / networks)
    told = {name: round(value, 1) for name, value in best.items()}
    # Operations of one pass at the 7 x 7 and 3 x 3 positions that exist.
    for name, positions in (("second", 49), ("third", 9)):
        spent = sum(value for part, value in best.items() if part.startswith(name))
        told[f"{name}, gigaflop_per_second"] = round(3 * 2e-3 * positions * 9 * 16 * 16 * batch / spent, 1)
    return told


def report(batch: int, chunks: list[int], turns: int) -> dict[str, object]:
    torch.set_num_threads(1)
    keep_freed_memory()
    told = {}
    for networks in chunks:
        found = measure(networks, batch, turns)
        slowest = min(found["loop"], found["loop channels last"])
        told[networks] = {
            "milliseconds": {name: round(value, 3) for name, value in found.items()},
            "ratio": {name: round(slowest / value, 2) for name, value in found.items()},
        }
    return {"torch": torch.__version__, "batch": batch, "networks": told, "shares": shares(batch, turns)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--chunks", type=int, nargs="+", default=[4, 8, 16, 32])
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    print(json.dumps(report(arguments.batch, arguments.chunks, arguments.turns), indent=1))
