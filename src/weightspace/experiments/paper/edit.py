"""Editing implicit neural representations in weight space: thicker digits, and pictures with more contrast."""

from collections.abc import Mapping
from dataclasses import replace

from weightspace.experiments.bench.subject import Networks
from weightspace.experiments.bench.table import Published, Table
from weightspace.experiments.bench.zoo import ZooRecipe
from weightspace.experiments.choice import ModelChoice
from weightspace.experiments.paper.inr import CIFAR, MNIST
from weightspace.experiments.paper.model import FORWARD, compared
from weightspace.training import TrainSettings

__all__ = ["EDIT_CIFAR", "EDIT_MNIST"]

MODELS = {
    "nothing done": ModelChoice("weightspace.experiments.paper.ablation:Unedited"),
    "FlatMLP": ModelChoice("FlatMLP"),
    "NP": ModelChoice("NP"),
    "HNP": ModelChoice("HNP"),
    "MonomialNFN": ModelChoice("MonomialNFN", options={"stem": [32, 32, 32]}),
    "MAGEPNFN": ModelChoice("MAGEPNFN"),
    "GMN": ModelChoice("GMN"),
    "ScaleGMN": ModelChoice("ScaleGMN", options=FORWARD),
    "ScaleGMN-B": ModelChoice("ScaleGMN"),
}


def _table(
    name: str, title: str, question: str, zoos: Mapping[str, ZooRecipe], change: str, published: dict[str, Published]
) -> Table:
    return Table(
        name=name,
        title=title,
        question=question,
        measures=("mse", "psnr"),
        higher=False,
        data={scale: Networks(zoo, change) for scale, zoo in zoos.items()},
        training={
            "small": TrainSettings(steps=500, batch=32, weight_decay=0.01),
            "full": TrainSettings(steps=50_000, batch=32, weight_decay=0.01),
        },
        rows=tuple(
            replace(row, track="canonical", prepare=("fold",)) for row in compared(tuple(MODELS), published, MODELS)
        ),
    )


EDIT_MNIST = _table(
    "edit-mnist",
    "MNIST: thicker digits by other weights",
    "Change the weights of a SIREN so that the digit it draws is dilated once, by three by three pixels.",
    MNIST,
    "dilate",
    {
        "NP": Published(0.0255, "as printed in the GradMetaNet paper", "DWS's corpus"),
        "ScaleGMN-B": Published(0.0189, "as printed in the GradMetaNet paper", "DWS's corpus"),
    },
)
EDIT_CIFAR = _table(
    "edit-cifar",
    "CIFAR-10: more contrast by other weights",
    "Change the weights of a SIREN so that the picture it draws has its contrast raised, place by place.",
    CIFAR,
    "contrast",
    {"ScaleGMN": Published(0.00523, "as printed in the GradMetaNet paper", "NFN's corpus")},
)
