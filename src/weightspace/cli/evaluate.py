"""``weightspace evaluate``: the model of a run on a split of a zoo."""

from pathlib import Path

from weightspace.experiments.evaluation import evaluate as measure
from weightspace.experiments.run import open_run
from weightspace.experiments.task import told
from weightspace.reports.table import aligned

__all__ = ["evaluate"]


def evaluate(
    run: Path, /, *, zoo: Path | None = None, split: str = "test", model: str | None = None, device: str = "auto"
) -> None:
    """Say what the model of a run is worth on a split of a zoo; every answer is written into the run's folder.

    Args:
        run: folder of the run.
        zoo: folder of a zoo of the same kind of networks, or of several; by default what the run was trained on.
        split: train, val, test or all.
        model: for a model of your own its import path once more, package.module:Model, which runs its code.
        device: cpu, cuda, or auto (cuda if there is one).
    """
    opened = open_run(run)
    found, path = measure(opened, opened.model(model, device=device), opened.zoos(zoo), split)
    loss = "–" if found.loss is None else f"{found.loss:.4f}"
    row = (found.model, found.split, f"{len(found.targets):,}", told(opened.task, found.score), loss)
    print(aligned([("model", "split", "networks", "score", "loss"), row]))
    for notice in found.notices:
        print(f"note: {notice}")
    print(path)
