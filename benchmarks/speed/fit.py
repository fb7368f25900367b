"""Training many copies of a module: `zoo.fit`'s company side by side against one network at a time.

The loop trains each network by itself as anyone would: its own module, `torch.optim.AdamW` as it is by default, batches
gathered by index. The company takes the same steps of the same networks by `torch.func`, on the same thread; both
start from the same weights and see the same batches, and their weights are compared afterwards. They take turns; the
best turn of each counts. Figures are milliseconds of processor time for one step of one network; `ratio` is the loop's
to the company's. `parts` says where a company's step goes: `gradient` (vmap of grad_and_value of functional_call),
`update` (the optimiser), and what is left: gathering batches and bookkeeping. `products` is the time of the matrix
products of a step of the MLP alone, as batched products of the same sizes: a bound for any way.
Prints one JSON object.

    python benchmarks/speed/fit.py [--networks 1 8 64] [--steps 30] [--turns 5]
"""

import argparse
import json
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from weightspace.allocator import keep_freed_memory
from weightspace.zoo import Choice, Examples, FitSettings, Hyperparameters
from weightspace.zoo.generate.blueprint import Blueprint
from weightspace.zoo.generate.ensemble import Ensemble, Trainee
from weightspace.zoo.generate.fit import Task

WIDTHS = (64, 32, 32, 10)
BATCH = 32


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))


def cnn() -> nn.Module:
    """The network of `zoo make cnn`, on images of 16 by 16."""
    return nn.Sequential(
        *(nn.Conv2d(1, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU()),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
    )


def task_of(template: nn.Module, inputs: Tensor, networks: int, steps: int) -> Task:
    targets = torch.arange(len(inputs)) % 10
    given = Hyperparameters(count=networks, learning_rate=Choice((1e-4, 1e-3)), weight_decay=1e-2, optimiser="adamw")
    settings = FitSettings(batch=BATCH, interval=10)
    return Task(Blueprint(template), nn.CrossEntropyLoss(), Examples((inputs, targets)), given, steps, (1.0,), settings)


def alone(task: Task, template: nn.Module, members: list[Trainee]) -> Callable[[], Tensor]:
    """All steps of all networks, one network after the other."""
    inputs, targets = task.data.train

    def train() -> Tensor:
        ended = []
        for one in members:
            nn.utils.vector_to_parameters(one.weights.clone(), template.parameters())
            rates = {"lr": one.given.learning_rate, "weight_decay": one.given.weight_decay}
            optimiser = torch.optim.AdamW(template.parameters(), **rates)
            for rows in one.order:
                optimiser.zero_grad()
                functional.cross_entropy(template(inputs[rows]), targets[rows]).backward()
                optimiser.step()
            ended.append(nn.utils.parameters_to_vector(template.parameters()).detach())
        return torch.stack(ended)

    return train


def together(task: Task, spent: dict[str, float]) -> Callable[[], Tensor]:
    """All steps of all networks, side by side; notes where the time goes."""

    def train() -> Tensor:
        program = task.program()
        company = Ensemble(program, task.data, task.settings.interval)
        company.fill([lambda number=number: task.trainee(number) for number in reversed(range(task.count))], task.count)
        # Drawing weights and batches is done for the loop beforehand.
        start = time.process_time()
        program.gradient = timed(program.gradient, spent, "gradient")
        company._descent.step = timed(company._descent.step, spent, "update")
        members = list(company.members)
        for _ in range(members[0].marks[-1]):
            company.advance()
        spent["all"] = time.process_time() - start
        return torch.stack([one.kept[-1] for one in members])

    return train


def timed(work: Callable[..., object], spent: dict[str, float], name: str) -> Callable[..., object]:
    spent[name] = 0.0

    def call(*arguments: object) -> object:
        start = time.process_time()
        made = work(*arguments)
        spent[name] += time.process_time() - start
        return made

    return call


def products(networks: int, turns: int) -> float:
    """Seconds of the products of one step of all MLPs: forward, and twice backward but for the first layer's input."""
    shapes = list(zip(WIDTHS, WIDTHS[1:], strict=False))
    values = [(torch.randn(networks, BATCH, low), torch.randn(networks, low, high)) for low, high in shapes]
    errors = [torch.randn(networks, BATCH, high) for _, high in shapes]
    best = float("inf")
    for _ in range(10 * turns):
        start = time.process_time()
        for level, ((value, weight), error) in enumerate(zip(values, errors, strict=True)):
            torch.bmm(value, weight)
            torch.bmm(value.mT, error)
            if level:
                torch.bmm(error, weight.mT)
        best = min(best, time.process_time() - start)
    return best


def measure(name: str, networks: int, steps: int, turns: int) -> dict[str, object]:
    make, shape = {"mlp": (mlp, (64,)), "cnn": (cnn, (1, 16, 16))}[name]
    torch.manual_seed(0)
    template, inputs = make(), torch.randn(500, *shape)
    task = task_of(template, inputs, networks, steps)
    members = [task.trainee(number) for number in range(networks)]
    spent: dict[str, float] = {}
    loop, company = alone(task, make(), members), together(task, spent)
    best, parts = {"loop": float("inf"), "company": float("inf")}, {}
    for _ in range(turns):
        start = time.process_time()
        expected = loop()
        best["loop"] = min(best["loop"], time.process_time() - start)
        ended = company()
        if spent["all"] < best["company"]:
            best["company"], parts = spent["all"], dict(spent)
    # Where a gradient is almost zero, rounding decides the direction of Adam's first steps, of 1e-3 at most each.
    torch.testing.assert_close(ended, expected, rtol=0, atol=1e-2)
    scale = 1e3 / networks / steps
    told: dict[str, object] = {
        "milliseconds": {way: round(scale * seconds, 4) for way, seconds in best.items()},
        "ratio": round(best["loop"] / best["company"], 2),
        "parts": {part: round(seconds / parts["all"], 2) for part, seconds in parts.items() if part != "all"},
    }
    if name == "mlp":
        told["products"] = round(1e3 * products(networks, turns) / networks, 4)
    return told


def report(networks: list[int], steps: int, turns: int) -> dict[str, object]:
    torch.set_num_threads(1)
    keep_freed_memory()
    told = {name: {count: measure(name, count, steps, turns) for count in networks} for name in ("mlp", "cnn")}
    return {"torch": torch.__version__, "batch": BATCH, "steps": steps, "networks": told}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--turns", type=int, default=5)
    arguments = parser.parse_args()
    print(json.dumps(report(arguments.networks, arguments.steps, arguments.turns), indent=1))
