"""Recipes that fit zoos of networks side by side."""

from weightspace.zoo.generate.recipe import make_siren_zoo
from weightspace.zoo.generate.siren import SirenSettings, fit_sirens, render

# The architecture itself stays in its file: a name `siren` here would hide the file of that name.
__all__ = ["SirenSettings", "fit_sirens", "make_siren_zoo", "render"]
