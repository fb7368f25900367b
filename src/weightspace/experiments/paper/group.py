"""Tables of networks on groups: turned digits told apart, and smoke plumes continued.

No number in print stands beside the rows. The accuracies of GM-CNN are not public in a form that could be read; those
of layers of low displacement rank (Thomas et al., 2018) are of other variations of MNIST; and the errors that are known
of smoke plumes (Wang, Walters, Yu, 2022: 0.80 at later times and 0.67 on runs held out of the rotation set, for a
steerable network that is none of these) do not say over how many frames they are.

References:
    A. Samudre, M. Petrache, B. D. Nord, S. Trivedi: "Symmetry-Based Structured Matrices for Efficient Approximately
    Equivariant Networks", AISTATS 2025.
    A. Thomas, A. Gu, T. Dao, A. Rudra, C. Ré: "Learning Compressed Transforms with Low Displacement Rank", NeurIPS
    2018.
    R. Wang, R. Walters, R. Yu: "Approximately Equivariant Networks for Imperfectly Symmetric Dynamics", ICML 2022.
"""

from weightspace.experiments.bench.network import CLASSIFIERS, PLAIN
from weightspace.experiments.bench.signal import RotatedDigits, SmokePlumes
from weightspace.experiments.bench.table import Row, Table
from weightspace.experiments.choice import ModelChoice
from weightspace.training import TrainSettings

__all__ = ["ROTATED_DIGITS", "SMOKE"]

NETWORK = "weightspace.experiments.bench.network"
SIZES = {0.25: "a quarter", 4.0: "fourfold"}


def _classifier(kind: str, times: float = 1.0) -> Row:
    """A row of the comparison at the budget, or of the study of parameters at others."""
    name = kind.removeprefix("plain ")
    model = ModelChoice(f"{NETWORK}:classifier", options={"kind": kind, "times": times})
    if times == 1:
        return Row(name, model, "signals")
    return Row(f"{name}, {SIZES[times]}", model, "signals", study="parameters")


def _forecaster(kind: str) -> Row:
    return Row(kind, ModelChoice(f"{NETWORK}:forecaster", options={"kind": kind}), "signals")


COMPARED = tuple(kind for kind in CLASSIFIERS if kind not in ("p4m", "displacement rank 1, positions"))

ROTATED_DIGITS = Table(
    name="rotated-digits",
    title="Digits turned by any angle",
    question=(
        "How many parameters does a classifier need, if its layers are group matrices, next to ordinary convolutions, "
        "layers of low displacement rank and unstructured ones? All have the same budget; a few a quarter or four "
        "times as much, so that parameters can be compared at equal accuracy."
    ),
    measures=("accuracy", "nll", "calibration"),
    higher=True,
    data={
        "small": RotatedDigits(),
        "full": RotatedDigits(side=28, train=10_000, val=2_000, test=10_000, budget=16_000, reach=3, dropout=0.3),
    },
    training={
        "small": TrainSettings(steps=500, batch=32, evaluate_every=125, weight_decay=0.0153, warmup=0.1),
        "full": TrainSettings(steps=8_000, batch=128, evaluate_every=400, weight_decay=0.0153, warmup=0.1),
    },
    rates=(6e-3, 3e-2),
    rows=(
        *(_classifier(kind) for kind in COMPARED),
        *(_classifier(kind, 0.25) for kind in (PLAIN, "GM-CNN, summed", "displacement rank 1, axes", "p4")),
        *(_classifier(kind, 4.0) for kind in (PLAIN, "displacement rank 1, axes", "LDR-SD", "unstructured")),
    ),
)

SMOKE = Table(
    name="smoke",
    title="Smoke plumes continued",
    question=(
        "Is leaving symmetry by a low displacement rank worth its parameters, where the data are symmetric but for "
        "walls and forces? Errors are of runs held out, over 6 and 20 frames."
    ),
    measures=("rmse_6", "rmse_20"),
    higher=False,
    data={
        "small": SmokePlumes(coarsening=4, train=2_000, val=64, test=100, channels=16),
        "full": SmokePlumes(val=200, channels=64),
    },
    training={
        "small": TrainSettings(steps=240, batch=8, evaluate_every=60, weight_decay=1e-4),
        "full": TrainSettings(steps=20_000, batch=8, evaluate_every=1_000, weight_decay=1e-4),
    },
    rates=(3e-3, 1e-2),
    rows=tuple(
        _forecaster(kind)
        for kind in (
            "persistence, damped",
            "CNN, zeros beyond the border",
            "GM-CNN, rank 0",
            "GM-CNN, rank 1",
            "GM-CNN, rank 2",
            "relaxed group convolution",
            "published GM-CNN",
            "group U-Net",
        )
    ),
)
