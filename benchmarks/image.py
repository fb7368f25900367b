"""Images told apart with group matrices: accuracy against the number of parameters, all models under one protocol.

Every network of convolutions is the same: residual blocks that normalise over places and channels together, the largest
value of each channel, a linear map. Only the convolution differs. Networks with one hidden layer multiply the image by
a structured or an unstructured matrix. Channels, or the rank, are the largest that a budget of parameters allows. Every
model gets the same images, the same number of updates and the same choice of learning rates: for each data set and
budget, all seeds take the rate that does best on the validation part of the first seed. The test part is looked at
once, at the end of each run, and nothing is chosen by it.

Writes one JSON file, after every run: what is in it is not run again. Prints the tables in Markdown.

    python benchmarks/image.py [--scale small] [--out image.json] [--picture PATH] [--data ...] [--models ...]
        [--budgets ...] [--seeds ...] [--updates N] [--threads 1] [--device cpu] [--offline]

`--scale full` has the published sizes and is meant for a GPU: `--scale full --device cuda`.
"""

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from statistics import mean

import matplotlib
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, cross_entropy

import weightspace
from weightspace.disk import write_atomic
from weightspace.errors import DataError, WeightspaceError, unknown
from weightspace.experiments.bench.network import CLASSIFIERS, HIDDEN_LAYER, PLAIN, Pictures, size_of, widest
from weightspace.zoo import Images, background, load_images, noisy, rectangles, rotated
from weightspace.zoo.sources import NAMES

matplotlib.use("Agg")
from matplotlib import pyplot as plt


@dataclass(frozen=True)
class Settings:
    """One protocol for all models."""

    data: tuple[str, ...]
    budgets: tuple[int, ...]
    shrink: int
    """Pixels per side that become one, by their mean."""
    reach: int
    """Of filters: 2 means 5 by 5."""
    pool: int
    """Training images are drawn from so many of the data set's first ones."""
    train: int
    val: int
    test: int
    updates: int
    batch: int
    seeds: tuple[int, ...]
    dropout: float
    rates: tuple[float, ...]
    left_out: tuple[tuple[str, int], ...] = ()
    """Models and budgets that would take too long."""
    weight_decay: float = 0.0153
    warm: float = 0.1
    """Share of the updates in which the rate rises; then it falls to nothing along half a cosine."""
    looks: int = 4
    """How often the validation part is looked at, the last time at the end."""
    blocks: int = 2


SCALES = {
    "small": Settings(
        data=("mnist-rotated", "mnist-noisy-3"),
        budgets=(1_250, 5_000, 20_000),
        shrink=2,
        reach=2,
        pool=12_000,
        train=4_000,
        val=1_000,
        test=2_000,
        updates=800,
        batch=32,
        seeds=(0, 1),
        dropout=0.0,
        rates=(6e-3, 3e-2),
        left_out=(
            ("LDR-TD", 20_000),
            *((model, 20_000) for model in ("depthwise-separable CNN", "GM-CNN, summed", "GM-CNN, separable", "p4m")),
        ),
    ),
    "full": Settings(
        data=("mnist-rotated", "mnist-noisy-3", "mnist-before-cifar10-gs", "rectangles", "cifar10-gs"),
        budgets=(5_000, 20_000, 100_000, 1_000_000),
        shrink=1,
        reach=3,
        pool=60_000,
        train=10_000,
        val=2_000,
        test=10_000,
        updates=8_000,
        batch=128,
        seeds=(0, 1, 2),
        dropout=0.3,
        rates=(2e-3, 6e-3, 2e-2),
    ),
}


# Data.


@cache
def images_of(name: str, pool: int, offline: bool) -> Images:
    """A data set, or one of its variations: only the first images are varied, which the rest do not change."""
    if name == "rectangles":
        return rectangles(min(pool, 12_000), 10_000)
    base = max((known for known in NAMES if f"{name}-".startswith(f"{known}-")), key=len, default=None)
    if base is None:
        raise unknown("data set", name, [*NAMES, "rectangles"])
    how = name.removeprefix(base).removeprefix("-")
    images = load_images(base, offline=offline)
    images = replace(images, train=images.train[:pool], labels=images.labels[:pool])
    if how.startswith("noisy-") and how[6:].isdigit():
        return noisy(images, int(how[6:]))
    if how.startswith("before-"):
        return background(images, load_images(how[7:], offline=offline))
    if how not in ("", "rotated"):
        raise unknown("variation", how, ["rotated", "noisy-LEVEL", "before-DATA"])
    return rotated(images) if how else images


Part = tuple[Tensor, Tensor]


def split(images: Images, chosen: Settings, seed: int, device: str) -> dict[str, Part]:
    """Training and validation images drawn by the seed, the first test images; centred and scaled as training ones."""
    if images.test is None or images.test_labels is None:
        raise DataError(f"{images.name} has no test part")
    if images.train.ndim != 3:
        raise DataError(f"{images.name} has colours. Remedy: take grey images, such as cifar10-gs.")
    drawn = np.random.default_rng(seed).permutation(min(chosen.pool, len(images)))
    if len(drawn) < chosen.train + chosen.val or len(images.test) < chosen.test:
        raise DataError(f"{images.name} has {len(drawn)} and {len(images.test)} images: too few for the settings")
    rows = {"train": drawn[: chosen.train], "val": drawn[chosen.train : chosen.train + chosen.val]}
    taken = {part: (images.train[where], images.labels[where]) for part, where in rows.items()}
    taken["test"] = (images.test[: chosen.test], images.test_labels[: chosen.test])
    small = {part: avg_pool2d(torch.tensor(x)[:, None] / 255, chosen.shrink)[:, 0] for part, (x, _) in taken.items()}
    middle, width = small["train"].mean(), small["train"].std()
    return {p: ((small[p] - middle).div(width).to(device), torch.tensor(y).to(device)) for p, (_, y) in taken.items()}


# One run.


def accuracy(model: nn.Module, part: Part, chunk: int = 250) -> float:
    model.eval()
    with torch.no_grad():
        right = [
            (model(x).argmax(1) == y).sum() for x, y in zip(part[0].split(chunk), part[1].split(chunk), strict=True)
        ]
    model.train()
    return float(torch.stack(right).sum()) / len(part[1])


def rate_at(step: int, chosen: Settings) -> float:
    """The share of the learning rate at an update."""
    rise = max(1, round(chosen.warm * chosen.updates))
    if step < rise:
        return (step + 1) / rise
    return (1 + math.cos(math.pi * (step - rise) / (chosen.updates - rise))) / 2


def fit(model: nn.Module, parts: dict[str, Part], chosen: Settings, rate: float, seed: int) -> dict:
    """Accuracies on the validation part along the way, and on the test part at the end."""
    x, y = parts["train"]
    order = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.AdamW(model.parameters(), rate, weight_decay=chosen.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(rate_at, chosen=chosen))
    looks = {round((i + 1) * chosen.updates / chosen.looks) for i in range(chosen.looks)}
    curve, rows, start = [], torch.empty(0, dtype=torch.int64), time.perf_counter()
    for step in range(1, chosen.updates + 1):
        if len(rows) < chosen.batch:
            rows = torch.cat([rows, torch.randperm(len(x), generator=order)])
        now, rows = rows[: chosen.batch].to(x.device), rows[chosen.batch :]
        loss = cross_entropy(model(x[now]), y[now])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step in looks:
            curve.append({"update": step, "loss": float(loss.detach()), "val": accuracy(model, parts["val"])})
    seconds = time.perf_counter() - start
    return {"curve": curve, "val": curve[-1]["val"], "test": accuracy(model, parts["test"]), "seconds": seconds}


KEY = ("data", "model", "budget", "rate", "seed")


class Study:
    """Runs and where they are kept."""

    def __init__(self, chosen: Settings, path: Path, device: str, offline: bool):
        self.chosen, self.path, self.device, self.offline = chosen, path, device, offline
        self.found: dict = {"settings": self._protocol(), "data": {}, "runs": []}
        if path.exists():
            self.found = self._read()
        self.found["versions"] = {
            "weightspace": weightspace.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
            "device": torch.cuda.get_device_name() if device.startswith("cuda") else platform.processor() or "cpu",
        }

    def _protocol(self) -> dict:
        """What runs in one file have in common."""
        return {
            k: v for k, v in asdict(self.chosen).items() if k not in ("data", "budgets", "seeds", "rates", "left_out")
        }

    def _read(self) -> dict:
        try:
            found = json.loads(self.path.read_text())
            known = found["settings"]
        except (ValueError, LookupError, TypeError, OSError) as failure:
            raise DataError(
                f"{self.path} holds no runs ({failure}). Remedy: name another file with --out."
            ) from failure
        if known != (wanted := self._protocol()):
            other = [k for k in wanted if known.get(k) != wanted[k]]
            raise DataError(f"{self.path} has runs with other settings ({', '.join(other)}). Remedy: another --out.")
        return found

    def pictures(self, name: str) -> Pictures:
        images, chosen = images_of(name, self.chosen.pool, self.offline), self.chosen
        side = images.train.shape[1] // chosen.shrink
        shared = {"reach": chosen.reach, "blocks": chosen.blocks, "dropout": chosen.dropout}
        return Pictures(side, int(images.labels.max()) + 1, **shared)

    def run(self, name: str, model: str, budget: int, rate: float, seed: int) -> dict | None:
        """One run, or what is known of it; None where the budget is too small for the model, or left out."""
        key = dict(zip(KEY, (name, model, budget, rate, seed), strict=True))
        for known in self.found["runs"]:
            if all(known[k] == v for k, v in key.items()):
                return known
        pictures = self.pictures(name)
        if (model, budget) in self.chosen.left_out or not (width := widest(model, pictures, budget)):
            return None
        images = images_of(name, self.chosen.pool, self.offline)
        torch.manual_seed(seed)
        made = CLASSIFIERS[model](pictures, width).to(self.device)
        done = fit(made, split(images, self.chosen, seed, self.device), self.chosen, rate, seed)
        record = key | {"width": width, "parameters": size_of(made), "updates": self.chosen.updates} | done
        self.found["data"][name] = {"note": images.note, "checksum": images.checksum}
        self.found["runs"].append(record)
        write_atomic(self.path, (json.dumps(self.found, indent=1) + "\n").encode())
        told = f"{name}: {model}, {record['parameters']:,} parameters, rate {rate:g}, seed {seed}: "
        print(told + f"{record['test']:.1%} in {record['seconds']:.0f} s", file=sys.stderr, flush=True)
        return record

    def point(self, name: str, model: str, budget: int) -> dict | None:
        """What all seeds found, with the rate that does best on the validation part of the first one."""
        first, *others = self.chosen.seeds
        tried = [self.run(name, model, budget, rate, first) for rate in self.chosen.rates]
        kept = [run for run in tried if run is not None]
        if not kept:
            return None
        best = max(kept, key=lambda run: run["val"])
        again = [self.run(name, model, budget, best["rate"], seed) for seed in others]
        return summed_up([best, *(run for run in again if run is not None)])

    def curves(self, models: Sequence[str]) -> dict[str, dict[str, list[dict]]]:
        """For each data set and model one point per budget."""
        found: dict[str, dict[str, list[dict]]] = {}
        for name in self.chosen.data:
            for model in models:
                for budget in sorted(self.chosen.budgets):
                    if point := self.point(name, model, budget):
                        found.setdefault(name, {}).setdefault(model, []).append(point)
        return found


def summed_up(runs: list[dict]) -> dict:
    """One point of a curve."""
    tests = [run["test"] for run in runs]
    first = {k: runs[0][k] for k in ("budget", "parameters", "rate", "width")}
    return first | {"test": mean(tests), "low": min(tests), "high": max(tests)}


# What comes out.


def needed(curve: list[dict], goal: float) -> tuple[str, float]:
    """The fewest parameters with which a curve reaches an accuracy, between budgets along a line in the logarithm.

    With "<" it does so with its smallest network already, with ">" its largest one does not.
    """
    if curve[0]["test"] >= goal:
        return "<", curve[0]["parameters"]
    for before, after in zip(curve, curve[1:], strict=False):
        if after["test"] >= goal:
            share = (goal - before["test"]) / (after["test"] - before["test"])
            steps = math.log(after["parameters"] / before["parameters"])
            return "", before["parameters"] * math.exp(share * steps)
    return ">", curve[-1]["parameters"]


def ratio(own: list[dict], others: list[dict], goal: float) -> str:
    """How many times the parameters the others need for an accuracy; bounds where a curve ends."""
    (sign, few), (other_sign, many) = needed(own, goal), needed(others, goal)
    # A bound on one's own parameters turns around in the quotient.
    bound = {other_sign, {"<": ">", ">": "<", "": ""}[sign]} - {""}
    return "?" if len(bound) > 1 else f"{''.join(bound)}{many / few:.2g}"


def tables(found: dict[str, dict[str, list[dict]]], budgets: Sequence[int]) -> str:
    lines = []
    for name, curves in found.items():
        lines += ["", f"{name}", "", "| model | " + " | ".join(f"{b:,}" for b in sorted(budgets)) + " |"]
        lines += ["|---" * (len(budgets) + 1) + "|"]
        for model, curve in curves.items():
            points = {point["budget"]: point for point in curve}
            cells = [cell(points.get(budget)) for budget in sorted(budgets)]
            lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def cell(point: dict | None) -> str:
    if point is None:
        return ""
    return f"{100 * point['test']:.1f} ± {50 * (point['high'] - point['low']):.1f} ({point['parameters']:,})"


def ratios(found: dict[str, dict[str, list[dict]]]) -> str:
    """For each model how many times its parameters the plain CNN, and each net of one hidden layer, need."""
    lines = []
    for name, curves in found.items():
        others = [model for model in (PLAIN, *HIDDEN_LAYER) if model in curves]
        lines += ["", f"{name}", "", "| model | " + " | ".join(others) + " |", "|---" * (len(others) + 1) + "|"]
        for model, own in curves.items():
            if model not in HIDDEN_LAYER and model != PLAIN:
                # The goal is one that both reach, the best of the worse of the two.
                goals = [min(max(p["test"] for p in c) for c in (own, curves[other])) for other in others]
                cells = [ratio(own, curves[other], goal) for other, goal in zip(others, goals, strict=True)]
                lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(found: dict[str, dict[str, list[dict]]], path: Path) -> None:
    figure, panels = plt.subplots(1, len(found), figsize=(5.2 * len(found) + 2.2, 4.6), squeeze=False)
    for panel, (name, curves) in zip(panels[0], found.items(), strict=True):
        for number, (model, curve) in enumerate(curves.items()):
            style = {"color": plt.get_cmap("tab20")(number), "ls": "--" if model in HIDDEN_LAYER else "-"}
            marker = "osD^v<>Pp*hXd8"[number % 14]
            sizes, tests = ([point[k] for point in curve] for k in ("parameters", "test"))
            panel.plot(sizes, [100 * t for t in tests], marker=marker, ms=5, lw=1.4, label=model, **style)
            panel.vlines(sizes, [100 * p["low"] for p in curve], [100 * p["high"] for p in curve], lw=1, **style)
        panel.set(xscale="log", xlabel="parameters", ylabel="test accuracy, %", title=name)
        panel.grid(alpha=0.25, which="both")
    handles, labels = panels[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="center right", fontsize=8.5, frameon=False)
    figure.tight_layout(rect=(0, 0, 1 - 2.2 / figure.get_figwidth(), 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="small")
    parser.add_argument("--out", type=Path, default=Path("image.json"))
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--data", nargs="+", help="DATA, DATA-rotated, DATA-noisy-LEVEL, DATA-before-DATA, rectangles")
    parser.add_argument("--models", nargs="+", default=list(CLASSIFIERS), choices=CLASSIFIERS, metavar="MODEL")
    for name in ("budgets", "seeds"):
        parser.add_argument(f"--{name}", type=int, nargs="+")
    parser.add_argument("--rates", type=float, nargs="+")
    for name in ("updates", "batch", "pool", "train", "val", "test", "shrink", "reach"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--offline", action="store_true", help="do not start a registry client")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> dict[str, dict[str, list[dict]]]:
    asked = parse(arguments)
    torch.set_num_threads(asked.threads)
    known = SCALES[asked.scale]
    given = {k: getattr(asked, k, None) for k in asdict(known)}
    chosen = replace(known, **{k: tuple(v) if isinstance(v, list) else v for k, v in given.items() if v is not None})
    try:
        study = Study(chosen, asked.out, asked.device, asked.offline)
        found = study.curves(asked.models)
    except WeightspaceError as failure:
        raise SystemExit(f"image.py: {failure}") from failure
    seconds = sum(run["seconds"] for run in study.found["runs"])
    print(f"{len(study.found['runs'])} runs, {seconds / 60:.0f} minutes of fitting")
    print(tables(found, chosen.budgets))
    print("\nParameters of the other model over its own, at the best accuracy that both reach")
    print(ratios(found))
    if asked.picture:
        draw(found, asked.picture)
    return found


if __name__ == "__main__":
    main()
