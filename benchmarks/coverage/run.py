"""Which share of other people's architectures `spec_of` reads a symmetry off, and whether it is one.

For every architecture of `architecture.py`: the spec is read from the module and its example inputs, what is free in it
is counted, and random elements of its group move the weights, in float64: the outputs must not change. An architecture
that cannot be read is reported as found and does not stop the run. Figures of time are seconds of one run on one core.

    python benchmarks/coverage/run.py [--only NAME ...] [--json FILE] [--markdown FILE]

The markdown is the table of the documentation. The networks of others need `pip install transformers`.
"""

import argparse
import json
import logging
import time
import warnings
from dataclasses import asdict
from math import floor
from pathlib import Path

import torch
import transformers
from architecture import ARCHITECTURES, build
from figure import Figures, export_seconds, failure, figures_of, markdown
from torch import nn

LARGEST_ERROR = 1e-9
HEAD = (
    "network", "parameters", "share with a symmetry", "free axes", "permutations", "free scales", "free signs",
    "function error", "export, s", "spec, s", "notes",
)  # fmt: skip


def measured(name: str) -> Figures | str:
    """The figures of an architecture, or why there are none."""
    try:
        return figures_of(*build(name))
    except Exception as error:  # whatever goes wrong is what this table is there to show
        return failure(error)


def cells(name: str, row: Figures | str) -> list[str]:
    if isinstance(row, str):
        # Errors are long and may hold any character: the table names their kind, the JSON file keeps the rest.
        return [name, *["-"] * (len(HEAD) - 2), f"not read: `{row.split(':')[0]}`"]
    return [
        name,
        f"{row.parameters:,}",
        f"{floor(1000 * row.share) / 10} %",
        str(row.free_axes),
        f"10^{row.log10_permutations:.0f}" if row.free_axes else "-",
        str(row.scales),
        str(row.signs),
        f"{row.function_error:.0e}",
        "-" if row.export_seconds is None else f"{row.export_seconds:.2f}",
        f"{row.seconds:.2f}",
        str(row.notes),
    ]


def summary(rows: dict[str, Figures | str]) -> dict[str, object]:
    read = {name: row for name, row in rows.items() if isinstance(row, Figures)}
    sound = [name for name, row in read.items() if row.function_error < LARGEST_ERROR]
    return {
        "architectures": len(rows),
        "read": len(read),
        "function_kept": len(sound),
        "with_a_symmetry": sum(1 for name in sound if read[name].covered),
        "function_changed": sorted(set(read) - set(sound)),
        "not_read": {name: row for name, row in rows.items() if isinstance(row, str)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(ARCHITECTURES), choices=list(ARCHITECTURES), metavar="NAME")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # transformers warns of what its own configurations lack
    transformers.logging.set_verbosity_error()
    logging.disable(logging.CRITICAL)  # torch.export logs the whole graph of what it cannot read
    export_seconds(nn.Linear(1, 1), (torch.ones(1, 1),))  # the first export of a process loads what all others use
    rows: dict[str, Figures | str] = {}
    start = time.perf_counter()
    for name in arguments.only:
        rows[name] = row = measured(name)
        print(f"{name}: {row}" if isinstance(row, str) else "  ".join(cells(name, row)), flush=True)
    found = {
        **summary(rows),
        "seconds": round(time.perf_counter() - start, 1),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }
    print(json.dumps(found, indent=1))
    if arguments.json:
        plain = {name: asdict(row) | {"share": row.share} for name, row in rows.items() if isinstance(row, Figures)}
        arguments.json.write_text(json.dumps(found | {"figures": plain}, indent=1) + "\n")
    if arguments.markdown:
        arguments.markdown.write_text(markdown(HEAD, [cells(name, row) for name, row in rows.items()]))


if __name__ == "__main__":
    main()
