"""The symmetry of trained networks that other people published in package registries, read off and checked.

For every network: its weights are read out of the package, the spec is read off an equivalent module, what is free in
it is counted, and random elements of its group move the trained weights, in float64: the outputs must not change.

    python benchmarks/published/run.py [--only PACKAGE ...] [--json FILE] [--markdown FILE]

Packages are fetched once, by pip or npm, into $WEIGHTSPACE_CACHE or ~/.cache/weightspace (0.3 GB for all of them), and
their SHA-256 is checked at every run. Two of them need h5py and are left out where it is not installed.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from importlib.util import find_spec
from math import floor
from pathlib import Path

import torch
from collection import COLLECTIONS, Collection

sys.path.insert(0, str(Path(__file__).parents[1] / "coverage"))
from figure import Figures, export_seconds, failure, figures_of, markdown

LARGEST_ERROR = 1e-9
HEAD = (
    "package", "network", "architecture", "licence", "parameters", "share with a symmetry", "free axes", "permutations",
    "free scales", "free signs", "function error",
)  # fmt: skip

Row = tuple[Collection, str, Figures | str]


def measured(collection: Collection) -> Iterator[Row]:
    """Figures of every network of a collection, or why there are none."""
    if collection.hdf5 and find_spec("h5py") is None:
        yield collection, "-", "left out: needs h5py"
        return
    for name, module, inputs in collection.networks(collection.package):
        try:
            yield collection, name, figures_of(module.eval().requires_grad_(False), inputs)
        except Exception as error:  # whatever goes wrong is what this table is there to show
            yield collection, name, failure(error)


def cells(row: Row) -> list[str]:
    collection, name, figures = row
    head = [str(collection.package), name, collection.architecture, collection.package.licence]
    if isinstance(figures, str):
        return [*head, *["-"] * (len(HEAD) - 5), f"`{figures.split(':')[0]}`"]
    return [
        *head,
        f"{figures.parameters:,}",
        f"{floor(1000 * figures.share) / 10} %",
        str(figures.free_axes),
        f"10^{figures.log10_permutations:.0f}" if figures.free_axes else "-",
        str(figures.scales),
        str(figures.signs),
        f"{figures.function_error:.0e}",
    ]


def summary(rows: list[Row]) -> dict[str, object]:
    read = [(collection, row) for collection, _, row in rows if isinstance(row, Figures)]
    sound = [(collection, row) for collection, row in read if row.function_error < LARGEST_ERROR]
    symmetric = [collection for collection, row in sound if row.covered]
    return {
        "networks": len(rows),
        "packages": len({str(collection.package) for collection, _, _ in rows}),
        "read": len(read),
        "function_kept": len(sound),
        "with_a_symmetry": len(symmetric),
        "packages_with_a_symmetry": len({str(collection.package) for collection in symmetric}),
        "not_read": {f"{row[0].package}, {row[1]}": row[2] for row in rows if isinstance(row[2], str)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [collection.package.name for collection in COLLECTIONS]
    parser.add_argument("--only", nargs="+", default=names, choices=names, metavar="PACKAGE")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    export_seconds(torch.nn.Linear(1, 1), (torch.ones(1, 1),))  # the first export loads what all others use
    rows: list[Row] = []
    for collection in COLLECTIONS:
        for row in measured(collection) if collection.package.name in arguments.only else ():
            rows.append(row)
            print("  ".join(cells(row)), row[2] if isinstance(row[2], str) else "", flush=True)
    found = {**summary(rows), "torch": torch.__version__}
    print(json.dumps(found, indent=1))
    if arguments.json:
        figures = [
            {"package": str(collection.package), "sha256": collection.package.sha256, "network": name}
            | {"architecture": collection.architecture, "licence": collection.package.licence}
            | asdict(row)
            | {"share": row.share}
            for collection, name, row in rows
            if isinstance(row, Figures)
        ]
        arguments.json.write_text(json.dumps(found | {"figures": figures}, indent=1) + "\n")
    if arguments.markdown:
        arguments.markdown.write_text(markdown(HEAD, [cells(row) for row in rows], left=4))


if __name__ == "__main__":
    main()
