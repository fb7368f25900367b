"""The page of a demo, from the record of its run."""

import numpy as np

from weightspace.experiments import DemoRecord, ModelResult
from weightspace.reports.content import Curve, DemoReport, DigitGallery, ModelRow, Orbit, Pattern, confusion_matrix

__all__ = ["demo_report", "demo_rows"]

_TITLES = {
    "tied_monomial": "a linear layer that respects permutations and signs",
    "tied_permutation": "a linear layer that respects permutations alone",
}


def demo_rows(record: DemoRecord) -> tuple[ModelRow, ...]:
    """The table of a demo: one row per model, in the order in which they were trained.

    Args:
        record: of a finished demo.
    """
    return tuple(_row(result) for result in record.results)


def demo_report(record: DemoRecord) -> DemoReport:
    """What the page of a demo shows.

    Args:
        record: of a finished demo.
    """
    arrays, classes = record.arrays, int(record.zoo["classes"])
    pictures = arrays["orbit_images"].astype(np.float64)
    change = np.abs(pictures - pictures[0]).reshape(len(pictures), -1).max(1)
    return DemoReport(
        title="Telling a picture from the weights of the network that draws it",
        rows=demo_rows(record),
        tested=int(record.zoo["splits"]["test"]),
        classes=tuple(str(number) for number in range(classes)),
        digits=DigitGallery(
            arrays["originals"],
            arrays["rendered"],
            tuple(str(label) for label in arrays["labels"]),
            arrays["psnr"],
            record.zoo["psnr"],
        ),
        curves=tuple(_curve(result) for result in record.results),
        confusions={r.name: confusion_matrix(r.run.targets, r.run.predictions, classes) for r in record.results},
        patterns=tuple(
            Pattern(title, arrays[name], record.blocks, record.blocks, record.free[name])
            for name, title in _TITLES.items()
        ),
        orbit=Orbit(arrays["orbit_weights"], arrays["orbit_images"], record.moves, change),
        stages=record.stages,
        facts=_facts(record),
        notes=(record.note,),
    )


def _row(result: ModelResult) -> ModelRow:
    return ModelRow(
        result.name,
        accuracy=result.run.test_score,
        accuracy_after=result.change.accuracy,
        parameters=result.run.parameters,
        seconds=result.run.seconds,
        logit_change=result.change.logits,
        answers_changed=result.change.answers,
    )


def _curve(result: ModelResult) -> Curve:
    curves = result.run.curves
    return Curve(
        result.name, curves["step"], curves["seconds"], curves["train_loss"], accuracy=curves["validation_score"]
    )


def _facts(record: DemoRecord) -> dict[str, dict[str, str]]:
    """Settings, data and machine as texts, grouped."""
    run = record.results[0].run
    machine = {**run.versions, "device": run.device, "threads": run.threads}
    groups = {
        "settings": record.settings,
        "zoo": {key: value for key, value in record.zoo.items() if key != "forward"},
        "forward pass of every network": record.zoo["forward"],
        "steps bought by the seconds": {result.name: f"{result.run.steps:,}" for result in record.results},
        "machine": {**machine, "peak memory": f"{record.peak_memory / 2**20:,.0f} MiB"},
    }
    return {title: {str(key): str(value) for key, value in facts.items()} for title, facts in groups.items()}
