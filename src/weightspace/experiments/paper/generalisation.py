"""How well a CNN does, told from its weights: CIFAR-10 in grey, and digits drawn over photographs.

The published zoo has 30,000 networks a data set, of which those with ReLU or tanh are taken at their last step; ours
are drawn from the same ranges of hyper-parameters and trained for less time, with three checkpoints in one split.
"""

from dataclasses import replace

from weightspace.experiments.bench.subject import Networks
from weightspace.experiments.bench.table import Move, Published, Row, Table
from weightspace.experiments.bench.zoo import ZooRecipe
from weightspace.experiments.choice import ModelChoice
from weightspace.experiments.paper.model import WEIGHTS, compared
from weightspace.training import TrainSettings
from weightspace.training.augment import Augmentation
from weightspace.zoo.generate import CnnSettings

__all__ = ["GENERALISATION_RELU", "GENERALISATION_SYNDIGITS", "GENERALISATION_TANH"]

SMALL_CNN = CnnSettings(steps=(100, 400))
FULL_CNN = CnnSettings()

MODELS = {
    **WEIGHTS,
    "NP": ModelChoice("NP", options={"channels": [16, 16, 5], "fourier": 0}),
    "HNP": ModelChoice("HNP", options={"channels": [16, 16, 5], "fourier": 0}),
    "MonomialNFN": ModelChoice("MonomialNFN", "cnn-zoo-relu"),
    "MAGEPNFN": ModelChoice("MAGEPNFN", options={"compress": True}),
}
"""NP, HNP and Monomial-NFN in the published design: three layers of 16, 16 and 5 channels; heads are those of all.

Products along all layers of these CNNs differ by many powers of ten: MAGEP-NFN's head reads them compressed."""

NAMES = tuple(name for name in MODELS if name not in ("NGGNN", "Phased"))
SCALES = (0, 1, 2, 3, 4)
SMALL = TrainSettings(steps=400, batch=32, weight_decay=0.01)
FULL = TrainSettings(steps=60_000, batch=32, weight_decay=0.01)
MEASURES = ("tau", "tau ceiling", "r2", "l1", "calibration")


def _table(
    name: str,
    title: str,
    question: str,
    zoo: ZooRecipe,
    *,
    moves: tuple[Move, ...],
    published: dict[str, Published],
    names: tuple[str, ...] = NAMES,
    rows: tuple[Row, ...] = (),
) -> Table:
    full = replace(zoo, settings=replace(FULL_CNN, activation=zoo.settings.activation), count=10_000)  # type: ignore[union-attr]
    return Table(
        name=name,
        title=title,
        question=question,
        measures=MEASURES,
        higher=True,
        data={key: Networks(one, "accuracy", moves=moves) for key, one in {"small": zoo, "full": full}.items()},
        training={"small": SMALL, "full": FULL},
        rows=compared(names, published, MODELS) + rows,
    )


SCALINGS = tuple(Move("permutations" if k == 0 else f"scales to 1e{k}", float(k)) for k in SCALES)
_NFN = "Zhou et al. 2023, table 1"
_ALL = "networks of all activations"

AUGMENTED = tuple(
    Row(
        f"{name}, trained on scaled networks",
        MODELS[name],
        training={"augment": Augmentation(symmetry=True, log_scale=2.0)},
        study="augmentation",
    )
    for name in ("StatNN", "HNP", "MonomialNFN", "ScaleGMN-B")
)

ABLATIONS = (
    Row(
        "ScaleGMN-B, uncorrected",
        ModelChoice("weightspace.experiments.paper.ablation:uncorrected"),
        study="ablation",
    ),
    Row("MAGEPNFN, products as they are", ModelChoice("MAGEPNFN"), study="ablation"),
)
"""Messages back along the weights, which is not equivariant to positive scales; and a head that sees large products."""

GENERALISATION_RELU = _table(
    "generalisation-relu",
    "CIFAR-10 in grey: how well a ReLU network does",
    "Which of these CNNs does better on images that it has not seen? Told by the weights alone.",
    ZooRecipe("cnn-relu", SMALL_CNN, 800, "cifar10-gs"),
    moves=SCALINGS,
    published={
        "StatNN": Published(0.915, _NFN, _ALL),
        "NP": Published(0.922, _NFN, _ALL),
        "HNP": Published(0.934, _NFN, _ALL),
        "ScaleGMN": Published(0.9316, "a reproduction by the authors of Transferable Graph Metanetworks"),
        "GMN": Published(0.9266, "a reproduction by the authors of Transferable Graph Metanetworks"),
    },
    rows=AUGMENTED + ABLATIONS,
)
GENERALISATION_TANH = _table(
    "generalisation-tanh",
    "CIFAR-10 in grey: how well a tanh network does",
    "The same question to networks whose hidden units may change their signs.",
    ZooRecipe("cnn-tanh", replace(SMALL_CNN, activation="tanh"), 800, "cifar10-gs"),
    moves=(Move("permutations and signs"),),
    published={},
)
GENERALISATION_SYNDIGITS = _table(
    "generalisation-syndigits",
    "SynDigits in grey: how well a ReLU network does",
    "The same question where SVHN would stand: digits in free fonts, drawn over photographs.",
    ZooRecipe("cnn-syndigits", SMALL_CNN, 800, "syndigits-gs"),
    moves=SCALINGS,
    published={
        "ScaleGMN": Published(0.8655, "a reproduction by the authors of Transferable Graph Metanetworks", "on SVHN"),
        "GMN": Published(0.8672, "a reproduction by the authors of Transferable Graph Metanetworks", "on SVHN"),
    },
    names=tuple(name for name in NAMES if name not in ("DeepSets", "GaugeGMN")),
)
