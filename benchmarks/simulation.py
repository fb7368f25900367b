"""Whether ScaleGMN learns what a network computes: its outputs at points, and the gradient of its loss in the weights.

Networks 2-8-8-1 are drawn anew at every step, with a point and a target each; none is seen twice, and what is measured
is measured on others still. The point stands at the input vertices, the target at the output vertex. Reported are R2 of
the outputs and the mean cosine between the predicted gradient and the true one over all parameters of a network. With
ReLU the answer is read in the metric of the gauge norms, which is what follows scales; the cosine is that of the
gradient itself. Prints one JSON object.

    python benchmarks/simulation.py [--steps 4000] [--activation relu tanh] [--task output gradient] [--channels 32]
"""

import argparse
import json
import sys
import time
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from weightspace.allocator import keep_freed_memory
from weightspace.gauge import gauge_norms
from weightspace.models import Edit, Invariant, ScaleGMN
from weightspace.spec import spec_of
from weightspace.weights import WeightFeatures, features_of

WIDTHS, BATCH = (2, 8, 8, 1), 256
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh}


def network(activation: str) -> nn.Sequential:
    layers = [part for ends in pairwise(WIDTHS) for part in (nn.Linear(*ends), ACTIVATIONS[activation]())]
    return nn.Sequential(*layers[:-1])


class Source:
    """Networks with points, targets and what is true of them."""

    def __init__(self, activation: str, seed: int) -> None:
        self.module = network(activation)
        self.spec = spec_of(self.module)
        self.last = [place.name for place in self.spec.places][-1]
        self.generator = torch.Generator().manual_seed(seed)
        self.gradient = vmap(grad_and_value(self.loss, has_aux=True))

    def loss(self, state: dict[str, Tensor], point: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        output = functional_call(self.module, state, (point,))
        return (output - target).square().sum() / 2, output

    def draw(self, batch: int) -> tuple[WeightFeatures, dict[str, Tensor], Tensor, WeightFeatures]:
        """Weights of variance two over the fan-in, biases of variance one half."""

        def normal(*shape: int) -> Tensor:
            return torch.randn(batch, *shape, generator=self.generator)

        state = {}
        for name, parameter in self.module.named_parameters():
            size = (2 / parameter.shape[1]) ** 0.5 if parameter.ndim == 2 else 0.5**0.5
            state[name] = size * normal(*parameter.shape)
        point, target = normal(WIDTHS[0]), normal(WIDTHS[-1])
        gradient, (_, output) = self.gradient(state, point, target)
        signals = {"input": point.unsqueeze(-1), self.last: target.unsqueeze(-1)}
        return features_of(self.spec, state), signals, output, features_of(self.spec, gradient)


def metric(x: WeightFeatures) -> list[Tensor]:
    """By parameter, what a change that follows scales is multiplied with to follow them as a gradient does."""
    norms = {name: n.square() for name, n in gauge_norms(x).items()}
    out = []
    for name, values in x.items():
        target = name.rsplit(".", 1)[0]
        scaled = x.spec.axis(target).symmetry.factors and any(
            f == "positive" for f in x.spec.axis(target).symmetry.factors
        )
        below = norms[target] if scaled else torch.ones_like(norms[target])
        factor = 1 / below.clamp_min(1e-20)
        if values.ndim == 4:
            source = x.spec.param(name).legs[1]
            above = norms[source.axis] if any(source.powers) else torch.ones_like(norms[source.axis])
            factor = factor.unsqueeze(2) * above.unsqueeze(1)
        out.append(factor.unsqueeze(-1))
    return out


def predicted(model: ScaleGMN, x: WeightFeatures, signals: dict[str, Tensor], scaled: bool) -> Tensor:
    change = [y - t for y, t in zip(model(x, signals).tensors, x.tensors, strict=True)]
    if scaled:
        change = [c * m for c, m in zip(change, metric(x), strict=True)]
    return torch.cat([c.flatten(1) for c in change], 1)


def trained(activation: str, task: str, arguments: argparse.Namespace) -> dict[str, object]:
    torch.manual_seed(arguments.seed)
    source, unseen = Source(activation, arguments.seed), Source(activation, 10_000 + arguments.seed)
    options = {"channels": arguments.channels, "rounds": 2 * len(WIDTHS) - 2, "messages": "linear"}
    options["signals"] = {"input": 1} if task == "output" else {"input": 1, source.last: 1}
    readout = Invariant(1) if task == "output" else Edit(1.0)
    model = ScaleGMN(source.spec, readout, bidirectional=task == "gradient", form=arguments.form, **options)
    model.norm.fit(source.draw(4096)[0])
    optimiser = torch.optim.Adam(model.parameters(), lr=arguments.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, arguments.rate, total_steps=arguments.steps)
    start = time.perf_counter()
    for step in range(arguments.steps):
        loss = -agreement(model, source.draw(BATCH), task, activation)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 200 == 0:
            print(f"{activation} {task} {step}: {-loss.item():.4f}", file=sys.stderr)
    model.eval()
    with torch.no_grad():
        score = agreement(model, unseen.draw(4096), task, activation).item()
    parameters = sum(p.numel() for p in model.parameters())
    return {"score": round(score, 4), "parameters": parameters, "seconds": round(time.perf_counter() - start)}


def agreement(model: ScaleGMN, drawn: tuple, task: str, activation: str) -> Tensor:
    """R2 of outputs, or the mean cosine of gradients."""
    x, signals, output, gradient = drawn
    if task == "output":
        got = model(x, {"input": signals["input"]})
        return 1 - (got - output).square().mean() / output.var()
    truth = torch.cat([t.flatten(1) for t in gradient.tensors], 1)
    return nn.functional.cosine_similarity(predicted(model, x, signals, activation == "relu"), truth).mean()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--rate", type=float, default=5e-3)
    parser.add_argument("--form", default="product")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--activation", nargs="+", choices=ACTIVATIONS, default=list(ACTIVATIONS))
    parser.add_argument("--task", nargs="+", choices=("output", "gradient"), default=["output", "gradient"])
    chosen = parser.parse_args()
    keep_freed_memory()
    torch.set_num_threads(1)
    results = {f"{a}, {t}": trained(a, t, chosen) for a in chosen.activation for t in chosen.task}
    print(json.dumps({"settings": vars(chosen), "results": results}, indent=1))
