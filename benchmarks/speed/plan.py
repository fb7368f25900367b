"""What `weightspace zoo make ... --plan` says a zoo takes, and what making it took.

For each kind of zoo the plan is asked and then the zoo is made in a temporary folder, on one thread, both by the same
clock: the processor's, so that other work on the machine does not count (`--wall`: the time that passes). `ratio` is
planned over actual; `measured` is what the plan itself took. Images that are not in the cache are replaced by
scikit-learn's digits. Prints one JSON object.

    python benchmarks/speed/plan.py [--kinds siren cnn mlp wide cartpole pendulum mixed wild] [--wall] [--threads 1]
"""

import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

from machine import parser, prepare

from weightspace.zoo import load_images, load_or_digits
from weightspace.zoo.generate import (
    CnnSettings,
    MlpSettings,
    PolicySettings,
    Regime,
    SirenSettings,
    WildSettings,
    estimate,
    make_cnn_zoo,
    make_mixed_zoos,
    make_policy_zoo,
    make_siren_zoo,
    make_wild_zoos,
)
from weightspace.zoo.generate.classifier import classifier_task
from weightspace.zoo.generate.cnn_collection import WILD_REGIME
from weightspace.zoo.generate.fit import fit_task
from weightspace.zoo.tabular import load_table


def siren() -> tuple[Callable, Callable]:
    images, settings = load_or_digits("mnist", offline=True), SirenSettings()
    make = partial(make_siren_zoo, images=images, settings=settings, count=512)
    return partial(estimate.siren_estimate, images, settings, count=512), make


def cnn() -> tuple[Callable, Callable]:
    images, settings = load_images("digits"), CnnSettings()
    make = partial(make_cnn_zoo, images=images, settings=settings, count=32)
    return partial(estimate.cnn_estimate, images, settings, count=32), make


def mlp(*widths: int, count: int) -> tuple[Callable, Callable]:
    task = classifier_task(load_table("digits"), MlpSettings(widths), Regime(), count=count)
    return partial(estimate.task_estimate, task), partial(fit_task, task)


def policy(environment: str) -> tuple[Callable, Callable]:
    settings = PolicySettings(environment=environment)
    make = partial(make_policy_zoo, settings=settings, count=128)
    return partial(estimate.policy_estimate, settings, count=128), make


def mixed() -> tuple[Callable, Callable]:
    images, settings = load_images("digits"), CnnSettings(steps=(100, 400))
    make = partial(make_mixed_zoos, images=images, settings=settings, count=32)
    return partial(estimate.mixed_estimate, images, settings, count=32), make


def wild() -> tuple[Callable, Callable]:
    images, settings, regime = (
        load_images("digits"),
        WildSettings(architectures=4),
        replace(WILD_REGIME, steps=(50, 200)),
    )
    make = partial(make_wild_zoos, images=images, settings=settings, regime=regime, count=32)
    return partial(estimate.wild_estimate, images, settings, regime, count=32), make


KINDS = {
    "siren": siren,
    "cnn": cnn,
    "mlp": partial(mlp, 32, 32, count=256),
    "wide": partial(mlp, 1024, 1024, count=6),
    "cartpole": partial(policy, "cartpole"),
    "pendulum": partial(policy, "pendulum"),
    "mixed": mixed,
    "wild": wild,
}


def compare(kind: str, clock: Callable[[], float]) -> dict[str, float]:
    """Planned and actual seconds."""
    ask, make = KINDS[kind]()
    told = ask()
    start = clock()
    with tempfile.TemporaryDirectory() as folder:
        make(folder) if kind in ("mlp", "wide") else make(path=folder)
    took = clock() - start
    given = {"planned": told.seconds, "actual": took, "ratio": told.seconds / took, "measured": told.measured}
    return {name: round(value, 2) for name, value in given.items()}


if __name__ == "__main__":
    options = parser(__doc__, turns=1)
    options.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    options.add_argument("--wall", action="store_true")
    arguments = options.parse_args()
    record = prepare(arguments)
    clock = time.perf_counter if arguments.wall else time.process_time
    estimate.time = SimpleNamespace(perf_counter=clock)
    record["kinds"] = {kind: compare(kind, clock) for kind in arguments.kinds}
    print(json.dumps(record, indent=1))
