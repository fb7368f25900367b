"""How far two networks of different seeds are apart once their symmetries are taken away, on real images.

Pairs of small networks are trained from different seeds on the digits of scikit-learn. The loss along the straight line
between the two rises by a barrier; it is measured between them as they are, after matching units by weights, and after
matching units by what they answer to training images. Where a network has BatchNorm, its statistics are estimated anew
for every network on the line. Then each network is hidden by a random element of its group (permutations, signs, scales
over four decades each way) and brought back. Times are medians per pair, for one pair alone and for all pairs in one
batch. Prints a table; writes the figures as JSON and the curves as a picture.

    python benchmarks/alignment.py [--pairs 5] [--epochs 30] [--threads 1] [--out FOLDER]
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median

import matplotlib
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from weightspace.gauge import Aligned, BarrierCurve, align, align_activations, barrier_curve, same
from weightspace.spec import NetworkSpec, spec_of
from weightspace.weights import WeightFeatures, act, features_of, sample_element

matplotlib.use("Agg")
from matplotlib import pyplot as plt

WAYS = ("as they are", "matched by weights", "matched by activations")


def relu_mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))


def wide_mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )


def tanh_mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 10))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


KINDS: dict[str, Callable[[], nn.Module]] = {
    "MLP 64-32-32-10, ReLU": relu_mlp,
    "MLP 64-256-256-10, ReLU": wide_mlp,
    "MLP 64-32-32-10, tanh": tanh_mlp,
    "CNN 16-32, BatchNorm, ReLU": cnn,
}


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images and labels to train and to test with; every fifth image tests."""
    found = load_digits()
    images = torch.tensor(found.images, dtype=torch.float32).unsqueeze(1) / 16
    labels = torch.tensor(found.target)
    test = torch.arange(len(images)) % 5 == 0
    return images[~test], labels[~test], images[test], labels[test]


def trained(make: Callable[[], nn.Module], images: Tensor, labels: Tensor, seed: int, epochs: int) -> nn.Module:
    torch.manual_seed(seed)
    module = make()
    optimiser = torch.optim.AdamW(module.parameters(), lr=3e-3, weight_decay=1e-2)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            F.cross_entropy(module(images[batch]), labels[batch]).backward()
            optimiser.step()
    return module.eval()


def timed(call: Callable[[], Aligned]) -> tuple[Aligned, float]:
    start = time.perf_counter()
    answer = call()
    return answer, time.perf_counter() - start


def recovered(x: WeightFeatures) -> tuple[int, float]:
    """How many networks hidden by random elements are found again, and the largest relative difference left."""
    g = sample_element(x.spec, len(x), generator=torch.Generator().manual_seed(0), log_scale=4)
    hidden = act(g, x)
    back = align(hidden, x).features
    left = max(((a - b).abs().max() / b.abs().max()).item() for a, b in zip(back.tensors, x.tensors, strict=True))
    return sum(same(hidden[row], x[row]).equal for row in range(len(x))), left


def compare(make: Callable[[], nn.Module], pairs: int, epochs: int) -> dict[str, object]:
    images, labels, test_images, test_labels = digits()
    networks = [trained(make, images, labels, seed, epochs) for seed in range(2 * pairs)]
    spec: NetworkSpec = spec_of(networks[0], test_images[:2])
    x, to = features_of(spec, networks[:pairs]), features_of(spec, networks[pairs:])

    def loss(module: nn.Module) -> float:
        return F.cross_entropy(module(test_images), test_labels).item()

    def accuracy(module: nn.Module) -> float:
        with torch.no_grad():
            return (module(test_images).argmax(1) == test_labels).float().mean().item()

    curves: dict[str, list[BarrierCurve]] = {way: [] for way in WAYS}
    spent: dict[str, list[float]] = {way: [] for way in WAYS[1:]}
    distances: dict[str, list[float]] = {way: [] for way in WAYS}
    for row in range(pairs):
        by_weights, seconds = timed(lambda row=row: align(x[row], to[row]))
        spent[WAYS[1]].append(seconds)
        by_answers, seconds = timed(
            lambda row=row: align_activations(networks[row], networks[pairs + row], spec, images)
        )
        spent[WAYS[2]].append(seconds)
        still = align(x[row], to[row], sweeps=0).distance.item()
        ends = {WAYS[0]: x[row], WAYS[1]: by_weights.features, WAYS[2]: by_answers.features}
        for way, end in ends.items():
            curves[way].append(barrier_curve(end, to[row], networks[0], loss, calibrate=[images]))
        for way, value in zip(WAYS, (still, by_weights.distance.item(), by_answers.distance.item()), strict=True):
            distances[way].append(value)
    _, together = timed(lambda: align(x, to))
    found, left = recovered(WeightFeatures.cat([x, to]))
    return {
        "parameters": spec.numel,
        "test_accuracy": round(mean(accuracy(network) for network in networks), 4),
        "barrier": {way: round(mean(curve.barrier for curve in of), 3) for way, of in curves.items()},
        "barriers": {way: [round(curve.barrier, 4) for curve in of] for way, of in curves.items()},
        "distance": {way: round(mean(values), 3) for way, values in distances.items()},
        "milliseconds": {
            **{way: round(1e3 * median(values), 1) for way, values in spent.items()},
            "matched by weights, per pair in one batch": round(1e3 * together / pairs, 1),
        },
        "hidden_copies": {"networks": 2 * pairs, "recovered": found, "largest_relative_difference": left},
        "positions": curves[WAYS[0]][0].positions,
        "losses": {way: [[round(v, 5) for v in curve.losses] for curve in of] for way, of in curves.items()},
    }


def draw(figures: dict[str, dict], path: Path) -> None:
    """The loss on the line, one panel per kind: thin lines the pairs, thick ones their means."""
    figure, panels = plt.subplots(1, len(figures), figsize=(3.4 * len(figures), 3.2), sharey=True, squeeze=False)
    for panel, (kind, found) in zip(panels[0], figures.items(), strict=True):
        for number, way in enumerate(WAYS):
            rows = torch.tensor(found["losses"][way])
            for row in rows:
                panel.plot(found["positions"], row, color=f"C{number}", alpha=0.25, linewidth=0.8)
            panel.plot(found["positions"], rows.mean(0), color=f"C{number}", linewidth=2, label=way)
        panel.set_title(kind, fontsize=9)
        panel.set_xlabel("position on the line")
    panels[0][0].set_ylabel("test loss (cross entropy)")
    panels[0][0].legend(fontsize=7, frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def table(figures: dict[str, dict]) -> str:
    heads = ("network", "accuracy", "barrier", "by weights", "by activations", "ms a pair", "in a batch", "recovered")
    rows = [heads]
    for kind, found in figures.items():
        barrier, spent, hidden = found["barrier"], found["milliseconds"], found["hidden_copies"]
        rows.append(
            (
                kind,
                f"{found['test_accuracy']:.3f}",
                *(f"{barrier[way]:.2f}" for way in WAYS),
                f"{spent[WAYS[1]]:.0f}",
                f"{spent['matched by weights, per pair in one batch']:.0f}",
                f"{hidden['recovered']} of {hidden['networks']}",
            )
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("alignment"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    figures = {kind: compare(make, arguments.pairs, arguments.epochs) for kind, make in KINDS.items()}
    arguments.out.mkdir(parents=True, exist_ok=True)
    record = {"threads": arguments.threads, "torch": torch.__version__, "epochs": arguments.epochs, "kinds": figures}
    (arguments.out / "alignment.json").write_text(json.dumps(record, indent=1) + "\n")
    draw(figures, arguments.out / "alignment.png")
    print(table(figures))
