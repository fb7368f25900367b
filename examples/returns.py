"""Tell from a policy's weights alone how well it balances a pole, and choose the best of many by it.

Trains policies at all stages, or goes on with those that are there, then three models under one budget. The table tells
Kendall's tau on policies of runs that no model has learnt from, and the regret: how much more the best of 100 such
policies (or of all, where there are fewer) returns than the one that is ranked first, as a share of the distance
between the bounds of the return. `blind` is the regret of choosing by chance.

    python examples/returns.py [--environment cartpole] [--count 400] [--updates 400] [--seeds 0] [--out FOLDER]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from weightspace import models
from weightspace.allocator import keep_freed_memory
from weightspace.tasks import PredictAccuracy, regret
from weightspace.training import Splits, TrainSettings, train
from weightspace.zoo.generate import PolicySettings, make_policy_zoo

MODELS = {
    "StatNN": lambda spec, readout: models.StatNN.preset("demo", spec, readout),
    "MonomialNFN": lambda spec, readout: models.MonomialNFN.preset("demo", spec, readout),
    "ScaleGMN": lambda spec, readout: models.ScaleGMN(
        spec, readout, channels=16, rounds=3, bidirectional=True, messages="linear"
    ),
}


def main(arguments: Sequence[str] | None = None) -> dict[str, list[tuple[float, float]]]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environment", default="cartpole")
    parser.add_argument("--count", type=int, default=400, help="runs; each leaves 7 policies")
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("weightspace-returns"))
    chosen = parser.parse_args(arguments)
    keep_freed_memory()

    zoo = make_policy_zoo(chosen.out / "zoo", PolicySettings(environment=chosen.environment), count=chosen.count)
    task = PredictAccuracy(target="scaled_return")
    data = Splits.of(zoo, task)
    achieved = data.test.target
    among = min(100, len(achieved))
    print(f"{len(data.train)} policies to learn from, {len(data.val)} for validation, {len(data.test)} for the test")
    print(f"blind: regret {regret(torch.zeros(len(achieved)), achieved, among=among):.3f} among {among}")

    found: dict[str, list[tuple[float, float]]] = {}
    for name, build in MODELS.items():
        for seed in chosen.seeds:
            torch.manual_seed(seed)
            model = build(zoo.spec, models.Invariant(1, dropout=0.2))
            model.norm.fit(data.train.features)
            settings = TrainSettings(steps=chosen.updates, seed=seed, batch=min(64, len(data.train)))
            record = train(model, task, data, settings, out=chosen.out / "runs" / f"{name}-{seed}")
            model.eval()
            with torch.no_grad():
                output = model(data.test.features)
            found.setdefault(name, []).append((record.test_score, regret(output, achieved, among=among)))
        size = sum(parameter.numel() for parameter in model.parameters())
        told = ", ".join(f"tau {tau:.3f} regret {lost:.3f}" for tau, lost in found[name])
        print(f"{name:12} {size:8,} parameters   {told}", flush=True)
    return found


if __name__ == "__main__":
    main()
