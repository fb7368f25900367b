"""``weightspace predict``: what the model of a run makes of new networks."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from weightspace.cli.new import check_new
from weightspace.experiments.calibration import calibration_of
from weightspace.experiments.prediction import Prediction, read_networks
from weightspace.experiments.prediction import predict as answer
from weightspace.experiments.run import open_run
from weightspace.reports.table import aligned, percent
from weightspace.training.record import write_json
from weightspace.weights.source import Reading

__all__ = ["predict"]


@dataclass(frozen=True)
class Use:
    """How the model of a run is brought back."""

    model: str | None = None
    """For a model of your own its import path once more, package.module:Model, which runs its code."""
    zoo: Path | None = None
    """Where the run's zoo lies now, if it was moved and the run has no calibration yet."""
    device: str = "auto"
    """Where it computes: cpu, cuda, or auto (cuda if there is one)."""


def predict(
    networks: tuple[str, ...],
    /,
    *,
    run: Annotated[Path, Parameter(name="--with")],
    coverage: float = 0.9,
    rows: tuple[int, ...] | None = None,
    use: Annotated[Use, Parameter(name="*")] = Use(),
    json: Path | None = None,
    force: bool = False,
    reading: Annotated[Reading, Parameter(name="*")] = Reading(),  # noqa: B008 - frozen
) -> None:
    """Say what the model of a run makes of new networks, with an interval, or a set of classes, that holds the truth.

    Nothing in a file is run; a factory, a module and a model of your own are code, and run.

    Args:
        networks: files with weights (.safetensors, .pt, .pth, .bin, .ckpt), exported programs (.pt2),
            package.module:factory, folders of such files, and zoos.
        run: folder of the run.
        coverage: of networks like those of the run's zoo, the share whose truth is to be in the interval or set.
        rows: of zoos, the numbers of the rows to predict; by default all.
        use: how the run's model is brought back.
        json: a file for the answers.
        force: write over a file that is there.
        reading: how a file becomes a network; by default its tensors must be those of the run's networks by name.
    """
    if json is not None:
        check_new(json, force=force)
    opened = open_run(run)
    names, x = read_networks(opened, networks, reading, rows)
    loaded = opened.model(use.model, device=use.device)
    calibration = calibration_of(opened, loaded, use.zoo)
    found = answer(opened, loaded, calibration, names, x, coverage)
    if json is not None:
        plain = {"run": opened.record.digest, "task": dict(opened.description["task"]), "coverage": coverage}
        calibrated = {"networks": len(calibration.scores), "far": calibration.far}
        write_json(json, {**plain, "calibration": calibrated, "predictions": [asdict(each) for each in found]})
    print(aligned([_headings(found[0], coverage), *(_cells(each) for each in found)]))
    for each in found:
        if each.far:
            print(
                f"warning: {each.network} is far from the networks that the model has learnt from (distance "
                f"{each.distance:.3g}; of theirs 99% are within {calibration.far:.3g}): the answer is a guess.",
                file=sys.stderr,
            )


def _headings(first: Prediction, coverage: float) -> tuple[str, ...]:
    if first.classes is not None:
        return "network", "class", "probability", f"classes, {coverage:g}", "distance"
    return "network", "accuracy", f"interval, {coverage:g}", "distance"


def _cells(found: Prediction) -> tuple[str, ...]:
    distance = f"{found.distance:.3g}{' far' if found.far else ''}"
    if found.classes is not None:
        return found.network, str(found.answer), percent(found.probability), _listed(found.classes), distance
    return found.network, f"{found.answer:.4f}", f"{found.low:.4f} to {found.high:.4f}", distance


def _listed(classes: list[int]) -> str:
    return " ".join(map(str, classes))
