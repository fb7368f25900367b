"""Recipes that make zoos of networks, and plumes, side by side."""

from weightspace.zoo.generate.architecture import MlpSettings, TransformerSettings
from weightspace.zoo.generate.classifier import Regime, make_classifier_zoo
from weightspace.zoo.generate.cnn import CnnSettings, train_cnns
from weightspace.zoo.generate.cnn_collection import make_mixed_zoos, make_wild_zoos
from weightspace.zoo.generate.control import ENVIRONMENTS, Environment
from weightspace.zoo.generate.digits import digits_zoo
from weightspace.zoo.generate.engine import Engine
from weightspace.zoo.generate.inr import InrSettings, fit_inrs
from weightspace.zoo.generate.plume import PlumeSettings, make_plumes
from weightspace.zoo.generate.policy import PolicySettings, evaluate_policies, train_policies
from weightspace.zoo.generate.policy_zoo import make_policy_zoo
from weightspace.zoo.generate.recipe import make_cnn_zoo, make_inr_zoo, make_siren_zoo
from weightspace.zoo.generate.rendering import rendered
from weightspace.zoo.generate.sdf import SdfSettings, make_sdf_zoo
from weightspace.zoo.generate.siren import SirenSettings, fit_sirens, render
from weightspace.zoo.generate.smoke import Smoke
from weightspace.zoo.generate.template import describe, modules, template
from weightspace.zoo.generate.wild import WildSettings

# The architectures themselves stay in their files: names like `siren` here would hide the files of these names.
__all__ = [
    "ENVIRONMENTS",
    "CnnSettings",
    "Engine",
    "Environment",
    "InrSettings",
    "MlpSettings",
    "PlumeSettings",
    "PolicySettings",
    "Regime",
    "SdfSettings",
    "SirenSettings",
    "Smoke",
    "TransformerSettings",
    "WildSettings",
    "describe",
    "digits_zoo",
    "evaluate_policies",
    "fit_inrs",
    "fit_sirens",
    "make_classifier_zoo",
    "make_cnn_zoo",
    "make_inr_zoo",
    "make_mixed_zoos",
    "make_plumes",
    "make_policy_zoo",
    "make_sdf_zoo",
    "make_siren_zoo",
    "make_wild_zoos",
    "modules",
    "render",
    "rendered",
    "template",
    "train_cnns",
    "train_policies",
]
