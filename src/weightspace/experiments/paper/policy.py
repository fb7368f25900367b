"""How well a policy does, told from its weights."""

from dataclasses import replace

from weightspace.experiments.bench.subject import Networks
from weightspace.experiments.bench.table import Move, Row, Table
from weightspace.experiments.bench.zoo import ZooRecipe
from weightspace.experiments.choice import ModelChoice
from weightspace.experiments.paper.model import WEIGHTS, compared
from weightspace.training import TrainSettings
from weightspace.zoo.generate import PolicySettings

__all__ = ["POLICY_CARTPOLE"]

_ZOO = ZooRecipe("policy-cartpole", PolicySettings("cartpole"), 150)

POLICY_CARTPOLE = Table(
    name="policy-cartpole",
    title="Cart-pole: what a policy achieves",
    question="Which of these policies keeps the pole up longest? Told by the weights, without playing. "
    "Regret is what is lost by taking the one that is named the best of 100.",
    measures=("tau", "tau ceiling", "regret", "r2", "l1"),
    higher=True,
    data={
        scale: Networks(zoo, "return", moves=(Move("permutations and signs"),))
        for scale, zoo in {"small": _ZOO, "full": replace(_ZOO, count=3000)}.items()
    },
    training={
        "small": TrainSettings(steps=600, batch=32, weight_decay=0.01),
        "full": TrainSettings(steps=40_000, batch=64, weight_decay=0.01),
    },
    rows=compared(tuple(name for name in WEIGHTS if name not in ("NGGNN", "Phased")))
    + (Row("FunctionProbe", ModelChoice("FunctionProbe"), "probes"),),
)
