"""Tell how well a small CNN does from its weights alone, with seven models under one budget.

Trains CNNs on MNIST, each with hyper-parameters of its own, or goes on with those that are there (about a second of
processor time for each), then every model on their last checkpoints, with as many updates each and several seeds. The
table tells Kendall's tau on the test networks, which each run looks at once, at the end.

    python examples/accuracy.py [--count 960] [--updates 400] [--seeds 0 1 2] [--data mnist] [--out FOLDER]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from weightspace import models
from weightspace.allocator import keep_freed_memory
from weightspace.tasks import PredictAccuracy
from weightspace.training import Splits, TrainSettings, train
from weightspace.zoo import load_or_digits
from weightspace.zoo.generate import CnnSettings, make_cnn_zoo

GRAPH = {"channels": 16, "rounds": 4, "bidirectional": True, "messages": "linear"}
MODELS = {
    "StatNN": lambda spec, readout: models.StatNN.preset("demo", spec, readout),
    "NP": lambda spec, readout: models.NP(spec, readout, channels=(8, 8)),
    "MonomialNFN": lambda spec, readout: models.MonomialNFN.preset("demo", spec, readout),
    "MAGEPNFN": lambda spec, readout: models.MAGEPNFN.preset("demo", spec, readout),
    "GMN": lambda spec, readout: models.GMN(spec, readout, **GRAPH),
    "GaugeGMN": lambda spec, readout: models.GaugeGMN(spec, readout, **GRAPH),
    "ScaleGMN": lambda spec, readout: models.ScaleGMN(spec, readout, **GRAPH),
}


def main(arguments: Sequence[str] | None = None) -> dict[str, list[float]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=960)
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, nargs=2, default=(200, 600))
    parser.add_argument("--data", default="mnist")
    parser.add_argument("--out", type=Path, default=Path("weightspace-accuracy"))
    chosen = parser.parse_args(arguments)
    keep_freed_memory()

    images = load_or_digits(chosen.data)
    zoo = make_cnn_zoo(chosen.out / "zoo", images, CnnSettings(steps=tuple(chosen.steps)), count=chosen.count)
    final = zoo.only(zoo.column("final") & ~zoo.column("diverged"))
    task = PredictAccuracy()
    data = Splits.of(final, task)
    print(f"{len(data.train)} networks to learn from, {len(data.val)} for validation, {len(data.test)} for the test")

    found: dict[str, list[float]] = {}
    for name, build in MODELS.items():
        for seed in chosen.seeds:
            torch.manual_seed(seed)
            model = build(final.spec, models.Invariant(1, dropout=0.2))
            model.norm.fit(data.train.features)
            settings = TrainSettings(steps=chosen.updates, seed=seed, batch=min(64, len(data.train)))
            record = train(model, task, data, settings, out=chosen.out / "runs" / f"{name}-{seed}")
            found.setdefault(name, []).append(record.test_score)
        size = sum(parameter.numel() for parameter in model.parameters())
        print(f"{name:12} {size:8,} parameters   tau {', '.join(f'{tau:.3f}' for tau in found[name])}", flush=True)
    return found


if __name__ == "__main__":
    main()
