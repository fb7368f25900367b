"""What it brings a classifier of SIRENs to respect shifts of their phases.

Says how many units' phases of a zoo folding touches. Then trains `ScaleGMN` with eight channels and the same number of
steps on the same networks seen in several ways: the weights as they are; the weights with phases folded into half a
turn (`gauge.fold_phases`); the view in which shifts are signs (`models.Phased`); both of these with more rounds of
messages; and, outside of the library, what the view comes down to where sines are taken for straight: the weights into
a unit times the cosine of its phase, and its sine. Each run keeps the best of its validations and answers for the test
networks as they are, and moved by random permutations, signs and up to three half turns of every phase, which changes
none of their functions. Prints a table in Markdown and one JSON object.

    python benchmarks/phase.py [--zoo FOLDER] [--steps 1500] [--seeds 3] [--only WAY ...] [--threads 1]

Without a folder the zoo of the demo is made, one SIREN for each of 8,000 images of MNIST.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import torch
from torch import nn

from weightspace.allocator import keep_freed_memory
from weightspace.experiments import DemoSettings
from weightspace.experiments.equivalent import answers
from weightspace.gauge import fold_phases
from weightspace.gauge.phase import phases, shift_phases, sine_places
from weightspace.models import Invariant, Phased, ScaleGMN
from weightspace.spec import NetworkSpec
from weightspace.tasks import Classify
from weightspace.training import Split, Splits, TrainSettings, train
from weightspace.weights import WeightFeatures, act, sample_element
from weightspace.zoo import Zoo, load_or_digits, open_zoo
from weightspace.zoo.generate import make_siren_zoo

TURNS = 3
SIZE = {"channels": 8, "rounds": 2, "bidirectional": True, "messages": "linear", "form": "product"}
See = Callable[[WeightFeatures], WeightFeatures]


def straightened(x: WeightFeatures) -> WeightFeatures:
    """Weights into sine units times the cosine of the phase, and its sine over the frequency."""
    tensors = dict(x.items())
    for place in sine_places(x.spec):
        (bias,) = place.biases
        phase = x[bias] * math.pi / place.step
        for name in place.params:
            tensors[name] = x[name] * phase.cos().unsqueeze(2) if name != bias else phase.sin() * place.step / math.pi
    return WeightFeatures(x.spec, tensors)


def same(x: WeightFeatures) -> WeightFeatures:
    return x


def plain(rounds: int) -> Callable[[NetworkSpec, Invariant], nn.Module]:
    return lambda spec, readout: ScaleGMN(spec, readout, **{**SIZE, "rounds": rounds})


def phased(rounds: int) -> Callable[[NetworkSpec, Invariant], nn.Module]:
    return lambda spec, readout: Phased(spec, readout, settings={**SIZE, "rounds": rounds})


WAYS: Mapping[str, tuple[See, Callable[[NetworkSpec, Invariant], nn.Module]]] = {
    "as they are": (same, plain(2)),
    "folded": (fold_phases, plain(2)),
    "folded, 4 rounds": (fold_phases, plain(4)),
    "view": (same, phased(2)),
    "view, 3 rounds": (same, phased(3)),
    "view, 4 rounds": (same, phased(4)),
    "straightened": (straightened, plain(2)),
}


def moved(x: WeightFeatures, seed: int) -> WeightFeatures:
    """The same functions, spelt anew at random."""
    generator = torch.Generator().manual_seed(seed)
    turns = {
        name: torch.randint(-TURNS, TURNS + 1, k.shape, generator=generator).to(k) for name, k in phases(x).items()
    }
    return shift_phases(act(sample_element(x.spec, len(x), generator=generator), x), turns)


def touched(x: WeightFeatures) -> dict[str, dict[str, float]]:
    """By sine place, the share of units that folding shifts, and of those that it turns around."""
    return {
        name: {"shifted": (k != 0).float().mean().item(), "turned": (k % 2 != 0).float().mean().item()}
        for name, k in phases(x).items()
    }


def measured(way: str, data: Splits, seed: int, steps: int) -> dict[str, float]:
    """One run: its accuracies and what it cost."""
    see, make = WAYS[way]
    splits = (data.train, data.val, data.test)
    seen = Splits(*(Split(see(split.features), split.target) for split in splits))
    torch.manual_seed(seed)
    model = make(seen.train.features.spec, Invariant(10, dropout=0.5))
    model.norm.fit(seen.train.features)
    settings = TrainSettings(steps=steps, seed=seed, learning_rate=5e-3, weight_decay=0.1, device="cpu")
    started = time.perf_counter()
    with TemporaryDirectory() as folder:
        record = train(model, Classify(10), seen, settings, out=folder)
    spent = time.perf_counter() - started
    again = answers(model, see(moved(data.test.features, seed)))
    return {
        "test": record.test_score,
        "moved": (again.argmax(1) == data.test.target).float().mean().item(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "milliseconds": 1000 * spent / steps,
    }


def markdown(found: Mapping[str, list[dict[str, float]]]) -> str:
    lines = ["| the networks | parameters | test | lowest, highest | test, moved |", "|---|---:|---:|---:|---:|"]
    for way, runs in found.items():
        scores = [run["test"] for run in runs]
        after = mean(run["moved"] for run in runs)
        lines.append(
            f"| {way} | {runs[0]['parameters']:,} | {mean(scores):.1%} | {min(scores):.1%}, {max(scores):.1%} "
            f"| {after:.1%} |"
        )
    return "\n".join(lines)


def demo_zoo(folder: Path) -> Zoo:
    """The zoo of the demo."""
    settings = DemoSettings()
    images = load_or_digits(settings.data)
    return make_siren_zoo(folder, images, settings.siren, count=settings.count)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--zoo", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=[*WAYS])
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    keep_freed_memory()
    with TemporaryDirectory() as folder:
        zoo = open_zoo(arguments.zoo) if arguments.zoo else demo_zoo(Path(folder))
        data = Splits.of(zoo, Classify(10))
        figures = {
            way: [measured(way, data, seed, arguments.steps) for seed in range(arguments.seeds)]
            for way in arguments.only
        }
    print(markdown(figures))
    about = {"networks": len(data.train.features), "steps": arguments.steps, "torch": torch.__version__}
    print(json.dumps(about | {"folding": touched(data.test.features), "ways": figures}, indent=1))
