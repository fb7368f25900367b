"""The sets of plumes: a picture, how far they are from PhiFlow, and how symmetric they are as the force is made equal.

`--picture` draws the smoke of four runs of each published set. `--reference` reads frames that
`benchmarks/published/phiflow.py --steps 160 --all` wrote and prints how far the package's own are from them: the norm
of the difference in parts of the norm of the reference, frame by frame, and the largest divergence of both.
`--breaking` prints how symmetric sets are: the mean absolute difference between the first run of a block of four and
the others, turned back, over 50 frames, in parts of the mean absolute velocity. Tables are in Markdown.

    python benchmarks/plume.py [--picture PATH] [--reference FILE] [--breaking]
"""

import argparse
from dataclasses import replace

import matplotlib
import torch
from safetensors.torch import load_file
from torch import Tensor

from weightspace.zoo.generate.plume import PlumeSettings, Run, runs_of, start, turn

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from PIL import Image

SHOWN = {
    "translation": (((8, 10), (24, 10), (40, 10), (56, 10)), 40, "inflow at x = {0}, y = {1}"),
    "rotation": (((9, 0), (10, 1), (11, 2), (12, 3)), 40, "run {0}, direction {1}"),
    "scale": (((0,), (5,), (10,), (30,)), 40, "{side} x {side} cells"),
}
FRAMES = (5, 10, 20, 30, 39, 79, 119, 159)
INK = "#1b2026"


def chosen(kind: str, tasks: tuple[tuple[int, ...], ...], breaking: float = 1.0) -> list[Run]:
    runs = {run.task: run for run in runs_of(PlumeSettings(kind=kind, breaking=breaking))}
    return [runs[task] for task in tasks]


def draw(path: str) -> None:
    figure, rows = plt.subplots(3, 4, figsize=(8.4, 6.9), layout="constrained")
    for axes, (kind, (tasks, steps, title)) in zip(rows, SHOWN.items(), strict=True):
        for panel, run in zip(axes, chosen(kind, tasks), strict=True):
            smoke = start([run])
            for _ in range(steps):
                smoke.step()
            show(panel, smoke.smoke[0], smoke.faces()[0] / run.scale, run.side)
            panel.set_title(title.format(*run.task, side=run.side), fontsize=8, color=INK)
        axes[0].set_ylabel(f"{kind}, step {steps}", fontsize=9, color=INK)
    figure.savefig(path, dpi=90)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(48).save(path, optimize=True)


def show(panel: Axes, smoke: Tensor, faces: Tensor, side: int) -> None:
    panel.imshow(smoke.sqrt(), origin="lower", cmap="Greys", extent=(0, side, 0, side), vmin=0)
    step = side // 11
    centres = torch.arange(step // 2, side, step)
    x, y = (faces[0, :-1, 1:] + faces[0, :-1, :-1]) / 2, (faces[1, 1:, :-1] + faces[1, :-1, :-1]) / 2
    grid = (centres[:, None], centres)
    panel.quiver(centres + 0.5, centres + 0.5, x[grid], y[grid], color="#c0392b", width=0.006, pivot="mid")
    panel.set(xticks=[], yticks=[])


def compare(file: str) -> None:
    print("| run |", " | ".join(f"frame {frame}" for frame in FRAMES), "| divergence, own | divergence, PhiFlow |")
    print("|---" * (len(FRAMES) + 3) + "|")
    for name, reference in load_file(file).items():
        kind, *task = name.split("_")
        smoke, told, worst = start(chosen(kind, (tuple(map(int, task)),))), [], 0.0
        for frame, wanted in enumerate(reference):
            smoke.step()
            worst = max(worst, float(smoke.divergence().abs().max()))
            if frame in FRAMES:
                told.append(f"{float((smoke.faces()[0] - wanted).norm() / wanted.norm()):.1e}")
        x, y = reference[:, 0, :-1], reference[:, 1, :, :-1]
        theirs = float((x[..., 1:] - x[..., :-1] + y[:, 1:] - y[:, :-1]).abs().max())
        print(f"| {kind} ({', '.join(task)}) | {' | '.join(told)} | {worst:.1e} | {theirs:.1e} |")


def symmetry() -> None:
    degrees = (0.0, 0.25, 0.5, 0.75, 1.0)
    print("| set |", " | ".join(f"breaking {degree}" for degree in degrees), "|")
    print("|---" * (len(degrees) + 1) + "|")
    cases = {"rotation": ((9, 0), (10, 1), (11, 2), (12, 3)), "levels": ((9, 0), (9, 1), (9, 2), (9, 3))}
    for kind, tasks in cases.items():
        print(f"| {kind} {tasks} |", " | ".join(f"{error(kind, tasks, degree):.3g}" for degree in degrees), "|")


def error(kind: str, tasks: tuple[tuple[int, ...], ...], breaking: float) -> float:
    # Frames of `levels` are turned when they are finished, those of `rotation` come out turned.
    runs = [replace(run, turns=0) for run in chosen(kind, tasks, breaking)]
    smoke, found, size = start(runs), 0.0, 0.0
    for _ in range(50):
        smoke.step()
        faces = smoke.faces()
        back = [turn(one, -number) if kind == "rotation" else one for number, one in enumerate(faces)]
        found += sum(float((back[0] - one).abs().mean()) for one in back[1:]) / 3
        size += float(faces.abs().mean())
    return found / size


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture")
    parser.add_argument("--reference")
    parser.add_argument("--breaking", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.picture:
        draw(arguments.picture)
    if arguments.reference:
        compare(arguments.reference)
    if arguments.breaking:
        symmetry()
