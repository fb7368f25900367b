"""One model for networks of many architectures: what it says of architectures and of a family that it never saw.

Networks of three families (dense, convolutional, convolutional with residual sums), of several widths and depths each,
are trained on 8 x 8 digits with learning rates from 1e-4 to 1e-1 and 20 to 320 steps, so that some are good and some
are not. Every metanetwork predicts their accuracy on images that they were not trained on. It is trained on part of
the networks, and judged by Kendall's tau and R2

    seen        on other networks of the same architectures,
    wider       on networks of the same families with twice the width,
    deeper      on networks of the same families with one more layer or block,
    family      on a family without example: dense layers with residual sums.

Without the root of the fan-in (`plain`) shows what that is for. Prints one JSON object.

    python benchmarks/family.py [--networks 64] [--steps 600] [--seeds 0 1 2] [--cache FILE]
"""

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy.stats import kendalltau
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from weightspace.allocator import keep_freed_memory
from weightspace.models import GMN, GaugeGMN, Invariant, ScaleGMN
from weightspace.spec import spec_of
from weightspace.weights import WeightFeatures, features_of

IMAGES, TRAINED_ON = torch.Size((1, 8, 8)), 1000


def dense(width: int, depth: int) -> nn.Module:
    widths = [64, *[width] * depth]
    layers = [part for ends in zip(widths, widths[1:], strict=False) for part in (nn.Linear(*ends), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers, nn.Linear(width, 10))


def convolutional(width: int, depth: int) -> nn.Module:
    widths = [1, *[width] * depth]
    layers = [
        part for ends in zip(widths, widths[1:], strict=False) for part in (nn.Conv2d(*ends, 3, padding=1), nn.ReLU())
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10))


class Residual(nn.Module):
    """A stream of units to which blocks add."""

    def __init__(self, first: nn.Module, blocks: list[nn.Module], width: int) -> None:
        super().__init__()
        self.first, self.blocks, self.last = first, nn.ModuleList(blocks), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = x + block(x)
        return self.last(x.flatten(2).mean(2) if x.ndim == 4 else x)


def residual(width: int, depth: int) -> nn.Module:
    blocks = [
        nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
        for _ in range(depth)
    ]
    return Residual(nn.Conv2d(1, width, 3, padding=1), blocks, width)


def residual_dense(width: int, depth: int) -> nn.Module:
    blocks = [nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)) for _ in range(depth)]
    return Residual(nn.Sequential(nn.Flatten(), nn.Linear(64, width)), blocks, width)


FAMILIES = {"dense": dense, "convolutional": convolutional, "residual": residual, "residual dense": residual_dense}
SIZES = {"dense": (16, 24, 32), "convolutional": (8, 12, 16), "residual": (6, 8, 12), "residual dense": (16, 32)}
# Which networks a metanetwork is judged by: families, widths times, and depths.
SEEN = [
    (family, width, depth)
    for family in ("dense", "convolutional", "residual")
    for width in SIZES[family]
    for depth in (1, 2)
]
GROUPS = {
    "seen": SEEN,
    "wider": [
        (family, 2 * SIZES[family][-1], depth) for family in ("dense", "convolutional", "residual") for depth in (1, 2)
    ],
    "deeper": [(family, SIZES[family][1], 3) for family in ("dense", "convolutional", "residual")],
    "family": [("residual dense", width, depth) for width in SIZES["residual dense"] for depth in (1, 2)],
}


@dataclass
class Networks:
    """Trained networks of one architecture, and how many of the other images they get right."""

    features: WeightFeatures
    accuracy: Tensor

    def rows(self, which: slice) -> "Networks":
        return Networks(self.features[which], self.accuracy[which])


def fitted(family: str, width: int, depth: int, count: int) -> Networks:
    """`count` networks trained side by side by Adam, each with a learning rate and a number of steps of its own."""
    digits = load_digits()
    images, labels = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 16, torch.tensor(digits.target)
    seed = list(FAMILIES).index(family) * 10_000 + width * 100 + depth
    torch.manual_seed(seed)
    modules = [FAMILIES[family](width, depth) for _ in range(count)]
    template, (state, _) = modules[0], stack_module_state(modules)
    state = {name: tensor.detach() for name, tensor in state.items()}
    rates, ends = 10 ** torch.empty(count).uniform_(-4, -1), (20 * 2 ** torch.empty(count).uniform_(0, 4)).long()

    def loss(state: dict[str, Tensor], rows: Tensor) -> Tensor:
        return nn.functional.cross_entropy(functional_call(template, state, (images[rows],)), labels[rows])

    slopes = vmap(grad(loss))
    first, second = ({name: torch.zeros_like(t) for name, t in state.items()} for _ in range(2))
    for step in range(int(ends.max())):
        gradient = slopes(state, torch.randint(TRAINED_ON, (count, 64)))
        for name, g in gradient.items():
            first[name].lerp_(g, 0.1)
            second[name].lerp_(g.square(), 0.001)
            size = rates * (step < ends) / (1 - 0.9 ** (step + 1))
            move = first[name] / ((second[name] / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8)
            state[name] = state[name] - size.view(-1, *(1 for _ in g.shape[1:])) * move

    def right(state: dict[str, Tensor]) -> Tensor:
        return (
            (functional_call(template, state, (images[TRAINED_ON:],)).argmax(1) == labels[TRAINED_ON:]).float().mean()
        )

    with torch.no_grad():
        accuracy = vmap(right)(state)
    return Networks(features_of(spec_of(template, torch.zeros(2, *IMAGES)), state), accuracy)


def zoo(count: int, cache: Path | None) -> dict[str, list[Networks]]:
    if cache is not None and cache.exists():
        kept = torch.load(cache, weights_only=True)
    else:
        kept = {}
        for architecture in dict.fromkeys(each for group in GROUPS.values() for each in group):
            networks = fitted(*architecture, count)
            print(architecture, networks.accuracy.quantile(torch.tensor([0.0, 0.5, 1.0])).tolist(), file=sys.stderr)
            kept["-".join(map(str, architecture))] = (list(networks.features.tensors), networks.accuracy)
        if cache is not None:
            torch.save(kept, cache)
    out: dict[str, list[Networks]] = {}
    for group, members in GROUPS.items():
        for family, width, depth in members:
            spec = spec_of(FAMILIES[family](width, depth), torch.zeros(2, *IMAGES))
            tensors, accuracy = kept[f"{family}-{width}-{depth}"]
            out.setdefault(group, []).append(Networks(WeightFeatures(spec, tensors), accuracy))
    return out


def judged(model: nn.Module, members: list[Networks]) -> dict[str, float]:
    model.eval()
    with torch.no_grad():
        said = torch.cat([model(member.features).sigmoid().flatten() for member in members])
    truth = torch.cat([member.accuracy for member in members])
    error = (said - truth).square().mean() / truth.var(correction=0)
    return {"tau": round(float(kendalltau(said, truth).statistic), 3), "R2": round(1 - error.item(), 3)}


def trained(kind: str, groups: dict[str, list[Networks]], steps: int, seed: int) -> dict[str, object]:
    torch.manual_seed(seed)
    cut = len(groups["seen"][0].accuracy) * 3 // 4
    examples = [member.rows(slice(cut)) for member in groups["seen"]]
    options = {"channels": 16, "rounds": 4, "bidirectional": True, "messages": "linear", "form": "product"}
    model = KINDS[kind]([m.features.spec for m in examples], Invariant(1, hidden=64, dropout=0.2), **options)
    if kind == "plain":
        for graph in model.graphs:
            graph.fans = {}
    model.norm.fit([m.features for m in examples])
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=steps)
    start = time.perf_counter()
    for _ in range(steps):
        model.train()
        rows = [torch.randint(cut, (8,)) for _ in examples]
        said = model([m.features[r] for m, r in zip(examples, rows, strict=True)]).sigmoid().flatten()
        truth = torch.cat([m.accuracy[r] for m, r in zip(examples, rows, strict=True)])
        loss = (said - truth).square().mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    others = {**groups, "seen": [member.rows(slice(cut, None)) for member in groups["seen"]]}
    found = {group: judged(model, members) for group, members in others.items()}
    print(kind, seed, found, file=sys.stderr)
    return {"seconds": round(time.perf_counter() - start), **found}


KINDS = {"ScaleGMN": ScaleGMN, "plain": ScaleGMN, "GMN": GMN, "GaugeGMN": GaugeGMN}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=64)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--cache", type=Path)
    chosen = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    data = zoo(chosen.networks, chosen.cache)
    results = {kind: [trained(kind, data, chosen.steps, seed) for seed in chosen.seeds] for kind in chosen.kinds}
    print(json.dumps({"networks": chosen.networks, "steps": chosen.steps, "results": results}, indent=1))
