"""Do a run's sets and intervals hold the truth as often as they say, and which networks are far from its zoo?

    python benchmarks/calibration.py RUN [--coverage 0.9 0.8]

The test split of the run's zoo is answered as `weightspace predict` does it, and its distances are compared with those
of networks made from it: equivalent ones, scaled ones, with entries shuffled within each parameter, and random ones.
"""

import argparse
from pathlib import Path

import torch

from weightspace.experiments import calibration_of, open_run, predict
from weightspace.testing import random_features
from weightspace.weights import act, sample_element


def held(found, target) -> tuple[float, float]:
    """The share of networks whose truth is inside, and the mean size of sets or intervals."""
    if found[0].classes is not None:
        inside = [int(t) in each.classes for each, t in zip(found, target, strict=True)]
        sizes = [len(each.classes) for each in found]
    else:
        inside = [each.low <= float(t) <= each.high for each, t in zip(found, target, strict=True)]
        sizes = [each.high - each.low for each in found]
    return sum(inside) / len(inside), sum(sizes) / len(sizes)


def changed(x):
    """Networks made from those of the test split, by what was done to them."""
    torch.manual_seed(0)
    yield "as they are", x
    yield "units moved, signs and scales", act(sample_element(x.spec, len(x), log_scale=3), x)
    for factor in (0.5, 1.2, 2, 10, 100):
        yield f"weights x {factor:g}", x.map(lambda t, factor=factor: factor * t)
    yield "entries shuffled", x.map(lambda t: t.flatten(1)[:, torch.randperm(t[0].numel())].reshape(t.shape))
    yield "normal weights", random_features(x.spec, len(x)).to(torch.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--coverage", type=float, nargs="+", default=[0.9, 0.8])
    given = parser.parse_args()
    run = open_run(given.run)
    model, zoo = run.model(), run.zoo()
    calibration = calibration_of(run, model)
    rows = zoo.split("test")
    x, target = zoo.features(rows), run.task.targets(zoo, rows)
    names = [str(number) for number in zoo.column("number")[rows]]
    for coverage in given.coverage:
        inside, size = held(predict(run, model, calibration, names, x, coverage), target)
        print(f"coverage {coverage:g} asked: {inside:.1%} of {len(rows)} test networks inside, mean size {size:.2f}")
    print(f"\n{'far beyond':32}{calibration.far:8.3g}")
    for name, networks in changed(x):
        distance = calibration.distance(networks)
        low, middle, high = distance.quantile(torch.tensor([0, 0.5, 1.0]).double()).tolist()
        far = (distance > calibration.far).double().mean().item()
        print(f"{name:32}{low:8.3g} to {high:8.3g}, median {middle:8.3g}, {far:6.1%} far")


if __name__ == "__main__":
    main()
