"""Published models and baselines with one interface: `Model(spec, readout)`, `model(features)` (floor 6)."""

from weightspace.models.baseline import DeepSets, FlatMLP, StatNN
from weightspace.models.graph_metanet import GMN, NGGNN, GaugeGMN
from weightspace.models.magep import MAGEPNFN
from weightspace.models.monomial import MonomialNFN
from weightspace.models.neural_functional import HNP, NP
from weightspace.models.phased import Phased
from weightspace.models.probe import FunctionProbe
from weightspace.models.readout import Edit, Invariant, Readout
from weightspace.models.saving import load, save
from weightspace.models.scalegmn import ScaleGMN
from weightspace.models.transformer import NeuronTransformer

__all__ = [
    "GMN",
    "HNP",
    "MAGEPNFN",
    "NGGNN",
    "NP",
    "DeepSets",
    "Edit",
    "FlatMLP",
    "FunctionProbe",
    "GaugeGMN",
    "Invariant",
    "MonomialNFN",
    "NeuronTransformer",
    "Phased",
    "Readout",
    "ScaleGMN",
    "StatNN",
    "load",
    "save",
]
