"""What implicit neural representations show: MNIST, Fashion-MNIST and CIFAR-10, told from weights.

Published numbers are those of the ScaleGMN paper's corpora (DWS's for the grey images, NFN's for CIFAR-10: 55,000 and
45,000 SIREN to learn from, omega 30, hours of training), so they stand beside ours as context, not as like for like.
"""

from dataclasses import replace

from weightspace.experiments.bench.subject import Networks
from weightspace.experiments.bench.table import Move, Published, Row, Table
from weightspace.experiments.bench.zoo import ZooRecipe
from weightspace.experiments.choice import ModelChoice
from weightspace.experiments.paper.model import WEIGHTS, compared
from weightspace.training import TrainSettings
from weightspace.zoo.generate import SirenSettings

__all__ = [
    "CIFAR",
    "INR_CIFAR",
    "INR_FASHION",
    "INR_MNIST",
    "INR_MNIST_SHARED",
    "INR_MNIST_VIEWS",
    "MNIST",
    "SMALL_SIREN",
]

SMALL_SIREN = SirenSettings(omega=15.0, steps=100, learning_rate=6e-3)
"""Networks of the small scale: a second for sixty of them, and lower frequencies, which are easier to read."""
FULL_SIREN = SirenSettings(omega=30.0, steps=500)
"""Networks of the full scale, with the literature's frequency."""

MEASURES = ("accuracy", "nll", "calibration")
MOVES = (Move("permutations and signs"), Move("phases too", phases=True))
SMALL = TrainSettings(steps=1000, batch=32, weight_decay=0.1)
FULL = TrainSettings(steps=100_000, batch=64, weight_decay=0.1)

_PAPER = "Kalogeropoulos et al. 2024, table 1"
_QUOTED = "as quoted by later papers"


def _published(**values: float) -> dict[str, Published]:
    """Accuracies in per cent, as they are printed."""
    names = {"ScaleGMN_B": "ScaleGMN-B"}
    return {names.get(name, name): Published(value / 100, _PAPER, _QUOTED) for name, value in values.items()}


def _zoo(name: str, images: str, small: SirenSettings, count: int, full: int) -> dict[str, ZooRecipe]:
    big = replace(FULL_SIREN, init=small.init, views=small.views)
    return {"small": ZooRecipe(name, small, count, images), "full": ZooRecipe(name, big, full, images)}


def _table(
    name: str, title: str, question: str, zoos: dict[str, ZooRecipe], rows: tuple[Row, ...], views: str | None = None
) -> Table:
    return Table(
        name=name,
        title=title,
        question=question,
        measures=MEASURES,
        higher=True,
        data={scale: Networks(zoo, "class", views, dropout=0.2, moves=MOVES) for scale, zoo in zoos.items()},
        training={"small": SMALL, "full": FULL},
        rows=rows,
    )


FOLD = ("fold",)
MOST = tuple(name for name in WEIGHTS if name not in ("NGGNN", "Phased"))
"""Whose rows stand in every table: at the small scale NGGNN takes as long as all others together."""


def _folded(published: dict[str, Published]) -> tuple[Row, ...]:
    """The comparison: every model reads networks whose phases are folded, and says nothing of them otherwise."""
    rows = compared(MOST, published)
    return tuple(replace(row, track="canonical", prepare=FOLD) for row in rows)


def _unfolded(names: tuple[str, ...]) -> tuple[Row, ...]:
    """Networks as they were fitted. `Phased` needs no fold: it follows the phases by itself."""
    return tuple(Row(name if name == "Phased" else f"{name}, unfolded", WEIGHTS[name]) for name in names)


CANONICAL = tuple(Row(f"{name}, canonical", WEIGHTS[name], "canonical", ("canonical",)) for name in ("FlatMLP", "NP"))
"""The whole symmetry taken away by a canonical form, ahead of models that do not know it."""

PROBES = (Row("FunctionProbe", ModelChoice("FunctionProbe"), "probes"),)

ABLATIONS = tuple(
    Row(name, model, "canonical", FOLD, study="ablation")
    for name, model in {
        "ScaleGMN-B, gated messages": ModelChoice("ScaleGMN", options={"messages": "gated"}),
        "ScaleGMN-B, messages without receiver": ModelChoice("ScaleGMN", options={"messages": "sent"}),
        "ScaleGMN-B, absolute values": ModelChoice("ScaleGMN", options={"form": "absolute"}),
        "ScaleGMN-B, symmetrised": ModelChoice("ScaleGMN", options={"form": "symmetrised"}),
        "MAGEPNFN, couplings as drawn": ModelChoice("weightspace.experiments.paper.ablation:couplings_as_drawn"),
    }.items()
)

LABELS = tuple(
    Row(f"{name}, {share:.0%} of the networks", WEIGHTS[name], "canonical", FOLD, share=share, study="labels")
    for name in ("FlatMLP", "NP", "MAGEPNFN", "ScaleGMN-B")
    for share in (0.02, 0.1, 0.3)
)

MNIST = _zoo("siren-mnist", "mnist", SMALL_SIREN, 6000, 60_000)
CIFAR = _zoo("siren-cifar", "cifar10", SMALL_SIREN, 4000, 50_000)
"""Zoos that are edited as well."""

INR_MNIST = _table(
    "inr-mnist",
    "MNIST: which digit a network draws",
    "SIRENs fitted to one image each, from random weights of their own: which digit is it?",
    MNIST,
    _folded(_published(NP=78.5, HNP=79.11, ScaleGMN=96.57, ScaleGMN_B=96.59))
    + CANONICAL
    + _unfolded(tuple(WEIGHTS))
    + PROBES
    + ABLATIONS
    + LABELS,
)
INR_FASHION = _table(
    "inr-fashion",
    "Fashion-MNIST: which garment a network draws",
    "SIRENs fitted to one image each, from random weights of their own: which of ten kinds of clothing is it?",
    _zoo("siren-fashion", "fashion-mnist", SMALL_SIREN, 6000, 60_000),
    _folded(_published(NP=68.19, HNP=68.94, ScaleGMN=80.46, ScaleGMN_B=80.78))
    + _unfolded(("ScaleGMN-B", "Phased"))
    + PROBES,
)
INR_CIFAR = _table(
    "inr-cifar",
    "CIFAR-10: what a network draws in colour",
    "SIRENs with three outputs, fitted to one image each, from random weights of their own: what is it?",
    CIFAR,
    _folded(_published(NP=33.41, HNP=28.64, ScaleGMN=36.43, ScaleGMN_B=38.82))
    + _unfolded(("ScaleGMN-B", "Phased"))
    + PROBES,
)
INR_MNIST_SHARED = _table(
    "inr-mnist-shared",
    "MNIST, from one start: which digit a network draws",
    "SIRENs that all start from the same random weights, so that unit i means the same in all of them.",
    _zoo("siren-mnist-shared", "mnist", replace(SMALL_SIREN, init="shared"), 4000, 60_000),
    tuple(
        Row(name, model, "shared")
        for name, model in ({**WEIGHTS, "NeuronTransformer": ModelChoice("NeuronTransformer")}).items()
        if name in ("FlatMLP", "NP", "MonomialNFN", "MAGEPNFN", "ScaleGMN-B", "NeuronTransformer")
    ),
)
INR_MNIST_VIEWS = _table(
    "inr-mnist-views",
    "MNIST, four networks per image: which digit a network draws",
    "Each image is held by four SIRENs from random starts; an epoch reads one of them. Splits belong to images.",
    _zoo("siren-mnist-views", "mnist", replace(SMALL_SIREN, views=4), 6000, 240_000),
    tuple(Row(name, WEIGHTS[name], "views") for name in ("FlatMLP", "NP", "MonomialNFN", "MAGEPNFN", "ScaleGMN-B")),
    views="image",
)
