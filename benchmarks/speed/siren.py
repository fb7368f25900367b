"""Fitting many SIRENs: one network at a time, vmap, naive batching, the gradient by hand, and that compiled.

All ways fit the same images from the same starts on the same machine, in turns, several times over; the best turn of
each counts, so that a busy machine harms none of them more than another. Figures are optimisation steps of one
network per second (`steps_per_second`, and `ratio` to the faster of the two loops), processor time per step (which a
busy machine disturbs less), and the seconds that a network needs to reach 30 dB at that speed.

`to_35_dB` compares whole recipes: that of the published SIRENs (one network at a time, all pixels, Adam at a constant
1e-4 as in the code that came with them), the package's defaults, and `QUICK`; steps are those until the mean over
images reaches 35 dB. `shares` takes a step of 16 networks apart: microseconds of processor time per network, and the
rate of its matrix products. Prints one JSON object.

    python benchmarks/speed/siren.py [--networks 256] [--turns 3] [--compile]
"""

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from weightspace.zoo.generate.chunk import Chunk
from weightspace.zoo.generate.siren import SirenSettings, fit_sirens, forward_pass, initial_state, learning_rate, siren
from weightspace.zoo.generate.thread import one_thread_per_operation

QUICK = SirenSettings(learning_rate=1e-2, moments=(0.7, 0.9))

Way = Callable[[Tensor, SirenSettings], None]


def points(side: int) -> Tensor:
    low, high = forward_pass(SirenSettings())["coordinate_range"]
    return torch.cartesian_prod(*[torch.linspace(low, high, side)] * 2)


def loop(images: Tensor, settings: SirenSettings) -> None:
    """One network after the other: modules, autograd, torch.optim.Adam."""
    grid = points(images.shape[1])
    start = initial_state(settings, torch.arange(len(images)))
    for row, image in enumerate(images):
        network, target = siren(settings), image.reshape(-1, 1)
        network.load_state_dict({key: block[row] for key, block in start.items()})
        optimiser = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
        for _ in range(settings.steps):
            optimiser.zero_grad()
            (network(grid) - target).square().mean().backward()
            optimiser.step()


def vmap(images: Tensor, settings: SirenSettings) -> None:
    """torch.func.vmap over torch.func.grad of the module's loss."""
    grid, template = points(images.shape[1]), siren(settings)

    def loss(parameters: dict[str, Tensor], target: Tensor) -> Tensor:
        return (torch.func.functional_call(template, parameters, (grid,)) - target).square().mean()

    gradient = torch.func.vmap(torch.func.grad(loss))
    for part in images.split(settings.chunk):
        parameters = initial_state(settings, torch.arange(len(part)))
        optimiser = torch.optim.Adam(list(parameters.values()), lr=settings.learning_rate, foreach=True)
        for _ in range(settings.steps):
            for key, block in gradient(parameters, part.reshape(len(part), -1, 1)).items():
                parameters[key].grad = block
            optimiser.step()


def batched(images: Tensor, settings: SirenSettings) -> None:
    """Batched matrix products, the gradient left to autograd."""
    for part in images.split(settings.chunk):
        parameters = [block.requires_grad_() for block in initial_state(settings, torch.arange(len(part))).values()]
        optimiser = torch.optim.Adam(parameters, lr=settings.learning_rate, foreach=True)
        target, grid = part.reshape(len(part), -1, 1), points(images.shape[1]).expand(len(part), -1, -1)
        for _ in range(settings.steps):
            optimiser.zero_grad()
            values = grid
            for weight, bias in zip(parameters[:-2:2], parameters[1:-2:2], strict=True):
                values = torch.sin(settings.omega * torch.baddbmm(bias[:, None], values, weight.mT))
            output = torch.baddbmm(parameters[-1][:, None], values, parameters[-2].mT)
            (output - target).square().mean((1, 2)).sum().backward()
            optimiser.step()


def by_hand(images: Tensor, settings: SirenSettings) -> None:
    """What the package does."""
    fit_sirens(images, torch.arange(len(images)), settings)


def compiled(images: Tensor, settings: SirenSettings, *, step: Callable[..., None]) -> None:
    """The gradient by hand as one pure function, given to torch.compile."""
    side = torch.linspace(-1, 1, images.shape[1])
    for part in images.split(settings.chunk):
        state = initial_state(settings, torch.arange(len(part)))
        moments = [[torch.zeros_like(block) for block in state.values()] for _ in range(2)]
        for number in range(settings.steps):
            scales = [1 - beta ** (number + 1) for beta in (0.9, 0.999)]
            rate = learning_rate(settings, number) / scales[0]
            step(list(state.values()), *moments, part.flatten(1)[:, None], side, *map(torch.tensor, (rate, scales[1])))


def pure_step(
    state: list[Tensor],
    mean: list[Tensor],
    square: list[Tensor],
    target: Tensor,
    side: Tensor,
    rate: Tensor,
    second: Tensor,
) -> None:
    """One step of networks with two hidden layers and omega 30, all operations visible to the compiler."""
    first, bias, inner, inner_bias, last, last_bias = state
    row, column = 30 * (first[:, :, :1] * side + bias[..., None]), 30 * first[:, :, 1:] * side
    (a, b), (c, d) = ((angle.sin(), angle.cos()) for angle in (row, column))
    sine = (a[..., None] * d[:, :, None] + b[..., None] * c[:, :, None]).flatten(2)
    cosine = (b[..., None] * d[:, :, None] - a[..., None] * c[:, :, None]).flatten(2)
    angle = 30 * (torch.bmm(inner, sine) + inner_bias[..., None])
    top, slope = angle.sin(), angle.cos()
    error = (torch.bmm(last, top) + last_bias[..., None] - target) * (2 / target.shape[2])
    change = torch.bmm(last.mT, error) * slope * 30
    below = (torch.bmm(inner.mT, change) * cosine * 30).unflatten(2, (len(side), len(side)))
    sums = torch.stack([(below.sum(3) * side).sum(2), (below.sum(2) * side).sum(2)], 2)
    gradients = [
        sums,
        below.sum((2, 3)),
        torch.bmm(change, sine.mT),
        change.sum(2),
        torch.bmm(error, top.mT),
        error.sum(2),
    ]
    for value, low, high, gradient in zip(state, mean, square, gradients, strict=True):
        low.lerp_(gradient, 0.1)
        high.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        value.sub_(rate * low / ((high / second).sqrt() + 1e-8))


def speed(way: Way, images: Tensor, settings: SirenSettings) -> tuple[float, float]:
    """Steps per second by the clock, and microseconds of processor time per step."""
    start, busy = time.perf_counter(), time.process_time()
    way(images, settings)
    steps = len(images) * settings.steps
    return steps / (time.perf_counter() - start), 1e6 * (time.process_time() - busy) / steps


def pictures(count: int) -> Tensor:
    """The scikit-learn digits, 8 x 8, enlarged to the size of MNIST."""
    from sklearn.datasets import load_digits

    digits = torch.from_numpy(load_digits().images[:count]).float()[:, None] / 16
    return torch.nn.functional.interpolate(digits, size=28, mode="bilinear", align_corners=True)[:, 0].clamp(0, 1)


def steps_to(level: float, images: Tensor, settings: SirenSettings) -> int | None:
    """The fewest steps, of a few choices, whose schedule brings the mean image to a level in dB."""
    for steps in (15, 20, 25, 30, 35, 40, 45, 50, 60, 80, 100, 150, 200):
        _, psnr = fit_sirens(images, torch.arange(len(images)), replace(settings, steps=steps))
        if psnr.mean() >= level:
            return steps
    return None


def published_steps(level: float, images: Tensor, rate: float = 1e-4, most: int = 6000) -> int | None:
    """Steps of Adam at a constant rate, on all pixels, until the mean image reaches a level in dB; asked every 50."""
    settings = SirenSettings()
    shapes = {key: tuple(block.shape[1:]) for key, block in initial_state(settings, torch.arange(1)).items()}
    start = torch.cat([block.flatten(1) for block in initial_state(settings, torch.arange(len(images))).values()], 1)
    chunk = Chunk(start, images[:, None], shapes, settings.omega)
    for step in range(1, most + 1):
        chunk.step(step, rate)
        if step % 50 == 0 and chunk.psnr().mean() >= level:
            return step
    return None


def to_35_decibels(images: Tensor, rates: dict[str, float]) -> dict[str, object]:
    """Steps and seconds per network to a mean of 35 dB, and how many times as fast as the published recipe."""
    steps = {
        "published": published_steps(35.0, images[:16]),
        "default": steps_to(35.0, images, SirenSettings()),
        "quick": steps_to(35.0, images, QUICK),
    }
    loop = max(rates["loop"], rates["loop, one thread"])
    speeds = {"published": loop, "default": rates["by hand"], "quick": rates["by hand"]}
    spent = {name: taken / speeds[name] for name, taken in steps.items() if taken is not None}
    return {
        "steps": steps,
        "seconds_per_network": {name: round(value, 5) for name, value in spent.items()},
        "times_as_fast": {name: round(spent["published"] / value, 1) for name, value in spent.items()},
    }


def shares(images: Tensor, turns: int) -> dict[str, float]:
    """Microseconds of processor time per network and step, part by part, on one thread."""
    settings = SirenSettings()
    shapes = {key: tuple(block.shape[1:]) for key, block in initial_state(settings, torch.arange(1)).items()}
    start = torch.cat([block.flatten(1) for block in initial_state(settings, torch.arange(16)).values()], 1)
    chunk = Chunk(start, images[:16, None], shapes, settings.omega)
    chunk.step(1, 1e-3)
    sine, cosine, above, weight = chunk.sines[0], chunk.cosines[1], chunk.above[0], chunk.weights[1]
    spare, angle, square = torch.empty_like(sine), chunk.cosines[1].clone(), torch.empty_like(weight)
    error, last = chunk.outputs(), torch.empty_like(chunk.weights[-1])
    parts: dict[str, Callable[[], object]] = {
        "product forward": lambda: torch.baddbmm(chunk.biases[1], weight, sine, out=spare),
        "product for the weights": lambda: torch.bmm(above, sine.mT, out=square),
        "product for the values": lambda: torch.bmm(weight.mT, above, out=spare),
        "products of the output": lambda: (
            torch.baddbmm(chunk.biases[-1], chunk.weights[-1], sine),
            torch.bmm(error, sine.mT, out=last),
            torch.bmm(chunk.weights[-1].mT, error, out=spare),
        ),
        "sines and cosines": lambda: np.cos(np.sin(angle.numpy(), out=spare.numpy()), out=spare.numpy()),
        "first layer forward": chunk._first_layer,
        "first layer back": lambda: torch.nn.functional.linear(cosine, chunk.lifted),
        "products with cosines": lambda: (torch.mul(cosine, above, out=spare), torch.mul(cosine, above, out=spare)),
        "sums of biases": lambda: above.sum(2, keepdim=True),
        "whole step": lambda: chunk.step(2, 1e-6),
    }
    best = dict.fromkeys(parts, math.inf)
    for _ in range(20 * turns):
        for name, part in parts.items():
            start_time = time.process_time_ns()
            for _ in range(5):
                part()
            best[name] = min(best[name], 1e-3 * (time.process_time_ns() - start_time) / 80)
    told = {name: round(value, 1) for name, value in best.items()}
    large = sum(best[name] for name in parts if name.startswith("product "))
    operations = 3 * 2 * 32 * 32 * 784
    rate = 1e-3 * operations / large
    return told | {"gigaflop_per_second": round(rate, 1), "share_of_products": round(large / best["whole step"], 2)}


def on_one_thread(work: Callable[[], dict[str, float]]) -> dict[str, float]:
    with one_thread_per_operation():
        return work()


def measure(count: int, turns: int, compile_too: bool) -> dict[str, object]:
    images, threads = pictures(count), torch.get_num_threads()
    brief = SirenSettings(steps=20)
    wide = SirenSettings(steps=20, chunk=128)
    # The loop gets one thread per operation where that is faster: both are tried.
    ways: dict[str, tuple[Way, int, SirenSettings, int]] = {
        "loop": (loop, 4, brief, threads),
        "loop, one thread": (loop, 4, brief, 1),
        "vmap": (vmap, min(count, 128), SirenSettings(steps=20, chunk=32), threads),
        "batched, autograd": (batched, min(count, 128), SirenSettings(steps=20, chunk=32), threads),
        "batched, autograd, wide": (batched, min(count, 128), wide, threads),
        "by hand": (by_hand, count, brief, threads),
        "by hand, one thread": (by_hand, count, brief, 1),
    }
    seconds_to_compile = None
    if compile_too:
        way = partial(compiled, step=torch.compile(pure_step, dynamic=False))
        start = time.perf_counter()
        way(images[: brief.chunk], brief)
        seconds_to_compile = time.perf_counter() - start
        ways["by hand, compiled"] = (way, count // brief.chunk * brief.chunk, brief, threads)
    best, busy = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, math.inf)
    for _ in range(turns):
        for name, (way, networks, settings, width) in ways.items():
            torch.set_num_threads(width)
            rate, microseconds = speed(way, images[:networks], settings)
            best[name], busy[name] = max(best[name], rate), min(busy[name], microseconds)
    torch.set_num_threads(threads)
    slowest = max(best["loop"], best["loop, one thread"])
    steps = steps_to(30.0, images[:64], brief)
    return {
        "threads": threads,
        "torch": torch.__version__,
        "steps_per_second": {name: round(value) for name, value in best.items()},
        "ratio": {name: round(value / slowest, 2) for name, value in best.items()},
        "processor_microseconds_per_step": {name: round(value) for name, value in busy.items()},
        "seconds_to_compile": seconds_to_compile,
        "steps_to_30_dB": steps,
        "seconds_per_network_to_30_dB": {name: steps and round(steps / value, 5) for name, value in best.items()},
        "to_35_dB": to_35_decibels(images[:64], best),
        "shares": on_one_thread(partial(shares, images, turns)),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=256)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="also torch.compile, which needs a C++ compiler")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.networks, arguments.turns, arguments.compile), indent=1))
