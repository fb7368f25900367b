"""What a training step costs beside a bare PyTorch loop: Lightning Fabric's wrappers, and ours, in one run.

Four ways to do the same step (pick 64 networks of 1,185 weights, forward, cross-entropy, backward, clip, fused AdamW),
in blocks, by turns that rotate, many times over; each block is divided by the bare block beside it, so that a machine
that is busy with something else moves both. `fabric` wraps everything that Fabric can wrap; `learner` is the step of
`weightspace.training`; `loop` adds what `train` does between steps: the order, the learning rate, the finite check.
`bare_again` is a second bare loop: its distance from 1 is the error of the measurement.
Ends with JSON on stdout.

    python benchmarks/speed/loop.py [blocks]
"""

import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from weightspace.tasks import Classify
from weightspace.training import Split
from weightspace.training.optim import adamw, learning_rate
from weightspace.training.seed import Order
from weightspace.training.settings import TrainSettings
from weightspace.training.step import Learner

NETWORKS, WEIGHTS, BATCH, CLASSES = 1600, 1185, 64, 10
SIZES = {
    "small: 1185-128-10": ((128,), 10),
    "middle: 1185-128-128-128-10": ((128,) * 3, 10),
    "large: 1185-1024-1024-10": ((1024,) * 2, 2),
}
SETTINGS = TrainSettings(steps=10**6, batch=BATCH, device="cpu")
TASK = Classify(CLASSES)

Step = Callable[[int], object]


def build(hidden: tuple[int, ...]) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    width = WEIGHTS
    for next_width in hidden:
        layers += [nn.Linear(width, next_width), nn.ReLU()]
        width = next_width
    return nn.Sequential(*layers, nn.Linear(width, CLASSES))


def bare(hidden: tuple[int, ...], split: Split, rows: list[Tensor]) -> Step:
    model = build(hidden)
    optimiser = adamw(model, weight_decay=0.01)

    def step(number: int) -> None:
        pick = rows[number % len(rows)]
        optimiser.zero_grad()
        loss = cross_entropy(model(split.features[pick]), split.target[pick])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()

    return step


def fabric(hidden: tuple[int, ...], split: Split, rows: list[Tensor]) -> Step:
    lightning = Fabric(accelerator="cpu", devices=1)
    plain = build(hidden)
    model, optimiser = lightning.setup(plain, adamw(plain, weight_decay=0.01))

    def step(number: int) -> None:
        pick = rows[number % len(rows)]
        optimiser.zero_grad()
        loss = cross_entropy(model(split.features[pick]), split.target[pick])
        lightning.backward(loss)
        lightning.clip_gradients(model, optimiser, max_norm=1.0, error_if_nonfinite=False)
        optimiser.step()

    return step


def learner(hidden: tuple[int, ...], split: Split, rows: list[Tensor]) -> Step:
    ours = Learner(build(hidden), TASK, SETTINGS)
    return lambda number: ours.step(ours.read(split, rows[number % len(rows)]), number, 1e-3)


def loop(hidden: tuple[int, ...], split: Split, rows: list[Tensor]) -> Step:
    ours, order, losses = Learner(build(hidden), TASK, SETTINGS), Order(len(split), BATCH, seed=0), []

    def step(number: int) -> None:
        rate = learning_rate(number, 10**6, peak=1e-3, warmup=0.05, schedule="cosine")
        losses.append(ours.step(ours.read(split, order.rows(number)), number, rate))
        if len(losses) == 10:
            torch.stack(losses).tolist()
            losses.clear()

    return step


def measure(hidden: tuple[int, ...], steps: int, blocks: int) -> dict[str, object]:
    chance = torch.Generator().manual_seed(0)
    split = Split(
        torch.randn(NETWORKS, WEIGHTS, generator=chance), torch.randint(0, CLASSES, (NETWORKS,), generator=chance)
    )
    order = Order(NETWORKS, BATCH, seed=1)
    rows = [order.rows(step) for step in range(100)]
    ways = {way.__name__: way(hidden, split, rows) for way in (bare, fabric, learner, loop)}
    ways["bare_again"] = bare(hidden, split, rows)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for block in range(blocks + 1):
        names = list(ways)
        turn = block % len(names)
        for name in names[turn:] + names[:turn]:
            step = ways[name]
            begin = time.perf_counter()
            for number in range(steps):
                step(block * steps + number)
            times[name].append((time.perf_counter() - begin) / steps)
    times = {name: values[1:] for name, values in times.items()}  # the first block warms up
    return {
        "bare_microseconds": round(1e6 * _quartile(times["bare"]), 1),
        "ratio_of_lower_quartiles": {
            name: round(_quartile(values) / _quartile(times["bare"]), 4) for name, values in times.items()
        },
        "median_of_ratios_to_the_block_beside": {
            name: round(statistics.median(a / b for a, b in zip(values, times["bare"], strict=True)), 4)
            for name, values in times.items()
        },
    }


def _quartile(values: list[float]) -> float:
    return statistics.quantiles(values, n=4)[0]


def main() -> None:
    blocks = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    torch.set_num_threads(1)
    sizes = {name: measure(hidden, steps, blocks) for name, (hidden, steps) in SIZES.items()}
    print(
        json.dumps(
            {"threads": 1, "torch": torch.__version__, "batch": BATCH, "blocks": blocks, "sizes": sizes}, indent=1
        )
    )


if __name__ == "__main__":
    main()
