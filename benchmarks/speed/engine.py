"""What a large zoo takes: shards made here and as tasks of Ray, and how fast one process commits them.

Makes the same zoo of default networks twice, locally and by Ray, on as many threads as torch has, and compares
checksums. Ray's figure leaves out its start (`seconds_to_start`: Ray itself, and workers that import the package). Then
measures the process that writes: it commits shards that are already made, one after another (`writing`), fetches such
shards from Ray's store (`fetching`), and commits those of tasks that do nothing but give them back (`through_ray`).
Prints one JSON object.

    python benchmarks/speed/engine.py [--kind siren] [--shards 8] [--turns 3] [--driver]

`--driver` measures the process that writes alone.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import ray
import torch

from weightspace.allocator import keep_freed_memory
from weightspace.weights import features_of
from weightspace.zoo import Images, ZooWriter
from weightspace.zoo.generate import CnnSettings, Engine, SirenSettings
from weightspace.zoo.generate.engine import made_by
from weightspace.zoo.generate.plan import Recipe, fill
from weightspace.zoo.generate.recipe import cnn_recipe, siren_recipe


def images(count: int) -> Images:
    """Smooth noise of 28 x 28: speed does not depend on what is seen."""
    coarse = torch.rand(count, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    fine = torch.nn.functional.interpolate(coarse, size=28, mode="bicubic", align_corners=True).clamp(0, 1)
    return Images("noise", (255 * fine[:, 0]).byte().numpy(), np.arange(count) % 10, "0" * 64, "Drawn.")


def recipe_of(kind: str, shards: int, *, brief: bool = False) -> Recipe:
    """Default networks; brief ones take two steps, for what depends on their shapes alone."""
    if kind == "siren":
        settings = SirenSettings(steps=2) if brief else SirenSettings()
        return siren_recipe(images(256 * shards), settings, count=256 * shards)
    return cnn_recipe(images(10_000), CnnSettings(steps=(2, 2)) if brief else CnnSettings(), count=64 * shards)


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(kind: str, shards: int, turns: int, driver_alone: bool) -> dict[str, object]:
    start = seconds(lambda: ray.init("local", include_dashboard=False, log_to_driver=False, logging_level="ERROR"))
    told: dict[str, object] = {"kind": kind, "threads": torch.get_num_threads()}
    if not driver_alone:
        told |= compared(recipe_of(kind, shards), shards, turns, start)
    return told | driver(recipe_of(kind, 1, brief=True), turns)


def compared(recipe: Recipe, shards: int, turns: int, start: float) -> dict[str, object]:
    """The same zoo by both engines; `start` are the seconds that Ray took to start."""
    ways: dict[str, list[float]] = {"local": [], "ray": []}
    checksums = set()
    with tempfile.TemporaryDirectory() as folder:
        # The first run by Ray starts its workers.
        first = seconds(lambda: fill(Path(folder) / "first", recipe, engine="ray"))
        for turn in range(turns):
            for way, spent in ways.items():
                path = Path(folder) / f"{way}{turn}"
                spent.append(seconds(lambda path=path, way=way: checksums.add(fill(path, recipe, engine=way).checksum)))
    networks = recipe.plan.count
    best = {way: min(spent) for way, spent in ways.items()}
    return {
        "networks": networks,
        "equal": len(checksums) == 1,
        "seconds": {way: round(spent, 2) for way, spent in best.items()},
        "networks_per_second": {way: round(networks / spent, 1) for way, spent in best.items()},
        "seconds_per_shard": {way: round(spent / shards, 3) for way, spent in best.items()},
        "seconds_to_start": round(start + first - best["ray"], 1),
    }


def driver(recipe: Recipe, turns: int) -> dict[str, object]:
    """What the process that writes has to do for each shard."""
    manifest, made = recipe.manifest(), recipe.make(torch.arange(recipe.plan.shard), None)
    stored = [ray.put(made) for _ in range(20)]
    fetching = [seconds(lambda one=one: ray.get(one)) for one in stored]
    with tempfile.TemporaryDirectory() as folder:
        writer = ZooWriter(folder, replace(manifest, count=None))
        writing = [
            seconds(lambda at=at: writer.write(at, features_of(manifest.spec, made[0]), pa.table(made[1])))
            for at in range(20 * turns)
        ]
        tasks = {at: torch.zeros(1, dtype=torch.int64) for at in range(20 * turns)}

        def commit_all() -> None:
            for at, (state, columns) in made_by(Engine("ray"), lambda *_: made, tasks, None):
                writer.write(at, features_of(manifest.spec, state), pa.table(columns))

        commit_all()
        through = seconds(commit_all) / len(tasks)
        size = sum(file.stat().st_size for file in Path(folder).glob("shards/00000.*"))
    spent = median(writing) + median(fetching)
    return {
        "shard_bytes": size,
        "fetching_milliseconds": round(1e3 * median(fetching), 2),
        "writing_milliseconds": round(1e3 * median(writing), 2),
        "through_ray_milliseconds": round(1e3 * through, 2),
        "through_ray_networks_per_second": round(recipe.plan.shard / through),
        "driver_networks_per_second": round(recipe.plan.shard / spent),
        "driver_megabytes_per_second": round(1e-6 * size / spent, 1),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kind", choices=("siren", "cnn"), default="siren")
    parser.add_argument("--shards", type=int, default=8)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--driver", action="store_true", help="measure the process that writes alone")
    arguments = parser.parse_args()
    keep_freed_memory()
    print(json.dumps(measure(arguments.kind, arguments.shards, arguments.turns, arguments.driver), indent=1))
