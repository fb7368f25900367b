"""Frames of smoke plumes as PhiFlow 2.0.1 computes them, with which the package's own solver is compared.

Runs beside PhiFlow, which asks for old versions of its dependencies, and so not in the package's own environment:

    python3.11 -m venv phi
    phi/bin/pip install numpy==1.23.5 scipy==1.10.1 'matplotlib<3.8' safetensors setuptools wheel
    phi/bin/pip install --no-deps --no-build-isolation phiflow==2.0.1
    phi/bin/python benchmarks/published/phiflow.py --out frames.safetensors [--steps 31] [--all]

Without `--all` it writes frames 5, 10, 20 and 30 of two rotation tasks and one translation task at every other row and
column: `tests/zoo/phiflow.safetensors` was made so. With it, every frame in full, which `benchmarks/plume.py
--reference` reads.
"""

import argparse
import collections
import collections.abc

import numpy as np
from safetensors.numpy import save_file

# PhiFlow 2.0.1 looks for these where Python has not had them since 3.10.
for name in ("Callable", "Iterable", "Sequence", "Mapping", "MutableMapping"):
    setattr(collections, name, getattr(collections.abc, name))

from phi.flow import (  # noqa: E402
    Box,
    CenteredGrid,
    HardGeometryMask,
    Solve,
    Sphere,
    StaggeredGrid,
    advect,
    batch,
    channel,
    extrapolation,
    fluid,
    tensor,
)

SIDE = 64
FRAMES = (5, 10, 20, 30)
BOX = {"x": SIDE, "y": SIDE, "bounds": Box[0:SIDE, 0:SIDE]}
DIRECTIONS = (((32, 5), (0, 0.01)), ((59, 32), (-0.01, 0)), ((32, 59), (0, -0.011)), ((5, 32), (0.01, 0)))
ROTATIONS, TRANSLATIONS = ((3, 2), (22, 1)), ((24, 10),)


def run(centre, time_step, pushed, steps):
    """Velocities `(step, 2, 65, 65)` of one simulation; `pushed` gives the force from the smoke."""
    smoke, velocity = CenteredGrid(0, extrapolation.BOUNDARY, **BOX), StaggeredGrid(0, extrapolation.ZERO, **BOX)
    disc = Sphere(center=tensor([centre], batch("run"), channel("vector")), radius=5)
    inflow = CenteredGrid(disc, extrapolation.BOUNDARY, **BOX)
    frames = []
    for _ in range(steps):
        smoke = advect.mac_cormack(smoke, velocity, dt=1) + inflow
        velocity = advect.semi_lagrangian(velocity, velocity, dt=time_step) + pushed(smoke, velocity)
        velocity, _ = fluid.make_incompressible(velocity, (), Solve("auto", 1e-5, 0, x0=None))
        frames.append(velocity.staggered_tensor().numpy(["run", "vector", "y", "x"])[0])
    return np.ascontiguousarray(np.stack(frames), np.float32)


def rotation(k, direction, steps):
    centre, unit = DIRECTIONS[direction]
    force = tuple(k * part for part in unit)
    return run(centre, 1, lambda smoke, velocity: smoke * force @ velocity, steps)


def translation(x, y, steps):
    halves = [
        (StaggeredGrid(HardGeometryMask(half), extrapolation.ZERO, x=SIDE, y=SIDE), force)
        for half, force in ((Box[: SIDE // 2, :], (0, 0.1)), (Box[SIDE // 2 :, :], (0, 0.2)))
    ]

    def pushed(smoke, velocity):
        left, right = (smoke * mask * force @ velocity for mask, force in halves)
        return left + right

    return run((x, y), 0.5, pushed, steps)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int, default=31)
    parser.add_argument("--all", action="store_true", help="every frame in full")
    arguments = parser.parse_args()
    runs = {f"rotation_{k}_{j}": rotation(k, j, arguments.steps) for k, j in ROTATIONS}
    runs |= {f"translation_{x}_{y}": translation(x, y, arguments.steps) for x, y in TRANSLATIONS}
    if not arguments.all:
        runs = {name: frames[list(FRAMES), :, ::2, ::2].copy() for name, frames in runs.items()}
    save_file(runs, arguments.out)
