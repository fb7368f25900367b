"""The check of the coverage table, checked: specs with one wrong leg, which must change the function.

For every architecture a few legs of its spec are drawn; each is spoilt in turn, either by another power of one factor
or by tying it to an axis of its own that does not move. `function_error` must then rise above 1e-9. What is missed is
listed: parameters that cannot change the outputs at all, such as a key's bias ahead of a softmax.

    python benchmarks/coverage/control.py [--only NAME ...] [--mutants 4] [--json FILE]
"""

import argparse
import json
import logging
import random
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from architecture import ARCHITECTURES, build

from weightspace.spec import FIXED, Axis, Leg, NetworkSpec, spec_of
from weightspace.testing import function_error

LARGEST_ERROR = 1e-9
Mutant = tuple[str, NetworkSpec]


def mutants(spec: NetworkSpec) -> Iterator[tuple[int, int, int | None]]:
    """Every leg that can be spoilt: parameter, leg, and the factor whose power changes, or none for the whole axis."""
    outer = {axis.within for axis in spec.axes}
    free = {axis.name: axis for axis in spec.free_axes if axis.size > 1 and axis.within is None}
    for row, param in enumerate(spec.params):
        for position, leg in enumerate(param.legs):
            if leg.axis in free:
                yield from ((row, position, factor) for factor in range(len(leg.powers)))
                if leg.axis not in outer:  # a nested leg must stay behind its outer one
                    yield row, position, None


def spoilt(spec: NetworkSpec, row: int, position: int, factor: int | None) -> Mutant:
    """The spec with one wrong leg, and what was done to it."""
    param, axes = spec.params[row], spec.axes
    leg = param.legs[position]
    if factor is None:
        axes, wrong = (*axes, Axis("spoilt", spec.axis(leg.axis).size, FIXED)), Leg("spoilt")
    else:
        powers = [power + (place == factor) for place, power in enumerate(leg.powers)]
        wrong = replace(leg, powers=tuple(powers))
    changed = replace(param, legs=(*param.legs[:position], wrong, *param.legs[position + 1 :]))
    name = f"{param.name}, leg {position}: {'the axis' if factor is None else f'the power of factor {factor}'}"
    return name, replace(spec, axes=axes, params=(*spec.params[:row], changed, *spec.params[row + 1 :]))


def controlled(name: str, count: int) -> tuple[int, list[str]]:
    """How many mutants of an architecture were tried, and which of them went unnoticed."""
    module, inputs = build(name)
    spec = spec_of(module, inputs, verify=False)
    chosen = list(mutants(spec))
    random.Random(0).shuffle(chosen)
    tried = [spoilt(spec, *mutant) for mutant in chosen[:count]]
    return len(tried), [what for what, wrong in tried if function_error(module, wrong, inputs) < LARGEST_ERROR]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(ARCHITECTURES), choices=list(ARCHITECTURES), metavar="NAME")
    parser.add_argument("--mutants", type=int, default=4)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # transformers warns of what its own configurations lack
    transformers.logging.set_verbosity_error()
    logging.disable(logging.CRITICAL)  # torch.export logs the whole graph of what it cannot read
    tried, missed = 0, {}
    for name in arguments.only:
        count, unnoticed = controlled(name, arguments.mutants)
        tried += count
        if unnoticed:
            missed[name] = unnoticed
        print(f"{name}: {count - len(unnoticed)} of {count} noticed", flush=True)
    noticed = tried - sum(len(names) for names in missed.values())
    found = {"mutants": tried, "noticed": noticed, "missed": missed}
    print(json.dumps(found, indent=1))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
