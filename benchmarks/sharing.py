"""What symmetry does to layers: coefficients of the linear layer, their pattern, and what polynomial layers add.

Counts the coefficients of `EquivariantLinear` and `PathProducts` from one channel to one, for many small networks: with
the permutations of the hidden units alone and with the whole symmetry of the network, beside the entries of a dense
matrix. Sets the coefficients for the smallest networks of the tests beside the dimension of the space of all matrices
that commute with random elements of the group, which the tests' oracle computes without knowing the rule. Draws which
entries of one network's matrix are tied. Then fits the entries of the product of a network's weight matrices by one
`PathInvariants` layer read linearly, by `MonomialNFN` and by `HNP`, of about as many parameters, with the same number
of steps of Adam on the same networks; each takes the better of two learning rates on networks held out for that.
Figures are means over seeds. Prints the tables in Markdown and one JSON object.

    python benchmarks/sharing.py [--seeds 2] [--steps 600] [--networks 16 64 ...] [--threads 1] [--picture PATH]
        [--curve PATH]
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from colorsys import hls_to_rgb
from itertools import accumulate, pairwise
from math import prod
from pathlib import Path
from statistics import mean

import matplotlib
import torch
from torch import Tensor, nn

from weightspace.layers import EquivariantLinear, PathInvariants, PathProducts, dense_spec
from weightspace.models import HNP, Invariant, MonomialNFN
from weightspace.spec import PERMUTATION, Axis, Factor, NetworkSpec, Sine, spec_of
from weightspace.testing import random_features
from weightspace.weights import WeightFeatures

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.laws.registry import CHAINS, SPECS
from tests.oracles.linear import equivariant_dimension

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

INK = "#1b2026"
RATES = (3e-3, 1e-2)
HELD_OUT = 1024


def mlp(widths: Sequence[int], *activations: nn.Module, bias: bool = True) -> nn.Sequential:
    """One activation behind every hidden layer, or one for each."""
    behind = activations * (len(widths) - 2) if len(activations) == 1 else activations
    layers = [nn.Linear(before, after, bias=bias) for before, after in pairwise(widths)]
    mixed = [module for pair in zip(layers, behind, strict=False) for module in pair]
    return nn.Sequential(*mixed, layers[-1])


def cnn(widths: Sequence[int], activation: type[nn.Module], *, norm: bool = False) -> nn.Sequential:
    """Convolutions, global average pooling, a dense layer."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths[:-1]):
        layers += [nn.Conv2d(before, after, 3), *([nn.BatchNorm2d(after)] if norm else []), activation()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(*widths[-2:])).eval()


class Residual(nn.Module):
    """A LayerNorm and two layers beside a stream, between an embedding and a readout."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(2, 4), nn.LayerNorm(4), nn.Linear(4, 1)
        self.up, self.down = nn.Linear(4, 6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        return self.last(h + self.down(self.up(self.norm(h)).relu()))


class Recurrent(nn.Module):
    """A cell whose states are read by a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.cell(x)[0])


NETWORKS: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "MLP 2-3-3-1, GELU": (mlp((2, 3, 3, 1), nn.GELU()), (2,)),
    "MLP 2-3-3-1, tanh": (mlp((2, 3, 3, 1), nn.Tanh()), (2,)),
    "MLP 2-3-3-1, ReLU": (mlp((2, 3, 3, 1), nn.ReLU()), (2,)),
    "MLP 2-3-3-2, tanh": (mlp((2, 3, 3, 2), nn.Tanh()), (2,)),
    "MLP 2-3-3-2, ReLU": (mlp((2, 3, 3, 2), nn.ReLU()), (2,)),
    "MLP 2-3-3-2, ReLU, no biases": (mlp((2, 3, 3, 2), nn.ReLU(), bias=False), (2,)),
    "MLP 2-3-3-2, ReLU then GELU": (mlp((2, 3, 3, 2), nn.ReLU(), nn.GELU()), (2,)),
    "MLP 2-3-3-2, ReLU then tanh": (mlp((2, 3, 3, 2), nn.ReLU(), nn.Tanh()), (2,)),
    "MLP 2-1-1-1, ReLU": (mlp((2, 1, 1, 1), nn.ReLU()), (2,)),
    "MLP 64-32-10, ReLU": (mlp((64, 32, 10), nn.ReLU()), (64,)),
    "sine 2-32-1": (mlp((2, 32, 1), Sine(30.0)), (2,)),
    "SIREN 2-32-32-1": (mlp((2, 32, 32, 1), Sine(30.0)), (2,)),
    "CNN 1-16-16-16-10, tanh": (cnn((1, 16, 16, 16, 10), nn.Tanh), (1, 12, 12)),
    "CNN 1-16-16-16-10, ReLU": (cnn((1, 16, 16, 16, 10), nn.ReLU), (1, 12, 12)),
    "CNN 1-8-8-10, BatchNorm, ReLU": (cnn((1, 8, 8, 10), nn.ReLU, norm=True), (1, 12, 12)),
    "residual 2-4-(6)-4-1, LayerNorm, ReLU": (Residual(), (2,)),
    "LSTM 2-3, dense layer 3-1": (Recurrent(), (5, 2)),
}
POLYNOMIAL = (
    "MLP 2-3-3-1, ReLU",
    "MLP 2-3-3-1, tanh",
    "MLP 2-3-3-2, ReLU",
    "SIREN 2-32-32-1",
    "CNN 1-16-16-16-10, ReLU",
    "CNN 1-8-8-10, BatchNorm, ReLU",
    "residual 2-4-(6)-4-1, LayerNorm, ReLU",
    "LSTM 2-3, dense layer 3-1",
)


def spec_named(name: str) -> NetworkSpec:
    module, shape = NETWORKS[name]
    return spec_of(module, torch.zeros(2, *shape))


# How many coefficients.


def counted(spec: NetworkSpec) -> dict[str, int]:
    few = EquivariantLinear(spec.with_symmetry(PERMUTATION), 1, 1)
    fewest = EquivariantLinear(spec, 1, 1)
    return {
        "numbers": spec.numel,
        "dense": spec.numel**2,
        "permutations": few.linear_parameters,
        "full": fewest.linear_parameters,
        "constants_permutations": few.constant_parameters,
        "constants_full": fewest.constant_parameters,
    }


def counted_products(spec: NetworkSpec) -> dict[str, int]:
    """On the space without kernels, where products are: see `dense_spec`."""
    space = dense_spec(spec)
    layer = PathProducts(space, 1, 1)
    return {
        "linear": EquivariantLinear(space, 1, 1).linear_parameters,
        "products": len(layer.space.params) - len(space.params) + sum(len(mixed.weights) for mixed in layer.inner),
        "polynomial": layer.linear_parameters,
        "couplings": layer.coupling_parameters,
    }


# Whether anything is missing.

NOUNS = {Factor.SIGN: "signs", Factor.POSITIVE: "scales"}


def done_to(axis: Axis) -> str:
    """What may be done to a set of units: reorder them, and flip signs or scale."""
    kinds = Counter(axis.symmetry.factors).items()
    factors = " and ".join(f"{count} {NOUNS[kind]}" if count > 1 else NOUNS[kind] for kind, count in kinds)
    return factors or ("order" if axis.symmetry.permutes else "fixed")


def units(spec: NetworkSpec) -> str:
    """How many units there are of each kind; fixed sets of one unit are left out."""
    sizes: dict[str, list[str]] = {}
    for axis in sorted(spec.axes, key=lambda axis: not axis.symmetry.permutes):
        if axis.symmetry.permutes or axis.size > 1:
            within = f" in each of {spec.axis(axis.within).size}" if axis.within else ""
            sizes.setdefault(done_to(axis), []).append(f"{axis.size}{within}")
    return "; ".join(f"{kind}: {', '.join(numbers)}" for kind, numbers in sizes.items())


def compared() -> dict[str, dict]:
    """Coefficients of the layer beside the dimension found by brute force."""
    small = {f"`{name}`": spec for name, spec in SPECS.items() if spec.numel <= 45}
    small |= {f"MLP {name}": spec_of(module, verify=False) for name, (module, _) in CHAINS.items()}
    return {
        name: {
            "units": units(spec),
            "numbers": spec.numel,
            "dimension": equivariant_dimension(spec),
            "coefficients": EquivariantLinear(spec, 1, 1).linear_parameters,
        }
        for name, spec in small.items()
    }


# Which entries are tied.

PANELS = (
    ("permutations alone", mlp((2, 3, 3, 1), nn.GELU())),
    ("permutations and signs (tanh)", mlp((2, 3, 3, 1), nn.Tanh())),
    ("permutations and scales (ReLU)", mlp((2, 3, 3, 1), nn.ReLU())),
)


def tied(layer: EquivariantLinear) -> Tensor:
    """For each entry of the layer's matrix the number of its class of equal entries, from 1; 0 for zeros."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in layer.double().weights:
            weight.copy_(torch.randn(weight.shape, generator=generator, dtype=torch.float64))
    dense = layer.to_dense().detach()
    values, classes = dense.mul(1e9).round().unique(return_inverse=True)
    return torch.where(values == 0, 0, 1 + torch.arange(len(values)))[classes]


def colours_of(everything: Tensor, kept: Sequence[Tensor], edges: Sequence[int]) -> dict[int, tuple[float, ...]]:
    """One colour per class of the largest layer: strong where a smaller layer keeps it, light elsewhere.

    Classes lie within blocks, so hues go around the circle within a block, from a start of the block's own.
    """
    anywhere = torch.stack([smaller > 0 for smaller in kept]).any(0)
    strong = list(dict.fromkeys(everything[anywhere].tolist()))
    colours = {c: hls_to_rgb(4 * number / len(strong) % 1, 0.45, 0.62) for number, c in enumerate(strong)}
    blocks = [(top, left) for top in pairwise(edges) for left in pairwise(edges)]
    for number, (rows, columns) in enumerate(blocks):
        classes = dict.fromkeys(everything[slice(*rows), slice(*columns)].flatten().tolist())
        inside = [c for c in classes if c not in strong]
        for position, c in enumerate(inside):
            hue = (0.618 * number + position / max(len(inside), 3)) % 1
            colours[c] = hls_to_rgb(hue, (0.86, 0.77)[position % 2], 0.45)
    return colours


def draw(path: Path) -> dict[str, int]:
    """The matrices side by side; how many classes of tied entries each has."""
    specs = [spec_of(module) for _, module in PANELS]
    layers = [EquivariantLinear(spec, 1, 1) for spec in specs]
    patterns = [tied(layer) for layer in layers]
    found = [int((pattern.unique() > 0).sum()) for pattern in patterns]
    assert found == [layer.linear_parameters for layer in layers], "every coefficient is one class of tied entries"
    edges = [0, *accumulate(prod(specs[0].shape(param.name)) for param in specs[0].params)]
    colours = colours_of(patterns[0], patterns[1:], edges)
    figure, panels = plt.subplots(1, 3, figsize=(10, 3.8))
    for panel, (title, _), pattern, count in zip(panels, PANELS, patterns, found, strict=True):
        image = torch.ones(*pattern.shape, 3)
        for row, column in pattern.nonzero().tolist():
            image[row, column] = torch.tensor(colours[int(patterns[0][row, column])])
        panel.imshow(image.numpy(), interpolation="nearest")
        decorate(panel, edges)
        panel.set_title(f"{title}\n{count} coefficients", fontsize=9.5, color=INK, pad=20)
    figure.subplots_adjust(left=0.03, right=0.993, top=0.85, bottom=0.015, wspace=0.1)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return dict(zip((title for title, _ in PANELS), found, strict=True))


def decorate(panel: Axes, edges: Sequence[int]) -> None:
    """Lines between cells and between blocks, and the blocks' names."""
    size = edges[-1]
    panel.set_xticks([x - 0.5 for x in range(1, size)], minor=True)
    panel.set_yticks([x - 0.5 for x in range(1, size)], minor=True)
    panel.grid(which="minor", color="white", linewidth=0.6)
    for edge in edges[1:-1]:
        panel.axhline(edge - 0.5, color=INK, linewidth=0.7)
        panel.axvline(edge - 0.5, color=INK, linewidth=0.7)
    middles = [(a + b - 1) / 2 for a, b in pairwise(edges)]
    names = [f"${letter}_{number}$" for number in (1, 2, 3) for letter in "Wb"]
    panel.set_xticks(middles, names, fontsize=9, color=INK)
    panel.set_yticks(middles, names, fontsize=9, color=INK)
    panel.xaxis.tick_top()
    panel.tick_params(which="both", length=0)
    for spine in panel.spines.values():
        spine.set(color=INK, linewidth=0.9)


# What products can say.


class Read(nn.Module):
    """Invariant polynomials of the weights, read linearly."""

    def __init__(self, spec: NetworkSpec, invariants: int, outputs: int) -> None:
        super().__init__()
        self.invariants, self.read = PathInvariants(spec, 1, invariants), nn.Linear(invariants, outputs)

    def forward(self, x: WeightFeatures) -> Tensor:
        return self.read(self.invariants(x))


def monomial(spec: NetworkSpec, outputs: int) -> nn.Module:
    return MonomialNFN(spec, Invariant(outputs, hidden=32), stem=(4,), trunk=(4, 4))


def hnp(spec: NetworkSpec, outputs: int) -> nn.Module:
    return HNP(spec, Invariant(outputs, hidden=32), channels=(4, 4, 4), fourier=0)


CHAIN = (2, 4, 4, 2)
LEARNERS: dict[str, tuple[nn.Module, Callable[[NetworkSpec, int], nn.Module]]] = {
    "`PathInvariants`, then a linear reading": (nn.ReLU(), lambda spec, outputs: Read(spec, 270, outputs)),
    "`MonomialNFN`, permutations and scales": (nn.ReLU(), monomial),
    "`MonomialNFN`, permutations and signs": (nn.Tanh(), monomial),
    "`HNP`, permutations": (nn.ReLU(), hnp),
}


def data(spec: NetworkSpec, count: int, seed: int) -> tuple[WeightFeatures, Tensor]:
    """Networks of standard normal numbers, and the entries of their matrices' product at unit variance."""
    x = random_features(spec, count, generator=torch.Generator().manual_seed(seed)).to(torch.float32)
    first, second, third = (x[f"{number}.weight"][..., 0] for number in (0, 2, 4))
    return x, (third @ second @ first).flatten(1) / (CHAIN[1] * CHAIN[2]) ** 0.5


def explained(model: nn.Module, x: WeightFeatures, y: Tensor) -> float:
    """R2 over all targets together."""
    model.eval()
    with torch.no_grad():
        left = (model(x) - y).square().sum()
    return (1 - left / (y - y.mean(0)).square().sum()).item()


def fitted(model: nn.Module, x: WeightFeatures, y: Tensor, rate: float, steps: int) -> nn.Module:
    optimiser = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    generator = torch.Generator().manual_seed(0)
    model.train()
    for _ in range(steps):
        rows = torch.randint(len(y), (128,), generator=generator)
        optimiser.zero_grad()
        (model(WeightFeatures(x.spec, [t[rows] for t in x.tensors])) - y[rows]).square().mean().backward()
        optimiser.step()
        schedule.step()
    return model


def learnt(name: str, size: int, seeds: int, steps: int) -> dict[str, object]:
    activation, make = LEARNERS[name]
    spec = spec_of(mlp(CHAIN, activation))
    scores, rates = [], []
    for seed in range(seeds):
        train, tune, test = (data(spec, n, 3 * seed + i) for i, n in enumerate((size, HELD_OUT, HELD_OUT)))
        models = []
        for rate in RATES:
            torch.manual_seed(seed)
            models.append(fitted(make(spec, train[1].shape[1]), *train, rate, steps))
        tuned = [explained(model, *tune) for model in models]
        best = tuned.index(max(tuned))
        rates.append(RATES[best])
        scores.append(round(explained(models[best], *test), 4))
    return {"mean": round(mean(scores), 3), "r2": scores, "rates": rates}


def learning(sizes: Sequence[int], seeds: int, steps: int) -> dict[str, dict]:
    found = {}
    for name, (activation, make) in LEARNERS.items():
        model = make(spec_of(mlp(CHAIN, activation)), CHAIN[0] * CHAIN[-1])
        start = time.perf_counter()
        r2 = {size: learnt(name, size, seeds, steps) for size in sizes}
        count = sum(parameter.numel() for parameter in model.parameters())
        found[name] = {"parameters": count, "r2": r2, "seconds": round(time.perf_counter() - start, 1)}
    return found


def draw_learning(record: dict[str, dict], path: Path) -> None:
    """R2 on networks never seen over the number of networks to learn from, with the range over seeds."""
    figure, panel = plt.subplots(figsize=(6.6, 3.4), layout="constrained")
    colours = ("#c1500f", "#b8801a", "#5b6675", "#0072b2")
    for (name, found), colour in zip(record.items(), colours, strict=True):
        sizes = sorted(found["r2"])
        values = [max(found["r2"][size]["mean"], -1) for size in sizes]
        panel.plot(sizes, values, color=colour, marker="o", markersize=4, label=name.replace("`", ""))
        ranges = [[max(f(found["r2"][size]["r2"]), -1) for size in sizes] for f in (min, max)]
        panel.fill_between(sizes, *ranges, color=colour, alpha=0.15, linewidth=0)
    panel.axhline(0, color=INK, linewidth=0.6, linestyle=(0, (4, 4)))
    panel.set_xscale("log", base=2)
    panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
    panel.minorticks_off()
    panel.set_xlabel("networks to learn from")
    panel.set_ylabel("R² on unseen networks")
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(loc="center", bbox_to_anchor=(0.5, 0.66), frameon=False)
    figure.savefig(path, dpi=150)


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]], texts: int = 1) -> str:
    """A table in Markdown: text first, then numbers."""
    cells = [[f"{c:,}" if isinstance(c, int) else str(c) for c in row] for row in rows]
    return "".join(
        f"| {' | '.join(row)} |\n" for row in [head, ["---"] * texts + ["---:"] * (len(head) - texts), *cells]
    )


def printed(record: dict[str, dict]) -> str:
    linear = [
        (name, f"{f['numbers']:,}² = {f['dense']:,}", f["permutations"], f["full"],
         f"{f['constants_permutations']} / {f['constants_full']}")
        for name, f in record["coefficients"].items()
    ]  # fmt: skip
    products = [
        (name, f["linear"], f["products"], f["polynomial"], f["couplings"]) for name, f in record["products"].items()
    ]
    dimensions = [
        (name, f["units"], f"{f['numbers']}² = {f['numbers'] ** 2:,}", f["dimension"], f["coefficients"])
        for name, f in record["compared"].items()
    ]
    learners = [
        (n, f["parameters"], *(f"{score['mean']:.3f}" for score in f["r2"].values()))
        for n, f in record["learning"].items()
    ]
    tables = [
        markdown(("network", "dense", "permutations", "full", "constants"), linear),
        markdown(("network", "units", "dense", "equivariant maps", "coefficients"), dimensions, texts=2),
        markdown(("network", "linear layer", "products", "polynomial layer", "couplings"), products),
    ]
    if learners:
        sizes = next(iter(record["learning"].values()))["r2"]
        tables.append(markdown(("model", "parameters", *(f"{size:,} networks" for size in sizes)), learners))
    return "\n".join(tables)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="0 leaves the training out")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument(
        "--networks", type=int, nargs="+", default=[16, 64, 256, 1024, 4096], help="how many to learn from"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--picture", type=Path, default=Path("docs/guide/sharing.png"))
    parser.add_argument("--curve", type=Path, default=Path("docs/guide/learning.png"))
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    figures = {
        "coefficients": {name: counted(spec_named(name)) for name in NETWORKS},
        "compared": compared(),
        "products": {name: counted_products(spec_named(name)) for name in POLYNOMIAL},
        "tied": draw(arguments.picture),
        "learning": learning(arguments.networks, arguments.seeds, arguments.steps) if arguments.seeds else {},
    }
    if figures["learning"]:
        draw_learning(figures["learning"], arguments.curve)
    print(printed(figures))
    print(json.dumps({"threads": arguments.threads, "torch": torch.__version__, **figures}, indent=1))
